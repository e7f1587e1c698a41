//! The table of `/v1`: which method and path is served, with which parameters, by whom.

use serde_json::Value;

use super::expand::expand;
use super::form::Pair;
use super::lists::{self, CREATED, PAGING};
use super::objects::{
    balance, charge, collection, credit_note, customer, dispute, event, intent_payment, invoice, invoice_by_hand,
    invoice_item, invoice_payment, payment_intent, payment_link, payment_method, plan_change, portal, price, product,
    refund, schedule, session, session_payment, setup_intent, subscription,
};
use super::params::Params;
use super::refusal::Refusal;
use super::shapes::{Train, Version};
use super::state::{Kind, State};

const EXPAND: &[&str] = &["expand[]"];
/// The methods a buyer is offered, as they are named up to dahlia, and since endive.
const METHODS_BEFORE: &[&str] = &["payment_method_types[]"];
const METHODS: &[&str] = &["allowed_payment_method_types[]"];

/// A request that was authorised and decoded.
#[derive(Debug)]
pub struct Call<'request> {
    /// `GET`, `POST` or `DELETE`.
    pub method: &'request str,
    /// The whole path.
    pub path: &'request str,
    /// Query of a `GET`, form of the others.
    pub pairs: &'request [Pair],
    /// The request's version.
    pub version: &'request Version,
}

impl Call<'_> {
    /// The name under which this version offers methods.
    fn methods(&self) -> &'static [&'static str] {
        if self.version.train() < Train::Endive { METHODS_BEFORE } else { METHODS }
    }

    fn params(&self, patterns: &[&[&str]]) -> Result<Params, Refusal> {
        Params::accepting(self.pairs, patterns)
    }
}

/// Serves a call and gives the answer in the request's shape.
pub fn serve(state: &mut State, call: &Call<'_>) -> Result<Value, Refusal> {
    let paths = expansions(call.pairs);
    let segments: Vec<&str> = call.path.trim_start_matches("/v1/").split('/').collect();
    let answer = match (call.method, segments.as_slice()) {
        ("GET", segments) => read(state, call, segments)?,
        ("POST", segments) => write(state, call, segments)?,
        ("DELETE", ["subscriptions", id]) => subscription::cancel(state, id, &call.params(&[subscription::CANCEL])?)?,
        ("DELETE", [family @ ("customers" | "invoices" | "invoiceitems"), id]) => {
            call.params(&[])?;
            match *family {
                "customers" => customer::delete(state, id)?,
                "invoices" => invoice_by_hand::delete(state, id)?,
                _ => invoice_by_hand::delete_item(state, id)?,
            }
        }
        _ => return Err(Refusal::unrecognized_url(call.method, call.path)),
    };
    // A write has happened by now, so a path that cannot be expanded is the answer of an executed request.
    let answer = expand(state, answer, &paths).map_err(|refusal| match call.method {
        "GET" => refusal,
        _ => refusal.executed(),
    })?;
    Ok(call.version.render(state, &answer))
}

fn expansions(pairs: &[Pair]) -> Vec<String> {
    pairs
        .iter()
        .filter(|pair| pair.segments.first().is_some_and(|name| name == "expand"))
        .map(|pair| pair.value.clone())
        .collect()
}

fn read(state: &State, call: &Call<'_>, segments: &[&str]) -> Result<Value, Refusal> {
    let listed = |kind: Kind, filters: &[&str]| {
        let created: &[&str] = if kind == Kind::InvoicePayment { &[] } else { CREATED };
        lists::list(state, kind, call.path, &call.params(&[PAGING, created, filters])?)
    };
    let one = |kind: Kind, id: &str| {
        call.params(&[EXPAND])?;
        Ok(state.found(kind, id)?.object.clone())
    };
    // The object came with basil; the older version does not know its address.
    let newer = call.version.train() != Train::Acacia;
    match segments {
        ["customers"] => listed(Kind::Customer, customer::FILTERS),
        ["customers", id] => one(Kind::Customer, id),
        ["customers", id, "payment_methods"] => {
            state.found(Kind::Customer, id)?;
            let params = call.params(&[PAGING, &["type"]])?;
            lists::list(state, Kind::PaymentMethod, call.path, &params.with("customer", id))
        }
        ["customers", id, "payment_methods", method] => {
            state.found(Kind::Customer, id)?;
            let found = one(Kind::PaymentMethod, method)?;
            let own = super::state::text(&found, "customer") == *id;
            if own { Ok(found) } else { Err(Refusal::not_found(Kind::PaymentMethod.name(), method)) }
        }
        ["products"] => listed(Kind::Product, product::FILTERS),
        ["products", id] => one(Kind::Product, id),
        ["prices"] => listed(Kind::Price, price::FILTERS),
        ["prices", id] => one(Kind::Price, id),
        ["checkout", "sessions"] => listed(Kind::Session, session::FILTERS),
        ["checkout", "sessions", id] => one(Kind::Session, id),
        ["checkout", "sessions", id, "line_items"] => within(state, call, Kind::Session, id, "line_items"),
        ["payment_intents"] => listed(Kind::PaymentIntent, payment_intent::FILTERS),
        ["payment_intents", id] => one(Kind::PaymentIntent, id),
        ["charges"] => listed(Kind::Charge, charge::FILTERS),
        ["charges", id] => one(Kind::Charge, id),
        ["invoices"] => listed(Kind::Invoice, invoice::FILTERS),
        ["invoices", id] => one(Kind::Invoice, id),
        ["invoices", id, "lines"] => within(state, call, Kind::Invoice, id, "lines"),
        ["invoice_payments"] if newer => listed(Kind::InvoicePayment, invoice::PAYMENT_FILTERS),
        ["invoice_payments", id] if newer => one(Kind::InvoicePayment, id),
        ["subscriptions"] => listed(Kind::Subscription, subscription::FILTERS),
        ["subscriptions", id] => one(Kind::Subscription, id),
        ["events"] => listed(Kind::Event, event::FILTERS),
        ["events", id] => {
            let found = one(Kind::Event, id)?;
            let horizon = state.now.saturating_sub(event::HORIZON_SECONDS);
            if super::state::number(&found, "created") < horizon {
                return Err(Refusal::not_found(Kind::Event.name(), id));
            }
            Ok(lists::with_pending(state, &found))
        }
        segments => read_money(state, call, segments),
    }
}

/// Reads of what goes back and of the balance.
fn read_money(state: &State, call: &Call<'_>, segments: &[&str]) -> Result<Value, Refusal> {
    let listed =
        |kind: Kind, filters: &[&str]| lists::list(state, kind, call.path, &call.params(&[PAGING, CREATED, filters])?);
    let one = |kind: Kind, id: &str| {
        call.params(&[EXPAND])?;
        Ok(state.found(kind, id)?.object.clone())
    };
    match segments {
        ["refunds"] => listed(Kind::Refund, refund::FILTERS),
        ["refunds", id] => one(Kind::Refund, id),
        ["payment_methods"] => listed(Kind::PaymentMethod, payment_method::FILTERS),
        ["payment_methods", id] => one(Kind::PaymentMethod, id),
        ["setup_intents"] => listed(Kind::SetupIntent, setup_intent::FILTERS),
        ["setup_intents", id] => one(Kind::SetupIntent, id),
        ["payment_links"] => listed(Kind::PaymentLink, payment_link::FILTERS),
        ["payment_links", id] => one(Kind::PaymentLink, id),
        ["invoiceitems"] => listed(Kind::InvoiceItem, invoice_item::FILTERS),
        ["invoiceitems", id] => one(Kind::InvoiceItem, id),
        ["subscription_schedules"] => listed(Kind::Schedule, schedule::FILTERS),
        ["subscription_schedules", id] => one(Kind::Schedule, id),
        ["disputes"] => listed(Kind::Dispute, dispute::FILTERS),
        ["disputes", id] => one(Kind::Dispute, id),
        ["radar", "early_fraud_warnings"] => listed(Kind::FraudWarning, dispute::FILTERS),
        ["radar", "early_fraud_warnings", id] => one(Kind::FraudWarning, id),
        ["credit_notes"] => listed(Kind::CreditNote, credit_note::FILTERS),
        ["credit_notes", id] => one(Kind::CreditNote, id),
        ["credit_notes", id, "lines"] => within(state, call, Kind::CreditNote, id, "lines"),
        ["balance_transactions"] => listed(Kind::BalanceTransaction, balance::FILTERS),
        ["balance_transactions", id] => {
            one(Kind::BalanceTransaction, id).map(|found| balance::as_of(state.now, &found))
        }
        _ => Err(Refusal::unrecognized_url(call.method, call.path)),
    }
}

/// A list within an object, in the order it was made.
fn within(state: &State, call: &Call<'_>, kind: Kind, id: &str, field: &str) -> Result<Value, Refusal> {
    let params = call.params(&[PAGING])?;
    let record = state.found(kind, id)?;
    let entries = record.extra.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    lists::page(entries, "line item", call.path, &params)
}

fn write(state: &mut State, call: &Call<'_>, segments: &[&str]) -> Result<Value, Refusal> {
    match segments {
        ["customers"] => customer::create(state, &call.params(&[customer::ACCEPTED])?),
        ["customers", id] => customer::update(state, id, &call.params(&[customer::ACCEPTED])?),
        ["products"] => product::create(state, &call.params(&[product::ACCEPTED])?),
        ["products", id] => product::update(state, id, &call.params(&[product::UPDATE])?),
        ["prices"] => price::create(state, &call.params(&[price::ACCEPTED])?),
        ["prices", id] => price::update(state, id, &call.params(&[price::UPDATE])?),
        ["checkout", "sessions"] => session::create(state, &call.params(&[session::ACCEPTED, call.methods()])?),
        ["checkout", "sessions", id, "expire"] => {
            call.params(&[EXPAND])?;
            session_payment::expire(state, id)
        }
        ["payment_intents"] => {
            payment_intent::create(state, &call.params(&[payment_intent::ACCEPTED, call.methods()])?)
        }
        ["invoices"] => invoice_by_hand::create(state, &call.params(&[invoice_by_hand::ACCEPTED])?),
        ["invoiceitems"] => invoice_by_hand::add_item(state, &call.params(&[invoice_by_hand::ITEM])?),
        ["invoices", id] => invoice_by_hand::update(state, id, &call.params(&[invoice_by_hand::UPDATE])?),
        ["invoices", id, "finalize"] => collection::finalize_now(state, id, &call.params(&[collection::FINALIZE])?),
        ["invoices", id, "pay"] => invoice_payment::pay_now(state, id, &call.params(&[invoice_payment::PAY])?),
        ["invoices", id, "void"] => {
            call.params(&[EXPAND])?;
            collection::void(state, id)
        }
        ["invoices", id, "mark_uncollectible"] => {
            call.params(&[EXPAND])?;
            collection::mark_uncollectible(state, id)
        }
        ["subscriptions"] => subscription::create(state, &call.params(&[subscription::ACCEPTED])?),
        ["subscriptions", id] => {
            subscription::update(state, id, &call.params(&[subscription::UPDATE, plan_change::ACCEPTED])?)
        }
        segments => write_money(state, call, segments),
    }
}

/// Writes of what goes back.
fn write_money(state: &mut State, call: &Call<'_>, segments: &[&str]) -> Result<Value, Refusal> {
    match segments {
        ["refunds"] => refund::create(state, &call.params(&[refund::ACCEPTED])?),
        ["refunds", id] => refund::update(state, id, &call.params(&[refund::UPDATE])?),
        ["subscription_schedules"] => schedule::create(state, &call.params(&[schedule::ACCEPTED])?),
        ["subscription_schedules", id] => schedule::update(state, id, &call.params(&[schedule::UPDATE])?),
        ["subscription_schedules", id, "release"] => {
            call.params(&[EXPAND])?;
            schedule::release(state, id)
        }
        ["subscription_schedules", id, "cancel"] => {
            call.params(&[EXPAND])?;
            schedule::cancel(state, id)
        }
        ["billing_portal", "sessions"] => portal::create(state, &call.params(&[portal::ACCEPTED])?),
        ["payment_intents", id, "capture"] => {
            intent_payment::capture(state, id, &call.params(&[intent_payment::CAPTURE])?)
        }
        ["payment_intents", id, "cancel"] => {
            intent_payment::cancel_now(state, id, &call.params(&[intent_payment::CANCEL])?)
        }
        ["payment_intents", id, "confirm"] => {
            intent_payment::confirm(state, id, &call.params(&[intent_payment::CONFIRM])?)
        }
        ["setup_intents"] => setup_intent::create(state, &call.params(&[setup_intent::ACCEPTED, call.methods()])?),
        ["setup_intents", id, "confirm"] => setup_intent::confirm(state, id, &call.params(&[setup_intent::CONFIRM])?),
        ["setup_intents", id, "cancel"] => setup_intent::cancel(state, id, &call.params(&[setup_intent::CANCEL])?),
        ["payment_methods", id] => payment_method::update(state, id, &call.params(&[payment_method::UPDATE])?),
        ["payment_methods", id, "attach"] => {
            payment_method::attach(state, id, &call.params(&[payment_method::ATTACH])?)
        }
        ["payment_methods", id, "detach"] => {
            call.params(&[EXPAND])?;
            payment_method::detach(state, id)
        }
        ["payment_links"] => payment_link::create(state, &call.params(&[payment_link::ACCEPTED])?),
        ["payment_links", id] => payment_link::update(state, id, &call.params(&[payment_link::UPDATE])?),
        ["disputes", id] => dispute::update(state, id, &call.params(&[dispute::UPDATE])?),
        ["credit_notes"] => credit_note::create(state, &call.params(&[credit_note::ACCEPTED])?),
        ["credit_notes", id] => credit_note::update(state, id, &call.params(&[credit_note::UPDATE])?),
        ["credit_notes", id, "void"] => {
            call.params(&[EXPAND])?;
            credit_note::void(state, id)
        }
        _ => Err(Refusal::unrecognized_url(call.method, call.path)),
    }
}
