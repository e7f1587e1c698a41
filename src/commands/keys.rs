//! `creditd keys`: make, list and revoke API keys. A key is shown once; only its hash is stored.

use std::io::Write;
use std::str::FromStr;

use anyhow::Context;
use clap::Subcommand;
use comfy_table::Table;
use jiff::{SignedDuration, Timestamp};

use super::Usage;
use crate::clock::Clock;
use crate::domain::api_key::{self, Scope};
use crate::domain::ids::KeyId;
use crate::store::Store;
use crate::store::keys::NewKey;

/// What to do with keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Makes a key and prints it, once.
    Create {
        /// app (check and track), finance (reports) or admin (everything).
        #[arg(long)]
        scope: String,
        /// What it is for.
        #[arg(long)]
        name: String,
        /// Days until it is refused; never, when absent.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        expires_in_days: Option<u16>,
    },
    /// Lists keys without showing them.
    List,
    /// Refuses a key from now on.
    Revoke {
        /// Its id (`key_...`), as `list` shows it.
        id: String,
    },
}

/// Does it.
pub async fn run(store: &Store, command: KeysCommand, livemode: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        KeysCommand::Create { scope, name, expires_in_days } => {
            let scope = Scope::from_word(&scope)
                .ok_or_else(|| Usage(format!("--scope {scope}: has to be app, finance or admin")))?;
            let expires_at = match expires_in_days {
                None => None,
                Some(days) => {
                    Some(Clock::system().now().checked_add(SignedDuration::from_hours(24 * i64::from(days)))?)
                }
            };
            let (key, id) = create(store, livemode, scope, &name, expires_at).await?;
            writeln!(out, "{key}")?;
            eprintln!("{id}, scope {}: shown once, store it now", scope.word());
            Ok(())
        }
        KeysCommand::List => list(store, out).await,
        KeysCommand::Revoke { id } => {
            let id = KeyId::from_str(&id).map_err(|error| Usage(error.to_string()))?;
            if !store.revoke_key(id).await? {
                return Err(Usage(format!("there is no key {id}; `creditd keys list` shows them")).into());
            }
            writeln!(out, "{id} is refused from now on, within 2 s on every daemon")?;
            Ok(())
        }
    }
}

/// Makes a key from the system's randomness and stores its hash.
pub async fn create(
    store: &Store,
    livemode: bool,
    scope: Scope,
    name: &str,
    expires_at: Option<Timestamp>,
) -> anyhow::Result<(String, KeyId)> {
    let key = api_key::make(livemode, scope, rand::random());
    let new =
        NewKey { hash: api_key::digest(&key), scope, name: name.to_owned(), shown: api_key::shown(&key), expires_at };
    let id = store.insert_key(&new).await?.context("a new key was there already")?;
    Ok((key, id))
}

/// Imports a key of the configuration.
pub async fn import(store: &Store, scope: &str, secret: &str) -> anyhow::Result<()> {
    let scope =
        Scope::from_word(scope).ok_or_else(|| Usage(format!("CREDITD_API_KEYS: scope {scope} is not known")))?;
    let new = NewKey {
        hash: api_key::digest(secret),
        scope,
        name: "imported from CREDITD_API_KEYS".to_owned(),
        shown: "(imported)".to_owned(),
        expires_at: None,
    };
    store.insert_key(&new).await?;
    Ok(())
}

async fn list(store: &Store, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["ID", "SCOPE", "KEY", "NAME", "CREATED", "LAST USED", "STATE"]);
    let minute = |at: Timestamp| at.strftime("%Y-%m-%d %H:%MZ").to_string();
    let now = Clock::system().now();
    for key in store.list_keys().await? {
        let state = match (key.revoked_at, key.expires_at) {
            (Some(at), _) => format!("revoked {}", minute(at)),
            (None, Some(at)) if at <= now => format!("expired {}", minute(at)),
            (None, Some(at)) => format!("until {}", minute(at)),
            (None, None) => "in force".to_owned(),
        };
        table.add_row([
            key.id.to_string(),
            key.scope.word().to_owned(),
            format!("{}…", key.shown),
            key.name,
            minute(key.created_at),
            key.last_used_at.map_or_else(|| "never".to_owned(), minute),
            state,
        ]);
    }
    writeln!(out, "{table}")?;
    Ok(())
}
