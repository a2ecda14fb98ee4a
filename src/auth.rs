//! Who may post webhooks: the keys of each bot, compared in constant time, several valid at once so that one can
//! be rotated. Never holds a key itself, only digests, and never says more of a request than its headers' names.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use http::header::{HeaderMap, HeaderName};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Schemes a key may be announced by; Blip publishes no format.
const SCHEMES: [&str; 4] = ["Key", "Bearer", "Token", "Basic"];

/// How many values of one header are looked at.
const VALUES_PER_HEADER_MAX: usize = 4;

/// How many values of other headers are looked at, before a webhook without a valid key is refused.
const VALUES_ELSEWHERE_MAX: usize = 64;

/// How many header names a refusal lists.
const NAMES_SEEN_MAX: usize = 40;

/// What admits the webhooks of one bot.
#[derive(Debug, Clone)]
pub struct BotKeys {
    /// The bot's short name.
    pub bot: Arc<str>,
    /// The headers a key may stand in, in the order they are tried.
    pub headers: Vec<HeaderName>,
    /// The valid keys; none admits everybody.
    pub tokens: Vec<SecretString>,
}

/// Why a webhook is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No bot of this name is configured.
    #[error("no bot of this name is configured")]
    UnknownBot,
    /// No valid key in the headers the bot expects it in, nor in the path.
    #[error("no valid webhook key in the request, which had the headers {}", header_names_seen.join(", "))]
    WrongToken {
        /// The names of the headers that were there, so that an operator can find the right one.
        header_names_seen: Vec<String>,
    },
    /// A valid key, in a header that the bot does not expect it in.
    #[error("a valid webhook key in the header {header}, which is not among the bot's webhook_header")]
    TokenElsewhere {
        /// The header's name.
        header: String,
    },
}

/// The webhook keys in force; they can be replaced while requests are checked.
pub struct Keys {
    bots: RwLock<HashMap<Arc<str>, Admission>>,
}

struct Admission {
    headers: Vec<HeaderName>,
    tokens: Vec<[u8; 32]>,
}

impl Keys {
    /// The keys of these bots.
    pub fn new(bots: Vec<BotKeys>) -> Self {
        Self { bots: RwLock::new(table(bots)) }
    }

    /// Puts other keys in force, from the next request on.
    pub fn replace(&self, bots: Vec<BotKeys>) {
        let bots = table(bots);
        *self.bots.write().unwrap_or_else(PoisonError::into_inner) = bots;
    }

    /// The bots that have a webhook, in alphabetical order.
    pub fn bots(&self) -> Vec<Arc<str>> {
        let bots = self.bots.read().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<_> = bots.keys().map(Arc::clone).collect();
        names.sort_unstable();
        names
    }

    /// Whether a request for `bot` with these headers, and perhaps a key in its path, is admitted.
    pub fn check(&self, bot: &str, headers: &HeaderMap, path_token: Option<&str>) -> Result<(), Denied> {
        let bots = self.bots.read().unwrap_or_else(PoisonError::into_inner);
        let admission = bots.get(bot).ok_or(Denied::UnknownBot)?;
        if admission.admits(headers, path_token) {
            return Ok(());
        }
        if let Some(header) = admission.elsewhere(headers) {
            return Err(Denied::TokenElsewhere { header: header.as_str().to_owned() });
        }
        let header_names_seen =
            headers.keys().take(NAMES_SEEN_MAX).map(|name| name.as_str().to_owned()).collect();
        Err(Denied::WrongToken { header_names_seen })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Keys").field(&self.bots()).finish()
    }
}

impl Admission {
    fn admits(&self, headers: &HeaderMap, path_token: Option<&str>) -> bool {
        self.tokens.is_empty()
            || path_token.is_some_and(|token| self.knows(token.as_bytes()))
            || self.headers.iter().any(|name| {
                let values = headers.get_all(name).iter().take(VALUES_PER_HEADER_MAX);
                values.map(|value| value.as_bytes().trim_ascii()).any(|value| self.knows_value(value))
            })
    }

    /// The header that has a valid key, though it is none of those where one is looked for.
    fn elsewhere<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderName> {
        let others =
            headers.iter().filter(|(name, _)| !self.headers.contains(name)).take(VALUES_ELSEWHERE_MAX);
        let mut found = others.filter(|(_, value)| self.knows_value(value.as_bytes().trim_ascii()));
        found.next().map(|(name, _)| name)
    }

    /// A header's value is a key as it stands, or after the name of a scheme.
    fn knows_value(&self, value: &[u8]) -> bool {
        without_scheme(value).is_some_and(|token| self.knows(token)) || self.knows(value)
    }

    /// Every valid key is compared, whatever the earlier ones said, and by digests of one length.
    fn knows(&self, token: &[u8]) -> bool {
        let given = digest(token);
        self.tokens
            .iter()
            .fold(Choice::from(0), |found, valid| found | valid.as_slice().ct_eq(given.as_slice()))
            .into()
    }
}

fn table(bots: Vec<BotKeys>) -> HashMap<Arc<str>, Admission> {
    let admission = |BotKeys { bot, headers, tokens }| {
        let tokens =
            tokens.iter().map(|token: &SecretString| digest(token.expose_secret().as_bytes())).collect();
        (bot, Admission { headers, tokens })
    };
    bots.into_iter().map(admission).collect()
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn without_scheme(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(value.iter().position(|byte| *byte == b' ')?)?;
    SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known.as_bytes())).then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(tokens: &[&str]) -> Keys {
        Keys::new(vec![BotKeys {
            bot: "suporte".into(),
            headers: vec![http::header::AUTHORIZATION, HeaderName::from_static("x-api-key")],
            tokens: tokens.iter().map(|token| SecretString::from(*token)).collect(),
        }])
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn admits(keys: &Keys, pairs: &[(&'static str, &'static str)]) -> bool {
        keys.check("suporte", &headers(pairs), None).is_ok()
    }

    #[test]
    fn a_key_is_taken_raw_or_after_any_scheme() {
        let keys = keys(&["s3cret"]);
        for value in [
            "s3cret",
            "Key s3cret",
            "key s3cret",
            "BEARER s3cret",
            "Token  s3cret",
            "basic s3cret",
            " s3cret ",
        ] {
            assert!(admits(&keys, &[("authorization", value)]), "{value}");
            assert!(admits(&keys, &[("x-api-key", value)]), "{value}");
        }
        for value in ["", "S3cret", "s3cret2", "Other s3cret", "Keys3cret", "Key", "Key ", "s3cret s3cret"] {
            assert!(!admits(&keys, &[("authorization", value)]), "{value}");
        }
    }

    #[test]
    fn a_configured_key_may_contain_its_scheme() {
        let keys = keys(&["Bearer abc"]);
        assert!(admits(&keys, &[("authorization", "Bearer abc")]));
        assert!(!admits(&keys, &[("authorization", "abc")]));
    }

    #[test]
    fn all_keys_are_valid_at_once_in_any_expected_header_and_in_the_path() {
        let keys = keys(&["old", "new"]);
        assert!(admits(&keys, &[("authorization", "Basic other"), ("x-api-key", "new")]));
        assert!(admits(&keys, &[("authorization", "wrong"), ("authorization", "old")]));
        assert!(keys.check("suporte", &HeaderMap::new(), Some("new")).is_ok());
        assert!(keys.check("suporte", &HeaderMap::new(), Some("Key new")).is_err());
        assert!(keys.check("suporte", &HeaderMap::new(), Some("")).is_err());
        assert!(!admits(&keys, &[("x-other", "new")]));
    }

    #[test]
    fn a_refusal_names_headers_and_never_their_values() {
        let keys = keys(&["s3cret"]);
        let seen = headers(&[("x-blip-auth", "hunter2"), ("content-type", "application/json")]);
        let denied = keys.check("suporte", &seen, Some("path-token")).unwrap_err();
        let said = format!("{denied} {denied:?} {keys:?}");
        assert!(said.contains("x-blip-auth"), "{said}");
        assert!(
            !said.contains("hunter2") && !said.contains("path-token") && !said.contains("s3cret"),
            "{said}"
        );
    }

    #[test]
    fn a_key_in_another_header_is_found_and_not_let_in() {
        let keys = keys(&["old", "new"]);
        let check = |pairs: &[(&'static str, &'static str)]| keys.check("suporte", &headers(pairs), None);
        for value in ["new", "Key new", "bearer old"] {
            let pairs = [("content-type", "new s"), ("x-blip-auth", value), ("x-api-key", "wrong")];
            let denied = check(&pairs).unwrap_err();
            assert_eq!(denied, Denied::TokenElsewhere { header: "x-blip-auth".to_owned() });
            let said = format!("{denied} {denied:?}");
            assert!(!said.contains("old") && !said.contains("new"), "{said}");
        }
        assert!(check(&[("x-blip-auth", "new"), ("x-api-key", "new")]).is_ok());
        assert!(matches!(check(&[("x-blip-auth", "news")]), Err(Denied::WrongToken { .. })));
    }

    #[test]
    fn an_unknown_bot_is_denied_and_a_bot_without_keys_admits_everybody() {
        assert_eq!(keys(&["a"]).check("vendas", &HeaderMap::new(), Some("a")), Err(Denied::UnknownBot));
        assert!(admits(&keys(&[]), &[]));
    }

    #[test]
    fn replaced_keys_count_from_the_next_request_on() {
        let keys = keys(&["old"]);
        keys.replace(vec![BotKeys {
            bot: "suporte".into(),
            headers: vec![HeaderName::from_static("token")],
            tokens: vec!["new".into()],
        }]);
        assert!(!admits(&keys, &[("authorization", "old")]));
        assert!(admits(&keys, &[("token", "new")]));
    }
}
