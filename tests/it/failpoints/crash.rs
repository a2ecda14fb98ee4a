//! A ledger and a way to Blip that end the process at one point: right before a step, or right after it was done and
//! before anybody hears so. Nothing is closed, flushed or dropped on the way out.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deskgate::blip::{BlipApi, BlipError, Caller, Kind};
use deskgate::domain::{Method, NewEvent, TicketState};
use deskgate::lime::{Command, Reply};
use deskgate::store::{
    AppendError, Begun, CommandKey, CommandRecord, CommandsWanted, End, Ledger, NewCommand, Page, ReadError,
    Unsettled,
};
use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

/// How the process ends: SIGABRT, which runs nothing of ours.
pub(super) const SIGNAL: i32 = 6;

/// A step of a command's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is recorded.
    Begin,
    /// A queued one is recorded as perhaps sent.
    Start,
    /// Blip is asked to do it.
    Call,
    /// Its end is recorded.
    Settle,
    /// It is recorded that nothing was sent. Its call finds no room first.
    Requeue,
}

/// Around a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Before,
    After,
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", format!("{self:?}").to_lowercase())
    }
}

impl fmt::Display for When {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", format!("{self:?}").to_lowercase())
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Begin, Self::Start, Self::Call, Self::Settle, Self::Requeue];
        all.into_iter().find(|step| step.to_string() == text).ok_or_else(|| text.to_owned())
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Before, Self::After]
            .into_iter()
            .find(|when| when.to_string() == text)
            .ok_or_else(|| text.to_owned())
    }
}

/// Where the process ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crash(Option<(Step, When)>);

impl Crash {
    pub(super) fn at(step: Step, when: When) -> Self {
        Self(Some((step, when)))
    }

    pub(super) fn never() -> Self {
        Self(None)
    }

    pub(super) fn ledger(self, inner: Arc<dyn Ledger>) -> Mortal<dyn Ledger> {
        Mortal { inner, crash: self }
    }

    pub(super) fn blip(self, inner: Arc<dyn BlipApi>) -> Mortal<dyn BlipApi> {
        Mortal { inner, crash: self }
    }

    fn reach(self, step: Step, when: When) {
        if self.0 == Some((step, when)) {
            std::process::abort();
        }
    }

    async fn around<T>(self, step: Step, work: impl Future<Output = T>) -> T {
        self.reach(step, When::Before);
        let done = work.await;
        self.reach(step, When::After);
        done
    }

    /// A call that has an effect.
    async fn call(self, work: impl Future<Output = Result<Reply, BlipError>>) -> Result<Reply, BlipError> {
        if matches!(self.0, Some((Step::Requeue, _))) {
            return Err(BlipError::OverQuota { retry_after: Duration::ZERO });
        }
        self.around(Step::Call, work).await
    }
}

/// Something that dies with its process.
#[derive(Debug)]
pub(super) struct Mortal<T: ?Sized> {
    inner: Arc<T>,
    crash: Crash,
}

#[async_trait]
impl Ledger for Mortal<dyn Ledger> {
    async fn begin(&self, command: NewCommand) -> Result<Begun, AppendError> {
        self.crash.around(Step::Begin, self.inner.begin(command)).await
    }
    async fn start(&self, id: Uuid) -> Result<Option<(CommandRecord, Box<TicketState>)>, AppendError> {
        self.crash.around(Step::Start, self.inner.start(id)).await
    }
    async fn requeue(&self, id: Uuid) -> Result<(), AppendError> {
        self.crash.around(Step::Requeue, self.inner.requeue(id)).await
    }
    async fn settle(&self, id: Uuid, end: End, events: Vec<NewEvent>) -> Result<CommandRecord, AppendError> {
        self.crash.around(Step::Settle, self.inner.settle(id, end, events)).await
    }
    async fn command(&self, key: CommandKey) -> Result<Option<CommandRecord>, ReadError> {
        self.inner.command(key).await
    }
    async fn unsettled(&self, wanted: Unsettled) -> Result<Page<CommandRecord>, ReadError> {
        self.inner.unsettled(wanted).await
    }
    async fn unknown_since(
        &self,
        since: Timestamp,
        count_max: usize,
    ) -> Result<Vec<CommandRecord>, ReadError> {
        self.inner.unknown_since(since, count_max).await
    }
    async fn commands(&self, wanted: CommandsWanted) -> Result<Page<CommandRecord>, ReadError> {
        self.inner.commands(wanted).await
    }
}

#[async_trait]
impl BlipApi for Mortal<dyn BlipApi> {
    fn for_caller(self: Arc<Self>, caller: Caller) -> Arc<dyn BlipApi> {
        Arc::new(self.crash.blip(Arc::clone(&self.inner).for_caller(caller)))
    }
    async fn turns(
        self: Arc<Self>,
        kind: Kind,
        count: usize,
        deadline: Instant,
    ) -> Result<Arc<dyn BlipApi>, BlipError> {
        let ready = Arc::clone(&self.inner).turns(kind, count, deadline).await?;
        Ok(Arc::new(self.crash.blip(ready)))
    }
    async fn turn(&self, kind: Kind, deadline: Instant) -> Result<(), BlipError> {
        self.inner.turn(kind, deadline).await
    }
    async fn command(&self, command: &Command, deadline: Instant) -> Result<Reply, BlipError> {
        let asked = self.inner.command(command, deadline);
        // A question has no effect.
        if command.method == Method::Get { asked.await } else { self.crash.call(asked).await }
    }
    async fn message(&self, json: Vec<u8>, deadline: Instant) -> Result<Reply, BlipError> {
        self.crash.call(self.inner.message(json, deadline)).await
    }
    async fn notification(&self, json: Vec<u8>, deadline: Instant) -> Result<Reply, BlipError> {
        self.inner.notification(json, deadline).await
    }
}
