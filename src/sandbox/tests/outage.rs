//! The Desk off and on again, and webhooks that fare badly.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::sandbox::block::{Block, Blocking};
use crate::sandbox::faults::Kind;
use crate::sandbox::tests::world::{World, assign};
use crate::sandbox::weather::Weather;

#[tokio::test]
async fn while_the_desk_is_off_connections_are_refused_and_old_ones_reset() {
    let world = World::start().await;
    let (_, ticket) = world.open().await;
    let mut idle = TcpStream::connect(world.address).await.unwrap();
    idle.write_all(b"GET /settings HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut buffer = [0; 1_024];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    for round in ["a1", "a2"] {
        assert_eq!(world.lever("PUT", "/power", &json!({"on": false})).await["as"], "refuse");
        let refused = TcpStream::connect(world.address).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let error = world.blip("/commands", &assign(round, &ticket)).await.unwrap_err();
        assert!(error.is_connect(), "{error:?}");
        assert_eq!(world.lever("GET", "/state", &json!({})).await["power"]["on"], false);
        assert_eq!(world.lever("PUT", "/power", &json!({"on": true})).await["on"], true);
        assert_eq!(world.blip("/commands", &assign(round, &ticket)).await.unwrap().0, 200);
    }
    let cut = loop {
        match idle.read(&mut buffer).await {
            Ok(0) => panic!("closed politely"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(cut.kind(), ErrorKind::ConnectionReset);
    let effects = world.lever("GET", "/effects", &json!({})).await;
    assert_eq!(
        (&effects["by_id"]["a1"]["requests"], &effects["by_id"]["a1"]["applied"]),
        (&json!(1), &json!(1))
    );
    world.stop().await;
}

#[tokio::test]
async fn an_outage_may_also_reset_hang_or_say_503() {
    let world = World::start().await;
    let (_, ticket) = world.open().await;
    world.lever("PUT", "/power", &json!({"on": false, "as": "unavailable"})).await;
    assert_eq!(world.blip("/commands", &assign("a", &ticket)).await.unwrap().0, 503);
    world.lever("PUT", "/power", &json!({"on": false, "as": "reset"})).await;
    let error = world.blip("/commands", &assign("a", &ticket)).await.unwrap_err();
    assert!(error.is_request() && !error.is_connect(), "{error:?}");
    world.lever("PUT", "/power", &json!({"on": false, "as": "hang"})).await;
    let envelope = assign("a", &ticket);
    let mut hanging = Box::pin(world.blip("/commands", &envelope));
    let (on, nothing) = (json!({"on": true}), json!({}));
    tokio::select! {
        biased;
        answer = &mut hanging => panic!("{answer:?}"),
        _ = world.lever("GET", "/power", &nothing) => {}
    }
    let (answer, _) = tokio::join!(hanging, world.lever("PUT", "/power", &on));
    assert!(answer.is_err());
    assert_eq!(world.lever("GET", "/effects/a", &json!({})).await["requests"], 0);
    assert_eq!(world.blip("/commands", &assign("a", &ticket)).await.unwrap().0, 200);
    world.stop().await;
}

#[test]
fn the_weather_is_the_same_for_the_same_seed_and_keeps_its_shares() {
    let weather = |seed| Weather { lose: 0.2, duplicate: 0.1, reorder: 0.1, seed, ..Weather::default() };
    let fates = |seed: u64| -> Vec<Option<Kind>> {
        (0..10_000).map(|number| weather(seed).strikes(format!("{number}").as_bytes(), false)).collect()
    };
    assert_eq!(fates(7), fates(7));
    assert_ne!(fates(7), fates(8));
    let count = |kind: &Kind| fates(7).iter().filter(|fate| fate.as_ref() == Some(kind)).count();
    assert!((1_800..2_200).contains(&count(&Kind::Lose)), "{}", count(&Kind::Lose));
    assert!((850..1_150).contains(&count(&Kind::Duplicate)), "{}", count(&Kind::Duplicate));
    assert!(Weather { lose: 0.6, delay: 0.6, ..Weather::default() }.check().is_err());
    assert!(Weather { lose: -0.1, ..Weather::default() }.check().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_block_begins_with_failures_in_a_row_and_ends_by_itself() {
    let blocking = Blocking { after_failures: 3, ms: 1_000 };
    let mut block = Block::default();
    for delivered in [false, false, true, false, false] {
        block.heard(Some(&blocking), delivered, Instant::now());
    }
    assert!(!block.is_on(Instant::now()));
    block.heard(Some(&blocking), false, Instant::now());
    assert!(block.is_on(Instant::now()));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!block.is_on(Instant::now()));
}

#[tokio::test]
async fn a_blocked_url_hears_nothing_until_it_is_set_again() {
    let world = World::start().await;
    let (customer, _) = world.open().await;
    let say = format!("/customers/{customer}/messages");
    world.lever("PUT", "/settings", &json!({"blocking": {"after_failures": 2}})).await;
    let target = json!({"url": "http://127.0.0.1:9/webhooks/nobody"});
    world.lever("PUT", "/webhook", &target).await;
    let mut fates = Vec::new();
    for _ in 0..3 {
        let said = world.control(&say, &json!({"text": "oi"})).await;
        fates.push(said["delivery"]["status"].clone());
    }
    assert_eq!(fates, ["failed", "failed", "blocked"]);
    world.lever("PUT", "/webhook", &target).await;
    let said = world.control(&say, &json!({"text": "oi"})).await;
    assert_eq!(said["delivery"]["status"], "failed");
    world.lever("PUT", "/block", &json!({"ms": 60_000})).await;
    let said = world.control(&say, &json!({"text": "oi"})).await;
    assert_eq!(said["delivery"]["status"], "blocked");
    let totals = &world.lever("GET", "/state", &json!({})).await["delivery_totals"];
    assert_eq!(totals, &json!({"delivered": 1, "failed": 3, "blocked": 2}));
    world.stop().await;
}

#[tokio::test]
async fn bad_weather_loses_a_share_of_the_webhooks() {
    let world = World::start().await;
    let (customer, _) = world.open().await;
    let weather = json!({"weather": {"lose": 0.5, "duplicate": 0.2, "seed": 3}});
    world.lever("PUT", "/settings", &weather).await;
    let mut lost = 0;
    for number in 0..40 {
        let saying = json!({"text": "oi", "id": format!("m{number}")});
        let said = world.control(&format!("/customers/{customer}/messages"), &saying).await;
        lost += u64::from(said["delivery"]["status"] == "lost");
    }
    assert!((10..=30).contains(&lost), "{lost}");
    let (status, error) = world.call("PUT", "/settings", &json!({"weather": {"lose": 2.0}})).await;
    assert_eq!((status, error["error"].is_string()), (400, true));
    let state = world.lever("GET", "/state", &json!({})).await;
    let lost_twice = state["delivery_totals"]["lost"].as_u64();
    assert_eq!(lost_twice, Some(lost));
    assert_eq!(world.lever("GET", "/settings", &Value::Null).await["weather"]["lose"], 0.5);
    world.stop().await;
}
