//! `deskgate agents` and `deskgate teams`: who works at a bot's desk, as a table for people or JSON for scripts.

use std::io::{self, Write};

use clap::Args;
use clap::builder::BoolishValueParser;
use tonic::Code;
use tonic::transport::Channel;

use super::client::{Json, Server, failed, is_enough, tell};
use super::listing::tell_left_out;
use super::tail::printable;
use crate::grpc::pb;
use crate::grpc::pb::directory_service_client::DirectoryServiceClient;

/// The widest that a column of a table is made for one long text.
const COLUMN_CHARS_MAX: usize = 40;

/// Which bot, and how its answer is shown.
#[derive(Debug, Args)]
struct Shown {
    #[command(flatten)]
    server: Server,
    /// The bot; may be left out where only one is configured.
    #[arg(long, value_name = "NAME", env = "DESKGATE_DIRECTORY_BOT")]
    bot: Option<String>,
    /// Protobuf JSON, one a line, for scripts.
    #[arg(long, env = "DESKGATE_DIRECTORY_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  deskgate agents                        e-mail, status, tickets and teams of each
  deskgate agents --team Financeiro      those of one team
  deskgate agents --status Online --json | jq -r .email")]
pub(super) struct AgentsArgs {
    #[command(flatten)]
    shown: Shown,
    /// Only those of this team.
    #[arg(long, value_name = "NAME", env = "DESKGATE_AGENTS_TEAM")]
    team: Option<String>,
    /// Only those with this status, in Blip's words: Online, Pause, Invisible, Offline.
    #[arg(long, value_name = "STATUS", env = "DESKGATE_AGENTS_STATUS")]
    status: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  deskgate teams                         each team, and how many of its agents are online
  deskgate teams --bot suporte --json    as JSON lines")]
pub(super) struct TeamsArgs {
    #[command(flatten)]
    shown: Shown,
}

pub(super) async fn agents(args: AgentsArgs) -> anyhow::Result<()> {
    let AgentsArgs { shown, team, status } = args;
    let mut client = client(&shown.server).await?;
    let mut request =
        pb::ListAgentsRequest { bot: shown.bot.clone().unwrap_or_default(), ..Default::default() };
    let (mut found, mut left_out) = (Vec::new(), 0_u32);
    loop {
        let page = client.list_agents(request.clone()).await.map_err(|status| refused(&status))?.into_inner();
        found.extend(page.agents);
        left_out = left_out.saturating_add(page.left_out);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    tell_left_out(left_out)?;
    let same = |wanted: &Option<String>, is: &str| {
        wanted.as_ref().is_none_or(|wanted| wanted.to_lowercase() == is.to_lowercase())
    };
    found.retain(|agent| {
        same(&status, &agent.status) && (team.is_none() || agent.teams.iter().any(|name| same(&team, name)))
    });
    let rows = found.iter().map(|agent| {
        let pb::Agent { agent_identity, email, full_name, teams, status, slots, tickets_in_service } = agent;
        let name = if email.is_empty() { agent_identity } else { email };
        let tickets = match slots {
            0 => tickets_in_service.to_string(),
            slots => format!("{tickets_in_service}/{slots}"),
        };
        [name.clone(), full_name.clone(), status.clone(), tickets, teams.join(", ")]
    });
    let table = || table(["AGENT", "NAME", "STATUS", "TICKETS", "TEAMS"], rows.collect());
    told(shown.json, "Agent", &found, table, "nobody works there").or_else(enough)
}

pub(super) async fn teams(args: TeamsArgs) -> anyhow::Result<()> {
    let TeamsArgs { shown } = args;
    let request = pb::ListTeamsRequest { bot: shown.bot.clone().unwrap_or_default() };
    let answer = client(&shown.server).await?.list_teams(request).await;
    let found = answer.map_err(|status| refused(&status))?.into_inner().teams;
    let rows = found.iter().map(|pb::Team { name, agents_online }| [name.clone(), agents_online.to_string()]);
    let table = || table(["TEAM", "ONLINE"], rows.collect());
    told(shown.json, "Team", &found, table, "there are no teams").or_else(enough)
}

fn enough(error: anyhow::Error) -> anyhow::Result<()> {
    if is_enough(&error) { Ok(()) } else { Err(error) }
}

async fn client(server: &Server) -> anyhow::Result<DirectoryServiceClient<Channel>> {
    Ok(DirectoryServiceClient::new(server.connect().await?))
}

/// A call that failed; an earlier gateway does not have this service.
fn refused(status: &tonic::Status) -> anyhow::Error {
    let error = failed(status);
    if status.code() == Code::Unimplemented {
        return error.context("the gateway is older than this command");
    }
    error
}

/// Writes what was found, one way or the other.
fn told<M: prost::Message>(
    json: bool,
    name: &str,
    found: &[M],
    table: impl FnOnce() -> Vec<String>,
    nothing: &str,
) -> anyhow::Result<()> {
    if json {
        let json = Json::new()?;
        return found.iter().try_for_each(|message| tell(&json.line(name, message)?));
    }
    if found.is_empty() {
        return Ok(writeln!(io::stderr(), "-- {nothing}")?);
    }
    table().iter().try_for_each(|line| tell(line))
}

/// Lines with their columns below each other; nothing in them steers a terminal.
fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> Vec<String> {
    let rows: Vec<[String; N]> = rows.into_iter().map(|row| row.map(|cell| printable(&cell))).collect();
    let mut widths = head.map(|name| name.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count().min(COLUMN_CHARS_MAX));
        }
    }
    let line = |cells: Vec<&str>| {
        let cells = cells.into_iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rows = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(line(head.to_vec())).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let row = |name: &str, online: &str| [name.to_owned(), online.to_owned()];
        let lines = table(["TEAM", "ONLINE"], vec![row("Default", "2"), row("São Paulo\u{1b}[2J", "11")]);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("TEAM ") && lines[0].ends_with("ONLINE"), "{lines:?}");
        let at = |line: &str, text: &str| line.find(text).map(|at| line[..at].chars().count());
        assert_eq!(at(&lines[1], "2"), at(&lines[0], "ONLINE"), "{lines:?}");
        assert!(!lines[2].contains('\u{1b}'), "{lines:?}");
    }
}
