//! Environment variables that look like ours and mean nothing: most often a twin that is misspelt, whose key keeps its
//! default without a word.

use std::collections::BTreeSet;

use super::{Config, MapSource, Overrides, SecretRef, Source, reading, sections};

/// What the names of our variables begin with.
const OURS: &str = "DESKGATE_";

/// A warning for each variable of ours that is set and that nobody asks for. `others` are those of the command line.
pub(super) fn strangers(config: &Config, source: &dyn Source, others: &BTreeSet<String>) -> Vec<String> {
    let mut known = twins();
    known.extend(others.iter().cloned());
    let secrets = config.bots.iter().flat_map(|bot| {
        bot.webhook_tokens.iter().chain([&bot.key]).chain(bot.router.as_ref().map(|router| &router.key))
    });
    known.extend(secrets.filter_map(|secret| match secret {
        SecretRef::Env(name) => Some(name.clone()),
        SecretRef::File(_) => None,
    }));
    let strange = source.names().into_iter().filter(|name| name.starts_with(OURS) && !known.contains(name));
    let strange = strange.filter(|name| {
        source.var(name).is_some_and(|value| !value.is_empty() && !is_of_a_cluster(name, &value))
    });
    strange.map(|name| warning(&name, &known)).collect()
}

fn warning(name: &str, known: &BTreeSet<String>) -> String {
    let fix = match reading::nearest(known.iter().map(String::as_str), name) {
        Some(near) => format!("did you mean {near}?"),
        None => "docs/CONFIGURATION.md tells which there are".to_owned(),
    };
    format!("{name}: this variable is set, and means nothing; {fix}")
}

/// The twins of all keys.
fn twins() -> BTreeSet<String> {
    let (_, keys) = sections::load(&MapSource::new(), None, &Overrides::default());
    let keys = keys.iter().filter(|key| key.contains('.') && !key.starts_with("bots"));
    keys.map(|key| reading::twin_of(key)).collect()
}

/// Whether it is one that Kubernetes sets in all pods beside a service called `deskgate…`.
fn is_of_a_cluster(name: &str, value: &str) -> bool {
    let is_address = ["tcp://", "udp://"].iter().any(|scheme| value.starts_with(scheme));
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || name.ends_with("_PORT") && is_address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_nothing_is_told_with_what_is_nearest() {
        let bot = "[[bots]]\nname = 'a'\nidentity = 'a@msging.net'\nurl = 'https://c.http.msging.net'\n\
                   key_env = 'DESKGATE_A_KEY'\nwebhook_token_env = ['TOKEN']";
        let mut source = MapSource::new().with_var("TOKEN", "0123456789abcdef");
        for (name, value) in [
            ("DESKGATE_A_KEY", "abc"),
            ("DESKGATE_LOG_LEVEL", "info"),
            ("DESKGATE_CHECK_ONLINE", "true"),
            ("DESKGATE_STORE_RETENTOIN", "1d"),
            ("DESKGATE_SERVR", "127.0.0.1:1"),
            ("DESKGATE_EVERYTHING_AT_ONCE", "yes"),
            ("DESKGATE_STORE_PAHT", ""),
            ("DESKGATE_PORT", "tcp://10.0.0.1:50051"),
            ("DESKGATE_PORT_50051_TCP_ADDR", "10.0.0.1"),
            ("DESKGATE_SERVICE_HOST", "10.0.0.1"),
            ("OTHER_LOG_LEVLE", "x"),
        ] {
            source = source.with_var(name, value);
        }
        let file = std::path::Path::new("deskgate.toml");
        let config = Config::load(&source, Some((file, bot)), &Overrides::default()).unwrap();
        let flags = ["DESKGATE_SERVER", "DESKGATE_CHECK_ONLINE"].map(str::to_owned).into();
        let said = config.strangers(&source, &flags);
        let said: Vec<_> =
            said.iter().map(|line| line.replace(": this variable is set, and means nothing", "")).collect();
        assert_eq!(
            said,
            [
                "DESKGATE_EVERYTHING_AT_ONCE; docs/CONFIGURATION.md tells which there are",
                "DESKGATE_SERVR; did you mean DESKGATE_SERVER?",
                "DESKGATE_STORE_RETENTOIN; did you mean DESKGATE_STORE_RETENTION?",
            ]
        );
    }
}
