//! Configuration: environment variables over a TOML file, typed and checked at the start; secrets print `[redacted]`.
//!
//! Every secret may also come from a file named by its variable with `_FILE` behind it. An unknown key in the file, an
//! empty secret or a value out of range ends the start with the name of the culprit.

mod charger;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::domain::top_up::ChargeMode;
use crate::domain::top_up::settings::ChargerSettings;
use crate::http::Surface;
use crate::http::listener::{self, Limits};
use crate::store::{DEFAULT_CONNECTIONS, LEAST_CONNECTIONS};
use crate::stripe::signature::{Secret, Tolerance};
use crate::stripe::transport::{API_VERSION, BASE_URL};

/// Where the daemon listens when nothing is said.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// Shortest API key that may be imported: 16 characters.
const IMPORTED_KEY_MIN: usize = 16;
/// Largest configuration or secret file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Minutes between two readings of Stripe's list of events, when nothing is said.
const CATCH_UP_MINUTES: u16 = 10;
/// A day: Stripe keeps events for thirty.
const CATCH_UP_MINUTES_MAX: u16 = 1_440;

/// What is wrong with the configuration, with the variable or key that is to be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct ConfigError {
    /// The variable, or the key of the file.
    pub name: String,
    /// What is wrong and how to mend it.
    pub why: String,
}

impl ConfigError {
    fn new(name: &str, why: impl Into<String>) -> Self {
        Self { name: name.to_owned(), why: why.into() }
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// An API key to import at the start.
#[derive(Clone)]
pub struct ImportedKey {
    /// app, finance or admin.
    pub scope: String,
    /// The whole key.
    pub secret: SecretString,
}

impl fmt::Debug for ImportedKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:[redacted]", self.scope)
    }
}

/// What concerns Stripe.
#[derive(Clone, Debug)]
pub struct StripeConfig {
    /// `STRIPE_SECRET_KEY`; without it nothing is fetched from Stripe.
    pub secret_key: Option<SecretString>,
    /// `STRIPE_WEBHOOK_SECRETS`, a comma list: the old one stays beside the new one while Stripe rotates.
    pub webhook_secrets: Vec<Secret>,
    /// The same, as texts, for the simulator of `dev`.
    pub webhook_secret_texts: Vec<SecretString>,
    /// `STRIPE_API_BASE`.
    pub api_base: String,
    /// `STRIPE_API_VERSION`.
    pub api_version: String,
    /// `stripe.mode`: live or test; else told by the key.
    pub livemode: Option<bool>,
    /// `stripe.cutover_at`: objects paid before it never grant; default the first start of `serve`.
    pub cutover_at: Option<Timestamp>,
    /// `stripe.grant_free_checkouts`: do full coupons grant catalogue packs? Default yes.
    pub grant_free_checkouts: bool,
    /// `stripe.unknown_price`: park instead of ignore.
    pub park_unknown_prices: bool,
    /// What becomes of credits whose money goes back.
    pub money_back: MoneyBackConfig,
    /// `stripe.catch_up_minutes`: how often Stripe's events are listed, 0 to 1440, default 10; 0: never.
    pub catch_up_minutes: u16,
    /// `stripe.strict_future`: refuse signatures more than 300 s ahead.
    pub tolerance: Tolerance,
}

/// What becomes of credits whose money goes back.
#[derive(Clone, Copy, Debug, Default)]
pub struct MoneyBackConfig {
    /// `stripe.spent_credits`: write off credits of refunded packs that are spent already rather than have them owed.
    pub write_off_spent: bool,
    /// `stripe.fraud_warnings`: freeze what is unspent when the card's issuer warns of fraud.
    pub freeze_on_warning: bool,
    /// `stripe.balance_credit_notes`: keep the credits when a credit note only credits the customer's balance.
    pub keep_on_balance_notes: bool,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Config {
    /// `DATABASE_URL`; when set nothing embedded is started.
    pub database_url: Option<SecretString>,
    /// `database.max_connections`, 24 to 500, default 32.
    pub max_connections: u32,
    /// `database.allow_unsafe`: start on a server that may lose acknowledged writes.
    pub allow_unsafe_database: bool,
    /// What concerns Stripe.
    pub stripe: StripeConfig,
    /// `charger`: how money is taken by itself, and how much at most.
    pub charger: ChargerSettings,
    /// `CREDITD_LISTEN`.
    pub listen: SocketAddr,
    /// `http.max_connections`, 16 to 65536, default 4096.
    pub http_connections: usize,
    /// `metrics.public`: does `GET /metrics` ask for no key? Default yes.
    pub metrics_public: bool,
    /// `CREDITD_API_KEYS`, a comma list of `scope:secret`.
    pub api_keys: Vec<ImportedKey>,
    /// `CREDITD_CATALOG`, applied at the start.
    pub catalog: Option<PathBuf>,
    /// `CREDITD_PG_BIN`.
    pub pg_bin: Option<PathBuf>,
    /// `CREDITD_PG_CACHE`.
    pub pg_cache: PathBuf,
    /// `CREDITD_TEST_HIDE_POSTGRES`: behave as on a machine without Postgres, so that the fetch is taken.
    pub hide_installed_postgres: bool,
    /// `CREDITD_LOG_FORMAT`: text or json.
    pub log_format: LogFormat,
    /// `RUST_LOG`; absent: each command's own.
    pub log_filter: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    listen: Option<String>,
    catalog: Option<PathBuf>,
    database: DatabaseFile,
    stripe: StripeFile,
    http: HttpFile,
    metrics: MetricsFile,
    charger: charger::ChargerFile,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct HttpFile {
    max_connections: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct MetricsFile {
    public: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct DatabaseFile {
    max_connections: Option<u32>,
    allow_unsafe: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct StripeFile {
    mode: Option<String>,
    api_base: Option<String>,
    api_version: Option<String>,
    cutover_at: Option<String>,
    grant_free_checkouts: Option<bool>,
    unknown_price: Option<String>,
    spent_credits: Option<String>,
    fraud_warnings: Option<String>,
    balance_credit_notes: Option<String>,
    catch_up_minutes: Option<u16>,
    strict_future: bool,
}

/// Where variables come from: the process's environment, or a table in a test.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's own environment.
#[expect(clippy::disallowed_methods, reason = "this is the file that reads the environment")]
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

impl Config {
    /// Reads and checks everything.
    pub fn load(environment: Environment<'_>) -> Result<Self, ConfigError> {
        let file = read_file(environment)?;
        let max_connections = file.database.max_connections.unwrap_or(DEFAULT_CONNECTIONS);
        if !(LEAST_CONNECTIONS..=500).contains(&max_connections) {
            return Err(ConfigError::new("database.max_connections", format!("has to be {LEAST_CONNECTIONS} to 500")));
        }
        let http_connections = file.http.max_connections.unwrap_or(listener::DEFAULT_CONNECTIONS);
        if !(listener::LEAST_CONNECTIONS..=listener::MOST_CONNECTIONS).contains(&http_connections) {
            let (least, most) = (listener::LEAST_CONNECTIONS, listener::MOST_CONNECTIONS);
            return Err(ConfigError::new("http.max_connections", format!("has to be {least} to {most}")));
        }
        let listen = match environment("CREDITD_LISTEN") {
            Some(text) => address("CREDITD_LISTEN", &text)?,
            None => address("listen", file.listen.as_deref().unwrap_or(DEFAULT_LISTEN))?,
        };
        let home = environment("HOME").map(PathBuf::from);
        Ok(Self {
            database_url: secret(environment, "DATABASE_URL")?,
            max_connections,
            allow_unsafe_database: file.database.allow_unsafe,
            stripe: stripe(environment, file.stripe)?,
            charger: charger::read(file.charger)?,
            listen,
            http_connections,
            metrics_public: file.metrics.public.unwrap_or(true),
            api_keys: api_keys(environment)?,
            catalog: environment("CREDITD_CATALOG").map(PathBuf::from).or(file.catalog),
            pg_bin: environment("CREDITD_PG_BIN").map(PathBuf::from),
            pg_cache: environment("CREDITD_PG_CACHE")
                .map_or_else(|| crate::devdb::Options::default_cache(home.as_deref()), PathBuf::from),
            hide_installed_postgres: environment("CREDITD_TEST_HIDE_POSTGRES").is_some(),
            log_format: match environment("CREDITD_LOG_FORMAT").as_deref() {
                None | Some("text") => LogFormat::Text,
                Some("json") => LogFormat::Json,
                Some(other) => {
                    return Err(ConfigError::new("CREDITD_LOG_FORMAT", format!("`{other}` has to be text or json")));
                }
            },
            log_filter: environment("RUST_LOG"),
        })
    }

    /// How often Stripe's events are listed; `None`: never.
    pub fn catch_up_every(&self) -> Option<Duration> {
        let minutes = u64::from(self.stripe.catch_up_minutes);
        (minutes > 0).then(|| Duration::from_mins(minutes))
    }

    /// Is it unsaid where a card's owner goes after paying by a link, while there is a Stripe that could be paid through?
    pub fn lacks_return_url(&self) -> bool {
        let makes_own_links = self.charger.mode == ChargeMode::PaymentIntent;
        makes_own_links && self.charger.return_url.is_none() && self.stripe.secret_key.is_some()
    }

    /// How the outside is met.
    pub fn surface(&self) -> Surface {
        let limits = Limits { connections: self.http_connections, ..Limits::default() };
        Surface { limits, metrics_public: self.metrics_public }
    }

    /// Live or test: told by the key, which a stated mode must agree with; neither: nobody knows.
    pub fn livemode(&self) -> Result<Option<bool>, ConfigError> {
        let key = self.stripe.secret_key.as_ref().map(|key| key.expose_secret().to_owned());
        let by_key = key.as_deref().and_then(|key| match key.split('_').nth(1) {
            Some("live") => Some(true),
            Some("test") => Some(false),
            Some(_) | None => None,
        });
        match (by_key, self.stripe.livemode) {
            (Some(key), Some(stated)) if key != stated => {
                Err(ConfigError::new("stripe.mode", "does not agree with the mode of STRIPE_SECRET_KEY"))
            }
            (key, stated) => Ok(key.or(stated)),
        }
    }
}

fn read_file(environment: Environment<'_>) -> Result<File, ConfigError> {
    let Some(path) = environment("CREDITD_CONFIG") else { return Ok(File::default()) };
    let text = read_small(Path::new(&path)).map_err(|why| ConfigError::new("CREDITD_CONFIG", why))?;
    toml::from_str(&text).map_err(|error| ConfigError::new(&path, error.to_string().trim().to_owned()))
}

fn read_small(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display()));
    }
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// A secret from its variable, or from the file that `<NAME>_FILE` names; both is a mistake.
fn secret(environment: Environment<'_>, name: &str) -> Result<Option<SecretString>, ConfigError> {
    let file_name = format!("{name}_FILE");
    match (environment(name), environment(&file_name)) {
        (Some(_), Some(_)) => Err(ConfigError::new(name, format!("is set, and so is {file_name}: keep one"))),
        (Some(value), None) => Ok(Some(SecretString::from(value.trim().to_owned()))),
        (None, Some(path)) => {
            let text = read_small(Path::new(&path)).map_err(|why| ConfigError::new(&file_name, why))?;
            let text = text.trim();
            if text.is_empty() {
                return Err(ConfigError::new(&file_name, format!("{path} is empty")));
            }
            Ok(Some(SecretString::from(text.to_owned())))
        }
        (None, None) => Ok(None),
    }
}

fn address(name: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse()
        .map_err(|_| ConfigError::new(name, format!("`{text}` has to be an address and port such as {DEFAULT_LISTEN}")))
}

fn stripe(environment: Environment<'_>, file: StripeFile) -> Result<StripeConfig, ConfigError> {
    let secrets = secret(environment, "STRIPE_WEBHOOK_SECRETS")?;
    let texts: Vec<String> = secrets
        .iter()
        .flat_map(|list| list.expose_secret().split(','))
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .collect();
    let webhook_secrets = texts.iter().map(|text| Secret::new(text)).collect::<Result<_, _>>();
    let livemode = match file.mode.as_deref() {
        None => None,
        Some("live") => Some(true),
        Some("test") => Some(false),
        Some(other) => return Err(ConfigError::new("stripe.mode", format!("`{other}` has to be live or test"))),
    };
    let park_unknown_prices = either("stripe.unknown_price", file.unknown_price.as_deref(), ["ignore", "park"])?;
    let write_off_spent = either("stripe.spent_credits", file.spent_credits.as_deref(), ["owe", "write_off"])?;
    let freeze_on_warning = either("stripe.fraud_warnings", file.fraud_warnings.as_deref(), ["ignore", "freeze"])?;
    let keep_on_balance_notes =
        either("stripe.balance_credit_notes", file.balance_credit_notes.as_deref(), ["take", "keep"])?;
    let cutover_at = file.cutover_at.map(|text| {
        text.parse::<Timestamp>().map_err(|_| {
            ConfigError::new("stripe.cutover_at", format!("`{text}` has to be a time such as 2026-11-01T00:00:00Z"))
        })
    });
    let catch_up_minutes = file.catch_up_minutes.unwrap_or(CATCH_UP_MINUTES);
    if catch_up_minutes > CATCH_UP_MINUTES_MAX {
        let why = format!("has to be 0 (never) to {CATCH_UP_MINUTES_MAX}");
        return Err(ConfigError::new("stripe.catch_up_minutes", why));
    }
    Ok(StripeConfig {
        catch_up_minutes,
        secret_key: secret(environment, "STRIPE_SECRET_KEY")?,
        webhook_secrets: webhook_secrets
            .map_err(|error| ConfigError::new("STRIPE_WEBHOOK_SECRETS", error.to_string()))?,
        webhook_secret_texts: texts.into_iter().map(SecretString::from).collect(),
        api_base: environment("STRIPE_API_BASE").or(file.api_base).unwrap_or_else(|| BASE_URL.to_owned()),
        api_version: environment("STRIPE_API_VERSION").or(file.api_version).unwrap_or_else(|| API_VERSION.to_owned()),
        livemode,
        cutover_at: cutover_at.transpose()?,
        grant_free_checkouts: file.grant_free_checkouts.unwrap_or(true),
        park_unknown_prices,
        money_back: MoneyBackConfig { write_off_spent, freeze_on_warning, keep_on_balance_notes },
        tolerance: if file.strict_future { Tolerance::strict() } else { Tolerance::default() },
    })
}

/// One of two words; absent is the first. Is it the second?
fn either(name: &'static str, word: Option<&str>, [usual, other]: [&str; 2]) -> Result<bool, ConfigError> {
    match word {
        None => Ok(false),
        Some(word) if word == usual => Ok(false),
        Some(word) if word == other => Ok(true),
        Some(unknown) => Err(ConfigError::new(name, format!("`{unknown}` has to be {usual} or {other}"))),
    }
}

fn api_keys(environment: Environment<'_>) -> Result<Vec<ImportedKey>, ConfigError> {
    let name = "CREDITD_API_KEYS";
    let Some(list) = secret(environment, name)? else { return Ok(Vec::new()) };
    let mut keys = Vec::new();
    for (place, part) in list.expose_secret().split(',').map(str::trim).filter(|part| !part.is_empty()).enumerate() {
        let number = place + 1;
        let (scope, key) = part
            .split_once(':')
            .ok_or_else(|| ConfigError::new(name, format!("entry {number} has to be `scope:secret`")))?;
        if !["app", "finance", "admin"].contains(&scope) {
            return Err(ConfigError::new(name, format!("entry {number}: scope has to be app, finance or admin")));
        }
        if key.len() < IMPORTED_KEY_MIN {
            let why = format!("entry {number}: the secret has to have {IMPORTED_KEY_MIN} characters or more");
            return Err(ConfigError::new(name, why));
        }
        keys.push(ImportedKey { scope: scope.to_owned(), secret: SecretString::from(key.to_owned()) });
    }
    Ok(keys)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
