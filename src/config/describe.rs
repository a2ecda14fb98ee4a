//! What was understood, in the file's own form: reading it again gives the same configuration. Of secrets it tells
//! only where they come from.

use super::units::{show_duration, show_size};
use super::{Bot, Config, LogFormat, Media, Reconcile, Router, SecretRef, Silence};
use crate::blip::media::HostPattern;

pub(super) fn describe(config: &Config) -> String {
    let Config { webhook, grpc, admin, store, commands, media, reconcile, bots, log, warnings } = config;
    let format = match log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    let size = |name: &str, bytes: Option<u64>| match bytes.map(usize::try_from) {
        Some(Ok(bytes)) => format!("{name} = {}", quoted(&show_size(bytes))),
        Some(Err(_)) | None => format!("# {name} is not set"),
    };
    let mut lines = vec![
        "[webhook]".to_owned(),
        format!("listen = {}", quoted(&webhook.listen.to_string())),
        format!("body_limit = {}", quoted(&show_size(webhook.body_bytes_max))),
        format!("insecure = {}\n\n[grpc]", webhook.insecure),
        format!("listen = {}", quoted(&grpc.listen.to_string())),
        format!("streams_max = {}", grpc.streams_max),
        format!("insecure = {}\n\n[admin]", grpc.insecure),
        format!("listen = {}", quoted(&admin.listen.to_string())),
        format!("insecure = {}\n\n[store]", admin.insecure),
        "kind = \"sqlite\"".to_owned(),
        format!("path = {}", quoted(&store.path.display().to_string())),
        format!("retention = {}", quoted(&show_duration(store.retention))),
        size("max_size", store.size_bytes_max),
        size("pin_max_size", store.pinned_bytes_max),
        format!("queue_max = {}\n\n[commands]", store.queue_max),
        format!("accept_only_expiry = {}", quoted(&show_duration(commands.accept_only_expiry))),
        format!("queue_max = {}\n", commands.queue_max),
    ];
    lines.extend(files(media));
    lines.extend(reading_back(reconcile));
    lines.extend([
        "[log]".to_owned(),
        format!("level = {}", quoted(&log.level)),
        format!("format = {}", quoted(format)),
    ]);
    lines.extend(bots.iter().flat_map(bot));
    if !warnings.is_empty() {
        lines.push(String::new());
    }
    lines.extend(warnings.iter().map(|warning| format!("# warning: {warning}")));
    lines.push(String::new());
    lines.join("\n")
}

fn files(media: &Media) -> Vec<String> {
    let Media { hosts, key_hosts, size_bytes_max, time_max, fetches_max } = media;
    let texts = |hosts: &[HostPattern]| {
        let texts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        list(texts.iter().map(String::as_str))
    };
    vec![
        "[media]".to_owned(),
        format!("hosts = {}", texts(hosts)),
        format!("key_hosts = {}", texts(key_hosts)),
        format!(
            "size_limit = {}",
            quoted(&show_size(usize::try_from(*size_bytes_max).unwrap_or(usize::MAX)))
        ),
        format!("time_limit = {}", quoted(&show_duration(*time_max))),
        format!("fetches_max = {fetches_max}\n"),
    ]
}

fn reading_back(reconcile: &Reconcile) -> Vec<String> {
    let Reconcile { enabled, share_percent, interval, grace, earlier, lookback, silence, business_hours } =
        reconcile;
    let silence = match silence {
        Silence::Off => "off".to_owned(),
        Silence::Learnt => "learnt".to_owned(),
        Silence::After(time) => show_duration(*time),
    };
    let mut lines = vec![
        "[reconcile]".to_owned(),
        format!("enabled = {enabled}"),
        format!("share_percent = {share_percent}"),
        format!("interval = {}", quoted(&show_duration(*interval))),
        format!("grace = {}", quoted(&show_duration(*grace))),
        format!("earlier = {}", quoted(&earlier.map_or_else(|| "off".to_owned(), show_duration))),
        format!("lookback = {}", quoted(&show_duration(*lookback))),
        format!("silence = {}", quoted(&silence)),
    ];
    lines.extend(business_hours.map(|hours| format!("business_hours = {}", quoted(&hours.to_string()))));
    lines.push(String::new());
    lines
}

fn bot(bot: &Bot) -> Vec<String> {
    let Bot { name, identity, url, key, router, crm, webhook_tokens, webhook_headers, rates } = bot;
    let (key_name, key_place) = place(key);
    let mut lines = vec![
        "\n[[bots]]".to_owned(),
        format!("name = {}", quoted(name)),
        format!("identity = {}", quoted(&identity.to_string())),
        format!("url = {}", quoted(url)),
        format!("key_{key_name} = {} # set ({key})", quoted(&key_place)),
    ];
    if let Some(Router { key, identity }) = router {
        let (key_name, key_place) = place(key);
        lines.push(format!("router_key_{key_name} = {} # set ({key})", quoted(&key_place)));
        lines.extend(
            identity.iter().map(|router| format!("router_identity = {}", quoted(&router.to_string()))),
        );
    }
    lines.push(format!("crm = {}", quoted(&crm.to_string())));
    for kind in ["env", "file"] {
        let places: Vec<_> = webhook_tokens.iter().map(place).filter(|(found, _)| *found == kind).collect();
        if !places.is_empty() {
            let places = list(places.iter().map(|(_, place)| place.as_str()));
            lines.push(format!("webhook_token_{kind} = {places} # set"));
        }
    }
    lines.push(format!("webhook_header = {}", list(webhook_headers.iter().map(http::HeaderName::as_str))));
    lines.push(format!(
        "rates = {{ messages = {}, notifications = {}, commands = {} }}",
        rates.messages, rates.notifications, rates.commands
    ));
    lines
}

fn place(secret: &SecretRef) -> (&'static str, String) {
    match secret {
        SecretRef::Env(name) => ("env", name.clone()),
        SecretRef::File(path) => ("file", path.display().to_string()),
    }
}

fn list<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    format!("[{}]", texts.map(quoted).collect::<Vec<_>>().join(", "))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
