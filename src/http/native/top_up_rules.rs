//! `PUT`, `GET` and `DELETE /customers/{id}/topup-rules/{name}`, the list of them, and `.../why`: when a balance is topped
//! up by itself, and what holds a charge back.
//!
//! Rules that an attached plan says are shown and cannot be set or taken away; a rule of the app's own about the same
//! feature and wallet stands in their place.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::App;
use super::super::json::JsonBody;
use super::super::problem::Problem;
use super::held_back::{self, money};
use super::{Booked, CustomerPath, NamedPath, rule_terms, wallet_id};
use crate::domain::command::{Charging, ChargingRefusal, Command, Rejection};
use crate::domain::decide::awaits_renewal;
use crate::domain::ids::AccountId;
use crate::domain::limit::Window;
use crate::domain::money::Currency;
use crate::domain::top_up::why::{HeldBack, Standing, balance_of, standing};
use crate::domain::top_up::{Buy, Ceiling, RULE_NAME_MAX, Rule, RuleOrigin, Spent, TopUp};
use crate::posting::Reading;

/// Longest name that is looked up, in bytes: a plan's rule is named by its plan and feature.
pub const NAME_IN_PATH_MAX: usize = 300;

/// The customer and the rule named in a path.
type RulePath = NamedPath<NAME_IN_PATH_MAX>;

/// Sets a rule, or sets it anew; one that is below its threshold fires at once.
pub async fn put(
    State(app): State<App>,
    NamedPath { customer, name }: RulePath,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, Problem> {
    if name.len() > RULE_NAME_MAX || name.contains('/') {
        let detail =
            format!("`name` has to have at most {RULE_NAME_MAX} bytes, and no `/`: plans' own rules have some");
        return Err(Problem::field("name", detail));
    }
    let (mut rule, wallet) = rule_terms::take(&app, name.clone(), body)?;
    let account = app.directory.account(&customer).await?;
    rule.wallet = app.wallet_of(account, wallet).await?;
    rule.usual_currency = app.usual_currency(account, rule.currency).await;
    let command = Command::Charging(Charging::SetRule(Box::new(rule)));
    match app.post_for(&customer, None, command).await? {
        Booked::Done(..) => show(&app, &customer, &name).await,
        Booked::Refused(rejection) => Err(rejection.into()),
    }
}

/// Shows one rule.
pub async fn get(State(app): State<App>, NamedPath { customer, name }: RulePath) -> Result<Json<Value>, Problem> {
    show(&app, &customer, &name).await
}

/// Takes a rule away.
pub async fn delete(State(app): State<App>, NamedPath { customer, name }: RulePath) -> Result<Json<Value>, Problem> {
    match app.post_for(&customer, None, Command::Charging(Charging::DropRule(name.clone()))).await? {
        Booked::Done(..) => Ok(Json(json!({ "name": name, "deleted": true }))),
        Booked::Refused(Rejection::Charging(ChargingRefusal::UnknownRule(_))) => {
            let (_, reading) = app.reading(&customer, true).await?;
            find(&reading, &name)?;
            let detail = format!(
                "`{name}` is said by a plan, and goes with it; a rule of your own about the same feature stands in its place"
            );
            Err(Problem::new(StatusCode::CONFLICT, "rule_of_plan", detail).about("name"))
        }
        Booked::Refused(rejection) => Err(rejection.into()),
    }
}

/// Lists a customer's rules, by name. There are few: all of them are on one page.
pub async fn list(State(app): State<App>, CustomerPath(customer): CustomerPath) -> Result<Json<Value>, Problem> {
    let (_, reading) = app.reading(&customer, true).await?;
    Ok(Json(json!({ "data": all(&reading), "next_cursor": null })))
}

/// Tells the first check that holds a charge back now, or what would be charged.
pub async fn why(State(app): State<App>, NamedPath { customer, name }: RulePath) -> Result<Json<Value>, Problem> {
    let (_, reading) = app.reading(&customer, true).await?;
    let rule = find(&reading, &name)?;
    let circuit = app.store.open_circuit().await?;
    let now = now(&reading);
    let (held_back, would_charge) = match (&circuit, standing(&reading.state, &reading.catalog, rule, now)) {
        (Some(circuit), _) => (Some(held_back::circuit_shown(circuit)), None),
        (None, Standing::HeldBack(held_back)) => (Some(held_back::shown(&held_back)), None),
        (None, Standing::WouldCharge { quote, .. }) => {
            let charge = json!({
                "quantity": quote.credits, "amount": quote.amount, "packs": quote.units, "plan": quote.source.plan,
            });
            (None, Some(charge))
        }
    };
    Ok(Json(json!({
        "name": name,
        "at": now,
        "balance": balance_of(&reading.state, &rule.terms, now).ok(),
        "threshold": rule.terms.threshold,
        "held_back": held_back,
        "would_charge": would_charge,
    })))
}

/// The time of a reading: the ledger's, which never runs backwards.
fn now(reading: &Reading) -> Timestamp {
    reading.now.max(reading.state.last_entry_at)
}

/// Is it shown? What counts orders by hand, and what is gone but for its last decision, is not.
pub fn is_shown(rule: &Rule) -> bool {
    match rule.origin {
        RuleOrigin::Api | RuleOrigin::Plan => true,
        RuleOrigin::Demand | RuleOrigin::Dropped => false,
    }
}

fn find<'r>(reading: &'r Reading, name: &str) -> Result<&'r Rule, Problem> {
    let found = reading.state.rules.iter().find(|rule| rule.name == name && is_shown(rule));
    found.ok_or_else(|| ChargingRefusal::UnknownRule(name.to_owned()).into())
}

async fn show(app: &App, customer: &str, name: &str) -> Result<Json<Value>, Problem> {
    let (_, reading) = app.reading(customer, true).await?;
    Ok(Json(render(&reading, find(&reading, name)?)))
}

/// The rules of an account as they stand, by name.
pub(super) fn all(reading: &Reading) -> Vec<Value> {
    let mut rules: Vec<&Rule> = reading.state.rules.iter().filter(|rule| is_shown(rule)).collect();
    rules.sort_by(|left, right| left.name.cmp(&right.name));
    rules.into_iter().map(|rule| render(reading, rule)).collect()
}

/// How a rule stands, in a word, and which other stands in its place.
pub fn state_of(rule: &Rule, standing: &Standing) -> (&'static str, Option<String>) {
    match standing {
        Standing::HeldBack(HeldBack::ReplacedByOther(other)) => ("disabled", Some(other.clone())),
        Standing::HeldBack(_) | Standing::WouldCharge { .. } if !rule.enabled => ("disabled", None),
        Standing::HeldBack(_) | Standing::WouldCharge { .. } if rule.paused.is_some() => ("paused", None),
        Standing::HeldBack(_) | Standing::WouldCharge { .. } => ("active", None),
    }
}

fn render(reading: &Reading, rule: &Rule) -> Value {
    let (terms, now) = (&rule.terms, now(reading));
    let (state, replaced_by) = state_of(rule, &standing(&reading.state, &reading.catalog, rule, now));
    let (quantity, target) = match terms.buy {
        Buy::Quantity(quantity) => (Some(quantity), None),
        Buy::Target(target) => (None, Some(target)),
    };
    let key = |wallet| reading.state.wallet(wallet).and_then(|known| known.key.clone());
    let wallet = terms.wallet.map(|wallet| wallet_id(wallet, key(wallet).as_deref()));
    let open = reading.state.top_ups.iter().find(|top_up| top_up.rule == rule.name && !top_up.state.is_over());
    json!({
        "name": rule.name,
        "origin": rule.origin.word(),
        "state": state,
        "replaced_by": replaced_by,
        "paused_because": rule.paused.map(|paused| paused.because),
        "paused_at": rule.paused.map(|paused| paused.at),
        "enabled": rule.enabled,
        "feature": terms.feature,
        "wallet": wallet,
        "threshold": terms.threshold,
        "quantity": quantity,
        "target": target,
        "currency": terms.currency,
        "mode": terms.mode,
        "payment_method": terms.payment_method,
        "max_per_day": ceiling(terms.per_day, terms.currency),
        "max_per_month": ceiling(terms.per_month, terms.currency),
        "used": {
            "day": used(rule.day, Window::Day, terms.currency, now),
            "month": used(rule.month, Window::Month, terms.currency, now),
        },
        "cooldown_seconds": terms.cooldown_seconds,
        "consent": terms.consent,
        "decided_at": rule.decided_at,
        "open_top_up": open.map(open_top_up),
    })
}

fn ceiling(ceiling: Ceiling, currency: Currency) -> Value {
    json!({ "count": ceiling.count, "money": ceiling.minor.and_then(|minor| money(minor, currency)) })
}

fn used(spent: Spent, window: Window, currency: Currency, now: Timestamp) -> Value {
    let spent = spent.at(window, now);
    json!({ "count": spent.count, "money": money(spent.minor, currency) })
}

fn open_top_up(top_up: &TopUp) -> Value {
    json!({
        "id": top_up.id,
        "state": top_up.state,
        "reason": top_up.reason,
        "quantity": top_up.credits,
        "amount": top_up.amount,
        "created_at": top_up.created_at,
        "url": top_up.link.as_ref().map(|link| link.url.as_str()),
    })
}

impl App {
    /// A check that found a rule's balance low has it looked at, after its own answer: it decides nothing itself (rule 25).
    /// Who has no rules pays nothing for it.
    pub(super) fn look_after_check(&self, account: AccountId, reading: &Reading) {
        let now = now(reading);
        let would = |rule: &Rule| {
            is_shown(rule)
                && !awaits_renewal(&reading.state, &reading.catalog, &rule.terms.feature, now)
                && matches!(standing(&reading.state, &reading.catalog, rule, now), Standing::WouldCharge { .. })
        };
        if !reading.state.rules.iter().any(would) {
            return;
        }
        let posting = self.posting.clone();
        tokio::spawn(async move {
            if let Err(error) = posting.post(account, None, Command::Charging(Charging::Look)).await {
                tracing::warn!(%error, account.id = %account, "a balance was low and its rules were not looked at; the next use looks again");
            }
        });
    }
}
