//! Any sequence of operations: SQLite and the memory model agree, event by event, crashes of the process
//! included as far as a restart shows them.

use std::collections::BTreeSet;

use deskgate::domain::{DedupKey, Fact, Fault, NewEvent, Outcome, Payload, Seq, TicketStatus};
use deskgate::store::quarantine::{HeldId, Readable, Wanted};
use deskgate::store::{CommandsWanted, NewCommand, TicketsWanted};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use crate::groups::{GroupOperation, group_operation};
use crate::support::{Subject, command, document, end, event, keyed, message};

#[derive(Debug, Clone)]
enum Operation {
    Append(Vec<Put>),
    Begin { id: u8, request: u8, asks: u8 },
    Queue { id: u8, request: u8, asks: u8 },
    Start { id: u8 },
    Requeue { id: u8 },
    Settle { id: u8, how: u8, echo: Vec<Put> },
    Tag { ticket: u8, tags: Vec<u8> },
    Hold { bot: bool, length: usize },
    Release(Vec<(u64, Put)>),
    Held { after: u64, bot: bool, ids: Option<Vec<u64>>, count_max: usize, body_bytes_max: Option<usize> },
    Taken(Vec<u8>),
    Group(GroupOperation),
    Pass { hours: i64, seconds: i64 },
    Retain,
    Restart,
}

#[derive(Debug, Clone)]
struct Put {
    bot: bool,
    ticket: u8,
    key: Option<u8>,
    status: Option<TicketStatus>,
    /// The number of the ticket it was transferred from; a ticket's own is its place in the alphabet.
    parent: Option<u8>,
}

impl Put {
    fn event(&self) -> NewEvent {
        let ticket = format!("t{}", self.ticket);
        let put = match self.status {
            Some(status) => numbered(document(&ticket, status), self.ticket, self.parent),
            None if self.ticket == 0 => {
                event("suporte", None, Fact::Told(Payload::CustomerTyping { state: "paused".to_owned() }))
            }
            None => message(&ticket, "olá"),
        };
        let put = if self.bot { NewEvent { bot: "vendas".into(), ..put } } else { put };
        match self.key {
            Some(key) => keyed(key, put),
            None => put,
        }
    }
}

fn numbered(event: NewEvent, number: u8, parent: Option<u8>) -> NewEvent {
    let NewEvent { fact: Fact::Ticket(mut ticket), .. } = event.clone() else { panic!("no document") };
    // Two tickets share a number, as in a bot that was made anew.
    ticket.sequential_id = Some(i64::from(number.min(2)));
    ticket.parent_sequential_id = parent.map(i64::from);
    NewEvent { fact: Fact::Ticket(ticket), ..event }
}

fn put() -> impl Strategy<Value = Put> {
    let status = proptest::sample::select(TicketStatus::WORDS.map(|(status, _)| status).to_vec());
    let parent = proptest::option::weighted(0.3, 0_u8..3);
    (any::<bool>(), 0_u8..4, proptest::option::of(0_u8..6), proptest::option::of(status), parent)
        .prop_map(|(bot, ticket, key, status, parent)| Put { bot, ticket, key, status, parent })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => vec(put(), 0..5).prop_map(Operation::Append),
        2 => (1_u8..8, 0_u8..4, 0_u8..2).prop_map(|(id, request, asks)| Operation::Begin { id, request, asks }),
        1 => (1_u8..8, 0_u8..4, 0_u8..2).prop_map(|(id, request, asks)| Operation::Queue { id, request, asks }),
        1 => (1_u8..8).prop_map(|id| Operation::Start { id }),
        1 => (1_u8..8).prop_map(|id| Operation::Requeue { id }),
        1 => (1_u8..4, vec(0_u8..2, 0..3)).prop_map(|(ticket, tags)| Operation::Tag { ticket, tags }),
        2 => (1_u8..8, 0_u8..4, vec(put(), 0..3))
            .prop_map(|(id, how, echo)| Operation::Settle { id, how, echo }),
        3 => (any::<bool>(), 0_usize..9).prop_map(|(bot, length)| Operation::Hold { bot, length }),
        2 => vec((0_u64..6, put()), 0..4).prop_map(Operation::Release),
        2 => (0_u64..6, any::<bool>(), proptest::option::of(vec(0_u64..6, 0..4)), 0_usize..4, proptest::option::of(0_usize..20))
            .prop_map(|(after, bot, ids, count_max, body_bytes_max)| Operation::Held { after, bot, ids, count_max, body_bytes_max }),
        1 => vec(0_u8..6, 0..4).prop_map(Operation::Taken),
        6 => group_operation().prop_map(Operation::Group),
        2 => (-1_i64..50, 0_i64..60).prop_map(|(hours, seconds)| Operation::Pass { hours, seconds }),
        1 => Just(Operation::Retain),
        1 => Just(Operation::Restart),
    ]
}

fn outcome(how: u8) -> Outcome {
    let fault = Fault::new("WHY", "because").with("blip_code", &64);
    match how {
        0 => Outcome::Done,
        1 => Outcome::Failed(fault.passing()),
        2 => Outcome::Failed(fault),
        _ => Outcome::Unknown(fault),
    }
}

fn events(puts: &[Put]) -> Vec<NewEvent> {
    puts.iter().map(Put::event).collect()
}

/// What a store answers, as text: comparable whatever the operation.
async fn apply(store: &mut Subject, operation: &Operation) -> String {
    match operation {
        Operation::Append(puts) => format!("{:?}", store.log().append(events(puts)).await),
        Operation::Begin { id, request, asks } => {
            let request = if *request == 0 { String::new() } else { format!("r{request}") };
            format!("{:?}", store.ledger().begin(command(u128::from(*id), &request, *asks)).await)
        }
        Operation::Queue { id, request, asks } => {
            let request = if *request == 0 { String::new() } else { format!("r{request}") };
            let queued = NewCommand { accept_only: true, ..command(u128::from(*id), &request, *asks) };
            format!("{:?}", store.ledger().begin(queued).await)
        }
        Operation::Start { id } => {
            format!("{:?}", store.ledger().start(Uuid::from_u128(u128::from(*id))).await)
        }
        Operation::Requeue { id } => {
            format!("{:?}", store.ledger().requeue(Uuid::from_u128(u128::from(*id))).await)
        }
        Operation::Tag { ticket, tags } => {
            let tags = tags.iter().map(u8::to_string).collect();
            let tagged = event("suporte", Some(&format!("t{ticket}")), Fact::Tags(tags));
            format!("{:?}", store.log().append(vec![tagged]).await)
        }
        Operation::Settle { id, how, echo } => {
            let id = Uuid::from_u128(u128::from(*id));
            format!("{:?}", store.ledger().settle(id, end(outcome(*how)), events(echo)).await)
        }
        Operation::Hold { bot, length } => {
            store.hold(if *bot { "vendas" } else { "suporte" }, &"x".repeat(*length)).await;
            String::new()
        }
        Operation::Release(puts) => {
            let readable = |(id, put): &(u64, Put)| Readable { id: HeldId(*id), event: put.event() };
            format!("{:?}", store.quarantine().release(puts.iter().map(readable).collect()).await)
        }
        Operation::Held { after, bot, ids, count_max, body_bytes_max } => {
            let ids = ids.as_ref().map(|ids| {
                let ids: BTreeSet<_> = ids.iter().copied().map(HeldId).collect();
                ids.into_iter().collect()
            });
            let bot = bot.then(|| "vendas".to_owned());
            let (after, count_max, body_bytes_max) = (HeldId(*after), *count_max, *body_bytes_max);
            let wanted = Wanted { after, bot, ids, count_max, body_bytes_max };
            format!("{:?}", store.quarantine().held(wanted).await)
        }
        Operation::Taken(keys) => {
            let keys = keys.iter().map(|key| DedupKey([*key; 16])).collect();
            format!("{:?}", store.quarantine().taken(keys).await)
        }
        Operation::Group(operation) => crate::groups::apply(store, operation).await,
        Operation::Pass { hours, seconds } => {
            store.hours_pass(*hours);
            store.seconds_pass(*seconds);
            String::new()
        }
        Operation::Retain => store.enforce_retention().await.to_string(),
        Operation::Restart => {
            store.restart();
            String::new()
        }
    }
}

/// All there is to see.
async fn seen(store: &Subject) -> Vec<String> {
    let log = store.log();
    let bounds = log.bounds().await.unwrap();
    let (trimmed, tail) = (bounds.trimmed, *log.tail().borrow());
    let mut seen = vec![
        format!("{trimmed:?} {:?} {tail:?} {:?}", bounds.last, log.id()),
        format!("{:?} {:?}", bounds.earliest_time, bounds.latest_time),
        format!("{:?}", store.all_after(trimmed).await),
        format!("{:?}", store.unsettled().await),
        format!("{:?}", store.ledger().unknown_since(jiff::Timestamp::MIN, 9).await),
        format!("{:?}", store.held().await),
        crate::groups::seen(store).await,
    ];
    if let Some(before) = trimmed.0.checked_sub(1) {
        seen.push(format!("{:?}", log.read(Seq(before), 1).await));
    }
    for hours in [0, 10, 30] {
        let at = store.now() - jiff::SignedDuration::from_hours(hours);
        seen.push(format!("{:?}", log.seek(at).await));
    }
    for before in [None, Some(3)] {
        let wanted = TicketsWanted { count_max: 2, before, ..TicketsWanted::default() };
        seen.push(format!("{:?}", log.tickets(wanted).await));
    }
    let wanted = CommandsWanted { ticket_id: "t1".to_owned(), count_max: 3, ..CommandsWanted::default() };
    seen.push(format!("{:?}", store.ledger().commands(wanted).await.unwrap().items));
    for ticket in 0..4 {
        let id = format!("t{ticket}");
        let states = (log.ticket("suporte", &id).await, log.ticket("vendas", &id).await);
        seen.push(format!("{states:?} {:?}", log.bots_of(&id).await));
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_agrees_with_the_model(operations in vec(operation(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut model, mut sqlite) = (Subject::memory(), Subject::sqlite());
            for operation in &operations {
                let (expected, got) = (apply(&mut model, operation).await, apply(&mut sqlite, operation).await);
                assert_eq!(got, expected, "{operation:?}");
            }
            let expected = seen(&model).await;
            assert_eq!(seen(&sqlite).await, expected);
            sqlite.restart();
            assert_eq!(seen(&sqlite).await, expected, "after a restart");
        });
    }
}
