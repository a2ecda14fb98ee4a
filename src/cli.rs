//! The command line: flags, their environment twins, and what each command does. The operator's commands are
//! clients of the public API.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

mod bulk;
mod check;
mod client;
mod commands;
mod consume;
mod directory;
mod failure;
mod group_settings;
mod groups;
mod listing;
mod parked;
mod quarantine;
mod reconcile;
mod sandbox;
mod serve;
mod tail;
mod tickets;
mod usage;

/// The gRPC gateway between Take Blip's Desk and your own contact-center systems.
///
/// Blip posts a custom attendance channel's webhooks to deskgate; your software subscribes to them as typed gRPC
/// events, and acts on its tickets. Nothing that Blip heard 200 for is lost.
#[derive(Debug, Parser)]
#[command(name = "deskgate", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Begin with `deskgate sandbox --demo`: no account, no configuration, a customer within a second.

Exit codes: 0 done, 1 failed, 2 wrong arguments. An error goes to stderr: a sentence, then a line each for its reason, its
metadata, the fields at fault and the call's x-request-id; with --json it is one JSON object. An empty environment variable counts as not set, an empty argument as a mistake."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Whether answers are wanted as JSON, and so errors.
    #[arg(skip)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it now: a stand-in for Blip Desk and a gateway wired to it, no configuration.
    Sandbox(sandbox::SandboxArgs),
    /// Run the gateway.
    Serve(serve::ServeArgs),
    /// Validate a configuration and print what was understood, secrets masked.
    Check(check::CheckArgs),
    /// Follow the events of a running gateway.
    Tail(tail::TailArgs),
    /// Tickets: list them, look at one, assign, answer, close, transfer, tag.
    Tickets(tickets::TicketsArgs),
    /// What was asked of Desk, and what became of it.
    Commands(commands::CommandsArgs),
    /// Who attends a bot's customers, and who of them is online.
    Agents(directory::AgentsArgs),
    /// The teams of a bot, and how many are online in each.
    Teams(directory::TeamsArgs),
    /// Consumer groups: list them, look at one, make, change, move, delete.
    Groups(groups::GroupsArgs),
    /// Events that a group has set aside: list, replay, discard them.
    Parked(parked::ParkedArgs),
    /// Work for a consumer group: run a command for each event.
    Consume(consume::ConsumeArgs),
    /// Webhooks that could not be read: list them, look at one, replay them.
    Quarantine(quarantine::QuarantineArgs),
    /// Read a bot back from Blip now: find what webhooks did not tell.
    Reconcile(reconcile::ReconcileArgs),
}

/// Where the gateway listens and stores, for every command that runs one. Flag, environment, file, default: the
/// first that is given counts.
#[derive(Debug, Clone, Default, Args)]
struct Listeners {
    /// Where Blip posts webhooks, such as 127.0.0.1:8080; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", env = "DESKGATE_WEBHOOK_LISTEN")]
    webhook_listen: Option<String>,
    /// Where gRPC clients connect, such as 127.0.0.1:50051.
    #[arg(long, value_name = "ADDR", env = "DESKGATE_GRPC_LISTEN")]
    grpc_listen: Option<String>,
    /// Where /livez, /readyz and /metrics are served, such as 127.0.0.1:9464.
    #[arg(long, value_name = "ADDR", env = "DESKGATE_ADMIN_LISTEN")]
    admin_listen: Option<String>,
    /// Write the addresses in use to this file, as JSON, once all listeners are bound.
    #[arg(long, value_name = "FILE", env = "DESKGATE_ADDRESSES_FILE")]
    addresses_file: Option<PathBuf>,
    /// error, warn, info, debug or trace; also per module, such as `info,deskgate::gateway=debug`.
    #[arg(long, value_name = "LEVEL", env = "DESKGATE_LOG_LEVEL")]
    log_level: Option<String>,
    /// text for people, json for machines.
    #[arg(long, value_name = "FORMAT", env = "DESKGATE_LOG_FORMAT")]
    log_format: Option<String>,
}

impl Cli {
    /// Reads the process's command line; ends the process where that is at fault.
    pub fn read() -> Self {
        Self::try_read_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Reads a command line, the program's name first.
    pub fn try_read_from(
        args: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let mut command = usage::strict(Self::command());
        let mut matches = command.try_get_matches_from_mut(args)?;
        let json = wants_json(&matches);
        let cli = Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))?;
        Ok(Self { json, ..cli })
    }

    /// How its errors are to be told.
    pub fn errors(&self) -> Errors {
        Errors { json: self.json }
    }

    /// Carries out the command.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Sandbox(args) => sandbox::run(args).await,
            Command::Serve(args) => serve::run(args).await,
            Command::Check(args) => check::run(args).await,
            Command::Tail(args) => tail::run(args).await,
            Command::Tickets(args) => tickets::run(args).await,
            Command::Commands(args) => commands::run(args).await,
            Command::Agents(args) => directory::agents(args).await,
            Command::Teams(args) => directory::teams(args).await,
            Command::Groups(args) => groups::run(args).await,
            Command::Parked(args) => parked::run(args).await,
            Command::Consume(args) => consume::run(args).await,
            Command::Quarantine(args) => quarantine::run(args).await,
            Command::Reconcile(args) => reconcile::run(args).await,
        }
    }
}

/// Whether the command that is meant was given `--json`.
fn wants_json(matches: &clap::ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, deeper)) => wants_json(deeper),
        None => matches.try_get_one("json").ok().flatten().copied().unwrap_or(false),
    }
}

/// How the errors of a command are told: in lines for people, or as JSON beside answers that are.
#[derive(Debug, Clone, Copy)]
pub struct Errors {
    json: bool,
}

impl Errors {
    /// What to write of `error`.
    pub fn tell(self, error: &anyhow::Error) -> String {
        if self.json { failure::json_of(error) } else { format!("deskgate: {error:#}") }
    }
}

/// Whether `error` is a fault of the arguments.
pub fn is_usage(error: &anyhow::Error) -> bool {
    error.is::<usage::Usage>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_value_is_a_mistake_whatever_the_option() {
        let faults: [&[&str]; 9] = [
            &["consume", "crm", "--exec", ""],
            &["consume", "crm", "--exec", " \n"],
            &["consume", "", "--exec", "true"],
            &["tail", "--ticket", ""],
            &["groups", "update", "crm", "--ack-deadline", "1m", "--etag", ""],
            &["parked", "list", "crm", "--ticket", ""],
            &["quarantine", "replay", "--all", "--bot", ""],
            &["tickets", "send", "t-1", ""],
            &["reconcile", ""],
        ];
        for args in faults {
            let error = Cli::try_read_from([&["deskgate"], args].concat()).unwrap_err();
            let said = error.to_string();
            assert!(
                error.exit_code() == 2 && said.contains(" is empty: give it a value"),
                "{args:?}: {said}"
            );
        }
        let said = Cli::try_read_from(["deskgate", "consume", "crm", "--exec", ""]).unwrap_err().to_string();
        assert!(said.contains("--exec <CMD> is empty: give it a value; is a variable not set?"), "{said}");
        Cli::try_read_from(["deskgate", "tickets", "list"]).unwrap();
    }

    #[test]
    fn what_cannot_be_read_is_a_fault_of_usage() {
        let faults: [&[&str]; 6] = [
            &["groups", "create", "crm", "--from", "15x"],
            &["groups", "create", "crm", "--ack-deadline", "30"],
            &["groups", "update", "crm", "--max-backoff", "soon"],
            &["groups", "seek", "crm", "yesterday"],
            &["tail", "--from", "15x"],
            &["reconcile", "--since", "xyz"],
        ];
        for args in faults {
            let error = Cli::try_read_from([&["deskgate"], args].concat()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{args:?}: {error}");
        }
    }

    #[test]
    fn lists_are_given_with_commas_too() {
        let cli = Cli::try_parse_from(["deskgate", "tail", "--bot", "a,b", "--bot", "c", "--json", "--raw"])
            .unwrap();
        assert!(format!("{cli:?}").contains(r#"bot: ["a", "b", "c"]"#), "{cli:?}");
        assert!(Cli::try_parse_from(["deskgate", "tail", "--raw"]).is_err());
    }

    #[test]
    fn every_flag_has_an_environment_twin_of_its_own() {
        let command = Cli::command();
        command.clone().debug_assert();
        let nested = command.get_subcommands().flat_map(clap::Command::get_subcommands);
        for subcommand in command.get_subcommands().chain(nested) {
            let mut taken = std::collections::BTreeMap::new();
            for flag in subcommand.get_arguments().filter(|flag| {
                !["help", "version"].contains(&flag.get_id().as_str()) && !flag.is_positional()
            }) {
                let name = format!("{} --{}", subcommand.get_name(), flag.get_long().unwrap_or_default());
                let twin = flag.get_env().unwrap_or_else(|| panic!("{name} has none"));
                assert!(twin.to_string_lossy().starts_with("DESKGATE_"), "{name}: {}", twin.display());
                assert_eq!(taken.insert(twin.to_owned(), name.clone()), None, "{name}: {}", twin.display());
            }
        }
    }
}
