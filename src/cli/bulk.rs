//! `deskgate tickets close`: one ticket, or as many as a file names, a few at a time, with progress and a line for each
//! that could not be closed.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde_json::json;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::client::{Json, failed, tell};
use super::failure::Failure;
use super::tail::printable;
use super::tickets::{Acting, Client, client, is_waiting, said};
use crate::grpc::pb;

/// Tickets closed at once: the gateway keeps to the bot's rate, whoever asks.
const AT_ONCE: usize = 8;
/// How often a close that may pass is tried.
const TRIES_MAX: u32 = 6;
/// How many columns the bar has.
const BAR_WIDTH: usize = 30;

#[derive(Debug, Args)]
#[command(
    after_help = "A file has a ticket a line: its first word counts, and what follows is ignored, as are empty lines \
and those that begin with #. What is closed already counts as closed, so it is safe to run again.

Examples:
  deskgate tickets close 76f5… --tag resolvido
  deskgate tickets close --file tickets.txt
  deskgate tickets list --status waiting --json | jq -r .ticketId | deskgate tickets close --file -

Exits 0 when all are closed, or accepted with --accept-only, 1 when one could not be, 2 for wrong arguments."
)]
pub(super) struct CloseArgs {
    #[command(flatten)]
    acting: Acting,
    /// The tickets.
    #[arg(value_name = "TICKET", required_unless_present = "file")]
    tickets: Vec<String>,
    /// Close all that this file names; - is the standard input.
    #[arg(long, value_name = "FILE", env = "DESKGATE_TICKETS_FILE")]
    file: Option<PathBuf>,
    /// On whose side.
    #[arg(long, value_name = "WHO", default_value = "agent", env = "DESKGATE_TICKETS_BY")]
    by: By,
    /// Tags to close with; may be repeated, or several with commas.
    #[arg(long, env = "DESKGATE_TICKETS_TAG", value_delimiter = ',')]
    tag: Vec<String>,
    /// Who is to be named as having closed it, by e-mail.
    #[arg(
        long,
        value_name = "AGENT",
        env = "DESKGATE_TICKETS_CLOSED_BY",
        default_value = "",
        hide_default_value = true
    )]
    closed_by: String,
    /// Do not hand the customer back to the bot.
    #[arg(long, env = "DESKGATE_TICKETS_WITHOUT_REDIRECT", value_parser = clap::builder::BoolishValueParser::new())]
    without_redirect: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    Agent,
    Customer,
}

pub(super) async fn close(args: CloseArgs) -> anyhow::Result<()> {
    let mut tickets = args.tickets.clone();
    if let Some(file) = &args.file {
        tickets.extend(named_in(&read(file)?));
    }
    // Each once, however often it is named.
    let mut seen = BTreeSet::new();
    tickets.retain(|ticket| seen.insert(ticket.clone()));
    let json = args.acting.asking.json.then(Json::new).transpose()?;
    let client = client(&args.acting.asking.server).await?;
    if let ([only], None) = (tickets.as_slice(), &args.file) {
        let answer = close_one(client, &args, only).await.map_err(|status| failed(&status))?;
        return tell(&match json {
            Some(json) => json.line("CloseResponse", &answer)?,
            None => said(
                answer.receipt.as_ref(),
                if answer.already_closed { "was closed already" } else { "closed" },
            ),
        });
    }
    if tickets.is_empty() {
        bail!("there is no ticket to close");
    }
    let mut progress = Progress::new(tickets.len(), json.is_some());
    let mut closing = all(client, &args, &tickets);
    while let Some((ticket, answer)) = closing.next().await {
        progress.count(&ticket, &answer)?;
        if let (Some(json), Ok(answer)) = (&json, &answer) {
            tell(&json.line("CloseResponse", answer)?)?;
        }
        progress.draw()?;
    }
    progress.end()
}

/// Closes all of them, a few at a time; what is done first comes first.
fn all<'a>(
    client: Client,
    args: &'a CloseArgs,
    tickets: &'a [String],
) -> BoxStream<'a, (String, Result<pb::CloseResponse, Status>)> {
    let closing = tickets.iter().map(move |ticket| {
        let client = client.clone();
        async move { (ticket.clone(), close_one(client, args, ticket).await) }
    });
    stream::iter(closing).buffer_unordered(AT_ONCE).boxed()
}

/// Closes one, again where that may help: under the same id, so once at most.
async fn close_one(mut client: Client, args: &CloseArgs, ticket: &str) -> Result<pb::CloseResponse, Status> {
    let by = match args.by {
        By::Agent => pb::CloseBy::Agent,
        By::Customer => pb::CloseBy::Customer,
    };
    let request = pb::CloseRequest {
        ticket_id: ticket.to_owned(),
        by: by.into(),
        tags: args.tag.clone(),
        closed_by: args.closed_by.clone(),
        without_redirect: args.without_redirect,
        bot: args.acting.asking.bot.clone(),
        options: Some(args.acting.options()),
    };
    let mut tries = 1_u32;
    loop {
        let status = match client.close(request.clone()).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => status,
        };
        let Some(wait) = retry_after(&status).filter(|_| tries < TRIES_MAX) else { return Err(status) };
        tokio::time::sleep(wait).await;
        tries = tries.saturating_add(1);
    }
}

/// When the gateway says to call again, if that may help.
fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("the standard input")?;
        return Ok(text);
    }
    fs::read_to_string(file).with_context(|| format!("{}: cannot be read", file.display()))
}

/// The tickets that a file names.
fn named_in(text: &str) -> Vec<String> {
    let words = text.lines().filter_map(|line| line.split([' ', '\t', ',', ';']).next());
    words.filter(|word| !word.is_empty() && !word.starts_with('#')).map(str::to_owned).collect()
}

/// How far it has come: a bar on a terminal, a line for each tenth elsewhere.
struct Progress {
    total: usize,
    closed: usize,
    already: usize,
    /// Left to the gateway, which closes them as soon as it can.
    accepted: usize,
    failed: usize,
    tenths: usize,
    terminal: bool,
    json: bool,
}

impl Progress {
    fn new(total: usize, json: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { total, closed: 0, already: 0, accepted: 0, failed: 0, tenths: 0, terminal, json }
    }

    fn count(&mut self, ticket: &str, answer: &Result<pb::CloseResponse, Status>) -> io::Result<()> {
        let counted = match answer {
            Ok(answer) if answer.already_closed => &mut self.already,
            Ok(answer) if is_waiting(answer.receipt.as_ref()) => &mut self.accepted,
            Ok(_) => &mut self.closed,
            Err(status) => {
                let clear = if self.terminal { "\r\x1b[K" } else { "" };
                let failure = Failure::of(status);
                let line = if self.json {
                    json!({"ticketId": ticket, "error": failure.to_json()}).to_string()
                } else {
                    format!("{}: {}", printable(ticket), failure.line())
                };
                writeln!(io::stderr(), "{clear}{line}")?;
                &mut self.failed
            }
        };
        *counted = counted.saturating_add(1);
        Ok(())
    }

    fn done(&self) -> usize {
        [self.closed, self.already, self.accepted, self.failed].into_iter().fold(0, usize::saturating_add)
    }

    fn draw(&mut self) -> io::Result<()> {
        let (total, failed, done) = (self.total, self.failed, self.done());
        if self.terminal {
            return write!(io::stderr(), "\r\x1b[K[{}] {done}/{total}, {failed} failed", bar(done, total));
        }
        let tenths = done.saturating_mul(10).checked_div(total).unwrap_or_default();
        if tenths > self.tenths {
            self.tenths = tenths;
            writeln!(io::stderr(), "-- {done}/{total}, {failed} failed")?;
        }
        Ok(())
    }

    /// The sum of it, in a line.
    fn sum(&self) -> String {
        let Self { closed, already, accepted, failed, .. } = self;
        let accepted = match accepted {
            0 => String::new(),
            _ => format!("{accepted} accepted and not closed yet (`deskgate commands list` tells), "),
        };
        format!("{closed} closed, {already} were closed already, {accepted}{failed} failed")
    }

    /// Tells the sum of it.
    fn end(&self) -> anyhow::Result<()> {
        if self.terminal {
            writeln!(io::stderr())?;
        }
        let (Self { total, failed, .. }, sum) = (self, self.sum());
        if self.json {
            writeln!(io::stderr(), "-- {sum}")?;
        } else {
            tell(&sum)?;
        }
        anyhow::ensure!(*failed == 0, "{failed} of {total} tickets could not be closed");
        Ok(())
    }
}

pub(super) fn bar(done: usize, total: usize) -> String {
    let full = done.saturating_mul(BAR_WIDTH).checked_div(total).unwrap_or(BAR_WIDTH).min(BAR_WIDTH);
    format!("{}{}", "#".repeat(full), ".".repeat(BAR_WIDTH.saturating_sub(full)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_a_ticket_a_line() {
        let text = "# yesterday's\n\nt-1\nt-2\tAna, waits\nt-1 again\r\nt-3;x\n";
        assert_eq!(named_in(text), ["t-1", "t-2", "t-1", "t-3"]);
    }

    #[test]
    fn what_is_only_accepted_is_not_told_as_closed() {
        let answer = |state: pb::CommandState, already_closed| {
            let receipt = Some(pb::CommandReceipt { state: state.into(), ..Default::default() });
            Ok(pb::CloseResponse { receipt, already_closed, ..Default::default() })
        };
        let mut progress = Progress::new(4, false);
        progress.count("1", &answer(pb::CommandState::Succeeded, false)).unwrap();
        assert_eq!(progress.sum(), "1 closed, 0 were closed already, 0 failed");
        progress.count("2", &answer(pb::CommandState::Queued, false)).unwrap();
        progress.count("3", &answer(pb::CommandState::Running, false)).unwrap();
        progress.count("4", &answer(pb::CommandState::Succeeded, true)).unwrap();
        let sum = progress.sum();
        assert!(sum.starts_with("1 closed, 1 were closed already, 2 accepted and not closed yet"), "{sum}");
        assert_eq!(progress.done(), 4);
    }

    #[test]
    fn a_bar_fills_up() {
        assert_eq!(bar(0, 7), ".".repeat(BAR_WIDTH));
        assert_eq!(bar(7, 7), "#".repeat(BAR_WIDTH));
        assert_eq!(bar(1, 2).matches('#').count(), BAR_WIDTH / 2);
    }
}
