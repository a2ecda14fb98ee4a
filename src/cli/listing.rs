//! A list that comes by pages, as the operator's commands show it: a line an item under a head, or JSON; to its end, or
//! to as many as were asked for.

use std::io::{self, Write};

use prost::Message;

use super::client::{Json, tell};

/// What of a list was shown, and how.
pub(super) struct Listing {
    json: Option<Json>,
    name: &'static str,
    page_size: i32,
    limit: usize,
    shown: usize,
}

impl Listing {
    /// A list of `deskgate.v1` messages called `name`, in pages of `page_size`; `limit` is how many are wanted, 0 for all.
    pub(super) fn new(name: &'static str, json: bool, page_size: i32, limit: usize) -> anyhow::Result<Self> {
        Ok(Self { json: json.then(Json::new).transpose()?, name, page_size, limit, shown: 0 })
    }

    /// How many to ask for next.
    pub(super) fn page_size(&self) -> i32 {
        if self.limit == 0 {
            return self.page_size;
        }
        let left = i32::try_from(self.limit.saturating_sub(self.shown)).unwrap_or(self.page_size);
        left.min(self.page_size)
    }

    /// Shows a page, the first that has something under `head`; whether more are wanted.
    pub(super) fn show<M: Message>(
        &mut self,
        page: &[M],
        head: impl FnOnce() -> String,
        row: impl Fn(&M) -> String,
    ) -> anyhow::Result<bool> {
        if self.shown == 0 && self.json.is_none() && !page.is_empty() {
            tell(&head())?;
        }
        for item in page {
            self.shown = self.shown.saturating_add(1);
            tell(&match &self.json {
                Some(json) => json.line(self.name, item)?,
                None => row(item),
            })?;
        }
        Ok(self.limit == 0 || self.shown < self.limit)
    }

    /// The end of the list; says `nothing` where there was nothing to show.
    pub(super) fn end(self, nothing: &str) -> anyhow::Result<()> {
        if self.shown == 0 {
            writeln!(io::stderr(), "-- {nothing}")?;
        }
        Ok(())
    }
}

/// Tells who watches what a list does not show, if there is any.
pub(super) fn tell_left_out(left_out: u32) -> io::Result<()> {
    if left_out == 0 {
        return Ok(());
    }
    writeln!(io::stderr(), "-- {left_out} left out, each of them larger than can be told")
}
