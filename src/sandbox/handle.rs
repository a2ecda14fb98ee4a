//! Acting as a customer: open a conversation, say something, close it. The control API and the demo both do it so.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use super::block::Block;
use super::conversation::{CHATSTATE, Incoming};
use super::model::{NewTicket, StatusChange, TUNNEL};
use super::shared::{Shared, State, now};
use super::ticket::{Direction, Refusal, Status};
use super::webhooks::{Content, Envelope, Report, announce, enqueue};
use super::{ControlError, WebhookConfig};

/// Acts on a running sandbox from within the process. Clones act on the same one.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

/// How a customer opens a conversation: the body of `POST /customers`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The customer's name, for the contact.
    pub name: Option<String>,
    /// Who it is; somebody new unless told.
    pub identity: Option<String>,
    /// The channel of somebody new: `wa.gw.msging.net` unless told; `tunnel.msging.net` is behind a router.
    pub domain: Option<String>,
    /// What opens the ticket, as text; nothing at all unless told.
    pub text: Option<String>,
    /// What opens the ticket, of any type.
    pub content: Option<Container>,
    /// The team the rules chose.
    pub team: Option<String>,
    /// The place in the queue.
    pub priority: Option<i64>,
    /// Whether to post the ticket's document; as the settings have it unless told.
    pub announce: Option<bool>,
}

/// Content and its MIME type.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// The MIME type.
    #[serde(rename = "type")]
    pub media_type: String,
    /// The content.
    pub value: Value,
}

/// A conversation that began.
#[derive(Clone, Debug, Serialize)]
pub struct Opened {
    /// Who opened it.
    pub customer_identity: String,
    /// Its ticket.
    pub ticket_id: String,
    /// The ticket's number.
    pub sequential_id: u64,
    /// What became of the ticket's webhook.
    pub delivery: Report,
}

/// What a customer says: the body of `POST /customers/{identity}/messages`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saying {
    /// Plain text.
    pub text: Option<String>,
    /// The MIME type of `content`; `text/plain` unless told.
    #[serde(rename = "type")]
    pub media_type: Option<String>,
    /// Anything but plain text.
    pub content: Option<Value>,
    /// The message's own id, without any `fwd:`; a new one unless told.
    pub id: Option<String>,
    /// The envelope's metadata.
    pub metadata: Option<Value>,
    /// Whether to post it; as the settings have it unless told. It is in the ticket's messages in any case.
    pub announce: Option<bool>,
}

/// Something said.
#[derive(Clone, Debug, Serialize)]
pub struct Said {
    /// The message's own id; a chatstate has none.
    pub id: Option<String>,
    /// The id as posted, with `fwd:` before it.
    pub envelope_id: Option<String>,
    /// The ticket it belongs to.
    pub ticket_id: String,
    /// What became of the webhook.
    pub delivery: Report,
}

/// How a customer goes: the body of `POST /customers/{identity}/close`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closing {
    /// The status to close with: `ClosedClient` unless told.
    pub status: Option<String>,
    /// Whether to post the ticket's document; yes unless told.
    pub announce: Option<bool>,
}

/// A conversation that ended.
#[derive(Clone, Debug, Serialize)]
pub struct Closed {
    /// The ticket that was closed.
    pub ticket_id: String,
    /// Its status now.
    pub status: &'static str,
    /// What became of the webhook.
    pub delivery: Report,
}

impl Handle {
    /// Sets where webhooks are posted from now on.
    pub fn set_webhook(&self, webhook: WebhookConfig) {
        let mut state = self.shared.state();
        state.webhook = Some(webhook);
        state.block = Block::default();
    }

    /// Opens a conversation, and waits until the gateway has heard of it.
    pub async fn open(&self, opening: Opening) -> Result<Opened, ControlError> {
        let (mut opened, report) = self.begin(opening)?;
        opened.delivery = outcome(report).await;
        Ok(opened)
    }

    /// Says something in the customer's conversation, and waits until the gateway has heard it.
    pub async fn say(&self, customer: &str, saying: Saying) -> Result<Said, ControlError> {
        let (mut said, report) = self.utter(customer, saying)?;
        said.delivery = outcome(report).await;
        Ok(said)
    }

    /// Closes the customer's conversation from their side.
    pub async fn close(&self, customer: &str, closing: Closing) -> Result<Closed, ControlError> {
        let (mut closed, report) = self.end(customer, &closing)?;
        closed.delivery = outcome(report).await;
        Ok(closed)
    }

    /// The status of the customer's conversation, and its agent; nothing if there is none that is open.
    pub fn attendance(&self, customer: &str) -> Option<(&'static str, Option<String>)> {
        let state = self.shared.state();
        let ticket = state.desk.active_ticket(customer)?;
        Some((ticket.status.word(), ticket.agent_identity.clone()))
    }

    /// How many messages agents have sent the customer.
    pub fn received(&self, customer: &str) -> usize {
        let state = self.shared.state();
        let thread = state.desk.customer(customer).map(|customer| customer.thread.as_slice());
        thread.unwrap_or_default().iter().filter(|item| item.direction == Direction::Sent).count()
    }

    /// Changes whenever anything in the sandbox does.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.watch()
    }

    fn begin(&self, opening: Opening) -> Result<(Opened, Pending), ControlError> {
        let Opening { name, identity, domain, text, content, team, priority, announce } = opening;
        let input = match (text, content) {
            (Some(_), Some(_)) => return Err(bad("text, content: give one of them")),
            (Some(text), None) => Some(json!({ "type": "text/plain", "value": text })),
            (None, content) => content.map(|content| json!(content)),
        };
        if identity.as_ref().is_some_and(|identity| !identity.contains('@')) {
            return Err(bad("identity: not of the form name@domain"));
        }
        let mut state = self.shared.state();
        let known = identity.is_some();
        let identity = identity.unwrap_or_else(|| new_identity(&mut state, domain.as_deref()));
        if let Some(ticket) = state.desk.active_ticket(&identity) {
            let taken = format!("{identity} already has the open ticket {}", ticket.id);
            return Err(ControlError::Conflict(taken));
        }
        let team = team.map(|team| state.desk.people.team(&team)).transpose();
        let team = team.map_err(|_refusal| bad("team: no such team; GET /state lists them"))?;
        let channel = if known { domain.as_deref() } else { None };
        state.desk.ensure_customer(&identity, name.as_deref(), channel);
        hear_input(&mut state, &identity, input.as_ref());
        let ticket = state.desk.open(
            NewTicket {
                customer_identity: identity,
                team,
                priority,
                customer_input: input,
                ..NewTicket::default()
            },
            now(),
        );
        let announced = announce.unwrap_or(state.settings.announce_new);
        let report = self.post_announcement(&mut state, announced);
        drop(state);
        self.shared.changed();
        let opened = Opened {
            customer_identity: ticket.customer_identity,
            ticket_id: ticket.id,
            sequential_id: ticket.sequential_id,
            delivery: Report::bare("not_posted"),
        };
        Ok((opened, report))
    }

    fn utter(&self, customer: &str, saying: Saying) -> Result<(Said, Pending), ControlError> {
        let Saying { text, media_type, content, id, metadata, announce } = saying;
        let (media_type, content) = match (text, content) {
            (Some(text), None) => {
                (media_type.unwrap_or_else(|| "text/plain".to_owned()), Value::String(text))
            }
            (None, Some(content)) if media_type.is_some() || content.is_string() => {
                (media_type.unwrap_or_else(|| "text/plain".to_owned()), content)
            }
            (None, Some(_)) => return Err(bad("type: content that is not a text needs its MIME type")),
            (Some(_), Some(_)) | (None, None) => return Err(bad("text, content: give one of them")),
        };
        let mut state = self.shared.state();
        let ticket = active(&state, customer)?;
        let (ticket_id, identity) = (ticket.id.clone(), ticket.customer_identity.clone());
        let heard = state.settings.deliver_while_waiting || ticket.status != Status::Waiting;
        let posted = announce.unwrap_or(heard);
        let metadata = state.desk.with_tunnel(&identity, metadata);
        let typing = media_type.eq_ignore_ascii_case(CHATSTATE);
        let id = if typing { None } else { Some(id.unwrap_or_else(|| state.desk.ids.uuid())) };
        let prefix = "fwd:".repeat(self.shared.forward_prefixes.into());
        let envelope = Envelope {
            media_type: Some(media_type.clone()),
            content: Some(Content::Json(content.clone())),
            id: id.as_ref().map(|id| format!("{prefix}{id}")),
            from: format!("{ticket_id}@desk.msging.net/Webhook"),
            to: None,
            event: None,
            reason: None,
            metadata: metadata.clone(),
        };
        let incoming =
            Incoming { id: id.clone(), ticket_id: Some(ticket_id.clone()), media_type, content, metadata };
        state.desk.hear(&identity, incoming, now());
        let report = posted.then(|| enqueue(&self.shared, &mut state, &ticket_id, &envelope));
        drop(state);
        self.shared.changed();
        let said = Said { id, envelope_id: envelope.id, ticket_id, delivery: Report::bare("not_posted") };
        Ok((said, report))
    }

    fn end(&self, customer: &str, closing: &Closing) -> Result<(Closed, Pending), ControlError> {
        let word = closing.status.as_deref().unwrap_or("ClosedClient");
        let status = Status::parse(word).filter(|status| status.is_closed());
        let status = status.ok_or_else(|| bad("status: not one of the closed ones"))?;
        let mut state = self.shared.state();
        let ticket_id = active(&state, customer)?.id.clone();
        let change = StatusChange {
            ticket_id: ticket_id.clone(),
            status,
            agent_identity: None,
            closed_by: None,
            tags: None,
        };
        state.desk.change_status(change, now()).map_err(refused)?;
        let report = self.post_announcement(&mut state, closing.announce.unwrap_or(true));
        drop(state);
        self.shared.changed();
        Ok((Closed { ticket_id, status: status.word(), delivery: Report::bare("not_posted") }, report))
    }

    /// Posts the one thing that just happened to a ticket, if that is wanted.
    pub(super) fn post_announcement(&self, state: &mut State, wanted: bool) -> Pending {
        let mut announcements = state.desk.take_announcements();
        let last = announcements.pop().filter(|_| wanted)?;
        Some(announce(&self.shared, state, &last))
    }
}

/// A webhook on its way; none where nothing is posted.
pub(super) type Pending = Option<oneshot::Receiver<Report>>;

pub(super) async fn outcome(report: Pending) -> Report {
    match report {
        None => Report::bare("not_posted"),
        Some(report) => report.await.unwrap_or_else(|_closed| Report::bare("failed")),
    }
}

/// What opens a ticket was said to the bot before, and is part of the conversation.
fn hear_input(state: &mut State, identity: &str, input: Option<&Value>) {
    let Some(input) = input else { return };
    let id = state.desk.ids.uuid();
    let incoming = Incoming {
        id: Some(id),
        ticket_id: None,
        media_type: input.get("type").and_then(Value::as_str).unwrap_or("text/plain").to_owned(),
        content: input.get("value").cloned().unwrap_or_default(),
        metadata: None,
    };
    state.desk.hear(identity, incoming, now());
}

fn active<'a>(state: &'a State, customer: &str) -> Result<&'a super::ticket::Ticket, ControlError> {
    if state.desk.customer(customer).is_none() {
        return Err(ControlError::NotFound(format!("no customer {customer}; GET /customers lists them")));
    }
    state.desk.active_ticket(customer).ok_or_else(|| {
        ControlError::Conflict(format!("{customer} has no open ticket; POST /customers opens one"))
    })
}

fn new_identity(state: &mut State, domain: Option<&str>) -> String {
    let domain = domain.unwrap_or("wa.gw.msging.net");
    if domain.eq_ignore_ascii_case(TUNNEL) {
        return format!("{}@{domain}", state.desk.ids.uuid());
    }
    if domain.eq_ignore_ascii_case("0mn.io") {
        let bot = state.desk.bot.split('@').next().unwrap_or_default().to_owned();
        return format!("{}.{bot}@{domain}", state.desk.ids.uuid());
    }
    let mut number = 5_531_999_990_001_usize.saturating_add(state.desk.customers().len());
    while state.desk.customer(&format!("{number}@{domain}")).is_some() {
        number = number.saturating_add(1);
    }
    format!("{number}@{domain}")
}

pub(super) fn bad(message: &str) -> ControlError {
    ControlError::BadRequest(message.to_owned())
}

pub(super) fn refused(refusal: Refusal) -> ControlError {
    ControlError::Conflict(refusal.description.unwrap_or_default())
}
