//! `deskgate sandbox`: a stand-in for Blip Desk, and a gateway wired to it, with nothing to configure.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use clap::builder::BoolishValueParser;
use uuid::Uuid;

use super::Listeners;
use super::serve::{allow_open_files, announce, stop_on_signals};
use super::usage::Usage;
use crate::app::{Addresses, App};
use crate::config::{Config, Log, LogFormat, MapSource, SecretStore};
use crate::sandbox::{self, BotConfig, Sandbox, SandboxError, WebhookConfig};
use crate::shutdown::Shutdown;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  deskgate sandbox --demo          a scripted customer writes at once, and answers what you send
  deskgate sandbox                 you are the customer: curl the addresses that are printed
  deskgate sandbox --desk-only --webhook-url http://127.0.0.1:8080/webhooks/BOT --webhook-token TOKEN
                                   only the stand-in, for a gateway of your own

The stand-in's paths, faults and settings are in docs/SANDBOX.md.")]
pub(super) struct SandboxArgs {
    /// Also play a scripted customer.
    #[arg(long, env = "DESKGATE_SANDBOX_DEMO", value_parser = BoolishValueParser::new())]
    demo: bool,
    /// Run only the stand-in for Blip Desk.
    #[arg(long, env = "DESKGATE_SANDBOX_DESK_ONLY", value_parser = BoolishValueParser::new(), conflicts_with_all = ["demo", "data_dir", "webhook_listen", "grpc_listen", "admin_listen"])]
    desk_only: bool,
    /// With --desk-only: where the stand-in posts webhooks: `http://127.0.0.1:8080/webhooks/BOT`.
    #[arg(long, value_name = "URL", env = "DESKGATE_SANDBOX_WEBHOOK_URL", requires = "desk_only")]
    webhook_url: Option<String>,
    /// The token they bring, as in `Authorization: Key …`.
    #[arg(long, value_name = "TOKEN", env = "DESKGATE_SANDBOX_WEBHOOK_TOKEN", requires = "webhook_url")]
    webhook_token: Option<String>,
    /// Where the stand-in listens; on loopback, as its control side asks for no key.
    #[arg(long, value_name = "ADDR", env = "DESKGATE_DESK_LISTEN", default_value = "127.0.0.1:8090")]
    desk_listen: SocketAddr,
    /// Where the stand-in's control side also listens, so that it can be reached while the Desk is off.
    #[arg(long, value_name = "ADDR", env = "DESKGATE_SANDBOX_CONTROL_LISTEN")]
    control_listen: Option<SocketAddr>,
    /// Keep the gateway's database here; without it, in a temporary folder that goes at the end.
    #[arg(long, value_name = "FOLDER", env = "DESKGATE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// The stand-in bot's identity.
    #[arg(
        long,
        value_name = "IDENTITY",
        env = "DESKGATE_SANDBOX_IDENTITY",
        default_value = "sandbox@msging.net"
    )]
    identity: String,
    /// The key the stand-in asks for, as in `Authorization: Key …`.
    #[arg(long, value_name = "KEY", env = "DESKGATE_SANDBOX_KEY", default_value = "c2FuZGJveDpzYW5kYm94")]
    key: String,
    /// The identity of the router before the bot.
    #[arg(
        long,
        value_name = "IDENTITY",
        env = "DESKGATE_SANDBOX_ROUTER_IDENTITY",
        default_value = "router@msging.net"
    )]
    router_identity: String,
    /// The router's key, with which real customers are found and tickets are not.
    #[arg(
        long,
        value_name = "KEY",
        env = "DESKGATE_SANDBOX_ROUTER_KEY",
        default_value = "cm91dGVyOnJvdXRlcg=="
    )]
    router_key: String,
    #[command(flatten)]
    listeners: Listeners,
}

pub(super) async fn run(args: SandboxArgs) -> anyhow::Result<()> {
    let format = match args.listeners.log_format.as_deref() {
        None | Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(other) => {
            return Err(Usage(format!("--log-format {other}: not `text` or `json`")).into());
        }
    };
    let level = args.listeners.log_level.clone().unwrap_or_else(|| "warn,deskgate=info".to_owned());
    crate::telemetry::init(&Log { level, format })?;
    allow_open_files();
    let listeners = [("--desk-listen", Some(args.desk_listen)), ("--control-listen", args.control_listen)];
    for (flag, address) in listeners {
        let Some(address) = address else { continue };
        if !address.ip().is_loopback() {
            let why = "the stand-in's control side asks for no key, so it listens on loopback only";
            return Err(Usage(format!("{flag} {address}: {why}")).into());
        }
    }
    let shutdown = Shutdown::new();
    stop_on_signals(&shutdown)?;
    let desk = Sandbox::bind(sandbox::Config {
        listen: args.desk_listen,
        control_listen: args.control_listen,
        router: BotConfig {
            name: "router".to_owned(),
            identity: args.router_identity.clone(),
            key: args.router_key.clone(),
        },
        bot: BotConfig { name: "sandbox".to_owned(), identity: args.identity.clone(), key: args.key.clone() },
        webhook: args.webhook_url.clone().map(|url| target(url, args.webhook_token.as_deref())),
        ..sandbox::Config::default()
    })
    .await
    .map_err(|error| told(error, args.desk_listen))?;
    if args.desk_only { desk_only(&args, desk, &shutdown).await } else { whole(args, desk, shutdown).await }
}

/// Where the stand-in posts, and how it says who it is.
fn target(url: String, token: Option<&str>) -> WebhookConfig {
    WebhookConfig { url, header: token.map(|token| ("Authorization".to_owned(), format!("Key {token}"))) }
}

/// An error of the stand-in's, under the flag that mends it.
fn told(error: SandboxError, listen: SocketAddr) -> anyhow::Error {
    let flag = match &error {
        SandboxError::Listen { address, .. } => {
            let flag = if *address == listen { "--desk-listen" } else { "--control-listen" };
            format!("{flag} {address}: give another address, or port 0 for a free one")
        }
        SandboxError::Webhook(_) => "--webhook-url".to_owned(),
        SandboxError::Client(_) | SandboxError::Serve(_) => return error.into(),
    };
    anyhow::Error::new(error).context(flag)
}

/// The stand-in alone.
async fn desk_only(args: &SandboxArgs, desk: Sandbox, shutdown: &Shutdown) -> anyhow::Result<()> {
    let address = desk.local_addr();
    let mut out = io::stdout().lock();
    writeln!(out, "The stand-in for Blip Desk is at http://{address}; its key is `{}`.", args.key)?;
    if let Some(url) = &args.webhook_url {
        writeln!(out, "It posts webhooks to {url}. Open a conversation:\n")?;
    } else {
        writeln!(out, "Point it at a gateway, then open a conversation:\n")?;
        writeln!(
            out,
            "  curl -X PUT http://{address}/webhook -d '{{\"url\": \"http://127.0.0.1:8080/webhooks/BOT/TOKEN\"}}'"
        )?;
    }
    writeln!(out, "  curl http://{address}/customers -d '{{\"text\": \"Bom dia\"}}'")?;
    writeln!(out, "\nIts other paths, faults and settings: docs/SANDBOX.md")?;
    drop(out);
    let addresses = Addresses { desk: Some(address), control: desk.control_addr(), ..Addresses::default() };
    announce(&addresses, args.listeners.addresses_file.as_deref())?;
    desk.serve(shutdown.soft().clone()).await?;
    Ok(())
}

/// The stand-in and a gateway wired to it.
async fn whole(args: SandboxArgs, desk: Sandbox, shutdown: Shutdown) -> anyhow::Result<()> {
    let (folder, temporary) = match &args.data_dir {
        Some(folder) => (folder.clone(), false),
        None => (std::env::temp_dir().join(format!("deskgate-sandbox-{}", Uuid::now_v7())), true),
    };
    let mut builder = std::fs::DirBuilder::new();
    if temporary {
        builder.mode(0o700); // others use the same folder of temporary files
    }
    let made = builder.recursive(true).create(&folder);
    made.with_context(|| format!("{}: cannot be made", folder.display()))?;
    let token = Uuid::new_v4().simple().to_string();
    let source = MapSource::new().with_var("KEY", &args.key).with_var("TOKEN", &token);
    let source = source.with_var("ROUTER_KEY", &args.router_key);
    let file = configuration(&args, desk.local_addr(), &folder);
    let config =
        Config::load(&source, Some((std::path::Path::new("sandbox"), &file)), &args.listeners.overrides())?;
    let secrets = Arc::new(SecretStore::new(&config, &source)?);
    let app = App::start(&config, secrets, Arc::new(source), shutdown.clone())?;
    let addresses =
        Addresses { desk: Some(desk.local_addr()), control: desk.control_addr(), ..app.addresses().clone() };
    if let Some(webhook) = addresses.webhook {
        let url = format!("http://{webhook}/webhooks/sandbox");
        desk.set_webhook(target(url, Some(&token)));
    }
    let handle = desk.handle();
    let serving = desk.serve(shutdown.soft().clone());
    shutdown.spawn_service("sandbox desk", async move { Ok(serving.await?) });
    announce(&addresses, args.listeners.addresses_file.as_deref())?;
    welcome(&addresses, args.demo, temporary, &folder)?;
    if args.demo {
        drop(shutdown.spawn(sandbox::demo(handle, shutdown.soft().clone())));
    }
    let finished = app.finish().await;
    if temporary && let Err(error) = std::fs::remove_dir_all(&folder) {
        tracing::warn!(folder = %folder.display(), %error, "the temporary folder could not be removed");
    }
    finished
}

fn configuration(args: &SandboxArgs, desk: SocketAddr, folder: &std::path::Path) -> String {
    let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
    format!(
        "[reconcile]\nenabled = false\n[store]\npath = {}\n[media]\nhosts = [\"{desk}\"]\n[[bots]]\nname = \"sandbox\"\nidentity = {}\nurl = \"http://{desk}\"\n\
         key_env = \"KEY\"\nrouter_key_env = \"ROUTER_KEY\"\nrouter_identity = {}\nwebhook_token_env = [\"TOKEN\"]\n\
         rates = {{ messages = 1000, notifications = 1000, commands = 1000 }}\n",
        text(&folder.join("deskgate.db").display().to_string()),
        text(&args.identity),
        text(&args.router_identity),
    )
}

/// The lines to paste.
fn welcome(addresses: &Addresses, demo: bool, temporary: bool, folder: &std::path::Path) -> io::Result<()> {
    let show = |address: Option<SocketAddr>| address.map(|address| address.to_string()).unwrap_or_default();
    let (grpc, desk, admin) = (show(addresses.grpc), show(addresses.desk), show(addresses.admin));
    let mut out = io::stdout().lock();
    let fate = if temporary { "gone at the end" } else { "kept" };
    writeln!(
        out,
        "\nDeskgate and a stand-in for Blip Desk are running; the log is in {} ({fate}).",
        folder.display()
    )?;
    writeln!(out, "\nWatch the events, from the first one on:\n")?;
    writeln!(
        out,
        "  grpcurl -plaintext -d '{{\"start\": {{\"earliest\": true}}}}' {grpc} deskgate.v1.EventService/Subscribe"
    )?;
    writeln!(out, "\nAnswer, with a ticket_id from there:\n")?;
    let ticket = "TICKET_ID";
    for (method, body) in [
        ("Assign", format!("{{\"ticket_id\": \"{ticket}\", \"agent\": \"ana@empresa.com\"}}")),
        ("Send", format!("{{\"ticket_id\": \"{ticket}\", \"text\": \"Como posso ajudar?\"}}")),
        ("Close", format!("{{\"ticket_id\": \"{ticket}\"}}")),
    ] {
        writeln!(out, "  grpcurl -plaintext -d '{body}' {grpc} deskgate.v1.TicketService/{method}")?;
    }
    writeln!(
        out,
        "\nWho works there: deskgate agents --server http://{grpc}; in which teams: deskgate teams --server http://{grpc}"
    )?;
    writeln!(out, "\nAll there is: grpcurl -plaintext {grpc} list; deskgate tail --server http://{grpc}")?;
    if demo {
        writeln!(out, "A scripted customer is writing now. To be one yourself:\n")?;
    } else {
        writeln!(out, "Nobody is writing yet. Be the customer:\n")?;
    }
    writeln!(out, "  curl http://{desk}/customers -d '{{\"text\": \"Bom dia\"}}'")?;
    writeln!(
        out,
        "  curl http://{desk}/customers/CUSTOMER_IDENTITY/messages -d '{{\"text\": \"Segunda via do boleto\"}}'"
    )?;
    writeln!(out, "\nMake it misbehave (resets, 429, duplicate webhooks): docs/SANDBOX.md")?;
    writeln!(out, "Metrics and health: http://{admin}/metrics, /readyz. Ctrl-C ends it all.\n")?;
    out.flush()
}
