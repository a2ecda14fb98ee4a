//! `[media]`: which files may be fetched for callers, and how much of them.

use std::time::Duration;

use super::reading::{Reading, Section};
use super::{Media, units};
use crate::blip::media::HostPattern;

/// Where Blip keeps files, as far as it is known.
const HOSTS: [&str; 3] = ["blipmediastore.blob.core.windows.net", "*.msging.net", "*.blip.ai"];
/// Blip's own, which take a bot's key.
const KEY_HOSTS: [&str; 1] = ["*.msging.net"];
/// Enough for any list: each is looked at for every link.
const HOSTS_MAX: usize = 64;
/// The largest file that can be allowed.
const SIZE_BYTES_MAX: usize = 4 << 30;
/// As large as channels take a document, at most.
const SIZE_BYTES: usize = 100 << 20;

pub(super) fn read(mut section: Section, reading: &mut Reading<'_>) -> Media {
    let hosts = hosts_of("hosts", &HOSTS, &mut section, reading);
    let key_hosts = hosts_of("key_hosts", &KEY_HOSTS, &mut section, reading);
    let bounded = |text: &str| units::size(text).filter(|size| (1024..=SIZE_BYTES_MAX).contains(size));
    let fix = "write it like 16MiB or 100MiB";
    let size = section.parsed("size_limit", "is no size from 1KiB to 4096MiB", fix, reading, bounded);
    let bounded = |text: &str| units::duration(text).filter(|time| (1..=3_600).contains(&time.as_secs()));
    let time =
        section.parsed("time_limit", "is no time from 1s to 1h", "write it like 90s or 5m", reading, bounded);
    let fetches_max = section.count("fetches_max", 10_000, reading);
    section.finish(reading);
    Media {
        hosts,
        key_hosts,
        size_bytes_max: u64::try_from(size.unwrap_or(SIZE_BYTES)).unwrap_or(u64::MAX),
        time_max: time.unwrap_or(Duration::from_mins(5)),
        fetches_max: fetches_max.unwrap_or(64),
    }
}

fn hosts_of(
    key: &'static str,
    default: &[&str],
    section: &mut Section,
    reading: &mut Reading<'_>,
) -> Vec<HostPattern> {
    let texts = section.texts(key, reading);
    let texts = texts.unwrap_or_else(|| default.iter().map(|&text| text.to_owned()).collect());
    if texts.len() > HOSTS_MAX {
        let fix = format!("name at most {HOSTS_MAX}, or a whole domain as *.example.com");
        reading.fault(section.at(key), format!("this names {} hosts", texts.len()), fix);
    }
    let mut hosts = Vec::with_capacity(texts.len());
    for text in texts {
        match HostPattern::parse(&text) {
            Ok(host) => hosts.push(host),
            Err(what) => reading.fault(
                section.at(key),
                format!("`{}` {what}", text.escape_debug()),
                "write a host, like media.example.com, *.example.com or 127.0.0.1:8090",
            ),
        }
    }
    hosts
}
