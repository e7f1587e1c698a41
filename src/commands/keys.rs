//! `creditd keys`: API keys made, listed, revoked. A key is shown once, when it is made.

use std::io::Write;

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use comfy_table::Table;
use jiff::Timestamp;

use super::Usage;
use crate::domain::api_key::{KeyText, Scope};
use crate::domain::ids::KeyId;
use crate::store::Store;
use crate::store::keys::{KEY_NAME_MAX, KeyImport, Revocation};

/// Longest life a key may be given: ten years.
const LIFE_DAYS_MAX: i32 = 3_650;

/// What can be done with API keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key and print it; it cannot be shown again.
    Create {
        /// What it may do.
        #[arg(long)]
        scope: ScopeArgument,
        /// What it is for.
        #[arg(long)]
        name: String,
        /// Days until it is refused; without it, it lives until it is revoked.
        #[arg(long, value_parser = clap::value_parser!(i32).range(1..=i64::from(LIFE_DAYS_MAX)))]
        expires_in_days: Option<i32>,
    },
    /// List keys, revoked ones too.
    List,
    /// Refuse a key from now on; other daemons follow within seconds.
    Revoke {
        /// Its id (key_..), as `list` shows it.
        id: KeyId,
    },
}

/// A scope on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ScopeArgument {
    /// Check, track, and the customers behind them.
    App,
    /// Reads for finance.
    Finance,
    /// Everything.
    Admin,
}

impl From<ScopeArgument> for Scope {
    fn from(argument: ScopeArgument) -> Self {
        match argument {
            ScopeArgument::App => Self::App,
            ScopeArgument::Finance => Self::Finance,
            ScopeArgument::Admin => Self::Admin,
        }
    }
}

/// Carries one of them out and prints to `out`. `livemode` is the database's: a key names its environment.
pub async fn run(store: &Store, command: KeysCommand, livemode: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        KeysCommand::Create { scope, name, expires_in_days } => {
            create(store, scope.into(), &name, expires_in_days, livemode, out).await
        }
        KeysCommand::List => list(store, out).await,
        KeysCommand::Revoke { id } => revoke(store, id, out).await,
    }
}

async fn create(
    store: &Store,
    scope: Scope,
    name: &str,
    expires_in_days: Option<i32>,
    livemode: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if name.is_empty() || name.len() > KEY_NAME_MAX || name.chars().any(char::is_control) {
        let text = format!("--name has to be 1 to {KEY_NAME_MAX} bytes without control characters");
        return Err(Usage(text).into());
    }
    // The thread's generator is a cryptographic one, seeded by the operating system.
    let key = KeyText::make(livemode, scope, rand::random());
    let id = store.create_key(&key, scope, name, expires_in_days).await.context("the key could not be stored")?;
    writeln!(out, "{}", key.expose())?;
    writeln!(out, "id {id}, scope {scope}. Keep the key now: it is stored hashed and cannot be shown again.")?;
    Ok(())
}

async fn list(store: &Store, out: &mut dyn Write) -> anyhow::Result<()> {
    let keys = store.list_keys().await.context("the keys could not be read")?;
    let mut table = Table::new();
    table.set_header(["id", "scope", "name", "begins with", "created", "last used", "expires", "revoked"]);
    for key in keys {
        table.add_row([
            key.id.to_string(),
            key.scope.to_string(),
            key.name,
            key.shown,
            key.created_at.to_string(),
            when(key.last_used_at),
            when(key.expires_at),
            when(key.revoked_at),
        ]);
    }
    writeln!(out, "{table}")?;
    Ok(())
}

fn when(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

async fn revoke(store: &Store, id: KeyId, out: &mut dyn Write) -> anyhow::Result<()> {
    match store.revoke_key(id).await.context("the key could not be revoked")? {
        Revocation::Done => writeln!(out, "{id} is revoked; daemons that have it cached refuse it within seconds.")?,
        Revocation::Before => writeln!(out, "{id} was revoked before.")?,
        Revocation::Unknown => bail!("there is no key {id}"),
    }
    Ok(())
}

/// Makes a key from the system's randomness and stores its hash.
pub async fn create_random(
    store: &Store,
    livemode: bool,
    scope: Scope,
    name: &str,
    expires_in_days: Option<i32>,
) -> anyhow::Result<(KeyText, KeyId)> {
    let key = KeyText::make(livemode, scope, rand::random());
    let id = store.create_key(&key, scope, name, expires_in_days).await?;
    Ok((key, id))
}

/// Imports a key of the configuration; one that is there stays as it is.
pub async fn import(store: &Store, scope: &str, secret: &str) -> anyhow::Result<()> {
    let scope =
        Scope::from_word(scope).ok_or_else(|| Usage(format!("CREDITD_API_KEYS: scope {scope} is not known")))?;
    let key = KeyText::read(secret).map_err(|error| Usage(format!("CREDITD_API_KEYS: {error}")))?;
    if let KeyImport::Known(known) = store.import_key(scope, &key, "imported from CREDITD_API_KEYS").await?
        && (known.scope != scope || known.revoked_at.is_some())
    {
        let (id, scope) = (known.id, known.scope.word());
        tracing::warn!(key.id = %id, scope, "an imported key is known with another scope or revoked, and stays so");
    }
    Ok(())
}
