//! Media: uploaded, linked, fetched, expired.

use serde_json::{Value, json};

use crate::sandbox::tests::world::World;

async fn fetch(
    world: &World,
    uri: &str,
    key: Option<&str>,
) -> Result<(u16, String, Vec<u8>), reqwest::Error> {
    let mut request = world.client.get(uri);
    if let Some(key) = key {
        request = request.header("authorization", format!("Key {key}"));
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    Ok((status, kind.unwrap_or_default(), response.bytes().await?.to_vec()))
}

async fn file(world: &World, of: &Value) -> Value {
    world.lever("POST", "/media", of).await["content"].clone()
}

fn uri(content: &Value) -> &str {
    content["uri"].as_str().unwrap()
}

#[tokio::test]
async fn an_upload_is_taken_and_served() {
    let world = World::start().await;
    for (secure, path) in [("?secure=true", "/secure-medias/"), ("", "/medias/")] {
        let promised = world
            .command("media.msging.net", "get", &format!("/upload-media-uri{secure}"), &Value::Null)
            .await;
        let link = promised["resource"].as_str().unwrap();
        assert!(link.starts_with(&format!("http://{}/upload/", world.address)), "{link}");
        let forged = link.replace("sig=", "sig=0");
        let refused = world.client.put(forged).body("x").send().await.unwrap();
        assert_eq!(refused.status(), 403);
        let request = world.client.post(link).header("content-type", "image/png");
        let taken = request.body(vec![7; 3_000_000]).send().await.unwrap();
        assert_eq!(taken.status(), 201);
        let taken: Value = serde_json::from_str(&taken.text().await.unwrap()).unwrap();
        let media = taken["mediaUri"].as_str().unwrap();
        assert!(media.contains(path), "{media}");
        let (status, kind, bytes) = fetch(&world, media, None).await.unwrap();
        assert_eq!((status, kind.as_str(), bytes.len()), (200, "image/png", 3_000_000));
    }
    world.stop().await;
}

#[tokio::test]
async fn an_expired_link_is_refused_until_it_is_refreshed() {
    let world = World::start().await;
    let content =
        file(&world, &json!({"text": "oi", "guard": "signed", "expired": true, "title": "oi.txt"})).await;
    assert_eq!((&content["size"], &content["title"]), (&json!(2), &json!("oi.txt")));
    assert_eq!(fetch(&world, uri(&content), None).await.unwrap().0, 403);
    let refreshed =
        world.command("media.msging.net", "set", "/refresh-media-uri", &content["uri"]).await["resource"]
            .clone();
    let (status, kind, bytes) = fetch(&world, refreshed.as_str().unwrap(), None).await.unwrap();
    assert_eq!((status, kind.as_str(), bytes.as_slice()), (200, "text/plain", &b"oi"[..]));
    let moved = refreshed.as_str().unwrap().replace("sig=", "sig=0");
    assert_eq!(fetch(&world, &moved, None).await.unwrap().0, 403);
    let gone = format!("http://{}/secure-medias/Media_nobody", world.address);
    let failed = world.command("media.msging.net", "set", "/refresh-media-uri", &json!(gone)).await;
    assert_eq!(failed["reason"]["code"], 67);
    let foreign = json!("https://blipmediastore.blob.core.windows.net/secure-medias/Media_1?sig=old");
    let elsewhere = world.command("media.msging.net", "set", "/refresh-media-uri", &foreign).await;
    assert_ne!(elsewhere["resource"], foreign);
    world.stop().await;
}

#[tokio::test]
async fn some_files_want_the_bots_key() {
    let world = World::start().await;
    let content = file(&world, &json!({"base64": "AAEC", "type": "audio/ogg", "guard": "keyed"})).await;
    assert_eq!(content["authorizationRealm"], "blip");
    assert_eq!(fetch(&world, uri(&content), None).await.unwrap().0, 401);
    assert_eq!(fetch(&world, uri(&content), Some("other")).await.unwrap().0, 401);
    let (status, kind, bytes) = fetch(&world, uri(&content), Some("secret")).await.unwrap();
    assert_eq!((status, kind.as_str(), bytes), (200, "audio/ogg", vec![0, 1, 2]));
    let state = world.lever("GET", "/state", &Value::Null).await;
    let asked = state["file_requests"].as_array().unwrap().iter();
    let keys: Vec<_> =
        asked.map(|request| (request["by"].clone(), request["has_authorization"].clone())).collect();
    let nobody = Value::Null;
    assert_eq!(keys, [(nobody.clone(), json!(false)), (nobody, json!(true)), (json!("desk"), json!(true))]);
    world.stop().await;
}

#[tokio::test]
async fn fetching_goes_wrong_on_demand() {
    let world = World::start().await;
    let content = file(&world, &json!({"size": 100_000, "type": "video/mp4"})).await;
    world
        .control("/faults", &json!({"on": "media", "kind": "redirect", "location": "http://10.0.0.1/"}))
        .await;
    let (status, ..) = fetch(&world, uri(&content), None).await.unwrap();
    assert_eq!(status, 302);
    world.control("/faults", &json!({"on": "media", "kind": "status", "code": 503})).await;
    assert_eq!(fetch(&world, uri(&content), None).await.unwrap().0, 503);
    for kind in ["drop_before", "drop_after"] {
        world.control("/faults", &json!({"on": "media", "kind": kind})).await;
        let error = fetch(&world, uri(&content), None).await.unwrap_err();
        assert_eq!(error.is_request(), kind == "drop_before", "{kind}: {error:?}");
    }
    assert_eq!(fetch(&world, uri(&content), None).await.unwrap().2.len(), 100_000);
    let refused = json!({"on": "media", "kind": "failure"});
    assert_eq!(world.call("POST", "/faults", &refused).await.0, 400);
    world.stop().await;
}
