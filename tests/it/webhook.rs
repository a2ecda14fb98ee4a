//! Webhooks: what Blip hears, and what the log then holds.

use serde_json::Value;

use crate::support::{TOKEN, World, message, ticket};

#[tokio::test(flavor = "multi_thread")]
async fn every_document_is_kept_byte_for_byte() {
    let world = World::start().await;
    let documents: Vec<Value> = include_str!("../data/webhooks.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // Each under a ticket of its own, so that each is the first thing known of its ticket.
    let mut posted = Vec::new();
    for (number, document) in documents.iter().enumerate() {
        let body = document["body"]
            .as_str()
            .unwrap()
            .replace("76f5bc38-b476-4895-a0c6-016ed1288ba0", &format!("t-{number}"));
        assert_eq!(world.post(body.clone()).await, 200, "{}", document["name"]);
        posted.push((document, body));
    }
    // The documents are of many bots, and some are strays: the alerts of it come when they come.
    let events: Vec<_> =
        world.all_events().await.into_iter().filter(|event| event.r#type != "gateway.alert").collect();
    assert_eq!(events.len(), posted.len());
    for ((document, body), event) in posted.iter().zip(&events) {
        assert_eq!(event.r#type, document["first_event"].as_str().unwrap(), "{}", document["name"]);
        assert_eq!(event.raw_json, **body, "{}", document["name"]);
        assert!(event.payload.is_some() && !event.event_id.is_empty());
        let flags = event.flags.unwrap_or_default();
        assert_eq!(flags.synthetic_id, event.blip_id.is_empty(), "{}", document["name"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_are_one_event_and_other_content_is_another() {
    let world = World::start().await;
    for _ in 0..3 {
        assert_eq!(world.post(ticket("t", "Waiting")).await, 200);
        assert_eq!(world.post(message("t", "m1", "oi")).await, 200);
    }
    assert_eq!(world.post(message("t", "m1", "oi").replace("fwd:fwd:", "")).await, 200);
    assert_eq!(world.post(message("t", "m1", "edited")).await, 200);
    assert_eq!(world.post(message("other", "m1", "oi")).await, 200);
    let seen: Vec<_> = world
        .all_events()
        .await
        .into_iter()
        .map(|event| (event.ticket_id, event.ticket_sequence, event.r#type))
        .collect();
    let expected = [
        ("t", 1, "ticket.created"),
        ("t", 2, "message.customer"),
        ("t", 3, "message.customer"),
        ("other", 1, "message.customer"),
    ];
    let seen: Vec<_> =
        seen.iter().map(|(ticket, sequence, name)| (ticket.as_str(), *sequence, name.as_str())).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_never_refused() {
    let world = World::start().await;
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    for body in [
        "{}",
        r#"{"a":{"b":[1,2]}}"#,
        r#"{"a":"\ud83d"}"#,
        "\u{feff}{\"a\":1}",
        "[]",
        "null",
        "not json",
        "",
        "{\"id\":",
        "\u{feff}[]",
        deep.as_str(),
    ] {
        assert_eq!(world.post(body.to_owned()).await, 200, "{:?}", body.get(..20));
    }
    assert_eq!(world.post(vec![0xff, 0xfe, 0x00]).await, 200);
    let events = world.all_events().await;
    assert_eq!(events.len(), 4, "the four objects are events, the rest is in quarantine");
    assert!(events.iter().all(|event| event.r#type == "unknown"));
    let metrics = world.http.get(world.admin_url("/metrics")).send().await.unwrap().text().await.unwrap();
    let quarantined =
        metrics.lines().find(|line| line.contains("outcome=\"quarantined\"")).unwrap_or_default();
    assert!(quarantined.ends_with(" 8"), "{quarantined}\n{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_too_large_for_an_ordinary_client() {
    let world = World::start().await;
    let zeros = format!("[0{}]", ",0".repeat(510_000));
    let of_type = |media_type: &str, id: &str| {
        format!(
            r#"{{"type":"{media_type}","content":{{"a":{zeros}}},"id":"{id}","from":"t@desk.msging.net/Webhook"}}"#
        )
    };
    assert_eq!(world.post(format!(r#"{{"a":{zeros}}}"#)).await, 200);
    assert_eq!(world.post(of_type("application/json", "m1")).await, 200);
    assert_eq!(world.post(of_type("application/vnd.iris.ticket+json", "m2")).await, 200);
    let location = of_type("application/vnd.lime.location+json", "m3")
        .replace(r#"{"a""#, r#"{"latitude":1,"longitude":2,"a""#);
    assert_eq!(world.post(location).await, 200);
    // tonic's client, like all of them, takes 4 MiB unless told otherwise.
    assert_eq!(world.all_events().await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn blip_hears_401_only_for_a_wrong_token_or_bot() {
    let world = World::start().await;
    let post = async |url: String, header: Option<(&str, String)>| {
        let mut request = world.http.post(url).body(ticket("t", "Waiting"));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let url = world.webhook_url();
    for value in
        [TOKEN.to_owned(), format!("Key {TOKEN}"), format!("bearer {TOKEN}"), format!("Token {TOKEN}")]
    {
        assert_eq!(post(url.clone(), Some(("Authorization", value))).await, 200);
    }
    assert_eq!(post(url.clone(), Some(("X-Api-Key", TOKEN.to_owned()))).await, 200);
    assert_eq!(post(format!("{url}/{TOKEN}"), None).await, 200);
    assert_eq!(post(url.clone(), None).await, 401);
    assert_eq!(post(url.clone(), Some(("Authorization", "Key wrong".to_owned()))).await, 401);
    assert_eq!(post(url.clone(), Some(("X-Other", TOKEN.to_owned()))).await, 401);
    assert_eq!(post(format!("{url}/wrong"), None).await, 401);
    assert_eq!(post(url.replace("suporte", "nobody"), Some(("Authorization", TOKEN.to_owned()))).await, 401);
    let events = world.all_events().await;
    assert_eq!(events.iter().filter(|event| event.r#type != "gateway.alert").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_body_is_413() {
    let world = World::start().await;
    let padding = "x".repeat(1024 * 1024);
    assert_eq!(world.post(message("t", "m", &padding)).await, 413);
    let just_fits = "x".repeat(1024 * 1024 - message("t", "m", "").len());
    assert_eq!(world.post(message("t", "m", &just_fits)).await, 200);
    assert_eq!(world.all_events().await.len(), 1);
}
