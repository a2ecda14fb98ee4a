//! `deskgate consume`: a shell command as a member of a consumer group. Each event is given to one run of it; what
//! its end says settles the event.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use clap::builder::BoolishValueParser;
use pb::consume_request::Message as Ask;
use pb::consume_response::Message as Told;
use pb::settlement::Outcome;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::client::{Json, Server, cause_of, failed, said_by};
use super::tail::printable;
use crate::grpc::pb;
use crate::grpc::pb::consumer_service_client::ConsumerServiceClient;

mod exec;

use exec::{End, Exec};

/// The longest pause between two attempts to connect.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The largest event that is taken, its raw body included.
const EVENT_BYTES_MAX: usize = 32 << 20;
/// Messages to the gateway that may wait to be sent.
const ASKS_MAX: usize = 1_024;
/// How long a gateway that cannot write is left alone.
const AGAIN: Duration = Duration::from_secs(1);
/// Names batches that say how a command ended …
const END: u64 = 0;
/// … and those that say it still runs.
const EXTENSION: u64 = 1;
/// How often deadlines of what still runs are looked at.
const TICK: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
#[command(
    after_help = "CMD is run by `sh -c` for each event, which is one line of protobuf JSON on its stdin. Exit 0 settles \
the event. Anything else has it again later, as the group's backoff says, with the exit code as the reason; once its \
attempts are used up it is parked. While CMD runs, the event stays its own, however long it takes. Events of one ticket \
come one after the other, those of others side by side. Run as many of these as you like, on any number of machines.

Beside stdin, CMD finds in its environment: DESKGATE_EVENT_ID, DESKGATE_EVENT_TYPE, DESKGATE_BOT, DESKGATE_TICKET_ID,
DESKGATE_TICKET_SEQUENCE, DESKGATE_ATTEMPT, DESKGATE_LAST_FAILURE, DESKGATE_FENCING_TOKEN and DESKGATE_DELIVERY_ID.
Each event comes at least once: make the effect repeatable by DESKGATE_EVENT_ID.

SIGINT, SIGTERM or SIGHUP, as of a terminal that is closed (but not under nohup): nothing more is taken, what runs is waited
for. A second one ends it at once, but for a SIGHUP after a SIGHUP.

Examples:
  deskgate consume crm --exec 'curl -fsS --json @- https://crm.example/events'
  deskgate consume crm --exec ./handle.sh --max-outstanding 32
  deskgate consume bi --exec 'jq -c . >> events.jsonl' --max-outstanding 1 --stop"
)]
pub(super) struct ConsumeArgs {
    #[command(flatten)]
    server: Server,
    /// The group, which `deskgate groups create` makes.
    #[arg(value_name = "GROUP")]
    group: String,
    /// What to run for each event.
    #[arg(long, value_name = "CMD", env = "DESKGATE_CONSUME_EXEC")]
    exec: String,
    /// How many may run at a time.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 8,
        env = "DESKGATE_CONSUME_MAX_OUTSTANDING",
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    max_outstanding: u32,
    /// The member's own name within the group; the gateway chooses one otherwise.
    #[arg(
        long,
        value_name = "NAME",
        env = "DESKGATE_CONSUME_MEMBER",
        default_value = "",
        hide_default_value = true
    )]
    member: String,
    /// End once the group has nothing left to do: all that there is has been settled, or waits for a parked event.
    #[arg(long, env = "DESKGATE_CONSUME_STOP", value_parser = BoolishValueParser::new())]
    stop: bool,
}

pub(super) async fn run(args: ConsumeArgs) -> anyhow::Result<()> {
    let endpoint = args.server.endpoint()?;
    let mut consumer = Consumer {
        json: Json::new()?,
        interrupts: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?],
        // What runs has a process group of its own, so a terminal that is closed must not leave it behind. Under
        // `nohup` it is to go on.
        hangup: if hangups_are_ignored() { None } else { Some(signal(SignalKind::hangup())?) },
        leaving: false,
        hung_up: false,
        joined: false,
        args,
    };
    let mut pause = Duration::from_millis(200);
    loop {
        let broken = match consumer.work(&endpoint).await {
            Ok(()) => return Ok(()),
            Err(broken) => broken,
        };
        let why = match broken {
            Broken::Ends(error) => return Err(error),
            Broken::Passes(_) if consumer.leaving => return Ok(()),
            Broken::Passes(why) => why,
        };
        if !consumer.joined {
            bail!("no gateway answers at {}: {why}", consumer.args.server);
        }
        say(&format!("{why}; going on"));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = consumer.interrupted() => return Ok(()),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// A line for who watches. That nobody does, as once the terminal is closed, is no reason to end what runs.
fn say(what: &str) {
    let _ = writeln!(io::stderr(), "-- {what}");
}

/// Whether the process was begun so, as by `nohup`. A handler would undo that.
fn hangups_are_ignored() -> bool {
    const HANGUP: u64 = 1; // the first signal has the lowest bit
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & HANGUP != 0)
}

/// Why a stream ended before it was asked to.
enum Broken {
    /// Connecting again may help.
    Passes(String),
    /// It will not.
    Ends(anyhow::Error),
}

fn sort(status: &tonic::Status) -> Broken {
    let passes = [Code::Unavailable, Code::Cancelled, Code::Unknown, Code::Internal, Code::ResourceExhausted];
    if passes.contains(&status.code()) {
        Broken::Passes(said_by(status))
    } else {
        Broken::Ends(failed(status))
    }
}

struct Consumer {
    args: ConsumeArgs,
    json: Json,
    interrupts: [Signal; 2],
    hangup: Option<Signal>,
    /// It was asked to leave.
    leaving: bool,
    /// By the end of its terminal.
    hung_up: bool,
    joined: bool,
}

/// One stream, and what runs for it. At its end, what runs is killed: the gateway gives those events to others.
struct Work {
    asks: mpsc::Sender<pb::ConsumeRequest>,
    running: JoinSet<(String, End)>,
    /// By task: its delivery, and when its deadline is to be moved.
    leases: HashMap<Id, (String, Instant)>,
    lease: Duration,
    /// Deliveries of an event before it is parked.
    attempts_max: u32,
    /// Those whose attempt is the last.
    last: HashSet<String>,
    /// What was said of a delivery, until it is answered.
    said: HashMap<String, Outcome>,
    /// What is to be said again, and when: the gateway could not write.
    again: Vec<(Instant, String)>,
    /// The last look found nothing to do but what waits for parked events. One alone may come between two events.
    is_idle: bool,
    stopping: bool,
}

impl Consumer {
    /// Waits until it is asked to leave; whether it was so before, and is to leave at once.
    async fn interrupted(&mut self) -> bool {
        loop {
            let hung_up = {
                let [interrupt, terminate] = &mut self.interrupts;
                let hangup = async {
                    match &mut self.hangup {
                        Some(hangup) => hangup.recv().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    _ = interrupt.recv() => false,
                    _ = terminate.recv() => false,
                    _ = hangup => true,
                }
            };
            // The system and the shell both tell of the same end.
            if hung_up && self.hung_up {
                continue;
            }
            self.hung_up |= hung_up;
            return std::mem::replace(&mut self.leaving, true);
        }
    }

    /// One stream, to its end.
    async fn work(&mut self, endpoint: &Endpoint) -> Result<(), Broken> {
        let channel = endpoint.connect().await.map_err(|error| Broken::Passes(cause_of(&error)))?;
        let client = ConsumerServiceClient::new(channel).max_decoding_message_size(EVENT_BYTES_MAX);
        let (asks, outgoing) = mpsc::channel(ASKS_MAX);
        let mut work = Work {
            asks,
            running: JoinSet::new(),
            leases: HashMap::new(),
            lease: Duration::from_secs(30),
            attempts_max: u32::MAX,
            last: HashSet::new(),
            said: HashMap::new(),
            again: Vec::new(),
            is_idle: false,
            stopping: false,
        };
        let ended = self.stream(&mut work, client, outgoing).await;
        // The process may end right after this: what runs is gone before it.
        work.running.shutdown().await;
        ended
    }

    async fn stream(
        &mut self,
        work: &mut Work,
        mut client: ConsumerServiceClient<Channel>,
        outgoing: mpsc::Receiver<pb::ConsumeRequest>,
    ) -> Result<(), Broken> {
        let start = pb::ConsumeStart {
            group: self.args.group.clone(),
            client_name: "deskgate consume".to_owned(),
            member_id: self.args.member.clone(),
            max_outstanding_events: self.args.max_outstanding,
            heartbeat_interval: None,
        };
        work.ask(Ask::Start(start)).await?;
        let mut group = client.clone();
        let answered = client.consume(ReceiverStream::new(outgoing)).await;
        let mut stream = answered.map_err(|status| sort(&status))?.into_inner();
        let mut silence_max = Duration::from_secs(45);
        let mut heard = Instant::now();
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                told = stream.message() => {
                    let Some(told) = told.map_err(|status| sort(&status))? else { return Ok(()) };
                    heard = Instant::now();
                    if let Some(Told::Started(started)) = &told.message {
                        silence_max = span(started.heartbeat_interval.as_ref(), Duration::from_secs(15)) * 3;
                    }
                    self.told(work, told.message)?;
                }
                Some(ended) = work.running.join_next_with_id() => work.settle(ended).await?,
                _ = ticks.tick() => {
                    work.extend().await?;
                    work.say_again().await?;
                    if self.args.stop && self.joined && !self.leaving && work.running.is_empty() {
                        self.leaving = work.is_over(&mut group, &self.args.group).await?;
                    }
                }
                again = self.interrupted() => {
                    if again {
                        return Ok(());
                    }
                    say(&format!("waiting for {} that run; once more ends them", work.running.len()));
                }
                () = tokio::time::sleep_until(heard + silence_max) => {
                    return Err(Broken::Passes("the stream is silent for three heartbeats".to_owned()));
                }
            }
            if self.leaving {
                work.stop().await?;
            }
        }
    }

    fn told(&mut self, work: &mut Work, told: Option<Told>) -> Result<(), Broken> {
        match told {
            Some(Told::Started(started)) => {
                self.joined = true;
                let group = started.consumer_group.unwrap_or_default();
                work.lease = span(group.ack_deadline.as_ref(), work.lease);
                work.attempts_max = group.max_attempts;
                let behind = group.status.map(|status| status.events_behind).unwrap_or_default();
                say(&format!("member {} of {}, {behind} events behind", started.member_id, group.group));
            }
            Some(Told::Delivery(delivery)) => {
                let event = delivery.event.clone().unwrap_or_default();
                let line = self.json.line("Event", &event).map_err(Broken::Ends)?;
                let exec = Exec::new(&self.args.exec, line, &delivery, &event);
                let id = delivery.delivery_id;
                if delivery.attempt >= work.attempts_max {
                    work.last.insert(id.clone());
                }
                let task = work.running.spawn({
                    let id = id.clone();
                    async move { (id, exec.run().await) }
                });
                work.leases.insert(task.id(), (id, Instant::now() + work.lease / 2));
            }
            Some(Told::Settled(report)) => {
                for result in report.results {
                    work.answered(result, report.batch_id == EXTENSION);
                }
            }
            Some(Told::Gap(gap)) => {
                say(&format!("gap: events are lost to the group ({})", printable(&gap.reason)));
            }
            Some(Told::GoingAway(_)) => say("the gateway stops; finishing what runs"),
            Some(Told::Checkpoint(_) | Told::CaughtUp(_) | Told::Stopped(_)) | None => {}
        }
        Ok(())
    }
}

impl Work {
    async fn ask(&self, message: Ask) -> Result<(), Broken> {
        let asked = self.asks.send(pb::ConsumeRequest { message: Some(message) }).await;
        asked.map_err(|_closed| Broken::Passes("the stream broke off".to_owned()))
    }

    async fn tell(&self, delivery_id: String, outcome: Outcome) -> Result<(), Broken> {
        let batch_id = if matches!(outcome, Outcome::Extend(_)) { EXTENSION } else { END };
        let settlement = pb::Settlement { delivery_id, outcome: Some(outcome) };
        self.ask(Ask::Settle(pb::SettleBatch { batch_id, settlements: vec![settlement] })).await
    }

    /// A command has ended.
    async fn settle(
        &mut self,
        ended: Result<(Id, (String, End)), tokio::task::JoinError>,
    ) -> Result<(), Broken> {
        let (task, delivery_id, end) = match ended {
            Ok((task, (delivery_id, end))) => (task, delivery_id, end),
            Err(error) => {
                let id = self.leases.get(&error.id()).map(|(id, _)| id.clone()).unwrap_or_default();
                (error.id(), id, End::Failed("it broke off".to_owned()))
            }
        };
        self.leases.remove(&task);
        let next = if self.last.remove(&delivery_id) { "its attempts are used up" } else { "it comes again" };
        let outcome = match end {
            End::Good => Outcome::Ack(pb::Ack {}),
            End::Failed(reason) => {
                say(&format!("{}: {reason}; {next}", printable(&delivery_id)));
                Outcome::Retry(pb::Retry { delay: None, reason })
            }
        };
        self.said.insert(delivery_id.clone(), outcome.clone());
        self.tell(delivery_id, outcome).await
    }

    /// What a settlement did.
    fn answered(&mut self, result: pb::SettleResult, is_extension: bool) {
        let state = result.state();
        let (id, again_at) = (result.delivery_id, Instant::now() + AGAIN);
        let what = match state {
            pb::SettleState::TryAgain if is_extension => {
                if let Some((_, due)) = self.leases.values_mut().find(|(known, _)| *known == id) {
                    *due = again_at;
                }
                "it is said again"
            }
            pb::SettleState::TryAgain => {
                self.again.push((again_at, id.clone()));
                "it is said again"
            }
            pb::SettleState::Done
            | pb::SettleState::AlreadyDone
            | pb::SettleState::Stale
            | pb::SettleState::UnknownDelivery
            | pb::SettleState::Unspecified => {
                if !is_extension {
                    self.said.remove(&id);
                }
                "the event may come again"
            }
        };
        if matches!(state, pb::SettleState::Done | pb::SettleState::AlreadyDone) {
            return;
        }
        let state = state.as_str_name().trim_start_matches("SETTLE_STATE_").to_lowercase();
        say(&format!("settling {} was {state}: {what}", printable(&id)));
    }

    /// Says again what the gateway could not write.
    async fn say_again(&mut self) -> Result<(), Broken> {
        let now = Instant::now();
        let due: Vec<String> = self.again.extract_if(.., |(at, _)| *at <= now).map(|(_, id)| id).collect();
        for id in due {
            if let Some(outcome) = self.said.get(&id).cloned() {
                self.tell(id, outcome).await?;
            }
        }
        Ok(())
    }

    /// Moves the deadlines of what still runs.
    async fn extend(&mut self) -> Result<(), Broken> {
        let now = Instant::now();
        let mut due = Vec::new();
        for (id, at) in self.leases.values_mut().filter(|(_, at)| *at <= now) {
            *at = now + self.lease / 2;
            due.push(id.clone());
        }
        for id in due {
            let by = prost_types::Duration::try_from(self.lease).unwrap_or_default();
            self.tell(id, Outcome::Extend(pb::Extend { by: Some(by) })).await?;
        }
        Ok(())
    }

    /// Whether the group has nothing left to do.
    async fn is_over(
        &mut self,
        client: &mut ConsumerServiceClient<Channel>,
        group: &str,
    ) -> Result<bool, Broken> {
        let request = pb::GetConsumerGroupRequest { group: group.to_owned() };
        let answer = client.get_consumer_group(request).await.map_err(|status| sort(&status))?.into_inner();
        let status = answer.consumer_group.and_then(|group| group.status).unwrap_or_default();
        let settled = status.events_behind == 0 || status.blocked_tickets > 0;
        let idle = settled && status.in_flight == 0 && status.retrying == 0;
        Ok(std::mem::replace(&mut self.is_idle, idle) && idle)
    }

    /// Says once that no more is wanted.
    async fn stop(&mut self) -> Result<(), Broken> {
        if self.stopping {
            return Ok(());
        }
        self.stopping = true;
        self.ask(Ask::Stop(pb::ConsumeStop {})).await
    }
}

fn span(span: Option<&prost_types::Duration>, default: Duration) -> Duration {
    let told = span.and_then(|span| Duration::try_from(*span).ok());
    told.filter(|span| !span.is_zero()).unwrap_or(default)
}
