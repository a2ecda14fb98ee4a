//! `deskgate tail`: follows a gateway's events, and goes on where it was when the gateway is restarted.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use clap::builder::BoolishValueParser;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::client::{Json, Server, cause_of, failed, is_enough, said_by, time_of};
use crate::grpc::pb;
use crate::grpc::pb::event_service_client::EventServiceClient;
use pb::content::Kind;
use pb::event::Payload;
use pb::start_position::Position;
use pb::subscribe_response::Message as Told;

/// The longest pause between two attempts to connect.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The largest event that is taken, its raw body included.
const EVENT_BYTES_MAX: usize = 32 << 20;
/// How much of a text one line shows.
const TEXT_CHARS_MAX: usize = 120;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  deskgate tail                                   everything from now on
  deskgate tail --from 15m --type 'ticket.*'      the tickets of the last quarter of an hour, and on
  deskgate tail --from earliest --stop --json     the whole log as JSON lines, then end")]
pub(super) struct TailArgs {
    #[command(flatten)]
    server: Server,
    /// Where to begin: latest, earliest, an age such as 15m, 2h or 7d, or a cursor.
    #[arg(
        long,
        value_name = "POSITION",
        default_value = "latest",
        env = "DESKGATE_TAIL_FROM",
        value_parser = position_of
    )]
    from: pb::StartPosition,
    /// Only this bot; may be repeated, or several with commas.
    #[arg(long, value_name = "NAME", env = "DESKGATE_TAIL_BOT", value_delimiter = ',')]
    bot: Vec<String>,
    /// Only this ticket; may be repeated, or several with commas.
    #[arg(long, value_name = "ID", env = "DESKGATE_TAIL_TICKET", value_delimiter = ',')]
    ticket: Vec<String>,
    /// Only this type, such as message.customer or ticket.*; may be repeated, or several with commas.
    #[arg(long = "type", value_name = "TYPE", env = "DESKGATE_TAIL_TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// End after this many events.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        env = "DESKGATE_TAIL_LIMIT"
    )]
    limit: u32,
    /// End when the newest event has been shown.
    #[arg(long, env = "DESKGATE_TAIL_STOP", value_parser = BoolishValueParser::new())]
    stop: bool,
    /// Protobuf JSON, one event a line, for scripts.
    #[arg(long, env = "DESKGATE_TAIL_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
    /// With --json: include the exact body that Blip posted.
    #[arg(long, requires_if("true", "json"), env = "DESKGATE_TAIL_RAW", value_parser = BoolishValueParser::new())]
    raw: bool,
}

pub(super) async fn run(args: TailArgs) -> anyhow::Result<()> {
    let endpoint = args.server.endpoint()?;
    let mut tail = Tail { request: request(&args), out: Output::new(args.json)?, shown: 0, connected: false };
    let mut pause = Duration::from_millis(200);
    loop {
        let before = tail.shown;
        match tail.follow(&endpoint).await {
            Ok(()) => return Ok(()),
            Err(Broken::Ends(error)) => return Err(error),
            Err(Broken::Passes(_)) if tail.out.closed || tail.left() == Some(0) => return Ok(()),
            Err(Broken::Passes(why)) => {
                if !tail.connected {
                    bail!("no gateway answers at {}: {why}", args.server);
                }
                if tail.shown > before {
                    pause = Duration::from_millis(200);
                }
                writeln!(io::stderr(), "-- {why}; going on where we were")?;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Why a stream ended before it was asked to.
enum Broken {
    /// Connecting again may help.
    Passes(String),
    /// It will not.
    Ends(anyhow::Error),
}

struct Tail {
    request: pb::SubscribeRequest,
    out: Output,
    shown: u32,
    connected: bool,
}

impl Tail {
    /// How many events may still be shown; `None` without a limit.
    fn left(&self) -> Option<u32> {
        (self.request.limit > 0).then(|| self.request.limit.saturating_sub(self.shown))
    }

    /// One stream, to its end. The request's position moves with what was shown.
    async fn follow(&mut self, endpoint: &Endpoint) -> Result<(), Broken> {
        let channel: Channel = endpoint.connect().await.map_err(|error| Broken::Passes(cause_of(&error)))?;
        let mut client = EventServiceClient::new(channel).max_decoding_message_size(EVENT_BYTES_MAX);
        let mut request = self.request.clone();
        request.limit = self.left().unwrap_or_default();
        let mut stream = client.subscribe(request).await.map_err(|status| sort(&status))?.into_inner();
        loop {
            let Some(response) = stream.message().await.map_err(|status| sort(&status))? else {
                return Ok(());
            };
            self.connected = true;
            let cursor = match response.message {
                None => continue,
                Some(Told::Event(event)) => {
                    self.shown = self.shown.saturating_add(1);
                    self.out.event(&event).map_err(|error| self.out.broken(&error))?;
                    event.cursor
                }
                Some(Told::Started(started)) => started.cursor,
                Some(Told::Checkpoint(checkpoint)) => checkpoint.cursor,
                Some(Told::CaughtUp(caught_up)) => caught_up.cursor,
                Some(Told::FellBehind(fell_behind)) => fell_behind.cursor,
                Some(Told::Gap(gap)) => {
                    let _ = writeln!(io::stderr(), "-- gap: events are missing here ({})", gap.reason);
                    gap.to_cursor
                }
                Some(Told::GoingAway(going)) => going.resume_cursor,
            };
            self.request.start = Some(pb::StartPosition { position: Some(Position::AfterCursor(cursor)) });
        }
    }
}

fn request(args: &TailArgs) -> pb::SubscribeRequest {
    let start = args.from.clone();
    let view = if args.raw { pb::EventView::Raw } else { pb::EventView::Full };
    pb::SubscribeRequest {
        filter: Some(pb::EventFilter {
            bots: args.bot.clone(),
            types: args.types.clone(),
            ticket_ids: args.ticket.clone(),
            ..pb::EventFilter::default()
        }),
        start: Some(start),
        view: view.into(),
        limit: args.limit,
        stop_when_caught_up: args.stop,
        client_name: "deskgate tail".to_owned(),
        ..pb::SubscribeRequest::default()
    }
}

/// A position as people write it.
pub(super) fn position_of(text: &str) -> Result<pb::StartPosition, String> {
    let position = match text {
        "latest" => Position::Latest(true),
        "earliest" => Position::Earliest(true),
        text => match age(text) {
            Some(seconds) => Position::Ago(prost_types::Duration { seconds, nanos: 0 }),
            None if text.len() >= 16 => Position::AfterCursor(text.to_owned()),
            None => return Err("not latest, earliest, an age such as 15m, 2h or 7d, nor a cursor".to_owned()),
        },
    };
    Ok(pb::StartPosition { position: Some(position) })
}

/// Seconds of `90s`, `15m`, `2h` or `7d`.
fn age(text: &str) -> Option<i64> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let digits = text.get(..text.len().checked_sub(1)?)?;
    digits.parse::<u32>().ok().and_then(|number| i64::from(number).checked_mul(unit))
}

fn sort(status: &tonic::Status) -> Broken {
    if matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal) {
        Broken::Passes(said_by(status))
    } else {
        Broken::Ends(failed(status))
    }
}

/// Where events are shown.
struct Output {
    json: Option<Json>,
    color: bool,
    closed: bool,
}

impl Output {
    fn new(json: bool) -> anyhow::Result<Self> {
        let json = json.then(Json::new).transpose()?;
        Ok(Self { json, color: io::stdout().is_terminal(), closed: false })
    }

    fn event(&self, event: &pb::Event) -> anyhow::Result<()> {
        let line = match &self.json {
            Some(json) => json.line("Event", event)?,
            None => readable(event, self.color),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()?;
        Ok(())
    }

    /// A closed pipe is the reader's way to say enough.
    fn broken(&mut self, error: &anyhow::Error) -> Broken {
        self.closed = is_enough(error);
        if self.closed { Broken::Passes(String::new()) } else { Broken::Ends(anyhow::anyhow!("{error}")) }
    }
}

/// One line: time, bot, ticket and place in it, type, and what it says.
fn readable(event: &pb::Event, color: bool) -> String {
    let time = time_of(event.receive_time);
    let (dim, bold, plain) = if color { ("\x1b[2m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
    let place = match event.ticket_sequence {
        0 => String::new(),
        sequence => format!("{} #{sequence}", event.ticket_id),
    };
    let says = printable(&says(event.payload.as_ref()));
    format!(
        "{dim}{time}{plain} {} {dim}{}{plain} {bold}{:<18}{plain} {says}",
        event.bot,
        printable(&place),
        event.r#type
    )
}

fn says(payload: Option<&Payload>) -> String {
    let ticket = |ticket: &Option<pb::Ticket>| {
        ticket.as_ref().map(|ticket| {
            let number = ticket.sequential_id.map(|number| format!("no. {number} ")).unwrap_or_default();
            let who = [&ticket.customer_identity, &ticket.team, &ticket.agent_identity];
            let who: Vec<_> = who.into_iter().filter(|text| !text.is_empty()).map(String::as_str).collect();
            format!("{number}{} {}", ticket.blip_status, who.join(" · "))
        })
    };
    match payload {
        None => String::new(),
        Some(Payload::TicketCreated(told)) => ticket(&told.ticket).unwrap_or_default(),
        Some(Payload::TicketAssigned(told)) => ticket(&told.ticket).unwrap_or_default(),
        Some(Payload::TicketTransferred(told)) => ticket(&told.ticket).unwrap_or_default(),
        Some(Payload::TicketClosed(told)) => ticket(&told.ticket).unwrap_or_default(),
        Some(Payload::TicketUpdated(told)) => {
            format!("{} ({})", ticket(&told.ticket).unwrap_or_default(), told.changed_fields.join(", "))
        }
        Some(Payload::CustomerMessage(told)) => content(told.content.as_ref()),
        Some(Payload::AgentMessage(told)) => content(told.content.as_ref()),
        Some(Payload::TicketContext(told)) => content(told.content.as_ref()),
        Some(Payload::MessageStatusChanged(told)) => {
            let unknown = told.status() == pb::MessageStatus::Unrecognized;
            let status = if unknown { &told.blip_status } else { told.status().as_str_name() };
            format!("{} {status} {}", told.message_id, told.reason_description)
        }
        Some(Payload::CustomerTyping(told)) => told.state.clone(),
        Some(Payload::MessageDeleted(told)) => told.message_id.clone(),
        Some(Payload::CommandSettled(told)) => {
            let state = told.state().as_str_name().trim_start_matches("COMMAND_STATE_").to_lowercase();
            format!("{} {} {state} {}", told.method, told.command_id, told.error_reason)
        }
        Some(Payload::GatewayAlert(told)) => format!("{} {}", told.reason, told.description),
        Some(Payload::Unknown(told)) => told.media_type.clone(),
    }
}

fn content(content: Option<&pb::Content>) -> String {
    let Some(content) = content else { return String::new() };
    match &content.kind {
        Some(Kind::Text(text)) => format!("“{text}”"),
        Some(Kind::Media(media)) => format!("[{}] {} {}", media.mime_type, media.title, media.text),
        Some(Kind::Location(place)) => {
            format!("[place] {}, {} {}", place.latitude, place.longitude, place.text)
        }
        Some(Kind::Contact(card)) => format!("[contact] {} {} {}", card.name, card.phone_number, card.email),
        Some(Kind::WebLink(link)) => format!("[link] {} {} {}", link.uri, link.title, link.text),
        Some(Kind::Menu(menu)) => format!("[menu of {}] {}", menu.options.len(), menu.text),
        Some(Kind::Reply(reply)) => format!("[reply] {}", self::content(reply.replied.as_deref())),
        Some(Kind::Reaction(reaction)) if reaction.removed => "[reaction removed]".to_owned(),
        Some(Kind::Reaction(reaction)) => format!("[reaction] {}", reaction.emoji),
        Some(
            Kind::Carousel(_)
            | Kind::List(_)
            | Kind::Input(_)
            | Kind::Collection(_)
            | Kind::Sensitive(_)
            | Kind::Json(_),
        )
        | None => format!("[{}]", content.media_type),
    }
}

/// A text without line breaks, control characters or great length: a customer's words must not steer a terminal.
pub(super) fn printable(text: &str) -> String {
    let mut line: String = steady(text).take(TEXT_CHARS_MAX).collect();
    if text.chars().nth(TEXT_CHARS_MAX).is_some() {
        line.push('…');
    }
    line
}

/// What others wrote, however long: it must not steer a terminal, nor begin a line.
pub(super) fn steady(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        assert_eq!((age("90s"), age("2h"), age("7d")), (Some(90), Some(7_200), Some(604_800)));
        assert_eq!((age("h"), age("-1h"), age("é"), age("")), (None, None, None, None));
    }

    #[test]
    fn nothing_is_asked_for_once_the_limit_is_reached() {
        let tail = |limit, shown| Tail {
            request: pb::SubscribeRequest { limit, ..pb::SubscribeRequest::default() },
            out: Output::new(false).unwrap(),
            shown,
            connected: true,
        };
        assert_eq!((tail(0, 7).left(), tail(3, 1).left(), tail(3, 3).left()), (None, Some(2), Some(0)));
    }

    #[test]
    fn a_customers_words_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\nc"), "a [2Jb c");
        assert_eq!(printable(&"x".repeat(500)).chars().count(), TEXT_CHARS_MAX + 1);
    }
}
