//! Lists, a page at a time, the newest first. A page looks at a bounded part of the list, so that what is rare holds up no
//! other reader.

use rusqlite::{Connection, params};

use super::commands::{self, Checked};
use super::{int, seq};
use crate::domain::{Seq, Ticket};
use crate::store::record;
use crate::store::rules::{LOOKED_AT_MAX, listed};
use crate::store::{CommandRecord, CommandsWanted, Page, TicketsWanted};

/// Bytes of documents and requests from which a page takes no more in.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Gathers a page of rows that come in their order.
struct Gathering<T> {
    page: Page<T>,
    count_max: usize,
    looked_at: usize,
    bytes: usize,
    last: Option<u64>,
}

impl<T> Gathering<T> {
    fn new(count_max: usize) -> Self {
        Self { page: Page { items: Vec::new(), next: None }, count_max, looked_at: 0, bytes: 0, last: None }
    }

    /// Whether row `n` still belongs to the page; if not, the page goes on before it.
    fn has_room(&mut self, n: u64) -> bool {
        let is_full = self.page.items.len() >= self.count_max || self.bytes >= PAGE_BYTES_MAX;
        if is_full || self.looked_at >= LOOKED_AT_MAX {
            self.page.next = self.last;
            return false;
        }
        self.looked_at = self.looked_at.saturating_add(1);
        self.last = Some(n);
        true
    }

    fn take(&mut self, item: T, bytes: usize) {
        self.page.items.push(item);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// One row more than a page looks at: it tells that the list goes on.
fn rows_max() -> i64 {
    i64::try_from(LOOKED_AT_MAX).unwrap_or(i64::MAX).saturating_add(1)
}

/// A page of tickets with their bots; `Err` where a document is damaged.
pub(super) fn tickets(
    db: &Connection,
    wanted: &TicketsWanted,
) -> rusqlite::Result<Result<Page<(String, Ticket)>, String>> {
    let mut rows = db.prepare_cached(
        "SELECT n, bot, version, checksum, record FROM tickets JOIN ticket_documents USING (n)
         WHERE n < ?1 ORDER BY n DESC LIMIT ?2",
    )?;
    let mut rows = rows.query((wanted.before.map_or(i64::MAX, int), rows_max()))?;
    let mut gathering = Gathering::new(wanted.count_max);
    while let Some(row) = rows.next()? {
        let n = seq(row.get(0)?).0;
        if !gathering.has_room(n) {
            break;
        }
        let (version, check): (u8, u32) = (row.get(2)?, row.get(3)?);
        let document = row.get_ref(4)?.as_bytes()?;
        if check != record::checksum(version, Seq(n), document, &[]) {
            return Ok(Err("the document of a ticket: it does not match its checksum".to_owned()));
        }
        let ticket = match record::decode_ticket(version, document) {
            Ok(ticket) => ticket,
            Err(error) => return Ok(Err(format!("the document of a ticket: {error}"))),
        };
        let bot: String = row.get(1)?;
        if wanted.wants(&bot, &ticket) {
            gathering.take((bot, ticket), document.len());
        }
    }
    Ok(Ok(gathering.page))
}

/// A page of commands; `Err` where one is damaged.
pub(super) fn commands(
    db: &Connection,
    wanted: &CommandsWanted,
) -> rusqlite::Result<Result<Page<CommandRecord>, String>> {
    let of_ticket = if wanted.ticket_id.is_empty() { "?3 = ''" } else { "ticket_id = ?3" };
    let mut rows = db.prepare_cached(&format!(
        "SELECT {}, n FROM commands WHERE n < ?1 AND {of_ticket} ORDER BY n DESC LIMIT ?2",
        commands::COLUMNS
    ))?;
    let before = wanted.before.map_or(i64::MAX, int);
    let mut rows = rows.query(params![before, rows_max(), wanted.ticket_id])?;
    let mut gathering = Gathering::new(wanted.count_max);
    while let Some(row) = rows.next()? {
        if !gathering.has_room(seq(row.get(16)?).0) {
            break;
        }
        let checked: Checked = commands::command_of(row)?;
        match checked {
            Ok(record) if wanted.wants(&record) => {
                let bytes = record.command.memo.len();
                gathering.take(listed(record), bytes);
            }
            Ok(_) => {}
            Err(what) => return Ok(Err(what)),
        }
    }
    Ok(Ok(gathering.page))
}
