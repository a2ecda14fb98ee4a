//! Which tickets each customer has had, as far as the log knows: what was said in one is of no other. Kept in memory,
//! and read from the log at the start.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Tickets that are remembered; the oldest are forgotten first.
const TICKETS_MAX: usize = 100_000;
/// Of one customer.
const TICKETS_OF_ONE_MAX: usize = 20;

/// The tickets of each customer, oldest first.
#[derive(Debug, Default)]
pub(super) struct Customers {
    tickets: BTreeMap<u64, VecDeque<String>>,
    /// Whose each of them is, oldest first.
    order: VecDeque<u64>,
}

impl Customers {
    /// The log has this ticket, newer than all before.
    pub(super) fn add(&mut self, customer: &str, ticket_id: &str) {
        let Some(customer) = name_of(customer) else { return };
        let tickets = self.tickets.entry(customer).or_default();
        if tickets.iter().any(|known| known == ticket_id) {
            return;
        }
        tickets.push_back(ticket_id.to_owned());
        if tickets.len() > TICKETS_OF_ONE_MAX {
            tickets.pop_front();
            return;
        }
        self.order.push_back(customer);
        if self.order.len() > TICKETS_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some(tickets) = self.tickets.get_mut(&oldest)
        {
            tickets.pop_front();
            if tickets.is_empty() {
                self.tickets.remove(&oldest);
            }
        }
    }

    /// The log has this ticket, older than all before.
    pub(super) fn add_older(&mut self, customer: &str, ticket_id: &str) {
        let Some(customer) = name_of(customer).filter(|_| self.order.len() < TICKETS_MAX) else { return };
        let tickets = self.tickets.entry(customer).or_default();
        if tickets.len() < TICKETS_OF_ONE_MAX && !tickets.iter().any(|known| known == ticket_id) {
            tickets.push_front(ticket_id.to_owned());
            self.order.push_front(customer);
        }
    }

    /// The tickets of a customer, oldest first.
    pub(super) fn of(&self, customer: &str) -> Vec<String> {
        let tickets = name_of(customer).and_then(|customer| self.tickets.get(&customer));
        tickets.into_iter().flatten().cloned().collect()
    }
}

/// A customer's identity, whatever its case, in little room.
fn name_of(customer: &str) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    customer.to_ascii_lowercase().hash(&mut hasher);
    (!customer.is_empty()).then(|| hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered_and_no_more_than_there_is_room_for() {
        let mut customers = Customers::default();
        customers.add("Ana@0mn.io", "t2");
        customers.add_older("ana@0mn.io", "t1");
        customers.add("ana@0mn.io", "t2");
        customers.add("", "t3");
        assert_eq!(customers.of("ANA@0mn.io"), ["t1", "t2"]);
        assert!(customers.of("").is_empty() && customers.of("bia@0mn.io").is_empty());
        for n in 3..30 {
            customers.add("ana@0mn.io", &format!("t{n}"));
        }
        let known = customers.of("ana@0mn.io");
        assert_eq!((known.len(), known.first().map(String::as_str)), (TICKETS_OF_ONE_MAX, Some("t10")));
        for n in 0..TICKETS_MAX {
            customers.add(&format!("{n}"), "t");
        }
        assert!(customers.of("ana@0mn.io").is_empty(), "that is long ago");
        customers.add_older("late", "t");
        assert!(customers.of("late").is_empty());
        assert_eq!((customers.tickets.len(), customers.order.len()), (TICKETS_MAX, TICKETS_MAX));
    }
}
