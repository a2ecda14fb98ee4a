//! What Blip answers in the model, and how that fails.

use std::time::Duration;

use serde_json::json;

use super::super::super::*;
use super::{Message, Model};
use crate::domain::translate::items_of_thread;

impl Model {
    pub(in super::super) fn answer(&mut self, ask: &Ask) -> Answer {
        self.asked += 1;
        if let Ask::Said { id, skip: 0 } = ask {
            let sequence = self.log.states.get(id).map_or(0, |state| state.last_sequence);
            self.asked_at.insert(id.clone(), sequence);
        }
        if self.troubled
            && let Some(trouble) = self.trouble(ask)
        {
            return trouble;
        }
        match ask {
            Ask::Living { skip, take } => {
                let mut living: Vec<_> = self.documents(|ticket| !ticket.status.is_terminal());
                if self.troubled && !living.is_empty() {
                    let by = self.dice.roll(living.len());
                    living.rotate_left(by);
                }
                let take = if self.troubled { (*take).min(3) } else { *take };
                page(&living, *skip, take)
            }
            Ask::Closed { since, skip, take } => {
                let ended = self.documents(|ticket| {
                    ticket.status.is_terminal() && ticket.create_time.is_some_and(|made| made >= *since)
                });
                page(&ended, *skip, *take)
            }
            Ask::Ticket { id } => {
                let found = self.attendances.iter().find(|it| it.document.id == *id);
                let gone = || Answer::Refused { code: Some(67), description: "not found".to_owned() };
                found.map_or_else(gone, |it| Answer::Ticket(Some(Box::new(it.document.clone()))))
            }
            Ask::Said { id, skip } => {
                let Some(found) = self.attendances.iter().find(|it| it.document.id == *id) else {
                    return Answer::Refused { code: Some(67), description: "not found".to_owned() };
                };
                let ticket = json!({"id": id, "direction": "received", "date": found.document.create_time.unwrap().to_string(),
                    "type": "application/vnd.iris.ticket+json", "content": {"id": id}});
                let mut thread = vec![ticket];
                thread.extend(found.said.iter().map(item_of));
                thread.reverse();
                let items: Vec<_> = thread.into_iter().skip(*skip).take(ITEMS_MAX).collect();
                let count = items.len();
                Answer::Said { items: items_of_thread(&json!({"items": items})), count, total: None }
            }
        }
    }

    fn documents(&self, which: impl Fn(&Ticket) -> bool) -> Vec<Ticket> {
        self.attendances.iter().map(|it| it.document.clone()).filter(|ticket| which(ticket)).collect()
    }

    /// A way to fail, now and then.
    fn trouble(&mut self, ask: &Ask) -> Option<Answer> {
        let refused = |code: Option<i64>, said: &str| Answer::Refused { code, description: said.to_owned() };
        let way = self.dice.roll(10);
        Some(match (way, ask) {
            (0, _) => Answer::Failed { retry_after: Duration::from_secs(1), asked: self.dice.one_in(2) },
            (1, _) => refused(Some(67), "The requested resource was not found"),
            (2, _) => Answer::KeyRefused,
            (3, Ask::Living { .. } | Ask::Closed { .. }) => {
                Answer::Tickets { tickets: Vec::new(), count: 0, total: None }
            }
            (3, Ask::Said { .. }) => Answer::Said { items: Vec::new(), count: 0, total: None },
            (3, Ask::Ticket { .. }) => Answer::Ticket(None),
            (4, Ask::Ticket { .. }) => {
                let mut other = self.documents(|ticket| ticket.status.is_terminal());
                Answer::Ticket(other.pop().map(Box::new))
            }
            (4, _) => refused(None, "The take parameter can not be greater than 100"),
            (5, _) => refused(Some(61), "Unable to perform operation"),
            (6, Ask::Ticket { id }) => {
                Answer::Ticket(Some(Box::new(Ticket { id: id.clone(), ..Ticket::default() })))
            }
            _ => return None,
        })
    }
}

pub(super) fn item_of(message: &Message) -> serde_json::Value {
    let (id, direction) = (&message.id, if message.sent { "sent" } else { "received" });
    let id = if message.sent { format!("fwd:fwd:{id}") } else { id.clone() };
    json!({"id": id, "direction": direction, "type": "text/plain", "content": "oi", "date": message.date.to_string()})
}

fn page(tickets: &[Ticket], skip: usize, take: usize) -> Answer {
    let total = Some(tickets.len());
    let tickets: Vec<_> = tickets.iter().skip(skip).take(take).cloned().collect();
    let count = tickets.len();
    Answer::Tickets { tickets, count, total }
}
