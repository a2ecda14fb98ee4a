//! What passes between the planner and whoever asks for it: questions, answers, and what came of them.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Errand, Report, What};
use crate::domain::Ticket;
use crate::domain::translate::ThreadItem;

/// A question to Blip.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// A page of the tickets that live.
    Living {
        /// How many to pass over.
        skip: usize,
        /// How many at most.
        take: usize,
    },
    /// A page of the tickets made since then that ended.
    Closed {
        /// When.
        since: Timestamp,
        /// How many to pass over.
        skip: usize,
        /// How many at most.
        take: usize,
    },
    /// One ticket.
    Ticket {
        /// Its id.
        id: String,
    },
    /// A page of its conversation, newest first.
    Said {
        /// The ticket's id.
        id: String,
        /// How many to pass over.
        skip: usize,
    },
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Of a list.
    Tickets {
        /// Those that could be read.
        tickets: Vec<Ticket>,
        /// How many items the page has.
        count: usize,
        /// How many Blip says there are.
        total: Option<usize>,
    },
    /// Of one ticket; `None` where the answer holds none.
    Ticket(Option<Box<Ticket>>),
    /// Of a conversation.
    Said {
        /// Those that could be read.
        items: Vec<ThreadItem>,
        /// How many items the page has.
        count: usize,
        /// How many Blip says there are.
        total: Option<usize>,
    },
    /// Blip refuses it.
    Refused {
        /// LIME's code.
        code: Option<i64>,
        /// Blip's words.
        description: String,
    },
    /// Blip does not take the key.
    KeyRefused,
    /// There is no answer; ask again after this time at the earliest.
    Failed {
        /// How long Blip is to be left alone.
        retry_after: Duration,
        /// Blip was asked: it may be this question that it cannot answer.
        asked: bool,
    },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Ask this.
    Ask(Ask),
    /// Nothing to do before then, unless an answer comes.
    Wait(Instant),
    /// Nothing to do before an answer comes.
    Answers,
    /// A round is over, and all it found was handed out.
    Done(Report),
}

/// What the log does not have, as far as the planner can tell.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// A ticket that lives, and is not as the log knows it.
    Ticket(Box<Ticket>),
    /// A conversation, as far back as was asked for, oldest first.
    Conversation(Box<Conversation>),
}

/// A conversation that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// Why it was read.
    pub errand: Errand,
    /// What was said, by the customer's whole thread: other tickets' parts are among it.
    pub items: Vec<ThreadItem>,
    /// From when on.
    pub floor: Timestamp,
    /// It was read from its very beginning.
    pub whole: bool,
    /// It was not given, or not all that was asked for, and is asked for again.
    pub again: bool,
}

impl Conversation {
    /// The ticket's id.
    pub fn ticket_id(&self) -> &str {
        &self.errand.ticket_id
    }

    /// The ticket as Blip showed it, where the log does not have it so: new, or ended.
    pub fn document(&self) -> Option<&Ticket> {
        match &self.errand.what {
            What::Found { document, .. } => Some(document),
            What::Arrived | What::Ended | What::Living | What::Check => None,
        }
    }
}

/// Tickets whose state is to be looked up in the log before an answer is taken in.
pub fn tickets_of(ask: &Ask, answer: &Answer) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    if let Ask::Ticket { id } = ask {
        ids.insert(id.clone());
    }
    if let Answer::Tickets { tickets, .. } = answer {
        ids.extend(tickets.iter().map(|ticket| ticket.id.clone()));
    }
    ids
}
