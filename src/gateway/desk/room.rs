//! Room for what waits: so much, and so many bytes of it. No client takes all of it for one bot, so that others find room
//! whatever one of them floods. What an earlier process accepted takes its room whether or not there is any; new ones wait
//! until there is again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A client may take more for a bot while what it has there is less than so many times what is free: four fifths of the
/// room for the first, four fifths of the rest for the next.
const SHARE: usize = 4;

/// How much there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) count_max: usize,
    pub(super) bytes_max: usize,
}

/// A bot, and the client that asks something of it.
type Owner = (String, String);

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoRoom {
    #[error("{0} wait already, as many as may")]
    Count(usize),
    #[error("those that wait already leave no room for this one in {0} bytes")]
    Bytes(usize),
    #[error("what you asked of this bot and waits already leaves no more than others may need")]
    Share,
}

/// The room, shared by all bots.
#[derive(Debug)]
pub(super) struct Room {
    limits: Limits,
    /// There is one bot only, so that clients without a name are all there is.
    one_bot: bool,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: Amount,
    of: HashMap<Owner, Amount>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Amount {
    count: usize,
    bytes: usize,
}

/// What one takes; given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    room: Arc<Room>,
    owner: Owner,
    bytes: usize,
}

impl Room {
    /// Room for what is asked of so many bots.
    pub(super) fn new(limits: Limits, bots: usize) -> Arc<Self> {
        Arc::new(Self { limits, one_bot: bots == 1, taken: Mutex::default() })
    }

    /// Takes room for so many bytes that a client asks of a bot.
    pub(super) fn try_take(
        self: &Arc<Self>,
        bot: &str,
        principal: &str,
        bytes: usize,
    ) -> Result<Held, NoRoom> {
        let Limits { count_max, bytes_max } = self.limits;
        let owner = (bot.to_owned(), principal.to_owned());
        let mut taken = self.lock();
        let free = Amount {
            count: count_max.saturating_sub(taken.all.count),
            bytes: bytes_max.saturating_sub(taken.all.bytes),
        };
        if free.count == 0 {
            return Err(NoRoom::Count(count_max));
        }
        if free.bytes < bytes {
            return Err(NoRoom::Bytes(bytes_max));
        }
        let own = taken.of.get(&owner).copied().unwrap_or_default();
        let is_alone = self.one_bot && principal.is_empty();
        let fits = |own: usize, free: usize| is_alone || own < free.saturating_mul(SHARE);
        if !fits(own.count, free.count) || !fits(own.bytes, free.bytes) {
            return Err(NoRoom::Share);
        }
        Ok(self.hold(&mut taken, owner, bytes))
    }

    /// The same for what was accepted before.
    pub(super) fn take(self: &Arc<Self>, bot: &str, principal: &str, bytes: usize) -> Held {
        self.hold(&mut self.lock(), (bot.to_owned(), principal.to_owned()), bytes)
    }

    fn hold(self: &Arc<Self>, taken: &mut Taken, owner: Owner, bytes: usize) -> Held {
        taken.all.add(bytes);
        taken.of.entry(owner.clone()).or_default().add(bytes);
        Held { room: Arc::clone(self), owner, bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Amount {
    fn add(&mut self, bytes: usize) {
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn give_back(&mut self, bytes: usize) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut taken = self.room.lock();
        taken.all.give_back(self.bytes);
        if let Some(own) = taken.of.get_mut(&self.owner) {
            own.give_back(self.bytes);
            if own.count == 0 {
                taken.of.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bot_that_does_not_answer_leaves_room_for_another() {
        let limits = Limits { count_max: 10, bytes_max: usize::MAX };
        let room = Room::new(limits, 2);
        let mut held = Vec::new();
        let mut fill = |bot, principal| {
            let mut took = 0;
            loop {
                match room.try_take(bot, principal, 1) {
                    Ok(one) => held.push(one),
                    Err(why) => return (took, why),
                }
                took += 1;
            }
        };
        assert_eq!(fill("a", "crm"), (8, NoRoom::Share));
        assert_eq!(fill("b", "crm"), (2, NoRoom::Count(10)));
        assert_eq!(fill("a", "bi"), (0, NoRoom::Count(10)));
        drop(held);
        assert!(room.lock().of.is_empty());
        // Where nobody else can come, or there is little, one may have it all.
        let room = Room::new(limits, 1);
        let held = [(); 10].map(|()| room.try_take("a", "", 1).unwrap());
        assert_eq!(room.try_take("a", "", 1).unwrap_err(), NoRoom::Count(10));
        drop(held);
        let room = Room::new(Limits { count_max: 2, bytes_max: 2 }, 2);
        let held = [(); 2].map(|()| room.try_take("a", "crm", 1).unwrap());
        assert_eq!(room.try_take("a", "crm", 0).unwrap_err(), NoRoom::Count(2));
        drop(held);
        assert_eq!(room.try_take("a", "crm", 3).unwrap_err(), NoRoom::Bytes(2));
        let _before_the_start = room.take("a", "crm", 3);
        assert_eq!(room.try_take("a", "crm", 1).unwrap_err(), NoRoom::Bytes(2));
    }
}
