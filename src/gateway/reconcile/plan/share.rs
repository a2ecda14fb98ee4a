//! Whose question is next. Errands come before a round's questions, but not all the time: they may come faster than any
//! of them can be asked, and a round that never ends finds nothing.

use super::{Ask, Now, Planner, Whose};

/// Questions of errands that are asked in a row while a round waits.
const IN_A_ROW_MAX: u32 = 3;

impl Planner {
    /// The next question, and who asks it.
    pub(super) fn next_question(&mut self, now: Now) -> Option<(Ask, Whose)> {
        if self.in_a_row >= IN_A_ROW_MAX
            && let Some(next) = self.question_of_round(now)
        {
            self.in_a_row = 0;
            return Some(next);
        }
        let next = self.again.pop_front();
        let next = next.or_else(|| self.errand(now).map(|ask| (ask, Whose::Errand)));
        let next = next.or_else(|| self.of_round(now).map(|ask| (ask, Whose::Round)));
        let waits = self.round.is_some() && matches!(next, Some((_, Whose::Errand)));
        self.in_a_row = if waits { self.in_a_row.saturating_add(1) } else { 0 };
        next
    }

    /// What the round is to ask before any errand: again, of what it has found and waits for, or on its way.
    fn question_of_round(&mut self, now: Now) -> Option<(Ask, Whose)> {
        let again = self.again.iter().position(|(_, whose)| *whose == Whose::Round);
        let next = again.and_then(|at| self.again.remove(at));
        let next = next.or_else(|| self.found_errand(now).map(|ask| (ask, Whose::Errand)));
        next.or_else(|| self.of_round(now).map(|ask| (ask, Whose::Round)))
    }

    /// Whether a question is asked, or to be asked again.
    pub(super) fn is_under_way(&self, ask: &Ask) -> bool {
        self.out.contains_key(ask) || self.again.iter().any(|(again, _)| again == ask)
    }
}
