//! `deskgate reconcile`: a bot is read back from Blip now, with progress while it goes on, and what it came to.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
use clap::Args;
use clap::builder::BoolishValueParser;
use jiff::{Span, Timestamp};

use super::bulk::bar;
use super::client::{Json, Server, failed, is_enough, tell};
use super::tail::printable;
use crate::grpc::pb;
use crate::grpc::pb::admin_service_client::AdminServiceClient;

#[derive(Debug, Args)]
#[command(
    after_help = "What webhooks did not tell is found and appended to the log, with origin reconciliation. The gateway does \
so by itself from time to time; this begins it at once. It keeps to its share of the bot's rate: ten thousand open tickets take \
about half an hour on Blip's free plan. Ctrl-C ends the telling, not the reading.

Examples:
  deskgate reconcile suporte                             now
  deskgate reconcile suporte --since 3d                  also what came and ended in the last three days
  deskgate reconcile suporte --since 2026-11-20T00:00:00Z --json

Exits 0 when the round was carried to its end, 1 when it was not (what was asked for is kept for the next one), 2 for wrong \
arguments."
)]
pub(super) struct ReconcileArgs {
    #[command(flatten)]
    server: Server,
    /// The bot, by its short name; may be left out where only one is configured.
    #[arg(value_name = "BOT")]
    bot: Option<String>,
    /// Also look for tickets made since then that have ended: a time like 2026-11-20T00:00:00Z, or how long ago, like 2h or 3d.
    #[arg(long, value_name = "WHEN", env = "DESKGATE_RECONCILE_SINCE", value_parser = moment)]
    since: Option<When>,
    /// Protobuf JSON of each message, one a line, for scripts.
    #[arg(long, env = "DESKGATE_RECONCILE_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

/// A moment, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    At(Timestamp),
    SecondsAgo(i64),
}

fn moment(text: &str) -> Result<When, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(When::At(at));
    }
    let wrong =
        || "write a time like 2026-11-20T00:00:00Z, or how long ago, like 90s, 15m, 2h or 3d".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_error| wrong())?;
    i64::from(number).checked_mul(seconds).map(When::SecondsAgo).ok_or_else(wrong)
}

impl When {
    /// As the API has it; `now` is the gateway's affair, so a moment ago is taken from this machine's clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "a command of an operator's: it reads the clock of the machine it runs on"
    )]
    fn to_pb(self) -> anyhow::Result<prost_types::Timestamp> {
        let at = match self {
            Self::At(at) => at,
            Self::SecondsAgo(seconds) => {
                let ago = Span::new().try_seconds(seconds)?;
                Timestamp::now().checked_sub(ago).context("--since: that is before all time")?
            }
        };
        Ok(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
    }
}

pub(super) async fn run(args: ReconcileArgs) -> anyhow::Result<()> {
    match follow(args).await {
        Err(error) if is_enough(&error) => Ok(()),
        other => other,
    }
}

async fn follow(args: ReconcileArgs) -> anyhow::Result<()> {
    let ReconcileArgs { server, bot, since, json } = args;
    let json = json.then(Json::new).transpose()?;
    let since = since.map(When::to_pb).transpose()?;
    let mut client = AdminServiceClient::new(server.connect().await?);
    let request = pb::ReconcileBotRequest { bot: bot.unwrap_or_default(), since };
    let mut stream = client.reconcile_bot(request).await.map_err(|status| failed(&status))?.into_inner();
    let mut shown = Shown { terminal: io::stderr().is_terminal() && json.is_none(), tenths: 0, phase: 0 };
    let mut last = None;
    while let Some(progress) = stream.message().await.map_err(|status| failed(&status))? {
        if let Some(json) = &json {
            tell(&json.line("ReconcileBotResponse", &progress)?)?;
        } else {
            shown.draw(&progress)?;
        }
        last = Some(progress);
    }
    if shown.terminal {
        write!(io::stderr(), "\r\x1b[K")?;
    }
    let Some(pb::ReconcileBotResponse { found, trouble, report: Some(report), .. }) = last else {
        bail!("the gateway ended before the round did");
    };
    if json.is_none() {
        tell(&sum(&report, &found))?;
    }
    if !report.complete {
        bail!("{}", broken_off(&report, &trouble));
    }
    Ok(())
}

/// What a round came to, for people.
fn sum(report: &pb::ReconcileReport, found: &BTreeMap<String, u64>) -> String {
    let mut found: Vec<_> =
        found.iter().map(|(what, count)| format!("{count} {}", printable(what))).collect();
    found.sort();
    let found = if found.is_empty() { "nothing was missing".to_owned() } else { found.join(", ") };
    let seconds = report.duration.map(|duration| duration.seconds).unwrap_or_default();
    let pb::ReconcileReport { questions, tickets_listed, tickets_checked, conversations_read, .. } = report;
    format!(
        "{found}\n{tickets_listed} living tickets listed, {tickets_checked} tickets and {conversations_read} conversations \
         read, {questions} questions, {seconds} s"
    )
}

/// Why a round is not complete, and what becomes of it.
fn broken_off(report: &pb::ReconcileReport, trouble: &str) -> String {
    let why = match (trouble, report.tickets_unread) {
        ("", 0) => "Blip did not answer all of it".to_owned(),
        ("", unread) => format!("Blip did not give {unread} tickets or their conversations"),
        (trouble, _) => printable(trouble),
    };
    format!(
        "the round was not carried to its end: {why}. The next one looks back for what is missing; it begins by itself soon, or with \
         this command where reconcile.enabled is false"
    )
}

/// What is shown while it goes on: a bar on a terminal, a line for each phase and tenth elsewhere.
struct Shown {
    terminal: bool,
    tenths: u64,
    phase: i32,
}

impl Shown {
    fn draw(&mut self, progress: &pb::ReconcileBotResponse) -> io::Result<()> {
        let pb::ReconcileBotResponse { phase, tickets_done: done, tickets_total: total, questions, .. } =
            progress;
        let what = match progress.phase() {
            pb::ReconcilePhase::Unspecified | pb::ReconcilePhase::Waiting => "waiting",
            pb::ReconcilePhase::Listing => "listing tickets",
            pb::ReconcilePhase::Checking => "reading tickets",
            pb::ReconcilePhase::Reading => "reading conversations",
            pb::ReconcilePhase::Done => "done",
        };
        let found: u64 = progress.found.values().sum();
        let trouble = match progress.trouble.as_str() {
            "" => String::new(),
            trouble => format!(", trouble: {}", printable(trouble)),
        };
        if self.terminal {
            let width = |count: &u64| usize::try_from(*count).unwrap_or(usize::MAX);
            let bar = if *total > 0 { bar(width(done), width(total)) } else { String::new() };
            return write!(
                io::stderr(),
                "\r\x1b[K{what} [{bar}] {done}/{total}, {questions} questions, {found} found{trouble}"
            );
        }
        let tenths = done.saturating_mul(10).checked_div(*total).unwrap_or_default();
        if *phase != self.phase || tenths > self.tenths {
            (self.phase, self.tenths) = (*phase, tenths);
            writeln!(
                io::stderr(),
                "-- {what} {done}/{total}, {questions} questions, {found} found{trouble}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_round_is_not_complete_is_told() {
        let said = |unread, trouble| {
            broken_off(&pb::ReconcileReport { tickets_unread: unread, ..Default::default() }, trouble)
        };
        assert!(said(0, "no_desk").starts_with("the round was not carried to its end: no_desk. The next"));
        assert!(said(3, "").contains(": Blip did not give 3 tickets"));
        assert!(said(0, "").contains("Blip did not answer"));
    }

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        assert_eq!(moment("2h"), Ok(When::SecondsAgo(7_200)));
        assert_eq!(moment("3d"), Ok(When::SecondsAgo(259_200)));
        assert_eq!(moment("2026-11-20T00:00:00Z"), Ok(When::At("2026-11-20T00:00:00Z".parse().unwrap())));
        for wrong in ["", "h", "2w", "yesterday", "-2h"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
