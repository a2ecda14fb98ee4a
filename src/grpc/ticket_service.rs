//! `TicketService`: reads a request, asks the desk, and says what became of it. The desk's work goes on when
//! a caller hangs up.

use prost::Message;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::convert::desk::Executed;
use super::convert::request::{Asked, Said};
use super::convert::{command, desk, lists, request, ticket, value};
use super::edge::Principal;
use super::page;
use super::pb;
use super::pb::ticket_service_server::TicketService;
use super::position::CursorError;
use super::status::{self, About};
use crate::domain::{Outcome, Ticket};
use crate::gateway::asker::Asker;
use crate::gateway::desk::{AtBlip, Desk, DeskError, Done, TicketView};
use crate::store::page::{List, PageMark};
use crate::store::{CommandKey, CommandsWanted, LogId, Page, TicketsWanted};

pub(super) use super::deadline::deadline_of;

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
        let Asked { mut request, validate_only, said } = asked;
        let ticket_id = request.ticket_id.clone();
        let failed = |error, bot: &str| {
            status::of_desk(error, About { bot, ticket_id: &ticket_id, log: self.log, said })
        };
        let bot = self.bot_of(&request.bot, &ticket_id).await?;
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

    /// The bot that a call about a ticket, or about none, is meant for.
    async fn bot_of(&self, bot: &str, ticket_id: &str) -> Result<String, Status> {
        let found = self.desk.bot_of(bot, ticket_id).await;
        found.map_err(|error| self.failed(error, bot, ticket_id))
    }

    fn failed(&self, error: DeskError, bot: &str, ticket_id: &str) -> Status {
        status::of_desk(error, About { bot, ticket_id, log: self.log, said: Said::AsUsual })
    }

    /// The number that a page goes on from; `None` for the first.
    fn goes_on(&self, list: List, page_token: &str) -> Result<Option<u64>, Status> {
        Ok(self.mark_of(list, page_token)?.map(|mark| mark.number))
    }

    /// How many of Blip's items come before a page of the list that `of` names.
    fn skips(&self, list: List, of: &str, page_token: &str) -> Result<u64, Status> {
        let Some(mark) = self.mark_of(list, page_token)? else { return Ok(0) };
        let other = || status::of_cursor(&CursorError::OtherList, "page_token");
        mark.count_in(of).ok_or_else(other)
    }

    fn mark_of(&self, list: List, page_token: &str) -> Result<Option<PageMark>, Status> {
        page::after(page_token, self.log, |text| PageMark::parse(list, text).map(|mark| (mark.log, mark)))
    }

    fn page_token(&self, list: List, next: Option<u64>) -> String {
        next.map(|number| PageMark { list, log: self.log, number }.to_string()).unwrap_or_default()
    }

    fn skip_token(&self, list: List, of: &str, next: Option<u64>) -> String {
        next.map(|count| PageMark::within(list, self.log, of, count).to_string()).unwrap_or_default()
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

    /// The ticket that it opened, once it has.
    fn opened(&self, bot: &str) -> Option<pb::Ticket> {
        match self {
            Self::Done(_) => self.ticket(bot),
            Self::Checked(_) => None,
        }
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

    async fn finish(
        &self,
        request: Request<pb::FinishRequest>,
    ) -> Result<Response<pb::FinishResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let asked = desk::finish(request.into_inner(), principal)?;
        let (acted, bot) = self.act(asked, deadline).await?;
        let (receipt, ticket) = (Some(self.receipt(&acted)), acted.ticket(&bot));
        Ok(Response::new(pb::FinishResponse { receipt, ticket }))
    }

    async fn transfer(
        &self,
        request: Request<pb::TransferRequest>,
    ) -> Result<Response<pb::TransferResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let asked = desk::transfer(request.into_inner(), principal)?;
        let (acted, bot) = self.act(asked, deadline).await?;
        let (receipt, new_ticket) = (Some(self.receipt(&acted)), acted.opened(&bot));
        Ok(Response::new(pb::TransferResponse { receipt, new_ticket }))
    }

    async fn set_tags(
        &self,
        request: Request<pb::SetTagsRequest>,
    ) -> Result<Response<pb::SetTagsResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let asked = desk::set_tags(request.into_inner(), principal)?;
        let (acted, _bot) = self.act(asked, deadline).await?;
        Ok(Response::new(pb::SetTagsResponse { receipt: Some(self.receipt(&acted)) }))
    }

    async fn create(
        &self,
        request: Request<pb::CreateRequest>,
    ) -> Result<Response<pb::CreateResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let asked = desk::create(request.into_inner(), principal)?;
        let (acted, bot) = self.act(asked, deadline).await?;
        let (receipt, ticket) = (Some(self.receipt(&acted)), acted.opened(&bot));
        Ok(Response::new(pb::CreateResponse { receipt, ticket }))
    }

    async fn set_typing(
        &self,
        request: Request<pb::SetTypingRequest>,
    ) -> Result<Response<pb::SetTypingResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let (ticket_id, bot, composing) = desk::set_typing(request.into_inner())?;
        let bot = self.bot_of(&bot, &ticket_id).await?;
        let told = self.desk.set_typing(asker(&bot, &principal, deadline), &ticket_id, composing).await;
        told.map_err(|error| self.failed(error, &bot, &ticket_id))?;
        Ok(Response::new(pb::SetTypingResponse {}))
    }

    async fn mark_read(
        &self,
        request: Request<pb::MarkReadRequest>,
    ) -> Result<Response<pb::MarkReadResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let (ticket_id, bot, message_id) = desk::mark_read(request.into_inner())?;
        let bot = self.bot_of(&bot, &ticket_id).await?;
        let told = self.desk.mark_read(asker(&bot, &principal, deadline), &ticket_id, &message_id).await;
        told.map_err(|error| self.failed(error, &bot, &ticket_id))?;
        Ok(Response::new(pb::MarkReadResponse {}))
    }

    async fn get_ticket(
        &self,
        request: Request<pb::GetTicketRequest>,
    ) -> Result<Response<pb::GetTicketResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let (ticket_id, bot, fresh) = request::get_ticket(request.into_inner())?;
        let bot = self.bot_of(&bot, &ticket_id).await?;
        let view = self.desk.ticket(asker(&bot, &principal, deadline), &ticket_id, fresh).await;
        let Some(view) = view.map_err(|error| self.failed(error, &bot, &ticket_id))? else {
            let said = Said::AsUsual;
            let about = About { bot: &bot, ticket_id: &ticket_id, log: self.log, said };
            return Err(status::ticket_not_found(about));
        };
        let TicketView { ticket: known, ticket_sequence, fresh } = view;
        let ticket = Some(ticket::to_pb(&known, &bot));
        page::whole(pb::GetTicketResponse { ticket, ticket_sequence, fresh }, "the ticket")
    }

    async fn list_tickets(
        &self,
        request: Request<pb::ListTicketsRequest>,
    ) -> Result<Response<pb::ListTicketsResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let lists::Tickets { mut wanted, listed, fresh, page_token } = lists::tickets(request.into_inner())?;
        if !fresh {
            let bot = wanted.bot.clone();
            wanted.before = self.goes_on(List::Tickets, &page_token)?;
            let read = |count_max| self.desk.tickets(TicketsWanted { count_max, ..wanted.clone() });
            let known = fitting(wanted.count_max, read, |(bot, known)| ticket::to_pb(known, bot)).await;
            let (tickets, next) = known.map_err(|error| self.failed(error, &bot, ""))?;
            let next_page_token = self.page_token(List::Tickets, next);
            return Ok(Response::new(pb::ListTicketsResponse { tickets, next_page_token, left_out: 0 }));
        }
        let bot = self.bot_of(&wanted.bot, "").await?;
        let of = format!("{bot}\n{}", listed.uri());
        let skip = self.skips(List::TicketsAtBlip, &of, &page_token)?;
        let asker = asker(&bot, &principal, deadline);
        let part = self.desk.tickets_at_blip(asker, &listed, (skip, wanted.count_max)).await;
        let part = part.map_err(|error| self.failed(error, &bot, ""))?;
        let Told { items: tickets, left_out, next } = Told::of(part, |known| ticket::to_pb(&known, &bot));
        let next_page_token = self.skip_token(List::TicketsAtBlip, &of, next);
        Ok(Response::new(pb::ListTicketsResponse { tickets, next_page_token, left_out }))
    }

    async fn list_messages(
        &self,
        request: Request<pb::ListMessagesRequest>,
    ) -> Result<Response<pb::ListMessagesResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let lists::Messages { ticket_id, bot, count_max, page_token } =
            lists::messages(request.into_inner())?;
        let bot = self.bot_of(&bot, &ticket_id).await?;
        let of = format!("{bot}\n{ticket_id}");
        let skip = self.skips(List::Messages, &of, &page_token)?;
        let part = self.desk.messages(asker(&bot, &principal, deadline), &ticket_id, (skip, count_max)).await;
        let part = part.map_err(|error| self.failed(error, &bot, &ticket_id))?;
        let Told { items: messages, left_out, next } = Told::of(part, lists::message_to_pb);
        let next_page_token = self.skip_token(List::Messages, &of, next);
        Ok(Response::new(pb::ListMessagesResponse { messages, next_page_token, left_out }))
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
        let record = self.desk.command(key).await.map_err(|error| self.failed(error, "", ""))?;
        let record = record.ok_or_else(|| status::command_not_found(&name))?;
        let command = Some(command::to_pb(&record, self.log));
        Ok(Response::new(pb::GetCommandResponse { command }))
    }

    async fn list_commands(
        &self,
        request: Request<pb::ListCommandsRequest>,
    ) -> Result<Response<pb::ListCommandsResponse>, Status> {
        let (mut wanted, page_token) = lists::commands(request.into_inner())?;
        wanted.before = self.goes_on(List::Commands, &page_token)?;
        let read = |count_max| self.desk.commands(CommandsWanted { count_max, ..wanted.clone() });
        let known = fitting(wanted.count_max, read, |record| command::to_pb(record, self.log)).await;
        let (commands, next) = known.map_err(|error| self.failed(error, "", ""))?;
        let next_page_token = self.page_token(List::Commands, next);
        Ok(Response::new(pb::ListCommandsResponse { commands, next_page_token }))
    }

    async fn execute_command(
        &self,
        request: Request<pb::ExecuteCommandRequest>,
    ) -> Result<Response<pb::ExecuteCommandResponse>, Status> {
        let (deadline, principal) = (deadline_of(request.metadata()), principal_of(&request));
        let reader = principal.clone();
        let (receipt, (media_type, resource)) = match desk::execute(request.into_inner(), principal)? {
            Executed::Acts(asked) => {
                let (acted, _bot) = self.act(*asked, deadline).await?;
                let document = match &acted {
                    Acted::Done(done) => command::document_of(&done.record),
                    Acted::Checked(_) => Default::default(),
                };
                (self.receipt(&acted), document)
            }
            Executed::Reads { bot, raw, validate_only } => {
                let bot = self.bot_of(&bot, "").await?;
                let document = if validate_only {
                    Default::default()
                } else {
                    let read = self.desk.read(asker(&bot, &reader, deadline), raw).await;
                    let about = About { bot: &bot, ticket_id: "", log: self.log, said: Said::InCommand };
                    let (media_type, json) = read.map_err(|error| status::of_desk(error, about))?;
                    (media_type, (!json.is_null()).then(|| value::to_pb(&json)))
                };
                (command::validated(), document)
            }
        };
        let answer = pb::ExecuteCommandResponse { receipt: Some(receipt), r#type: media_type, resource };
        page::whole(answer, "what Blip answered")
    }
}

/// As much of a page of what the log knows as fits an answer, and where it goes on.
async fn fitting<T, M: Message, F: Future<Output = Result<Page<T>, DeskError>>>(
    mut count_max: usize,
    read: impl Fn(usize) -> F,
    to_pb: impl Fn(&T) -> M,
) -> Result<(Vec<M>, Option<u64>), DeskError> {
    loop {
        let Page { items, next } = read(count_max).await?;
        let told: Vec<_> = items.iter().map(&to_pb).collect();
        // What does not fit is read again by the next page: only the store knows where that begins.
        match page::fitting(&told) {
            fitting if fitting < told.len() => count_max = fitting,
            _ => return Ok((told, next)),
        }
    }
}

/// A page of a list of Blip's.
struct Told<M> {
    items: Vec<M>,
    /// Items of it that cannot be told.
    left_out: u32,
    /// Where it goes on.
    next: Option<u64>,
}

impl<M: Message> Told<M> {
    /// As much of a part of the list as fits an answer.
    fn of<T>(part: AtBlip<T>, to_pb: impl Fn(T) -> M) -> Self {
        let AtBlip { items, next, left_out } = part;
        let (places, all): (Vec<_>, Vec<_>) =
            items.into_iter().map(|(after, item)| (after, to_pb(item))).unzip();
        let fitting = page::fitting(&all);
        let goes_on = fitting < all.len();
        let last = fitting.checked_sub(1).and_then(|last| places.get(last).copied());
        let (items, too_large) = page::told(all.into_iter().take(fitting));
        Self { items, left_out: left_out.saturating_add(too_large), next: if goes_on { last } else { next } }
    }
}

/// Who asks of which bot, until when.
pub(super) fn asker<'a>(bot: &'a str, principal: &'a str, deadline: Instant) -> Asker<'a> {
    Asker { bot, principal, deadline }
}

/// Who calls; empty while callers need not say.
pub(super) fn principal_of<T>(request: &Request<T>) -> String {
    request.extensions().get::<Principal>().cloned().unwrap_or_default().0
}
