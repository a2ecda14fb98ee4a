//! Servers in processes of their own, so that what they use can be read from outside, and the load generator
//! never shares a runtime with what it measures.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::webhooks::{BOT, TOKEN};

/// How long a server may take until it listens.
const LISTENING_WITHIN: Duration = Duration::from_secs(30);

/// For what sends nothing.
const NO_DESK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// Ticks of `/proc/PID/stat`: 100 a second on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// A server that is killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it takes webhooks, or whatever a yardstick takes.
    pub(crate) webhook: SocketAddr,
    /// Where it serves gRPC, or what stands for it.
    pub(crate) grpc: SocketAddr,
    /// Removed once the server is gone.
    folder: Option<TempDir>,
}

impl Server {
    /// A yardstick: this very program, told to be a server.
    pub(crate) fn yardstick(kind: &str, argument: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        Self::announcing(command.args(["--yardstick", kind, "--argument"]).arg(argument), kind)
    }

    /// A program that tells on its first line where it takes webhooks and where it serves streams.
    pub(crate) fn announcing(command: &mut Command, name: &str) -> Result<Self> {
        // Its end tells the child that we are gone.
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let mut addresses = line.split_ascii_whitespace().map(str::parse::<SocketAddr>);
        if let (Some(Ok(webhook)), Some(Ok(grpc))) = (addresses.next(), addresses.next()) {
            return Ok(Self { child, webhook, grpc, folder: None });
        }
        let status = reap(&mut child);
        bail!("the yardstick `{name}` did not come up: {status}");
    }

    /// The same, with a folder that goes when it goes.
    pub(crate) fn keeping(mut self, folder: TempDir) -> Self {
        self.folder = Some(folder);
        self
    }

    /// The real thing, over a store in a new folder under `scratch`.
    pub(crate) fn deskgate(scratch: &Path) -> Result<Self> {
        let folder = tempfile::tempdir_in(scratch)?;
        Ok(Self::deskgate_over(folder.path())?.keeping(folder))
    }

    /// The real thing, whose bot speaks to `desk`.
    pub(crate) fn deskgate_before(desk: SocketAddr, scratch: &Path) -> Result<Self> {
        let folder = tempfile::tempdir_in(scratch)?;
        Ok(Self::deskgate_with(folder.path(), desk)?.keeping(folder))
    }

    /// The real thing, over the store in `folder`, which stays.
    pub(crate) fn deskgate_over(folder: &Path) -> Result<Self> {
        Self::deskgate_with(folder, NO_DESK)
    }

    fn deskgate_with(folder: &Path, desk: SocketAddr) -> Result<Self> {
        let (config, addresses, log) =
            (folder.join("deskgate.toml"), folder.join("addresses.json"), folder.join("log"));
        fs::write(&config, config_text(&store_in(folder), desk))?;
        if addresses.exists() {
            fs::remove_file(&addresses)?;
        }
        let output = File::create(&log)?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_deskgate"))
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .arg("--addresses-file")
            .arg(&addresses)
            .env("BENCH_BLIP_KEY", "YmVuY2g6YmVuY2g=")
            .env("BENCH_WEBHOOK_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        match wait_for_addresses(&mut child, &addresses) {
            Ok((webhook, grpc)) => Ok(Self { child, webhook, grpc, folder: None }),
            Err(error) => {
                let status = reap(&mut child);
                let said = fs::read_to_string(&log).unwrap_or_default();
                Err(error.context(format!("deskgate did not come up ({status}); it said:\n{said}")))
            }
        }
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// Processor time used so far, in user space and in the kernel.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        Ok(TICK * u32::try_from(self.ticks()?)?)
    }

    /// The same, in ticks.
    pub(crate) fn ticks(&self) -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(')').context("no command in /proc/PID/stat")?;
        let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(ticks.sum::<Result<u64, _>>()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        reap(&mut self.child);
    }
}

/// Where the store lies in a server's folder.
pub(crate) fn store_in(folder: &Path) -> PathBuf {
    folder.join("deskgate.db")
}

fn config_text(store: &Path, desk: SocketAddr) -> String {
    format!(
        r#"
[webhook]
listen = "127.0.0.1:0"
[grpc]
listen = "127.0.0.1:0"
streams_max = 20000
[admin]
listen = "127.0.0.1:0"
[store]
path = "{}"
[reconcile]
enabled = false
[[bots]]
name = "{BOT}"
identity = "bench@msging.net"
url = "http://{desk}"
key_env = "BENCH_BLIP_KEY"
webhook_token_env = ["BENCH_WEBHOOK_TOKEN"]
rates = {{ messages = 100000 }}
"#,
        store.display()
    )
}

fn wait_for_addresses(child: &mut Child, file: &Path) -> Result<(SocketAddr, SocketAddr)> {
    let started = Instant::now();
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        if let Ok(addresses) = serde_json::from_str::<serde_json::Value>(&text) {
            let address = |name: &str| {
                let text = addresses.get(name).and_then(|address| address.as_str()).context("no address")?;
                text.parse::<SocketAddr>().with_context(|| format!("{name}: {text}"))
            };
            return Ok((address("webhook")?, address("grpc")?));
        }
        if let Some(status) = child.try_wait()? {
            bail!("it ended: {status}");
        }
        if started.elapsed() > LISTENING_WITHIN {
            bail!("no addresses within {LISTENING_WITHIN:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Kills and waits; tells how it ended. One that has ended already is no fault.
fn reap(child: &mut Child) -> String {
    let killed = child.kill();
    match (killed, child.wait()) {
        (_, Ok(status)) => status.to_string(),
        (killed, Err(error)) => format!("{killed:?}, {error}"),
    }
}
