//! The binary: runtime, crypto provider, command line, exit code; nothing else.

use std::io::Write;
use std::process::ExitCode;

use deskgate::cli::{self, Cli, Errors};

/// Requests are allocated on one thread and freed on another all day, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::read();
    let errors = cli.errors();
    // One provider for every TLS user in the process. It fails only where one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return failed(&anyhow::Error::new(error).context("the runtime cannot be built"), errors);
        }
    };
    let result = runtime.block_on(cli.run());
    // What was abandoned must not hold the process: its end is on disk, or looked for at the next start.
    runtime.shutdown_background();
    result.map_or_else(|error| failed(&error, errors), |()| ExitCode::SUCCESS)
}

fn failed(error: &anyhow::Error, errors: Errors) -> ExitCode {
    // Nobody may be left to read it.
    let _ = writeln!(std::io::stderr(), "{}", errors.tell(error));
    if cli::is_usage(error) { ExitCode::from(2) } else { ExitCode::FAILURE }
}
