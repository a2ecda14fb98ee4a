//! The quarantine: reading it beside the writer, and letting go of bodies inside the writer's transaction.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, Row, params};

use super::batch::{Batch, Incoming};
use super::failure::WriteError;
use super::{SqliteLog, int, micros, seq, time};
use crate::domain::late::place_late;
use crate::domain::{DedupKey, Seq};
use crate::store::quarantine::{Held, HeldId, HeldPage, Quarantine, Readable, Released, Wanted};
use crate::store::{AppendError, Appended, ReadError};

#[async_trait]
impl Quarantine for SqliteLog {
    async fn held(&self, wanted: Wanted) -> Result<HeldPage, ReadError> {
        self.readers.read(Seq::default(), move |db| page(db, &wanted).map(Ok)).await
    }

    async fn taken(&self, keys: Vec<DedupKey>) -> Result<Vec<Option<Seq>>, AppendError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.submit(keys, (1, 0), |batch, keys| batch.taken(&keys).map(Ok)).await
    }

    async fn release(&self, readable: Vec<Readable>) -> Result<Vec<Released>, AppendError> {
        if readable.is_empty() {
            return Ok(Vec::new());
        }
        let size = (readable.len(), readable.iter().map(|body| body.event.raw.len()).sum());
        self.submit(readable, size, |batch, readable| batch.release(readable).map(Ok)).await
    }
}

impl Batch<'_> {
    fn taken(&mut self, keys: &[DedupKey]) -> Result<Vec<Option<Seq>>, WriteError> {
        let now = micros(self.now);
        let taken = |key: &DedupKey| self.dedup.taken(&mut self.statements.known, *key, now);
        Ok(keys.iter().map(taken).collect::<Result<_, _>>()?)
    }

    fn release(&mut self, readable: Vec<Readable>) -> Result<Vec<Released>, WriteError> {
        readable.into_iter().map(|body| self.release_one(body)).collect()
    }

    /// Whether the body is there is asked in the transaction that takes it out, so one body is one event.
    fn release_one(&mut self, body: Readable) -> Result<Released, WriteError> {
        let Readable { id, event } = body;
        if self.db.prepare_cached("DELETE FROM quarantine WHERE n = ?1")?.execute([int(id.0)])? == 0 {
            return Ok(Released::Gone);
        }
        self.held = self.held.saturating_sub(1);
        Ok(match self.append_one(Incoming::unprepared(event), place_late)? {
            Appended::At(stored) => Released::At(stored),
            Appended::Duplicate(seq) => Released::Duplicate(seq),
        })
    }
}

/// Row -1 is the writer's own, for a moment.
const ALL: &str = "SELECT n, receive_time, bot, reason, length(raw), iif(?3, raw, x'') FROM quarantine
    WHERE n > max(?1, 0) ORDER BY n LIMIT ?2";
const OF_BOT: &str = "SELECT n, receive_time, bot, reason, length(raw), iif(?3, raw, x'') FROM quarantine
    WHERE n > max(?1, 0) AND bot = ?4 ORDER BY n LIMIT ?2";
const ONE: &str = "SELECT n, receive_time, bot, reason, length(raw), iif(?3, raw, x'') FROM quarantine
    WHERE n = ?1 AND n > 0 AND (?4 IS NULL OR bot = ?4) LIMIT ?2";

fn page(db: &Connection, wanted: &Wanted) -> rusqlite::Result<HeldPage> {
    let Wanted { after, bot, ids, count_max, body_bytes_max } = wanted;
    let mut filling = Filling { page: HeldPage::default(), bytes: 0, bytes_max: *body_bytes_max };
    // One more than fits tells whether there is more.
    let limit = i64::try_from(*count_max).unwrap_or(i64::MAX).saturating_add(1);
    let bodies = body_bytes_max.is_some();
    if let Some(ids) = ids {
        let mut one = db.prepare_cached(ONE)?;
        for id in ids.iter().filter(|id| *id > after) {
            let mut rows = one.query(params![int(id.0), 1, bodies, bot])?;
            if let Some(row) = rows.next()?
                && !filling.take(row, *count_max)?
            {
                break;
            }
        }
        return Ok(filling.page);
    }
    let mut several = db.prepare_cached(if bot.is_some() { OF_BOT } else { ALL })?;
    let mut rows = match bot {
        Some(bot) => several.query(params![int(after.0), limit, bodies, bot])?,
        None => several.query(params![int(after.0), limit, bodies])?,
    };
    while let Some(row) = rows.next()? {
        if !filling.take(row, *count_max)? {
            break;
        }
    }
    Ok(filling.page)
}

/// A page that fills up.
struct Filling {
    page: HeldPage,
    bytes: usize,
    bytes_max: Option<usize>,
}

impl Filling {
    /// Takes the row if there is room.
    fn take(&mut self, row: &Row<'_>, count_max: usize) -> rusqlite::Result<bool> {
        let size_bytes = usize::try_from(row.get::<_, i64>(4)?).unwrap_or_default();
        self.bytes = self.bytes.saturating_add(size_bytes);
        let is_first = self.page.bodies.is_empty();
        let fits = self.bytes_max.is_none_or(|bytes_max| self.bytes <= bytes_max || is_first);
        self.page.more = self.page.bodies.len() >= count_max || !fits;
        if !self.page.more {
            self.page.bodies.push(Held {
                id: HeldId(seq(row.get(0)?).0),
                bot: Arc::from(row.get_ref(2)?.as_str()?),
                receive_time: time(row.get(1)?),
                reason: row.get(3)?,
                size_bytes,
                raw: Bytes::copy_from_slice(row.get_ref(5)?.as_blob()?),
            });
        }
        Ok(!self.page.more)
    }
}
