//! Mistakes in the setup, as far as webhooks and calls to Blip show them: each is counted, told in the log now and then, and becomes
//! an event `gateway.alert` once an hour for each bot and cause, so that whoever reads events hears of it. Telling
//! never holds up, nor fails, the webhook or the call that showed it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::notice::Notice;
use crate::domain::translate::Stray;
use crate::domain::{Fact, NewEvent, Origin, Payload};
use crate::lime::Identity;
use crate::shutdown::Shutdown;
use crate::store::EventLog;

/// The least time between two alerts of one bot and cause.
const ALERT_INTERVAL: Duration = Duration::from_hours(1);

/// A mistake that a webhook or a call to Blip shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mistake {
    /// Something else than the custom attendance channel posts here.
    NotFromDesk(Stray),
    /// A webhook was refused that has the right token in a header where the bot's is not looked for.
    TokenElsewhere {
        /// The header's name.
        header: String,
    },
    /// The bot's tickets belong to another bot than it is configured as.
    OtherOwner {
        /// Who they belong to.
        owner: Identity,
    },
    /// Blip refuses the bot's key, or what may be done with it.
    KeyRefused {
        /// How it said so: `http_status` or `blip_code`.
        name: &'static str,
        /// Its status or code.
        value: i64,
    },
    /// The same of the key of the router before the bot.
    RouterKeyRefused {
        /// How it said so: `http_status` or `blip_code`.
        name: &'static str,
        /// Its status or code.
        value: i64,
    },
}

/// The causes of alerts, one for each kind of mistake.
const CAUSES: [&str; 5] = [
    "NOT_FROM_DESK",
    "TOKEN_IN_OTHER_HEADER",
    "TICKET_OF_OTHER_BOT",
    "BLIP_CREDENTIAL_REJECTED",
    "ROUTER_CREDENTIAL_REJECTED",
];

impl Mistake {
    fn cause(&self) -> &'static str {
        let [not_from_desk, token, owner, key, router] = CAUSES;
        match self {
            Self::NotFromDesk(_) => not_from_desk,
            Self::TokenElsewhere { .. } => token,
            Self::OtherOwner { .. } => owner,
            Self::KeyRefused { .. } => key,
            Self::RouterKeyRefused { .. } => router,
        }
    }
}

/// Tells of mistakes.
#[derive(Debug, Clone)]
pub struct Alerts {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    log: Arc<dyn EventLog>,
    shutdown: Shutdown,
    bots: HashMap<Arc<str>, Bot>,
}

/// What is kept of one bot.
#[derive(Debug)]
struct Bot {
    /// Its identity, as configured.
    identity: Identity,
    causes: HashMap<&'static str, Cause>,
}

/// What is kept of one cause at one bot.
#[derive(Debug)]
struct Cause {
    seen: Counter,
    line: Notice,
    /// When the next alert is due; `None` before the first.
    due: Mutex<Option<Instant>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    bot: String,
    reason: &'static str,
}

impl Alerts {
    /// Tells `log` of the mistakes in the setup of `bots`, each with its configured identity; adds
    /// `setup_mistakes_total` to `registry`.
    pub fn new(
        log: Arc<dyn EventLog>,
        bots: impl IntoIterator<Item = (Arc<str>, Identity)>,
        shutdown: Shutdown,
        registry: &mut Registry,
    ) -> Self {
        let mistakes = Family::<Labels, Counter>::default();
        registry.register(
            "setup_mistakes",
            "Webhooks and calls to Blip that show a mistake in the setup, by bot and reason",
            mistakes.clone(),
        );
        let bots = bots.into_iter().map(|(bot, identity)| {
            let cause = |reason| {
                let seen = mistakes.get_or_create_owned(&Labels { bot: bot.as_ref().to_owned(), reason });
                (reason, Cause { seen, line: Notice::default(), due: Mutex::default() })
            };
            let causes = CAUSES.into_iter().map(cause).collect();
            (bot, Bot { identity, causes })
        });
        Self { shared: Arc::new(Shared { log, shutdown, bots: bots.collect() }) }
    }

    /// The mistake in a ticket's owner, if it is one.
    pub(super) fn other_owner(&self, bot: &str, owner: &str) -> Option<Mistake> {
        let configured = &self.shared.bots.get(bot)?.identity;
        let owner = Identity::named(owner).filter(|owner| owner != configured)?;
        Some(Mistake::OtherOwner { owner })
    }

    /// Counts a mistake, and tells of it where it is time to. Returns at once.
    pub fn tell(&self, bot: &Arc<str>, mistake: &Mistake) {
        let Some(known) = self.shared.bots.get(bot) else { return };
        let Some(cause) = known.causes.get(mistake.cause()) else { return };
        cause.seen.inc();
        let (line, due) = (cause.line.permit(), cause.take());
        if line.is_none() && !due {
            return;
        }
        let (description, details) = words(mistake, bot, &known.identity);
        if let Some(suppressed) = line {
            tracing::warn!(%bot, reason = mistake.cause(), suppressed, "{description}");
        }
        if !due {
            return;
        }
        let alert = alert(Arc::clone(bot), mistake.cause(), description, details);
        let (shared, bot, reason) = (Arc::clone(&self.shared), Arc::clone(bot), mistake.cause());
        drop(self.shared.shutdown.spawn(async move {
            if let Err(error) = shared.log.append(vec![alert]).await {
                tracing::warn!(%bot, reason, %error, "an alert could not be stored");
                if let Some(cause) = shared.bots.get(&bot).and_then(|bot| bot.causes.get(reason)) {
                    cause.give_back();
                }
            }
        }));
    }
}

/// An event that tells of something, of a bot or, where that is empty, of none.
pub(super) fn alert(
    bot: Arc<str>,
    reason: &str,
    description: String,
    details: Map<String, Value>,
) -> NewEvent {
    NewEvent {
        bot,
        ticket_id: None,
        dedup: None,
        origin: Origin::Gateway,
        event_time: None,
        blip_id: String::new(),
        traceparent: String::new(),
        resolved_customer_identity: String::new(),
        order_uncertain: false,
        fact: Fact::Told(Payload::GatewayAlert { reason: reason.to_owned(), description, details }),
        raw: Bytes::new(),
    }
}

impl Cause {
    /// Whether an alert is due; the next one is then an hour away.
    fn take(&self) -> bool {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let free = due.is_none_or(|due| now >= due);
        if free {
            *due = now.checked_add(ALERT_INTERVAL);
        }
        free
    }

    /// The alert came to nothing: the next mistake tries again.
    fn give_back(&self) {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What is wrong and what to do, for people, and the details, for programs. No token, no customer.
fn words(mistake: &Mistake, bot: &str, configured: &Identity) -> (String, Map<String, Value>) {
    let (description, details) = match mistake {
        Mistake::NotFromDesk(stray) => {
            let (what, guess) = match stray {
                Stray::Message => (
                    "a webhook",
                    "is a data webhook (Integrations > Webhook) or the bot's own message URL pointed at the gateway?",
                ),
                Stray::Event => ("an event of a data webhook", "it is sent by Integrations > Webhook."),
                Stray::Contact => ("a contact of a data webhook", "it is sent by Integrations > Webhook."),
            };
            let text = format!(
                "{what} did not come from a desk ticket and is kept as `unknown`: {guess} Only the custom attendance \
                 channel belongs here: take the gateway's URL out of the other place"
            );
            (text, vec![("kind", stray.name().to_owned())])
        }
        Mistake::TokenElsewhere { header } => {
            let text = format!(
                "webhook refused, denied: its key is in the header {header}, where that of the bot {bot} is not \
                 looked for. Add \"{header}\" to webhook_header of [[bots]] {bot}"
            );
            (text, vec![("header", header.clone())])
        }
        Mistake::OtherOwner { owner } => {
            let text = format!(
                "tickets of {owner} come to the webhook of the bot {bot}, which is configured as {configured}: set \
                 identity, url and key of [[bots]] {bot} to those of the bot that owns the desk, or give {owner} a \
                 [[bots]] and a webhook URL of its own"
            );
            let (owner, configured) = (owner.to_string(), configured.to_string());
            (text, vec![("owner_identity", owner), ("configured_identity", configured)])
        }
        Mistake::KeyRefused { name, value } => {
            let said = if *name == "http_status" { "HTTP" } else { "code" };
            let text = format!(
                "Blip refuses the key of the bot {bot} ({said} {value}): commands fail until it is right. Put the key \
                 of {configured}, the bot that owns the desk, where key_env or key_file of [[bots]] {bot} looks for it"
            );
            (text, vec![(*name, value.to_string())])
        }
        Mistake::RouterKeyRefused { name, value } => {
            let said = if *name == "http_status" { "HTTP" } else { "code" };
            let text = format!(
                "Blip refuses the key of the router before the bot {bot} ({said} {value}): who is behind it, and their \
                 contacts, may not be told. Put the router's key where router_key_env or router_key_file of [[bots]] \
                 {bot} looks for it"
            );
            (text, vec![(*name, value.to_string())])
        }
    };
    (description, details.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{SequentialIds, SystemClock};
    use crate::domain::{Event, Seq};
    use crate::store::memory::MemoryLog;

    struct World {
        log: Arc<MemoryLog>,
        shutdown: Shutdown,
        alerts: Alerts,
        registry: Registry,
    }

    fn world() -> World {
        let week = Duration::from_hours(168);
        let log =
            Arc::new(MemoryLog::new(week, week, Arc::new(SystemClock), Arc::new(SequentialIds::default())));
        let (shutdown, mut registry) = (Shutdown::new(), Registry::default());
        let bots = ["suporte", "vendas"].map(|bot| (bot.into(), Identity::new(bot, "msging.net")));
        let alerts = Alerts::new(log.clone(), bots, shutdown.clone(), &mut registry);
        World { log, shutdown, alerts, registry }
    }

    impl World {
        /// Every alert so far, once those under way are stored.
        async fn told(&self) -> Vec<Event> {
            self.shutdown.drained().await;
            let events = self.log.read(Seq(0), 100).await.unwrap();
            events.iter().map(|stored| stored.event.clone()).collect()
        }

        fn tell(&self, bot: &str, mistake: &Mistake) {
            self.alerts.tell(&Arc::from(bot), mistake);
        }
    }

    fn elsewhere() -> Mistake {
        Mistake::TokenElsewhere { header: "x-other".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_alert_comes_once_an_hour_for_each_bot_and_cause() {
        let world = world();
        for _ in 0..100 {
            for stray in [Stray::Message, Stray::Event, Stray::Contact] {
                world.tell("suporte", &Mistake::NotFromDesk(stray));
            }
        }
        world.tell("suporte", &elsewhere());
        world.tell("vendas", &elsewhere());
        world.tell("nobody", &elsewhere());
        assert_eq!(world.told().await.len(), 3);
        tokio::time::advance(Duration::from_mins(59)).await;
        world.tell("suporte", &elsewhere());
        assert_eq!(world.told().await.len(), 3);
        tokio::time::advance(Duration::from_mins(1)).await;
        for _ in 0..2 {
            world.tell("suporte", &elsewhere());
        }
        assert_eq!(world.told().await.len(), 4);
        let mut metrics = String::new();
        prometheus_client::encoding::text::encode(&mut metrics, &world.registry).unwrap();
        let counted = |bot: &str, reason: &str, count: u32| {
            let line = format!("setup_mistakes_total{{bot=\"{bot}\",reason=\"{reason}\"}} {count}\n");
            assert!(metrics.contains(&line), "{line}{metrics}");
        };
        counted("suporte", "NOT_FROM_DESK", 300);
        counted("suporte", "TOKEN_IN_OTHER_HEADER", 4);
        counted("vendas", "TICKET_OF_OTHER_BOT", 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_alert_says_what_is_wrong_and_what_to_do() {
        let world = world();
        world.tell("suporte", &elsewhere());
        let owner = world.alerts.other_owner("suporte", "Vendas@msging.net/x").unwrap();
        world.tell("suporte", &owner);
        world.tell("suporte", &Mistake::KeyRefused { name: "blip_code", value: 31 });
        let told = world.told().await;
        let [token, owner, key] = told.as_slice() else { panic!("{told:?}") };
        for event in [token, owner, key] {
            assert_eq!(
                (event.origin, event.ticket_id.as_str(), event.ticket_sequence),
                (Origin::Gateway, "", 0)
            );
            assert_eq!((event.blip_id.as_str(), event.flags.synthetic_id), ("", false));
        }
        let Payload::GatewayAlert { reason, description, details } = &token.payload else {
            panic!("{token:?}")
        };
        assert_eq!((reason.as_str(), &details["header"]), ("TOKEN_IN_OTHER_HEADER", &Value::from("x-other")));
        assert!(
            description.contains("Add \"x-other\" to webhook_header of [[bots]] suporte"),
            "{description}"
        );
        let Payload::GatewayAlert { reason, description, details } = &owner.payload else {
            panic!("{owner:?}")
        };
        assert_eq!(
            (reason.as_str(), &details["owner_identity"]),
            ("TICKET_OF_OTHER_BOT", &"Vendas@msging.net".into())
        );
        assert_eq!(details["configured_identity"], "suporte@msging.net");
        assert!(description.contains("[[bots]] suporte"), "{description}");
        let Payload::GatewayAlert { reason, description, details } = &key.payload else { panic!("{key:?}") };
        assert_eq!((reason.as_str(), &details["blip_code"]), ("BLIP_CREDENTIAL_REJECTED", &"31".into()));
        assert!(description.contains("(code 31)") && description.contains("key_env"), "{description}");
    }

    #[test]
    fn the_owner_is_compared_as_identities_are() {
        let alerts = world().alerts;
        for owner in ["suporte@msging.net", "SUPORTE@MSGING.NET", "suporte@msging.net/x", "", " "] {
            assert_eq!(alerts.other_owner("suporte", owner), None, "{owner}");
        }
        assert!(alerts.other_owner("suporte", "vendas@msging.net").is_some());
        assert_eq!(alerts.other_owner("nobody", "vendas@msging.net"), None);
    }
}
