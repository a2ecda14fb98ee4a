//! Which of a bot's queued commands are on their way: so many at once. The clients that left them take turns.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::blip::policy::rows::Rows;

/// The rota of one bot.
#[derive(Debug)]
pub(super) struct Rota {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Who waits, by client; the first is next.
    rows: Rows<oneshot::Sender<Slot>>,
}

/// The right to be on the way; given back when dropped, also where nobody waits for it any more.
#[derive(Debug)]
pub(super) struct Slot(Option<Arc<Rota>>);

impl Rota {
    pub(super) fn new(at_once: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { free: at_once, rows: Rows::default() }) })
    }

    /// Waits for the client's next turn. Dropping the future gives the place up.
    pub(super) async fn slot(self: &Arc<Self>, principal: &str) -> Slot {
        let (sender, granted) = oneshot::channel();
        {
            let mut state = self.lock();
            state.rows.push(&principal.into(), sender);
            self.grant(&mut state);
        }
        // A sender is not dropped before it was asked, but while the rota itself ends.
        granted.await.unwrap_or(Slot(None))
    }

    /// Lets go as many as may.
    fn grant(self: &Arc<Self>, state: &mut State) {
        while state.free > 0
            && let Some((_, next)) = state.rows.pop()
        {
            match next.send(Slot(Some(Arc::clone(self)))) {
                Ok(()) => state.free = state.free.saturating_sub(1),
                // It waits no longer; nothing was taken, so nothing is given back.
                Err(mut slot) => slot.0 = None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(rota) = self.0.take() else { return };
        let mut state = rota.lock();
        state.free = state.free.saturating_add(1);
        rota.grant(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn clients_take_turns_and_each_keeps_its_order() {
        let rota = Rota::new(1);
        let first = rota.slot("a").await;
        let asked = ["a", "a", "a", "b", "b", "c"];
        let mut waiting: Vec<_> = asked.iter().map(|who| Some(Box::pin(rota.slot(who)))).collect();
        let mut went = Vec::new();
        let mut held = Some(first);
        for _ in 0..=asked.len() {
            for (number, place) in waiting.iter_mut().enumerate() {
                if let Some(turn) = place
                    && let Poll::Ready(slot) = poll!(turn)
                {
                    assert!(held.is_none(), "one at a time");
                    held = Some(slot);
                    *place = None;
                    went.push(number);
                }
            }
            held = None;
        }
        assert_eq!(went, [0, 3, 5, 1, 4, 2], "a, b, c, a, b, a");
    }

    #[tokio::test]
    async fn who_waits_no_longer_holds_up_nobody() {
        let rota = Rota::new(1);
        let first = rota.slot("a").await;
        let (mut gone, mut granted) = (Box::pin(rota.slot("a")), Box::pin(rota.slot("a")));
        let mut last = Box::pin(rota.slot("a"));
        for turn in [&mut gone, &mut granted, &mut last] {
            assert!(poll!(turn).is_pending());
        }
        drop(gone);
        drop(first);
        assert!(poll!(&mut last).is_pending(), "it is the turn of one before");
        drop(granted);
        drop(last.await);
        assert_eq!(rota.lock().free, 1);
    }
}
