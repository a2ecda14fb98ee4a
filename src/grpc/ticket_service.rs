//! `TicketService`: reads a request, asks the desk, and says what became of it. The desk's work goes on when
//! a caller hangs up.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::convert::request::Asked;
use super::convert::{command, request, ticket};
use super::edge::Principal;
use super::pb;
use super::pb::ticket_service_server::TicketService;
use super::status::{self, About};
use crate::domain::{Outcome, Ticket};
use crate::gateway::desk::{Desk, DeskError, Done, TicketView};
use crate::store::{CommandKey, LogId};

/// How long a call may take whose caller sets no time: a little more than Blip's own limit.
const TIMEOUT: Duration = Duration::from_secs(70);
/// The longest time that a caller can set.
const TIMEOUT_MAX: Duration = Duration::from_mins(10);
/// How much earlier than its caller's time an answer must leave, at most.
const MARGIN_MAX: Duration = Duration::from_millis(50);

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Tickets {
    desk: Desk,
    log: LogId,
}

/// A command that did what was asked, or would.
enum Acted {
    /// It was carried out.
    Done(Box<Done>),
    /// It was only checked; the ticket as the log knows it.
    Checked(Option<Box<Ticket>>),
}

impl Tickets {
    /// The service on `desk`; its cursors are of `log`.
    pub(super) fn new(desk: Desk, log: LogId) -> Self {
        Self { desk, log }
    }

    async fn act(&self, asked: Asked, deadline: Instant) -> Result<(Acted, String), Status> {
        let Asked { mut request, validate_only } = asked;
        let ticket_id = request.ticket_id.clone();
        let failed = |error: DeskError, bot: &str| {
            status::of_desk(error, About { bot, ticket_id: &ticket_id, log: self.log })
        };
        let bot = self.desk.bot_of(&request.bot, &ticket_id).await;
        let bot = bot.map_err(|error| failed(error, &request.bot))?;
        request.bot.clone_from(&bot);
        let acted = if validate_only {
            let ticket = self.desk.validate(&request).await;
            Acted::Checked(ticket.map_err(|error| failed(error, &bot))?.map(Box::new))
        } else {
            let done = self.desk.execute(request, deadline).await;
            Acted::Done(Box::new(done.map_err(|error| failed(error, &bot))?))
        };
        Ok((acted, bot))
    }

    fn receipt(&self, acted: &Acted) -> pb::CommandReceipt {
        match acted {
            Acted::Done(done) => command::receipt(&done.record, self.log, done.replayed),
            Acted::Checked(_) => command::validated(),
        }
    }
}

impl Acted {
    fn ticket(&self, bot: &str) -> Option<pb::Ticket> {
        let known = match self {
            Self::Done(done) => done.ticket.as_ref(),
            Self::Checked(known) => known.as_deref(),
        };
        known.map(|known| ticket::to_pb(known, bot))
    }

    fn found_closed(&self) -> bool {
        match self {
            Self::Done(done) => {
                done.record.end.as_ref().is_some_and(|end| end.outcome == Outcome::AlreadyClosed)
            }
            Self::Checked(known) => known.as_ref().is_some_and(|known| known.status.is_terminal()),
        }
    }
}

#[tonic::async_trait]
impl TicketService for Tickets {
    async fn assign(
        &self,
        request: Request<pb::AssignRequest>,
    ) -> Result<Response<pb::AssignResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let asked = request::assign(request.into_inner(), principal)?;
        let (acted, bot) = self.act(asked, deadline).await?;
        let (receipt, ticket) = (Some(self.receipt(&acted)), acted.ticket(&bot));
        Ok(Response::new(pb::AssignResponse { receipt, ticket }))
    }

    async fn send(&self, request: Request<pb::SendRequest>) -> Result<Response<pb::SendResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let asked = request::send(request.into_inner(), principal)?;
        let (acted, _bot) = self.act(asked, deadline).await?;
        let receipt = self.receipt(&acted);
        // The message goes out under the command's own id.
        let message_id = receipt.command_id.clone();
        Ok(Response::new(pb::SendResponse { receipt: Some(receipt), message_id }))
    }

    async fn close(&self, request: Request<pb::CloseRequest>) -> Result<Response<pb::CloseResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let asked = request::close(request.into_inner(), principal)?;
        let (acted, bot) = self.act(asked, deadline).await?;
        let (receipt, ticket) = (Some(self.receipt(&acted)), acted.ticket(&bot));
        Ok(Response::new(pb::CloseResponse { receipt, ticket, already_closed: acted.found_closed() }))
    }

    async fn get_ticket(
        &self,
        request: Request<pb::GetTicketRequest>,
    ) -> Result<Response<pb::GetTicketResponse>, Status> {
        let deadline = deadline_of(request.metadata());
        let (ticket_id, bot, fresh) = request::get_ticket(request.into_inner())?;
        let failed = |error: DeskError, bot: &str| {
            status::of_desk(error, About { bot, ticket_id: &ticket_id, log: self.log })
        };
        let found = self.desk.bot_of(&bot, &ticket_id).await;
        let bot = found.map_err(|error| failed(error, &bot))?;
        let view = self.desk.ticket(&bot, &ticket_id, fresh, deadline).await;
        let Some(view) = view.map_err(|error| failed(error, &bot))? else {
            let about = About { bot: &bot, ticket_id: &ticket_id, log: self.log };
            return Err(status::ticket_not_found(about));
        };
        let TicketView { ticket: known, ticket_sequence, fresh } = view;
        let ticket = Some(ticket::to_pb(&known, &bot));
        Ok(Response::new(pb::GetTicketResponse { ticket, ticket_sequence, fresh }))
    }

    async fn get_command(
        &self,
        request: Request<pb::GetCommandRequest>,
    ) -> Result<Response<pb::GetCommandResponse>, Status> {
        let principal = principal_of(&request);
        let key = request::get_command(request.into_inner(), principal)?;
        let name = match &key {
            CommandKey::Id(id) => id.to_string(),
            CommandKey::Request { principal: _, request_id } => request_id.clone(),
        };
        let about = About { bot: "", ticket_id: "", log: self.log };
        let record = self.desk.command(key).await.map_err(|error| status::of_desk(error, about))?;
        let record = record.ok_or_else(|| status::command_not_found(&name))?;
        let command = Some(command::to_pb(&record, self.log));
        Ok(Response::new(pb::GetCommandResponse { command }))
    }
}

/// Who calls; empty while callers need not say.
fn principal_of<T>(request: &Request<T>) -> String {
    request.extensions().get::<Principal>().cloned().unwrap_or_default().0
}

/// When an answer must be ready: tonic ends a call at its caller's time with a bare `CANCELLED`, so we answer
/// a little earlier, with what is known.
pub(super) fn deadline_of(metadata: &MetadataMap) -> Instant {
    let given = metadata.get("grpc-timeout").and_then(|text| text.to_str().ok()).and_then(timeout_of);
    let timeout = match given {
        None => TIMEOUT,
        Some(timeout) => timeout.saturating_sub((timeout / 20).min(MARGIN_MAX)).min(TIMEOUT_MAX),
    };
    Instant::now() + timeout
}

/// Reads `grpc-timeout`: at most eight digits and a unit.
fn timeout_of(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = plain.then(|| digits.parse().ok()).flatten()?;
    match unit {
        "H" => Some(Duration::from_secs(number.saturating_mul(3_600))),
        "M" => Some(Duration::from_secs(number.saturating_mul(60))),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(timeout_of("2H"), Some(Duration::from_hours(2)));
        assert_eq!(timeout_of("250m"), Some(Duration::from_millis(250)));
        for text in ["", "S", "1", "123456789S", "-1S", "1x", "1é"] {
            assert_eq!(timeout_of(text), None, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_leave_before_the_callers_time() {
        let mut metadata = MetadataMap::new();
        assert_eq!(deadline_of(&metadata) - Instant::now(), TIMEOUT);
        metadata.insert("grpc-timeout", "100m".parse().unwrap());
        assert_eq!(deadline_of(&metadata) - Instant::now(), Duration::from_millis(95));
        metadata.insert("grpc-timeout", "10S".parse().unwrap());
        assert_eq!(deadline_of(&metadata) - Instant::now(), Duration::from_millis(9_950));
    }
}
