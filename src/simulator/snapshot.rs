//! The state file: the whole account as JSON, replaced in one step after each mutation.

use std::io::Write as _;
use std::path::Path;

use super::state::State;

/// A state file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file system refused.
    #[error("state file {path}: {source}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The content is not a snapshot.
    #[error("state file {path} is not a snapshot of the simulator: {source}")]
    Content {
        /// Which file.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// Reads a snapshot; an account that is empty if there is no file yet.
pub fn load(path: &Path) -> Result<State, SnapshotError> {
    let written = match std::fs::read(path) {
        Ok(written) => written,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(State::default()),
        Err(source) => return Err(SnapshotError::File { path: path.display().to_string(), source }),
    };
    serde_json::from_slice(&written)
        .map_err(|source| SnapshotError::Content { path: path.display().to_string(), source })
}

/// Writes a snapshot beside the file and renames it over: a reader sees the old or the new, never a half.
pub fn save(path: &Path, state: &State) -> Result<(), SnapshotError> {
    let file = |source| SnapshotError::File { path: path.display().to_string(), source };
    let written = serde_json::to_vec(state)
        .map_err(|source| SnapshotError::Content { path: path.display().to_string(), source })?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut next = tempfile::NamedTempFile::new_in(folder).map_err(file)?;
    next.write_all(&written).map_err(file)?;
    next.as_file().sync_all().map_err(file)?;
    next.persist(path).map_err(|error| file(error.error))?;
    Ok(())
}
