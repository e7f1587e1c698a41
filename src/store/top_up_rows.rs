//! Rules, top-ups and tries, as posting reads and writes them. Only `posting` may call this file.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::charge_work::{self, WorkKey, WorkKind};
use super::outbox::Message;
use super::rows::{numeric, time, word};
use super::{StoreError, outbox, rows};
use crate::domain::account::{AccountState, Changes};
use crate::domain::credits::Credits;
use crate::domain::ids::{AccountId, AttemptId, GrantId, PaymentId, TopUpId};
use crate::domain::money::{Currency, Money};
use crate::domain::top_up::decline::Why;
use crate::domain::top_up::{
    Link, Pause, PauseReason, Rule, RuleOrigin, RuleTerms, Spent, TopUp, TopUpState, TopUpTerms, Try, TryState,
};

/// A top-up `t` as JSON, with its last try: what [`TopUpJson`] reads.
macro_rules! top_up_json {
    () => {
        "to_jsonb(t) || jsonb_build_object('credits', trim_scale(t.credits)::text,
    'last_try', (SELECT to_jsonb(y) FROM top_up_tries y WHERE y.account_id = t.account_id AND y.topup_id = t.topup_id
        ORDER BY y.try DESC LIMIT 1))"
    };
}
pub(super) use top_up_json;

const READ_TOP_UPS: &str = concat!(
    "-- read_top_ups\nSELECT ",
    top_up_json!(),
    "\nFROM top_ups t WHERE t.account_id = ANY($1) AND t.topup_id = ANY($2)"
);
const READ_EXCESS: &str = "-- read_top_up_excess
SELECT account_id, topup_id, payment_id FROM top_up_excess WHERE account_id = ANY($1) AND topup_id = ANY($2)";
const UPSERT_RULES: &str = "-- upsert_top_up_rules
INSERT INTO top_up_rules (account_id, name, origin, terms, enabled, paused_because, paused_at, failures, day_start,
    day_count, day_minor, month_start, month_count, month_minor, decided_at, look_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[], $5::boolean[], $6::text[], $7::timestamptz[],
    $8::integer[], $9::timestamptz[], $10::bigint[], $11::bigint[], $12::timestamptz[], $13::bigint[], $14::bigint[],
    $15::timestamptz[], $16::timestamptz[])
ON CONFLICT ON CONSTRAINT top_up_rules_pkey DO UPDATE SET origin = excluded.origin, terms = excluded.terms,
    enabled = excluded.enabled, paused_because = excluded.paused_because, paused_at = excluded.paused_at,
    failures = excluded.failures, day_start = excluded.day_start, day_count = excluded.day_count,
    day_minor = excluded.day_minor, month_start = excluded.month_start, month_count = excluded.month_count,
    month_minor = excluded.month_minor, decided_at = excluded.decided_at, look_at = excluded.look_at";
const DELETE_RULES: &str = "-- delete_top_up_rules
DELETE FROM top_up_rules r USING unnest($1::uuid[], $2::text[]) AS n (account_id, name)
WHERE r.account_id = n.account_id AND r.name = n.name AND r.account_id = ANY($1)";
const UPSERT_TOP_UPS: &str = "-- upsert_top_ups
INSERT INTO top_ups (account_id, topup_id, rule, state, terms, currency, amount_minor, credits, grant_id, payment_id,
    reason, link, tries, created_at, due_at, ended_at)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::jsonb[], $6::text[], $7::bigint[],
    $8::numeric[], $9::uuid[], $10::uuid[], $11::text[], $12::jsonb[], $13::integer[], $14::timestamptz[],
    $15::timestamptz[], $16::timestamptz[])
ON CONFLICT ON CONSTRAINT top_ups_pkey DO UPDATE SET state = excluded.state, payment_id = excluded.payment_id,
    reason = excluded.reason, link = excluded.link, tries = excluded.tries, due_at = excluded.due_at,
    ended_at = excluded.ended_at";
const INSERT_IDS: &str = "-- insert_top_up_ids
INSERT INTO top_up_ids (topup_id, account_id) SELECT * FROM unnest($1::uuid[], $2::uuid[])";
const UPSERT_TRIES: &str = "-- upsert_top_up_tries
INSERT INTO top_up_tries (account_id, topup_id, try, attempt_id, state, stripe_customer, payment_method, payment_intent,
    invoice, code, decline_code, advice_code, created_at, ended_at)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[], $14::timestamptz[])
ON CONFLICT ON CONSTRAINT top_up_tries_pkey DO UPDATE SET state = excluded.state,
    payment_intent = excluded.payment_intent, invoice = excluded.invoice, code = excluded.code,
    decline_code = excluded.decline_code, advice_code = excluded.advice_code, ended_at = excluded.ended_at";
const INSERT_REQUESTS: &str = "-- insert_first_requests
INSERT INTO charge_steps (account_id, owner_id, step, method, path, body, created_at)
SELECT account_id, owner_id, step, method, path, body, $7
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[])
    AS n (account_id, owner_id, step, method, path, body)";
const INSERT_EXCESS: &str = "-- insert_top_up_excess
INSERT INTO top_up_excess (account_id, topup_id, payment_id, payment_intent, currency, amount_minor, state, created_at)
SELECT account_id, topup_id, payment_id, payment_intent, currency, amount_minor, 'due', $7
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[])
    AS n (account_id, topup_id, payment_id, payment_intent, currency, amount_minor)";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 9] = [
    READ_TOP_UPS,
    READ_EXCESS,
    UPSERT_RULES,
    DELETE_RULES,
    UPSERT_TOP_UPS,
    INSERT_IDS,
    UPSERT_TRIES,
    INSERT_REQUESTS,
    INSERT_EXCESS,
];

type States = BTreeMap<AccountId, AccountState>;

/// A rule as a row's JSON.
#[derive(Deserialize)]
pub(super) struct RuleJson {
    name: String,
    origin: String,
    terms: RuleTerms,
    enabled: bool,
    paused_because: Option<PauseReason>,
    paused_at: Option<Timestamp>,
    failures: u32,
    day_start: Option<Timestamp>,
    day_count: i64,
    day_minor: i64,
    month_start: Option<Timestamp>,
    month_count: i64,
    month_minor: i64,
    decided_at: Option<Timestamp>,
    look_at: Option<Timestamp>,
}

impl RuleJson {
    pub(super) fn into_rule(self) -> Result<Rule, StoreError> {
        let origin = [RuleOrigin::Api, RuleOrigin::Plan, RuleOrigin::Demand, RuleOrigin::Dropped]
            .into_iter()
            .find(|known| known.word() == self.origin);
        Ok(Rule {
            origin: word(origin, "top_up_rules", "origin", &self.name)?,
            name: self.name,
            terms: self.terms,
            enabled: self.enabled,
            paused: self.paused_because.zip(self.paused_at).map(|(because, at)| Pause { because, at }),
            failures: self.failures,
            day: Spent { start: self.day_start, count: self.day_count, minor: self.day_minor },
            month: Spent { start: self.month_start, count: self.month_count, minor: self.month_minor },
            decided_at: self.decided_at,
            look_at: self.look_at,
        })
    }
}

/// A top-up as a row's JSON, with its last try.
#[derive(Deserialize)]
pub(super) struct TopUpJson {
    account_id: Uuid,
    topup_id: Uuid,
    rule: String,
    state: TopUpState,
    terms: TopUpTerms,
    currency: Currency,
    amount_minor: i64,
    credits: Credits,
    grant_id: Uuid,
    payment_id: Option<Uuid>,
    reason: Option<String>,
    link: Option<Link>,
    tries: u32,
    #[serde(default)]
    last_try: Option<TryJson>,
    created_at: Timestamp,
    due_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

/// A try as a row's JSON.
#[derive(Deserialize)]
pub(super) struct TryJson {
    r#try: u32,
    attempt_id: Uuid,
    state: TryState,
    stripe_customer: String,
    payment_method: String,
    payment_intent: Option<String>,
    invoice: Option<String>,
    code: Option<String>,
    decline_code: Option<String>,
    advice_code: Option<String>,
    created_at: Timestamp,
    ended_at: Option<Timestamp>,
}

impl TopUpJson {
    pub(super) fn into_top_up(self) -> Result<TopUp, StoreError> {
        let amount = Money::from_minor(self.amount_minor, self.currency).ok();
        Ok(TopUp {
            id: TopUpId::from_uuid(self.topup_id),
            rule: self.rule,
            state: self.state,
            terms: self.terms,
            amount: word(amount, "top_ups", "amount_minor", &self.topup_id.to_string())?,
            credits: self.credits,
            grant: GrantId::from_uuid(self.grant_id),
            payment: self.payment_id.map(PaymentId::from_uuid),
            reason: self.reason,
            link: self.link,
            tries: self.tries,
            last_try: self.last_try.map(TryJson::into_try),
            created_at: self.created_at,
            due_at: self.due_at,
            ended_at: self.ended_at,
        })
    }
}

impl TryJson {
    pub(super) fn into_try(self) -> Try {
        Try {
            number: self.r#try,
            attempt: AttemptId::from_uuid(self.attempt_id),
            state: self.state,
            customer: self.stripe_customer,
            payment_method: self.payment_method,
            payment_intent: self.payment_intent,
            invoice: self.invoice,
            why: Why { code: self.code, decline_code: self.decline_code, advice_code: self.advice_code },
            created_at: self.created_at,
            ended_at: self.ended_at,
        }
    }
}

/// Reads top-ups that a batch names and that are not open: open ones came with their accounts, and nothing came too much
/// for them yet.
pub(super) async fn read(
    connection: &mut PgConnection,
    states: &mut States,
    accounts: &[Uuid],
    asked: &[TopUpId],
) -> Result<(), StoreError> {
    let open: BTreeSet<TopUpId> = states.values().flat_map(|state| &state.top_ups).map(|top_up| top_up.id).collect();
    let ids: Vec<Uuid> = asked.iter().filter(|id| !open.contains(id)).map(|id| id.as_uuid()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let found: Vec<Json<TopUpJson>> =
        sqlx::query_scalar(READ_TOP_UPS).bind(accounts).bind(&ids).fetch_all(&mut *connection).await?;
    for Json(row) in found {
        let Some(state) = states.get_mut(&AccountId::from_uuid(row.account_id)) else { continue };
        let top_up = row.into_top_up()?;
        if !state.top_ups.iter().any(|known| known.id == top_up.id) {
            state.top_ups.push(top_up);
        }
    }
    let excess: Vec<(Uuid, Uuid, Uuid)> =
        sqlx::query_as(READ_EXCESS).bind(accounts).bind(&ids).fetch_all(connection).await?;
    for (account, top_up, payment) in excess {
        if let Some(state) = states.get_mut(&AccountId::from_uuid(account)) {
            state.excess.insert((TopUpId::from_uuid(top_up), PaymentId::from_uuid(payment)));
        }
    }
    Ok(())
}

/// Writes what changed of rules and top-ups, and puts what is to be done into the queue.
pub(super) async fn write(
    connection: &mut PgConnection,
    states: &States,
    changes: &BTreeMap<AccountId, Changes>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let changed = changes.iter().filter(|(_, changes)| !changes.charging.is_empty());
    for (state, changes) in changed.filter_map(|(account, changes)| Some((states.get(account)?, changes))) {
        if !changes.charging.rules.is_empty() {
            write_rules(connection, state, changes).await?;
        }
        if !changes.charging.top_ups.is_empty() {
            write_top_ups(connection, state, changes, now).await?;
        }
        if !changes.charging.excess.is_empty() {
            write_excess(connection, state, changes, now).await?;
        }
        if !changes.charging.notices.is_empty() {
            write_notices(connection, state, changes, now).await?;
        }
    }
    Ok(())
}

async fn write_rules(connection: &mut PgConnection, state: &AccountState, changes: &Changes) -> Result<(), StoreError> {
    let rules: Vec<&Rule> = state.rules.iter().filter(|rule| changes.charging.rules.contains(&rule.name)).collect();
    macro_rules! column {
        ($rule:ident => $value:expr) => {
            rules.iter().map(|$rule| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query(UPSERT_RULES)
        .bind(vec![state.id.as_uuid(); rules.len()])
        .bind(column!(r => r.name.as_str()))
        .bind(column!(r => r.origin.word()))
        .bind(column!(r => Json(&r.terms)))
        .bind(column!(r => r.enabled))
        .bind(column!(r => r.paused.map(|paused| paused.because.word())))
        .bind(column!(r => r.paused.map(|paused| time(paused.at))))
        .bind(column!(r => i32::try_from(r.failures).unwrap_or(i32::MAX)))
        .bind(column!(r => r.day.start.map(time)))
        .bind(column!(r => r.day.count))
        .bind(column!(r => r.day.minor))
        .bind(column!(r => r.month.start.map(time)))
        .bind(column!(r => r.month.count))
        .bind(column!(r => r.month.minor))
        .bind(column!(r => r.decided_at.map(time)))
        .bind(column!(r => r.look_at.map(time)))
        .execute(&mut *connection)
        .await?;
    let is_gone = |name: &&String| !rules.iter().any(|rule| rule.name == **name);
    let gone: Vec<&String> = changes.charging.rules.iter().filter(is_gone).collect();
    if !gone.is_empty() {
        let account = vec![state.id.as_uuid(); gone.len()];
        sqlx::query(DELETE_RULES).bind(account).bind(gone).execute(&mut *connection).await?;
    }
    let look = WorkKey { account: state.id, kind: WorkKind::Look, owner: state.id.as_uuid() };
    match state.rules.iter().filter_map(|rule| rule.look_at).min() {
        Some(at) => charge_work::upsert(connection, &[(look, at)]).await,
        None => charge_work::delete(connection, &[look]).await,
    }
}

async fn write_top_ups(
    connection: &mut PgConnection,
    state: &AccountState,
    changes: &Changes,
    now: Timestamp,
) -> Result<(), StoreError> {
    let top_ups: Vec<&TopUp> =
        state.top_ups.iter().filter(|top_up| changes.charging.top_ups.contains(&top_up.id)).collect();
    macro_rules! column {
        ($top_up:ident => $value:expr) => {
            top_ups.iter().map(|$top_up| $value).collect::<Vec<_>>()
        };
    }
    let account = vec![state.id.as_uuid(); top_ups.len()];
    sqlx::query(UPSERT_TOP_UPS)
        .bind(&account)
        .bind(column!(t => t.id.as_uuid()))
        .bind(column!(t => t.rule.as_str()))
        .bind(column!(t => t.state.word()))
        .bind(column!(t => Json(&t.terms)))
        .bind(column!(t => t.amount.currency().to_string()))
        .bind(column!(t => t.amount.minor()))
        .bind(column!(t => numeric(t.credits)))
        .bind(column!(t => t.grant.as_uuid()))
        .bind(column!(t => t.payment.map(PaymentId::as_uuid)))
        .bind(column!(t => t.reason.as_deref()))
        .bind(column!(t => t.link.as_ref().map(Json)))
        .bind(column!(t => i32::try_from(t.tries).unwrap_or(i32::MAX)))
        .bind(column!(t => time(t.created_at)))
        .bind(column!(t => t.due_at.map(time)))
        .bind(column!(t => t.ended_at.map(time)))
        .execute(&mut *connection)
        .await?;
    let made: Vec<Uuid> = changes.charging.made.iter().map(|id| id.as_uuid()).collect();
    if !made.is_empty() {
        let of = vec![state.id.as_uuid(); made.len()];
        sqlx::query(INSERT_IDS).bind(made).bind(of).execute(&mut *connection).await?;
    }
    write_tries(connection, state, &top_ups).await?;
    let requests = &changes.charging.requests;
    if !requests.is_empty() {
        sqlx::query(INSERT_REQUESTS)
            .bind(vec![state.id.as_uuid(); requests.len()])
            .bind(requests.iter().map(|(attempt, ..)| attempt.as_uuid()).collect::<Vec<_>>())
            .bind(requests.iter().map(|(_, step, _)| *step).collect::<Vec<_>>())
            .bind(requests.iter().map(|(.., request)| request.method.as_str()).collect::<Vec<_>>())
            .bind(requests.iter().map(|(.., request)| request.path.as_str()).collect::<Vec<_>>())
            .bind(requests.iter().map(|(.., request)| request.body.as_str()).collect::<Vec<_>>())
            .bind(time(now))
            .execute(&mut *connection)
            .await?;
    }
    let key = |top_up: &TopUp| WorkKey { account: state.id, kind: WorkKind::TopUp, owner: top_up.id.as_uuid() };
    let due: Vec<(WorkKey, Timestamp)> =
        top_ups.iter().filter_map(|top_up| Some((key(top_up), top_up.due_at?))).collect();
    let over: Vec<WorkKey> =
        top_ups.iter().filter(|top_up| top_up.due_at.is_none()).map(|top_up| key(top_up)).collect();
    charge_work::upsert(connection, &due).await?;
    charge_work::delete(connection, &over).await
}

async fn write_tries(
    connection: &mut PgConnection,
    state: &AccountState,
    top_ups: &[&TopUp],
) -> Result<(), StoreError> {
    let tries: Vec<(TopUpId, &Try)> =
        top_ups.iter().filter_map(|top_up| Some((top_up.id, top_up.last_try.as_ref()?))).collect();
    if tries.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($try:ident => $value:expr) => {
            tries.iter().map(|(_, $try)| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query(UPSERT_TRIES)
        .bind(vec![state.id.as_uuid(); tries.len()])
        .bind(tries.iter().map(|(top_up, _)| top_up.as_uuid()).collect::<Vec<_>>())
        .bind(column!(t => i32::try_from(t.number).unwrap_or(i32::MAX)))
        .bind(column!(t => t.attempt.as_uuid()))
        .bind(column!(t => t.state.word()))
        .bind(column!(t => t.customer.as_str()))
        .bind(column!(t => t.payment_method.as_str()))
        .bind(column!(t => t.payment_intent.as_deref()))
        .bind(column!(t => t.invoice.as_deref()))
        .bind(column!(t => t.why.code.as_deref()))
        .bind(column!(t => t.why.decline_code.as_deref()))
        .bind(column!(t => t.why.advice_code.as_deref()))
        .bind(column!(t => time(t.created_at)))
        .bind(column!(t => t.ended_at.map(rows::time)))
        .execute(connection)
        .await?;
    Ok(())
}

async fn write_excess(
    connection: &mut PgConnection,
    state: &AccountState,
    changes: &Changes,
    now: Timestamp,
) -> Result<(), StoreError> {
    let excess = &changes.charging.excess;
    sqlx::query(INSERT_EXCESS)
        .bind(vec![state.id.as_uuid(); excess.len()])
        .bind(excess.iter().map(|one| one.top_up.as_uuid()).collect::<Vec<_>>())
        .bind(excess.iter().map(|one| one.payment.as_uuid()).collect::<Vec<_>>())
        .bind(excess.iter().map(|one| one.payment_intent.as_str()).collect::<Vec<_>>())
        .bind(excess.iter().map(|one| one.amount.currency().to_string()).collect::<Vec<_>>())
        .bind(excess.iter().map(|one| one.amount.minor()).collect::<Vec<_>>())
        .bind(time(now))
        .execute(&mut *connection)
        .await?;
    let key = |payment: PaymentId| WorkKey { account: state.id, kind: WorkKind::Refund, owner: payment.as_uuid() };
    let due: Vec<(WorkKey, Timestamp)> = excess.iter().map(|one| (key(one.payment), now)).collect();
    charge_work::upsert(connection, &due).await
}

async fn write_notices(
    connection: &mut PgConnection,
    state: &AccountState,
    changes: &Changes,
    now: Timestamp,
) -> Result<(), StoreError> {
    let messages: Vec<Message<'_>> =
        changes.charging.notices.iter().map(|notice| Message { topic: notice.topic, payload: json!(notice) }).collect();
    outbox::insert(connection, state.id, &messages, now).await
}
