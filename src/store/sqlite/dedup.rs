//! What was taken already: the keys of events, kept longer than the events themselves where retention is
//! shorter.
//!
//! Keys are digests, so each falls on a page of its own, and writing a page for each would cost more than
//! writing the events. So the newest keys are in memory, and on disk beside their events; when they are many,
//! they move into `dedup` in order of the keys, a few after each batch: many to a page.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::Path;
use std::vec;

use rusqlite::{Connection, OptionalExtension as _, Statement, params};

use super::sieve::Sieve;
use super::{int, seq};
use crate::domain::{DedupKey, Seq};

/// Keys moved by one step: many together share pages.
const KEYS_PER_STEP: usize = 1_024;

/// A key is a digest: the first of its bytes serve as its hash.
#[derive(Debug, Default)]
struct Digest(u64);

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.first_chunk().copied().map(u64::from_le_bytes).unwrap_or_default();
    }

    fn write_usize(&mut self, _length: usize) {}
}

/// Newest keys from which a move begins: some 4 MB in memory, and twice that while it lasts.
const RECENT_MAX: usize = 65_536;

/// Which event took a key, and when.
#[derive(Debug, Clone, Copy)]
struct Taken {
    by: Seq,
    at: i64,
}

/// The keys, and how long each is remembered.
#[derive(Debug)]
pub(super) struct Dedup {
    /// Microseconds.
    window: i64,
    recent: HashMap<DedupKey, Taken, BuildHasherDefault<Digest>>,
    /// What the running transaction changed in `recent`, to be undone with it.
    undo: Vec<(DedupKey, Option<Taken>)>,
    moving: Option<Moving>,
    /// How many keys have come since the last step of the move, twice: it must end before as many are new.
    owed: usize,
    sieve: Sieve,
}

/// Keys on their way to `dedup`.
#[derive(Debug)]
struct Moving {
    /// In order.
    keys: vec::IntoIter<(DedupKey, Taken)>,
    /// The last position among them.
    up_to: Seq,
}

impl Dedup {
    /// Reads the newest keys.
    pub(super) fn load(db: &Connection, path: &Path, window: i64, now: i64) -> rusqlite::Result<Self> {
        let recent = db
            .prepare(
                "SELECT key, seq, receive_time FROM events
                 WHERE seq > (SELECT keys_moved FROM log) AND key IS NOT NULL ORDER BY seq",
            )?
            .query_map([], |row| {
                Ok((DedupKey(row.get(0)?), Taken { by: seq(row.get(1)?), at: row.get(2)? }))
            })?
            .collect::<Result<_, _>>()?;
        let sieve = Sieve::fill(db, path, window, now)?;
        Ok(Self { window, recent, undo: Vec::new(), moving: None, owed: 0, sieve })
    }

    /// The look-up of [`Dedup::claim`].
    pub(super) const KNOWN: &str = "SELECT seq, receive_time FROM dedup WHERE key = ?1";

    /// Takes `key` for the event at `by`, which is written with it; if it is taken already, answers by which.
    pub(super) fn claim(
        &mut self,
        known: &mut Statement<'_>,
        key: DedupKey,
        by: Seq,
        now: i64,
    ) -> rusqlite::Result<Option<Seq>> {
        if let Some(by) = self.taken(known, key, now)? {
            return Ok(Some(by));
        }
        let before = self.recent.insert(key, Taken { by, at: now });
        self.undo.push((key, before));
        Ok(None)
    }

    /// By which event `key` is taken now.
    pub(super) fn taken(
        &mut self,
        known: &mut Statement<'_>,
        key: DedupKey,
        now: i64,
    ) -> rusqlite::Result<Option<Seq>> {
        let taken = match self.recent.get(&key) {
            Some(taken) => Some(*taken),
            None if !self.sieve.may_hold(&key) => None,
            None => known
                .query_row([key.0], |row| Ok(Taken { by: seq(row.get(0)?), at: row.get(1)? }))
                .optional()?,
        };
        Ok(taken.filter(|taken| taken.at >= now.saturating_sub(self.window)).map(|taken| taken.by))
    }

    /// The transaction is durable.
    pub(super) fn committed(&mut self) {
        if self.moving.is_some() {
            self.owed = self.owed.saturating_add(self.undo.len().saturating_mul(2));
        }
        self.undo.clear();
        if self.moving.is_none() && self.recent.len() >= RECENT_MAX {
            let mut keys: Vec<_> = self.recent.iter().map(|(key, taken)| (*key, *taken)).collect();
            keys.sort_unstable_by_key(|(key, _)| *key);
            let up_to = keys.iter().map(|(_, taken)| taken.by).max().unwrap_or_default();
            self.moving = Some(Moving { keys: keys.into_iter(), up_to });
        }
    }

    /// The transaction is gone.
    pub(super) fn rolled_back(&mut self) {
        for (key, before) in self.undo.drain(..).rev() {
            match before {
                Some(taken) => self.recent.insert(key, taken),
                None => self.recent.remove(&key),
            };
        }
    }

    /// Whether it is time for a step of the move.
    pub(super) fn owes_step(&self) -> bool {
        self.owed >= KEYS_PER_STEP
    }

    /// Moves some keys inside the caller's transaction; answers those that need no place in memory once it is
    /// committed.
    pub(super) fn step(&mut self, db: &Connection, now: i64) -> rusqlite::Result<Vec<(DedupKey, Seq)>> {
        self.owed = self.owed.saturating_sub(KEYS_PER_STEP);
        let Some(moving) = &mut self.moving else { return Ok(Vec::new()) };
        if moving.keys.len() == 0 {
            db.prepare_cached("UPDATE log SET keys_moved = max(keys_moved, ?1)")?
                .execute([int(moving.up_to.0)])?;
            self.moving = None;
            return Ok(Vec::new());
        }
        let mut insert = db.prepare_cached(
            "INSERT INTO dedup VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE
             SET seq = excluded.seq, receive_time = excluded.receive_time",
        )?;
        let mut moved = Vec::with_capacity(KEYS_PER_STEP);
        for (key, taken) in moving.keys.by_ref().take(KEYS_PER_STEP) {
            insert.execute(params![key.0, int(taken.by.0), taken.at])?;
            self.sieve.add(&key, now);
            moved.push((key, taken.by));
        }
        Ok(moved)
    }

    /// The step is committed.
    pub(super) fn stepped(&mut self, moved: Vec<(DedupKey, Seq)>) {
        for (key, by) in moved {
            if self.recent.get(&key).is_some_and(|taken| taken.by == by) {
                self.recent.remove(&key);
            }
        }
    }

    /// The step is gone: the move begins anew some time, all it needs is still there.
    pub(super) fn abandon(&mut self) {
        self.moving = None;
    }

    /// Keeps the keys of the events up to `last`, which are about to be removed, where they stay.
    pub(super) fn keep(&self, db: &Connection, last: i64, now: i64) -> rusqlite::Result<()> {
        db.prepare_cached(
            "INSERT INTO dedup SELECT key, seq, receive_time FROM events
             WHERE seq > (SELECT keys_moved FROM log) AND seq <= ?1 AND key IS NOT NULL AND receive_time >= ?2
             ON CONFLICT (key) DO UPDATE SET seq = excluded.seq, receive_time = excluded.receive_time",
        )?
        .execute((last, now.saturating_sub(self.window)))?;
        Ok(())
    }

    /// Forgets old keys whose first two bytes are in `from..=to`. A slice of the key space is contiguous, so
    /// that few pages change however many keys go.
    pub(super) fn sweep(&mut self, db: &Connection, from: u16, to: u16, now: i64) -> rusqlite::Result<usize> {
        let mut last = [u8::MAX; 16];
        last.iter_mut().zip(to.to_be_bytes()).for_each(|(byte, of)| *byte = of);
        db.prepare_cached("DELETE FROM dedup WHERE key BETWEEN ?1 AND ?2 AND receive_time < ?3")?
            .execute(params![from.to_be_bytes(), last, now.saturating_sub(self.window)])
    }
}
