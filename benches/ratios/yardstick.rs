//! The servers we are compared with. This program runs itself again as one of them, in a process of its own.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Result, bail};
use tokio::net::TcpListener;

pub(crate) mod frames;
mod http;
mod ours;

/// Runs the server of this name until standard input ends, which it does with the process that started it.
pub(crate) fn run(kind: &str, argument: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let parent = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        tokio::select! {
            served = serve(kind, argument) => served,
            _ended = parent => Ok(()),
        }
    });
    runtime.shutdown_background();
    served
}

async fn serve(kind: &str, argument: &Path) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    match kind {
        "bare" => http::serve(announced(listener)?, http::bare()).await,
        "append" => {
            let router = http::append(argument)?;
            http::serve(announced(listener)?, router).await
        }
        "one-commit" | "group-commit" => {
            let router = ours::one_commit(argument, if kind == "one-commit" {1} else {512})?;
            http::serve(announced(listener)?, router).await
        }
        "frames" => {
            let frames = frames::read_frames(argument)?;
            frames::serve(announced(listener)?, frames).await
        }
        "nothing" => frames::serve(announced(listener)?, frames::Script::Nothing).await,
        other => bail!("no yardstick is called {other}"),
    }
}

/// Tells the parent where we listen: one address for both kinds of traffic, as a yardstick has one kind.
fn announced(listener: TcpListener) -> Result<TcpListener> {
    let address = listener.local_addr()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{address} {address}")?;
    out.flush()?;
    Ok(listener)
}
