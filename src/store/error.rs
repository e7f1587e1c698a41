//! What can go wrong with the database.

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A named constraint refused a row.
    #[error("constraint {0} refused a row")]
    Constraint(String),
    /// Try the whole transaction again: serialization failure, deadlock, lock timeout.
    #[error("the database asks to try again: {0}")]
    Transient(String),
    /// The database cannot answer now.
    #[error("the database cannot answer: {0}")]
    Unavailable(String),
    /// The connection was lost while a commit was under way: it may have happened.
    #[error("the connection was lost at commit; whether it happened is not known: {0}")]
    CommitUnknown(String),
    /// A row that this program could not have written.
    #[error("row {row} of {table} is inconsistent: column {column}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
    },
    /// A guarded update found the row changed: a lease was lost.
    #[error("{0}: the row is no longer ours")]
    LostLease(&'static str),
    /// The schema could not be brought up to date.
    #[error("migration failed: {0}")]
    Migration(String),
    /// Anything else the database said; a bug.
    #[error("database error: {0}")]
    Database(String),
}

impl StoreError {
    /// Does running the transaction again make sense?
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Transient(_) => true,
            Self::Constraint(_)
            | Self::Unavailable(_)
            | Self::CommitUnknown(_)
            | Self::Inconsistent { .. }
            | Self::LostLease(_)
            | Self::Migration(_)
            | Self::Database(_) => false,
        }
    }

    /// An error of COMMIT itself: a lost connection then leaves the outcome unknown.
    pub(super) fn at_commit(error: sqlx::Error) -> Self {
        match Self::from(error) {
            Self::Unavailable(text) => Self::CommitUnknown(text),
            other => other,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(database) = &error {
            let text = database.message().to_owned();
            return match (database.code().as_deref(), database.constraint()) {
                (Some("40001" | "40P01" | "55P03"), _) => Self::Transient(text),
                // Class 57 is operator intervention, 53 is resources, 08 is connections.
                (Some(code), _) if code.starts_with("57") || code.starts_with("53") || code.starts_with("08") => {
                    Self::Unavailable(text)
                }
                (_, Some(constraint)) => Self::Constraint(constraint.to_owned()),
                (_, None) => Self::Database(text),
            };
        }
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_) => Self::Unavailable(error.to_string()),
            other => Self::Database(other.to_string()),
        }
    }
}
