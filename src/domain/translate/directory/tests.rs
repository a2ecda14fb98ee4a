//! Blip's directories by its own documents: `tests/data/directory.jsonl` holds one a line.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn documents(kind: &str) -> impl Iterator<Item = (String, Value)> {
    let lines = include_str!("../../../../tests/data/directory.jsonl").lines();
    lines.map(|line| serde_json::from_str::<Value>(line).unwrap()).filter_map(move |document| {
        Some((document["name"].as_str().unwrap().to_owned(), document.get(kind)?.clone()))
    })
}

fn resource(name: &str) -> Value {
    documents("answer").find(|(found, _)| found == name).unwrap().1["resource"].clone()
}

fn items(name: &str) -> Vec<Value> {
    items_of(resource(name))
}

#[test]
fn commands_are_the_documented_ones() {
    let tunnel = Identity::new("2bdcd8d0-9e69-484f-a88a-d5a529708864", "tunnel.msging.net");
    for (name, document) in documents("command") {
        let id = document["id"].as_str().unwrap();
        let list = |list: List| list_command(id, &list.uri(0, TAKE_MAX));
        let command = match name.as_str() {
            "attendants" => list(List::Agents),
            "teams" => list(List::Teams),
            "agents-online" => list(List::TeamsOnline),
            "tags-active" => list(List::Tags),
            "replies" => {
                // The sample names no page, and would leave its length to Blip.
                let mut command = list(List::Replies("greetings".to_owned()));
                assert_eq!(command.uri.0, "/replies/greetings?$skip=0&$take=100&$ascending=true");
                command.uri.0.truncate("/replies/greetings".len());
                command
            }
            "get-tunnel" => tunnel_command(id, &tunnel),
            "refresh-media-uri" => refresh_command(id, document["resource"].as_str().unwrap()),
            other => panic!("no command for {other}"),
        };
        let sent: Value = serde_json::from_slice(&command.to_json()).unwrap();
        assert_eq!(sent, document, "{name}");
    }
}

#[test]
fn what_has_no_sample_goes_by_the_reference() {
    let identity = Identity::new("5531900000001", "wa.gw.msging.net");
    let contact = contact_command("1", "postmaster@crm.msging.net", &identity);
    assert_eq!(contact.to, "postmaster@crm.msging.net");
    assert_eq!(contact.uri.0, "/contacts/5531900000001%40wa.gw.msging.net");
    let upload = upload_command("1", true);
    assert_eq!((upload.to.as_str(), upload.method), ("postmaster@media.msging.net", Method::Get));
    assert_eq!(upload.uri.0, "/upload-media-uri?secure=true");
    assert_eq!(List::Categories.uri(100, 20), "/replies?$skip=100&$take=20&$ascending=true");
    let category = List::Replies("a b/c".to_owned());
    assert_eq!(category.uri(0, 1), "/replies/a%20b%2Fc?$skip=0&$take=1&$ascending=true");
}

#[test]
fn agents_are_read_in_every_spelling() {
    let agents = agents_of(&items("attendants-rich"));
    assert_eq!(agents.len(), 2);
    let maria = Agent {
        identity: "maria.souza%40example.com@blip.ai".to_owned(),
        email: "maria.souza@example.com".to_owned(),
        full_name: "Maria Souza".to_owned(),
        teams: vec!["Default".to_owned(), "Financeiro".to_owned()],
        status: "Online".to_owned(),
        slots: 3,
        tickets_in_service: 0,
    };
    assert_eq!(agents[0], maria);
    let bare = agents_of(&items("attendants"));
    assert_eq!((bare[0].email.as_str(), bare[0].full_name.as_str()), ("maria.souza@example.com", ""));
    let odd = [
        json!({"Email": "ana@empresa.com", "fullName": "Ana", "status": 2, "agentSlots": "4", "ticketsInService": 1.0,
               "teams": [null, "", 7]}),
        json!({"identity": "superAgent", "slots": -1, "teams": "Default", "status": "9"}),
        json!({"fullname": "nobody"}),
        json!("text"),
    ];
    let agents = agents_of(&odd);
    assert_eq!(agents.len(), 2);
    assert_eq!(agents[0].identity, "ana%40empresa.com@blip.ai");
    assert_eq!((agents[0].full_name.as_str(), agents[0].status.as_str()), ("Ana", "Online"));
    assert_eq!((agents[0].slots, agents[0].tickets_in_service), (4, 1));
    assert_eq!(agents[0].teams, ["7"]);
    assert_eq!((agents[1].email.as_str(), agents[1].slots, agents[1].status.as_str()), ("", 0, "9"));
}

#[test]
fn teams_have_the_live_counts() {
    let team = |name: &str, agents_online| Team { name: name.to_owned(), agents_online };
    let teams = teams_of(&items("teams"), &items("agents-online"));
    assert_eq!(teams, [team("Default", 2), team("Belo Horizonte", 1)]);
    let online = [json!({"name": "Vendas", "agentsOnline": "3"}), json!({"agentsOnline": 1})];
    let teams = teams_of(&items("teams"), &online);
    assert_eq!(teams, [team("Default", 0), team("Belo Horizonte", 0), team("Vendas", 3)]);
}

#[test]
fn tags_and_replies() {
    assert_eq!(tags_of(&items("tags-active")), ["tag1"]);
    assert_eq!(tags_of(&[json!("solto"), json!({}), json!(null)]), ["solto"]);
    let replies = replies_of(&items("replies-category"));
    let [reply] = replies.as_slice() else { panic!("{replies:?}") };
    assert_eq!(
        (reply.category.as_str(), reply.name.as_str(), reply.dynamic),
        ("Greetings", "Hi friend", false)
    );
    assert_eq!(reply.content.as_ref().unwrap().kind, ContentKind::Text("Some text".to_owned()));
    let category = json!({"id": "greetings", "category": "Greetings", "isDynamicContent": "True"});
    let categories = replies_of(&[category, json!({"category": "no id"})]);
    assert_eq!(categories.len(), 1);
    assert_eq!((&categories[0].content, categories[0].dynamic), (&None, true));
    let media = json!({"id": "1", "type": "application/vnd.lime.media-link+json",
                       "document": {"uri": "https://example.com/a.pdf", "type": "application/pdf"}});
    let content = replies_of(&[media]).pop().unwrap().content.unwrap();
    assert!(matches!(content.kind, ContentKind::Media(_)), "{content:?}");
}

#[test]
fn contacts_tell_who_is_behind_the_tunnel() {
    let card = card_of(resource("contact")).unwrap();
    assert_eq!(card.contact.name, "Ana Exemplo");
    assert_eq!(card.originator, "5531900000001@wa.gw.msging.net");
    assert_eq!(card.more["extras"]["plan"], "Gold");
    assert_eq!((card.more.get("gender"), card.more.get("identity")), (Some(&json!("female")), None));
    assert_eq!(originator_of(&resource("tunnel")), "5531900000001@wa.gw.msging.net");
    let odd = card_of(json!({"name": {"first": "Ana"}, "extras": null})).unwrap();
    assert_eq!((odd.contact.name.as_str(), odd.originator.as_str()), ("", ""));
    assert_eq!(odd.more["name"]["first"], "Ana");
    assert_eq!((card_of(json!({})), card_of(json!("x")), card_of(Value::Null)), (None, None, None));
}

#[test]
fn links_are_texts() {
    let link = link_of(&resource("refresh-media-uri")).unwrap();
    assert!(
        link.starts_with("https://blipmediastore.blob.core.windows.net/secure-medias/Media_53990e61"),
        "{link}"
    );
    assert_eq!(link_of(&json!({"uri": "https://a"})).as_deref(), Some("https://a"));
    assert_eq!((link_of(&json!(" ")), link_of(&Value::Null)), (None, None));
}

#[test]
fn lists_are_read_by_shape() {
    let item = json!({"name": "a"});
    for whole in
        [json!({"items": [item]}), json!({"Items": [item], "total": "1"}), json!([item]), item.clone()]
    {
        assert_eq!(items_of(whole.clone()), std::slice::from_ref(&item), "{whole}");
    }
    for empty in
        [json!({"items": []}), json!({"items": null}), json!({"itemType": "x"}), json!({}), json!(null)]
    {
        assert_eq!(items_of(empty.clone()), Vec::<Value>::new(), "{empty}");
    }
}

/// Any JSON, with much of what these documents are made of.
fn any_json() -> impl Strategy<Value = Value> {
    let name =
        prop_oneof!["identity|email|name|teams|status|items|type|document|extras|uri|slots|id", ".{0,4}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_answer_is_too_odd(answer in any_json()) {
        let items = items_of(answer.clone());
        prop_assert!(agents_of(&items).len() <= items.len());
        prop_assert!(replies_of(&items).len() <= items.len());
        prop_assert!(tags_of(&items).len() <= items.len());
        prop_assert!(teams_of(&items, &items).len() <= items.len().saturating_mul(2));
        let _ = (card_of(answer.clone()), originator_of(&answer), link_of(&answer));
    }
}
