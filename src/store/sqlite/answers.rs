//! Telling callers what became of their work. A batch has many, and each that is woken from outside the runtime
//! costs the writer more than its share of the sync; so a task of the runtime takes the whole batch and wakes them
//! from within. It also lets go of what the batch displaced.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::job::Job;
use crate::domain::StoredEvent;
use crate::store::AppendError;

/// Work that has ended, and its end.
pub(super) struct Ended {
    pub(super) jobs: Vec<Box<dyn Job>>,
    pub(super) committed: Result<(), AppendError>,
    /// Events that left the memory of the newest.
    pub(super) gone: Vec<Arc<StoredEvent>>,
}

impl Ended {
    fn tell(self) {
        let Self { jobs, committed, gone } = self;
        for job in jobs {
            job.answer(committed.clone());
        }
        drop(gone);
    }
}

/// The writer's end.
pub(super) struct Answers(Option<mpsc::UnboundedSender<Ended>>);

impl Answers {
    /// Answers from the runtime this is called in; where there is none, from the writer's own thread.
    pub(super) fn start() -> Self {
        let runtime = Handle::try_current().ok();
        Self(runtime.map(|runtime| {
            let (sender, mut ended) = mpsc::unbounded_channel::<Ended>();
            runtime.spawn(async move {
                while let Some(ended) = ended.recv().await {
                    ended.tell();
                }
            });
            sender
        }))
    }

    pub(super) fn tell(&self, ended: Ended) {
        let untold = match &self.0 {
            Some(task) => task.send(ended).map_err(|mpsc::error::SendError(ended)| ended),
            None => Err(ended),
        };
        if let Err(ended) = untold {
            ended.tell();
        }
    }
}
