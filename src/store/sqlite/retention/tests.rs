//! What a run keeps to: ages, what groups hold back, and what is too much.

use std::path::Path;

use super::*;
use crate::clock::SequentialIds;
use crate::store::sqlite::schema;

/// A file with so many events, one a second, of some 4 KiB each.
fn filled(path: &Path, events: i64) -> (Connection, Dedup) {
    filled_with(path, events, 4_000)
}

/// The same, with bodies of so many bytes.
fn filled_with(path: &Path, events: i64, bytes: i64) -> (Connection, Dedup) {
    let (db, _) = schema::open(path, &SequentialIds::default(), None).unwrap();
    let insert = "INSERT INTO events VALUES (?1, ?1 * 1000000, 't', 'b', '', NULL, 1, 0, '', zeroblob(?2))";
    let fill = db.unchecked_transaction().unwrap();
    for seq in 1..=events {
        fill.execute(insert, [seq, bytes]).unwrap();
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

#[test]
fn size_takes_no_more_than_is_too_much_however_large_events_are() {
    let folder = tempfile::tempdir().unwrap();
    for bytes in [300, 9_000, 200_000, 1_000_000] {
        let events = 40_000_000 / bytes;
        let (db, mut dedup) = filled_with(&folder.path().join(format!("{bytes}.db")), events, bytes);
        let most = Used::of(&db).unwrap().live_bytes() * 4 / 5;
        let limits = Limits { live_bytes_max: Some(most), ..Limits::default() };
        let (mut run, mut prefix) = (Run::by_size(limits), 0);
        while !run.is_done() {
            let before = Used::of(&db).unwrap().live_bytes();
            run.step(&db, &mut dedup, &mut prefix, Ages { events: 0, commands: 0 }, 0).unwrap();
            let step = before - Used::of(&db).unwrap().live_bytes();
            assert!(step <= 12 << 20, "no step stalls ingest: {step} of {bytes} each");
        }
        let (live, slack) =
            (Used::of(&db).unwrap().live_bytes(), u64::try_from(2 * bytes).unwrap() + (2 << 20));
        assert!(live <= most && live + slack >= most, "{live} of {most}, {bytes} each");
        let newest: i64 = db.query_row("SELECT max(seq) FROM events", [], |row| row.get(0)).unwrap();
        assert_eq!(newest, events);
    }
}

#[test]
fn what_is_oldest_goes_first_also_from_quarantine() {
    let folder = tempfile::tempdir().unwrap();
    let (db, mut dedup) = filled_with(&folder.path().join("log.db"), 10, 100_000);
    let hold = |second: i64| {
        db.execute(
            "INSERT INTO quarantine (receive_time, bot, reason, raw) VALUES (?1 * 1000000, 'b', 'r', zeroblob(1000000))",
            [second],
        )
        .unwrap();
    };
    for second in [0, 0, 20, 20] {
        hold(second);
    }
    let live = Used::of(&db).unwrap().live_bytes();
    let ages = Ages { events: i64::MAX, commands: i64::MAX };
    let mut kept = |excess: u64| {
        let limits = Limits { live_bytes_max: Some(live - excess), ..Limits::default() };
        let (mut run, mut prefix, mut bodies) = (Run::by_size(limits), 0, 0);
        while !run.is_done() {
            run.step(&db, &mut dedup, &mut prefix, ages, 0).unwrap();
            bodies += std::mem::take(&mut run.held);
        }
        let events: i64 = db.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
        (bodies, events)
    };
    assert_eq!(kept(1_500_000), (2, 10), "two bodies are older than any event");
    assert_eq!(kept(2_250_000), (0, 7), "then come events");
    assert_eq!(kept(3_900_000), (1, 0), "and bodies that are younger");
}
