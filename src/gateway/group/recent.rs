//! Which delivery settled an event, for the newest: so that a settlement whose answer was lost can be repeated.

use std::collections::{HashMap, VecDeque};

use crate::domain::Seq;

/// How many are remembered.
const REMEMBERED_MAX: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Recent {
    tokens: HashMap<Seq, u64>,
    order: VecDeque<(Seq, u64)>,
}

impl Recent {
    pub(super) fn note(&mut self, seq: Seq, token: u64) {
        self.tokens.insert(seq, token);
        self.order.push_back((seq, token));
        while self.order.len() > REMEMBERED_MAX {
            if let Some((seq, token)) = self.order.pop_front()
                && self.tokens.get(&seq) == Some(&token)
            {
                self.tokens.remove(&seq);
            }
        }
    }

    /// The delivery that settled an event last, if that is remembered.
    pub(super) fn of(&self, seq: Seq) -> Option<u64> {
        self.tokens.get(&seq).copied()
    }

    /// What comes after `seq` may be delivered anew.
    pub(super) fn forget_after(&mut self, seq: Seq) {
        self.tokens.retain(|known, _| *known <= seq);
        self.order.retain(|(known, _)| *known <= seq);
    }
}
