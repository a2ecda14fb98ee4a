//! How much one answer holds: what clients take that were told nothing else. Pages end before that, an item that is larger by
//! itself is left out of its list, and what cannot be told in parts is an error. And where a page begins, by its token.

use prost::Message;
use tonic::{Response, Status};

use super::position::CursorError;
use super::status;
use crate::store::{LogId, MalformedCursor};

/// The largest page, encoded: the rest of what clients take is for what stands beside its items.
pub(super) const PAGE_BYTES_MAX: usize = 3 << 20;
/// The largest message that clients take unless told otherwise.
pub(super) const ANSWER_BYTES_MAX: usize = 4 << 20;
/// The largest item of a list, encoded: the rest of what clients take is for what stands beside it.
const ITEM_BYTES_MAX: usize = ANSWER_BYTES_MAX - (64 << 10);
/// What an item takes in a list beside itself: its tag and its length.
const ITEM_BYTES: usize = 6;

/// How many of `items`, from the first, make a page; one at least.
pub(super) fn fitting<M: Message>(items: &[M]) -> usize {
    let mut bytes = 0_usize;
    let fits = |item: &&M| {
        let first = bytes == 0;
        bytes = bytes.saturating_add(item.encoded_len()).saturating_add(ITEM_BYTES);
        first || bytes <= PAGE_BYTES_MAX
    };
    items.iter().take_while(fits).count()
}

/// Items that clients take, in their order, and how many others are left out.
pub(super) fn told<M: Message>(items: impl IntoIterator<Item = M>) -> (Vec<M>, u32) {
    let mut left_out = 0_u32;
    let fits = |item: &M| {
        let fits = item.encoded_len() <= ITEM_BYTES_MAX;
        left_out = left_out.saturating_add(u32::from(!fits));
        fits
    };
    let told = items.into_iter().filter(fits).collect();
    (told, left_out)
}

/// An answer, unless it is larger than clients take. `what` is it, for people.
pub(super) fn whole<M: Message>(answer: M, what: &str) -> Result<Response<M>, Status> {
    let bytes = answer.encoded_len();
    if bytes > ANSWER_BYTES_MAX {
        return Err(status::too_large(what, bytes, ANSWER_BYTES_MAX));
    }
    Ok(Response::new(answer))
}

/// Where a page begins: what `parse` makes of its token, which is of this log; `None` for the first page.
pub(super) fn after<M>(
    page_token: &str,
    log: LogId,
    parse: impl FnOnce(&str) -> Result<(LogId, M), MalformedCursor>,
) -> Result<Option<M>, Status> {
    if page_token.is_empty() {
        return Ok(None);
    }
    let error = match parse(page_token) {
        Ok((of, mark)) if of == log => return Ok(Some(mark)),
        Ok(_) => CursorError::Foreign { log },
        Err(MalformedCursor) => CursorError::Malformed,
    };
    Err(status::of_cursor(&error, "page_token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_before_what_clients_refuse() {
        let item = |bytes: usize| "x".repeat(bytes);
        assert_eq!(fitting(&vec![item(1_000_000); 5]), 3);
        assert_eq!(fitting(&[item(PAGE_BYTES_MAX), item(1)]), 1, "one at least");
        assert_eq!(fitting(&[item(1), item(PAGE_BYTES_MAX)]), 1);
        assert_eq!(fitting::<String>(&[]), 0);
        let empty = vec![String::new(); PAGE_BYTES_MAX];
        assert!(fitting(&empty) < PAGE_BYTES_MAX, "what is empty takes room too");
        let (short, long) = (item(1), item(ITEM_BYTES_MAX));
        assert_eq!(told([short.clone(), long.clone(), short.clone(), long]), (vec![short.clone(), short], 2));
        assert!(
            whole(item(ANSWER_BYTES_MAX - 5), "x").is_ok() && whole(item(ANSWER_BYTES_MAX), "x").is_err()
        );
    }
}
