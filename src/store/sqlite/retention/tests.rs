//! What a run keeps to: ages, what groups hold back, and what is too much.

use std::path::Path;

use super::*;
use crate::clock::SequentialIds;
use crate::store::sqlite::schema;

/// A file with so many events, one a second, of some 4 KiB each.
fn filled(path: &Path, events: i64) -> (Connection, Dedup) {
    let (db, _) = schema::open(path, &SequentialIds::default(), None).unwrap();
    let insert = "INSERT INTO events VALUES (?1, ?1 * 1000000, 't', 'b', '', NULL, 1, 0, '', zeroblob(4000))";
    let fill = db.unchecked_transaction().unwrap();
    for seq in 1..=events {
        fill.execute(insert, [seq]).unwrap();
    }
    fill.execute("UPDATE sequences_written SET up_to = ?1", [events]).unwrap();
    fill.commit().unwrap();
    let dedup = Dedup::load(&db, path, 1, 0).unwrap();
    (db, dedup)
}

/// The positions that are left once a run with these limits, at second 10,000, has ended; events are kept for 1,000 s.
fn left(db: &Connection, dedup: &mut Dedup, limits: Limits) -> (i64, i64) {
    let ages = Ages { events: 1_000_000_000, commands: i64::MAX };
    let (mut run, mut prefix) = (Run::new(Vec::new(), limits), 0);
    while !run.is_done() {
        run.step(db, dedup, &mut prefix, ages, 10_000_000_000).unwrap();
    }
    db.query_row("SELECT coalesce(min(seq), 0), count(*) FROM events", [], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
    .unwrap()
}

#[test]
fn age_takes_nothing_that_a_group_holds_back() {
    let folder = tempfile::tempdir().unwrap();
    let (db, mut dedup) = filled(&folder.path().join("log.db"), 9_500);
    let holding = |seq| Limits { holds: Some(Seq(seq)), pinned_bytes_max: u64::MAX, ..Limits::default() };
    assert_eq!(left(&db, &mut dedup, holding(0)), (1, 9_500), "it has settled nothing yet");
    assert_eq!(left(&db, &mut dedup, holding(3_000)), (3_001, 6_500));
    assert_eq!(left(&db, &mut dedup, holding(9_400)), (9_000, 501), "what it needs no more goes by age");
}

#[test]
fn what_is_held_back_has_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let (db, mut dedup) = filled(&folder.path().join("log.db"), 9_500);
    let half = Used::of(&db).unwrap().live_bytes() / 2;
    let limits = Limits { holds: Some(Seq(10)), pinned_bytes_max: half, ..Limits::default() };
    let (first, count) = left(&db, &mut dedup, limits);
    assert!((4_000..6_000).contains(&first) && count == 9_501 - first, "{first}, {count}");
    assert!(Used::of(&db).unwrap().live_bytes() <= half);
}

#[test]
fn the_bound_on_the_size_heeds_neither_age_nor_groups() {
    let folder = tempfile::tempdir().unwrap();
    let (db, mut dedup) = filled(&folder.path().join("log.db"), 9_500);
    let quarter = Used::of(&db).unwrap().live_bytes() / 40;
    let limits = Limits { live_bytes_max: Some(quarter), holds: Some(Seq(0)), pinned_bytes_max: u64::MAX };
    let (first, count) = left(&db, &mut dedup, limits);
    assert!(first > 9_001 && count > 0, "also of the newest: {first}, {count}");
    let used = Used::of(&db).unwrap();
    assert!(used.live_bytes() <= quarter && used.is_tight(), "{used:?}");
}
