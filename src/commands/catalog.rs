//! `creditd catalog plan|apply FILE`: what is sold, from a file in the app's repository.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use sha2::{Digest, Sha256};

use super::Usage;
use crate::domain::catalog::Catalog;
use crate::domain::catalog::diff::diff;
use crate::domain::catalog::file::{FILE_BYTES_MAX, read};
use crate::store::Store;
use crate::store::catalog::Applied;
use crate::store::events::WAITING_FOR_CATALOG;

/// What to do with the catalogue.
#[derive(Clone, Debug, Subcommand)]
pub enum CatalogCommand {
    /// Shows what applying the file would change; changes nothing.
    Plan {
        /// The catalogue file (TOML).
        file: PathBuf,
    },
    /// Makes the database's catalogue equal to the file, in one transaction.
    Apply {
        /// The catalogue file (TOML).
        file: PathBuf,
    },
}

/// Does it.
pub async fn run(store: &Store, command: CatalogCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    let file = match &command {
        CatalogCommand::Plan { file } | CatalogCommand::Apply { file } => file,
    };
    let (wanted, sha256) = load(file)?;
    let now = store.catalog().await?;
    let changes = diff(&now.catalog, &wanted);
    for change in &changes {
        writeln!(out, "{change}")?;
    }
    match command {
        CatalogCommand::Plan { .. } => {
            writeln!(out, "{} changes to version {}; `creditd catalog apply` makes them", changes.len(), now.version)?;
        }
        CatalogCommand::Apply { .. } => match apply(store, &wanted, sha256, false).await? {
            Applied::Version(version) => writeln!(out, "applied: the catalogue is version {version}")?,
            Applied::Unchanged(version) | Applied::SeenBefore(version) => {
                writeln!(out, "nothing to change: the catalogue is version {version}")?;
            }
        },
    }
    Ok(())
}

/// Applies a file at a start, once in its life.
pub async fn apply_at_start(store: &Store, file: &Path) -> anyhow::Result<()> {
    let (wanted, sha256) = load(file)?;
    report(apply(store, &wanted, sha256, true).await?, &file.display().to_string());
    Ok(())
}

/// The same for a text that is compiled in.
pub async fn apply_text_at_start(store: &Store, name: &str, text: &str) -> anyhow::Result<()> {
    let (wanted, sha256) = parse(name, text)?;
    report(apply(store, &wanted, sha256, true).await?, name);
    Ok(())
}

fn report(applied: Applied, name: &str) {
    match applied {
        Applied::Version(version) => tracing::info!(version, file = name, "applied the catalogue"),
        Applied::Unchanged(version) => tracing::info!(version, file = name, "the catalogue is as the file says"),
        Applied::SeenBefore(version) => {
            tracing::info!(version, file = name, "this catalogue file was applied before and is left alone");
        }
    }
}

async fn apply(store: &Store, wanted: &Catalog, sha256: [u8; 32], at_start: bool) -> anyhow::Result<Applied> {
    let applied = store.apply_catalog(wanted, sha256, at_start).await?;
    if matches!(applied, Applied::Version(_)) {
        // Events that waited for a price or feature may go on.
        let woken = store.wake_parked(&WAITING_FOR_CATALOG).await?;
        if woken > 0 {
            tracing::info!(woken, "parked events are tried again with the new catalogue");
        }
    }
    Ok(applied)
}

fn load(file: &Path) -> anyhow::Result<(Catalog, [u8; 32])> {
    let unreadable = |error| Usage(format!("{}: {error}", file.display()));
    let size = std::fs::metadata(file).map_err(unreadable)?.len();
    if size > u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX) {
        return Err(Usage(format!("{}: is larger than {FILE_BYTES_MAX} bytes", file.display())).into());
    }
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    parse(&file.display().to_string(), &text)
}

fn parse(name: &str, text: &str) -> anyhow::Result<(Catalog, [u8; 32])> {
    let catalog = read(text).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(|mistake| format!("{name}: {mistake}")).collect();
        Usage(lines.join("\n"))
    })?;
    Ok((catalog, Sha256::digest(text.as_bytes()).into()))
}
