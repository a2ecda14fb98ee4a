//! Addresses: identity `name@domain` and node `name@domain/instance`. Compared without regard to case.

use std::fmt;
use std::hash::{Hash, Hasher};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The router's domain: `{bot}@tunnel.msging.net/{encoded originator}` on its own side.
const TUNNEL: &str = "tunnel.msging.net";

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

    /// Who a text names that may be a node, with an instance, and may be percent-encoded as a whole: decoded once.
    /// Of a router's own address, the one behind it. `None` where there is no address.
    ///
    /// ```
    /// # use deskgate::lime::Identity;
    /// let customer = Identity::named("5531999990000%40wa.gw.msging.net%2Fdefault").unwrap();
    /// assert_eq!(customer.to_string(), "5531999990000@wa.gw.msging.net");
    /// ```
    pub fn named(text: &str) -> Option<Self> {
        let nested = |text: &str| Some(decode_component(text)).filter(|inner| inner.contains('@'));
        let whole = if text.contains('@') { None } else { nested(text) };
        let node = Node::parse(whole.as_deref().unwrap_or(text))?;
        let behind = node.instance.as_deref().filter(|_| node.identity.is_at(TUNNEL)).and_then(nested);
        match behind.and_then(|inner| Node::parse(&inner)) {
            Some(inner) => Some(inner.identity),
            None => Some(node.identity),
        }
    }

    /// Whether this identity lives at `domain`.
    pub fn is_at(&self, domain: &str) -> bool {
        self.domain.eq_ignore_ascii_case(domain)
    }
}

impl From<Identity> for String {
    /// As it is displayed, in the memory of its name.
    fn from(identity: Identity) -> Self {
        let Identity { name: mut text, domain } = identity;
        if !domain.is_empty() {
            text.reserve_exact(domain.len().saturating_add(1));
            text.push('@');
            text.push_str(&domain);
        }
        text
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
    /// `/`, and the rest is the instance. `None` for a text that names neither, which is no address.
    ///
    /// ```
    /// # use deskgate::lime::Node;
    /// let node = Node::parse("76f5@desk.msging.net/Webhook").unwrap();
    /// assert_eq!((node.identity.name.as_str(), node.instance.as_deref()), ("76f5", Some("Webhook")));
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if matches!(text, "" | "@") {
            return None;
        }
        let (name, rest) = text.split_once('@').unwrap_or((text, ""));
        let (domain, instance) = match rest.split_once('/') {
            Some((domain, instance)) => (domain, Some(instance.to_owned())),
            None => (rest, None),
        };
        Some(Self { identity: Identity::new(name.trim(), domain.trim()), instance })
    }
}

impl fmt::Display for Node {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instance {
            // Without the `@` the instance would read as part of the name.
            Some(instance) if self.identity.domain.is_empty() => {
                write!(out, "{}@/{instance}", self.identity.name)
            }
            Some(instance) => write!(out, "{}/{instance}", self.identity),
            None => self.identity.fmt(out),
        }
    }
}

/// Percent-encodes a whole component, as a nested address or an identity inside a URI path needs.
pub fn encode_component(text: &str) -> String {
    utf8_percent_encode(text, COMPONENT).to_string()
}

/// What may stand as it is in a text within a query: the `@` of an identity, as Blip's own samples have it.
const QUERY_TEXT: &AsciiSet = &COMPONENT.remove(b'@');

/// Percent-encodes a text inside the query of a URI.
pub fn encode_text(text: &str) -> String {
    utf8_percent_encode(text, QUERY_TEXT).to_string()
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
    use proptest::prelude::*;

    use super::*;

    /// Text with much of what addresses are made of.
    fn addressy() -> impl Strategy<Value = String> {
        prop_oneof!["[a-zA-Z0-9@/%. é]{0,12}", any::<String>()]
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(text in addressy()) {
            if let Some(node) = Node::parse(&text) {
                let shown = node.to_string();
                let again = Node::parse(&shown).unwrap();
                prop_assert_eq!(&again, &node);
                prop_assert_eq!(again.to_string(), shown, "and shown alike");
            } else {
                prop_assert!(matches!(text.trim(), "" | "@"));
            }
        }

        #[test]
        fn a_full_address_is_shown_as_it_came(text in "[a-z%0-9.]{1,8}@[a-z.]{1,8}(/[a-z@/#!%]{0,8})?") {
            prop_assert_eq!(Node::parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn case_makes_no_difference(text in addressy()) {
            let alike = |text: &str| Node::parse(text).map(|node| node.identity);
            prop_assert_eq!(alike(&text.to_ascii_uppercase()), alike(&text.to_ascii_lowercase()));
        }

        #[test]
        fn any_address_nests_in_another_and_comes_out_once_decoded(text in addressy()) {
            let encoded = encode_component(&text);
            prop_assert_eq!(decode_component(&encoded), text.clone());
            prop_assume!(!text.is_empty());
            let outer = Node::parse(&format!("{encoded}@desk.msging.net/Webhook")).unwrap();
            prop_assert!(outer.identity.is_at("desk.msging.net"));
            prop_assert_eq!(decode_component(&outer.identity.name), text);
        }

        #[test]
        fn who_is_named_has_no_instance(name in "[a-z0-9]{1,8}", instance in "(/[a-z%@/]{0,6})?") {
            let node = format!("{name}@wa.gw.msging.net{instance}");
            let behind = format!("bot%40msging.net@tunnel.msging.net/{}", encode_component(&node));
            for text in [node.clone(), encode_component(&node), behind] {
                let named = Identity::named(&text).unwrap();
                prop_assert_eq!(named.to_string(), format!("{name}@wa.gw.msging.net"), "{}", text);
            }
        }
    }

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
        assert_eq!((Node::parse("  "), Node::parse("@")), (None, None));
        assert_eq!(Node::parse("a@/b").unwrap().to_string(), "a@/b");
    }

    #[test]
    fn only_one_layer_is_taken_off() {
        let named = |text| Identity::named(text).map(|identity| identity.to_string());
        assert_eq!(named("ana%2540empresa.com%40blip.ai").unwrap(), "ana%40empresa.com@blip.ai");
        assert_eq!(named("ana%40empresa.com@blip.ai/x").unwrap(), "ana%40empresa.com@blip.ai");
        assert_eq!(named("54f1@tunnel.msging.net/default").unwrap(), "54f1@tunnel.msging.net");
        assert_eq!((named("name"), named(" ")), (Some("name".to_owned()), None));
    }

    #[test]
    fn compares_without_case_and_decodes_once() {
        assert_eq!(Node::parse("Ana@Desk.MSGING.net"), Node::parse("ana@desk.msging.net"));
        assert_eq!(decode_component("john%2540email.net"), "john%40email.net");
        assert_eq!(decode_component("%FF"), "%FF");
    }
}
