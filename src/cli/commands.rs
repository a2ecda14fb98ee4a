//! `deskgate commands`: what was asked of Desk through the gateway, and what became of it.

use anyhow::bail;
use clap::builder::BoolishValueParser;
use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::client::{Json, Server, failed, is_enough, tell, time_of};
use super::listing::Listing;
use super::tail::printable;
use super::tickets::client;
use crate::grpc::pb;
use pb::get_command_request::Key;

/// Commands asked for at once.
const PAGE_SIZE: i32 = 200;

#[derive(Debug, Args)]
pub(super) struct CommandsArgs {
    #[command(subcommand)]
    command: CommandsCommand,
}

#[derive(Debug, Subcommand)]
enum CommandsCommand {
    /// Which commands there are, newest first.
    List(ListArgs),
    /// One command.
    Show(ShowArgs),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Queued,
    Running,
    Succeeded,
    Failed,
    Unknown,
}

impl State {
    fn to_pb(self) -> pb::CommandState {
        match self {
            Self::Queued => pb::CommandState::Queued,
            Self::Running => pb::CommandState::Running,
            Self::Succeeded => pb::CommandState::Succeeded,
            Self::Failed => pb::CommandState::Failed,
            Self::Unknown => pb::CommandState::OutcomeUnknown,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  deskgate commands list --state unknown          what somebody has to look at
  deskgate commands list --ticket 76f5… --json    one ticket's, as JSON lines")]
struct ListArgs {
    #[command(flatten)]
    server: Server,
    /// Only on this ticket.
    #[arg(
        long,
        value_name = "ID",
        env = "DESKGATE_COMMANDS_TICKET",
        default_value = "",
        hide_default_value = true
    )]
    ticket: String,
    /// Only those that have come so far; may be repeated, or several with commas.
    #[arg(long, env = "DESKGATE_COMMANDS_STATE", value_delimiter = ',')]
    state: Vec<State>,
    /// End after this many; 0 for no end.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        env = "DESKGATE_COMMANDS_LIMIT"
    )]
    limit: usize,
    /// Protobuf JSON, one command a line, for scripts.
    #[arg(long, env = "DESKGATE_COMMANDS_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("key").required(true).args(["id", "request_id"])))]
struct ShowArgs {
    #[command(flatten)]
    server: Server,
    /// Which one, by the id of its receipt.
    #[arg(value_name = "COMMAND")]
    id: Option<String>,
    /// Which one, by the `request_id` that it was called with.
    #[arg(long, value_name = "ID", env = "DESKGATE_COMMANDS_REQUEST_ID")]
    request_id: Option<String>,
    /// Protobuf JSON, for scripts.
    #[arg(long, env = "DESKGATE_COMMANDS_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

pub(super) async fn run(args: CommandsArgs) -> anyhow::Result<()> {
    let done = match args.command {
        CommandsCommand::List(args) => list(args).await,
        CommandsCommand::Show(args) => show(args).await,
    };
    done.or_else(|error| if is_enough(&error) { Ok(()) } else { Err(error) })
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let ListArgs { server, ticket, state, limit, json } = args;
    let mut listing = Listing::new("Command", json, PAGE_SIZE, limit)?;
    let mut client = client(&server).await?;
    let states = state.into_iter().map(|state| state.to_pb().into()).collect();
    let mut request = pb::ListCommandsRequest { ticket_id: ticket, states, ..Default::default() };
    loop {
        request.page_size = listing.page_size();
        let page =
            client.list_commands(request.clone()).await.map_err(|status| failed(&status))?.into_inner();
        request.page_token = page.next_page_token;
        let goes_on = listing.show(
            &page.commands,
            || row(["COMMAND", "ACCEPTED", "METHOD", "STATE", "TICKET", "WHY"]),
            row_of,
        )?;
        if request.page_token.is_empty() || !goes_on {
            return listing.end("no commands");
        }
    }
}

fn row(columns: [&str; 6]) -> String {
    let [command, accepted, method, state, ticket, why] = columns;
    let line = format!("{command:<36} {accepted:<20} {method:<14} {state:<15} {ticket:<36} {why}");
    line.trim_end().to_owned()
}

fn row_of(command: &pb::Command) -> String {
    let receipt = command.receipt.clone().unwrap_or_default();
    let (ticket, why) = (printable(&command.ticket_id), printable(&command.error_reason));
    let accepted = time_of(receipt.accept_time);
    row([&receipt.command_id, &accepted, &command.method, &state_of(&receipt), &ticket, &why])
}

fn state_of(receipt: &pb::CommandReceipt) -> String {
    receipt.state().as_str_name().trim_start_matches("COMMAND_STATE_").to_lowercase()
}

async fn show(args: ShowArgs) -> anyhow::Result<()> {
    let ShowArgs { server, id, request_id, json } = args;
    let key = id.map(Key::CommandId).or(request_id.map(Key::RequestId));
    let answer = client(&server).await?.get_command(pb::GetCommandRequest { key }).await;
    let answer = answer.map_err(|status| failed(&status))?.into_inner();
    if json {
        return tell(&Json::new()?.line("GetCommandResponse", &answer)?);
    }
    let Some(command) = answer.command else { bail!("the gateway answered nothing") };
    let receipt = command.receipt.clone().unwrap_or_default();
    for (name, value) in [
        ("command", receipt.command_id.clone()),
        ("method", command.method.clone()),
        ("state", state_of(&receipt)),
        ("ticket", command.ticket_id.clone()),
        ("bot", command.bot.clone()),
        ("asked by", command.principal.clone()),
        ("request", command.request_id.clone()),
        ("accepted", time_of(receipt.accept_time)),
        ("settled", time_of(receipt.settle_time)),
        ("attempts", receipt.attempts.to_string()),
        ("why", command.error_reason.clone()),
        ("", command.error_message.clone()),
    ] {
        if !value.is_empty() {
            tell(&format!("{name:<9} {}", printable(&value)))?;
        }
    }
    for (key, value) in &command.error_metadata {
        tell(&format!("{:<9} {} = {}", "", printable(key), printable(value)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_in_one_word() {
        let receipt =
            pb::CommandReceipt { state: pb::CommandState::OutcomeUnknown.into(), ..Default::default() };
        assert_eq!(state_of(&receipt), "outcome_unknown");
    }
}
