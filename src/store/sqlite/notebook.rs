//! The notebook: a row for each bot.

use async_trait::async_trait;
use rusqlite::OptionalExtension as _;

use super::SqliteLog;
use crate::domain::Seq;
use crate::store::notebook::Notebook;
use crate::store::{AppendError, ReadError};

#[async_trait]
impl Notebook for SqliteLog {
    async fn note(&self, bot: &str) -> Result<Option<String>, ReadError> {
        let bot = bot.to_owned();
        let find = move |db: &rusqlite::Connection| {
            let mut row = db.prepare_cached("SELECT record FROM reconcile_state WHERE bot = ?1")?;
            Ok(Ok(row.query_row([&bot], |row| row.get(0)).optional()?))
        };
        self.readers.read(Seq::default(), find).await
    }

    async fn write_note(&self, bot: &str, note: String) -> Result<(), AppendError> {
        let (size, row) = ((1, note.len()), (bot.to_owned(), note));
        self.submit(row, size, |batch, (bot, note)| {
            let replace = "INSERT OR REPLACE INTO reconcile_state (bot, record) VALUES (?1, ?2)";
            batch.db.prepare_cached(replace)?.execute([bot, note])?;
            Ok(Ok(()))
        })
        .await
    }
}
