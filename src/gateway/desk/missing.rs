//! What Blip did not find of a command, where it is not the ticket: its answer names nothing, so its teams are read.

use tokio::time::Instant;

use crate::domain::translate::{self, directory as wire};
use crate::domain::{Action, Fault};
use crate::lime::ReplyStatus;

use super::carry::{Carrier, LOOK_RESERVE};

/// Teams that Blip has of its own, whether or not it lists them.
const BUILT_IN: [&str; 2] = ["Default", "DIRECT_TRANSFER"];

impl Carrier<'_> {
    /// The fault of a command whose ticket, if it is about one, is there: says which of the things named was not found,
    /// where that can be told.
    pub(super) async fn missing(&self, fault: Fault) -> Fault {
        let fault = translate::elsewhere(fault);
        if fault.reason != "BLIP_NOT_FOUND" {
            return fault;
        }
        let (team, agent) = match self.action {
            Action::Transfer { team, agent_identity } => (team, agent_identity.as_str()),
            // Of a new ticket it may be the customer, too.
            Action::Create(new) => (&new.team, ""),
            Action::Assign { .. }
            | Action::Send(_)
            | Action::Close { .. }
            | Action::Finish { .. }
            | Action::SetTags { .. }
            | Action::Execute(_) => return fault,
        };
        if team.is_empty() {
            return fault;
        }
        match self.has_team(team).await {
            Some(false) => named(fault, "TEAM_NOT_FOUND", "team", team),
            Some(true) if !agent.is_empty() => named(fault, "AGENT_NOT_FOUND", "agent", agent),
            Some(true) | None => fault,
        }
    }

    /// Whether Blip lists the team; `None` if it does not say.
    async fn has_team(&self, team: &str) -> Option<bool> {
        let uri = wire::List::Teams.uri(0, translate::ITEMS_MAX);
        let command = wire::list_command(&format!("{}-teams", self.id), &uri);
        let deadline = self.deadline.min(Instant::now() + LOOK_RESERVE);
        let reply = self.api.command(&command, deadline).await.ok()?;
        let ReplyStatus::Success(resource) = reply.status else { return None };
        let teams = wire::teams_of(&wire::items_of(resource), &[]);
        let known = teams.iter().any(|known| known.name.eq_ignore_ascii_case(team));
        let may_tell =
            known || !(teams.is_empty() || BUILT_IN.iter().any(|own| own.eq_ignore_ascii_case(team)));
        may_tell.then_some(known)
    }
}

/// The fault of one thing that was not found.
pub(super) fn named(fault: Fault, reason: &str, kind: &str, name: &str) -> Fault {
    Fault { reason: reason.to_owned(), ..fault }.with(kind, name)
}
