//! What a command and its caller know of each other: which command it is, whether the caller is still there, and what it
//! hears where the process gives up before there is an end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::domain::{ActionRequest, Fault};

use super::run::name_of;
use super::{DeskError, Done, Inner, unknown};

/// How long a last word may look for what is known: it must be said before the edge has to say that nothing is.
const LAST_LOOK: Duration = Duration::from_millis(250);

/// What whoever repeats a call hears that has not begun a command yet, nor ended.
pub(super) const FIRST_RUNS: &str = "the first request with this id still runs";

/// What a command and its caller know of each other.
#[derive(Debug, Default)]
pub(super) struct Call {
    command: Mutex<Begun>,
    /// The caller waits no longer.
    left: AtomicBool,
}

/// Which command a call is.
#[derive(Debug, Default, Clone, Copy)]
enum Begun {
    /// None yet.
    #[default]
    NotYet,
    /// This one, which may be recorded.
    As(Uuid),
    /// None, and it must not become one: its caller was told so.
    Never,
}

impl Call {
    /// Notes which command it is; `false` where none may begin any more.
    pub(super) fn begins(&self, id: Uuid) -> bool {
        let mut command = self.command.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*command, Begun::Never) {
            return false;
        }
        *command = Begun::As(id);
        true
    }

    /// Notes that it is none after all: that one was not recorded.
    pub(super) fn begins_not(&self) {
        let mut command = self.command.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*command, Begun::As(_)) {
            *command = Begun::NotYet;
        }
    }

    pub(super) fn begun(&self) -> Option<Uuid> {
        match *self.command.lock().unwrap_or_else(PoisonError::into_inner) {
            Begun::As(id) => Some(id),
            Begun::NotYet | Begun::Never => None,
        }
    }

    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// Which command it is; where it is none, it becomes none.
    fn dismiss(&self) -> Option<Uuid> {
        let mut command = self.command.lock().unwrap_or_else(PoisonError::into_inner);
        match *command {
            Begun::As(id) => Some(id),
            Begun::NotYet | Begun::Never => {
                *command = Begun::Never;
                None
            }
        }
    }
}

/// Held while a caller waits: it may hang up at any time.
pub(super) struct Caller(pub(super) Arc<Call>);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.left.store(true, Ordering::Release);
    }
}

impl Inner {
    /// What a caller hears for whom there is no room: what is known of a command that has its request id, which may be under
    /// way, else `fault`. It has no room to wait in either, so nothing here takes long.
    pub(super) async fn answer_at_once(
        &self,
        request: &ActionRequest,
        fault: Fault,
        deadline: Instant,
    ) -> Result<Done, DeskError> {
        let by = deadline.min(Instant::now() + LAST_LOOK);
        let name = name_of(request);
        let Ok(earlier) = timeout_at(by, self.earlier(request)).await else {
            let what = "it could not be read in time whether an earlier call with this request_id began a command; GetCommand tells it";
            return Err(DeskError::Fault(if name.is_some() { unknown(what) } else { fault }));
        };
        let Some(record) = earlier? else {
            let first_runs = name.is_some_and(|name| self.requests.try_turn(name).is_none());
            return Err(DeskError::Fault(if first_runs { unknown(FIRST_RUNS) } else { fault }));
        };
        self.metrics.replayed();
        let id = record.command.id;
        let answer = async {
            if request.accept_only {
                self.accepted(record, true).await
            } else {
                self.answer(record, true).await
            }
        };
        timeout_at(by, answer).await.unwrap_or_else(|_| {
            let what = "the command was begun before, and what became of it could not be read in time; GetCommand tells it";
            Err(DeskError::Fault(unknown(what).with("command_id", &id)))
        })
    }

    /// What a caller hears that still waits when the process is about to give up: that the end of its command is not known,
    /// what is known of another that had its request id before, or that it began nothing, nor will.
    pub(super) async fn last_word(&self, call: &Call, request: &ActionRequest) -> Result<Done, DeskError> {
        let ends = "GetCommand tells it after the next start";
        let unfinished = |id: Uuid| {
            let what = format!("the gateway stops before the command's end is known; {ends}");
            Err(DeskError::Fault(unknown(what).with("command_id", &id)))
        };
        if let Some(id) = call.dismiss() {
            return unfinished(id);
        }
        let by = Instant::now() + LAST_LOOK;
        let record = match timeout_at(by, self.earlier(request)).await {
            Ok(Ok(Some(record))) => record,
            Ok(Ok(None)) => return Err(DeskError::Fault(stopping())),
            Ok(Err(conflict @ DeskError::Conflict(_))) => return Err(conflict),
            Ok(Err(_)) | Err(_) => {
                let what = "the gateway stops before it is known whether an earlier call with this request_id began a command";
                return Err(DeskError::Fault(unknown(format!("{what}; {ends}"))));
            }
        };
        let id = record.command.id;
        timeout_at(by, self.answer(record, true)).await.unwrap_or_else(|_| unfinished(id))
    }
}

/// The fault of what is not begun any more.
pub(super) fn stopping() -> Fault {
    Fault::new("STREAM_DRAINING", "the gateway is stopping; ask again in a moment").passing()
}
