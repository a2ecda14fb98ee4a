//! What an agent's screen needs beside tickets, asked of Blip: lists, kept for a moment; customers, and who they
//! really are; links to files. All of it only reads, or may be repeated: what failed is asked again while there is time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use serde_json::Value;
use tokio::time::Instant;

use crate::blip::{self, BlipApi};
use crate::clock::Ids;
use crate::domain::translate::directory::{self as wire, List};
use crate::domain::translate::{elsewhere, refusal};
use crate::domain::{Agent, CustomReply, Customer, CustomerCard, Event, Fault, Seq, Team};
use crate::lime::{Command, Identity, ReplyStatus};
use crate::shutdown::Shutdown;
use crate::store::{EventLog, ReadError, TicketsWanted};

use super::asker::Asker;
use super::desk::{DeskError, unread};
use super::notice::Notice;

mod cache;
mod page;

pub use page::{Listed, Page};

use cache::{Asked, Cache, Kept};
use page::paged;

/// Tickets looked at, newest first, for who a customer behind a router is.
const TICKETS_MAX: usize = 16;
/// Events looked through, newest first, for who a customer behind a router is.
const LOOK_BACK_EVENTS_MAX: u64 = 4_000;
/// Events read at once.
const LOOK_BACK_PAGE: u64 = 1_000;
/// How long a question that was begun may go on when the process stops.
const DRAIN: Duration = Duration::from_secs(5);
/// What LIME's codes for "not found" are called of tickets, most of what is asked for.
const NOT_FOUND: &str = "TICKET_NOT_FOUND";

/// The directories of all bots.
#[derive(Debug, Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    log: Arc<dyn EventLog>,
    bots: BTreeMap<String, Lines>,
    ids: Arc<dyn Ids>,
    shutdown: Shutdown,
    cache: Cache,
    router_silent: Notice,
}

/// A bot's ways to Blip.
#[derive(Debug, Clone)]
pub struct Lines {
    /// With its own key.
    pub own: Arc<dyn BlipApi>,
    /// With the key of the router before it, where that is configured.
    pub router: Option<Arc<dyn BlipApi>>,
    /// Who keeps the contacts at Blip.
    pub crm: String,
}

impl Lines {
    /// The same ways on a caller's behalf.
    fn of(&self, asker: Asker<'_>) -> Self {
        let Self { own, router, crm } = self;
        let router = router.as_ref().map(|router| asker.way(router));
        Self { own: asker.way(own), router, crm: crm.clone() }
    }
}

/// Why there is no answer; the kinds are the desk's own.
pub type DirectoryError = DeskError;

impl Directory {
    /// The directories of `bots`, by short name.
    pub fn new(
        log: Arc<dyn EventLog>,
        bots: BTreeMap<String, Lines>,
        ids: Arc<dyn Ids>,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                log,
                bots,
                ids,
                shutdown,
                cache: Cache::default(),
                router_silent: Notice::default(),
            }),
        }
    }

    /// The bot that is meant: the one named, or the only one.
    pub fn bot_of(&self, bot: &str) -> Result<String, DirectoryError> {
        let known = || self.inner.bots.keys().cloned().collect::<Vec<_>>();
        if self.inner.bots.contains_key(bot) {
            return Ok(bot.to_owned());
        }
        if !bot.is_empty() {
            return Err(DeskError::BotUnknown { bot: bot.to_owned(), known: known() });
        }
        let mut candidates = known();
        match (candidates.pop(), candidates.is_empty()) {
            (Some(only), true) => Ok(only),
            (last, _) => {
                candidates.extend(last);
                Err(DeskError::BotNeeded { candidates })
            }
        }
    }

    /// A page of the people.
    pub async fn agents(&self, asker: Asker<'_>, page: Page) -> Result<Listed<Agent>, DirectoryError> {
        let listed = self.list(asker, List::Agents, page).await?;
        Ok(paged(&listed, page, wire::agents_of))
    }

    /// All teams.
    pub async fn teams(&self, asker: Asker<'_>) -> Result<Listed<Team>, DirectoryError> {
        let (named, online) = futures_util::try_join!(
            self.list(asker, List::Teams, Page::FIRST),
            self.list(asker, List::TeamsOnline, Page::FIRST),
        )?;
        let items = wire::teams_of(&named.items, &online.items);
        Ok(Listed { items, age: named.at.min(online.at).elapsed(), next_skip: None })
    }

    /// All tags.
    pub async fn tags(&self, asker: Asker<'_>) -> Result<Listed<String>, DirectoryError> {
        let listed = self.list(asker, List::Tags, Page::FIRST).await?;
        Ok(Listed { items: wire::tags_of(&listed.items), age: listed.at.elapsed(), next_skip: None })
    }

    /// A page of a category's saved replies; of the categories, where none is named.
    pub async fn replies(
        &self,
        asker: Asker<'_>,
        category: &str,
        page: Page,
    ) -> Result<Listed<CustomReply>, DirectoryError> {
        let list = if category.is_empty() { List::Categories } else { List::Replies(category.to_owned()) };
        let listed = self.list(asker, list, page).await?;
        Ok(paged(&listed, page, wire::replies_of))
    }

    /// What is known of a customer; `None` where nobody knows it.
    pub async fn customer(
        &self,
        asker: Asker<'_>,
        identity: &str,
    ) -> Result<Option<Customer>, DirectoryError> {
        let lines = self.inner.lines(asker.bot)?.of(asker);
        let deadline = asker.deadline;
        let Some(identity) = Identity::named(identity) else { return Ok(None) };
        let identity = &identity;
        let own = lines.own.as_ref();
        let mut card =
            self.inner.card(own, &lines.crm, identity, deadline).await.map_err(DeskError::Fault)?;
        let name = identity.to_string();
        let mut resolved_identity = name.clone();
        if wire::is_tunnel(identity) {
            resolved_identity = self.behind(asker, &lines, (identity, card.as_ref())).await?;
            // The contact of the real customer is the router's.
            if let (None, Some(router), Some(real)) =
                (&card, &lines.router, Identity::named(&resolved_identity))
            {
                let found = self.inner.card(router.as_ref(), &lines.crm, &real, deadline).await;
                card = found.map_err(DeskError::Fault)?;
            }
            if card.is_none() && resolved_identity.is_empty() {
                return Ok(None);
            }
        } else if card.is_none() {
            return Ok(None);
        }
        Ok(Some(Customer { identity: name, resolved_identity, card }))
    }

    /// Who is behind a router's tunnel: the router knows, else the contact may, else the log. Empty if nobody does.
    async fn behind(
        &self,
        asker: Asker<'_>,
        lines: &Lines,
        (identity, card): (&Identity, Option<&CustomerCard>),
    ) -> Result<String, DirectoryError> {
        let Asker { bot, principal: _, deadline } = asker;
        let mut fault = None;
        if let Some(router) = &lines.router {
            let command = wire::tunnel_command(&self.inner.id(), identity);
            match self.inner.look(router.as_ref(), &command, deadline).await {
                Ok(Some(resource)) => {
                    let originator = wire::originator_of(&resource);
                    if !originator.is_empty() {
                        return Ok(originator);
                    }
                }
                Ok(None) => {}
                Err(failed) => {
                    if let Some(left_out) = self.inner.router_silent.permit() {
                        let reason = &failed.reason;
                        tracing::warn!(
                            bot,
                            reason,
                            left_out,
                            "a router did not tell who is behind its tunnel"
                        );
                    }
                    fault = Some(failed);
                }
            }
        }
        if let Some(card) = card.filter(|card| !card.originator.is_empty()) {
            return Ok(card.originator.clone());
        }
        let told = self.inner.told_by_the_log(bot, identity).await?;
        match fault {
            Some(fault) if told.is_empty() => Err(DeskError::Fault(fault)),
            Some(_) | None => Ok(told),
        }
    }

    /// A new link for one that has expired.
    pub async fn refresh(&self, asker: Asker<'_>, uri: &str) -> Result<String, DirectoryError> {
        let command = wire::refresh_command(&self.inner.id(), uri);
        self.link(asker, &command).await
    }

    /// A link to upload a file to.
    pub async fn upload(&self, asker: Asker<'_>, secure: bool) -> Result<String, DirectoryError> {
        let command = wire::upload_command(&self.inner.id(), secure);
        self.link(asker, &command).await
    }

    async fn link(&self, asker: Asker<'_>, command: &Command) -> Result<String, DirectoryError> {
        let api = asker.way(&self.inner.lines(asker.bot)?.own);
        let answer = self.inner.read(api.as_ref(), command, asker.deadline).await;
        let link = answer.map_err(DeskError::Fault).map(|resource| wire::link_of(&resource))?;
        link.ok_or_else(|| {
            let fault = Fault::new("BLIP_REJECTED", "Blip answered without a link");
            DeskError::Fault(fault.with("blip_uri", &command.uri.0))
        })
    }

    /// The items of a list, as they came, from the cache if they are there.
    async fn list(&self, asker: Asker<'_>, list: List, page: Page) -> Result<Kept, DirectoryError> {
        let Asker { bot, principal: _, deadline } = asker;
        // Whoever asks first asks for all.
        let api = asker.way(&self.inner.lines(bot)?.own);
        let uri = list.uri(page.skip, page.take);
        let key = (bot.to_owned(), uri.clone());
        let ask = |until: Instant| -> BoxFuture<'static, Asked> {
            let (inner, api, uri) = (Arc::clone(&self.inner), Arc::clone(&api), uri.clone());
            let command = wire::list_command(&inner.id(), &uri);
            let asking = async move {
                let stopped = async {
                    inner.shutdown.soft().cancelled().await;
                    tokio::time::sleep(DRAIN).await;
                };
                let resource = tokio::select! {
                    resource = inner.read(api.as_ref(), &command, until) => resource?,
                    () = stopped => return Err(draining()),
                };
                Ok(Kept::new(wire::items_of(resource)))
            };
            // A task of its own: whoever asked first may hang up.
            let task = self.inner.shutdown.spawn(asking);
            async move {
                let broke = |_| Fault::new("INTERNAL", "reading a list broke off");
                task.await.map_err(broke)?
            }
            .boxed()
        };
        self.inner.cache.get(key, deadline, ask).await.map_err(DeskError::Fault)
    }
}

fn draining() -> Fault {
    Fault::new("STREAM_DRAINING", "the gateway is stopping; ask again in a moment").passing()
}

impl Inner {
    fn id(&self) -> String {
        self.ids.next().to_string()
    }

    fn lines(&self, bot: &str) -> Result<&Lines, DirectoryError> {
        self.bots.get(bot).ok_or_else(|| DeskError::BotUnknown {
            bot: bot.to_owned(),
            known: self.bots.keys().cloned().collect(),
        })
    }

    /// Asks, again where that may help and there is time.
    async fn ask(&self, api: &dyn BlipApi, command: &Command, deadline: Instant) -> Result<Value, Fault> {
        let uri = command.uri.0.split('?').next().unwrap_or_default();
        let reply = blip::ask(api, command, deadline).await.map_err(|error| unread(&error, uri))?;
        match reply.status {
            ReplyStatus::Success(resource) => Ok(resource),
            ReplyStatus::Failure(reason) => Err(refusal("to answer", uri, &reason)),
            ReplyStatus::Pending => {
                let fault = Fault::new("BLIP_UNAVAILABLE", "Blip answered pending");
                Err(fault.with("blip_uri", uri).passing())
            }
        }
    }

    /// The same for what is always there: what Blip does not find is no ticket.
    async fn read(&self, api: &dyn BlipApi, command: &Command, deadline: Instant) -> Result<Value, Fault> {
        self.ask(api, command, deadline).await.map_err(elsewhere)
    }

    /// The same for what may not be there.
    async fn look(
        &self,
        api: &dyn BlipApi,
        command: &Command,
        deadline: Instant,
    ) -> Result<Option<Value>, Fault> {
        match self.ask(api, command, deadline).await {
            Ok(resource) => Ok(Some(resource)),
            Err(fault) if fault.reason == NOT_FOUND => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    async fn card(
        &self,
        api: &dyn BlipApi,
        crm: &str,
        identity: &Identity,
        deadline: Instant,
    ) -> Result<Option<CustomerCard>, Fault> {
        let command = wire::contact_command(&self.id(), crm, identity);
        Ok(self.look(api, &command, deadline).await?.and_then(wire::card_of))
    }

    /// Who a customer behind a router is, by its newest tickets, or by its newest events, whose metadata may have told.
    async fn told_by_the_log(&self, bot: &str, identity: &Identity) -> Result<String, ReadError> {
        let wanted = TicketsWanted {
            bot: bot.to_owned(),
            customer_identity: identity.to_string(),
            count_max: TICKETS_MAX,
            ..TicketsWanted::default()
        };
        let tickets = self.log.tickets(wanted).await?.items.into_iter();
        let told = tickets.map(|(_, ticket)| ticket.routing_customer_identity).find(|told| !told.is_empty());
        if let Some(told) = told {
            return Ok(told);
        }
        let mut end = *self.log.tail().borrow();
        let stop = Seq(end.0.saturating_sub(LOOK_BACK_EVENTS_MAX));
        while end > stop {
            let begin = Seq(end.0.saturating_sub(LOOK_BACK_PAGE)).max(stop);
            let Some(told) = self.told_between(begin, end, bot, identity).await? else { break };
            if !told.is_empty() {
                return Ok(told);
            }
            end = begin;
        }
        Ok(String::new())
    }

    /// The same of the events after `at`, up to `end`; `None` where retention has passed them all.
    async fn told_between(
        &self,
        mut at: Seq,
        end: Seq,
        bot: &str,
        identity: &Identity,
    ) -> Result<Option<String>, ReadError> {
        let mut told = String::new();
        while at < end {
            let limit = usize::try_from(end.0.saturating_sub(at.0)).unwrap_or(usize::MAX);
            let events = match self.log.read(at, limit).await {
                Ok(events) => events,
                Err(ReadError::Trimmed { earliest }) if at < earliest && earliest < end => {
                    at = earliest;
                    continue;
                }
                Err(ReadError::Trimmed { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            let Some(last) = events.last() else { break };
            at = last.seq;
            let of_customer = |event: &&Event| {
                &*event.bot == bot
                    && !event.resolved_customer_identity.is_empty()
                    && Identity::named(&event.customer_identity).as_ref() == Some(identity)
            };
            if let Some(event) = events.iter().rev().map(|stored| &stored.event).find(of_customer) {
                told.clone_from(&event.resolved_customer_identity);
            }
        }
        Ok(Some(told))
    }
}
