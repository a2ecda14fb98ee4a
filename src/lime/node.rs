//! Addresses: identity `name@domain` and node `name@domain/instance`. Compared without regard to case.

use std::fmt;
use std::hash::{Hash, Hasher};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What RFC 3986 leaves unencoded in a component.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `name@domain`; a missing domain is an empty one.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Before the `@`; may itself be a whole percent-encoded node.
    pub name: String,
    /// Between the `@` and the first `/`; empty where the text has no `@`.
    pub domain: String,
}

impl Identity {
    /// An identity of the two parts as they are.
    pub fn new(name: impl Into<String>, domain: impl Into<String>) -> Self {
        Self { name: name.into(), domain: domain.into() }
    }

    /// The identity of an agent: the e-mail, percent-encoded, at `blip.ai`.
    ///
    /// ```
    /// assert_eq!(deskgate::lime::Identity::agent("ana@empresa.com").to_string(), "ana%40empresa.com@blip.ai");
    /// ```
    pub fn agent(email: &str) -> Self {
        Self::new(encode_component(email), "blip.ai")
    }

    /// Whether this identity lives at `domain`.
    pub fn is_at(&self, domain: &str) -> bool {
        self.domain.eq_ignore_ascii_case(domain)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.domain.as_str() {
            "" => out.write_str(&self.name),
            domain => write!(out, "{}@{domain}", self.name),
        }
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        same(&self.name, &other.name) && same(&self.domain, &other.domain)
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.to_lowercase().hash(state);
        self.domain.to_lowercase().hash(state);
    }
}

/// An identity and, after a `/`, which of its instances.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Whose node this is.
    pub identity: Identity,
    /// After the first `/` of the domain; may contain `@` and `/`. `None` without a `/`.
    pub instance: Option<String>,
}

impl Node {
    /// Reads an address as the reference library does: the name ends at the first `@`, the domain at the next
    /// `/`, and the rest is the instance. `None` for an empty text, which is no address.
    ///
    /// ```
    /// # use deskgate::lime::Node;
    /// let node = Node::parse("76f5@desk.msging.net/Webhook").unwrap();
    /// assert_eq!((node.identity.name.as_str(), node.instance.as_deref()), ("76f5", Some("Webhook")));
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let (name, rest) = text.split_once('@').unwrap_or((text, ""));
        let (domain, instance) = match rest.split_once('/') {
            Some((domain, instance)) => (domain, Some(instance.to_owned())),
            None => (rest, None),
        };
        Some(Self { identity: Identity::new(name, domain), instance })
    }
}

impl fmt::Display for Node {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instance {
            Some(instance) => write!(out, "{}/{instance}", self.identity),
            None => self.identity.fmt(out),
        }
    }
}

/// Percent-encodes a whole component, as a nested address or an identity inside a URI path needs.
pub fn encode_component(text: &str) -> String {
    utf8_percent_encode(text, COMPONENT).to_string()
}

/// Decodes one layer of percent-encoding; text that does not decode stays as it is.
pub fn decode_component(text: &str) -> String {
    percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

fn same(left: &str, right: &str) -> bool {
    left == right || left.to_lowercase() == right.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_documented_shape() {
        for (text, name, domain, instance) in [
            ("name", "name", "", None),
            ("@domain", "", "domain", None),
            ("a@b/", "a", "b", Some("")),
            ("a@b/c@d/e", "a", "b", Some("c@d/e")),
            (
                "1654%40messenger.gw.msging.net@desk.msging.net",
                "1654%40messenger.gw.msging.net",
                "desk.msging.net",
                None,
            ),
        ] {
            let node = Node::parse(text).unwrap();
            assert_eq!(
                (node.identity.name.as_str(), node.identity.domain.as_str()),
                (name, domain),
                "{text}"
            );
            assert_eq!(node.instance.as_deref(), instance, "{text}");
            assert_eq!(node.to_string(), text);
        }
        assert_eq!(Node::parse("  "), None);
    }

    #[test]
    fn compares_without_case_and_decodes_once() {
        assert_eq!(Node::parse("Ana@Desk.MSGING.net"), Node::parse("ana@desk.msging.net"));
        assert_eq!(decode_component("john%2540email.net"), "john%40email.net");
        assert_eq!(decode_component("%FF"), "%FF");
    }
}
