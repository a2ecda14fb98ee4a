//! `deskgate tickets`: look at tickets and act on them, as a client of the public API.

use anyhow::bail;
use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand, ValueEnum};
use prost::Message;
use tonic::transport::Channel;

use super::bulk::{self, CloseArgs};
use super::client::{Json, Server, failed, is_enough, tell, time_of};
use super::listing::{Listing, tell_left_out};
use super::tail::printable;
use crate::grpc::pb;
use crate::grpc::pb::ticket_service_client::TicketServiceClient;

/// Tickets asked for at once.
const PAGE_SIZE: i32 = 200;
/// The largest answer that is taken.
const ANSWER_BYTES_MAX: usize = 32 << 20;

#[derive(Debug, Args)]
pub(super) struct TicketsArgs {
    #[command(subcommand)]
    command: TicketsCommand,
}

#[derive(Debug, Subcommand)]
enum TicketsCommand {
    /// Which tickets there are, newest first.
    List(ListArgs),
    /// One ticket.
    Show(ShowArgs),
    /// Give a ticket to an agent.
    Assign(AssignArgs),
    /// Say something to a ticket's customer.
    Send(SendArgs),
    /// Close tickets: one, several, or all that a file names.
    Close(CloseArgs),
    /// Move a ticket's customer to another team.
    Transfer(TransferArgs),
    /// Replace a ticket's tags.
    Tags(TagsArgs),
}

/// Whom to ask, of which bot, and how to tell the answer.
#[derive(Debug, Args)]
pub(super) struct Asking {
    #[command(flatten)]
    pub(super) server: Server,
    /// The bot that owns the tickets. Without it `list` tells of all bots; the others need it only if the gateway
    /// cannot tell.
    #[arg(
        long,
        value_name = "NAME",
        env = "DESKGATE_TICKETS_BOT",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) bot: String,
    /// Protobuf JSON, one message a line, for scripts.
    #[arg(long, env = "DESKGATE_TICKETS_JSON", value_parser = BoolishValueParser::new())]
    pub(super) json: bool,
}

/// How a command is to be carried out.
#[derive(Debug, Args)]
pub(super) struct Acting {
    #[command(flatten)]
    pub(super) asking: Asking,
    /// Do not wait for Blip: the gateway sends it as soon as it can.
    #[arg(long, env = "DESKGATE_TICKETS_ACCEPT_ONLY", value_parser = BoolishValueParser::new())]
    pub(super) accept_only: bool,
}

impl Acting {
    /// A call that may be repeated: its id is new.
    pub(super) fn options(&self) -> pb::CommandOptions {
        let request_id = uuid::Uuid::new_v4().to_string();
        pb::CommandOptions { request_id, accept_only: self.accept_only, ..Default::default() }
    }

    /// Tells an answer, which is a `deskgate.v1` message called `name`, or what it says in a line.
    fn tell(&self, name: &str, answer: &impl Message, line: &str) -> anyhow::Result<()> {
        if self.asking.json { tell(&Json::new()?.line(name, answer)?) } else { tell(line) }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Status {
    Waiting,
    Assigned,
    Open,
    ClosedAttendant,
    ClosedClient,
    ClosedClientInactivity,
    Transferred,
}

impl Status {
    fn to_pb(self) -> pb::TicketStatus {
        match self {
            Self::Waiting => pb::TicketStatus::Waiting,
            Self::Assigned => pb::TicketStatus::Assigned,
            Self::Open => pb::TicketStatus::Open,
            Self::ClosedAttendant => pb::TicketStatus::ClosedAttendant,
            Self::ClosedClient => pb::TicketStatus::ClosedClient,
            Self::ClosedClientInactivity => pb::TicketStatus::ClosedClientInactivity,
            Self::Transferred => pb::TicketStatus::Transferred,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  deskgate tickets list                                  every ticket that the gateway has recorded
  deskgate tickets list --status waiting,open --fresh    as Blip has them now
  deskgate tickets list --team Vendas --json             as JSON lines")]
struct ListArgs {
    #[command(flatten)]
    asking: Asking,
    /// Only in this state; may be repeated, or several with commas.
    #[arg(long, value_name = "STATUS", env = "DESKGATE_TICKETS_STATUS", value_delimiter = ',')]
    status: Vec<Status>,
    /// Only of this team.
    #[arg(long, env = "DESKGATE_TICKETS_TEAM", default_value = "", hide_default_value = true)]
    team: String,
    /// Only of this agent, by e-mail.
    #[arg(long, env = "DESKGATE_TICKETS_AGENT", default_value = "", hide_default_value = true)]
    agent: String,
    /// Only of this customer, by identity.
    #[arg(
        long,
        value_name = "IDENTITY",
        env = "DESKGATE_TICKETS_CUSTOMER",
        default_value = "",
        hide_default_value = true
    )]
    customer: String,
    /// Ask Blip.
    #[arg(long, env = "DESKGATE_TICKETS_FRESH", value_parser = BoolishValueParser::new())]
    fresh: bool,
    /// End after this many; 0 for no end.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        env = "DESKGATE_TICKETS_LIMIT"
    )]
    limit: usize,
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    asking: Asking,
    /// The ticket.
    #[arg(value_name = "TICKET")]
    ticket: String,
    /// Ask Blip.
    #[arg(long, env = "DESKGATE_TICKETS_FRESH", value_parser = BoolishValueParser::new())]
    fresh: bool,
}

#[derive(Debug, Args)]
struct AssignArgs {
    #[command(flatten)]
    acting: Acting,
    /// The ticket.
    #[arg(value_name = "TICKET")]
    ticket: String,
    /// Who gets it, by e-mail.
    #[arg(value_name = "AGENT")]
    agent: String,
}

#[derive(Debug, Args)]
struct SendArgs {
    #[command(flatten)]
    acting: Acting,
    /// The ticket.
    #[arg(value_name = "TICKET")]
    ticket: String,
    /// What to say.
    #[arg(value_name = "TEXT")]
    text: String,
    /// Who speaks, by e-mail; the ticket's agent unless told.
    #[arg(long, env = "DESKGATE_TICKETS_AGENT", default_value = "", hide_default_value = true)]
    agent: String,
}

#[derive(Debug, Args)]
struct TransferArgs {
    #[command(flatten)]
    acting: Acting,
    /// The ticket.
    #[arg(value_name = "TICKET")]
    ticket: String,
    /// Where the customer goes.
    #[arg(value_name = "TEAM")]
    team: String,
    /// To this agent of the team, by e-mail.
    #[arg(long, env = "DESKGATE_TICKETS_AGENT", default_value = "", hide_default_value = true)]
    agent: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  deskgate tickets tags 76f5… boleto urgente      these two, and no other
  deskgate tickets tags 76f5… --clear             none")]
struct TagsArgs {
    #[command(flatten)]
    acting: Acting,
    /// The ticket.
    #[arg(value_name = "TICKET")]
    ticket: String,
    /// All that it is to have.
    #[arg(value_name = "TAG", required_unless_present = "clear", conflicts_with = "clear")]
    tags: Vec<String>,
    /// It is to have none.
    #[arg(long, env = "DESKGATE_TICKETS_CLEAR", value_parser = BoolishValueParser::new())]
    clear: bool,
}

pub(super) type Client = TicketServiceClient<Channel>;

pub(super) async fn client(server: &Server) -> anyhow::Result<Client> {
    Ok(TicketServiceClient::new(server.connect().await?).max_decoding_message_size(ANSWER_BYTES_MAX))
}

pub(super) async fn run(args: TicketsArgs) -> anyhow::Result<()> {
    let done = match args.command {
        TicketsCommand::List(args) => list(args).await,
        TicketsCommand::Show(args) => show(args).await,
        TicketsCommand::Assign(args) => assign(args).await,
        TicketsCommand::Send(args) => send(args).await,
        TicketsCommand::Close(args) => bulk::close(args).await,
        TicketsCommand::Transfer(args) => transfer(args).await,
        TicketsCommand::Tags(args) => tags(args).await,
    };
    done.or_else(|error| if is_enough(&error) { Ok(()) } else { Err(error) })
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let ListArgs { asking, status, team, agent, customer, fresh, limit } = args;
    let Asking { server, bot, json } = asking;
    let mut listing = Listing::new("Ticket", json, PAGE_SIZE, limit)?;
    let mut client = client(&server).await?;
    let mut request = pb::ListTicketsRequest {
        bot,
        statuses: status.into_iter().map(|status| status.to_pb().into()).collect(),
        team,
        agent,
        customer_identity: customer,
        fresh,
        ..Default::default()
    };
    let mut left_out = 0_u32;
    loop {
        request.page_size = listing.page_size();
        let page = client.list_tickets(request.clone()).await.map_err(|status| failed(&status))?.into_inner();
        request.page_token = page.next_page_token;
        left_out = left_out.saturating_add(page.left_out);
        let goes_on = listing.show(
            &page.tickets,
            || row(&HEAD),
            |ticket| row(&columns(ticket).each_ref().map(String::as_str)),
        )?;
        if request.page_token.is_empty() || !goes_on {
            tell_left_out(left_out)?;
            return listing.end("no tickets");
        }
    }
}

const HEAD: [&str; 7] = ["TICKET", "NO.", "STATUS", "CREATED", "TEAM", "AGENT", "CUSTOMER"];

fn row(columns: &[&str; 7]) -> String {
    let [ticket, number, status, created, team, agent, customer] = columns;
    let line =
        format!("{ticket:<36} {number:>6} {status:<22} {created:<20} {team:<14} {agent:<26} {customer}");
    line.trim_end().to_owned()
}

fn columns(ticket: &pb::Ticket) -> [String; 7] {
    [
        printable(&ticket.ticket_id),
        ticket.sequential_id.map(|number| number.to_string()).unwrap_or_default(),
        printable(&ticket.blip_status),
        time_of(ticket.create_time),
        printable(&ticket.team),
        printable(&email_of(&ticket.agent_identity)),
        printable(&ticket.customer_identity),
    ]
}

/// An agent as people write it.
fn email_of(identity: &str) -> String {
    match identity.strip_suffix("@blip.ai") {
        Some(name) => name.replace("%40", "@"),
        None => identity.to_owned(),
    }
}

async fn show(args: ShowArgs) -> anyhow::Result<()> {
    let ShowArgs { asking: Asking { server, bot, json }, ticket, fresh } = args;
    let request = pb::GetTicketRequest { ticket_id: ticket, bot, fresh };
    let answer = client(&server).await?.get_ticket(request).await.map_err(|status| failed(&status))?;
    let answer = answer.into_inner();
    if json {
        return tell(&Json::new()?.line("GetTicketResponse", &answer)?);
    }
    let Some(ticket) = &answer.ticket else { bail!("the gateway answered nothing") };
    for (name, value) in HEAD.into_iter().zip(columns(ticket)).filter(|(_, value)| !value.is_empty()) {
        tell(&format!("{:<10} {value}", name.to_lowercase()))?;
    }
    for (name, value) in [
        ("bot", ticket.bot.clone()),
        ("tags", ticket.tags.join(", ")),
        ("closed by", email_of(&ticket.closed_by)),
        ("opened", time_of(ticket.open_time)),
        ("closed", time_of(ticket.close_time)),
        ("came from", ticket.parent_ticket_id.clone()),
        ("events", answer.ticket_sequence.to_string()),
    ] {
        if !value.is_empty() {
            tell(&format!("{name:<10} {}", printable(&value)))?;
        }
    }
    Ok(())
}

async fn assign(args: AssignArgs) -> anyhow::Result<()> {
    let AssignArgs { acting, ticket, agent } = args;
    let (bot, options) = (acting.asking.bot.clone(), Some(acting.options()));
    let request = pb::AssignRequest { ticket_id: ticket, agent, bot, options };
    let answer =
        client(&acting.asking.server).await?.assign(request).await.map_err(|status| failed(&status))?;
    let answer = answer.into_inner();
    acting.tell("AssignResponse", &answer, &said(answer.receipt.as_ref(), "assigned"))
}

async fn send(args: SendArgs) -> anyhow::Result<()> {
    let SendArgs { acting, ticket, text, agent } = args;
    let (bot, options) = (acting.asking.bot.clone(), Some(acting.options()));
    let request = pb::SendRequest { ticket_id: ticket, text, agent, bot, options, ..Default::default() };
    let answer =
        client(&acting.asking.server).await?.send(request).await.map_err(|status| failed(&status))?;
    let answer = answer.into_inner();
    acting.tell("SendResponse", &answer, &said(answer.receipt.as_ref(), "sent"))
}

async fn transfer(args: TransferArgs) -> anyhow::Result<()> {
    let TransferArgs { acting, ticket, team, agent } = args;
    let (bot, options) = (acting.asking.bot.clone(), Some(acting.options()));
    let request = pb::TransferRequest { ticket_id: ticket, team, agent, bot, options };
    let answer =
        client(&acting.asking.server).await?.transfer(request).await.map_err(|status| failed(&status))?;
    let answer = answer.into_inner();
    let new = answer.new_ticket.as_ref().map(|new| printable(&new.ticket_id));
    let done = new.map_or("transferred".to_owned(), |new| format!("transferred: ticket {new} goes on"));
    acting.tell("TransferResponse", &answer, &said(answer.receipt.as_ref(), &done))
}

async fn tags(args: TagsArgs) -> anyhow::Result<()> {
    let TagsArgs { acting, ticket, tags, clear: _ } = args;
    let (bot, options) = (acting.asking.bot.clone(), Some(acting.options()));
    let request = pb::SetTagsRequest { ticket_id: ticket, tags, bot, options };
    let answer =
        client(&acting.asking.server).await?.set_tags(request).await.map_err(|status| failed(&status))?;
    let answer = answer.into_inner();
    acting.tell("SetTagsResponse", &answer, &said(answer.receipt.as_ref(), "tags set"))
}

/// What became of a command, in a line.
pub(super) fn said(receipt: Option<&pb::CommandReceipt>, done: &str) -> String {
    let Some(receipt) = receipt else { return done.to_owned() };
    let waiting = is_waiting(Some(receipt));
    let what = if waiting { "accepted; `deskgate commands show` tells its end" } else { done };
    format!("{what} (command {})", receipt.command_id)
}

/// Whether a command is accepted and has no end yet.
pub(super) fn is_waiting(receipt: Option<&pb::CommandReceipt>) -> bool {
    match receipt.map(pb::CommandReceipt::state) {
        Some(pb::CommandState::Queued | pb::CommandState::Running) => true,
        Some(
            pb::CommandState::Succeeded
            | pb::CommandState::Failed
            | pb::CommandState::OutcomeUnknown
            | pb::CommandState::Unspecified,
        )
        | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_shown_by_email() {
        assert_eq!(email_of("ana%40empresa.com@blip.ai"), "ana@empresa.com");
        assert_eq!(email_of("superAgent"), "superAgent");
    }

    #[test]
    fn rows_have_no_blanks_at_their_end() {
        assert_eq!(row(&["t", "", "", "", "", "", ""]), "t");
    }
}
