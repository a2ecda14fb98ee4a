//! `deskgate quarantine`: webhooks whose body could not be read: which there are, what they hold, and, once a
//! version can read them, how they become events.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches, Subcommand};
use tonic::Code;
use tonic::transport::Channel;

use super::client::{Json, Server, failed, is_enough, tell, time_of};
use super::listing::Listing;
use super::tail::printable;
use crate::grpc::pb;
use crate::grpc::pb::admin_service_client::AdminServiceClient;
use pb::{QuarantinedWebhook, ReplayOutcome};

/// Webhooks asked for at once.
const PAGE_SIZE: i32 = 500;
/// Webhooks replayed at once: a call ends soon, and tells how far it is.
const REPLAY_SIZE: i32 = 250;
/// The largest answer that is taken.
const ANSWER_BYTES_MAX: usize = 32 << 20;

#[derive(Debug, Args)]
#[command(
    after_help = "A webhook whose body is not a JSON object, or nests more than 128 deep, is kept in quarantine, as \
long as events are kept. \
Look at it, mend what posts it, or replay it with a version of deskgate that can read it."
)]
pub(super) struct QuarantineArgs {
    #[command(subcommand)]
    command: QuarantineCommand,
}

#[derive(Debug, Subcommand)]
enum QuarantineCommand {
    /// Which webhooks are in quarantine, oldest first.
    List(ListArgs),
    /// The body of one of them.
    Show(ShowArgs),
    /// Read them again: what can be read now becomes an event and leaves the quarantine.
    Replay(Replay),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  deskgate quarantine list                        id, time, bot, size and reason of each
  deskgate quarantine list --bot suporte --json   one bot's, as JSON lines")]
struct ListArgs {
    #[command(flatten)]
    server: Server,
    /// Only this bot's.
    #[arg(long, value_name = "NAME", env = "DESKGATE_QUARANTINE_BOT")]
    bot: Option<String>,
    /// End after this many; 0 for no end.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        env = "DESKGATE_QUARANTINE_LIMIT"
    )]
    limit: usize,
    /// Protobuf JSON, one webhook a line, for scripts.
    #[arg(long, env = "DESKGATE_QUARANTINE_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A body can be any bytes, and may hold a customer's words. As text, what is no UTF-8 or would \
steer a terminal is replaced; --raw and --output give the exact bytes.

Examples:
  deskgate quarantine show 17                     as text
  deskgate quarantine show 17 --raw | xxd         the exact bytes
  deskgate quarantine show 17 --output body.bin   the exact bytes, into a file that only you may read"
)]
struct ShowArgs {
    #[command(flatten)]
    server: Server,
    /// Which one, by the id that `list` tells.
    #[arg(value_name = "ID")]
    id: u64,
    /// The exact bytes.
    #[arg(long, env = "DESKGATE_QUARANTINE_RAW", value_parser = BoolishValueParser::new())]
    raw: bool,
    /// Write the exact bytes to this file.
    #[arg(long, value_name = "FILE", env = "DESKGATE_QUARANTINE_OUTPUT")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "What becomes an event is new at the log's end, flagged `order_uncertain`. What is in the log \
already only leaves the quarantine, and what still cannot be read stays. It is safe to run again, whatever became of \
the run before.

Examples:
  deskgate quarantine replay --all --validate-only   what would happen
  deskgate quarantine replay --all                   all of it, oldest first
  deskgate quarantine replay 17 18                   these two

Exits 0 when done; 1 when it failed, or a webhook named by its id could not be replayed or is not there; 2 for \
wrong arguments."
)]
#[command(
    override_usage = "deskgate quarantine replay [OPTIONS] <ID>...\n       deskgate quarantine replay [OPTIONS] --all"
)]
struct ReplayArgs {
    #[command(flatten)]
    server: Server,
    /// Which ones, by the ids that `list` tells.
    #[arg(value_name = "ID")]
    ids: Vec<u64>,
    /// All that are in quarantine, unless ids are given.
    #[arg(long, env = "DESKGATE_QUARANTINE_ALL", value_parser = BoolishValueParser::new())]
    all: bool,
    /// With --all: only this bot's.
    #[arg(long, value_name = "NAME", env = "DESKGATE_QUARANTINE_BOT")]
    bot: Option<String>,
    /// Change nothing; only say what would happen.
    #[arg(long, env = "DESKGATE_QUARANTINE_VALIDATE_ONLY", value_parser = BoolishValueParser::new())]
    validate_only: bool,
    /// Protobuf JSON, one webhook a line, for scripts; the counts go to stderr.
    #[arg(long, env = "DESKGATE_QUARANTINE_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

/// The arguments of a replay, once they go together. What the environment says for every call gives way to ids.
#[derive(Debug)]
struct Replay(ReplayArgs);

impl FromArgMatches for Replay {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = ReplayArgs::from_arg_matches(matches)?;
        let typed = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
        let fault = match (args.ids.is_empty(), args.all) {
            (true, false) => {
                Some((ErrorKind::MissingRequiredArgument, "which ones? Give their ids, or --all"))
            }
            (false, _) if typed("all") || typed("bot") => Some((
                ErrorKind::ArgumentConflict,
                "ids cannot be used with --all or --bot: give one or the other",
            )),
            _ => None,
        };
        if let Some((kind, message)) = fault {
            return Err(clap::Error::raw(kind, message));
        }
        if !args.ids.is_empty() {
            (args.all, args.bot) = (false, None);
        }
        Ok(Self(args))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Replay {
    fn augment_args(command: clap::Command) -> clap::Command {
        ReplayArgs::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        ReplayArgs::augment_args_for_update(command)
    }
}

pub(super) async fn run(args: QuarantineArgs) -> anyhow::Result<()> {
    let done = match args.command {
        QuarantineCommand::List(args) => list(args).await,
        QuarantineCommand::Show(args) => show(args).await,
        QuarantineCommand::Replay(Replay(args)) => replay(args).await,
    };
    done.or_else(|error| if is_enough(&error) { Ok(()) } else { Err(error) })
}

async fn client(server: &Server) -> anyhow::Result<AdminServiceClient<Channel>> {
    Ok(AdminServiceClient::new(server.connect().await?).max_decoding_message_size(ANSWER_BYTES_MAX))
}

/// A call that failed; an earlier gateway does not have this service.
fn refused(status: &tonic::Status) -> anyhow::Error {
    let error = failed(status);
    if status.code() == Code::Unimplemented {
        return error.context("the gateway is older than this command");
    }
    error
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let ListArgs { server, bot, limit, json } = args;
    let mut listing = Listing::new("QuarantinedWebhook", json, PAGE_SIZE, limit)?;
    let mut client = client(&server).await?;
    let mut request =
        pb::ListQuarantinedWebhooksRequest { bot: bot.unwrap_or_default(), ..Default::default() };
    loop {
        request.page_size = listing.page_size();
        let page = client
            .list_quarantined_webhooks(request.clone())
            .await
            .map_err(|status| refused(&status))?
            .into_inner();
        request.page_token = page.next_page_token;
        let goes_on = listing.show(
            &page.webhooks,
            || format!("{:<8} {:<20} {:<16} {:>9}  REASON", "ID", "RECEIVED", "BOT", "BYTES"),
            row,
        )?;
        if request.page_token.is_empty() || !goes_on {
            return listing.end("nothing is in quarantine");
        }
    }
}

fn row(webhook: &QuarantinedWebhook) -> String {
    let QuarantinedWebhook { id, bot, receive_time, reason, size_bytes, body: _ } = webhook;
    let time = time_of(*receive_time);
    format!("{id:<8} {time:<20} {:<16} {size_bytes:>9}  {}", printable(bot), printable(reason))
}

async fn show(args: ShowArgs) -> anyhow::Result<()> {
    let ShowArgs { server, id, raw, output } = args;
    let request = pb::ListQuarantinedWebhooksRequest {
        ids: vec![id.to_string()],
        include_body: true,
        ..Default::default()
    };
    let page = client(&server).await?.list_quarantined_webhooks(request).await;
    let found = page.map_err(|status| refused(&status))?.into_inner().webhooks.pop();
    let Some(QuarantinedWebhook { body, .. }) = found else {
        bail!("{id} is not in quarantine: it was replayed, is older than events are kept, or never was there")
    };
    match output {
        Some(file) => {
            write_privately(&file, &body).with_context(|| format!("{}: cannot be written", file.display()))
        }
        None if raw => Ok(io::stdout().lock().write_all(&body)?),
        None => tell(text_of(&body).trim_end_matches('\n')),
    }
}

/// Into a file that nobody else may read, if it is new.
fn write_privately(file: &Path, body: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(file)?.write_all(body)
}

/// Any bytes as text: what is no UTF-8, or would steer a terminal, is replaced.
fn text_of(body: &[u8]) -> String {
    let harmless = |letter: char| !letter.is_control() || matches!(letter, '\n' | '\t');
    let shown = |letter| if harmless(letter) { letter } else { char::REPLACEMENT_CHARACTER };
    String::from_utf8_lossy(body).replace("\r\n", "\n").chars().map(shown).collect()
}

/// How many webhooks became what.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    replayed: u64,
    duplicates: u64,
    unreadable: u64,
    gone: u64,
}

impl Counts {
    fn add(&mut self, page: &pb::ReplayQuarantinedWebhooksResponse) {
        self.replayed = self.replayed.saturating_add(page.replayed);
        self.duplicates = self.duplicates.saturating_add(page.duplicates);
        self.unreadable = self.unreadable.saturating_add(page.unreadable);
        self.gone = self.gone.saturating_add(page.gone);
    }

    fn said(&self, validate_only: bool) -> String {
        let Self { replayed, duplicates, unreadable, gone } = self;
        let head = if validate_only { "would be: " } else { "" };
        let tail = if *gone > 0 { format!(", {gone} not in quarantine") } else { String::new() };
        format!(
            "{head}{replayed} replayed, {duplicates} in the log already, {unreadable} still unreadable{tail}"
        )
    }
}

async fn replay(args: ReplayArgs) -> anyhow::Result<()> {
    let ReplayArgs { server, ids, all, bot, validate_only, json } = args;
    let json = json.then(Json::new).transpose()?;
    let named = !ids.is_empty();
    let mut client = client(&server).await?;
    let mut request = pb::ReplayQuarantinedWebhooksRequest {
        ids: ids.iter().map(u64::to_string).collect(),
        all,
        bot: bot.unwrap_or_default(),
        validate_only,
        page_size: REPLAY_SIZE,
        page_token: String::new(),
    };
    let mut counts = Counts::default();
    loop {
        let page = client.replay_quarantined_webhooks(request.clone()).await;
        let page = page.map_err(|status| {
            let error = refused(&status);
            if counts == Counts::default() {
                return error;
            }
            let before = counts.said(validate_only);
            error.context(format!("broken off ({before}); run it again, it goes on with what is left"))
        })?;
        let page = page.into_inner();
        counts.add(&page);
        for result in &page.results {
            match &json {
                Some(json) => tell(&json.line("ReplayResult", result)?)?,
                None if named => tell(&said(result))?,
                None => {}
            }
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
        writeln!(io::stderr(), "-- so far {}", counts.said(validate_only))?;
    }
    let summary = counts.said(validate_only);
    match json {
        Some(_) => writeln!(io::stderr(), "-- {summary}")?,
        None => tell(&summary)?,
    }
    let missed = counts.unreadable.saturating_add(counts.gone);
    anyhow::ensure!(!named || missed == 0, "{missed} of the webhooks named could not be replayed");
    Ok(())
}

/// A line on a webhook that was named.
fn said(result: &pb::ReplayResult) -> String {
    let pb::ReplayResult { id, outcome: _, event_cursor, event_type, reason } = result;
    let became = match result.outcome() {
        ReplayOutcome::Replayed => format!("replayed {event_type} {event_cursor}"),
        ReplayOutcome::Duplicate => format!("in the log already {event_cursor}"),
        ReplayOutcome::Unreadable => format!("still unreadable: {}", printable(reason)),
        ReplayOutcome::Gone => "not in quarantine".to_owned(),
        ReplayOutcome::Unspecified => "an outcome that this version does not know".to_owned(),
    };
    format!("{id:<8} {}", became.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_cannot_steer_the_terminal() {
        assert_eq!(text_of(b"a\x1b[2J\tb\r\nc\xff"), "a\u{fffd}[2J\tb\nc\u{fffd}");
    }

    #[test]
    fn counts_are_said_in_one_line() {
        let page = pb::ReplayQuarantinedWebhooksResponse { replayed: 2, gone: 1, ..Default::default() };
        let mut counts = Counts::default();
        counts.add(&page);
        counts.add(&page);
        let expected = "would be: 4 replayed, 0 in the log already, 0 still unreadable, 2 not in quarantine";
        assert_eq!(counts.said(true), expected);
    }
}
