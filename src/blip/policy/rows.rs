//! Who waits, a row for each principal: they take turns, and each keeps its own order, so that one who floods delays the
//! others by one each, and only itself by more.

use std::collections::VecDeque;
use std::sync::Arc;

/// The rows; the first is next.
#[derive(Debug)]
pub struct Rows<T>(pub(super) VecDeque<Row<T>>);

/// Those of one principal, in order.
#[derive(Debug)]
pub(super) struct Row<T> {
    pub(super) principal: Arc<str>,
    pub(super) waiting: VecDeque<T>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Rows<T> {
    /// Puts one at the end of its principal's row.
    pub fn push(&mut self, principal: &Arc<str>, waiting: T) {
        match self.0.iter_mut().find(|row| row.principal == *principal) {
            Some(row) => row.waiting.push_back(waiting),
            None => self.0.push_back(Row { principal: Arc::clone(principal), waiting: [waiting].into() }),
        }
    }

    /// Takes the first of the first row, which then is the last.
    pub fn pop(&mut self) -> Option<(Arc<str>, T)> {
        let mut row = self.0.pop_front()?;
        let waiting = row.waiting.pop_front().map(|waiting| (Arc::clone(&row.principal), waiting));
        if !row.waiting.is_empty() {
            self.0.push_back(row);
        }
        waiting
    }
}
