//! What the writer is handed: work of any kind, and the way back to whoever waits for it.

use tokio::sync::oneshot;

use super::batch::Batch;
use super::failure::WriteError;
use crate::store::AppendError;

/// What the thread is asked.
pub(super) enum Message {
    /// To write something.
    Write(Box<dyn Job>),
    /// To run retention, and to say how many events went.
    Retain(oneshot::Sender<Result<u64, AppendError>>),
    /// To end once everything before this is written.
    Close,
}

/// Something to be written, and somebody waiting for it.
pub(super) trait Job: Send {
    /// How many events and bytes it brings.
    fn size(&self) -> (usize, usize);
    /// Its part of the transaction.
    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), WriteError>;
    /// What became of the transaction.
    fn answer(self: Box<Self>, committed: Result<(), AppendError>);
}

/// How a job is done: an error outside fails the whole batch, one inside only this job.
pub(super) type Work<A, T> = fn(&mut Batch<'_>, A) -> Result<Result<T, AppendError>, WriteError>;

/// A job of one kind: what is asked, how it is done, and what comes of it.
pub(super) struct Typed<A, T> {
    pub(super) ask: Option<A>,
    pub(super) size: (usize, usize),
    pub(super) work: Work<A, T>,
    pub(super) done: Option<Result<T, AppendError>>,
    pub(super) reply: oneshot::Sender<Result<T, AppendError>>,
}

impl<A: Send, T: Send> Job for Typed<A, T> {
    fn size(&self) -> (usize, usize) {
        self.size
    }

    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), WriteError> {
        if let Some(ask) = self.ask.take() {
            self.done = Some((self.work)(batch, ask)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), AppendError>) {
        let Self { done, reply, .. } = *self;
        let never = Err(AppendError::Unavailable("it was not tried".to_owned()));
        let answer = committed.and_then(|()| done.unwrap_or(never));
        let _ = reply.send(answer); // whoever waited may have gone; what is written stays
    }
}
