//! The events in `tests/fixtures/stripe`, and what interpreting one comes to, in short lines that a person can check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use creditd::domain::catalog::Catalog;
use creditd::domain::money::Money;
use creditd::domain::payment::PaymentFacts;
use creditd::domain::reversal::{BackView, Says};
use creditd::domain::subscription::SubscriptionSeen;
use creditd::inbox::intent::{FeatureWish, Intent, Interpretation, PaymentIntent, TopUpSeen, Who, Why};
use creditd::inbox::interpret::{Answers, Context, interpret};
use creditd::inbox::receive;
use creditd::inbox::reversal::MoneyBackPolicy;
use creditd::stripe::wire::Event;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Questions one event may need here.
const QUESTIONS_MAX: usize = 20;

/// One event of the folder.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// The folder: the API version that shapes it.
    pub version: String,
    /// The file's name without `.json`: the type, or the type and a variant.
    pub name: String,
    /// The event.
    pub event: Value,
    /// What stands beside it.
    pub expected: Option<Value>,
}

/// Where they are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stripe")
}

fn json_at(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every event of every version's folder, in the order of their names.
pub fn fixtures() -> Vec<Fixture> {
    let mut found = BTreeMap::new();
    for version in fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for path in fs::read_dir(&version).unwrap().map(|entry| entry.unwrap().path()) {
            let file = path.file_name().unwrap().to_str().unwrap().to_owned();
            let Some(name) = file.strip_suffix(".json").filter(|name| !name.ends_with(".expect")) else { continue };
            let event = json_at(&path);
            if !matches!(event["object"].as_str(), Some("event" | "v2.core.event")) {
                continue;
            }
            let beside = path.with_file_name(format!("{name}.expect.json"));
            let expected = beside.exists().then(|| json_at(&beside));
            let version = version.file_name().unwrap().to_str().unwrap().to_owned();
            let name = name.to_owned();
            found.insert((version.clone(), name.clone()), Fixture { version, name, event, expected });
        }
    }
    assert!(!found.is_empty(), "no fixture was found");
    found.into_values().collect()
}

/// What the fixtures' world is like: what is sold, and what Stripe answers.
pub struct World {
    catalog: Catalog,
    answers: BTreeMap<String, Value>,
}

impl World {
    pub fn read() -> Self {
        let text = fs::read_to_string(folder().join("catalog.toml")).unwrap();
        let Value::Object(answers) = json_at(&folder().join("answers.json")) else {
            panic!("answers.json is no object")
        };
        let catalog = creditd::domain::catalog::file::read(&text).unwrap();
        Self { catalog, answers: answers.into_iter().collect() }
    }

    /// The questions whose answer is there.
    pub fn questions(&self) -> BTreeSet<String> {
        self.answers.keys().cloned().collect()
    }

    /// What Stripe answers to a question.
    pub fn answer(&self, own: &Value, path: &str) -> Option<Value> {
        own.get(path).or_else(|| self.answers.get(path)).cloned()
    }

    /// Receives an event on a test mode database and interprets it; `asked` collects what Stripe was asked.
    pub fn interpret(&self, event: &Value, own: &Value, asked: &mut BTreeSet<String>) -> Interpretation {
        match receive::read(event.to_string().as_bytes(), false) {
            Ok((_, Some((code, detail)))) => Interpretation::Ignore(Why::new(code, detail)),
            Ok((event, None)) => self.interpret_read(&event, own, asked),
            Err(error) => Interpretation::Park(Why::new("not_an_event", error.to_string())),
        }
    }

    fn interpret_read(&self, event: &Event, own: &Value, asked: &mut BTreeSet<String>) -> Interpretation {
        let mut answers = Answers::new(true);
        for _ in 0..QUESTIONS_MAX {
            let context = Context {
                money_back: MoneyBackPolicy { freeze_on_warning: true, ..MoneyBackPolicy::default() },
                ..context(&self.catalog, &answers)
            };
            let questions = match interpret(event, context) {
                Interpretation::Ask(questions) => questions,
                done => return done,
            };
            for question in questions {
                let path = question.path();
                let known = self.answer(own, &path);
                let status = if known.is_some() { 200 } else { 404 };
                let body = known.unwrap_or_else(|| json!({ "error": { "type": "invalid_request_error" } }));
                answers.add(path.clone(), status, body.to_string().into_bytes(), Timestamp::UNIX_EPOCH);
                asked.insert(path);
            }
        }
        panic!("it keeps asking")
    }
}

/// What an event is interpreted with where nothing is configured.
pub fn context<'a>(catalog: &'a Catalog, answers: &'a Answers) -> Context<'a> {
    Context {
        catalog,
        answers,
        cutover_at: None,
        grant_free_checkouts: true,
        park_unknown_prices: false,
        money_back: MoneyBackPolicy::default(),
    }
}

/// What an interpretation comes to, in the form of an expectation.
pub fn summary(interpretation: &Interpretation) -> Value {
    match interpretation {
        Interpretation::Act(intents) => {
            json!({ "is": "acts", "facts": intents.iter().flat_map(told).collect::<Vec<String>>() })
        }
        Interpretation::Ignore(why) => json!({ "is": "ignored", "reason": why.code }),
        Interpretation::Park(why) => json!({ "is": "parked", "reason": why.code, "detail": why.detail }),
        Interpretation::Ask(_) => json!({ "is": "asks" }),
    }
}

fn told(intent: &Intent) -> Vec<String> {
    match intent {
        Intent::Link(who) => vec![format!("link {}", whose(who))],
        Intent::Payment(payment) => payment_told(payment),
        Intent::Subscription(seen, who) => vec![subscription_told(seen, who)],
        Intent::RenewalLost(lost, who) => {
            vec![format!("renewal lost: {} from {}, of {}", lost.subscription, lost.period_start, whose(who))]
        }
        Intent::TopUp(seen) => {
            let TopUpSeen { top_up, facts, paid_at, net, gross, stripe_line, saved } = &**seen;
            let ids = facts.aliases().join(", ");
            let line = stripe_line.as_ref().map(|line| format!(", line {line}")).unwrap_or_default();
            let saved = saved.as_ref().map(|card| format!(", default {}", card.payment_method)).unwrap_or_default();
            let customer = facts.stripe_customer.as_deref().unwrap_or("nobody");
            vec![format!("{top_up} paid by {ids} of {customer}: {net} net, {gross} in all, at {paid_at}{line}{saved}")]
        }
        Intent::Try(seen) => {
            let customer = seen.stripe_customer.as_deref().unwrap_or("nobody");
            vec![format!("{} of {}, of {customer}: {:?}", seen.attempt, seen.top_up, seen.result)]
        }
        Intent::Card(seen) => {
            let default = seen.saved.as_ref().map(|card| format!(", default {} by {}", card.payment_method, card.by));
            vec![format!("card seen of {}{}", seen.stripe_customer, default.unwrap_or_default())]
        }
        Intent::CustomerDeleted(customer) => vec![format!("customer {customer} is deleted")],
        Intent::MoneyBack(seen) => seen.views.iter().map(|view| back_told(view, &seen.aliases)).collect(),
        Intent::BillOverage(due, who) => {
            let (draft, currency, end) = (&due.invoice, due.currency, due.period_end);
            vec![format!("overage before {end} in {currency} goes on {draft}, of {}", whose(who))]
        }
        Intent::BillsVoid { bills, invoice, reason, who } => {
            vec![format!("void: {bills:?} of {invoice}, {reason}, of {}", whose(who))]
        }
    }
}

fn back_told(view: &BackView, aliases: &[String]) -> String {
    let says = match &view.says {
        Says::Refunded { charged, back, .. } => format!("{back} of {charged} went back"),
        Says::Disputed { state, lost, .. } => format!("disputed, {state:?}, {lost} lost"),
        Says::Warned { open, .. } => format!("fraud is suspected, open: {open}"),
        Says::Credited { total, refunded, prices } => format!("credited {total}, {refunded} by refunds, {prices:?}"),
    };
    format!("money back: {} says {says}, of the payment of {}", view.object, aliases.join(", "))
}

fn whose(who: &Who) -> String {
    let named = who.customer_id.as_ref().map(|id| format!("metadata {id}"));
    let referred = who.client_reference.as_ref().map(|id| format!("reference {id}"));
    let parts: Vec<String> = [named, referred, who.stripe_customer.clone()].into_iter().flatten().collect();
    if parts.is_empty() { "nobody".to_owned() } else { parts.join(", ") }
}

fn payment_told(payment: &PaymentIntent) -> Vec<String> {
    let PaymentFacts { status, tax_minor, discount_minor, .. } = &payment.facts;
    let amount = match (payment.facts.amount_paid_minor, payment.facts.currency) {
        (Some(minor), Some(currency)) => Money::from_minor(minor, currency).unwrap().to_string(),
        _ => "no amount".to_owned(),
    };
    let mut lines = vec![format!(
        "payment {} {amount} ({}, tax {}, discount {}) at {} of {}",
        payment.facts.aliases().first().unwrap_or(&"without id"),
        status.word(),
        tax_minor.unwrap_or(0),
        discount_minor.unwrap_or(0),
        payment.paid_at,
        whose(&payment.who)
    )];
    lines.extend(payment.grants.iter().map(|grant| {
        let feature = match &grant.feature {
            FeatureWish::Named(feature) | FeatureWish::WalletElse(Some(feature)) => feature.to_string(),
            FeatureWish::WalletElse(None) => "the wallet's".to_owned(),
        };
        let wallet = grant.wallet_key.as_ref().map(|key| format!(" in {key}")).unwrap_or_default();
        let basis = grant.money.basis_minor.map_or("none".to_owned(), |minor| minor.to_string());
        format!("grant {} {feature}{wallet} for {}, basis {basis}", grant.quantity, grant.item_key)
    }));
    lines.extend(payment.plans.iter().map(|plan| {
        let trial = if plan.is_trial { ", a trial" } else { "" };
        format!(
            "plan {} x{} from {} to {} by {}{trial}",
            plan.plan, plan.quantity, plan.period_start, plan.period_end, plan.subscription
        )
    }));
    lines.extend(
        payment.bills.iter().map(|bill| format!("overage {} {}, lines {:?}", bill.bill, bill.currency, bill.lines)),
    );
    lines.extend(payment.changes.iter().map(|change| {
        let from: Vec<String> = change.from.iter().map(|held| format!("{} x{}", held.plan, held.quantity)).collect();
        let to: Vec<String> = change.to.iter().map(|held| format!("{} x{}", held.plan, held.quantity)).collect();
        let (from, to) = (from.join(" and "), to.join(" and "));
        format!(
            "changed from {from} to {to} at {} until {} by {}",
            change.changed_at, change.period_end, change.subscription
        )
    }));
    lines
}

fn subscription_told(seen: &SubscriptionSeen, who: &Who) -> String {
    let plans: Vec<String> = seen.plans.iter().map(|plan| format!("{} x{}", plan.plan, plan.quantity)).collect();
    let ends = seen.cancel_at.map(|at| format!(", ends {at}")).unwrap_or_default();
    let trial = seen.trial_ends_at.map(|at| format!(", trial until {at}")).unwrap_or_default();
    let (plans, whose) = (plans.join(" and "), whose(who));
    format!(
        "subscription {} {:?}: {plans} since {}{trial}{ends}, of {whose}",
        seen.subscription, seen.life, seen.anchor
    )
}
