//! What the edge says for calls that do not say it themselves, in paused time.

use std::convert::Infallible;
use std::future::pending;

use prometheus_client::registry::Registry;
use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::clock::SequentialIds;

/// What a call hears at a stop: of our own method `method`, whose answer is what `answer` says.
async fn heard<A>(method: &str, answer: A) -> String
where
    A: Future<Output = http::Response<Body>> + Send + 'static,
{
    let (metrics, shutdown) = (Metrics::register(&mut Registry::default()), Shutdown::new());
    let ids: Arc<dyn Ids> = Arc::new(SequentialIds::default());
    let edge = Edge { ids, metrics, shutdown: shutdown.clone(), calls: TaskTracker::new() };
    let answer = std::sync::Mutex::new(Some(answer));
    let inner = service_fn(|_: http::Request<Body>| {
        let answer = answer.lock().unwrap().take().unwrap();
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let request = http::Request::get(format!("/deskgate.v1.{method}")).body(Body::empty()).unwrap();
    let call = edge.layer(inner).oneshot(request);
    let stop = async {
        shutdown.soft().cancel();
        shutdown.parting().cancel();
    };
    let (response, ()) = tokio::join!(call, stop);
    let status = response.unwrap().extensions().get::<Status>().cloned();
    status.map(|status| status::reason_of(&status)).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn of_what_changes_something_nobody_hears_that_nothing_was_done() {
    for (method, reason) in [
        ("TicketService/Close", "OUTCOME_UNKNOWN"),
        ("TicketService/Send", "OUTCOME_UNKNOWN"),
        ("TicketService/Create", "OUTCOME_UNKNOWN"),
        ("TicketService/GetTicket", "STREAM_DRAINING"),
        ("TicketService/SetTyping", "STREAM_DRAINING"),
        ("DirectoryService/ListAgents", "STREAM_DRAINING"),
    ] {
        assert_eq!(heard(method, pending()).await, reason, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_there_is_given() {
    for _ in 0..20 {
        let answer = async {
            tokio::time::sleep(LAST_WORD).await;
            http::Response::new(Body::empty())
        };
        assert_eq!(heard("TicketService/Close", answer).await, "");
    }
}
