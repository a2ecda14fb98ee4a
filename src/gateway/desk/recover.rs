//! After a restart. What was queued takes its place again, each ticket's in its order, and is sent. What was begun and not
//! settled is in doubt: it is looked for, before anything that was queued behind it goes out, and never sent again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::{Action, ActionRequest, Outcome, TicketState};
use crate::store::{CommandKey, CommandRecord, End, Page, ReadError, Unsettled};

use super::super::lanes::{Place, Turn};
use super::carry::Carrier;
use super::echo::settled;
use super::follow::{FOLLOW_FOR, FOLLOWED_MAX};
use super::look::{LOOKS_MAX, Seen};
use super::queue::Queued;
use super::run::{Carried, carried, lane_of};
use super::{DeskError, Inner, memo, unknown};

/// How long one command is looked for.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long Blip is asked again after a start, where it could not be.
const ASK_AGAIN_FOR: Duration = Duration::from_mins(2);
/// The pause before Blip, or the store, is asked again; doubles with each.
const ASK_AGAIN_PAUSE: Duration = Duration::from_millis(500);
/// The longest such pause.
const ASK_AGAIN_PAUSE_MAX: Duration = Duration::from_secs(15);

/// Commands that are read at once.
const READ_AT_ONCE: usize = 256;
/// What these ask, in bytes.
const READ_BYTES_MAX: usize = 8 << 20;

/// A command of an earlier process that was perhaps sent.
struct InDoubt {
    id: Uuid,
    place: Option<Place>,
    ended: Turn,
}

impl Inner {
    /// Takes up every command of an earlier process that has no end, or none that is known: first what was perhaps sent,
    /// as it was before what was queued. Keeps no more of them than their places.
    pub(super) async fn recover(self: Arc<Self>) {
        let give_up = Instant::now() + ASK_AGAIN_FOR;
        for begun in [true, false] {
            let mut after = None;
            let mut count = 0_usize;
            loop {
                let Some(page) = self.left_behind(begun, after).await else { return };
                count = count.saturating_add(page.items.len());
                for record in page.items {
                    self.take_up(&record, give_up).await;
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            match (begun, count) {
                (_, 0) => {}
                (true, _) => tracing::warn!(count, "looking for commands begun before the restart"),
                (false, _) => tracing::info!(count, "going on with commands queued before the restart"),
            }
        }
        self.ready.send_replace(true);
        self.follow_on().await;
    }

    /// Gives a command its place, and its task.
    async fn take_up(self: &Arc<Self>, record: &CommandRecord, give_up: Instant) {
        let (place, ended) = self.places_of(record).await;
        let (inner, id) = (Arc::clone(self), record.command.id);
        if record.start_time.is_none() {
            let command = &record.command;
            let room = self.room.take(&command.bot, &command.principal, command.memo.len());
            drop(self.shutdown.spawn(inner.post(Queued { id, place, ended, room })));
            return;
        }
        drop(self.shutdown.spawn(async move {
            if let Err(error) = inner.recover_one(InDoubt { id, place, ended }, give_up).await {
                tracing::error!(command.id = %id, %error, "a command in doubt could not be settled");
            }
        }));
    }

    /// A page of commands without an end; `None` if the process stops before it could be read.
    async fn left_behind(&self, begun: bool, after: Option<u64>) -> Option<Page<CommandRecord>> {
        let wanted = Unsettled { begun, count_max: READ_AT_ONCE, bytes_max: READ_BYTES_MAX, after };
        let what = "commands without an end could not be read; no command is taken until they are";
        self.until_read(what, || self.ledger.unsettled(wanted)).await
    }

    /// What the store answers, asked until it does; `None` if the process stops before.
    async fn until_read<T, F>(&self, what: &str, read: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, ReadError>>,
    {
        let mut pause = ASK_AGAIN_PAUSE;
        loop {
            let error = match read().await {
                Ok(answer) => return Some(answer),
                Err(error) => error,
            };
            tracing::error!(%error, "{what}");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.soft().cancelled() => return None,
            }
            pause = pause.saturating_mul(2).min(ASK_AGAIN_PAUSE_MAX);
        }
    }

    async fn places_of(&self, record: &CommandRecord) -> (Option<Place>, Turn) {
        let command = &record.command;
        let lane = match memo::request_of(command) {
            Some(request) => lane_of(&request),
            None => Some((command.bot.clone(), command.ticket_id.clone())),
        };
        let place = match lane {
            Some(lane) => Some(self.tickets.place(lane).await),
            None => None,
        };
        (place, self.ends.turn(command.id).await)
    }

    /// Looks on for what an earlier process could not find out.
    async fn follow_on(self: &Arc<Self>) {
        let since = self.clock.now().saturating_sub(FOLLOW_FOR).unwrap_or(jiff::Timestamp::MIN);
        match self.ledger.unknown_since(since, FOLLOWED_MAX).await {
            Ok(unknown) => unknown.iter().for_each(|record| self.follow(record)),
            Err(error) => tracing::warn!(%error, "commands with an unknown end could not be read"),
        }
    }

    async fn recover_one(self: &Arc<Self>, in_doubt: InDoubt, give_up: Instant) -> Result<(), DeskError> {
        let InDoubt { id, place, ended } = in_doubt;
        let turn = match place {
            Some(place) => Some(place.turn().await),
            None => None,
        };
        let what = "a command in doubt could not be read; trying on";
        let read = || self.ledger.command(CommandKey::Id(id));
        let Some(Some(record)) = self.until_read(what, read).await else { return Ok(()) };
        let looked = match memo::request_of(&record.command) {
            Some(request) => {
                let what = "the ticket of a command in doubt could not be read; trying on";
                let read = || self.log.ticket(&request.bot, &request.ticket_id);
                let Some(state) = self.until_read(what, read).await else { return Ok(()) };
                self.looked_for(&record, &request, &state.unwrap_or_default(), give_up).await
            }
            None => Some(Carried::at_once(in_doubt_still(
                "its record is of another version, so Blip could not be asked",
            ))),
        };
        let Some(Carried { end, mut events, made }) = looked else { return Ok(()) }; // the next start looks
        events.push(settled(&record, &end, made.as_ref()));
        let confirmed = end.outcome == Outcome::Done;
        let settled = self.settle(record.command.id, end, events).await?;
        let (id, method) = (settled.command.id, &settled.command.method);
        tracing::info!(command.id = %id, method = %method, confirmed, "settled a command in doubt");
        self.follow(&settled);
        drop((turn, ended));
        Ok(())
    }

    /// Looks for an action, again and again while Blip cannot be asked, until `give_up`. `None` if the process stops
    /// before.
    async fn looked_for(
        &self,
        record: &CommandRecord,
        request: &ActionRequest,
        state: &TicketState,
        give_up: Instant,
    ) -> Option<Carried> {
        let id = record.command.id.to_string();
        let api = match self.api(&request.bot) {
            Ok(api) => api,
            Err(error) => {
                let what = format!("Blip could not be asked whether it took effect: {error}");
                return Some(Carried::at_once(in_doubt_still(&what)));
            }
        };
        let mut pause = ASK_AGAIN_PAUSE;
        loop {
            let deadline = Instant::now() + LOOK_TIMEOUT;
            let mut carrier = Carrier::new(self, api.as_ref(), &id, request, state, record, deadline);
            carrier.late = true;
            carrier.attempts = 1;
            let looking = self.looks.acquire().await;
            let seen = tokio::select! {
                seen = carrier.seen(None, LOOKS_MAX) => seen,
                () = self.shutdown.soft().cancelled() => return None,
            };
            drop(looking);
            let outcome = match seen {
                Seen::Effect => Outcome::Done,
                Seen::Closed => carrier.found_closed(),
                Seen::Nothing if matches!(request.action, Action::Execute(_)) => {
                    in_doubt_still("nothing at Blip can be looked for that would show whether it took effect")
                }
                Seen::Nothing => in_doubt_still("Blip does not show that it took effect"),
                Seen::Unasked(_) if self.shutdown.is_draining() => return None,
                Seen::Unasked(why) if Instant::now() + pause >= give_up => {
                    in_doubt_still(&format!("Blip could not be asked whether it took effect: {why}"))
                }
                Seen::Unasked(_) => {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.shutdown.soft().cancelled() => return None,
                    }
                    pause = pause.saturating_mul(2).min(ASK_AGAIN_PAUSE_MAX);
                    continue;
                }
            };
            let Carried { end, events, made } = carried(record.command.id, request, state, carrier, outcome);
            return Some(Carried { end: End { attempts: 1, ..end }, events, made });
        }
    }
}

/// The end of a command that was perhaps sent before the restart, and that nothing has settled since.
fn in_doubt_still(what: &str) -> Outcome {
    Outcome::Unknown(unknown(format!("the gateway stopped while this command ran, and {what}")))
}
