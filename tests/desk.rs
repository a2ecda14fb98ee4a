//! What each rpc sends, byte for member: `tests/data/commands.jsonl` holds the documented form of every command, message
//! and notification, and `docs/DESK.md` a table of them. Both must be what the gateway does.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::collections::{BTreeMap, BTreeSet};

use deskgate::domain::action::{NewTicket, RawCommand};
use deskgate::domain::translate::{
    Listed, Order, Step, get_ticket, list_tickets, messages, read_back, read_receipt, steps_of, typing,
};
use deskgate::domain::{Action, CloseBy, Content, ContentKind, Method, OutboundMessage, TicketStatus};
use deskgate::lime::Command;
use serde_json::{Map, Value, json};

const ID: &str = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f0";
const TICKET: &str = "76f5bc38-b476-4895-a0c6-016ed1288ba0";
const AGENT: &str = "maria.souza%40example.com@blip.ai";
const CUSTOMER: &str = "255d0787b7b2bc.demobot@0mn.io";

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn send(text: &str, metadata: &Value) -> Action {
    let content = Content {
        media_type: "text/plain".to_owned(),
        kind: ContentKind::Text(text.to_owned()),
        ..Content::default()
    };
    let metadata = metadata.as_object().cloned().unwrap_or_default();
    let agent_identity = String::new();
    Action::Send(Box::new(OutboundMessage { content, document: text.into(), metadata, agent_identity }))
}

fn close(by: CloseBy, closed_by: &str, tags: &[&str], without_redirect: bool) -> Action {
    Action::Close { by, tags: texts(tags), closed_by: closed_by.to_owned(), without_redirect }
}

fn create(team: &str, agent: &str, input: bool) -> Action {
    Action::Create(Box::new(NewTicket {
        customer_identity: CUSTOMER.to_owned(),
        team: team.to_owned(),
        agent_identity: agent.to_owned(),
        input: input.then(|| ("text/plain".to_owned(), json!("Quero falar com uma pessoa"))),
    }))
}

fn execute() -> Action {
    Action::Execute(Box::new(RawCommand {
        method: Method::Merge,
        to: "postmaster@crm.msging.net".to_owned(),
        uri: "/contacts".to_owned(),
        resource: Some((
            "application/vnd.lime.contact+json".to_owned(),
            json!({"identity": CUSTOMER, "name": "Ana"}),
        )),
    }))
}

/// Every form of every action, by the name that the data has for it.
fn actions() -> Vec<(&'static str, Action)> {
    let (team, agent) = ("Financeiro".to_owned(), AGENT.to_owned());
    vec![
        ("assign", Action::Assign { agent_identity: agent.clone() }),
        ("send", send("Como posso ajudar?", &Value::Null)),
        ("send-metadata", send("Olá, ${contact.name}!", &json!({"#message.replaceVariables": "true"}))),
        ("close-agent", close(CloseBy::Agent, "", &[], false)),
        ("close-agent-closed-by", close(CloseBy::Agent, AGENT, &[], false)),
        ("close-customer", close(CloseBy::Customer, "", &[], false)),
        ("close-without-redirect", close(CloseBy::Customer, "", &[], true)),
        ("set-tags", Action::SetTags { tags: texts(&["boleto", "segunda via"]) }),
        ("finish", Action::Finish { closed_by: agent.clone(), tags: texts(&["desistiu"]) }),
        ("transfer-team", Action::Transfer { team: team.clone(), agent_identity: String::new() }),
        ("transfer-agent", Action::Transfer { team, agent_identity: agent }),
        ("create", create("", "", false)),
        ("create-text", create("", "", true)),
        ("create-agent-team", create("Default", AGENT, false)),
        ("create-team-input", create("Default", "", true)),
        ("execute", execute()),
    ]
}

fn wire(step: &Step) -> Value {
    let json = match step {
        Step::Command { command, .. } => command.to_json(),
        Step::Message(json) => json.clone(),
    };
    serde_json::from_slice(&json).unwrap()
}

/// The last thing that an action sends: what may come before it is an action of its own too.
fn last_step(action: &Action) -> Step {
    steps_of(ID, TICKET, action).pop().unwrap()
}

fn documented() -> BTreeMap<String, Value> {
    include_str!("data/commands.jsonl")
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(&line.replace("{id}", ID)).unwrap();
            (line["name"].as_str().unwrap().to_owned(), line["wire"].clone())
        })
        .collect()
}

#[test]
fn every_action_is_sent_as_documented() {
    let documented = documented();
    let mut sent = BTreeMap::new();
    for (name, action) in actions() {
        sent.insert(name.to_owned(), wire(&last_step(&action)));
    }
    let json = |command: Command| serde_json::from_slice::<Value>(&command.to_json()).unwrap();
    let other = |json: Vec<u8>| serde_json::from_slice::<Value>(&json).unwrap();
    let waiting = Listed { statuses: vec![TicketStatus::Waiting], ..Listed::default() };
    for (name, wire) in [
        ("typing", other(typing(TICKET, true))),
        ("read-receipt", other(read_receipt(TICKET, "fwd:fwd:99cf454e-f25d-4ebd-831f-e48a1c612cd4"))),
        ("get-ticket", json(get_ticket(ID, TICKET))),
        ("list-waiting", json(list_tickets(ID, &waiting, (0, 100)))),
        ("list-closed-of-customer", json(list_tickets(ID, &Listed::closed_of(CUSTOMER), (0, 100)))),
        ("messages", json(messages(ID, TICKET, Order::OldestFirst, (0, 100)))),
    ] {
        sent.insert(name.to_owned(), wire);
    }
    for (name, wire) in &sent {
        assert_eq!(Some(wire), documented.get(name), "{name}");
    }
    let names = |of: &BTreeMap<String, Value>| of.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&sent), names(&documented));
}

#[test]
fn labels_are_set_before_a_close_under_an_id_of_their_own() {
    let steps = steps_of(ID, TICKET, &close(CloseBy::Agent, "", &["boleto", "segunda via"], false));
    let [labels, closing] = steps.as_slice() else { panic!("{steps:?}") };
    let mut expected = documented()["set-tags"].clone();
    expected["id"] = format!("{ID}-tags").into();
    assert_eq!(wire(labels), expected);
    assert_eq!(wire(closing), documented()["close-agent"]);
}

/// The members of an object, as the table writes them.
fn members(object: &Map<String, Value>) -> String {
    object.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A row's columns, in the document's words.
fn row_of(label: &str, action: &Action) -> [String; 4] {
    let step = last_step(action);
    let sets_state = matches!(&step, Step::Command { sets_state: true, .. });
    let wire = wire(&step);
    let text = |name: &str| wire[name].as_str().unwrap_or_default();
    let sent = match step {
        Step::Message(_) => "message".to_owned(),
        Step::Command { .. } => {
            let customer = CUSTOMER.replace('@', "%40");
            let uri = text("uri").replace(TICKET, "{ticket}").replace(&customer, "{customer}");
            format!("{} `{}`", text("method"), uri.replace("{ticket}", "{id}"))
        }
    };
    let look = match read_back(ID, TICKET, action).map(|command| command.uri.0) {
        None => "nothing",
        Some(uri) if uri.contains("/messages") => "the message's id in the conversation",
        Some(uri) if uri.starts_with("/tickets?") => "the customer's open tickets",
        Some(_) if matches!(action, Action::Transfer { .. }) => "the old ticket and the new one",
        Some(_) => "the ticket",
    };
    [label.to_owned(), sent, (if sets_state { "yes" } else { "no" }).to_owned(), look.to_owned()]
}

#[test]
fn the_table_in_the_documents_is_what_is_done() {
    let document = include_str!("../docs/DESK.md");
    let rows: Vec<Vec<String>> = document
        .lines()
        .skip_while(|line| !line.starts_with("| rpc | sent | type |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    let tags = Action::SetTags { tags: texts(&["a"]) };
    let expected = [
        ("`Assign`", Action::Assign { agent_identity: AGENT.to_owned() }),
        ("`Send`", send("oi", &Value::Null)),
        ("`Close`", close(CloseBy::Agent, AGENT, &[], false)),
        ("`Close`, `without_redirect`", close(CloseBy::Agent, AGENT, &[], true)),
        ("`Close` with `tags`, before that", tags.clone()),
        ("`Finish`", Action::Finish { closed_by: AGENT.to_owned(), tags: texts(&["a"]) }),
        ("`Transfer`", Action::Transfer { team: "a".to_owned(), agent_identity: AGENT.to_owned() }),
        ("`SetTags`", tags),
        ("`Create`", create("a", AGENT, true)),
        ("`Create` with text alone", create("", "", true)),
    ];
    assert_eq!(rows.len(), expected.len() + 1, "a row each, and one for ExecuteCommand");
    for (row, (label, action)) in rows.iter().zip(&expected) {
        let [label, sent, twice, look] = row_of(label, action);
        assert_eq!([&row[0], &row[1], &row[4], &row[5]], [&label, &sent, &twice, &look]);
        if let Step::Command { command, .. } = last_step(action) {
            let (media_type, resource) = command.resource.unwrap();
            let kind = if media_type == "text/plain" { "`text/plain`" } else { "T" };
            assert_eq!(row[2], kind, "{label}");
            if let Some(object) = resource.as_object() {
                let told: BTreeSet<_> = row[3].split([',', ';']).map(str::trim).collect();
                let has: BTreeSet<_> = members(object).split(", ").map(str::to_owned).collect();
                assert_eq!(told, has.iter().map(String::as_str).collect(), "{label}");
            }
        }
    }
    let [label, _, twice, look] = row_of("`ExecuteCommand`", &execute());
    let row = &rows[expected.len()];
    assert_eq!([&row[0], &row[4], &row[5]], [&label, &twice, &look]);
}
