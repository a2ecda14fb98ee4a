//! The servers we are compared with. This program runs itself again as one of them, in a process of its own.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Result, bail};
use tokio::net::TcpListener;

mod commands;
mod file_log;
pub(crate) mod frames;
mod http;
mod ours;

use frames::Script;

/// How many webhooks make one batch for live streams.
pub(crate) const LIVE_BATCH: u64 = 64;

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
    let (router, script) = match kind {
        "bare" => (Some(http::bare()), None),
        "append" => (Some(http::append(argument)?), None),
        "frames" => (None, Some(Script::Frames(frames::read(argument)?))),
        "live" => {
            let (router, number) = http::counting(LIVE_BATCH);
            (Some(router), Some(Script::EachTime(frames::read(argument)?, number)))
        }
        "desk" => (Some(commands::desk()), None),
        "nothing" => (None, Some(Script::Nothing)),
        _ => (None, None),
    };
    announce(&first, &second)?;
    match (kind, router, script) {
        (_, Some(router), Some(script)) => {
            tokio::try_join!(http::serve(first, router), frames::serve(second, script)).map(|_| ())
        }
        (_, Some(router), None) => http::serve(first, router).await,
        (_, None, Some(script)) => frames::serve(second, script).await,
        ("one-commit", ..) => ours::one_commit(first, argument).await,
        ("file", ..) => ours::file(first, argument).await,
        ("passing", ..) => commands::pass_on(second, argument).await,
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
