//! Pages of lists: counted, and no larger than clients take. Pure, but for the age of what is kept.

use std::time::Duration;

use serde_json::Value;

use super::cache::Kept;
use crate::domain::translate::directory::TAKE_MAX;
use crate::lime::json;

/// The largest page, as JSON: clients take 4 MiB unless told otherwise.
const PAGE_BYTES_MAX: usize = 3 << 20;

/// A list, or a page of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed<T> {
    /// The items.
    pub items: Vec<T>,
    /// How long ago Blip told them.
    pub age: Duration,
    /// How many items of the list come before the next page; `None` after the last.
    pub next_skip: Option<usize>,
}

/// Which part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Items before it.
    pub skip: usize,
    /// Its items, 1 to 100.
    pub take: usize,
}

impl Page {
    /// As much of the beginning as Blip tells at a time.
    pub(super) const FIRST: Self = Self { skip: 0, take: TAKE_MAX };
}

/// A page of a list, where Blip kept to the page that was asked for, and where it told the whole list instead.
pub(super) fn paged<T>(listed: &Kept, page: Page, read: impl Fn(&[Value]) -> Vec<T>) -> Listed<T> {
    let Page { skip, take } = page;
    let all = listed.items.as_slice();
    let whole = all.len() > take;
    let items = if whole { all.get(skip..).unwrap_or_default() } else { all };
    let items = items.get(..take).unwrap_or(items);
    let fitting = items.get(..fitting(items)).unwrap_or(items);
    // Counted as Blip does, whatever could be read of it. Totals are often missing, and not always those of the list.
    let more = fitting.len() < items.len() || items.len() >= take;
    let next_skip = more.then(|| skip.saturating_add(fitting.len()));
    Listed { items: read(fitting), age: listed.at.elapsed(), next_skip }
}

/// How many items make a page that every client takes; one at least.
fn fitting(items: &[Value]) -> usize {
    let mut bytes = 0_usize;
    let fits = |item: &&Value| {
        let first = bytes == 0;
        bytes = bytes.saturating_add(json::bytes_of(item));
        first || bytes <= PAGE_BYTES_MAX
    };
    items.iter().take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::translate::directory as wire;

    fn kept(count: usize) -> Kept {
        let items = (0..count).map(|number| json!({"identity": format!("{number}@blip.ai")})).collect();
        Kept::new(items)
    }

    fn page(count: usize, skip: usize, take: usize) -> (Vec<String>, Option<usize>) {
        let listed = paged(&kept(count), Page { skip, take }, wire::agents_of);
        (listed.items.into_iter().map(|agent| agent.identity).collect(), listed.next_skip)
    }

    fn names(numbers: std::ops::Range<usize>) -> Vec<String> {
        numbers.map(|number| format!("{number}@blip.ai")).collect()
    }

    #[tokio::test]
    async fn pages_are_counted() {
        assert_eq!(page(2, 0, 2), (names(0..2), Some(2)));
        assert_eq!(page(1, 2, 2), (names(0..1), None));
        assert_eq!(page(0, 4, 2), (names(0..0), None));
    }

    #[tokio::test]
    async fn a_page_is_not_larger_than_clients_take() {
        let long = json!({"id": "1", "document": "x".repeat(1_000_000)});
        let kept = Kept::new(vec![long; 5]);
        let listed = paged(&kept, Page { skip: 10, take: 100 }, wire::replies_of);
        assert_eq!((listed.items.len(), listed.next_skip), (3, Some(13)));
        let huge = json!({"id": "1", "document": "x".repeat(PAGE_BYTES_MAX)});
        let kept = Kept::new(vec![huge; 2]);
        let listed = paged(&kept, Page { skip: 0, take: 100 }, wire::replies_of);
        assert_eq!((listed.items.len(), listed.next_skip), (1, Some(1)));
    }

    #[tokio::test]
    async fn a_list_that_ignores_pages_is_paged_here() {
        assert_eq!(page(5, 0, 2), (names(0..2), Some(2)));
        assert_eq!(page(5, 2, 2), (names(2..4), Some(4)));
        assert_eq!(page(5, 4, 2), (names(4..5), None));
        assert_eq!(page(5, 9, 2), (names(0..0), None));
    }
}
