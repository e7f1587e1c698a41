//! `creditd serve`: the daemon on a database of yours.

use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use sd_notify::NotifyState;
use secrecy::ExposeSecret;

use super::Usage;
use super::daemon::{Daemon, Parts, money_back, told_to_stop};
use crate::clock::Clock;
use crate::config::Config;
use crate::store::Store;
use crate::store::instance::Safety;
use crate::stripe::client::StripeClient;
use crate::stripe::transport::{Transport, TransportSettings};

/// Oldest server that does (rule 46).
const OLDEST_SERVER: i32 = 150_000;

/// Connects to the configured database.
pub async fn connect(config: &Config) -> anyhow::Result<Store> {
    let url = config.database_url.as_ref().ok_or_else(|| {
        Usage("DATABASE_URL is not set: name the database, such as postgres://creditd@db/creditd; `creditd dev` needs none".to_owned())
    })?;
    Store::connect(url.expose_secret(), config.max_connections).await.context("cannot connect to DATABASE_URL")
}

/// Stripe, when there is a key.
pub fn stripe_client(config: &Config) -> anyhow::Result<Option<Arc<dyn StripeClient>>> {
    let Some(key) = &config.stripe.secret_key else { return Ok(None) };
    let mut settings = TransportSettings::new(key.clone());
    settings.base_url.clone_from(&config.stripe.api_base);
    settings.api_version.clone_from(&config.stripe.api_version);
    let transport = Transport::new(&settings).map_err(|error| Usage(format!("STRIPE_API_BASE: {error}")))?;
    Ok(Some(Arc::new(transport)))
}

/// Imports the keys of the configuration; those that are there stay as they are.
pub async fn import_keys(store: &Store, config: &Config) -> anyhow::Result<()> {
    for key in &config.api_keys {
        super::keys::import(store, &key.scope, key.secret.expose_secret()).await?;
    }
    Ok(())
}

/// Runs until told to stop.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let livemode = config.livemode()?.ok_or_else(|| {
        Usage("nothing says whether this is live or test mode: set STRIPE_SECRET_KEY, or stripe.mode in the CREDITD_CONFIG file".to_owned())
    })?;
    if config.stripe.webhook_secrets.is_empty() {
        return Err(Usage(
            "STRIPE_WEBHOOK_SECRETS is not set: copy the endpoint's whsec_... from Stripe's dashboard".to_owned(),
        )
        .into());
    }
    let store = connect(&config).await?;
    let pending = store.pending_migrations().await?;
    if pending > 0 {
        return Err(Usage(format!("the database lacks {pending} migrations: run `creditd migrate` first")).into());
    }
    refuse_unsafe(store.safety().await?, &config, livemode)?;
    let clock = Clock::system();
    let cutover = config.stripe.cutover_at.or_else(|| first_start(&clock));
    let instance = store.ensure_instance(livemode, cutover).await?;
    if instance.livemode != livemode {
        let word = |live| if live { "live" } else { "test" };
        let text =
            format!("this database is {} mode, the configuration says {}", word(instance.livemode), word(livemode));
        return Err(Usage(text).into());
    }
    import_keys(&store, &config).await?;
    if let Some(path) = &config.catalog {
        super::catalog::apply_at_start(&store, path).await?;
    }
    if config.lacks_return_url() {
        tracing::warn!(
            "charger.return_url is not set: whose card asks for its owner gets no link to pay a top-up by, and its rule waits for a new card"
        );
    }
    let daemon = Daemon::start(Parts {
        clock,
        listen: config.listen,
        webhook_secrets: config.stripe.webhook_secrets.clone(),
        tolerance: config.stripe.tolerance,
        livemode,
        stripe: stripe_client(&config)?,
        cutover_at: config.stripe.cutover_at.or(instance.cutover_at),
        grant_free_checkouts: config.stripe.grant_free_checkouts,
        park_unknown_prices: config.stripe.park_unknown_prices,
        money_back: money_back(config.stripe.money_back),
        catch_up_every: config.catch_up_every(),
        charger: config.charger.clone(),
        surface: config.surface(),
        store: store.clone(),
    })
    .await?;
    tracing::info!(address = %daemon.address(), livemode, stripe.version = %config.stripe.api_version, "serving");
    tell_systemd(NotifyState::Ready);
    told_to_stop().await;
    tell_systemd(NotifyState::Stopping);
    tracing::info!("stopping: finishing what is under way");
    daemon.stop().await;
    store.close().await;
    Ok(())
}

/// The second in which `serve` starts. Stripe's times are whole seconds: with a fraction, what was paid in the same second
/// would lie before it.
fn first_start(clock: &Clock) -> Option<Timestamp> {
    Timestamp::from_second(clock.now().as_second()).ok()
}

/// Under `Type=notify` systemd waits to be told; elsewhere nobody listens and nothing is said.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// A server that may lose acknowledged writes is no place for money (rule 45).
fn refuse_unsafe(safety: Safety, config: &Config, livemode: bool) -> Result<(), Usage> {
    if safety.version < OLDEST_SERVER {
        return Err(Usage(format!("the database is version {}; 15 or newer is needed", safety.version)));
    }
    let mut found = Vec::new();
    if !safety.fsync {
        found.push("fsync is off");
    }
    if !safety.synchronous_commit {
        found.push("synchronous_commit is off");
    }
    if safety.superuser {
        found.push("the role is a superuser");
    }
    if found.is_empty() {
        return Ok(());
    }
    let found = found.join(", ");
    if livemode {
        return Err(Usage(format!("the database is unsafe for live money: {found}")));
    }
    if config.allow_unsafe_database {
        tracing::warn!(%found, "the database is unsafe, and database.allow_unsafe is set");
        return Ok(());
    }
    Err(Usage(format!("the database is unsafe: {found}; mend it, or set database.allow_unsafe = true for a test")))
}
