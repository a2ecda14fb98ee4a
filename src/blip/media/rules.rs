//! Which links may be fetched: the hosts an operator lists, over https, and no address that only this machine or its
//! network can reach. A customer chooses the link, so it must not choose whom we talk to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// The longest link that is looked at, in bytes.
const LINK_BYTES_MAX: usize = 8 * 1024;
/// The machine's own name for itself.
const LOCALHOST: &str = "localhost";

/// A host that may be asked, as an operator writes it: `media.example.com`, `*.example.com`, `127.0.0.1:8090`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    /// In lower case; of `*.example.com` what follows the star, with its dot.
    name: String,
    /// Any name that ends with `name`.
    subdomains: bool,
    port: Option<u16>,
    /// It is this machine itself, by its address or as `localhost`: an operator says so, no link can.
    loopback: bool,
}

impl HostPattern {
    /// Reads what an operator wrote; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim().to_ascii_lowercase();
        if text.contains("://") || text.contains('/') {
            return Err("is more than a host");
        }
        let (host, port) = split_port(&text)?;
        if let Ok(address) = host.parse::<IpAddr>() {
            if !address.is_loopback() && !is_public(address) {
                return Err("is an address inside a network, which is never asked");
            }
            let name = address.to_string();
            return Ok(Self { name, subdomains: false, port, loopback: address.is_loopback() });
        }
        let (name, subdomains) = match host.strip_prefix("*.") {
            Some(rest) if !rest.contains('.') => return Err("stands for far too many hosts"),
            Some(rest) => (format!(".{rest}"), true),
            None => (host.to_owned(), false),
        };
        let labels = name.trim_start_matches('.').split('.');
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if !labels.clone().all(is_label) || name.ends_with(|last: char| last.is_ascii_digit()) {
            return Err("is no name of a host");
        }
        let loopback = name == LOCALHOST;
        Ok(Self { name, subdomains, port, loopback })
    }

    /// Without a port: the usual one, or of this machine itself any.
    fn matches(&self, url: &Url) -> bool {
        let Some(host) = host_of(url) else { return false };
        let port = match (self.port, self.loopback) {
            (Some(port), _) => url.port_or_known_default() == Some(port),
            (None, true) => true,
            (None, false) => url.port().is_none(),
        };
        let name = if self.subdomains {
            host.len() > self.name.len() && host.ends_with(&self.name)
        } else {
            host == self.name
        };
        port && name
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.subdomains { "*" } else { "" };
        match self.port {
            Some(port) if self.name.contains(':') => write!(out, "[{}]:{port}", self.name),
            Some(port) => write!(out, "{star}{}:{port}", self.name),
            None => write!(out, "{star}{}", self.name),
        }
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => return Ok((host, None)),
        Some((host, rest)) => (host, rest.strip_prefix(':').ok_or("is no host")?),
        None => match text.rsplit_once(':') {
            Some(split) => split,
            None => return Ok((text, None)),
        },
    };
    match port.parse() {
        Ok(port) if port > 0 => Ok((host, Some(port))),
        Ok(_) | Err(_) => Err("has no port that could be one"),
    }
}

/// Who may be asked, and who of these may have a bot's key.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Those that may be asked.
    pub hosts: Vec<HostPattern>,
    /// Those that may have the key, if they are among `hosts`.
    pub key_hosts: Vec<HostPattern>,
}

impl Rules {
    /// Reads a link that may be followed; the error says why it may not.
    pub(super) fn link(&self, text: &str) -> Result<Url, String> {
        if text.len() > LINK_BYTES_MAX {
            return Err(format!("must have at most {LINK_BYTES_MAX} bytes"));
        }
        let url = Url::parse(text.trim()).map_err(|error| format!("is no absolute link: {error}"))?;
        self.check(&url)?;
        Ok(url)
    }

    /// Whether a link may be followed, and why not. Addresses behind names are checked when they are resolved.
    pub(super) fn check(&self, url: &Url) -> Result<(), String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("must be a link with https".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not have a user or a password in it".to_owned());
        }
        let host = host_of(url).ok_or("names no host")?;
        let Some(pattern) = self.hosts.iter().find(|pattern| pattern.matches(url)) else {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            return Err(format!("{host}{port} is not among the hosts that may be asked (media.hosts)"));
        };
        if url.scheme() != "https" && !pattern.loopback {
            return Err(format!("must be https: {host} is not asked over plain http"));
        }
        match host.parse::<IpAddr>() {
            Ok(address) if !pattern.loopback && !is_public(address) => Err(not_public(&host)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Whether a link's host may have a bot's key, beside the host of Blip's API itself.
    pub(super) fn may_have_key(&self, url: &Url) -> bool {
        self.key_hosts
            .iter()
            .any(|pattern| pattern.matches(url) && (pattern.loopback || url.scheme() == "https"))
    }
}

/// Whether a name may lead to an address. The link that has the name was checked before.
pub(super) fn may_lead_to(name: &str, address: IpAddr) -> bool {
    if name.eq_ignore_ascii_case(LOCALHOST) { address.is_loopback() } else { is_public(address) }
}

/// What is said of a host inside a network; not its address, which is nobody's business.
pub(super) fn not_public(host: &str) -> String {
    format!("{host} leads to an address inside a private network, which is never asked")
}

/// The host as patterns have it.
fn host_of(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty() && !host.ends_with('.')).then(|| host.to_ascii_lowercase())
}

/// Whether an address is one of the public Internet: not of this machine, its network, its cloud or nobody.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    let shared = a == 100 && (64..128).contains(&b); // of a provider's network; also a cloud's metadata
    let protocol = a == 192 && b == 0 && c == 0;
    let relay = a == 192 && b == 88 && c == 99;
    let benchmark = a == 198 && (18..20).contains(&b);
    let wire = [a, b, c, d] == [168, 63, 129, 16]; // a cloud's host, at a public address
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local() // also a cloud's metadata
        || address.is_documentation()
        || shared
        || protocol
        || relay
        || benchmark
        || wire;
    !special && a != 0 && a < 224
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([one, two], [three, four]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(one, two, three, four))
    };
    match segments {
        // An IPv4 address in another dress, or behind a translator.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => embedded(high, low),
        // Protocols' own (tunnels among them), and documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        // All that is given out so far.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<HostPattern> {
        texts.iter().map(|text| HostPattern::parse(text).unwrap()).collect()
    }

    fn rules(hosts: &[&str]) -> Rules {
        Rules { hosts: patterns(hosts), key_hosts: patterns(&["*.msging.net", "127.0.0.1:81"]) }
    }

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for public in [
            "1.1.1.1",
            "20.150.0.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00::1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for inside in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "127.0.0.1",
            "127.255.0.9",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.100.100.200",
            "100.64.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.9",
            "168.63.129.16",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "5f00::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
    }

    #[test]
    fn patterns_are_written_as_hosts() {
        for text in [
            "a.example.com",
            "*.msging.net",
            "127.0.0.1:8090",
            "[::1]:8090",
            "::1",
            "localhost",
            "1.1.1.1",
            "x_1.example.com:8443",
        ] {
            assert_eq!(HostPattern::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(HostPattern::parse(" A.Example.COM ").unwrap().to_string(), "a.example.com");
        for bad in [
            "",
            "*",
            "*.com",
            "*.",
            "a..b",
            "https://a.b",
            "a.b/c",
            "a.b:0",
            "a.b:x",
            "a.b:",
            "10.0.0.1",
            "169.254.169.254",
            "fe80::1",
            "127.1",
            "0x7f.1",
            "a b",
            "a.b.",
            "*.*.b.c",
            "[::1",
            "user@a.b",
        ] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn links_go_to_listed_hosts_over_https() {
        let rules = rules(&[
            "*.msging.net",
            "files.example.com",
            "other.example.com:8443",
            "127.0.0.1:81",
            "localhost",
        ]);
        for good in [
            "https://media.msging.net/x?y#z",
            "https://a.b.MSGING.net",
            "https://files.example.com:443/",
            "https://other.example.com:8443/",
            "http://127.0.0.1:81/x",
            "http://localhost:9/",
            "https://localhost/",
        ] {
            assert!(rules.link(good).is_ok(), "{good}: {:?}", rules.link(good));
        }
        for bad in [
            "",
            "x",
            "/x",
            "file:///etc/passwd",
            "ftp://files.example.com",
            "gopher://127.0.0.1:81/",
            "data:text/plain,x",
            "http://files.example.com/",
            "https://msging.net/",
            "https://evilmsging.net/",
            "https://media.msging.net.evil.com/",
            "https://files.example.com:444/",
            "https://files.example.com./",
            "https://media.msging.net@evil.com/",
            "https://u:p@files.example.com/",
            "https://127.0.0.1:81@evil.com/",
            "http://127.0.0.1:82/",
            "http://127.0.0.2:81/",
            "http://2130706434:81/",
            "http://10.0.0.1/",
            "https://169.254.169.254/latest/meta-data/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]:81/",
            "https://[fe80::1]/",
        ] {
            assert!(rules.link(bad).is_err(), "{bad}");
        }
        // 127.0.0.1 in other words is still 127.0.0.1, and listed.
        for same in ["http://2130706433:81/", "http://0x7f.1:81/", "http://127.1:81/"] {
            assert!(rules.link(same).is_ok(), "{same}");
        }
        assert!(rules.link(&format!("https://files.example.com/{}", "x".repeat(LINK_BYTES_MAX))).is_err());
    }

    #[test]
    fn the_key_is_for_blip() {
        let rules = rules(&["*.msging.net", "files.example.com", "127.0.0.1"]);
        let key = |text: &str| rules.may_have_key(&Url::parse(text).unwrap());
        assert!(key("https://media.msging.net/x") && key("http://127.0.0.1:81/"));
        for other in [
            "http://media.msging.net/",
            "https://files.example.com/",
            "https://media.msging.net:444/",
            "http://127.0.0.1:82/",
        ] {
            assert!(!key(other), "{other}");
        }
    }

    #[test]
    fn a_name_leads_nowhere_inside() {
        let to = |name, address: &str| may_lead_to(name, address.parse().unwrap());
        assert!(
            to("media.msging.net", "20.150.0.1") && to("localhost", "127.0.0.1") && to("LOCALHOST", "::1")
        );
        for (name, inside) in [
            ("media.msging.net", "127.0.0.1"),
            ("media.msging.net", "169.254.169.254"),
            ("localhost", "10.0.0.1"),
            ("localhost", "1.1.1.1"),
        ] {
            assert!(!to(name, inside), "{name} {inside}");
        }
    }
}
