//! The native API as an `OpenAPI` 3.1 document: `GET /openapi.json` and `creditd openapi`.
//!
//! # Flow
//! [`routes::table`] names an [`Operation`] for each route; this room writes it down with the scopes and refusals that
//! follow from the route, and takes limits and words from the constants the readers use. Derive macros would need a
//! second set of types that nothing else uses: requests are read field by field (so that a refusal names the field, and
//! no amount passes through a float), and answers are put together from what the ledger says.
//!
//! # Always true
//! A route without an operation does not compile. `tests/it/openapi.rs` holds the rest against a running daemon: every
//! member a request may have, every member an answer has, and every code a refusal may carry.

mod customers;
mod events;
mod grants;
mod holds;
mod limits;
mod overage_bills;
mod schema;
mod selling;
mod service;
mod top_ups;
mod usage;
mod usage_list;
mod wallets;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

pub use self::customers::{get_customer, list_entries, put_customer};
pub use self::events::{get_event, list_events, replay};
pub use self::grants::{give_grant, list_grants};
pub use self::holds::{extend_hold, get_hold, list_holds, release_hold};
pub use self::limits::{delete_limit, get_limit, list_limits, put_limit};
pub use self::overage_bills::list_overage_bills;
pub use self::selling::{attach, cancel, portal, preview_attach, setup, uncancel};
pub use self::service::{advance, healthz, metrics, openapi, readyz, webhook};
pub use self::top_ups::{delete_rule, get_rule, get_top_up, list_rules, list_top_ups, order_top_up, put_rule, why};
pub use self::usage::{check, check_batch, track, track_batch};
pub use self::usage_list::list_usage;
pub use self::wallets::{
    adjust_grant, change_wallet, get_balance, get_wallet, list_wallets, make_wallet, terminate_wallet, void_grant,
};
use super::routes::{self, Route, Who};

/// What the document says of one route, besides what follows from the route itself.
#[derive(Debug)]
pub struct Operation {
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    description: &'static str,
    parameters: Vec<Value>,
    /// The schema of the body it takes.
    body: Option<&'static str>,
    answers: Vec<Answer>,
    /// Status and codes.
    refusals: &'static [(u16, &'static [&'static str])],
}

/// One answer that is no refusal.
#[derive(Debug)]
struct Answer {
    status: u16,
    description: &'static str,
    media_type: &'static str,
    schema: Value,
}

impl Answer {
    fn json(status: u16, description: &'static str, schema: &str) -> Self {
        Self { status, description, media_type: "application/json", schema: schema::reference(schema) }
    }
}

/// Codes that any path may answer with.
const EVERYWHERE: [(u16, &str); 4] =
    [(404, "unknown_route"), (405, "method_not_allowed"), (500, "internal"), (503, "unavailable")];

/// Refusals by status.
type Refusals = BTreeMap<u16, Vec<&'static str>>;

fn refusals(route: &Route, operation: &Operation) -> Refusals {
    let mut all = Refusals::new();
    let mut add = |status, codes: &[&'static str]| {
        let known: &mut Vec<&str> = all.entry(status).or_default();
        known.extend(codes.iter().filter(|code| !known.contains(code)).copied().collect::<Vec<_>>());
    };
    for (status, codes) in operation.refusals {
        add(*status, codes);
    }
    if operation.body.is_some() {
        add(400, &["bad_request"]);
        add(415, &["unsupported_media_type"]);
    }
    if operation.body.is_some() || route.who == Who::Stripe {
        add(408, &["body_too_slow"]);
        add(413, &["body_too_large"]);
    }
    if !route.who.scopes(false).is_empty() {
        add(401, &["key_missing", "key_unknown"]);
        add(403, &["scope"]);
    }
    if !matches!(route.who, Who::Anyone | Who::MetricsReaders) {
        add(500, &["internal"]);
        add(503, &["unavailable"]);
    }
    all
}

fn refusal(codes: &[&str]) -> Value {
    let schema = json!({ "allOf": [schema::reference("Problem"), { "properties": { "code": { "enum": codes } } }] });
    json!({
        "description": codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", "),
        "content": { "application/problem+json": { "schema": schema } },
    })
}

fn described(route: &Route) -> Value {
    let operation = (route.operation)();
    let mut responses: Map<String, Value> =
        refusals(route, &operation).into_iter().map(|(status, codes)| (status.to_string(), refusal(&codes))).collect();
    for Answer { status, description, media_type, schema } in &operation.answers {
        let content = json!({ "description": description, "content": { (*media_type): { "schema": schema } } });
        responses.insert(status.to_string(), content);
    }
    let mut shown = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": operation.parameters,
        "responses": responses,
    });
    let scopes: Vec<&str> = route.who.scopes(false).iter().map(|scope| scope.word()).collect();
    let security = match route.who {
        Who::Anyone => json!([]),
        Who::Stripe => json!([{ "stripe_signature": [] }]),
        Who::MetricsReaders => json!([{}, { "key": scopes }]),
        Who::AnyKey | Who::AppOrAdmin | Who::FinanceOrAdmin | Who::Admin => json!([{ "key": scopes }]),
    };
    if let Value::Object(members) = &mut shown {
        members.insert("security".to_owned(), security);
        if let Some(body) = operation.body {
            let content = json!({ "application/json": { "schema": schema::reference(body) } });
            members.insert("requestBody".to_owned(), json!({ "required": true, "content": content }));
        }
    }
    shown
}

const ABOUT: &str = "creditd's own API. Amounts of credits are decimal strings with at most 9 digits behind the point; \
    money is a decimal string with its currency; times are RFC 3339 in UTC. A member that is not known is refused, and \
    so is one that is there twice. Refusals are problem documents (RFC 9457) with a stable `code`. Every answer has \
    `x-request-id`: the caller's own, when it is plain, else a fresh one. A key of a request (`key`) works once: the \
    same key with the same content answers the same again, with other content it is refused with `key_conflict`.";

/// The whole document.
pub fn document() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in routes::table() {
        let method = route.method.as_str().to_lowercase();
        paths.entry(route.path).or_default().insert(method, described(&route));
    }
    let mut schemas = schema::shared();
    for more in [
        usage::schemas(),
        customers::schemas(),
        grants::schemas(),
        events::schemas(),
        service::schemas(),
        selling::schemas(),
        wallets::schemas(),
    ] {
        schemas.extend(more);
    }
    for more in
        [holds::schemas(), limits::schemas(), usage_list::schemas(), top_ups::schemas(), overage_bills::schemas()]
    {
        schemas.extend(more);
    }
    let codes = codes(&paths);
    schemas.insert("Problem".to_owned(), schema::problem(&codes));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "creditd",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": [
            { "name": "usage", "description": "May it be used, and what was used." },
            { "name": "customers", "description": "Who they are and what they have." },
            { "name": "grants", "description": "Credits that were given." },
            { "name": "wallets", "description": "Named groups of a customer's grants." },
            { "name": "top-ups", "description": "When a saved card is charged for credits, and what became of it." },
            { "name": "plans", "description": "What a customer takes and leaves." },
            { "name": "stripe", "description": "What Stripe told." },
            { "name": "service", "description": "The daemon itself." },
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": { "type": "http", "scheme": "bearer",
                    "description": "A key made with `creditd keys create`. The listed scopes may." },
                "stripe_signature": { "type": "apiKey", "in": "header", "name": "Stripe-Signature",
                    "description": "Stripe's own signature of the body, by a secret of STRIPE_WEBHOOK_SECRETS." },
            },
        },
    })
}

/// Every code that a refusal may carry.
fn codes(paths: &BTreeMap<&str, Map<String, Value>>) -> Vec<&'static str> {
    let mut all: Vec<&str> = EVERYWHERE.iter().map(|(_, code)| *code).collect();
    for route in routes::table() {
        debug_assert!(paths.contains_key(route.path), "every route is in the document");
        all.extend(refusals(&route, &(route.operation)()).into_values().flatten());
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// `GET /openapi.json`.
pub async fn serve() -> impl IntoResponse {
    static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str())
}
