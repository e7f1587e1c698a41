//! The native API: a file for each family of endpoints. Shared here: customers named in paths, and how wallets, times
//! and money look in answers.

pub mod adjustments;
pub mod asked;
pub mod attach;
pub mod balance;
pub mod check;
pub mod customers;
pub mod entries;
pub mod grants;
pub mod held_back;
pub mod holds;
pub mod limits;
pub mod overage_bills;
pub mod replay;
pub mod rule_terms;
pub mod setup;
pub mod stripe_events;
pub mod top_up_rules;
pub mod top_ups;
pub mod track;
pub mod usage;
pub mod wallets;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::App;
use super::json::Json;
use super::problem::Problem;
use super::read;
use crate::domain::account::AccountLife;
use crate::domain::command::{Command, Decision, IdempotencyKey, Outcome, Rejection};
use crate::domain::ids::{AccountId, WalletId};
use crate::posting::{PostError, Reading};

/// The customer named in a path.
#[derive(Debug)]
pub struct CustomerPath(pub String);

impl<S: Send + Sync> FromRequestParts<S> for CustomerPath {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        named_in_path(parts, state, "customer").await.map(Self).map_err(IntoResponse::into_response)
    }
}

/// The customer named in a path, and the name of something of theirs, which has at most so many bytes.
#[derive(Debug)]
pub struct NamedPath<const BYTES_MAX: usize> {
    customer: String,
    name: String,
}

impl<S: Send + Sync, const BYTES_MAX: usize> FromRequestParts<S> for NamedPath<BYTES_MAX> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let refuse = |field: &str, detail: &str| Problem::field(field, format!("`{field}` {detail}")).into_response();
        let Ok(Path((customer, name))) = Path::<(String, String)>::from_request_parts(parts, state).await else {
            return Err(refuse("name", "has to be percent-encoded UTF-8"));
        };
        let customer = read::external_id(Json::Text(customer)).map_err(|detail| refuse("customer", &detail))?;
        if name.len() > BYTES_MAX {
            return Err(refuse("name", &format!("has to have at most {BYTES_MAX} bytes")));
        }
        let name = read::external_id(Json::Text(name)).map_err(|detail| refuse("name", &detail))?;
        Ok(Self { customer, name })
    }
}

/// An id of the app's own in a path.
async fn named_in_path<S: Send + Sync>(parts: &mut Parts, state: &S, what: &'static str) -> Result<String, Problem> {
    let refuse = |detail: String| Problem::field(what, format!("`{what}` {detail}"));
    match Path::<String>::from_request_parts(parts, state).await {
        Ok(Path(text)) => read::external_id(Json::Text(text)).map_err(refuse),
        Err(_) => Err(refuse("has to be percent-encoded UTF-8".to_owned())),
    }
}

/// Did a request do something, or had it been done?
fn status_of(decision: &Decision) -> &'static str {
    match decision {
        Decision::Applied(_) => "applied",
        Decision::AlreadyApplied(_) => "repeated",
    }
}

impl App {
    /// The account of a customer and its reading; an account erased meanwhile is looked up once more.
    async fn reading(&self, customer: &str, complete: bool) -> Result<(AccountId, Reading), Problem> {
        for _ in 0..2 {
            let account = self.directory.account(customer).await?;
            let reading = self.read_account(account, complete).await?;
            if reading.state.life != AccountLife::Erased {
                return Ok((account, reading));
            }
            self.directory.forget(customer);
        }
        Err(Problem::unknown_customer())
    }

    async fn read_account(&self, account: AccountId, complete: bool) -> Result<Reading, PostError> {
        if complete { self.posting.read_complete(account).await } else { self.posting.read(account).await }
    }
}

/// How a command of a customer ended.
enum Booked {
    /// Now (applied) or before (repeated), and what it did then.
    Done(&'static str, Outcome),
    /// Not at all; nothing was written.
    Refused(Rejection),
}

impl App {
    /// Posts a command; an account erased meanwhile is looked up once more, as its customer may have been made anew.
    async fn post_for(&self, customer: &str, key: Option<IdempotencyKey>, command: Command) -> Result<Booked, Problem> {
        for _ in 0..2 {
            let account = self.directory.account(customer).await?;
            match self.posting.post(account, key.clone(), command.clone()).await {
                Ok(Decision::Applied(outcome)) => return Ok(Booked::Done("applied", outcome)),
                Ok(Decision::AlreadyApplied(outcome)) => return Ok(Booked::Done("repeated", outcome)),
                Err(PostError::Rejected(Rejection::Erased)) => self.directory.forget(customer),
                Err(PostError::Rejected(rejection)) => return Ok(Booked::Refused(rejection)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Problem::unknown_customer())
    }
}

/// The problem of one item of a batch; what is ours to mend goes to the log.
fn refused_item(problem: &Problem) -> serde_json::Value {
    if let Some(cause) = problem.cause() {
        tracing::error!(cause, "an item of a batch failed");
    }
    problem.document(None)
}

/// A wallet's public id: the app's own, else ours.
fn wallet_id(wallet: WalletId, key: Option<&str>) -> String {
    key.map_or_else(|| wallet.to_string(), ToOwned::to_owned)
}
