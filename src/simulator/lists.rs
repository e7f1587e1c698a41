//! Lists: filters, cursors and pages as Stripe answers them, newest first.

use serde_json::{Value, json};

use super::objects::{balance, event};
use super::params::Params;
use super::refusal::Refusal;
use super::state::{Kind, State, number, text};

/// Parameters every list takes.
pub const PAGING: &[&str] = &["limit", "starting_after", "ending_before", "expand[]"];
/// Range filters of lists that have `created`.
pub const CREATED: &[&str] = &["created", "created[gt]", "created[gte]", "created[lt]", "created[lte]"];
/// Stripe's page without `limit`, and its largest.
const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: i64 = 100;
/// Types of events one list names; Stripe's limit.
const EVENT_TYPES_MAX: usize = 20;

/// A page of entries already in the list's order.
pub fn page(entries: &[Value], what: &str, url: &str, params: &Params) -> Result<Value, Refusal> {
    let limit = params.integer_between("limit", 1, LIMIT_MAX)?;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(LIMIT_DEFAULT);
    let place = |cursor: &str, parameter: &str| {
        entries
            .iter()
            .position(|entry| text(entry, "id") == cursor)
            .ok_or_else(|| Refusal::no_such(what, cursor, parameter))
    };
    let (slice, has_more) = match (params.string("starting_after")?, params.string("ending_before")?) {
        (Some(_), Some(_)) => {
            return Err(Refusal::invalid("You can only use one of `starting_after` and `ending_before`.")
                .with("param", json!("ending_before")));
        }
        (Some(cursor), None) => first(&entries[place(&cursor, "starting_after")? + 1..], limit),
        (None, Some(cursor)) => {
            let before = &entries[..place(&cursor, "ending_before")?];
            let start = before.len().saturating_sub(limit);
            (&before[start..], start > 0)
        }
        (None, None) => first(entries, limit),
    };
    Ok(json!({ "object": "list", "data": slice, "has_more": has_more, "url": url }))
}

fn first(entries: &[Value], limit: usize) -> (&[Value], bool) {
    (&entries[..limit.min(entries.len())], entries.len() > limit)
}

/// `GET` of a family: filtered by its parameters, newest first.
pub fn list(state: &State, kind: Kind, url: &str, params: &Params) -> Result<Value, Refusal> {
    let wanted = Wanted::read(state, kind, params)?;
    let entries: Vec<Value> = state
        .all(kind)
        .rev()
        .map(|record| &record.object)
        .filter(|object| wanted.takes(state, kind, object))
        .map(|object| match kind {
            Kind::Event => with_pending(state, object),
            Kind::BalanceTransaction => balance::as_of(state.now, object),
            _ => object.clone(),
        })
        .collect();
    page(&entries, kind.name(), url, params)
}

/// An event with its deliveries still to come as they are now.
pub fn with_pending(state: &State, event: &Value) -> Value {
    let mut event = event.clone();
    event["pending_webhooks"] = json!(i64::from(state.pending.contains_key(text(&event, "id"))));
    event
}

/// Whether a field is what was asked for; of events a group of types is asked for with a star, as `payment_intent.*`.
fn matches(kind: Kind, field: &str, wanted: &str, found: &str) -> bool {
    match wanted.strip_suffix('*').filter(|_| kind == Kind::Event && field == "type") {
        Some(group) => found.starts_with(group),
        None => found == wanted,
    }
}

/// What a list is filtered by.
#[derive(Debug)]
struct Wanted {
    /// Fields that must equal a text.
    equal: Vec<(&'static str, String)>,
    /// A field that must be one of several.
    any: Vec<(&'static str, Vec<String>)>,
    active: Option<bool>,
    created: Vec<(&'static str, i64)>,
    invoice_intent: Option<String>,
    price: Option<String>,
    subscription: Option<String>,
    delivered: Option<bool>,
    pending: Option<bool>,
    status: Option<String>,
}

impl Wanted {
    fn read(state: &State, kind: Kind, params: &Params) -> Result<Self, Refusal> {
        let mut equal = Vec::new();
        for field in [
            "email",
            "product",
            "currency",
            "type",
            "customer",
            "payment_intent",
            "invoice",
            "charge",
            "source",
            "payment_link",
            "payment_method",
        ] {
            if let Some(value) = params.string(field)? {
                equal.push((field, value));
            }
        }
        let mut any = Vec::new();
        for (parameter, field) in [("types", "type"), ("lookup_keys", "lookup_key"), ("ids", "id")] {
            if params.has(parameter) {
                any.push((field, params.strings(parameter)?));
            }
        }
        let mut created = Vec::new();
        for (parameter, name) in [
            ("created", "eq"),
            ("created[gt]", "gt"),
            ("created[gte]", "gte"),
            ("created[lt]", "lt"),
            ("created[lte]", "lte"),
        ] {
            let plain_but_range =
                name == "eq" && ["gt", "gte", "lt", "lte"].iter().any(|range| params.has(&format!("created[{range}]")));
            if !plain_but_range && let Some(at) = params.integer(parameter)? {
                created.push((name, at));
            }
        }
        if kind == Kind::Event {
            created.push(("gte", state.now.saturating_sub(event::HORIZON_SECONDS)));
        }
        if kind == Kind::Event && params.strings("types")?.len() > EVENT_TYPES_MAX {
            let message = format!("You can filter by up to {EVENT_TYPES_MAX} types.");
            return Err(Refusal::invalid(&message).with("param", json!("types")));
        }
        let invoice_intent = params.string("payment[payment_intent]")?;
        match params.one_of("payment[type]", &["payment_intent"])? {
            None if invoice_intent.is_some() => return Err(Refusal::missing("payment[type]")),
            Some(_) if invoice_intent.is_none() => return Err(Refusal::missing("payment[payment_intent]")),
            None | Some(_) => {}
        }
        Ok(Self {
            equal,
            any,
            active: params.boolean("active")?,
            created,
            invoice_intent,
            price: params.string("price")?,
            subscription: params.string("subscription")?,
            delivered: params.boolean("delivery_success")?,
            pending: params.boolean("pending")?,
            status: params.string("status")?,
        })
    }

    fn takes(&self, state: &State, kind: Kind, object: &Value) -> bool {
        let at = number(object, "created");
        object["deleted"] != json!(true)
            && self.equal.iter().all(|(field, value)| matches(kind, field, value, text(object, field)))
            && self.any.iter().all(|(field, values)| values.iter().any(|value| value == text(object, field)))
            && self.active.is_none_or(|active| object["active"].as_bool() == Some(active))
            && self.created.iter().all(|(name, bound)| match *name {
                "gt" => at > *bound,
                "gte" => at >= *bound,
                "lt" => at < *bound,
                "lte" => at <= *bound,
                _ => at == *bound,
            })
            && self.invoice_intent.as_ref().is_none_or(|intent| text(&object["payment"], "payment_intent") == intent)
            && self.price.as_ref().is_none_or(|price| {
                object["items"]["data"].as_array().into_iter().flatten().any(|item| text(&item["price"], "id") == price)
            })
            && self.subscription.as_ref().is_none_or(|id| {
                text(object, "subscription") == id
                    || text(&object["parent"]["subscription_details"], "subscription") == id
            })
            && self.delivered.is_none_or(|done| done != state.pending.contains_key(text(object, "id")))
            && self.pending.is_none_or(|pending| object["invoice"].is_null() == pending)
            && self.takes_status(kind, text(object, "status"))
    }

    fn takes_status(&self, kind: Kind, status: &str) -> bool {
        match self.status.as_deref() {
            // Stripe leaves canceled subscriptions out unless they are asked for.
            None => kind != Kind::Subscription || status != "canceled",
            Some("all") if kind == Kind::Subscription => true,
            Some(wanted) => status == wanted,
        }
    }
}
