//! Whether Stripe is worth asking: every daemon reads and writes the same row, in real time.

use jiff::Timestamp;

use super::{Store, StoreError, transaction};

const READ: &str = "-- read_circuit
SELECT failures, reason, CASE WHEN open_until > clock_timestamp() THEN open_until END,
    ceil(extract(epoch FROM open_until - clock_timestamp()))::bigint
FROM circuits WHERE name = $1";
const FAIL: &str = "-- fail_circuit
INSERT INTO circuits (name, failures, reason) VALUES ($1, 1, $2)
ON CONFLICT ON CONSTRAINT circuits_pkey DO UPDATE SET failures = least(circuits.failures + 1, 1000), reason = excluded.reason
RETURNING failures";
const OPEN: &str = "-- open_circuit
UPDATE circuits SET open_until = clock_timestamp() + make_interval(secs => $2::integer) WHERE name = $1";
const CLOSE: &str = "-- close_circuit
UPDATE circuits SET failures = 0, open_until = NULL, reason = NULL WHERE name = $1 AND failures > 0";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 4] = [READ, FAIL, OPEN, CLOSE];

/// The circuit of calls to Stripe.
pub const STRIPE: &str = "stripe";

/// A circuit as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circuit {
    /// Failures in a row.
    pub failures: i32,
    /// Why.
    pub reason: Option<String>,
    /// Nothing is sent before then; none: it is closed.
    pub open_until: Option<Timestamp>,
    /// Seconds until then.
    pub open_seconds: Option<i64>,
}

/// Failures, reason, open until, seconds until then.
type CircuitRow = (i32, Option<String>, Option<jiff_sqlx::Timestamp>, Option<i64>);

/// Calls to Stripe that are not made for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCircuit {
    /// Nothing is sent before then, in real time.
    pub until: Timestamp,
    /// What failed last.
    pub reason: String,
}

impl Store {
    /// Whether nothing is sent to Stripe for now; `None`: it is asked as usual.
    pub async fn open_circuit(&self) -> Result<Option<OpenCircuit>, StoreError> {
        let Circuit { reason, open_until, .. } = self.circuit(STRIPE).await?;
        Ok(open_until.map(|until| OpenCircuit { until, reason: reason.unwrap_or_else(|| "unknown".to_owned()) }))
    }

    /// How a circuit stands.
    pub async fn circuit(&self, name: &str) -> Result<Circuit, StoreError> {
        let row: Option<CircuitRow> = sqlx::query_as(READ).bind(name).fetch_optional(self.pool()).await?;
        Ok(row.map_or_else(Circuit::default, |(failures, reason, until, left)| Circuit {
            failures,
            reason,
            open_until: until.map(jiff_sqlx::Timestamp::to_jiff),
            open_seconds: left.filter(|_| until.is_some()),
        }))
    }

    /// Counts a failure, and opens the circuit for as long as `open_for` says of so many in a row; none leaves it closed.
    pub async fn fail_circuit(
        &self,
        name: &str,
        reason: &str,
        open_for: impl Fn(i32) -> Option<i32> + Send + Sync,
    ) -> Result<Option<i32>, StoreError> {
        transaction!(self, "fail_circuit", |connection| {
            let failures: i32 = sqlx::query_scalar(FAIL).bind(name).bind(reason).fetch_one(&mut *connection).await?;
            let seconds = open_for(failures);
            if let Some(seconds) = seconds {
                sqlx::query(OPEN).bind(name).bind(seconds).execute(connection).await?;
            }
            Ok(seconds)
        })
    }

    /// Closes a circuit.
    pub async fn close_circuit(&self, name: &str) -> Result<(), StoreError> {
        transaction!(self, "close_circuit", |connection| {
            sqlx::query(CLOSE).bind(name).execute(connection).await?;
            Ok(())
        })
    }
}
