//! `deskgate check`: what a configuration means, before it is run.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::Listeners;
use super::serve::Configuration;
use crate::app;
use crate::config::{Env, SecretStore};

/// How long a bot's key is tried.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
#[command(
    after_help = "Exits 0 when the file is sound and its secrets are there, else 1 with every fault, its key and its \
fix. Whether ports\nand store can be opened is found by `deskgate serve`."
)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    configuration: Configuration,
    /// Also ask Blip whether it takes each bot's key.
    #[arg(long, env = "DESKGATE_CHECK_ONLINE", value_parser = BoolishValueParser::new())]
    online: bool,
}

pub(super) async fn run(args: CheckArgs) -> anyhow::Result<()> {
    let config = args.configuration.load(&Listeners::default())?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", config.describe())?; // warnings are among it
    if !args.online {
        return Ok(());
    }
    let secrets = SecretStore::new(&config, &Env)?;
    let mut refused = 0_usize;
    for (bot, api) in app::blip_of(&config, &secrets, &app::blip_metrics())? {
        match app::try_key(api.as_ref(), TRIAL_TIMEOUT).await {
            Ok(()) => writeln!(out, "bots[{bot}]: Blip takes the key")?,
            Err(error) => {
                refused = refused.saturating_add(1);
                writeln!(
                    out,
                    "bots[{bot}]: {error:#}; compare `url` and the key with the bot's HTTP endpoint in the portal"
                )?;
            }
        }
    }
    for (bot, api) in app::routers_of(&config, &secrets, &app::blip_metrics())? {
        match app::try_router_key(api.as_ref(), TRIAL_TIMEOUT).await {
            Ok(()) => writeln!(out, "bots[{bot}]: Blip takes the router's key")?,
            Err(error) => {
                refused = refused.saturating_add(1);
                writeln!(
                    out,
                    "bots[{bot}]: the router's key: {error:#}; compare it with the router in the portal"
                )?;
            }
        }
    }
    anyhow::ensure!(refused == 0, "{refused} of the keys cannot speak to Blip");
    Ok(())
}
