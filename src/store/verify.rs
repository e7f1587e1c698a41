//! The laws as statements on a live database, all of them in one snapshot.
//!
//! Nothing here shares arithmetic with posting but the hash function: sums are the database's, and the few added here
//! are integers of any size. A check answers how much it looked at, how many rows break it, and the first
//! [`SHOWN_MAX`] of those.

mod charger;
mod statements;

use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use uuid::Uuid;

use super::reports::{LedgerRow, Snapshot};
use super::{Store, StoreError};
use crate::domain::entry::ChainHead;
use crate::domain::ids::AccountId;

pub use statements::STATEMENTS;
use statements::{CHAIN, CHECKS, EMPTY_HEADS, REMAINING, TOTALS};

/// Most differing rows that a check names.
pub const SHOWN_MAX: usize = 20;

/// One row that breaks a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The row.
    pub row: String,
    /// What is wrong with it, with the numbers.
    pub found: String,
}

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use]
pub struct Checked {
    /// Stable name.
    pub check: &'static str,
    /// What has to be true.
    pub says: &'static str,
    /// Rows looked at.
    pub examined: i64,
    /// Rows that break it.
    pub differences: i64,
    /// The first of them.
    pub first: Vec<Difference>,
}

/// Credits of one feature, added up over all accounts, as exact decimal text: they may exceed any amount's range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FeatureTotal {
    /// The feature.
    pub feature: String,
    /// Signed sum of each kind of entry that changes a remaining, by the kind's word.
    pub by_kind: Vec<(String, String)>,
    /// What those sums add up to.
    pub expected: String,
    /// What remains on the grants.
    pub remaining: String,
}

/// Everything the checks found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use]
pub struct Verification {
    /// Each check.
    pub checks: Vec<Checked>,
    /// Credits by feature.
    pub totals: Vec<FeatureTotal>,
}

impl Verification {
    /// Did any check find a difference?
    pub fn differs(&self) -> bool {
        self.checks.iter().any(|check| check.differences > 0)
    }
}

impl Store {
    /// Runs every check in one snapshot.
    pub async fn verify(&self) -> Result<Verification, StoreError> {
        let mut snapshot = self.snapshot().await?;
        let mut checks = Vec::new();
        for (check, says, statement) in CHECKS {
            checks.push(run_check(&mut snapshot, check, says, statement).await?);
        }
        checks.push(chains(&mut snapshot).await?);
        let (totals, checked) = totals(&mut snapshot).await?;
        checks.push(checked);
        snapshot.close().await?;
        Ok(Verification { checks, totals })
    }
}

async fn run_check(
    snapshot: &mut Snapshot,
    check: &'static str,
    says: &'static str,
    statement: &'static str,
) -> Result<Checked, StoreError> {
    let (examined, differences, first): (i64, i64, Option<Json<Vec<Difference>>>) =
        sqlx::query_as(statement).fetch_one(snapshot.connection()).await?;
    let first = first.map(|json| json.0).unwrap_or_default();
    Ok(Checked { check, says, examined, differences, first })
}

#[derive(sqlx::FromRow)]
struct ChainRow {
    #[sqlx(flatten)]
    line: LedgerRow,
    chain_head: Option<Vec<u8>>,
}

/// The chain of the account that is being read.
struct Chain {
    account: Uuid,
    seq: i64,
    head: ChainHead,
    stored_head: Option<Vec<u8>>,
    /// A broken line was named already: the lines after it break by it.
    broken: bool,
}

/// Findings of a check made row by row.
struct Findings {
    examined: i64,
    differences: i64,
    first: Vec<Difference>,
}

impl Findings {
    const NONE: Self = Self { examined: 0, differences: 0, first: Vec::new() };

    fn add(&mut self, row: String, found: String) {
        self.differences = self.differences.saturating_add(1);
        if self.first.len() < SHOWN_MAX {
            self.first.push(Difference { row, found });
        }
    }

    fn checked(self, check: &'static str, says: &'static str) -> Checked {
        Checked { check, says, examined: self.examined, differences: self.differences, first: self.first }
    }
}

impl Chain {
    fn ends(&self, findings: &mut Findings) {
        if !self.broken && self.stored_head.as_deref() != Some(self.head.0.as_slice()) {
            let found = format!(
                "the account's head is not the hash of its last line {}: lines at the end are missing, or the head was changed",
                self.seq
            );
            findings.add(AccountId::from_uuid(self.account).to_string(), found);
        }
    }

    fn takes(&mut self, row: LedgerRow, findings: &mut Findings) {
        let account = AccountId::from_uuid(self.account);
        self.seq = row.seq;
        let name = format!("{account} line {}", row.seq);
        match row.into_line() {
            // From here the line's own hash leads on, so that the head is still compared.
            Ok(line) => {
                let head = self.head.after(account, &line.entry);
                if head.0 != line.hash && !self.broken {
                    self.broken = true;
                    findings.add(name, "first line whose hash does not follow from the line before it".to_owned());
                }
                self.head = ChainHead(line.hash);
            }
            Err(error) => {
                if !self.broken {
                    self.broken = true;
                    findings.add(name, format!("cannot be read: {error}"));
                }
            }
        }
    }
}

/// Recomputes every account's chain, line by line.
async fn chains(snapshot: &mut Snapshot) -> Result<Checked, StoreError> {
    let mut findings = Findings::NONE;
    {
        let mut rows = sqlx::query_as::<_, ChainRow>(CHAIN).fetch(snapshot.connection());
        let mut chain: Option<Chain> = None;
        while let Some(row) = rows.try_next().await? {
            findings.examined = findings.examined.saturating_add(1);
            let account = row.line.account_id;
            let mut current = match chain.take() {
                Some(known) if known.account == account => known,
                other => {
                    if let Some(done) = other {
                        done.ends(&mut findings);
                    }
                    Chain { account, seq: 0, head: ChainHead::EMPTY, stored_head: row.chain_head, broken: false }
                }
            };
            current.takes(row.line, &mut findings);
            chain = Some(current);
        }
        if let Some(done) = chain {
            done.ends(&mut findings);
        }
    }
    let empty = run_check(snapshot, "", "", EMPTY_HEADS).await?;
    findings.differences = findings.differences.saturating_add(empty.differences);
    findings.first.extend(empty.first);
    findings.first.truncate(SHOWN_MAX);
    Ok(findings.checked(
        "hash_chain",
        "each line's hash follows from the line before it, and the last one is the account's head",
    ))
}

/// Adds up everything, for people.
async fn totals(snapshot: &mut Snapshot) -> Result<(Vec<FeatureTotal>, Checked), StoreError> {
    let sums: Vec<(String, String, String)> = sqlx::query_as(TOTALS).fetch_all(snapshot.connection()).await?;
    let remaining: Vec<(String, String)> = sqlx::query_as(REMAINING).fetch_all(snapshot.connection()).await?;
    let mut features: Vec<&String> = sums.iter().map(|(feature, _, _)| feature).collect();
    features.extend(remaining.iter().map(|(feature, _)| feature));
    features.sort_unstable();
    features.dedup();
    let mut findings = Findings::NONE;
    let mut totals = Vec::new();
    for feature in features {
        let mine = sums.iter().filter(|(of, _, _)| of == feature);
        let by_kind: Vec<(String, String)> = mine.map(|(_, kind, sum)| (kind.clone(), sum.clone())).collect();
        let mut expected: i128 = 0;
        for (_, sum) in &by_kind {
            expected = billionths(sum).and_then(|sum| expected.checked_add(sum)).ok_or_else(|| unreadable(sum))?;
        }
        let stored = remaining.iter().find(|(of, _)| of == feature).map_or("0", |(_, sum)| sum.as_str());
        let stored = billionths(stored).ok_or_else(|| unreadable(stored))?;
        findings.examined = findings.examined.saturating_add(1);
        let (expected_text, stored_text) = (decimal(expected), decimal(stored));
        if expected != stored {
            findings.add(feature.clone(), format!("entries add up to {expected_text}, grants hold {stored_text}"));
        }
        let by_kind = by_kind.into_iter().map(|(kind, sum)| (kind, billionths(&sum).map_or(sum, decimal))).collect();
        totals.push(FeatureTotal {
            feature: feature.clone(),
            by_kind,
            expected: expected_text,
            remaining: stored_text,
        });
    }
    Ok((totals, findings.checked("totals", "all entries of a feature add up to what its grants hold")))
}

fn unreadable(sum: &str) -> StoreError {
    StoreError::Inconsistent { table: "entries", column: "sum(amount)", row: sum.to_owned() }
}

/// A NUMERIC's text with at most nine places as a count of billionths; sums go far beyond the range of one amount.
fn billionths(text: &str) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let missing = 9_usize.checked_sub(fraction.len())?;
    let all = format!("{whole}{fraction}{}", "0".repeat(missing));
    let value: i128 = all.parse().ok()?;
    Some(if negative { value.checked_neg()? } else { value })
}

fn decimal(billionths: i128) -> String {
    let sign = if billionths < 0 { "-" } else { "" };
    let (whole, rest) = (billionths.unsigned_abs() / 1_000_000_000, billionths.unsigned_abs() % 1_000_000_000);
    let text = format!("{sign}{whole}.{rest:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
