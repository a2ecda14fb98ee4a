//! `deskgate groups`: consumer groups, how they stand and how they work, as a client of the public API.

use anyhow::bail;
use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand};
use tonic::transport::Channel;

use super::client::{Json, Server, failed, is_enough, tell, time_of};
use super::group_settings::{Field, Settings};
use super::listing::Listing;
use super::tail::{position_of, printable};
use super::usage::Usage;
use crate::grpc::pb;
use crate::grpc::pb::consumer_service_client::ConsumerServiceClient;
use pb::{ConsumerGroup, ConsumerGroupStatus};

/// Groups asked for at once.
const PAGE_SIZE: i32 = 500;
/// The largest answer that is taken.
const ANSWER_BYTES_MAX: usize = 32 << 20;

#[derive(Debug, Args)]
#[command(
    after_help = "A consumer group shares the events among its members, remembers what is settled, and keeps each \
ticket's order. Make one, then run as many members as you like:

  deskgate groups create crm --from earliest
  deskgate consume crm --exec ./handle-event.sh"
)]
pub(super) struct GroupsArgs {
    #[command(subcommand)]
    command: GroupsCommand,
}

#[derive(Debug, Subcommand)]
enum GroupsCommand {
    /// Which groups there are, and how far behind each is.
    List(ListArgs),
    /// How one stands: its lag, what is out and with whom, what is parked or blocked, and its settings.
    Show(ShowArgs),
    /// Make a group.
    Create(CreateArgs),
    /// Change how a group works; its members stay.
    Update(UpdateArgs),
    /// Move a group to another position, back or forth.
    Seek(SeekArgs),
    /// Delete a group, with its position and its parked events.
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  deskgate groups list          a line for each group
  deskgate groups list --json   as JSON lines, for scripts")]
struct ListArgs {
    #[command(flatten)]
    server: Server,
    /// Protobuf JSON, one group a line, for scripts.
    #[arg(long, env = "DESKGATE_GROUPS_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "`behind` counts events of the log after the last that is settled without a gap before it, wanted \
by the filter or not. A group that is far behind with nothing in flight has no members; with much in flight it has too \
few, or they hang; with blocked tickets somebody has to look at `deskgate parked list`.

Examples:
  deskgate groups show crm
  deskgate groups show crm --json | jq .status.eventsBehind"
)]
struct ShowArgs {
    #[command(flatten)]
    one: One,
}

/// A group, and how its answer is told.
#[derive(Debug, Args)]
struct One {
    #[command(flatten)]
    server: Server,
    /// The group's name.
    #[arg(value_name = "GROUP")]
    group: String,
    /// Protobuf JSON, for scripts.
    #[arg(long, env = "DESKGATE_GROUPS_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  deskgate groups create crm                            everything from now on
  deskgate groups create bi --from 7d --type 'ticket.*' a week back, tickets only
  deskgate groups create orders --park block --pin-retention true")]
struct CreateArgs {
    #[command(flatten)]
    one: One,
    /// Where it begins: latest, earliest, an age such as 15m, 2h or 7d, or a cursor.
    #[arg(
        long,
        value_name = "POSITION",
        default_value = "latest",
        env = "DESKGATE_GROUPS_FROM",
        value_parser = position_of
    )]
    from: pb::StartPosition,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Args)]
#[command(after_help = "What is not given stays. Filter options replace the whole filter.

Examples:
  deskgate groups update crm --ack-deadline 2m --max-attempts 20
  deskgate groups update crm --reset filter,view         as they are by default")]
struct UpdateArgs {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    settings: Settings,
    /// Give these settings their defaults; may be repeated, or several with commas.
    #[arg(long, value_name = "SETTING", env = "DESKGATE_GROUPS_RESET", value_delimiter = ',')]
    reset: Vec<Field>,
    /// Only if the settings are still those of this etag, which `show` tells.
    #[arg(long, env = "DESKGATE_GROUPS_ETAG", default_value = "", hide_default_value = true)]
    etag: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Back, what was settled since is delivered again; forth, what lies between is passed over. What is \
out is fenced off: it can no longer be settled.

Examples:
  deskgate groups seek crm 1d --validate-only   how many events that would be
  deskgate groups seek crm 1d                   everything of the last day again
  deskgate groups seek crm latest               forget what is behind"
)]
struct SeekArgs {
    #[command(flatten)]
    one: One,
    /// Where it goes: latest, earliest, an age such as 15m, 2h or 7d, or a cursor.
    #[arg(value_name = "POSITION", value_parser = position_of)]
    to: pb::StartPosition,
    /// Change nothing; only say how many events it would affect.
    #[arg(long, env = "DESKGATE_GROUPS_VALIDATE_ONLY", value_parser = BoolishValueParser::new())]
    validate_only: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Its members' streams end. A group of the same name that is made later begins anew.

Example:
  deskgate groups delete crm")]
struct DeleteArgs {
    #[command(flatten)]
    server: Server,
    /// The group's name.
    #[arg(value_name = "GROUP")]
    group: String,
    /// Only if the settings are still those of this etag, which `show` tells.
    #[arg(long, env = "DESKGATE_GROUPS_ETAG", default_value = "", hide_default_value = true)]
    etag: String,
}

pub(super) type Client = ConsumerServiceClient<Channel>;

pub(super) async fn client(server: &Server) -> anyhow::Result<Client> {
    Ok(ConsumerServiceClient::new(server.connect().await?).max_decoding_message_size(ANSWER_BYTES_MAX))
}

pub(super) async fn run(args: GroupsArgs) -> anyhow::Result<()> {
    let done = match args.command {
        GroupsCommand::List(args) => list(args).await,
        GroupsCommand::Show(args) => show(args).await,
        GroupsCommand::Create(args) => create(args).await,
        GroupsCommand::Update(args) => update(args).await,
        GroupsCommand::Seek(args) => seek(args).await,
        GroupsCommand::Delete(args) => delete(args).await,
    };
    done.or_else(|error| if is_enough(&error) { Ok(()) } else { Err(error) })
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let ListArgs { server, json } = args;
    let mut listing = Listing::new("ConsumerGroup", json, PAGE_SIZE, 0)?;
    let mut client = client(&server).await?;
    let mut request = pb::ListConsumerGroupsRequest::default();
    loop {
        request.page_size = listing.page_size();
        let page = client
            .list_consumer_groups(request.clone())
            .await
            .map_err(|status| failed(&status))?
            .into_inner();
        request.page_token = page.next_page_token;
        let goes_on = listing.show(
            &page.consumer_groups,
            || row(["GROUP", "BEHIND", "OLDEST", "IN FLIGHT", "RETRYING", "PARKED", "BLOCKED", "MEMBERS"]),
            row_of,
        )?;
        if request.page_token.is_empty() || !goes_on {
            return listing.end("no groups");
        }
    }
}

fn row(columns: [&str; 8]) -> String {
    let [group, behind, oldest, flight, retrying, parked, blocked, members] = columns;
    format!(
        "{group:<30} {behind:>10} {oldest:>9} {flight:>9} {retrying:>8} {parked:>7} {blocked:>7} {members:>7}"
    )
}

fn row_of(group: &ConsumerGroup) -> String {
    let status = group.status.clone().unwrap_or_default();
    row([
        &printable(&group.group),
        &status.events_behind.to_string(),
        &oldest_of(&status),
        &status.in_flight.to_string(),
        &status.retrying.to_string(),
        &status.parked.to_string(),
        &status.blocked_tickets.to_string(),
        &connected(&status).count().to_string(),
    ])
}

/// The members that have a stream.
fn connected(status: &ConsumerGroupStatus) -> impl Iterator<Item = &pb::ConsumerMember> {
    status.members.iter().filter(|member| member.connect_time.is_some())
}

fn oldest_of(status: &ConsumerGroupStatus) -> String {
    status.oldest_unsettled_age.as_ref().map_or_else(|| "-".to_owned(), |age| short(age.seconds))
}

/// Seconds as people read them.
fn short(seconds: i64) -> String {
    let unit = [("d", 86_400), ("h", 3_600), ("m", 60)].into_iter().find(|(_, size)| seconds >= size * 2);
    unit.map_or_else(|| format!("{seconds}s"), |(unit, size)| format!("{}{unit}", seconds.div_euclid(size)))
}

async fn show(args: ShowArgs) -> anyhow::Result<()> {
    let One { server, group, json } = args.one;
    let answer = client(&server).await?.get_consumer_group(pb::GetConsumerGroupRequest { group }).await;
    let answer = answer.map_err(|status| failed(&status))?.into_inner();
    let Some(group) = answer.consumer_group else { bail!("the gateway answered nothing") };
    if json {
        return tell(&Json::new()?.line("ConsumerGroup", &group)?);
    }
    tell_group(&group)
}

/// An operator's first questions first.
fn tell_group(group: &ConsumerGroup) -> anyhow::Result<()> {
    let status = group.status.clone().unwrap_or_default();
    let oldest = match &status.oldest_unsettled_age {
        Some(age) => format!("{} ago ({} s)", short(age.seconds), age.seconds),
        None => "nothing is unsettled".to_owned(),
    };
    let blocked = match status.blocked_tickets {
        0 => "0 tickets".to_owned(),
        count => format!("{count} tickets: deskgate parked list {}", group.group),
    };
    let line = |name: &str, value: &str| tell(format!("{name:<16} {}", printable(value)).trim_end());
    line("group", &group.group)?;
    line("behind", &format!("{} events", status.events_behind))?;
    line("oldest unsettled", &oldest)?;
    line("in flight", &status.in_flight.to_string())?;
    line("retrying", &status.retrying.to_string())?;
    line("parked", &status.parked.to_string())?;
    line("blocked", &blocked)?;
    line("settled through", &status.settled_through_cursor)?;
    for (name, value) in super::group_settings::told(group) {
        line(name, &value)?;
    }
    if status.members.is_empty() {
        return line("members", "none: run `deskgate consume`, or a program of yours");
    }
    tell("")?;
    tell(&member_row(["MEMBER", "IN FLIGHT", "SINCE", "PROGRAM", "PRINCIPAL"]))?;
    for member in &status.members {
        tell(&member_row([
            &printable(&member.member_id),
            &member.in_flight.to_string(),
            &time_of(member.connect_time),
            &printable(&member.client_name),
            &printable(&member.principal),
        ]))?;
    }
    Ok(())
}

fn member_row(columns: [&str; 5]) -> String {
    let [member, flight, since, program, principal] = columns;
    format!("{member:<36} {flight:>9} {since:<20} {program:<24} {principal}").trim_end().to_owned()
}

async fn create(args: CreateArgs) -> anyhow::Result<()> {
    let CreateArgs { one: One { server, group, json }, from, settings } = args;
    let (settings, _) = settings.to_pb();
    let start = Some(from);
    let request =
        pb::CreateConsumerGroupRequest { consumer_group: Some(ConsumerGroup { group, start, ..settings }) };
    let answer = client(&server).await?.create_consumer_group(request).await;
    let answer = answer.map_err(|status| failed(&status))?.into_inner();
    let made = answer.consumer_group.clone().unwrap_or_default();
    if json {
        return tell(&Json::new()?.line("CreateConsumerGroupResponse", &answer)?);
    }
    tell(&format!("made {}; give it members: deskgate consume {} --exec …", made.group, made.group))
}

async fn update(args: UpdateArgs) -> anyhow::Result<()> {
    let UpdateArgs { one: One { server, group, json }, settings, reset, etag } = args;
    let (settings, mut paths) = settings.to_pb();
    let reset: Vec<_> = reset.into_iter().map(|field| field.name().to_owned()).collect();
    if let Some(field) = reset.iter().find(|field| paths.contains(field)) {
        return Err(Usage(format!("{field} is given a value and reset: leave one out")).into());
    }
    paths.extend(reset);
    if paths.is_empty() {
        return Err(Usage("nothing to change: give a setting, or --reset one".to_owned()).into());
    }
    let request = pb::UpdateConsumerGroupRequest {
        consumer_group: Some(ConsumerGroup { group, etag, ..settings }),
        update_mask: Some(prost_types::FieldMask { paths }),
    };
    let answer = client(&server).await?.update_consumer_group(request).await;
    let answer = answer.map_err(|status| failed(&status))?.into_inner();
    if json {
        return tell(&Json::new()?.line("UpdateConsumerGroupResponse", &answer)?);
    }
    tell(&format!("changed {}", answer.consumer_group.unwrap_or_default().group))
}

async fn seek(args: SeekArgs) -> anyhow::Result<()> {
    let SeekArgs { one: One { server, group, json }, to, validate_only } = args;
    let request = pb::SeekConsumerGroupRequest { group, to: Some(to), validate_only };
    let answer = client(&server).await?.seek_consumer_group(request).await;
    let answer = answer.map_err(|status| failed(&status))?.into_inner();
    if json {
        return tell(&Json::new()?.line("SeekConsumerGroupResponse", &answer)?);
    }
    let group = answer.consumer_group.unwrap_or_default().group;
    let did = if validate_only { "would move" } else { "moved" };
    tell(&format!("{did} {group} over {} events", answer.events_affected))
}

async fn delete(args: DeleteArgs) -> anyhow::Result<()> {
    let DeleteArgs { server, group, etag } = args;
    let request = pb::DeleteConsumerGroupRequest { group: group.clone(), etag };
    let answer = client(&server).await?.delete_consumer_group(request).await;
    answer.map_err(|status| failed(&status))?;
    tell(&format!("deleted {group}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let told = [(0, "0s"), (119, "119s"), (120, "2m"), (7_200, "2h"), (700_000, "8d")];
        for (seconds, text) in told {
            assert_eq!(short(seconds), text);
        }
    }
}
