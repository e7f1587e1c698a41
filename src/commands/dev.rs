//! `creditd dev`: the whole job on one machine: an embedded Postgres, a simulated Stripe, a sample catalogue, a tour.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use jiff::SignedDuration;
use secrecy::{ExposeSecret, SecretString};

use super::daemon::{Daemon, Parts, money_back, told_to_stop};
use super::test_clock::Simulated;
use super::{Usage, keys, serve, tour};
use crate::clock::Clock;
use crate::config::Config;
use crate::devdb::{DevDb, Options};
use crate::domain::api_key::{KeyText, Scope};
use crate::domain::catalog::{Catalog, IntervalUnit, Price};
use crate::domain::top_up::settings::ChargerSettings;
use crate::simulator::{Options as SimulatorOptions, SeedPrice, Simulator};
use crate::store::Store;
use crate::stripe::signature::Secret;
use crate::stripe::transport::{Transport, TransportSettings};

/// The catalogue of seed plans that `dev` starts with.
pub(super) const SAMPLE_CATALOG: &str = include_str!("../../deploy/catalog.toml");
/// Where `dev` keeps its data unless told otherwise.
const DEFAULT_DATA_DIR: &str = ".creditd";
/// Where the simulated Stripe listens unless told otherwise.
const DEFAULT_STRIPE_LISTEN: &str = "127.0.0.1:12111";
/// The simulated Stripe's key.
const SIMULATOR_KEY: &str = "sk_test_creditd_dev";
/// Where the simulated Stripe leads a card's owner back to.
const RETURN_URL: &str = "https://example.com/paid";
/// Random characters of the secrets made at the first start: 32 bytes each.
const SECRET_BYTES: usize = 32;

/// How to run it.
#[derive(Clone, Debug, Default, Args)]
pub struct DevArgs {
    /// Where the daemon listens [default: 127.0.0.1:8080, or `CREDITD_LISTEN`]
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// Where the simulated Stripe listens; loopback only [default: 127.0.0.1:12111]
    #[arg(long)]
    pub stripe_listen: Option<SocketAddr>,
    /// Where Postgres and the simulator keep their data [default: .creditd]
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// The catalogue file [default: the sample, or `CREDITD_CATALOG`]
    #[arg(long)]
    pub catalog: Option<PathBuf>,
    /// Exit after the tour.
    #[arg(long, conflicts_with = "no_tour")]
    pub tour_only: bool,
    /// Just serve.
    #[arg(long)]
    pub no_tour: bool,
}

/// Secrets made at the first start and kept beside the data, so that a second start has the same.
struct Secrets {
    webhook: String,
    api_key: String,
}

/// Runs until told to stop, or until the tour is over.
pub async fn run(config: Config, args: DevArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let data_dir = args.data_dir.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
    std::fs::create_dir_all(&data_dir).with_context(|| data_dir.display().to_string())?;
    let (store, url, database) = open_store(&config, &data_dir, out).await?;
    let outcome = run_on(&config, &args, &data_dir, &store, url.expose_secret(), out).await;
    store.close().await;
    if let Some(database) = database {
        database.stop().await;
    }
    outcome
}

async fn open_store(
    config: &Config,
    data_dir: &Path,
    out: &mut dyn Write,
) -> anyhow::Result<(Store, SecretString, Option<DevDb>)> {
    let (url, database) = if let Some(url) = &config.database_url {
        writeln!(out, "database   DATABASE_URL")?;
        (url.clone(), None)
    } else {
        let mut options = Options::kept(data_dir.to_owned(), config.pg_cache.clone());
        options.pg_bin.clone_from(&config.pg_bin);
        options.hide_system_binaries = config.hide_installed_postgres;
        options.say = Arc::new(|line| eprintln!("{line}"));
        let database = DevDb::start(options).await?;
        writeln!(out, "database   embedded Postgres in {}", database.home().display())?;
        (SecretString::from(database.url()), Some(database))
    };
    let store =
        Store::connect(url.expose_secret(), config.max_connections).await.context("cannot connect to the database")?;
    store.migrate().await?;
    let instance = store.ensure_instance(false, None).await?;
    if instance.livemode {
        return Err(Usage("this database is live mode; `creditd dev` is for test databases only".to_owned()).into());
    }
    Ok((store, url, database))
}

async fn run_on(
    config: &Config,
    args: &DevArgs,
    data_dir: &Path,
    store: &Store,
    database_url: &str,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let secrets = secrets(store, data_dir, config).await?;
    serve::import_keys(store, config).await?;
    match args.catalog.as_ref().or(config.catalog.as_ref()) {
        Some(path) => super::catalog::apply_at_start(store, path).await?,
        None => super::catalog::apply_text_at_start(store, "the sample catalogue", SAMPLE_CATALOG).await?,
    }
    let instance = store.instance().await?.context("the database lost its instance")?;
    // A kept data directory goes on at the time it had reached.
    let clock = Clock::shifted(SignedDuration::from_secs(instance.test_offset_seconds));
    let simulator = Arc::new(start_simulator(args, data_dir, &clock, &secrets).await?);
    for price in seeds(&store.catalog().await?.catalog) {
        simulator
            .seed_price(&price)
            .map_err(|refusal| anyhow::anyhow!("the simulator refused a price: {refusal:?}"))?;
    }
    let mut settings = TransportSettings::new(SecretString::from(SIMULATOR_KEY.to_owned()));
    settings.base_url = simulator.base_url().to_owned();
    let mut webhook_secrets = config.stripe.webhook_secrets.clone();
    webhook_secrets.push(Secret::new(&secrets.webhook)?);
    let simulated = Simulated { simulator: simulator.clone(), clock: clock.clone() };
    let parts = Parts {
        store: store.clone(),
        clock,
        listen: args.listen.unwrap_or(config.listen),
        webhook_secrets,
        tolerance: config.stripe.tolerance,
        livemode: false,
        stripe: Some(Arc::new(Transport::new(&settings)?)),
        cutover_at: None,
        grant_free_checkouts: config.stripe.grant_free_checkouts,
        park_unknown_prices: config.stripe.park_unknown_prices,
        money_back: money_back(config.stripe.money_back),
        catch_up_every: config.catch_up_every(),
        charger: charger(config),
        surface: config.surface(),
    };
    let daemon = Daemon::start_with(parts, Some(simulated)).await?;
    let base = format!("http://{}", daemon.address());
    simulator.set_webhook(Some(format!("{base}/webhooks/stripe")), vec![secrets.webhook.clone()])?;
    writeln!(out, "stripe     simulated on {}", simulator.base_url())?;
    writeln!(out, "creditd    serving on {base}")?;
    let outcome = async {
        if !args.no_tour {
            let places = tour::Places {
                creditd: &base,
                stripe: simulator.base_url(),
                api_key: &secrets.api_key,
                stripe_key: SIMULATOR_KEY,
                database_url: config.database_url.is_none().then_some(database_url),
            };
            tour::run(&places, store, &simulator, out).await?;
        }
        if !args.tour_only {
            writeln!(out, "\nserving until Ctrl-C; API key (admin): {}", secrets.api_key)?;
            told_to_stop().await;
            writeln!(out, "stopping")?;
        }
        anyhow::Ok(())
    }
    .await;
    daemon.stop().await;
    simulator.stop().await;
    outcome
}

/// As configured; without an address of an app, links lead back to one that nobody serves.
fn charger(config: &Config) -> ChargerSettings {
    let mut settings = config.charger.clone();
    settings.return_url.get_or_insert_with(|| RETURN_URL.to_owned());
    settings
}

async fn start_simulator(
    args: &DevArgs,
    data_dir: &Path,
    clock: &Clock,
    secrets: &Secrets,
) -> anyhow::Result<Simulator> {
    let mut options = SimulatorOptions::new(clock.clone());
    options.listen = match args.stripe_listen {
        Some(listen) => listen,
        None => DEFAULT_STRIPE_LISTEN.parse()?,
    };
    options.api_key = Some(SIMULATOR_KEY.to_owned());
    options.webhook_secrets = vec![secrets.webhook.clone()];
    options.state_file = Some(data_dir.join("stripe.json"));
    Simulator::start(options)
        .await
        .context("the simulated Stripe did not start: choose another address with --stripe-listen")
}

/// Reads the secrets of earlier starts, or makes them; the files are for their owner alone.
async fn secrets(store: &Store, data_dir: &Path, config: &Config) -> anyhow::Result<Secrets> {
    let webhook = kept(&data_dir.join("webhook-secret"), || {
        let random: [u8; SECRET_BYTES] = rand::random();
        format!("whsec_{}", hex::encode(random))
    })?;
    let configured = config.api_keys.iter().find(|key| key.scope == "admin");
    let api_key = if let Some(key) = configured {
        key.secret.expose_secret().to_owned()
    } else {
        let path = data_dir.join("api-key");
        let made = KeyText::make(false, Scope::Admin, rand::random()).expose().to_owned();
        kept(&path, || made)?
    };
    keys::import(store, "admin", &api_key).await.with_context(|| {
        format!("{} is not a key: remove it, and a new one is made", data_dir.join("api-key").display())
    })?;
    Ok(Secrets { webhook, api_key })
}

fn kept(path: &Path, make: impl FnOnce() -> String) -> anyhow::Result<String> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Ok(text) = std::fs::read_to_string(path)
        && !text.trim().is_empty()
    {
        return Ok(text.trim().to_owned());
    }
    let text = make();
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| writeln!(file, "{text}")).with_context(|| path.display().to_string())?;
    Ok(text)
}

/// The catalogue's Stripe prices, as the simulated Stripe has to know them.
fn seeds(catalog: &Catalog) -> Vec<SeedPrice> {
    let mut seeds = Vec::new();
    for (id, plan) in &catalog.plans {
        let name = plan.name.clone().unwrap_or_else(|| id.to_string());
        let packs = plan.items.iter().flat_map(|item| item.packs.iter().map(|pack| &pack.price));
        for price in plan.prices.iter().chain(packs) {
            seeds.extend(seed(&name, price));
        }
    }
    seeds
}

fn seed(product: &str, price: &Price) -> Option<SeedPrice> {
    let money = price.amount.money()?;
    let recurring = price.every.and_then(|every| {
        let unit = match every.unit {
            IntervalUnit::Day => "day",
            IntervalUnit::Week => "week",
            IntervalUnit::Month => "month",
            IntervalUnit::Year => "year",
            // Stripe bills by the day at the shortest; the catalogue's reader refuses these for prices.
            IntervalUnit::Minute | IntervalUnit::Hour => return None,
        };
        Some((unit.to_owned(), i64::from(every.count)))
    });
    Some(SeedPrice {
        id: price.stripe_price.clone()?,
        product: product.to_owned(),
        currency: money.currency().code().to_owned(),
        unit_amount: money.minor(),
        recurring,
        lookup_key: price.lookup_key.clone(),
    })
}
