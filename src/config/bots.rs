//! `[[bots]]`: who is served, and where its secrets are.

use std::collections::BTreeSet;
use std::path::PathBuf;

use http::HeaderName;

use super::reading::{Reading, Section};
use super::{Bot, Rates, Router, SecretRef, units};
use crate::lime::{Identity, Node};

/// Blip publishes no header name for a webhook's key: these are tried unless the operator names others.
const WEBHOOK_HEADERS: [&str; 3] = ["Authorization", "X-Api-Key", "Token"];

/// Enough for one bot: each is looked up on every webhook.
const WEBHOOK_HEADERS_MAX: usize = 8;

pub(super) fn read(sections: Vec<Section>, reading: &mut Reading<'_>) -> Vec<Bot> {
    if sections.is_empty() {
        reading.fault("bots", "there is no bot", "add a table [[bots]] with name, identity, url and key_env");
    }
    let mut names = BTreeSet::new();
    let bots: Vec<_> = sections.into_iter().filter_map(|section| bot(section, &mut names, reading)).collect();
    let mut identities = BTreeSet::new();
    for bot in &bots {
        let identity = bot.identity.to_string().to_lowercase();
        if identities.contains(&identity) {
            reading
                .warnings
                .push(format!("bots[{}].identity: another bot has the same one, {identity}", bot.name));
        }
        identities.insert(identity);
    }
    bots
}

/// `None` only with a fault.
fn bot(mut section: Section, names: &mut BTreeSet<String>, reading: &mut Reading<'_>) -> Option<Bot> {
    let name = name(&mut section, names, reading);
    let identity = identity(&mut section, reading);
    let url = url(&mut section, reading);
    let key = key(&mut section, reading);
    let router = router(&mut section, reading);
    let fix = "write it like postmaster@crm.msging.net";
    let crm = section.parsed("crm", "is no identity", fix, reading, address);
    let webhook_tokens = webhook_tokens(&mut section, reading);
    let webhook_headers = webhook_headers(&mut section, reading);
    let rates = rates(&mut section, reading);
    let secrets =
        [("key", "key_env"), ("router_key", "router_key_env"), ("webhook_token", "webhook_token_env")];
    for (secret, other) in secrets {
        let fix = format!("name the environment variable that holds it, with {other}");
        section.refuse(secret, "secrets never stand in this file", &fix, reading);
    }
    section.finish(reading);
    Some(Bot {
        name: name?.into(),
        identity: identity?,
        url: url?,
        key: key?,
        router,
        crm: crm.unwrap_or_else(|| Identity::new("postmaster", "crm.msging.net")),
        webhook_tokens,
        webhook_headers,
        rates,
    })
}

fn name(section: &mut Section, names: &mut BTreeSet<String>, reading: &mut Reading<'_>) -> Option<String> {
    let before = reading.faults.len();
    let fix = "use up to 32 of a-z, 0-9, - and _, beginning with a letter or digit";
    let short = |text: &str| units::is_short_name(text).then(|| text.to_owned());
    let Some(name) = section.parsed("name", "is no short name", fix, reading, short) else {
        required(section, "name", "give the bot a short name, like \"suporte\"", before, reading);
        return None;
    };
    section.rename(format!("bots[{name}]"));
    if !names.insert(name.clone()) {
        reading.fault(section.at("name"), "another bot has this name", "give each its own");
    }
    Some(name)
}

/// Reads a bot's address.
fn address(text: &str) -> Option<Identity> {
    let node = Node::parse(text).filter(|node| node.instance.is_none())?;
    let Identity { name, domain } = &node.identity;
    let whole = !name.is_empty() && !domain.is_empty() && !text.contains(char::is_whitespace);
    whole.then_some(node.identity)
}

fn identity(section: &mut Section, reading: &mut Reading<'_>) -> Option<Identity> {
    let before = reading.faults.len();
    let fix = "write it like suporte@msging.net";
    let identity = section.parsed("identity", "is no identity", fix, reading, address);
    if identity.is_none() {
        required(
            section,
            "identity",
            "give the bot's address at Blip, like suporte@msging.net",
            before,
            reading,
        );
    }
    identity
}

fn url(section: &mut Section, reading: &mut Reading<'_>) -> Option<String> {
    const FIX: &str = "write the base URL the portal shows, like https://contract.http.msging.net";
    let before = reading.faults.len();
    let Some(text) = section.text("url", reading) else {
        required(section, "url", FIX, before, reading);
        return None;
    };
    match units::base_url(text.trim()) {
        Err(fault) => {
            reading.fault(section.at("url"), format!("this {fault}"), FIX);
            None
        }
        Ok(base) => {
            if base.exposed {
                let warning = "plain http to another machine: the bot's key crosses the network readable";
                reading.warnings.push(format!("{}: {warning}; use https", section.at("url")));
            }
            Some(base.url)
        }
    }
}

fn key(section: &mut Section, reading: &mut Reading<'_>) -> Option<SecretRef> {
    let before = reading.faults.len();
    let key = one_secret("key_env", "key_file", section, reading);
    if key.is_none() {
        let fix = "name the variable that holds the bot's key, or a file with key_file";
        required(section, "key_env", fix, before, reading);
    }
    key
}

fn router(section: &mut Section, reading: &mut Reading<'_>) -> Option<Router> {
    let before = reading.faults.len();
    let key = one_secret("router_key_env", "router_key_file", section, reading);
    let fix = "write it like router@msging.net";
    let identity = section.parsed("router_identity", "is no identity", fix, reading, address);
    if key.is_none() && identity.is_some() {
        let fix = "name the variable that holds the router's key, or leave router_identity out";
        required(section, "router_key_env", fix, before, reading);
    }
    Some(Router { key: key?, identity })
}

/// A secret in a variable or a file; `None` without one, or with a fault.
fn one_secret(
    env_key: &'static str,
    file_key: &'static str,
    section: &mut Section,
    reading: &mut Reading<'_>,
) -> Option<SecretRef> {
    let env = section.text(env_key, reading);
    let file = section.text(file_key, reading);
    match (env, file) {
        (Some(env), None) => variable(env, env_key, section, reading),
        (None, Some(file)) => secret_file(file, file_key, section, reading),
        (Some(_), Some(_)) => {
            reading.fault(section.at(env_key), format!("{file_key} is there too"), "keep one of the two");
            None
        }
        (None, None) => None,
    }
}

fn webhook_tokens(section: &mut Section, reading: &mut Reading<'_>) -> Vec<SecretRef> {
    let (env, file) = ("webhook_token_env", "webhook_token_file");
    let names = section.texts(env, reading).unwrap_or_default();
    let paths = section.texts(file, reading).unwrap_or_default();
    let mut tokens: Vec<_> =
        names.into_iter().filter_map(|name| variable(name, env, section, reading)).collect();
    tokens.extend(paths.into_iter().filter_map(|path| secret_file(path, file, section, reading)));
    tokens
}

/// Does not repeat what is no name: it may be the secret itself.
fn variable(name: String, key: &str, section: &Section, reading: &mut Reading<'_>) -> Option<SecretRef> {
    if units::is_variable_name(&name) {
        return Some(SecretRef::Env(name));
    }
    let fix = "write the variable's name (A-Z, 0-9, _), not the secret itself";
    reading.fault(section.at(key), "this is no name of an environment variable", fix);
    None
}

fn secret_file(path: String, key: &str, section: &Section, reading: &mut Reading<'_>) -> Option<SecretRef> {
    if path.is_empty() {
        reading.fault(section.at(key), "this is no path", "name the file that holds the secret");
        return None;
    }
    Some(SecretRef::File(PathBuf::from(path)))
}

fn webhook_headers(section: &mut Section, reading: &mut Reading<'_>) -> Vec<HeaderName> {
    let texts = section.texts("webhook_header", reading);
    let texts = texts.unwrap_or_else(|| WEBHOOK_HEADERS.iter().map(|&name| name.to_owned()).collect());
    if texts.is_empty() || texts.len() > WEBHOOK_HEADERS_MAX {
        let fix = format!("name 1 to {WEBHOOK_HEADERS_MAX} headers, or leave the key out");
        reading.fault(section.at("webhook_header"), format!("this names {} headers", texts.len()), fix);
    }
    let mut headers: Vec<HeaderName> = Vec::with_capacity(texts.len());
    for text in texts {
        match text.trim().parse::<HeaderName>() {
            Ok(header) if headers.contains(&header) => {}
            Ok(header) => headers.push(header),
            Err(_) => reading.fault(
                section.at("webhook_header"),
                format!("`{}` is no name of a header", text.escape_debug()),
                "write it like X-Api-Key",
            ),
        }
    }
    headers
}

fn rates(section: &mut Section, reading: &mut Reading<'_>) -> Rates {
    let named = |text: &str| match text {
        "free" => Some(Rates::FREE),
        "paid" => Some(Rates::PAID),
        _ => None,
    };
    let plan =
        section.parsed("plan", "is no plan", "write \"free\" or \"paid\", or give rates", reading, named);
    let given = section.has("rates");
    let mut own = section.section("rates", reading);
    let mut rate = |key, default| {
        let count = own.count(key, 100_000, reading);
        count.and_then(|count| u32::try_from(count).ok()).unwrap_or(default)
    };
    let base = plan.unwrap_or(Rates::FREE);
    let rates = Rates {
        messages: rate("messages", base.messages),
        notifications: rate("notifications", base.notifications),
        commands: rate("commands", base.commands),
    };
    own.finish(reading);
    if given && plan.is_some() {
        reading.fault(section.at("plan"), "rates are there too", "keep one of the two");
    }
    rates
}

/// A missing key is a fault, unless its value is one already.
fn required(section: &Section, key: &str, fix: &str, faults_before: usize, reading: &mut Reading<'_>) {
    if reading.faults.len() == faults_before {
        reading.fault(section.at(key), "this is missing", fix);
    }
}
