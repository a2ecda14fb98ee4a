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
    let first = TcpListener::bind("127.0.0.1:0").await?;
    let second = TcpListener::bind("127.0.0.1:0").await?;
    // What can fail comes before what the parent takes for readiness.
    let router = match kind {
        "bare" => Some(http::bare()),
        "append" => Some(http::append(argument)?),
        _ => None,
    };
    let script = match kind {
        "frames" => Some(frames::read(argument)?),
        "nothing" => Some(frames::Script::Nothing),
        _ => None,
    };
    announce(&first, &second)?;
    match (kind, router, script) {
        (_, Some(router), _) => http::serve(first, router).await,
        (_, _, Some(script)) => frames::serve(second, script).await,
        ("one-commit", ..) => ours::one_commit(first, argument).await,
        ("memory", ..) => ours::in_memory(first, second).await,
        (other, ..) => bail!("no yardstick is called {other}"),
    }
}

/// Tells the parent where webhooks and where streams are served, by those that serve them.
fn announce(webhooks: &TcpListener, streams: &TcpListener) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} {}", webhooks.local_addr()?, streams.local_addr()?)?;
    Ok(out.flush()?)
}
