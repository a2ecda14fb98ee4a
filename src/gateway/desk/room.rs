//! Room for commands that wait: so many, and so many bytes of them. What an earlier process accepted takes its room
//! whether or not there is any; new ones wait until there is again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::QueueLimits;

/// The room, shared by all bots.
#[derive(Debug)]
pub(super) struct Room {
    limits: QueueLimits,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    commands: usize,
    bytes: usize,
}

/// One command's room; given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    pub(super) fn new(limits: QueueLimits) -> Arc<Self> {
        Arc::new(Self { limits, taken: Mutex::default() })
    }

    /// Takes room for a command of so many bytes; `Err` says why there is none.
    pub(super) fn try_take(self: &Arc<Self>, bytes: usize) -> Result<Held, String> {
        let QueueLimits { expiry: _, commands_max, bytes_max } = self.limits;
        let mut taken = self.lock();
        if taken.commands >= commands_max {
            return Err(format!(
                "{commands_max} commands wait already, as many as commands.queue_max allows"
            ));
        }
        if taken.bytes.saturating_add(bytes) > bytes_max {
            return Err(format!(
                "the commands that wait already leave no room for this one in {bytes_max} bytes"
            ));
        }
        Ok(self.hold(&mut taken, bytes))
    }

    /// The same for a command that was accepted before.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Held {
        self.hold(&mut self.lock(), bytes)
    }

    fn hold(self: &Arc<Self>, taken: &mut Taken, bytes: usize) -> Held {
        taken.commands = taken.commands.saturating_add(1);
        taken.bytes = taken.bytes.saturating_add(bytes);
        Held { room: Arc::clone(self), bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut taken = self.room.lock();
        taken.commands = taken.commands.saturating_sub(1);
        taken.bytes = taken.bytes.saturating_sub(self.bytes);
    }
}
