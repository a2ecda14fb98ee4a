//! What holds whatever is asked, in whatever order.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::sandbox::commands::execute;
use crate::sandbox::conversation::Outgoing;
use crate::sandbox::filter::Filter;
use crate::sandbox::lime::{Command, Uri, response};
use crate::sandbox::model::{Account, Desk};
use crate::sandbox::shapes::make_odd;
use crate::sandbox::tests::rules::{desk, get, items, now};

/// What may be asked of a ticket, or of the desk.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Create,
    Status(&'static str),
    Finish,
    Transfer,
    Tags,
    Send,
    Read,
}

fn deeds() -> impl Strategy<Value = Vec<(Deed, prop::sample::Index)>> {
    let statuses = ["Open", "Assigned", "Waiting", "ClosedAttendant", "ClosedClient", "Transferred"];
    let deed = prop_oneof![
        2 => Just(Deed::Create),
        4 => prop::sample::select(statuses.to_vec()).prop_map(Deed::Status),
        1 => Just(Deed::Finish),
        2 => Just(Deed::Transfer),
        2 => Just(Deed::Tags),
        2 => Just(Deed::Send),
        1 => Just(Deed::Read),
    ];
    prop::collection::vec((deed, any::<prop::sample::Index>()), 1..60)
}

fn envelope(id: &str, deed: Deed, ticket: &str) -> Option<Value> {
    let (uri, resource) = match deed {
        Deed::Create => ("/tickets".to_owned(), json!({"customerIdentity": format!("{id}@0mn.io")})),
        Deed::Status(status) => {
            let change = json!({"id": ticket, "status": status, "agentIdentity": "a%40b@blip.ai"});
            ("/tickets/change-status".to_owned(), change)
        }
        Deed::Finish => (format!("/tickets/{ticket}/close"), json!({"tags": ["end"]})),
        Deed::Transfer => (format!("/tickets/{ticket}/transfer"), json!({"team": "Vendas"})),
        Deed::Tags => (format!("/tickets/{ticket}/change-tags"), json!({"tags": [id]})),
        Deed::Send | Deed::Read => return None,
    };
    Some(
        json!({"id": id, "to": "postmaster@desk.msging.net", "method": "set", "uri": uri, "resource": resource}),
    )
}

/// Does it, and says whether it took effect.
fn act(desk: &mut Desk, id: &str, deed: Deed, ticket: &str) -> bool {
    if let Some(envelope) = envelope(id, deed, ticket) {
        let command = Command::read(&envelope).unwrap();
        return execute(desk, Account::Desk, &command, now()).is_ok();
    }
    let to = format!("{ticket}@desk.msging.net/Webhook");
    if let Deed::Read = deed {
        desk.notified(id, &to, "consumed", now());
        return true;
    }
    let message = Outgoing {
        id: Some(id.into()),
        to,
        media_type: "text/plain".into(),
        content: json!(id),
        metadata: None,
    };
    desk.deliver(&message, now()).is_some()
}

proptest! {
    #[test]
    fn a_closed_ticket_stays_closed_and_each_effect_is_counted_once(deeds in deeds()) {
        let mut desk = desk();
        let mut applied = 0;
        for (number, (deed, place)) in deeds.into_iter().enumerate() {
            let before: Vec<_> = desk.tickets().to_vec();
            let ticket = before.get(place.index(before.len().max(1))).map(|ticket| ticket.id.clone());
            let id = format!("e{number}");
            let took = act(&mut desk, &id, deed, &ticket.unwrap_or_default());
            applied += u64::from(took);
            prop_assert_eq!(desk.effects.id(&id).applied, u64::from(took));
            let grown = usize::from(took && matches!(deed, Deed::Create | Deed::Transfer));
            prop_assert_eq!(desk.tickets().len(), before.len() + grown);
            for (old, new) in before.iter().zip(desk.tickets()) {
                prop_assert!(new.closed || !old.closed);
                prop_assert_eq!(new.closed, new.status.is_closed());
                if old.is_frozen() {
                    prop_assert_eq!(json!(old), json!(new));
                }
            }
            if let (true, Some(new)) = (took && matches!(deed, Deed::Transfer), desk.tickets().last()) {
                let parents: Vec<_> =
                    desk.tickets().iter().filter(|old| Some(old.sequential_id) == new.parent_sequential_id).collect();
                prop_assert_eq!(parents.len(), 1);
                prop_assert_eq!(parents[0].status.word(), "Transferred");
            }
        }
        prop_assert_eq!(desk.effects.by_id().values().map(|counts| counts.applied).sum::<u64>(), applied);
        let mut told = BTreeMap::new();
        for effects in desk.effects.by_ticket().values() {
            prop_assert!(effects.is_sorted_by(|left, right| left.number < right.number));
            for effect in effects {
                *told.entry(effect.envelope_id.clone()).or_insert(0_u64) += 1;
            }
        }
        // A transfer is told of two tickets.
        prop_assert!(told.values().all(|&times| times <= 2));
        let numbers: Vec<_> = desk.tickets().iter().map(|ticket| ticket.sequential_id).collect();
        prop_assert!(numbers.iter().copied().eq(1..=u64::try_from(numbers.len()).unwrap()));
    }

    #[test]
    fn pages_of_any_size_make_the_whole(deeds in deeds(), take in 1_usize..101) {
        let mut desk = desk();
        for (number, (deed, place)) in deeds.into_iter().enumerate() {
            let ids: Vec<_> = desk.tickets().iter().map(|ticket| ticket.id.clone()).collect();
            let ticket = ids.get(place.index(ids.len().max(1))).cloned().unwrap_or_default();
            act(&mut desk, &format!("e{number}"), deed, &ticket);
        }
        for list in ["/tickets?$closed=true", "/tickets?$closed=false", "/tickets?$filter=status%20eq%20'waiting'"] {
            let whole = get(&mut desk, &format!("{list}&$take=100"));
            let (mut pieces, mut skip) = (Vec::new(), 0);
            loop {
                let page = get(&mut desk, &format!("{list}&$skip={skip}&$take={take}"));
                let count = items(&page).len();
                pieces.extend(items(&page).clone());
                skip += count;
                if count < take {
                    break;
                }
            }
            prop_assert_eq!(&pieces, items(&whole));
        }
    }

    #[test]
    fn nothing_that_is_asked_is_a_panic(text in "\\PC{0,60}", method in "get|set|merge|delete|\\PC{1,5}") {
        let _ = Filter::parse(&text);
        let _ = Uri::parse(&text);
        let mut desk = desk();
        let to = ["desk.", "crm.", "tunnel.", "media.", ""].map(|name| format!("postmaster@{name}msging.net"));
        for to in to {
            for uri in [text.clone(), format!("/tickets?$filter={text}"), format!("/tickets/{text}/messages")] {
                let envelope = json!({"id": "x", "to": to, "method": method, "uri": uri, "resource": text});
                let Ok(command) = Command::read(&envelope) else { continue };
                let result = execute(&mut desk, Account::Desk, &command, now());
                let answer = response(&command, "b@msging.net", &result, true);
                prop_assert!(serde_json::from_slice::<Value>(&answer).is_ok());
            }
        }
    }

    #[test]
    fn odd_spellings_leave_what_people_wrote(text in "\\PC{0,20}", number in any::<u32>()) {
        let written = json!({"fullname": text, "total": number, "items": [{"priority": number}]});
        let mut document = json!({"items": [{"content": written, "sequentialId": number}], "total": 1});
        make_odd(&mut document);
        prop_assert_eq!(&document["items"][0]["content"], &written);
        prop_assert_eq!(&document["items"][0]["sequentialId"], &json!(number.to_string()));
        prop_assert_eq!(document.get("total"), None);
    }
}
