//! Everything a run needs, set up before the first round and taken down after the last: database, daemon, customers.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::figures::{RESIDENT_AT, Round};
use super::load::{Connection, Load, drive};
use super::naive::Pgbench;
use super::node::Node;
use super::process::{self, Serving, family_micros, processor_micros, resident_kib};
use super::report::{Counts, Machine, Skipped};
use super::requests::{CUSTOMER_KINDS, Kind, Work};
use super::top_up::TopUps;
use super::{BenchArgs, How, Measure};
use crate::clock::{Clock, instant};
use crate::commands::verify::{Verdict, VerifyArgs};
use crate::commands::{Usage, catalog, dev, verify};
use crate::config::Config;
use crate::devdb::{DevDb, Options};
use crate::store::Store;
use crate::stripe::signature::Secret;

/// Customers of each kind, and of a quick run.
const CUSTOMERS: u32 = 1_000;
const QUICK_CUSTOMERS: u32 = 20;
/// Clients that make them.
const MAKERS: u32 = 16;
/// Connections of this process: it counts, and asks whether events are due.
const OWN_CONNECTIONS: u32 = 4;
/// Connections of the embedded server: the daemon's, this process's, and 64 of pgbench or the Node server.
const SERVER_CONNECTIONS: &str = "200";
/// Longest wait for stored events to be worked on, so that they do not disturb what is measured next.
const SETTLE: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(100);
/// Random bytes of the key and of the webhook secret.
const SECRET_BYTES: usize = 32;

// The order of the fields is the order of the drop: who uses the database ends before it, and its folder goes last.
pub(super) struct Stage {
    daemon: Serving,
    node: Option<(Serving, String)>,
    pgbench: Option<Pgbench>,
    top_ups: Option<TopUps>,
    skipped: Vec<Skipped>,
    store: Store,
    customers: u32,
    api_key: String,
    webhook_secret: Secret,
    database: Option<DevDb>,
    folder: TempDir,
}

impl Stage {
    /// Starts and prepares everything that the measures need.
    pub(super) async fn set(config: &Config, args: &BenchArgs, measures: &[Measure]) -> anyhow::Result<Self> {
        let folder = folder()?;
        let (url, database) = if let Some(url) = &args.database_url {
            (url.clone(), None)
        } else {
            let database = embedded(config, folder.path().join("data")).await?;
            (database.url(), Some(database))
        };
        let store = Store::connect(&url, OWN_CONNECTIONS).await.context("cannot connect to the database")?;
        refuse_used(&store).await?;
        store.migrate().await?;
        store.ensure_instance(false, None).await?;
        catalog::apply_text_at_start(&store, "the sample catalogue", dev::SAMPLE_CATALOG).await?;
        let random = || hex::encode(rand::random::<[u8; SECRET_BYTES]>());
        let (api_key, secret) = (random(), format!("whsec_{}", random()));
        // The role of the embedded server is a superuser; elsewhere the configuration decides as for `serve`.
        let allow_unsafe = database.is_some() || config.allow_unsafe_database;
        let settings = folder.path().join("creditd.toml");
        std::fs::write(&settings, format!("[stripe]\nmode = \"test\"\n[database]\nallow_unsafe = {allow_unsafe}\n"))?;
        let environment = [
            ("DATABASE_URL", url.clone()),
            ("CREDITD_CONFIG", settings.display().to_string()),
            ("CREDITD_API_KEYS", format!("admin:{api_key}")),
            ("STRIPE_WEBHOOK_SECRETS", secret.clone()),
        ];
        let daemon = Serving::daemon(folder.path(), &environment).await.context("the daemon did not start")?;
        let customers = if args.quick { QUICK_CUSTOMERS } else { CUSTOMERS };
        let webhook_secret = Secret::new(&secret)?;
        let (node, pgbench, top_ups, skipped) = (None, None, None, Vec::new());
        let mut stage = Self {
            daemon,
            node,
            pgbench,
            top_ups,
            skipped,
            store,
            customers,
            api_key,
            webhook_secret,
            database,
            folder,
        };
        stage.rivals(args, measures, &url, &secret).await?;
        stage.people().await?;
        if measures.iter().any(|measure| matches!(measure.how, How::TopUp | How::Stripe)) {
            stage.top_ups = Some(TopUps::start(&url).await.context("the charger did not start")?);
        }
        Ok(stage)
    }

    /// What creditd is compared with, as far as it is there.
    async fn rivals(&mut self, args: &BenchArgs, measures: &[Measure], url: &str, secret: &str) -> anyhow::Result<()> {
        let folder = self.folder.path().to_owned();
        if measures.iter().any(|measure| matches!(measure.how, How::Pgbench(_))) {
            let beside = self.database.as_ref().and_then(|database| process::folder_of_program(database.pid()));
            match Pgbench::find(beside, &folder, url).await {
                Ok(pgbench) => {
                    pgbench.prepare().await?;
                    self.pgbench = Some(pgbench);
                }
                Err(why) => self.skipped.push(Skipped { what: "pgbench", why }),
            }
        }
        if measures.iter().any(|measure| measure.how == How::Node) {
            match Node::find(args.node_modules.as_deref(), !args.quick, &folder).await {
                Ok(node) => {
                    let server = node.start(&folder, url, secret).await.context("the Node server did not start")?;
                    self.node = Some((server, node.version));
                }
                Err(why) => self.skipped.push(Skipped { what: "the Node server", why }),
            }
        }
        Ok(())
    }

    /// Customers, each with plenty of credits.
    async fn people(&self) -> anyhow::Result<()> {
        let work = Arc::new(self.work(Kind::Hello, "people".to_owned()));
        let (address, customers) = (self.daemon.address, self.customers);
        let mut makers = JoinSet::new();
        for maker in 0..MAKERS {
            let work = work.clone();
            makers.spawn(async move {
                let mut connection = Connection::open(address).await?;
                for number in (0..customers).filter(|number| number.checked_rem(MAKERS) == Some(maker)) {
                    for kind in CUSTOMER_KINDS {
                        for request in [work.customer(kind, number), work.grant(kind, number)] {
                            let (status, body) = connection.exchange(&request).await?;
                            ensure!(
                                status == 201,
                                "a customer was refused: {status} {}",
                                String::from_utf8_lossy(body)
                            );
                        }
                    }
                }
                anyhow::Ok(())
            });
        }
        while let Some(made) = makers.join_next().await {
            made??;
        }
        Ok(())
    }

    fn work(&self, kind: Kind, round: String) -> Work {
        let (api_key, webhook_secret) = (self.api_key.clone(), self.webhook_secret.clone());
        Work { kind, round, customers: self.customers, api_key, webhook_secret, clock: Clock::system() }
    }

    /// One round of one measure; nothing when who is asked is not there.
    pub(super) async fn round(
        &mut self,
        measure: Measure,
        number: u32,
        length: Duration,
    ) -> anyhow::Result<Option<Round>> {
        let server = match measure.how {
            How::Daemon(_) => Some(self.daemon.pid),
            How::Node => self.node.as_ref().map(|(node, _)| node.pid),
            How::Pgbench(_) | How::TopUp | How::Stripe => None,
        };
        let postgres = self.database.as_ref().map(DevDb::pid);
        let spent = || (server.and_then(processor_micros), postgres.and_then(family_micros));
        let before = spent();
        let mut resident = None;
        let name = format!("r{number}_{}", measure.name);
        let load = match measure.how {
            How::Daemon(kind) => {
                let work = Arc::new(self.work(kind, name));
                let pid = self.daemon.pid;
                drive(self.daemon.address, work, measure.clients, length, || resident = resident_kib(pid)).await?
            }
            How::Node => {
                let Some((node, _)) = &self.node else { return Ok(None) };
                let work = Arc::new(self.work(Kind::Webhook, name));
                drive(node.address, work, measure.clients, length, || {}).await?
            }
            How::Pgbench(script) => {
                let Some(pgbench) = &self.pgbench else { return Ok(None) };
                pgbench.run(script, measure.clients, length).await?
            }
            How::TopUp | How::Stripe => {
                let Some(top_ups) = &self.top_ups else { return Ok(None) };
                if measure.how == How::TopUp { top_ups.round(length).await? } else { top_ups.charges(length).await? }
            }
        };
        let after = spent();
        if measure.how == How::Daemon(Kind::Webhook) {
            self.settle().await?;
        }
        let each =
            |before: Option<u64>, after: Option<u64>| after?.checked_sub(before?)?.checked_div(load.acknowledged);
        Ok(Some(Round {
            server_cpu_micros: each(before.0, after.0),
            postgres_cpu_micros: each(before.1, after.1),
            resident_kib: resident.filter(|_| measure.name == RESIDENT_AT),
            load,
        }))
    }

    /// Waits until no stored event is due.
    async fn settle(&self) -> anyhow::Result<()> {
        let started = instant();
        while self.store.count_due_events().await? > 0 {
            ensure!(started.elapsed() < SETTLE, "stored events are still due after {} s", SETTLE.as_secs());
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// The facts of this machine.
    pub(super) async fn machine(&self) -> anyhow::Result<Machine> {
        let safety = self.store.safety().await?;
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        Ok(Machine {
            cores: std::thread::available_parallelism()?.get(),
            kernel: kernel.map(|text| text.trim().to_owned()),
            creditd: env!("CARGO_PKG_VERSION"),
            debug_build: cfg!(debug_assertions),
            postgres: safety.version,
            fsync: safety.fsync,
            synchronous_commit: safety.synchronous_commit,
            embedded: self.database.is_some(),
            pgbench: self.pgbench.as_ref().map(|pgbench| pgbench.version.clone()),
            node: self.node.as_ref().map(|(_, version)| version.clone()),
        })
    }

    /// What could not be measured.
    pub(super) fn take_skipped(&mut self) -> Vec<Skipped> {
        std::mem::take(&mut self.skipped)
    }

    /// Counts what was acknowledged against what is there, checks every law, and stops everything.
    pub(super) async fn end(
        self,
        measures: &[Measure],
        rounds: &[Vec<Round>],
        out: &mut dyn Write,
    ) -> anyhow::Result<Counts> {
        self.granted().await?;
        self.daemon.stop().await.context("the daemon")?;
        if let Some(top_ups) = self.top_ups {
            top_ups.stop().await.context("the charger")?;
        }
        if let Some((node, _)) = self.node {
            node.stop().await.context("the Node server")?;
        }
        let mut told = Vec::new();
        let verdict = verify::run(&self.store, &VerifyArgs { json: false }, &mut told).await?;
        if verdict == Verdict::Differs {
            out.write_all(&told)?;
        }
        let census = self.store.census().await?;
        self.store.close().await;
        if let Some(database) = self.database {
            database.stop().await;
        }
        let sum = |wanted: &[How], pick: &dyn Fn(&Load) -> u64| {
            let of = measures.iter().zip(rounds).filter(|(measure, _)| wanted.contains(&measure.how));
            of.flat_map(|(_, rounds)| rounds).map(|round| pick(&round.load)).fold(0, u64::saturating_add)
        };
        let tracks = [How::Daemon(Kind::Spread), How::Daemon(Kind::Hot), How::TopUp];
        let webhooks = [How::Daemon(Kind::Webhook)];
        Ok(Counts {
            tracks_acknowledged: sum(&tracks, &|load| load.acknowledged),
            tracks_unanswered: sum(&tracks, &|load| load.unknown),
            track_keys: u64::try_from(census.track_keys)?,
            tracks_in_ledger: u64::try_from(census.track_commands)?,
            webhooks_acknowledged: sum(&webhooks, &|load| load.acknowledged),
            webhooks_unanswered: sum(&webhooks, &|load| load.unknown),
            webhooks_stored: u64::try_from(census.stripe_events)?,
            webhooks_granted: u64::try_from(census.payment_commands)?,
            verify_holds: verdict == Verdict::Holds,
        })
    }

    /// Waits until each stored event has granted, or for as long as is waited for; then the counts will tell.
    async fn granted(&self) -> anyhow::Result<()> {
        let started = instant();
        loop {
            let census = self.store.census().await?;
            if census.payment_commands >= census.stripe_events || started.elapsed() > SETTLE {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// A temporary folder that the embedded Postgres, which may run as another user, can pass through.
fn folder() -> anyhow::Result<TempDir> {
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o711);
    tempfile::Builder::new().prefix("creditd-bench-").permissions(open).tempdir().context("cannot make a folder")
}

async fn embedded(config: &Config, data: PathBuf) -> anyhow::Result<DevDb> {
    // On the disk and durable: what is measured is mostly how often the log is flushed.
    let mut options = Options::kept(data, config.pg_cache.clone());
    options.pg_bin.clone_from(&config.pg_bin);
    options.hide_system_binaries = config.hide_installed_postgres;
    options.extra_settings = vec![("max_connections".to_owned(), SERVER_CONNECTIONS.to_owned())];
    options.say = Arc::new(|line| eprintln!("{line}"));
    Ok(DevDb::start(options).await?)
}

/// A database that someone uses is no place for a measurement. One without the tables is not used.
async fn refuse_used(store: &Store) -> Result<(), Usage> {
    let is_live = store.instance().await.is_ok_and(|instance| instance.is_some_and(|instance| instance.livemode));
    let customers = store.census().await.map_or(0, |census| census.customers);
    if is_live || customers > 0 {
        let why = format!("this database is in use ({customers} customers): name one without customers, it is filled");
        return Err(Usage(why));
    }
    Ok(())
}
