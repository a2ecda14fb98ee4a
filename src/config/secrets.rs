//! The secrets: fetched from where the configuration says, at the start and again while the process runs. They are
//! held in types that print nothing, and no fault repeats one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use super::reading::Reading;
use super::{Bot, Config, ConfigError, Fault, Source};
use crate::auth::{BotKeys, Keys};

/// A token shorter than this can be guessed.
const TOKEN_CHARS_MIN: usize = 16;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// In this environment variable.
    Env(String),
    /// In this file.
    File(PathBuf),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(out, "env {name}"),
            Self::File(path) => write!(out, "file {}", path.display()),
        }
    }
}

/// The secrets of one bot.
#[derive(Debug, Clone)]
pub struct BotSecrets {
    /// The bot's short name.
    pub bot: Arc<str>,
    /// Its key for Blip's API, without the leading `Key `.
    pub blip_key: SecretString,
    /// The key of the router before it, in the same form.
    pub router_key: Option<SecretString>,
    /// What its webhooks must bring; all are valid.
    pub webhook_tokens: Vec<SecretString>,
}

/// All secrets, as they were at one moment; in the order of the configuration's bots.
#[derive(Debug, Clone)]
pub struct ResolvedSecrets(pub Vec<BotSecrets>);

/// The secrets in force, for whoever needs them on each request.
pub struct SecretStore {
    bots: Vec<Bot>,
    current: Mutex<ResolvedSecrets>,
    blip_keys: KeysByBot,
    router_keys: KeysByBot,
    webhook_keys: Arc<Keys>,
}

/// Keys for Blip's API, by the bot's short name.
type KeysByBot = BTreeMap<Arc<str>, watch::Sender<SecretString>>;

impl SecretStore {
    /// Fetches the secrets for the first time.
    pub fn new(config: &Config, source: &dyn Source) -> Result<Self, ConfigError> {
        let current = config.resolve(source)?;
        let blip_keys = current
            .0
            .iter()
            .map(|bot| (Arc::clone(&bot.bot), watch::Sender::new(bot.blip_key.clone())))
            .collect();
        let routers = current.0.iter().filter_map(|bot| Some((&bot.bot, bot.router_key.clone()?)));
        let router_keys = routers.map(|(bot, key)| (Arc::clone(bot), watch::Sender::new(key))).collect();
        let webhook_keys = Arc::new(Keys::new(admissions(&config.bots, &current)));
        let current = Mutex::new(current);
        Ok(Self { bots: config.bots.clone(), current, blip_keys, router_keys, webhook_keys })
    }

    /// Fetches them again, on SIGHUP and every few seconds, and puts what changed in force; tells whose it is.
    /// A fault leaves all as they were.
    pub fn reload(&self, source: &dyn Source) -> Result<Vec<Arc<str>>, ConfigError> {
        let new = resolve(&self.bots, source)?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let changed: Vec<_> = current
            .0
            .iter()
            .zip(&new.0)
            .filter(|(old, new)| !same(old, new))
            .map(|(_, new)| Arc::clone(&new.bot))
            .collect();
        if changed.is_empty() {
            return Ok(changed);
        }
        self.webhook_keys.replace(admissions(&self.bots, &new));
        for bot in &new.0 {
            put_in_force(&self.blip_keys, &bot.bot, Some(&bot.blip_key));
            put_in_force(&self.router_keys, &bot.bot, bot.router_key.as_ref());
        }
        *current = new;
        Ok(changed)
    }

    /// What admits webhooks.
    pub fn webhook_keys(&self) -> Arc<Keys> {
        Arc::clone(&self.webhook_keys)
    }

    /// A bot's key for Blip's API, without the leading `Key `; follows every change.
    pub fn blip_key(&self, bot: &str) -> Option<watch::Receiver<SecretString>> {
        self.blip_keys.get(bot).map(watch::Sender::subscribe)
    }

    /// The key of the router before a bot, in the same form; follows every change. `None` without a router.
    pub fn router_key(&self, bot: &str) -> Option<watch::Receiver<SecretString>> {
        self.router_keys.get(bot).map(watch::Sender::subscribe)
    }
}

impl fmt::Debug for SecretStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SecretStore").field("bots", &self.blip_keys.keys()).finish_non_exhaustive()
    }
}

fn put_in_force(keys: &KeysByBot, bot: &Arc<str>, new: Option<&SecretString>) {
    if let (Some(held), Some(new)) = (keys.get(bot), new) {
        held.send_if_modified(|key| {
            let other = key.expose_secret() != new.expose_secret();
            key.clone_from(new);
            other
        });
    }
}

fn same(old: &BotSecrets, new: &BotSecrets) -> bool {
    let all = |secrets: &BotSecrets| -> Vec<Option<String>> {
        let keys = [Some(&secrets.blip_key), secrets.router_key.as_ref()];
        let tokens = secrets.webhook_tokens.iter().map(Some);
        keys.into_iter().chain(tokens).map(|one| Some(one?.expose_secret().to_owned())).collect()
    };
    all(old) == all(new)
}

fn admissions(bots: &[Bot], secrets: &ResolvedSecrets) -> Vec<BotKeys> {
    bots.iter()
        .zip(&secrets.0)
        .map(|(bot, secrets)| BotKeys {
            bot: Arc::clone(&bot.name),
            headers: bot.webhook_headers.clone(),
            tokens: secrets.webhook_tokens.clone(),
        })
        .collect()
}

/// Fetches all secrets, or tells all that are not there.
pub(super) fn resolve(bots: &[Bot], source: &dyn Source) -> Result<ResolvedSecrets, ConfigError> {
    let mut faults = Vec::new();
    let secrets = bots.iter().filter_map(|bot| resolve_bot(bot, source, &mut faults)).collect();
    if faults.is_empty() { Ok(ResolvedSecrets(secrets)) } else { Err(ConfigError { faults }) }
}

/// `None` only with a fault.
fn resolve_bot(bot: &Bot, source: &dyn Source, faults: &mut Vec<Fault>) -> Option<BotSecrets> {
    let mut fetch = |place: &SecretRef, keys: [&str; 2], fix: &str| {
        let [env, file] = keys;
        let key = if matches!(place, SecretRef::Env(_)) { env } else { file };
        let fault = |what| Fault { key: format!("bots[{}].{key}", bot.name), what, fix: fix.to_owned() };
        fetch(place, source).map_err(|what| faults.push(fault(what))).ok()
    };
    let key = fetch(&bot.key, ["key_env", "key_file"], "put the bot's key there, as the portal shows it");
    let keys = ["router_key_env", "router_key_file"];
    let fix = "put the router's key there, as the portal shows it, or leave the key out";
    let router_key = bot.router.as_ref().map(|router| fetch(&router.key, keys, fix));
    let keys = ["webhook_token_env", "webhook_token_file"];
    let fix = "put the token there that Blip is told to send";
    let tokens: Vec<_> = bot.webhook_tokens.iter().map(|place| fetch(place, keys, fix)).collect();
    Some(BotSecrets {
        bot: Arc::clone(&bot.name),
        blip_key: without_scheme(key?),
        router_key: match router_key {
            None => None,
            Some(key) => Some(without_scheme(key?)),
        },
        webhook_tokens: tokens.into_iter().collect::<Option<_>>()?,
    })
}

/// The error is a fault's `what`.
fn fetch(place: &SecretRef, source: &dyn Source) -> Result<SecretString, String> {
    let text = match place {
        SecretRef::Env(name) => {
            source.var(name).ok_or_else(|| format!("the environment variable {name} is not set"))?
        }
        SecretRef::File(path) => source
            .read(path)
            .map_err(|error| format!("the file {} cannot be read: {error}", path.display()))?,
    };
    match text.trim() {
        "" => Err(format!("the secret is empty ({place})")),
        text if text.contains(|c: char| !c.is_ascii() || c.is_ascii_control()) => {
            Err(format!("the secret has line breaks or characters no header can carry ({place})"))
        }
        text => Ok(SecretString::from(text)),
    }
}

/// People copy the whole header from the portal.
fn without_scheme(key: SecretString) -> SecretString {
    match key.expose_secret().split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("key") => SecretString::from(rest.trim_start()),
        _ => key,
    }
}

/// Whether the secrets are there, and look like what they are for.
pub(super) fn check(bots: &[Bot], reading: &mut Reading<'_>) {
    let secrets = match resolve(bots, reading.source) {
        Ok(secrets) => secrets,
        Err(ConfigError { faults }) => return reading.faults.extend(faults),
    };
    for (bot, secrets) in bots.iter().zip(&secrets.0) {
        if secrets.webhook_tokens.iter().any(|token| token.expose_secret().len() < TOKEN_CHARS_MIN) {
            let warning = "a webhook token is shorter than 16 characters and could be guessed";
            reading.warnings.push(format!("bots[{}]: {warning}", bot.name));
        }
        let router = bot.router.as_ref().and_then(|router| router.identity.as_ref());
        for (key, of, what) in [
            (Some(&secrets.blip_key), Some(&bot.identity), "the key"),
            (secrets.router_key.as_ref(), router, "the router's key"),
        ] {
            if let (Some(owner), Some(of)) = (key.and_then(owner), of)
                && !owner.eq_ignore_ascii_case(&of.name)
            {
                let warning = format!("{what} is that of `{}`, not of {of}", owner.escape_debug());
                reading.warnings.push(format!("bots[{}]: {warning}", bot.name));
            }
        }
    }
}

/// A key is the base64 of `identifier:accessKey`; not documented, so only a hint.
fn owner(key: &SecretString) -> Option<String> {
    let decoded = String::from_utf8(STANDARD.decode(key.expose_secret()).ok()?).ok()?;
    decoded.split_once(':').map(|(owner, _)| owner.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{MapSource, Overrides};
    use super::*;

    const FILE: &str = r#"
        [[bots]]
        name = "suporte"
        identity = "suporte@msging.net"
        url = "https://a.http.msging.net"
        key_file = "key"
        webhook_token_env = ["TOKEN"]
    "#;

    fn source(key: &str) -> MapSource {
        MapSource::new().with_var("TOKEN", "0123456789abcdef").with_file("key", key)
    }

    fn config(source: &MapSource) -> Result<Config, ConfigError> {
        Config::load(source, Some((Path::new("deskgate.toml"), FILE)), &Overrides::default())
    }

    #[test]
    fn a_changed_file_is_put_in_force_and_a_broken_one_changes_nothing() {
        let first = source("Key one\n");
        let config = config(&first).unwrap();
        let store = SecretStore::new(&config, &first).unwrap();
        let key = store.blip_key("suporte").unwrap();
        assert_eq!(key.borrow().expose_secret(), "one");
        assert!(store.blip_key("vendas").is_none());
        assert_eq!(store.reload(&first).unwrap(), []);
        assert!(!key.has_changed().unwrap());

        let fault = store.reload(&source(" \n")).unwrap_err().to_string();
        assert!(fault.contains("bots[suporte].key_file: the secret is empty (file key)"), "{fault}");
        assert_eq!(key.borrow().expose_secret(), "one");

        let rotated = source("two").with_var("TOKEN", "fedcba9876543210");
        assert_eq!(store.reload(&rotated).unwrap(), ["suporte".into()]);
        assert!(key.has_changed().unwrap());
        assert_eq!(key.borrow().expose_secret(), "two");
        let admitted =
            |token| store.webhook_keys().check("suporte", &http::HeaderMap::new(), Some(token)).is_ok();
        assert!(admitted("fedcba9876543210") && !admitted("0123456789abcdef"));
    }

    #[test]
    fn nothing_prints_a_secret() {
        let source = source("s3cret-key");
        let config = config(&source).unwrap();
        let store = SecretStore::new(&config, &source).unwrap();
        let said =
            format!("{config:?} {store:?} {:?} {}", config.resolve(&source).unwrap(), config.describe());
        assert!(!said.contains("s3cret-key") && !said.contains("0123456789abcdef"), "{said}");
    }

    #[test]
    fn a_secret_of_several_lines_is_refused_unseen() {
        let fault = config(&source("s3cret\nother")).unwrap_err().to_string();
        assert!(fault.contains("line breaks") && !fault.contains("s3cret"), "{fault}");
    }

    #[test]
    fn the_key_of_another_bot_is_noticed() {
        let key = STANDARD.encode("vendas:abc");
        let warnings = config(&source(&key)).unwrap().warnings;
        assert_eq!(warnings, ["bots[suporte]: the key is that of `vendas`, not of suporte@msging.net"]);
        let own = STANDARD.encode("SUPORTE:abc");
        assert!(config(&source(&own)).unwrap().warnings.is_empty());
    }
}
