//! One run of the command for one event, in a process group of its own: an interrupt of the terminal is deskgate's to
//! answer, not the command's. Dropped, all of the group is killed.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::grpc::pb;

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Good,
    /// And why, in a word.
    Failed(String),
}

/// A run that is to be.
pub(super) struct Exec {
    command: Command,
    input: String,
}

impl Exec {
    /// `line` by `sh -c`, with `input` on its stdin.
    pub(super) fn new(line: &str, input: String, delivery: &pb::Delivery, event: &pb::Event) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(line).stdin(Stdio::piped()).process_group(0).kill_on_drop(true);
        command
            .env("DESKGATE_EVENT_ID", &event.event_id)
            .env("DESKGATE_EVENT_TYPE", &event.r#type)
            .env("DESKGATE_BOT", &event.bot)
            .env("DESKGATE_TICKET_ID", unbroken(&event.ticket_id))
            .env("DESKGATE_TICKET_SEQUENCE", event.ticket_sequence.to_string())
            .env("DESKGATE_ATTEMPT", delivery.attempt.to_string())
            .env("DESKGATE_LAST_FAILURE", unbroken(&delivery.last_failure))
            .env("DESKGATE_FENCING_TOKEN", delivery.fencing_token.to_string())
            .env("DESKGATE_DELIVERY_ID", &delivery.delivery_id);
        Self { command, input: input + "\n" }
    }

    /// Runs it to its end.
    pub(super) async fn run(mut self) -> End {
        let mut child = match self.command.spawn() {
            Ok(child) => child,
            Err(error) => return End::Failed(format!("it cannot be run: {error}")),
        };
        let mut family = Family(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(self.input.as_bytes()).await; // it need not read all
            }
        };
        let ((), ended) = tokio::join!(feed, child.wait());
        family.0 = None; // what it left behind on purpose may stay
        match ended {
            Ok(status) if status.success() => End::Good,
            Ok(status) => End::Failed(match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit code {code}"),
                (None, Some(signal)) => format!("ended by signal {signal}"),
                (None, None) => "it failed".to_owned(),
            }),
            Err(error) => End::Failed(format!("its end is not known: {error}")),
        }
    }
}

/// A command and what it began; killed when it is dropped.
struct Family(Option<Pid>);

impl Drop for Family {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, Signal::KILL); // it may have ended just now
        }
    }
}

/// An environment holds no zero bytes.
fn unbroken(text: &str) -> String {
    text.replace('\0', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn end_of(line: &str) -> End {
        let event =
            pb::Event { event_id: "e1".to_owned(), ticket_id: "t\0".to_owned(), ..Default::default() };
        let delivery = pb::Delivery { attempt: 2, ..Default::default() };
        Exec::new(line, "{\"a\":1}".to_owned(), &delivery, &event).run().await
    }

    #[tokio::test]
    async fn the_command_gets_the_event_and_its_end_is_told() {
        let checks =
            "read line; test \"$line\" = '{\"a\":1}' && test $DESKGATE_EVENT_ID-$DESKGATE_ATTEMPT = e1-2";
        assert_eq!(end_of(checks).await, End::Good);
        assert_eq!(end_of("exit 3").await, End::Failed("exit code 3".to_owned()));
        assert_eq!(end_of("kill -9 $$").await, End::Failed("ended by signal 9".to_owned()));
        assert_eq!(end_of("exec 0<&-; true").await, End::Good, "it need not read");
    }
}
