//! A bound on the store's size: the oldest events go, and the disk has its room back, while others come.

use std::fs;
use std::path::Path;

use deskgate::domain::group::GroupSettings;
use deskgate::domain::{NewEvent, Seq};
use deskgate::store::ReadError;
use deskgate::store::groups::{Created, GroupChanges, GroupStore};
use deskgate::store::sqlite::{Config, SizeLimits};

use crate::support::{Kind, Subject, message};

const BOUND: u64 = 50 << 20;

fn bounded(config: Config) -> Config {
    let size = SizeLimits { bytes_max: Some(BOUND), ..SizeLimits::default() };
    Config { size, recent_bytes_max: 1 << 20, ..config }
}

/// An event of some 40 KB.
fn big(n: usize) -> NewEvent {
    NewEvent { raw: vec![b'x'; 40_000].into(), ..message("t1", &format!("{n}")) }
}

/// Bytes of the file, and of it and its log.
fn on_disk(path: &Path) -> (u64, u64) {
    let of = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        fs::metadata(name).map_or(0, |file| file.len())
    };
    (of(""), of("") + of("-wal"))
}

#[tokio::test]
async fn a_store_that_grows_keeps_to_its_bound() {
    let store = Subject::sqlite_with(bounded);
    let mut most = 0;
    for from in (0..2_500).step_by(25) {
        store.append((from..from + 25).map(big).collect()).await;
        most = most.max(on_disk(&store.path()).0);
    }
    assert!(most <= BOUND, "the file took {most} bytes");
    store.enforce_retention().await; // after whatever goes on by itself
    let bounds = store.log().bounds().await.unwrap();
    assert_eq!(bounds.last, Seq(2_500));
    assert!(bounds.live_bytes <= bounds.live_bytes_max.unwrap(), "{bounds:?}");
    assert!(bounds.trimmed > Seq(1_500) && bounds.trimmed < Seq(2_400), "{bounds:?}");
    let behind = store.log().read(Seq(1), 10).await;
    assert_eq!(behind, Err(ReadError::Trimmed { earliest: bounds.trimmed }), "who is behind is told");
    assert_eq!(
        u64::try_from(store.all_after(bounds.trimmed).await.len()).unwrap(),
        2_500 - bounds.trimmed.0,
        "the rest is whole"
    );
    let next = store.put(message("t1", "next")).await;
    assert_eq!(next.event.ticket_sequence, 2_501, "numbers go on");
}

#[tokio::test]
async fn a_file_that_is_too_large_shrinks_while_events_come() {
    let mut store = Subject::sqlite();
    for from in (0..2_500).step_by(25) {
        store.append((from..from + 25).map(big).collect()).await;
    }
    let (full, _) = on_disk(&store.path());
    assert!(full > 80 << 20, "{full}");
    let Kind::Sqlite { config, .. } = &mut store.kind else { panic!() };
    *config = bounded(config.clone());
    store.restart();
    let mut taken = 0_u32;
    {
        let mut retention = std::pin::pin!(store.enforce_retention());
        loop {
            tokio::select! {
                biased;
                _ = store.put(message("t2", "meanwhile")) => taken += 1,
                _ = &mut retention => break,
            }
        }
    }
    assert!(taken > 1, "ingest goes on meanwhile");
    let bounds = store.log().bounds().await.unwrap();
    // By the run that was asked for, or by the one that a first batch begins.
    assert!(bounds.trimmed > Seq(1_600), "{bounds:?}");
    let small = bounds.live_bytes_max.unwrap() * 11 / 10;
    for _ in 0..1_000 {
        if on_disk(&store.path()).0 < small {
            break; // the checkpoint that shortens it may come a little later
        }
        store.put(message("t2", "after")).await;
    }
    let (file, all) = on_disk(&store.path());
    assert!(file < small, "the disk has its room back: {file} of {full}");
    assert!(all <= BOUND + (16 << 20), "{all}: its log is bounded too");
    store.restart();
    assert_eq!(store.log().bounds().await.unwrap().trimmed, bounds.trimmed);
}

#[tokio::test]
async fn a_group_that_pins_holds_back_from_age_what_it_has_not_settled() {
    let size = SizeLimits { bytes_max: None, pinned_bytes_max: Some(1 << 30) };
    let mut store = Subject::sqlite_with(|config| Config { size, ..config });
    store.append((0..10).map(big).collect()).await;
    let Kind::Sqlite { log: Some(log), .. } = &store.kind else { panic!() };
    let settings = GroupSettings { pin_retention: true, ..GroupSettings::default() };
    let made = log.create_group("crm".to_owned(), settings, Seq(0)).await.unwrap();
    let Created::Fresh(group) = made else { panic!("{made:?}") };
    store.hours_pass(25);
    assert_eq!(store.enforce_retention().await, 0, "nothing is settled");
    log.commit(group.id, GroupChanges { floor: Seq(4), ..GroupChanges::default() }).await.unwrap();
    assert_eq!(store.enforce_retention().await, 4);
    store.restart();
    assert_eq!(store.enforce_retention().await, 0, "from the start on");
    let Kind::Sqlite { log: Some(log), .. } = &store.kind else { panic!() };
    log.delete_group(group.id, None).await.unwrap();
    assert_eq!(store.enforce_retention().await, 6, "it is gone");
}
