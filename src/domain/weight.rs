//! About how much memory events and tickets take: what is kept or waits in memory is bounded in this. A body's length
//! would not do, as JSON can take many times its length once it is read.

use super::content::{Content, ContentKind, Earlier};
use super::event::{Event, Fact, NewEvent, Payload, StoredEvent};
use super::ticket::Ticket;
use crate::lime::json::{self, weight_of};

/// What an event takes beside what it says.
const EVENT_BYTES: usize = 1_024;
/// What one of content's parts takes beside what it says.
const PART_BYTES: usize = size_of::<Content>();
/// What a short text takes beside its letters.
const TEXT_BYTES: usize = 40;

/// Adds, and never overflows.
fn sum(parts: impl IntoIterator<Item = usize>) -> usize {
    parts.into_iter().fold(0, usize::saturating_add)
}

fn tags_weight(tags: &[String]) -> usize {
    sum(tags.iter().map(|tag| tag.len().saturating_add(TEXT_BYTES)))
}

impl StoredEvent {
    /// About how much memory it takes.
    pub fn weight(&self) -> usize {
        let Event { bot: _, ticket_id, blip_id, traceparent, payload, .. } = &self.event;
        let Event { customer_identity, resolved_customer_identity, team, agent_identity, .. } = &self.event;
        let texts = [ticket_id, blip_id, traceparent, customer_identity, resolved_customer_identity];
        let texts = sum(texts.into_iter().chain([team, agent_identity]).map(String::len));
        sum([EVENT_BYTES, self.raw.len(), texts, payload.weight()])
    }
}

impl NewEvent {
    /// About how much memory it takes.
    pub fn weight(&self) -> usize {
        let fact = match &self.fact {
            Fact::Ticket(ticket) => ticket.weight(),
            Fact::Tags(tags) => tags_weight(tags),
            Fact::Told(payload) => payload.weight(),
        };
        sum([EVENT_BYTES, self.raw.len(), self.blip_id.len(), fact])
    }
}

impl Payload {
    fn weight(&self) -> usize {
        match self {
            Self::TicketCreated(ticket)
            | Self::TicketAssigned(ticket)
            | Self::TicketTransferred(ticket)
            | Self::TicketClosed(ticket)
            | Self::TicketUpdated { ticket, changed_fields: _ } => ticket.weight(),
            Self::CustomerMessage { message_id, content, metadata } => {
                let entries = metadata.iter().map(|(key, value)| sum([key.len(), value.len(), TEXT_BYTES]));
                sum([message_id.len(), content.weight(), sum(entries)])
            }
            Self::AgentMessage { message_id, content, agent_identity, command_id } => {
                sum([message_id.len(), content.weight(), agent_identity.len(), command_id.len()])
            }
            Self::MessageStatusChanged {
                message_id,
                status: _,
                blip_status,
                reason_code: _,
                reason_description,
            } => sum([message_id.len(), blip_status.len(), reason_description.len()]),
            Self::MessageDeleted { message_id } => message_id.len(),
            Self::CustomerTyping { state } => state.len(),
            Self::TicketContext(content) => content.weight(),
            Self::CommandSettled { command_id, method, end: _, error_reason, request_id } => {
                sum([command_id, method, error_reason, request_id].map(String::len))
            }
            Self::GatewayAlert { reason, description, details } => {
                sum([reason.len(), description.len(), weight_of(details)])
            }
            Self::Unknown { media_type, json } => sum([media_type.len(), json::weight(json)]),
        }
    }
}

impl Ticket {
    /// About how much memory it takes.
    pub fn weight(&self) -> usize {
        let Self { id, blip_status, sequential_suffix, customer_identity, customer_domain, team, .. } = self;
        let Self { routing_customer_identity, tunnel_customer_identity, agent_identity, closed_by, .. } =
            self;
        let Self { parent_ticket_id, external_id, tags, customer_input, more, .. } = self;
        let texts = [id, blip_status, sequential_suffix, customer_identity, customer_domain, team];
        let others = [routing_customer_identity, tunnel_customer_identity, agent_identity, closed_by];
        let parents = [parent_ticket_id, external_id];
        let texts = sum(texts.into_iter().chain(others).chain(parents).map(String::len));
        let tags = tags_weight(tags);
        let input = customer_input.as_ref().map_or(0, Content::weight);
        sum([size_of::<Self>(), texts, tags, input, weight_of(more)])
    }
}

impl Content {
    /// About how much memory it takes.
    pub fn weight(&self) -> usize {
        let Self { media_type, kind, more } = self;
        sum([PART_BYTES, media_type.len(), weight_of(more), kind.weight()])
    }
}

impl ContentKind {
    fn weight(&self) -> usize {
        let maybe = |content: Option<&Content>| content.map_or(0, Content::weight);
        let earlier = |earlier: &Earlier| {
            let Earlier { id, content, direction } = earlier;
            sum([id.len(), direction.len(), maybe(content.as_deref())])
        };
        match self {
            Self::Text(text) => text.len(),
            Self::Media(media) => {
                let texts = [&media.uri, &media.mime_type, &media.title, &media.text, &media.preview_uri];
                let others = [&media.preview_mime_type, &media.aspect_ratio, &media.authorization_realm];
                sum(texts.into_iter().chain(others).map(String::len))
            }
            Self::Location(place) => place.text.len(),
            Self::Contact(contact) => {
                sum([contact.name.len(), contact.email.len(), contact.phone_number.len()])
            }
            Self::WebLink(link) => {
                sum([&link.uri, &link.title, &link.text, &link.preview_uri, &link.target].map(String::len))
            }
            Self::Menu(menu) => {
                let options = menu.options.iter();
                let options = options.map(|one| sum([PART_BYTES, one.text.len(), maybe(one.value.as_ref())]));
                sum([menu.text.len(), sum(options)])
            }
            Self::Carousel(carousel) => {
                let options = carousel.options.iter();
                let options = options.map(|one| {
                    sum([PART_BYTES, PART_BYTES, maybe(one.label.as_ref()), maybe(one.value.as_ref())])
                });
                sum([maybe(carousel.header.as_deref()), sum(options)])
            }
            Self::List(list) => {
                sum([maybe(list.header.as_deref()), sum(list.items.iter().map(Content::weight))])
            }
            Self::Input(input) => sum([maybe(input.label.as_deref()), weight_of(&input.validation)]),
            Self::Collection(all) => {
                sum([all.item_media_type.len(), sum(all.items.iter().map(Content::weight))])
            }
            Self::Reply(reply) => sum([maybe(reply.replied.as_deref()), earlier(&reply.in_reply_to)]),
            Self::Reaction(reaction) => sum([reaction.emoji.len(), earlier(&reaction.in_reaction_to)]),
            Self::Sensitive(content) => content.weight(),
            Self::Json(json) => json::weight(json),
        }
    }
}
