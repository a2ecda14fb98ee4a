//! Nearly every key is new, and to find that out in a table of millions takes a walk through cold pages. The sieve
//! answers most of it from memory: a key that it does not hold is in no table. It may hold keys that are in none.

use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use super::schema;
use crate::domain::DedupKey;

/// Bits of a generation: 8 MiB, which let through one new key in twenty when ten million are held.
const BITS: usize = 1 << 26;

/// Keys read at a time while it is filled; when there are no more than these, it is filled at once.
const KEYS_PER_PAGE: usize = 8_192;

/// Three bits of one word for each key.
#[derive(Debug)]
struct Bits(Vec<u64>);

impl Bits {
    fn new() -> Self {
        Self(vec![0; BITS / 64])
    }

    /// The word and the bits of a key: keys are digests, so any of their bits are as good as others.
    fn place(&self, key: &DedupKey) -> (usize, u64) {
        let half = |bytes: Option<&[u8; 8]>| bytes.copied().map(u64::from_le_bytes).unwrap_or_default();
        let (front, back) = (half(key.0.first_chunk()), half(key.0.last_chunk()));
        let bit = |shift: u32| 1_u64 << (back.wrapping_shr(shift) & 63);
        let word = front % u64::try_from(self.0.len().max(1)).unwrap_or(u64::MAX);
        (usize::try_from(word).unwrap_or_default(), bit(0) | bit(6) | bit(12))
    }

    fn add(&mut self, key: &DedupKey) {
        let (word, bits) = self.place(key);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bits;
        }
    }

    fn may_hold(&self, key: &DedupKey) -> bool {
        let (word, bits) = self.place(key);
        self.0.get(word).is_none_or(|word| word & bits == bits)
    }

    fn merge(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }
}

/// What is in the table of keys, or was.
#[derive(Debug)]
pub(super) struct Sieve {
    young: Bits,
    /// What was young a window ago: all that the table still holds for a reason is in one of the two.
    old: Option<Bits>,
    /// When the young one was begun, in microseconds.
    begun: i64,
    window: i64,
    filling: Option<Filling>,
}

/// What the table held at the start, on its way here.
#[derive(Debug)]
struct Filling {
    filled: Receiver<Bits>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sieve {
    /// Fills it with what the table holds: a few keys at once, more in the background, and until then it lets
    /// everything through.
    pub(super) fn fill(db: &Connection, path: &Path, window: i64, now: i64) -> rusqlite::Result<Self> {
        let mut young = Bits::new();
        let few = page(db, None, |key| young.add(key))?.1 < KEYS_PER_PAGE;
        let filling = if few { None } else { Some(Filling::start(path)) };
        Ok(Self { young, old: None, begun: now, window, filling })
    }

    /// A key has come into the table.
    pub(super) fn add(&mut self, key: &DedupKey, now: i64) {
        if now.saturating_sub(self.begun) > self.window {
            self.old = Some(mem::replace(&mut self.young, Bits::new()));
            self.begun = now;
        }
        self.young.add(key);
    }

    /// Whether the table has to be asked.
    pub(super) fn may_hold(&mut self, key: &DedupKey) -> bool {
        if let Some(filling) = &self.filling {
            match filling.filled.try_recv() {
                Ok(filled) => {
                    self.young.merge(&filled);
                    self.filling = None;
                }
                // Without it the table is asked every time, which is slower and as right.
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return true,
            }
        }
        self.young.may_hold(key) || self.old.as_ref().is_some_and(|old| old.may_hold(key))
    }
}

impl Filling {
    fn start(path: &Path) -> Self {
        let (sender, filled) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (path, stopped) = (path.to_owned(), Arc::clone(&stop));
        let run = move || match read_all(&path, &stopped) {
            Ok(bits) => drop(sender.send(bits)), // it is closed already, or else it is there
            Err(error) => tracing::warn!(%error, "the keys of earlier events could not be read into memory"),
        };
        let thread = thread::Builder::new().name("store-keys".to_owned()).spawn(run).ok();
        Self { filled, stop, thread }
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it has logged why
        }
    }
}

/// Reads the table page by page, each a short transaction. Keys that come while it reads are added by the writer.
fn read_all(path: &Path, stopped: &AtomicBool) -> rusqlite::Result<Bits> {
    let db = schema::open_reader(path)?;
    let mut bits = Bits::new();
    let mut after = None;
    while !stopped.load(Ordering::Relaxed) {
        let (last, count) = page(&db, after, |key| bits.add(key))?;
        if count < KEYS_PER_PAGE {
            break;
        }
        after = last;
    }
    Ok(bits)
}

/// The keys after `after`, in order: answers the last, and how many they were.
fn page(
    db: &Connection,
    after: Option<DedupKey>,
    mut each: impl FnMut(&DedupKey),
) -> rusqlite::Result<(Option<DedupKey>, usize)> {
    let mut keys = db.prepare_cached("SELECT key FROM dedup WHERE key > ?1 ORDER BY key LIMIT ?2")?;
    let after = after.map_or_else(Vec::new, |key| key.0.to_vec());
    let mut rows = keys.query((after, i64::try_from(KEYS_PER_PAGE).unwrap_or(i64::MAX)))?;
    let (mut last, mut count) = (None, 0_usize);
    while let Some(row) = rows.next()? {
        let key = DedupKey(row.get(0)?);
        each(&key);
        count = count.saturating_add(1);
        last = Some(key);
    }
    Ok((last, count))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bare(window: i64) -> Sieve {
        Sieve { young: Bits::new(), old: None, begun: 0, window, filling: None }
    }

    #[test]
    fn what_was_added_is_held_for_a_window() {
        let mut sieve = bare(10);
        let key = |n: u8| DedupKey([n; 16]);
        sieve.add(&key(1), 5);
        sieve.add(&key(2), 11);
        assert!(sieve.may_hold(&key(1)) && sieve.may_hold(&key(2)) && !sieve.may_hold(&key(3)));
        sieve.add(&key(3), 22);
        assert!(!sieve.may_hold(&key(1)), "older than a window and a half");
        assert!(sieve.may_hold(&key(2)) && sieve.may_hold(&key(3)));
    }

    proptest! {
        #[test]
        fn nothing_that_was_added_is_missed(keys in proptest::collection::vec(any::<[u8; 16]>(), 1..50)) {
            let mut sieve = bare(i64::MAX);
            for key in &keys {
                sieve.add(&DedupKey(*key), 0);
            }
            prop_assert!(keys.iter().all(|key| sieve.may_hold(&DedupKey(*key))));
        }
    }
}
