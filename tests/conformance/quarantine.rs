//! What the quarantine promises: nothing is lost on its way out, and nothing comes out twice.

use deskgate::domain::{DedupKey, Seq, TicketStatus};
use deskgate::store::quarantine::{Held, HeldId, Readable, Released, Wanted};

use crate::support::{Subject, document, event, keyed, message};

fn readable(id: u64, event: deskgate::domain::NewEvent) -> Readable {
    Readable { id: HeldId(id), event }
}

fn numbers(bodies: &[Held]) -> Vec<u64> {
    bodies.iter().map(|body| body.id.0).collect()
}

pub(crate) async fn pages(store: &mut Subject) {
    for (bot, raw) in [("a", "<xml>"), ("b", "[1]"), ("a", ""), ("a", "{"), ("b", "null")] {
        store.hold(bot, raw).await;
        store.seconds_pass(1);
    }
    for _ in 0..2 {
        let all = store.held().await;
        assert_eq!((numbers(&all.bodies), all.more), (vec![1, 2, 3, 4, 5], false));
        let bodies: Vec<_> = all.bodies.iter().map(|body| (&*body.raw, body.size_bytes)).collect();
        assert_eq!(bodies[..4], [(&b"<xml>"[..], 5), (b"[1]", 3), (b"", 0), (b"{", 1)]);
        let Held { id: _, bot, receive_time, reason, size_bytes: _, raw: _ } = &all.bodies[1];
        let age = store.now() - *receive_time;
        assert_eq!((&**bot, &**reason, age.get_seconds()), ("b", "no JSON", 4));
        for (wanted, expected, more) in [
            (Wanted { count_max: 2, ..Wanted::default() }, vec![1, 2], true),
            (Wanted { after: HeldId(3), count_max: 2, ..Wanted::default() }, vec![4, 5], false),
            (Wanted { bot: Some("b".to_owned()), count_max: 2, ..Wanted::default() }, vec![2, 5], false),
            (Wanted { bot: Some("c".to_owned()), count_max: 2, ..Wanted::default() }, vec![], false),
            (Wanted { body_bytes_max: Some(8), count_max: 9, ..Wanted::default() }, vec![1, 2, 3], true),
            (Wanted { body_bytes_max: Some(1), count_max: 9, ..Wanted::default() }, vec![1], true),
            (
                Wanted {
                    ids: Some(vec![HeldId(0), HeldId(2), HeldId(4), HeldId(9)]),
                    count_max: 9,
                    ..Wanted::default()
                },
                vec![2, 4],
                false,
            ),
        ] {
            let page = store.quarantine().held(wanted.clone()).await.unwrap();
            assert_eq!((numbers(&page.bodies), page.more), (expected, more), "{wanted:?}");
            let with_bodies = wanted.body_bytes_max.is_some();
            assert!(page.bodies.iter().all(|body| with_bodies || body.raw.is_empty()), "{wanted:?}");
        }
        store.restart();
    }
}

pub(crate) async fn released_once(store: &mut Subject) {
    for raw in ["1", "2", "3"] {
        store.hold("suporte", raw).await;
    }
    let leaving = || vec![readable(2, message("t1", "b")), readable(1, message("t1", "a"))];
    let released = store.quarantine().release(leaving()).await.unwrap();
    let places: Vec<_> = released
        .iter()
        .map(|released| match released {
            Released::At(stored) => (stored.seq.0, stored.event.ticket_sequence),
            other @ (Released::Duplicate(_) | Released::Gone) => panic!("no event: {other:?}"),
        })
        .collect();
    assert_eq!(places, [(1, 1), (2, 2)], "in the order given");
    for _ in 0..2 {
        assert_eq!(numbers(&store.held().await.bodies), [3]);
        let again = store.quarantine().release(leaving()).await.unwrap();
        assert_eq!(again, [Released::Gone, Released::Gone], "the messages have no key, and still come once");
        assert_eq!(store.all_after(Seq(0)).await.len(), 2);
        store.restart();
    }
    assert!(store.quarantine().release(vec![]).await.unwrap().is_empty());
    let twice = vec![readable(3, message("t1", "c")), readable(3, message("t1", "c"))];
    let released = store.quarantine().release(twice).await.unwrap();
    assert!(matches!(&released[..], [Released::At(_), Released::Gone]), "{released:?}");
}

pub(crate) async fn released_late(store: &mut Subject) {
    let key = |key: u8| DedupKey([key; 16]);
    for raw in ["1", "2", "3"] {
        store.hold("suporte", raw).await;
    }
    store.put(keyed(1, message("t1", "a"))).await;
    store.put(document("t1", TicketStatus::ClosedClient)).await;
    assert_eq!(store.quarantine().taken(vec![key(1), key(2)]).await.unwrap(), [Some(Seq(1)), None]);
    assert!(store.quarantine().taken(vec![]).await.unwrap().is_empty());
    let leaving = vec![
        readable(1, keyed(1, message("t1", "a"))),
        readable(2, keyed(2, message("t1", "b"))),
        readable(3, keyed(2, message("t1", "b"))),
    ];
    let released = store.quarantine().release(leaving).await.unwrap();
    let [Released::Duplicate(Seq(1)), Released::At(late), Released::Duplicate(Seq(3))] = &released[..] else {
        panic!("{released:?}")
    };
    let flags = late.event.flags;
    assert!(flags.order_uncertain && flags.after_close && !flags.ticket_unknown, "{flags:?}");
    assert_eq!((late.event.ticket_sequence, &*late.event.team), (3, "vendas"));
    assert!(store.held().await.bodies.is_empty(), "a duplicate leaves too");
    store.restart();
    assert_eq!(store.all_after(Seq(2)).await, std::slice::from_ref(late));
    assert_eq!(store.quarantine().taken(vec![key(2)]).await.unwrap(), [Some(Seq(3))]);
    store.hours_pass(73);
    assert_eq!(store.quarantine().taken(vec![key(2)]).await.unwrap(), [None]);
    let typing = deskgate::domain::Payload::CustomerTyping { state: "composing".to_owned() };
    let fresh = store.put(event("suporte", None, deskgate::domain::Fact::Told(typing))).await;
    assert!(!fresh.event.flags.order_uncertain, "only what was late says so");
}

async fn one_more(store: &mut Subject, expected: u64) {
    store.hold("suporte", "x").await;
    assert_eq!(numbers(&store.held().await.bodies), [expected]);
}

pub(crate) async fn never_reused(store: &mut Subject) {
    one_more(store, 1).await;
    store.quarantine().release(vec![readable(1, message("t1", "a"))]).await.unwrap();
    store.restart();
    one_more(store, 2).await;
    store.hours_pass(25);
    store.enforce_retention().await;
    assert!(store.held().await.bodies.is_empty(), "retention is the log's");
    store.restart();
    one_more(store, 3).await;
}
