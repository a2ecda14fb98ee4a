//! Values as people write them: sizes, durations, addresses, names. Pure; each error says what to write instead.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::Uri;

/// Reads `512B`, `64KiB`, `1MiB`, `20GiB`.
pub(super) fn size(text: &str) -> Option<usize> {
    let (number, unit) = split_unit(text)?;
    let factor = match unit {
        "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        _ => return None,
    };
    usize::try_from(number.checked_mul(factor)?).ok()
}

/// Writes what [`size`] reads.
pub(super) fn show_size(bytes: usize) -> String {
    match bytes {
        bytes if bytes >= 1024 * 1024 * 1024 && bytes % (1024 * 1024 * 1024) == 0 => {
            format!("{}GiB", bytes / (1024 * 1024 * 1024))
        }
        bytes if bytes >= 1024 * 1024 && bytes % (1024 * 1024) == 0 => {
            format!("{}MiB", bytes / (1024 * 1024))
        }
        bytes if bytes >= 1024 && bytes % 1024 == 0 => format!("{}KiB", bytes / 1024),
        bytes => format!("{bytes}B"),
    }
}

/// Reads `90s`, `15m`, `12h`, `7d`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(factor).map(Duration::from_secs)
}

/// Writes what [`duration`] reads.
pub(super) fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("m", 60)];
    let unit = units.into_iter().find(|(_, size)| seconds.is_multiple_of(*size));
    match unit {
        Some((unit, size)) if seconds > 0 => format!("{}{unit}", seconds / size),
        _ => format!("{seconds}s"),
    }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let (number, unit) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

/// Reads `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`.
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix("localhost:") {
        return Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().ok()?));
    }
    text.parse().ok()
}

/// A bot's short name: `[a-z0-9][a-z0-9_-]{0,31}`.
pub(super) fn is_short_name(text: &str) -> bool {
    let tail = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    text.len() <= 32 && text.chars().all(tail) && !text.starts_with(['-', '_']) && !text.is_empty()
}

/// Whether this can be the name of an environment variable.
pub(super) fn is_variable_name(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().next().is_some_and(|first| !first.is_ascii_digit())
}

/// The base of Blip's HTTP API.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BaseUrl {
    /// Without a slash at the end.
    pub(super) url: String,
    /// Plain http to another machine.
    pub(super) exposed: bool,
}

/// Reads a base URL; the error says what is wrong with it.
pub(super) fn base_url(text: &str) -> Result<BaseUrl, &'static str> {
    let Ok(uri) = text.parse::<Uri>() else { return Err("is no URL") };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("is no absolute URL");
    };
    if !matches!(scheme, "http" | "https") {
        return Err("is neither http nor https");
    }
    if authority.as_str().contains('@') {
        return Err("has a user in it");
    }
    if uri.query().is_some() || text.contains('#') {
        return Err("has more than a base in it");
    }
    let path = uri.path().trim_end_matches('/');
    if ["/commands", "/messages", "/notifications"].iter().any(|end| path.ends_with(end)) {
        return Err("names one of the API's paths, not its base");
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let loopback =
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    Ok(BaseUrl { url: format!("{scheme}://{authority}{path}"), exposed: scheme == "http" && !loopback })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1MiB", 1_048_576),
            ("64KiB", 65_536),
            ("700B", 700),
            (" 2 MiB ", 2_097_152),
            ("20GiB", 21_474_836_480),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
            assert_eq!(size(&show_size(bytes)), Some(bytes));
        }
        for text in ["", "1", "MiB", "1MB", "1mib", "-1KiB", "1.5MiB", "99999999999999999999B", "é"] {
            assert_eq!(size(text), None, "{text}");
        }
        assert_eq!(size("18446744073709551615MiB"), None);
        assert_eq!(show_size(1024 * 1024 + 1024), "1025KiB");
        assert_eq!(show_size(0), "0B");
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
            assert_eq!(show_duration(Duration::from_secs(seconds)), text);
        }
        for text in ["7", "d", "1w", "1h30m", "", "-1s", "1.5h"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(show_duration(Duration::ZERO), "0s");
    }

    #[test]
    fn addresses() {
        assert_eq!(address("localhost:80"), Some(([127, 0, 0, 1], 80).into()));
        assert!(address("[::1]:80").is_some_and(|address| address.ip().is_loopback()));
        for text in ["8080", ":8080", "host:80", "127.0.0.1", "localhost:70000"] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn names() {
        for good in ["a", "0", "suporte-2_b", &"x".repeat(32)] {
            assert!(is_short_name(good), "{good}");
        }
        for bad in ["", "-a", "_a", "A", "a b", "á", "a.b", &"x".repeat(33)] {
            assert!(!is_short_name(bad), "{bad}");
        }
        assert!(is_variable_name("A_1") && is_variable_name("_a"));
        assert!(!is_variable_name("") && !is_variable_name("1A") && !is_variable_name("A-B"));
    }

    #[test]
    fn base_urls() {
        let url = |text| base_url(text).map(|base| (base.url, base.exposed));
        assert_eq!(url("https://a.http.msging.net/"), Ok(("https://a.http.msging.net".to_owned(), false)));
        assert_eq!(url("http://a.example/x/"), Ok(("http://a.example/x".to_owned(), true)));
        assert_eq!(url("http://localhost:8090"), Ok(("http://localhost:8090".to_owned(), false)));
        assert_eq!(url("http://[::1]:8090"), Ok(("http://[::1]:8090".to_owned(), false)));
        for bad in
            ["", "a.http.msging.net", "ftp://a", "https://u:p@a", "https://a/commands", "https://a?b", "x y"]
        {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }
}
