//! Webhook → event: reads the envelope, translates it, and returns once the log has it on disk. Content is
//! never refused: what cannot be read goes to quarantine by the same path.

use std::sync::Arc;

use bytes::Bytes;

use super::alerts::{Alerts, Mistake};
use super::notice::Notice;
use super::reconcile::Reconcilers;
use crate::domain::translate::{Suspicion, Translated, event_of};
use crate::lime::Envelope;
use crate::store::{AppendError, Appended, EventLog, Quarantined};

/// A webhook whose sender was admitted.
#[derive(Debug, Clone)]
pub struct Received {
    /// The bot's short name.
    pub bot: Arc<str>,
    /// The exact body.
    pub body: Bytes,
    /// W3C trace context; empty without one.
    pub traceparent: String,
}

/// What became of a webhook, once it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is an event of this type.
    Event(&'static str),
    /// It was in the log already.
    Duplicate,
    /// It could not be read, and is kept for a person.
    Quarantined,
}

/// The way in.
#[derive(Debug, Clone)]
pub struct Ingest {
    log: Arc<dyn EventLog>,
    alerts: Alerts,
    ids_differ: Arc<Notice>,
    unreadable: Arc<Notice>,
    /// Told of what could not be stored, to be read back.
    reconcilers: Option<Reconcilers>,
}

impl Ingest {
    /// Ingest into `log`; mistakes in the setup are told by `alerts`.
    pub fn new(log: Arc<dyn EventLog>, alerts: Alerts) -> Self {
        Self { log, alerts, ids_differ: Arc::default(), unreadable: Arc::default(), reconcilers: None }
    }

    /// The same, that has what it could not store read back.
    #[must_use]
    pub fn with_reconcilers(self, reconcilers: Reconcilers) -> Self {
        Self { reconcilers: Some(reconcilers), ..self }
    }

    /// What tells of mistakes in the setup.
    pub fn alerts(&self) -> &Alerts {
        &self.alerts
    }

    /// Makes one webhook durable. An error means Blip must hear 503: nothing is known to be stored, and a
    /// repetition is harmless.
    pub async fn accept(&self, received: Received) -> Result<Accepted, AppendError> {
        let bot = Arc::clone(&received.bot);
        let accepted = self.store(received).await;
        if let (Err(_), Some(reconcilers)) = (&accepted, &self.reconcilers) {
            reconcilers.troubled(&bot);
        }
        accepted
    }

    async fn store(&self, received: Received) -> Result<Accepted, AppendError> {
        let Received { bot, body, traceparent } = received;
        let envelope = match Envelope::from_json(&body) {
            Ok(envelope) => envelope,
            Err(unreadable) => {
                let reason = unreadable.to_string();
                if let Some(suppressed) = self.unreadable.permit() {
                    tracing::warn!(
                        %bot,
                        bytes = body.len(),
                        %reason,
                        suppressed,
                        "webhook body could not be read: kept in quarantine"
                    );
                }
                self.log.quarantine(Quarantined { bot, reason, raw: body }).await?;
                return Ok(Accepted::Quarantined);
            }
        };
        let Translated { event, suspicion, owner_identity } =
            event_of(Arc::clone(&bot), envelope, body, traceparent);
        if suspicion == Some(Suspicion::TicketIdsDiffer)
            && let Some(suppressed) = self.ids_differ.permit()
        {
            tracing::warn!(
                %bot,
                ticket.id = event.ticket_id.as_deref().unwrap_or_default(),
                suppressed,
                "the ids in a ticket envelope differ; the document's own was taken"
            );
        }
        let appended = self.log.append(vec![event]).await?;
        // Only now, so that an alert follows what it speaks of.
        if let Some(Suspicion::NotFromDesk(stray)) = suspicion {
            self.alerts.tell(&bot, &Mistake::NotFromDesk(stray));
        }
        if let Some(mistake) = self.alerts.other_owner(&bot, &owner_identity) {
            self.alerts.tell(&bot, &mistake);
        }
        match appended.first() {
            Some(Appended::At(stored)) => Ok(Accepted::Event(stored.event.payload.type_name())),
            Some(Appended::Duplicate(_)) => Ok(Accepted::Duplicate),
            None => Err(AppendError::Unknown("the store answered nothing for an event".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::registry::Registry;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::clock::{SequentialIds, SystemClock};
    use crate::domain::{Payload, Seq};
    use crate::lime::Identity;
    use crate::shutdown::Shutdown;
    use crate::store::memory::MemoryLog;

    struct World {
        log: Arc<MemoryLog>,
        ingest: Ingest,
        shutdown: Shutdown,
    }

    fn world() -> World {
        let week = Duration::from_hours(168);
        let log =
            Arc::new(MemoryLog::new(week, week, Arc::new(SystemClock), Arc::new(SequentialIds::default())));
        let shutdown = Shutdown::new();
        let bots = [("suporte".into(), Identity::new("demobot", "msging.net"))];
        let alerts = Alerts::new(log.clone(), bots, shutdown.clone(), &mut Registry::default());
        World { ingest: Ingest::new(log.clone(), alerts), log, shutdown }
    }

    impl World {
        async fn post(&self, body: &Value) -> Accepted {
            let body = Bytes::from(body.to_string());
            self.ingest
                .accept(Received { bot: "suporte".into(), body, traceparent: String::new() })
                .await
                .unwrap()
        }

        /// The types of the events, and the reasons of the alerts.
        async fn log(&self) -> (Vec<&'static str>, Vec<String>) {
            self.shutdown.drained().await;
            let (mut types, mut alerts) = (Vec::new(), Vec::new());
            for stored in self.log.read(Seq(0), 1_000).await.unwrap() {
                if let Payload::GatewayAlert { reason, .. } = &stored.event.payload {
                    alerts.push(reason.clone());
                } else {
                    types.push(stored.event.payload.type_name());
                }
            }
            (types, alerts)
        }
    }

    fn ticket(members: &Value) -> Value {
        let mut content = json!({"id": "t", "status": "Waiting", "ownerIdentity": "DemoBot@msging.net"});
        content.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        json!({"type": "application/vnd.iris.ticket+json", "from": "t@desk.msging.net/Webhook", "content": content})
    }

    #[tokio::test]
    async fn bodies_of_a_data_webhook_are_kept_and_told() {
        for body in [
            json!({"type": "text/plain", "content": "aloooo", "id": "b2", "from": "4f.demobot@0mn.io/default"}),
            json!({"ownerIdentity": "demobot@msging.net", "category": "atendimento", "action": "transbordo"}),
            json!({"identity": "5531@wa.gw.msging.net", "lastMessageDate": "2025-02-10T12:00:00.120Z"}),
            json!({"type": "application/vnd.iris.ticket+json", "content": {"id": "t", "status": "Waiting",
                   "ownerIdentity": "other@msging.net"}, "from": "5531@wa.gw.msging.net"}),
            json!({"method": "get", "uri": "/x", "from": "someone@msging.net"}),
        ] {
            let world = world();
            assert_eq!(world.post(&body).await, Accepted::Event("unknown"), "{body}");
            let alerts = vec!["NOT_FROM_DESK".to_owned()];
            assert_eq!(world.log().await, (vec!["unknown"], alerts), "{body}");
        }
    }

    #[tokio::test]
    async fn what_is_right_and_what_is_a_trial_raises_no_alert() {
        let world = world();
        for body in [
            json!({}),
            json!({"test": true}),
            json!({"type": "text/plain", "content": "oi", "from": "t@desk.msging.net"}),
            json!({"event": "received", "id": "x", "from": "5531@wa.gw.msging.net"}),
            json!({"category": "x", "from": "t@desk.msging.net"}),
            ticket(&json!({})),
            ticket(&json!({"routingOwnerIdentity": "demorouter@msging.net"})),
            ticket(&json!({"ownerIdentity": null})),
            ticket(&json!({"ownerIdentity": {"odd": 1}})),
        ] {
            world.post(&body).await;
        }
        let (types, alerts) = world.log().await;
        assert_eq!((types.len(), alerts), (9, Vec::new()));
    }

    #[tokio::test]
    async fn tickets_of_another_bot_are_kept_and_told_once() {
        let world = world();
        for status in ["Waiting", "Open", "ClosedClient"] {
            let body = ticket(&json!({"ownerIdentity": "demorouter@msging.net", "status": status}));
            world.post(&body).await;
        }
        let types = vec!["ticket.created", "ticket.assigned", "ticket.closed"];
        assert_eq!(world.log().await, (types, vec!["TICKET_OF_OTHER_BOT".to_owned()]));
    }

    /// Any JSON, of modest size and depth.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            Just(json!("application/vnd.iris.ticket+json")),
            Just(json!("t@desk.msging.net/Webhook")),
            Just(json!("Transferred")),
        ];
        leaf.prop_recursive(3, 24, 5, |inner| {
            let name = prop_oneof![
                "[a-z]{0,6}",
                "[$]serde_json::private::Number",
                proptest::sample::select(NAMES.to_vec()).prop_map(str::to_owned)
            ];
            let members = proptest::collection::btree_map(name, inner.clone(), 0..6);
            prop_oneof![
                proptest::collection::vec(inner, 0..4).prop_map(Value::from),
                members.prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    const NAMES: [&str; 16] = [
        "id",
        "from",
        "to",
        "type",
        "content",
        "event",
        "reason",
        "metadata",
        "context",
        "value",
        "status",
        "sequentialId",
        "parentSequentialId",
        "category",
        "lastMessageDate",
        "ownerIdentity",
    ];

    fn any_object() -> impl Strategy<Value = Map<String, Value>> {
        let name = prop_oneof![
            4 => proptest::sample::select(NAMES.to_vec()).prop_map(str::to_owned),
            1 => ".{0,8}",
        ];
        let typical = prop_oneof![Just(json!({})), Just(ticket(&json!({}))), Just(ticket(&json!({"id": 7})))];
        (typical, proptest::collection::btree_map(name, any_json(), 0..7)).prop_map(|(typical, members)| {
            let mut object = typical.as_object().cloned().unwrap_or_default();
            object.extend(members);
            object
        })
    }

    proptest! {
        #[test]
        fn any_object_is_exactly_one_event(object in any_object()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let (accepted, types) = runtime.block_on(async {
                let world = world();
                let accepted = world.post(&Value::Object(object)).await;
                (accepted, world.log().await.0)
            });
            prop_assert_eq!(types.len(), 1);
            prop_assert_eq!(accepted, Accepted::Event(types[0]));
        }
    }
}
