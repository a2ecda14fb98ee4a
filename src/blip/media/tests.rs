//! Names that lead inside, by a lookup of the tests' own. What real hosts see is in `tests/it/media.rs`.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;

use super::*;

fn leads_to(addresses: &'static [&'static str]) -> (Lookup, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let lookup: Lookup = Arc::new(move |_name| {
        counter.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(addresses.iter().map(|address| address.parse().unwrap()).collect()) })
    });
    (lookup, count)
}

fn resolve(lookup: Lookup, name: &str) -> Resolving {
    Checked(lookup).resolve(name.parse().unwrap())
}

#[tokio::test]
async fn a_name_is_resolved_once_and_what_was_checked_is_what_is_used() {
    let (lookup, count) = leads_to(&["20.150.0.1", "2603:1030::1"]);
    let found: Vec<_> =
        resolve(lookup, "media.msging.net").await.unwrap().map(|found| found.ip().to_string()).collect();
    assert_eq!(
        (found, count.load(Ordering::Relaxed)),
        (vec!["20.150.0.1".to_owned(), "2603:1030::1".to_owned()], 1)
    );
    for inside in [
        &["127.0.0.1"][..],
        &["20.150.0.1", "10.0.0.1"],
        &["::1"],
        &["169.254.169.254"],
        &["::ffff:192.168.0.1"],
    ] {
        let error = resolve(leads_to(inside).0, "media.msging.net").await.err().unwrap();
        assert!(error.is::<Inside>(), "{inside:?}");
    }
    assert!(resolve(leads_to(&["127.0.0.1"]).0, "localhost").await.is_ok());
    assert!(resolve(leads_to(&["10.0.0.1"]).0, "localhost").await.is_err());
}

#[tokio::test]
async fn a_listed_name_that_leads_inside_is_not_connected_to() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hosts = vec![HostPattern::parse(&format!("media.example.com:{port}")).unwrap()];
    let rules = Arc::new(Rules { hosts, key_hosts: Vec::new() });
    let client = client_with(leads_to(&["127.0.0.1"]).0).unwrap();
    let media = HttpMedia::new(client, rules, "https://a.http.msging.net", Arc::new(|| None), 1_000);
    let uri = format!("https://media.example.com:{port}/secure?sig=s3cret");
    let deadline = Instant::now() + Duration::from_secs(20);
    let error = media.open(&uri, false, deadline).await.unwrap_err();
    let MediaError::NotAllowed(why) = &error else { panic!("{error:?}") };
    assert!(why.starts_with("media.example.com leads to an address inside"), "{why}");
    assert!(!error.to_string().contains("127.0.0.1") && !error.to_string().contains("s3cret"), "{error}");
    assert!(futures_util::poll!(Box::pin(listener.accept())).is_pending(), "nobody came");
}
