//! What only a file can suffer: others' files, a second process, damage, a full disk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use deskgate::clock::SequentialIds;
use deskgate::domain::{Fact, NewEvent, Seq, Ticket, TicketStatus};
use deskgate::store::quarantine::{HeldId, Readable};
use deskgate::store::sqlite::{Config, OpenError, SqliteLog};
use deskgate::store::{AppendError, EventLog as _, Health, ReadError};
use prometheus_client::registry::Registry;
use rusqlite::Connection;

use crate::support::{Kind, Subject, clock, command, document, keyed, message};

fn open(path: impl Into<std::path::PathBuf>) -> Result<SqliteLog, OpenError> {
    SqliteLog::open(Config::new(path), clock(), Arc::new(SequentialIds::default()))
}

#[tokio::test]
async fn a_second_handle_is_kept_out() {
    let mut store = Subject::sqlite();
    assert!(matches!(open(store.path()), Err(OpenError::InUse(_))));
    let other_name = store.directory().join("link.db");
    std::os::unix::fs::symlink(store.path(), &other_name).unwrap();
    assert!(matches!(open(other_name), Err(OpenError::InUse(_))), "by any name");
    let path = store.path();
    store.close();
    open(path).unwrap();
}

#[tokio::test]
async fn nobody_else_may_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path().join("log.db")).unwrap();
    log.append(vec![message("t1", "a")]).await.unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["log.db", "log.db-shm", "log.db-wal", "log.db.lock"]);
}

/// The numbers of tickets reach their table later than the events: until then they are read back from these.
#[tokio::test]
async fn a_crash_takes_no_numbers_back() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path().join("log.db")).unwrap();
    for text in ["a", "b", "c"] {
        log.append(vec![message("t1", text), message("t2", text)]).await.unwrap();
    }
    let numbers = |state: deskgate::domain::TicketState| (state.last_sequence, state.activity_sequence);
    let known = log.ticket("suporte", "t1").await.unwrap().map(numbers);
    assert_eq!(known, Some((3, 3)), "a reader sees them at once");
    // What a killed process leaves: the files as they are, nothing written at a good end.
    let left = directory.path().join("left");
    fs::create_dir(&left).unwrap();
    for name in ["log.db", "log.db-wal"] {
        fs::copy(directory.path().join(name), left.join(name)).unwrap();
    }
    let table = |path: &std::path::Path| -> i64 {
        let db = Connection::open(path).unwrap();
        db.query_row("SELECT max(last_sequence) FROM tickets", [], |row| row.get(0)).unwrap()
    };
    let again = open(left.join("log.db")).unwrap();
    assert!(table(&left.join("log.db")) < 3, "else this shows nothing");
    assert_eq!(again.ticket("suporte", "t1").await.unwrap().map(numbers), Some((3, 3)));
    again.append(vec![message("t1", "d")]).await.unwrap();
    assert_eq!(again.ticket("suporte", "t1").await.unwrap().map(numbers), Some((4, 4)));
    again.close();
    assert_eq!(table(&left.join("log.db")), 4);
}

/// A number that is read back and wrong would leave a hole in its ticket that stays.
#[tokio::test]
async fn numbers_are_not_read_back_from_damaged_records() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path().join("log.db")).unwrap();
    log.append(vec![message("t1", "the-mark")]).await.unwrap();
    log.append((0..300).map(|n| message("t2", &format!("later {n}"))).collect()).await.unwrap();
    let left = directory.path().join("left");
    fs::create_dir(&left).unwrap();
    for name in ["log.db", "log.db-wal"] {
        fs::copy(directory.path().join(name), left.join(name)).unwrap();
    }
    Connection::open(left.join("log.db"))
        .unwrap()
        .execute(
            "UPDATE events SET record = replace(record, '\"ticket_sequence\":1,', '\"ticket_sequence\":7,')
             WHERE seq = 1",
            [],
        )
        .unwrap();
    let error = open(left.join("log.db")).unwrap_err();
    assert!(matches!(&error, OpenError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("position 1:"), "{error}");
}

/// Who asks for a ticket after having seen an event of it is not told an older number.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ticket_is_never_older_than_its_events() {
    const EVENTS: u64 = 400;
    let store = Subject::sqlite_with(|config| Config { recent_events_max: 0, ..config });
    let put = async {
        for n in 0..EVENTS {
            store.put(message("t1", &n.to_string())).await;
        }
    };
    let look = async {
        let (mut seen, mut tail) = (Seq(0), store.log().tail());
        while seen < Seq(EVENTS) {
            tail.wait_for(|tail| *tail > seen).await.unwrap();
            for event in store.log().read(seen, 1).await.unwrap() {
                seen = event.seq;
                let state = store.log().ticket("suporte", "t1").await.unwrap().unwrap();
                assert!(state.last_sequence >= event.event.ticket_sequence);
            }
        }
    };
    tokio::join!(put, look);
}

#[tokio::test]
async fn what_is_closed_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path().join("log.db")).unwrap();
    log.close();
    assert!(matches!(log.append(vec![message("t1", "a")]).await, Err(AppendError::Unavailable(_))));
    assert!(matches!(log.bounds().await, Err(ReadError::Unavailable(_))));
    assert!(
        fs::metadata(directory.path().join("log.db-wal")).map_or(0, |wal| wal.len()) == 0,
        "all is in the file"
    );
    open(directory.path().join("log.db")).unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let mut store = Subject::sqlite();
    store.put(message("t1", "a")).await;
    store.close();
    let db = Connection::open(store.path()).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let error = store.open().unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("newer deskgate"));
}

/// Takes back what the fifth schema has beside the fourth.
const WITHOUT_THE_FIFTH: &str =
    "DROP TABLE consumer_groups; DROP TABLE group_settled; DROP TABLE group_attempts;
    DROP TABLE group_parked; DROP INDEX commands_by_ticket; ALTER TABLE commands DROP COLUMN accept_only;
    ALTER TABLE commands DROP COLUMN start_time;";

#[tokio::test]
async fn the_first_schema_is_brought_up_to_date() {
    let mut store = Subject::sqlite();
    store.close();
    let db = Connection::open(store.path()).unwrap();
    db.execute_batch(WITHOUT_THE_FIFTH).unwrap();
    db.execute_batch(
        "DROP TABLE sequences_written;
         DROP TABLE ticket_numbers;
         DROP TABLE quarantine;
         CREATE TABLE quarantine (n INTEGER PRIMARY KEY, receive_time INTEGER NOT NULL, bot TEXT NOT NULL,
             reason TEXT NOT NULL, raw BLOB NOT NULL) STRICT;
         INSERT INTO quarantine VALUES (-1, 0, '', 'probe', x'00'), (3, 7, 'a', 'why', x'78'), (9, 8, 'b', 'why', x'79');
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(db);
    store.restart();
    store.hold("suporte", "z").await;
    let held: Vec<_> = store.held().await.bodies.into_iter().map(|body| (body.id.0, body.raw)).collect();
    assert_eq!(held, [(3, "x".into()), (9, "y".into()), (10, "z".into())]);
    let mut registry = Registry::default();
    let Kind::Sqlite { log: Some(log), .. } = &store.kind else { panic!("it is a file") };
    log.register_metrics(&mut registry);
    let told = |registry: &Registry| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text.lines().find(|line| line.starts_with("store_quarantined ")).unwrap_or_default().to_owned()
    };
    assert_eq!(told(&registry), "store_quarantined 3");
    let leaving = vec![Readable { id: HeldId(9), event: message("t1", "a") }];
    store.quarantine().release(leaving).await.unwrap();
    assert_eq!(told(&registry), "store_quarantined 2");
    store.hours_pass(25);
    store.enforce_retention().await;
    assert_eq!(told(&registry), "store_quarantined 0");
}

#[tokio::test]
async fn the_fourth_schema_is_brought_up_to_date() {
    let mut store = Subject::sqlite();
    store.ledger().begin(command(1, "r1", 7)).await.unwrap();
    store.close();
    let db = Connection::open(store.path()).unwrap();
    db.execute_batch(WITHOUT_THE_FIFTH).unwrap();
    db.pragma_update(None, "user_version", 4).unwrap();
    drop(db);
    store.open().unwrap();
    let kept = store.ledger().unsettled().await.unwrap();
    let [kept] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!(kept.start_time, Some(kept.accept_time), "it was sent as soon as it was recorded");
    assert!(!kept.command.accept_only);
}

#[tokio::test]
async fn the_second_schema_is_brought_up_to_date() {
    let mut store = Subject::sqlite();
    let numbered = |event: NewEvent, number| match event.fact.clone() {
        Fact::Ticket(ticket) => {
            let ticket = Ticket { sequential_id: Some(number), ..ticket };
            NewEvent { fact: Fact::Ticket(ticket), ..event }
        }
        Fact::Tags(_) | Fact::Told(_) => event,
    };
    store.put(message("t0", "a")).await;
    store.put(numbered(document("t1", TicketStatus::Waiting), i64::MAX)).await;
    store.put(document("t2", TicketStatus::Waiting)).await;
    store.close();
    let db = Connection::open(store.path()).unwrap();
    db.execute_batch(WITHOUT_THE_FIFTH).unwrap();
    db.execute_batch("DROP TABLE sequences_written; DROP TABLE ticket_numbers; PRAGMA user_version = 2")
        .unwrap();
    drop(db);
    store.open().unwrap();
    store.close();
    let db = Connection::open(store.path()).unwrap();
    let numbers: Vec<(i64, String, i64)> = db
        .prepare("SELECT n, bot, sequential_id FROM ticket_numbers")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(numbers, [(2, "suporte".to_owned(), i64::MAX)]);
    drop(db);
    store.open().unwrap();
    assert_eq!(store.put(message("t1", "b")).await.event.ticket_sequence, 2);
}

#[tokio::test]
async fn others_files_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("notes.txt");
    fs::write(&text, "no database at all, but long enough for a header of one hundred bytes. ".repeat(20))
        .unwrap();
    let before = fs::read(&text).unwrap();
    assert!(matches!(open(&text), Err(OpenError::Foreign(_))));
    assert_eq!(fs::read(&text).unwrap(), before);

    let theirs = directory.path().join("theirs.db");
    Connection::open(&theirs).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let before = fs::read(&theirs).unwrap();
    assert!(matches!(open(&theirs), Err(OpenError::Foreign(_))));
    assert_eq!(fs::read(&theirs).unwrap(), before);

    assert!(matches!(open(directory.path()), Err(OpenError::NotAFile(_))));
    assert!(matches!(open(directory.path().join("no/such/log.db")), Err(OpenError::NoDirectory(_))));
    let empty = directory.path().join("empty.db");
    fs::write(&empty, "").unwrap();
    open(empty).unwrap();
}

#[tokio::test]
async fn a_read_only_directory_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    drop(open(&path).unwrap());
    let mode = |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o555);
    // Root writes everywhere: then there is nothing to be seen.
    let writable = fs::write(directory.path().join("probe"), "").is_ok();
    let opened = open(&path);
    mode(0o755);
    if !writable {
        assert!(matches!(opened, Err(OpenError::ReadOnly(_) | OpenError::Io { .. })), "{opened:?}");
    }
}

/// Changes a byte of a record wherever it is in the file: pages may hold old copies of it.
fn damage(path: &std::path::Path, mark: &str) {
    let mut bytes = fs::read(path).unwrap();
    let mut found = false;
    for at in 0..bytes.len() - mark.len() {
        if bytes[at..].starts_with(mark.as_bytes()) {
            bytes[at] ^= 1;
            found = true;
        }
    }
    assert!(found);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_record_is_found_at_the_start() {
    let mut store = Subject::sqlite();
    store.put(message("t1", "the-mark")).await;
    store.close();
    damage(&store.path(), "the-mark");
    let error = store.open().unwrap_err();
    assert!(matches!(&error, OpenError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("position 1"), "{error}");
}

#[tokio::test]
async fn a_damaged_record_is_told_and_never_served() {
    let mut store = Subject::sqlite();
    store.put(message("t1", "the-mark")).await;
    store.append((0..300).map(|n| message("t2", &format!("later {n}"))).collect()).await;
    store.close();
    damage(&store.path(), "the-mark");
    store.open().unwrap();
    let read = store.log().read(Seq(0), 10).await;
    assert!(matches!(read, Err(ReadError::Corrupt { at: Seq(1), .. })), "{read:?}");
    assert_eq!(store.log().read(Seq(1), 10).await.unwrap().len(), 10, "the others are served");
}

#[tokio::test]
async fn a_missing_record_is_told() {
    let mut store = Subject::sqlite();
    store.append((0..9).map(|n| message("t1", &n.to_string())).collect()).await;
    store.close();
    Connection::open(store.path()).unwrap().execute("DELETE FROM events WHERE seq = 3", []).unwrap();
    store.open().unwrap();
    let read = store.log().read(Seq(0), 10).await;
    assert!(matches!(read, Err(ReadError::Corrupt { at: Seq(3), .. })), "{read:?}");
}

#[tokio::test]
async fn a_damaged_file_is_found_at_the_start() {
    let mut store = Subject::sqlite();
    store.append((0..300).map(|n| message("t1", &format!("{n}"))).collect()).await;
    store.close();
    let mut bytes = fs::read(store.path()).unwrap();
    let len = bytes.len();
    bytes[len / 4..len / 2].fill(0xA5);
    fs::write(store.path(), bytes).unwrap();
    let error = store.open().unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let mut store = Subject::sqlite_with(|config| Config { size_bytes_max: Some(1 << 20), ..config });
    let mut health = store.log().health();
    let big = |key: u8| vec![keyed(key, message("t1", &"x".repeat(50_000)))];
    let mut taken = 0;
    let refusal = loop {
        match store.log().append(big(taken)).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refusal, AppendError::Full);
    assert_eq!(*health.borrow(), Health::Full);
    let last = Seq(u64::from(taken));
    assert_eq!(*store.log().tail().borrow(), last);
    assert_eq!(store.all_after(Seq(0)).await.len(), usize::from(taken), "what was taken is all there");
    assert_eq!(store.log().append(big(taken)).await, Err(AppendError::Full), "still");

    store.hours_pass(25);
    assert_eq!(store.enforce_retention().await, u64::from(taken), "a full store still forgets");
    assert_eq!(store.put(big(taken).remove(0)).await.seq, Seq(last.0 + 1), "and takes what it refused, once");
    health.wait_for(|health| *health == Health::Ready).await.unwrap();
    drop(health);
    store.restart();
    let after = store.put(message("t1", "after")).await;
    assert_eq!(after.event.ticket_sequence, u64::from(taken) + 2, "no sequence was lost to a refusal");
}

#[tokio::test]
async fn health_recovers_without_traffic() {
    let store = Subject::sqlite_with(|config| Config { size_bytes_max: Some(1 << 20), ..config });
    let mut health = store.log().health();
    while store.log().append(vec![message("t1", &"x".repeat(50_000))]).await.is_ok() {}
    assert_eq!(*health.borrow(), Health::Full);
    store.hours_pass(25);
    store.enforce_retention().await;
    health.wait_for(|health| *health == Health::Ready).await.unwrap();
}

#[tokio::test]
async fn too_much_at_once_is_busy() {
    let store = Subject::sqlite();
    let huge = || {
        let raw = vec![b'x'; 30 << 20].into();
        store.log().append(vec![deskgate::domain::NewEvent { raw, ..message("t1", "a") }])
    };
    let answers = tokio::join!(huge(), huge(), huge(), huge(), huge());
    let answers = [answers.0, answers.1, answers.2, answers.3, answers.4];
    assert!(answers.contains(&Err(AppendError::Busy)));
    assert!(answers.iter().any(Result::is_ok));
}

#[tokio::test]
async fn many_keys_move_and_are_still_known() {
    const EVENTS: u32 = 70_000;
    let mut store = Subject::sqlite();
    let key = |n: u32| {
        let digest = n.wrapping_mul(0x9E37_79B9).to_be_bytes();
        deskgate::domain::DedupKey(std::array::from_fn(|at| digest[at % 4]))
    };
    let event = |n| deskgate::domain::NewEvent { dedup: Some(key(n)), raw: "".into(), ..message("t1", "") };
    for from in (0..EVENTS).step_by(1_000) {
        store.append((from..from + 1_000).map(event).collect()).await;
    }
    // The move goes on after each batch; stop it in the middle.
    for n in 0..20 {
        store.put(event(EVENTS + n)).await;
    }
    for _ in 0..2 {
        for n in (0..EVENTS).step_by(997) {
            let answer = store.append(vec![event(n)]).await;
            assert_eq!(answer, [deskgate::store::Appended::Duplicate(Seq(u64::from(n) + 1))]);
        }
        store.restart();
    }
}
