//! Groups under fire: consumers and the gateway killed with -9 under load, consumers that hang, that are slow, that
//! are many; and a judge's verdict on what they saw.

use std::time::Duration;

use deskgate::grpc::pb;
use pb::consume_response::Message as Told;
use pb::settlement::Outcome;
use pb::start_position::Position;
use tokio::time::Instant;

use crate::crowd::{
    Language, Load, Member, Notes, Outsider, Proxy, ack, groups, make, seconds, status, truth, written,
};
use crate::history::{Verdict, judge, read};
use crate::support::{PATIENCE, World, at, message};

/// How much of it all. `DESKGATE_TEST_GROUPS=200000` makes it the long run.
struct Size {
    events: usize,
    tickets: usize,
    consumers: usize,
    kills: u64,
    gateway_kills: u64,
}

impl Size {
    fn chosen() -> Self {
        match std::env::var("DESKGATE_TEST_GROUPS").ok().and_then(|text| text.parse().ok()) {
            Some(events) => Self { events, tickets: 500, consumers: 8, kills: 20, gateway_kills: 5 },
            None => Self { events: 2_400, tickets: 60, consumers: 4, kills: 4, gateway_kills: 1 },
        }
    }
}

/// What a delivery and its settlement take in the notes of an outsider, about.
const NOTE_BYTES: u64 = 380;
/// Deliveries that an outsider may hold.
const HELD_MAX: u64 = 16;

#[tokio::test(flavor = "multi_thread")]
async fn consumers_and_the_gateway_are_killed_under_load() {
    let size = Size::chosen();
    let verdict = under_fire(&size).await;
    println!("{verdict}");
    assert!(verdict.is_good(), "{verdict}");
    assert_eq!((verdict.events, verdict.tickets), (size.events, size.tickets));
}

async fn under_fire(size: &Size) -> Verdict {
    let mut world = World::start().await;
    let proxy = Proxy::start(world.gateway.address("grpc")).await;
    let notes = Notes(tempfile::tempdir().unwrap());
    let group = pb::ConsumerGroup {
        group: "crm".to_owned(),
        max_attempts: 100,
        min_backoff: Some(prost_types::Duration { seconds: 0, nanos: 10_000_000 }),
        ..Default::default()
    };
    make(&mut groups(&world).await, group).await;
    let mut born = 0_usize;
    let mut member = || {
        let language = if born.is_multiple_of(4) { Language::Node } else { Language::Python };
        born += 1;
        Outsider::start(language, &proxy.address, "crm", notes.0.path(), &format!("member-{born}"))
    };
    let mut members: Vec<_> = (0..size.consumers).map(|_| member()).collect();
    let load = Load::on(&world);
    let posting = tokio::spawn(load.clone().post(size.tickets, size.events / size.tickets, "Olá"));

    let faults = size.kills + size.gateway_kills;
    let (mut done, mut killed, mut gateway_killed) = (0, 0, 0);
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    while done < faults {
        looks.tick().await;
        let due = (done + 1) * u64::try_from(size.events).unwrap() * NOTE_BYTES / (faults + 2);
        if notes.bytes() < due {
            continue;
        }
        done += 1;
        if gateway_killed * faults < done * size.gateway_kills {
            gateway_killed += 1;
            world.gateway.kill();
            world.restart().await;
            proxy.point_at(world.gateway.address("grpc"));
            load.point_at(&world);
        } else {
            let one = usize::try_from(killed).unwrap() % members.len();
            killed += 1;
            members[one].kill();
            members[one] = member();
        }
    }
    assert_eq!((killed, gateway_killed), (size.kills, size.gateway_kills));
    posting.await.unwrap();
    drained(&world, "crm").await;
    drop(members);
    let held = HELD_MAX * (killed + gateway_killed * u64::try_from(size.consumers).unwrap());
    judge(&truth(&world).await, &read(notes.0.path()), held)
}

/// Waits until a group has nothing left to do.
async fn drained(world: &World, group: &str) {
    let mut groups = groups(world).await;
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    let (mut last, mut moved) = (u64::MAX, Instant::now());
    loop {
        looks.tick().await;
        let status = status(&mut groups, group).await;
        if status.events_behind == 0 && status.in_flight == 0 && status.retrying == 0 {
            assert_eq!(status.parked, 0);
            return;
        }
        if status.events_behind != last {
            (last, moved) = (status.events_behind, Instant::now());
        }
        assert!(moved.elapsed() < PATIENCE, "the group stands still: {status:?}");
    }
}

fn group(name: &str, ack_deadline: i64) -> pb::ConsumerGroup {
    pb::ConsumerGroup {
        group: name.to_owned(),
        ack_deadline: Some(seconds(ack_deadline)),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_hangs_loses_its_event_and_cannot_settle_it() {
    let world = World::start().await;
    let proxy = Proxy::start(world.gateway.address("grpc")).await;
    let mut near = groups(&world).await;
    make(&mut near, group("crm", 1)).await;
    let address = format!("http://{}", proxy.address);
    let mut far = crate::crowd::Groups::connect(address).await.unwrap();
    let began = Instant::now();
    let mut hangs = Member::join(&mut far, "crm", 10, began).await;
    for n in 1..=3 {
        assert_eq!(world.post(message("t1", &format!("m{n}"), "Olá")).await, 200);
    }
    let first = hangs.delivery().await;
    assert_eq!((first.attempt, first.event.as_ref().unwrap().ticket_sequence), (1, 1));
    proxy.freeze(true);
    let mut lives = Member::join(&mut near, "crm", 10, began).await;
    for sequence in 1..=3 {
        let delivery = lives.delivery().await;
        assert_eq!(delivery.event.as_ref().unwrap().ticket_sequence, sequence);
        // The hang counts, and once: what it lost goes to whoever settles.
        assert_eq!(delivery.attempt, if sequence == 1 { 2 } else { 1 }, "{delivery:?}");
        assert!(delivery.fencing_token > first.fencing_token);
        lives.settle(&delivery, ack()).await;
        assert_eq!(lives.report().await.results[0].state(), pb::SettleState::Done);
    }
    hangs.settle(&first, ack()).await;
    proxy.freeze(false);
    let late = hangs.report().await;
    // Somebody else settled its event, under another lease.
    assert_eq!(late.results[0].state(), pb::SettleState::Stale, "{late:?}");
    let seen: Vec<_> = hangs.lines.into_iter().chain(lives.lines).collect();
    let verdict = judge(&truth(&world).await, &seen, 0);
    assert!(verdict.is_good() && verdict.redeliveries == 1, "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_members_share_the_work() {
    const MEMBERS: usize = 50;
    let world = World::start().await;
    let mut client = groups(&world).await;
    make(&mut client, group("crm", 60)).await;
    Load::on(&world).post(100, 10, "Olá").await;
    let began = Instant::now();
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        members.push(Member::join(&mut client, "crm", 4, began).await);
    }
    // `started` comes before any wait, so also before the step in which the group takes a member in is on disk.
    let all_in = async {
        while status(&mut client, "crm").await.members.len() < MEMBERS {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all_in).await.expect("whoever has started is a member");
    let (settled, done) = tokio::sync::watch::channel(0_u32);
    let mut work = tokio::task::JoinSet::new();
    for mut member in members {
        let (settled, mut done) = (settled.clone(), done.clone());
        work.spawn(async move {
            let mut taken = 0_u32;
            loop {
                tokio::select! {
                    told = member.told() => match told {
                        Told::Delivery(delivery) => {
                            taken += 1;
                            member.settle(&delivery, ack()).await;
                        }
                        Told::Settled(report) => {
                            let count = u32::try_from(report.results.len()).unwrap();
                            settled.send_modify(|settled| *settled += count);
                        }
                        _ => {}
                    },
                    () = async { drop(done.wait_for(|settled| *settled >= 1_000).await) } => {
                        return (taken, member.lines);
                    }
                }
            }
        });
    }
    let (mut lines, mut shares) = (Vec::new(), Vec::new());
    while let Some(ended) = work.join_next().await {
        let (taken, seen) = ended.unwrap();
        shares.push(taken);
        lines.extend(seen);
    }
    let verdict = judge(&truth(&world).await, &lines, 0);
    assert!(verdict.is_good(), "{verdict}");
    assert_eq!(shares.iter().sum::<u32>(), 1_000);
    let idle = shares.iter().filter(|taken| **taken == 0).count();
    assert!(idle < MEMBERS / 2 && shares.iter().max().unwrap() < &250, "unfair: {shares:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_never_reads_costs_no_memory_and_nobodys_time() {
    const TEXT_BYTES: usize = 32 << 10;
    let world = World::start().await;
    let mut client = groups(&world).await;
    make(&mut client, group("crm", 3_600)).await;
    let began = Instant::now();
    let idle = Member::join(&mut client, "crm", 1_000, began).await;
    let mut works = Member::join(&mut client, "crm", 100, began).await;
    let mut memory = Vec::new();
    let text = "x".repeat(TEXT_BYTES);
    for round in 0..3 {
        let load = Load::on(&world);
        let posting = async {
            for n in 0..1_000 {
                // Events of many tickets: those of whoever never reads stay with it.
                load.one(&format!("ticket-{round}-{n}"), &format!("m-{round}-{n}"), &text).await;
            }
        };
        let target = (round + 1) * 1_000;
        let working = async {
            let mut groups = groups(&world).await;
            loop {
                tokio::select! {
                    told = works.told() => if let Told::Delivery(delivery) = told {
                        works.settle(&delivery, ack()).await;
                    },
                    () = tokio::time::sleep(Duration::from_millis(200)) => {
                        let status = status(&mut groups, "crm").await;
                        let idle = status.members.iter().map(|member| member.in_flight).max().unwrap_or_default();
                        let given = works.lines.iter().filter(|line| {
                            matches!(line, crate::history::Line::Delivered { .. })
                        }).count();
                        if given + usize::try_from(idle).unwrap() >= target {
                            return;
                        }
                    }
                }
            }
        };
        tokio::join!(posting, working);
        memory.push(resident_kib(world.gateway.id()));
    }
    drop(idle);
    println!("memory of the gateway after each 32 MiB of events, one member never reading: {memory:?} KiB");
    assert!(memory[2] < memory[0] + (48 << 10), "{memory:?}");
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_set_back_gets_it_all_again_in_order() {
    let world = World::start().await;
    let mut client = groups(&world).await;
    make(&mut client, group("crm", 60)).await;
    Load::on(&world).post(10, 10, "Olá").await;
    let truth = truth(&world).await;
    let began = Instant::now();
    let mut member = Member::join(&mut client, "crm", 10, began).await;
    for round in 0..2 {
        let mut settled = 0;
        while settled < truth.len() {
            match member.told().await {
                Told::Delivery(delivery) => {
                    assert_eq!(delivery.attempt, 1);
                    member.settle(&delivery, ack()).await;
                }
                Told::Settled(report) => settled += report.results.len(),
                _ => {}
            }
        }
        let verdict = judge(&truth, &std::mem::take(&mut member.lines), 0);
        assert!(verdict.is_good() && verdict.redeliveries == 0, "round {round}: {verdict}");
        if round == 0 {
            let mut seek = pb::SeekConsumerGroupRequest {
                group: "crm".to_owned(),
                to: Some(at(Position::Ago(seconds(86_400)))),
                validate_only: true,
            };
            let asked = client.seek_consumer_group(seek.clone()).await.unwrap().into_inner();
            assert_eq!(asked.events_affected, 100);
            assert_eq!(status(&mut client, "crm").await.events_behind, 0, "nothing was moved");
            seek.validate_only = false;
            assert_eq!(client.seek_consumer_group(seek).await.unwrap().into_inner().events_affected, 100);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stream_was_given_can_be_settled_by_a_call() {
    let world = World::start().await;
    let mut client = groups(&world).await;
    make(&mut client, group("crm", 60)).await;
    for n in 1..=2 {
        assert_eq!(world.post(message("t1", &format!("m{n}"), "Olá")).await, 200);
    }
    let mut member = Member::join(&mut client, "crm", 10, Instant::now()).await;
    for sequence in 1..=2 {
        let delivery = member.delivery().await;
        assert_eq!(delivery.attempt, 1);
        assert_eq!(delivery.event.as_ref().unwrap().ticket_sequence, sequence);
        let settlement = |outcome: Outcome| pb::Settlement {
            delivery_id: delivery.delivery_id.clone(),
            outcome: Some(outcome),
        };
        member.note(&delivery, &ack());
        let request = pb::SettleRequest { group: "crm".to_owned(), settlements: vec![settlement(ack())] };
        let called = client.settle(request).await.unwrap().into_inner();
        assert_eq!(called.results[0].state(), pb::SettleState::Done);
        member.lines.extend(called.results.iter().map(written));
        member.settle(&delivery, ack()).await;
        let again = member.report().await;
        assert_eq!((again.batch_id, again.results[0].state()), (7, pb::SettleState::AlreadyDone));
    }
    let verdict = judge(&truth(&world).await, &member.lines, 0);
    assert!(verdict.is_good() && verdict.done == 2, "{verdict}");
}
