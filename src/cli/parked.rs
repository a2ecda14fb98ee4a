//! `deskgate parked`: events that a consumer group has set aside: which, why, and what becomes of them.

use anyhow::bail;
use clap::builder::BoolishValueParser;
use clap::{ArgGroup, Args, Subcommand};

use super::client::{Json, Server, failed, is_enough, tell, time_of};
use super::groups::client;
use super::listing::Listing;
use super::tail::printable;
use crate::grpc::pb;

/// Events asked for at once.
const PAGE_SIZE: i32 = 200;

#[derive(Debug, Args)]
#[command(
    after_help = "An event is parked when its attempts are used up, or when a consumer says so. It stays here, for \
longer than the log keeps events if need be, until it is replayed or discarded."
)]
pub(super) struct ParkedArgs {
    #[command(subcommand)]
    command: ParkedCommand,
}

#[derive(Debug, Subcommand)]
enum ParkedCommand {
    /// Which events are parked, oldest first.
    List(ListArgs),
    /// Deliver them again, with all their attempts before them.
    Replay(ReplayArgs),
    /// Give them up for good.
    Discard(DiscardArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  deskgate parked list crm                   event, time, attempts, ticket and reason of each
  deskgate parked list crm --ticket 76f5…    one ticket's
  deskgate parked list crm --json            as JSON lines, with the whole event")]
struct ListArgs {
    #[command(flatten)]
    server: Server,
    /// The group.
    #[arg(value_name = "GROUP")]
    group: String,
    /// Only this ticket's.
    #[arg(
        long,
        value_name = "ID",
        env = "DESKGATE_PARKED_TICKET",
        default_value = "",
        hide_default_value = true
    )]
    ticket: String,
    /// End after this many; 0 for no end.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        env = "DESKGATE_PARKED_LIMIT"
    )]
    limit: usize,
    /// Protobuf JSON, one event a line, for scripts.
    #[arg(long, env = "DESKGATE_PARKED_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

/// Which parked events are meant.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["ids", "all"])))]
struct Which {
    #[command(flatten)]
    server: Server,
    /// The group.
    #[arg(value_name = "GROUP")]
    group: String,
    /// Which events, by the ids that `list` tells.
    #[arg(value_name = "EVENT")]
    ids: Vec<String>,
    /// All that are parked.
    #[arg(long, env = "DESKGATE_PARKED_ALL", value_parser = BoolishValueParser::new())]
    all: bool,
    /// Protobuf JSON, for scripts.
    #[arg(long, env = "DESKGATE_PARKED_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Mend what made them fail first. Of their tickets they come before anything else. It is safe to \
run again.

Examples:
  deskgate parked replay crm 0190f3c2-…      one event
  deskgate parked replay crm --all           all of them"
)]
struct ReplayArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[command(
    after_help = "They are not delivered to this group again, but by moving it back; the log still has them, as long \
as it keeps events.

Example:
  deskgate parked discard crm 0190f3c2-… --reason 'sent by hand'"
)]
struct DiscardArgs {
    #[command(flatten)]
    which: Which,
    /// Why, for the record.
    #[arg(long, env = "DESKGATE_PARKED_REASON", default_value = "", hide_default_value = true)]
    reason: String,
}

pub(super) async fn run(args: ParkedArgs) -> anyhow::Result<()> {
    let done = match args.command {
        ParkedCommand::List(args) => list(args).await,
        ParkedCommand::Replay(args) => replay(args).await,
        ParkedCommand::Discard(args) => discard(args).await,
    };
    done.or_else(|error| if is_enough(&error) { Ok(()) } else { Err(error) })
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let ListArgs { server, group, ticket, limit, json } = args;
    let mut listing = Listing::new("ParkedEvent", json, PAGE_SIZE, limit)?;
    let mut client = client(&server).await?;
    let mut request = pb::ListParkedEventsRequest { group, ticket_id: ticket, ..Default::default() };
    loop {
        request.page_size = listing.page_size();
        let page =
            client.list_parked_events(request.clone()).await.map_err(|status| failed(&status))?.into_inner();
        request.page_token = page.next_page_token;
        let goes_on = listing.show(
            &page.parked_events,
            || row(["EVENT", "PARKED", "ATTEMPTS", "TYPE", "TICKET", "BLOCKS", "REASON"]),
            row_of,
        )?;
        if request.page_token.is_empty() || !goes_on {
            return listing.end("no parked events");
        }
    }
}

fn row(columns: [&str; 7]) -> String {
    let [event, parked, attempts, kind, ticket, blocks, reason] = columns;
    let line = format!("{event:<36} {parked:<20} {attempts:>8} {kind:<18} {ticket:<36} {blocks:<6} {reason}");
    line.trim_end().to_owned()
}

fn row_of(parked: &pb::ParkedEvent) -> String {
    let event = parked.event.clone().unwrap_or_default();
    row([
        &printable(&event.event_id),
        &time_of(parked.park_time),
        &parked.attempts.to_string(),
        &event.r#type,
        &printable(&event.ticket_id),
        if parked.blocks_ticket { "yes" } else { "" },
        &printable(&parked.reason),
    ])
}

async fn replay(args: ReplayArgs) -> anyhow::Result<()> {
    let Which { server, group, ids, all, json } = args.which;
    let asked = ids.len();
    let request = pb::ReplayParkedEventsRequest { group, event_ids: ids, all };
    let answer = client(&server).await?.replay_parked_events(request).await;
    let answer = answer.map_err(|status| failed(&status))?.into_inner();
    if json {
        tell(&Json::new()?.line("ReplayParkedEventsResponse", &answer)?)?;
    } else {
        tell(&format!("{} events are delivered again", answer.replayed))?;
    }
    complete(answer.replayed, asked)
}

async fn discard(args: DiscardArgs) -> anyhow::Result<()> {
    let DiscardArgs { which: Which { server, group, ids, all, json }, reason } = args;
    let asked = ids.len();
    let request = pb::DiscardParkedEventsRequest { group, event_ids: ids, all, reason };
    let answer = client(&server).await?.discard_parked_events(request).await;
    let answer = answer.map_err(|status| failed(&status))?.into_inner();
    if json {
        tell(&Json::new()?.line("DiscardParkedEventsResponse", &answer)?)?;
    } else {
        tell(&format!("{} events are given up", answer.discarded))?;
    }
    complete(answer.discarded, asked)
}

/// Fails where fewer are done than were named: some were not on the list.
fn complete(done: u64, asked: usize) -> anyhow::Result<()> {
    let missing = u64::try_from(asked).unwrap_or(u64::MAX).saturating_sub(done);
    if missing > 0 {
        bail!("{missing} of the events named are not parked");
    }
    Ok(())
}
