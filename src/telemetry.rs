//! What an operator sees: the log on stderr, and the registry of metrics. The log's subscriber is the one
//! process-wide thing there is, and only `main` installs it; a registry belongs to whoever made it.

use std::io::{self, IsTerminal};

use prometheus_client::registry::Registry;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{Log, LogFormat, check_level};

/// What every metric's name begins with.
const PREFIX: &str = "deskgate";

/// Why nothing is logged.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is neither one nor directives.
    #[error("`{level}` is no log level; {fix}")]
    Level {
        /// What was asked for.
        level: String,
        /// What to write.
        fix: String,
    },
    /// The filter does not take what was checked.
    #[error("`{level}` is no log level")]
    Filter {
        /// What was asked for.
        level: String,
        /// Why it is none.
        source: ParseError,
    },
    /// Somebody installed a subscriber before.
    #[error("a log subscriber is installed already")]
    Installed(#[from] TryInitError),
}

/// Installs the log for the whole process: to stderr, colored if that is a terminal. For `main` only.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let colored = io::stderr().is_terminal();
    match log.format {
        LogFormat::Text => text(filter(log)?, colored, io::stderr).try_init()?,
        LogFormat::Json => json(filter(log)?, io::stderr).try_init()?,
    }
    Ok(())
}

/// An empty registry, for one application.
pub fn registry() -> Registry {
    Registry::with_prefix(PREFIX)
}

fn filter(log: &Log) -> Result<EnvFilter, TelemetryError> {
    let level = log.level.clone();
    if let Err(fix) = check_level(&level) {
        return Err(TelemetryError::Level { level, fix });
    }
    EnvFilter::try_new(&log.level).map_err(|source| TelemetryError::Filter { level, source })
}

fn text<W>(filter: EnvFilter, colored: bool, to: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::registry().with(filter).with(fmt::layer().with_ansi(colored).with_writer(to))
}

fn json<W>(filter: EnvFilter, to: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false);
    tracing_subscriber::registry().with(filter).with(layer.with_writer(to))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn written(log: &Log) -> String {
        let sink = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&sink);
        let writer = move || Sink(Arc::clone(&to));
        let lines = || {
            tracing::info!(bot = "suporte", "seen");
            tracing::debug!("too much");
        };
        match log.format {
            LogFormat::Text => {
                tracing::subscriber::with_default(text(filter(log).unwrap(), false, writer), lines);
            }
            LogFormat::Json => {
                tracing::subscriber::with_default(json(filter(log).unwrap(), writer), lines);
            }
        }
        String::from_utf8(sink.lock().unwrap().clone()).unwrap()
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn text_is_for_people() {
        let text = written(&Log::default());
        assert!(text.ends_with("seen bot=\"suporte\"\n") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = written(&Log { format: LogFormat::Json, ..Log::default() });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["message"], &line["bot"], &line["level"]),
            (&"seen".into(), &"suporte".into(), &"INFO".into())
        );
    }

    #[test]
    fn levels_are_levels_or_directives() {
        assert_eq!(written(&Log { level: "warn".to_owned(), ..Log::default() }), "");
        let only_us = Log { level: "off,deskgate::telemetry=debug".to_owned(), ..Log::default() };
        assert_eq!(written(&only_us).lines().count(), 2);
        for wrong in ["a=b=c", "wran", "deskgate"] {
            let wrong = Log { level: wrong.to_owned(), ..Log::default() };
            assert!(matches!(filter(&wrong), Err(TelemetryError::Level { .. })));
        }
    }
}
