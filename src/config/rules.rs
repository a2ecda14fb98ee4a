//! Rules over several keys: what listens where, and who may reach it. A fault names all keys it is about.

use std::net::SocketAddr;

use super::Config;
use super::reading::Reading;

pub(super) fn check(config: &Config, reading: &mut Reading<'_>) {
    let listeners = [
        ("webhook", config.webhook.listen, config.webhook.insecure),
        ("grpc", config.grpc.listen, config.grpc.insecure),
        ("admin", config.admin.listen, config.admin.insecure),
    ];
    for (name, listen, insecure) in listeners {
        reach(name, listen, insecure, reading);
    }
    let [webhook, grpc, admin] = listeners;
    for ((first, one, _), (second, other, _)) in [(webhook, grpc), (webhook, admin), (grpc, admin)] {
        if collide(one, other) {
            reading.fault(
                format!("{second}.listen"),
                format!("{other} is taken by {first}.listen"),
                "give each listener its own port",
            );
        }
    }
    let store = &config.store;
    if let (Some(size), Some(pinned)) = (store.size_bytes_max, store.pinned_bytes_max)
        && pinned > size
    {
        reading.fault(
            "store.pin_max_size",
            "it is more than store.max_size, past which nothing is held back",
            "choose at most store.max_size, or leave it out",
        );
    }
    for bot in config.bots.iter().filter(|bot| bot.webhook_tokens.is_empty()) {
        open_webhook(&bot.name, config, reading);
    }
}

fn reach(name: &str, listen: SocketAddr, insecure: bool, reading: &mut Reading<'_>) {
    if listen.ip().is_loopback() {
        return;
    }
    if insecure {
        reading.warnings.push(format!("{name}.listen: {listen} is open to other machines, without TLS"));
        return;
    }
    reading.fault(
        format!("{name}.listen"),
        format!("{listen} can be reached from other machines, and there is no TLS yet"),
        format!(
            "listen on loopback, or set {name}.insecure = true where a proxy or a private network protects it"
        ),
    );
}

fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_host = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_host
}

fn open_webhook(bot: &str, config: &Config, reading: &mut Reading<'_>) {
    let listen = config.webhook.listen;
    let key = format!("bots[{bot}].webhook_token_env");
    if listen.ip().is_loopback() || config.webhook.insecure {
        let warning = "no token: whoever reaches the webhook listener can post as Blip for this bot";
        reading.warnings.push(format!("{key}: {warning}"));
        return;
    }
    reading.fault(
        key,
        format!("there is no token, and webhook.listen ({listen}) is not loopback"),
        "name the variable that holds the token set in Blip's portal, or set webhook.insecure = true",
    );
}
