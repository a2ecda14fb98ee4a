//! The sections of the file, each with its keys, bounds and defaults. `docs/CONFIGURATION.md` tells the same.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Table;

use super::level::check_level;
use super::reading::{Reading, Section};
use super::{
    Admin, Commands, Config, ConfigError, Fault, Grpc, Log, LogFormat, Overrides, Source, Store, Webhook,
    bots, media, reconcile, rules, secrets, units,
};

/// Reads everything; also tells which keys there are.
pub(super) fn load(
    source: &dyn Source,
    file: Option<(&Path, &str)>,
    overrides: &Overrides,
) -> (Result<Config, ConfigError>, BTreeSet<String>) {
    let mut reading =
        Reading { source, overrides, faults: Vec::new(), warnings: Vec::new(), known: BTreeSet::new() };
    let table = match file.map(|(path, text)| parse(path, text)).transpose() {
        Ok(table) => table.unwrap_or_default(),
        Err(fault) => return (Err(ConfigError { faults: vec![fault] }), reading.known),
    };
    let mut config = read(table, &mut reading);
    rules::check(&config, &mut reading);
    secrets::check(&config.bots, &mut reading);
    let Reading { faults, warnings, known, .. } = reading;
    config.warnings = warnings;
    (if faults.is_empty() { Ok(config) } else { Err(ConfigError { faults }) }, known)
}

/// The library's own rendering quotes the line, which may hold what somebody took for the place of a secret.
fn parse(path: &Path, text: &str) -> Result<Table, Fault> {
    text.parse::<Table>().map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        Fault {
            key: format!("{}:{}", path.display(), before.matches('\n').count() + 1),
            what: format!("this is no TOML: {}", error.message().replace('\n', ", ")),
            fix: "see https://toml.io for the form".to_owned(),
        }
    })
}

fn read(table: Table, reading: &mut Reading<'_>) -> Config {
    let mut root = Section::root(table);
    let config = Config {
        webhook: webhook(root.section("webhook", reading), reading),
        grpc: grpc(root.section("grpc", reading), reading),
        admin: admin(root.section("admin", reading), reading),
        store: store(root.section("store", reading), reading),
        commands: commands(root.section("commands", reading), reading),
        media: media::read(root.section("media", reading), reading),
        reconcile: reconcile::read(root.section("reconcile", reading), reading),
        bots: bots::read(root.sections("bots", reading), reading),
        log: log(root.section("log", reading), reading),
        warnings: Vec::new(),
    };
    root.later("clients", reading);
    root.finish(reading);
    config
}

/// An event must fit the 4 MiB that clients take by default, with what we add to it.
const BODY_LIMIT_BYTES_MAX: usize = 1536 * 1024;

fn webhook(mut section: Section, reading: &mut Reading<'_>) -> Webhook {
    let body_bytes_max = section
        .parsed("body_limit", "is no size", "write it like 512KiB or 1MiB", reading, units::size)
        .unwrap_or(1024 * 1024);
    if !(1024..=BODY_LIMIT_BYTES_MAX).contains(&body_bytes_max) {
        reading.fault(
            "webhook.body_limit",
            format!("{} is out of bounds", units::show_size(body_bytes_max)),
            "choose 1KiB to 1536KiB: an event must fit the 4 MiB that gRPC clients take",
        );
    }
    let webhook = Webhook {
        listen: section.listen(8080, reading),
        body_bytes_max,
        insecure: section.flag("insecure", reading).unwrap_or(false),
    };
    section.later("tls", reading);
    section.finish(reading);
    webhook
}

fn grpc(mut section: Section, reading: &mut Reading<'_>) -> Grpc {
    let grpc = Grpc {
        listen: section.listen(50051, reading),
        streams_max: section.count("streams_max", 1_000_000, reading).unwrap_or(10_000),
        insecure: section.flag("insecure", reading).unwrap_or(false),
    };
    section.later("tls", reading);
    section.finish(reading);
    grpc
}

fn admin(mut section: Section, reading: &mut Reading<'_>) -> Admin {
    let admin = Admin {
        listen: section.listen(9464, reading),
        insecure: section.flag("insecure", reading).unwrap_or(false),
    };
    section.later("tls", reading);
    section.finish(reading);
    admin
}

/// From what makes sense beside the write-ahead log to what a disk may hold.
const STORE_BYTES: RangeInclusive<u64> = 64 << 20..=64 << 40;

fn store(mut section: Section, reading: &mut Reading<'_>) -> Store {
    let only_sqlite = |text: &str| (text == "sqlite").then_some(());
    section.parsed(
        "kind",
        "is no store of this version",
        "write \"sqlite\", the only one there is",
        reading,
        only_sqlite,
    );
    let not_empty = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
    let path = section.parsed("path", "is no path", "name the database file", reading, not_empty);
    let bounded =
        |text: &str| units::duration(text).filter(|kept| (60..=3_650 * 86_400).contains(&kept.as_secs()));
    let retention = section.parsed(
        "retention",
        "is no time from 1m to 3650d",
        "write it like 12h or 7d",
        reading,
        bounded,
    );
    let size = |key, section: &mut Section, reading: &mut Reading<'_>| {
        let bounded = |text: &str| {
            units::size(text)
                .and_then(|bytes| u64::try_from(bytes).ok())
                .filter(|bytes| STORE_BYTES.contains(bytes))
        };
        let (what, fix) = ("is no size from 64MiB to 64TiB", "write it like 512MiB or 20GiB");
        section.parsed(key, what, fix, reading, bounded)
    };
    let size_bytes_max = size("max_size", &mut section, reading);
    let pinned_bytes_max = size("pin_max_size", &mut section, reading);
    let queue_max = section.count("queue_max", 1_000_000, reading);
    section.finish(reading);
    Store {
        size_bytes_max,
        pinned_bytes_max,
        path: path.unwrap_or_else(|| "deskgate.db".into()),
        retention: retention.unwrap_or(Duration::from_hours(7 * 24)),
        queue_max: queue_max.unwrap_or(8192),
    }
}

fn commands(mut section: Section, reading: &mut Reading<'_>) -> Commands {
    let bounded =
        |text: &str| units::duration(text).filter(|kept| (1..=30 * 86_400).contains(&kept.as_secs()));
    let fix = "write it like 15m, 12h or 2d";
    let what = "is no time from 1s to 30d";
    let expiry = section.parsed("accept_only_expiry", what, fix, reading, bounded);
    let queue_max = section.count("queue_max", 1_000_000, reading);
    section.finish(reading);
    Commands {
        accept_only_expiry: expiry.unwrap_or(Duration::from_hours(24)),
        queue_max: queue_max.unwrap_or(10_000),
    }
}

fn log(mut section: Section, reading: &mut Reading<'_>) -> Log {
    let directives = |text: &str| check_level(text).map(|()| text.to_owned());
    let fix = "write a level such as info, or directives";
    let level = section.parsed_or("level", "is no level", fix, reading, directives);
    let named = |text: &str| match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    };
    let format = section.parsed("format", "is no format", "write \"text\" or \"json\"", reading, named);
    section.finish(reading);
    let default = Log::default();
    Log { level: level.unwrap_or(default.level), format: format.unwrap_or(default.format) }
}
