//! The sandbox: a stand-in for Blip Desk over real HTTP, to develop against and to test with.
//!
//! It keeps tickets with Blip's rules, answers Blip's three paths as Blip does, posts webhooks to a gateway as
//! Blip does, counts the effects of every envelope id, and misbehaves on demand. It was written from the
//! wire reference with types of its own, and must never name the gateway's: what both got wrong would look right.
//! It keeps everything in memory, forgets it at the end, and is no place for real customers.
//!
//! What it answers on Blip's side, what its control side takes, its settings, faults and outages, and what it does
//! where Blip is silent: `docs/SANDBOX.md`.
//!
//! # How it is built
//!
//! | | |
//! |---|---|
//! | the model, pure | `model` and `conversation` (tickets, messages), `people`, `rules`, `contacts`, `media`, `effects` |
//! | commands, pure | `lime` (envelopes), `commands` (the table), `listing`, `filter`, `monitoring`, `shapes` |
//! | trouble, pure | `faults`, `quota`, `weather`, `block` |
//! | Blip's side | `http`, `perform` (an envelope's way: quota, fault, effect), `files`, `webhooks` |
//! | the control side | `control`, `levers`, `elsewhere`, `handle`, `demo` |
//! | what is beneath | `shared` (one lock), `settings`, `connection` and `power` (resets, refusals) |

mod block;
mod commands;
mod connection;
mod contacts;
mod control;
mod conversation;
mod demo;
mod effects;
mod elsewhere;
mod faults;
mod files;
mod filter;
mod handle;
mod http;
mod ids;
mod levers;
mod lime;
mod listing;
mod media;
mod model;
mod monitoring;
mod people;
mod perform;
mod power;
mod quota;
mod rules;
mod settings;
mod shapes;
mod shared;
#[cfg(test)]
mod tests;
mod ticket;
mod weather;
mod webhooks;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use demo::demo;
pub use handle::{Closed, Closing, Container, Handle, Opened, Opening, Said, Saying};
pub use webhooks::Report;

use connection::{Cuttable, Cutter};
use shared::Shared;

/// How long requests may take to end once the sandbox is told to stop.
const GRACE: Duration = Duration::from_secs(3);

/// What a sandbox is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where the control side listens on its own, which no outage reaches; it is on the first one in any case.
    pub control_listen: Option<SocketAddr>,
    /// The bot whose desk it is.
    pub bot: BotConfig,
    /// The router before it.
    pub router: BotConfig,
    /// Where webhooks go; may be set later.
    pub webhook: Option<WebhookConfig>,
    /// How many `fwd:` stand before a customer's message id.
    pub forward_prefixes: u8,
    /// Makes ids repeat from run to run.
    pub seed: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8090)),
            bot: BotConfig {
                name: "sandbox".into(),
                identity: "sandbox@msging.net".into(),
                key: "c2FuZGJveDpzYW5kYm94".into(),
            },
            control_listen: None,
            router: BotConfig {
                name: "router".into(),
                identity: "router@msging.net".into(),
                key: "cm91dGVyOnJvdXRlcg==".into(),
            },
            webhook: None,
            forward_prefixes: 2,
            seed: None,
        }
    }
}

/// The bot whose desk the sandbox is.
#[derive(Clone, Debug)]
pub struct BotConfig {
    /// Its short name.
    pub name: String,
    /// Its identity.
    pub identity: String,
    /// Its key: what must follow `Authorization: Key `.
    pub key: String,
}

/// Where webhooks are posted.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// The whole URL; plain http only.
    pub url: String,
    /// A header that shows who posts: name and value.
    pub header: Option<(String, String)>,
}

impl WebhookConfig {
    fn check(&self) -> Result<(), String> {
        let url = reqwest::Url::parse(&self.url).map_err(|error| format!("url: {error}"))?;
        if url.scheme() != "http" {
            return Err(format!("url: plain http only, not {}", url.scheme()));
        }
        let Some((name, value)) = &self.header else { return Ok(()) };
        axum::http::HeaderName::try_from(name).map_err(|error| format!("header_name: {error}"))?;
        axum::http::HeaderValue::try_from(value).map_err(|error| format!("header_value: {error}"))?;
        Ok(())
    }
}

/// Why a sandbox cannot run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address is taken, or not ours.
    #[error("the sandbox cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The webhook's target makes no sense.
    #[error("the sandbox's webhook: {0}")]
    Webhook(String),
    /// There is no HTTP client to post with.
    #[error("the sandbox has no HTTP client")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The listener failed.
    #[error("the sandbox stopped serving")]
    Serve(#[source] io::Error),
}

/// Why the control side, or a [`Handle`], did not do as told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// What was asked makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be done now.
    #[error("{0}")]
    Conflict(String),
}

/// A sandbox that listens, and begins to answer with [`Sandbox::serve`].
#[derive(Debug)]
pub struct Sandbox {
    listener: TcpListener,
    address: SocketAddr,
    control: Option<(TcpListener, SocketAddr)>,
    shared: Arc<Shared>,
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SandboxError> {
    let failed = |source| SandboxError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Some write the word `Key` into the key.
fn bare_key(bot: &mut BotConfig) {
    if let Some((scheme, key)) = bot.key.split_once(' ')
        && scheme.eq_ignore_ascii_case("key")
    {
        bot.key = key.trim().to_owned();
    }
}

impl Sandbox {
    /// Binds the listeners.
    pub async fn bind(mut config: Config) -> Result<Self, SandboxError> {
        if let Some(webhook) = &config.webhook {
            webhook.check().map_err(SandboxError::Webhook)?;
        }
        bare_key(&mut config.bot);
        bare_key(&mut config.router);
        let (listener, address) = bind(config.listen).await?;
        let control = match config.control_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let client = client().map_err(SandboxError::Client)?;
        let seed = config.seed.unwrap_or_else(ids::any_seed);
        let shared = Arc::new(Shared::new(config, seed, format!("http://{address}"), client));
        Ok(Self { listener, address, control, shared })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where the control side listens on its own.
    pub fn control_addr(&self) -> Option<SocketAddr> {
        self.control.as_ref().map(|(_, address)| *address)
    }

    /// Sets where webhooks are posted from now on.
    pub fn set_webhook(&self, webhook: WebhookConfig) {
        self.handle().set_webhook(webhook);
    }

    /// To act on it from within the process, before and while it serves.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Answers until cancelled, then lets requests end for a moment. What a fault left hanging is cut.
    pub async fn serve(self, cancel: CancellationToken) -> Result<(), SandboxError> {
        let Self { listener, address, control, shared } = self;
        let stop = shared.stop.clone();
        let blips = http::router().merge(files::router());
        let power = Some(Arc::clone(&shared.power));
        let main = blips.merge(control::router()).with_state(Arc::clone(&shared));
        let serving = answer(Cuttable::new(listener, address, power), main, stop.clone());
        let controlling = {
            let routes = control::router().with_state(Arc::clone(&shared));
            let stop = stop.clone();
            async move {
                match control {
                    Some((listener, address)) => {
                        answer(Cuttable::new(listener, address, None), routes, stop).await
                    }
                    None => Ok(()),
                }
            }
        };
        let overdue = async {
            cancel.cancelled().await;
            stop.cancel();
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            served = async { tokio::try_join!(serving, controlling) } => {
                served.map_err(SandboxError::Serve)?;
            }
            () = overdue => {}
        }
        stop.cancel();
        shared.tracker.close();
        if tokio::time::timeout(GRACE, shared.tracker.wait()).await.is_err() {
            tracing::warn!("the sandbox left requests behind");
        }
        Ok(())
    }
}

/// Answers on one listener until told to stop.
async fn answer(listener: Cuttable, routes: Router, stop: CancellationToken) -> io::Result<()> {
    let service = routes.into_make_service_with_connect_info::<Cutter>();
    axum::serve(listener, service).with_graceful_shutdown(async move { stop.cancelled().await }).await
}

/// A client that names its crypto provider, as none need be installed, though it never speaks TLS.
fn client() -> Result<reqwest::Client, Box<dyn std::error::Error + Send + Sync>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let redirects = reqwest::redirect::Policy::none();
    Ok(reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().redirect(redirects).build()?)
}
