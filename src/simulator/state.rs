//! Everything the simulated account knows: objects in the newest shape, events as emitted, keys, pending deliveries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::idempotency::Keys;
use super::log::Log;
use super::objects::event;
use super::objects::tax::TaxRate;
use super::refusal::Refusal;
use super::shapes::{Train, Version};
use super::timers::{Rank, Timers};

/// The families of objects, in the order their files stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `customer`
    Customer,
    /// `product`
    Product,
    /// `price`
    Price,
    /// `checkout.session`
    Session,
    /// `payment_intent`
    PaymentIntent,
    /// `charge`
    Charge,
    /// `invoice`
    Invoice,
    /// `invoice_payment`
    InvoicePayment,
    /// `subscription`
    Subscription,
    /// `event`
    Event,
    /// `refund`
    Refund,
    /// `dispute`
    Dispute,
    /// `radar.early_fraud_warning`
    FraudWarning,
    /// `credit_note`
    CreditNote,
    /// `balance_transaction`
    BalanceTransaction,
    /// `invoiceitem`
    InvoiceItem,
    /// `subscription_schedule`
    Schedule,
    /// `payment_method`
    PaymentMethod,
    /// `setup_intent`
    SetupIntent,
    /// `payment_link`
    PaymentLink,
}

impl Kind {
    /// The name used in Stripe's messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Product => "product",
            Self::Price => "price",
            Self::Session => "checkout.session",
            Self::PaymentIntent => "payment_intent",
            Self::Charge => "charge",
            Self::Invoice => "invoice",
            Self::InvoicePayment => "invoice_payment",
            Self::Subscription => "subscription",
            Self::Event => "event",
            Self::Refund => "refund",
            Self::Dispute => "dispute",
            Self::FraudWarning => "radar.early_fraud_warning",
            Self::CreditNote => "credit_note",
            Self::BalanceTransaction => "balance_transaction",
            Self::InvoiceItem => "invoiceitem",
            Self::Schedule => "subscription_schedule",
            Self::PaymentMethod => "payment_method",
            Self::SetupIntent => "setup_intent",
            Self::PaymentLink => "payment_link",
        }
    }

    /// The family of an id, by its prefix.
    pub fn of_id(id: &str) -> Option<Self> {
        let (prefix, rest) = id.split_once('_')?;
        Some(match prefix {
            "sub" if rest.starts_with("sched_") => Self::Schedule,
            "cus" => Self::Customer,
            "prod" => Self::Product,
            "price" => Self::Price,
            "cs" => Self::Session,
            "pi" => Self::PaymentIntent,
            "ch" => Self::Charge,
            "in" => Self::Invoice,
            "inpay" => Self::InvoicePayment,
            "sub" => Self::Subscription,
            "evt" => Self::Event,
            "re" => Self::Refund,
            "du" => Self::Dispute,
            "issfr" => Self::FraudWarning,
            "cn" => Self::CreditNote,
            "txn" => Self::BalanceTransaction,
            "ii" => Self::InvoiceItem,
            "pm" => Self::PaymentMethod,
            "seti" => Self::SetupIntent,
            "plink" => Self::PaymentLink,
            _ => return None,
        })
    }
}

/// An object in the newest shape, and the facts that shape does not carry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The object as the newest API version writes it.
    pub object: Value,
    /// Facts of older shapes, of includable fields and of what happens later.
    pub extra: Map<String, Value>,
}

/// How far an event's delivery has come.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pending {
    /// Attempts made.
    pub attempts: u32,
    /// No attempt is left.
    pub given_up: bool,
    /// When the next attempt is made, in microseconds of virtual time; none if it is under way or waits in real time.
    #[serde(default)]
    pub due: Option<i64>,
    /// Copies that leave with the first attempt.
    #[serde(default)]
    pub copies: u32,
    /// An attempt was answered and the next one waits in real time.
    #[serde(skip)]
    pub resting: bool,
}

impl Pending {
    /// Whether an attempt that should have been made by now has had no answer yet.
    pub fn is_unanswered(&self, now_micros: i64) -> bool {
        !self.given_up && !self.resting && self.due.is_none_or(|due| due <= now_micros)
    }
}

/// What becomes of a subscription when every retry of its invoice has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dunning {
    /// It is canceled.
    #[default]
    Cancel,
    /// It becomes unpaid: later invoices stay drafts.
    Unpaid,
    /// It stays past due.
    PastDue,
}

/// How refunds that are made from now on come about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundMode {
    /// They succeed at once, as on a card.
    #[default]
    Immediate,
    /// They are pending until the bank has answered.
    Pending,
}

/// Who caused a change: part of every event it emits.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The request's id; none when Stripe or a buyer acted.
    pub request_id: Option<String>,
    /// Its idempotency key.
    pub idempotency_key: Option<String>,
}

/// One family's objects in order of creation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Family {
    records: Vec<Record>,
    places: BTreeMap<String, usize>,
}

/// The account.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    families: BTreeMap<Kind, Family>,
    /// Kept answers by idempotency key.
    pub keys: Keys,
    /// Events not yet delivered.
    pub pending: BTreeMap<String, Pending>,
    /// What becomes of a subscription whose last retry failed.
    #[serde(default)]
    pub dunning: Dunning,
    /// The tax of what asks for it.
    #[serde(default)]
    pub tax: TaxRate,
    /// How refunds come about.
    #[serde(default)]
    pub refund_mode: RefundMode,
    /// What is due when: computed from the objects and the pending deliveries.
    #[serde(skip)]
    pub timers: Timers,
    /// Unix seconds of the step being carried out; set before each.
    #[serde(skip)]
    pub now: i64,
    /// Who acts in the step being carried out.
    #[serde(skip)]
    pub origin: Origin,
    /// The version events are made in: that of the webhook endpoint.
    #[serde(skip)]
    pub endpoint_version: Version,
    /// Whether there is an endpoint, so that new events are pending.
    #[serde(skip)]
    pub deliver: bool,
    /// Whether pending events go out by themselves.
    #[serde(skip)]
    pub auto_deliver: bool,
    /// Where the checkout page is served.
    #[serde(skip)]
    pub base_url: String,
    /// Events made by the step being carried out, still to be handed to the deliverer.
    #[serde(skip)]
    pub outbox: Vec<String>,
    /// The log charges are written to.
    #[serde(skip)]
    pub log: Log,
}

impl State {
    /// Adds an object; its id is in it.
    pub fn insert(&mut self, kind: Kind, object: Value, extra: Map<String, Value>) -> String {
        let id = text(&object, "id").to_owned();
        let family = self.families.entry(kind).or_default();
        family.places.insert(id.clone(), family.records.len());
        family.records.push(Record { object, extra });
        self.schedule(kind, &id);
        id
    }

    /// Recomputes when an object is due.
    pub fn schedule(&mut self, kind: Kind, id: &str) {
        let Some(rank) = Rank::of(kind) else { return };
        let found = self.families.get(&kind).and_then(|family| {
            let place = *family.places.get(id)?;
            Some((rank.due(family.records.get(place)?)?, place))
        });
        self.timers.put(rank, id, found);
    }

    /// Recomputes everything that is due, after the state was read from its file.
    pub fn schedule_all(&mut self) {
        let of_kind = |kind: Kind| {
            let records = self.all(kind);
            records.map(|record| (kind, text(&record.object, "id").to_owned())).collect::<Vec<_>>()
        };
        let found =
            [Kind::Schedule, Kind::Subscription, Kind::Session, Kind::Invoice, Kind::PaymentIntent].map(of_kind);
        for (kind, id) in found.into_iter().flatten() {
            self.schedule(kind, &id);
        }
        let deliveries: Vec<String> = self.pending.keys().cloned().collect();
        for event in deliveries {
            self.schedule_delivery(&event);
        }
    }

    /// Recomputes when an event's next attempt is due.
    pub fn schedule_delivery(&mut self, event: &str) {
        let due = self.pending.get(event).and_then(|pending| pending.due);
        let place = self.place(Kind::Event, event).unwrap_or(usize::MAX);
        self.timers.put(Rank::Delivery, event, due.map(|due| (due, place)));
    }

    /// The place of an object in its family, counted from zero in order of creation.
    pub fn place(&self, kind: Kind, id: &str) -> Option<usize> {
        self.families.get(&kind)?.places.get(id).copied()
    }

    /// Writes a fact that the newest shape does not carry.
    pub fn set_extra(&mut self, kind: Kind, id: &str, field: &str, value: Value) {
        if let Some(record) = self.get_mut(kind, id) {
            record.extra.insert(field.to_owned(), value);
        }
        self.schedule(kind, id);
    }

    /// An object by its id.
    pub fn get(&self, kind: Kind, id: &str) -> Option<&Record> {
        let family = self.families.get(&kind)?;
        family.records.get(*family.places.get(id)?)
    }

    /// An object to change.
    fn get_mut(&mut self, kind: Kind, id: &str) -> Option<&mut Record> {
        let family = self.families.get_mut(&kind)?;
        family.records.get_mut(*family.places.get(id)?)
    }

    /// An object the path names, or 404.
    pub fn found(&self, kind: Kind, id: &str) -> Result<&Record, Refusal> {
        self.get(kind, id).ok_or_else(|| Refusal::not_found(kind.name(), id))
    }

    /// An object a parameter names, or 400.
    pub fn named(&self, kind: Kind, id: &str, parameter: &str) -> Result<&Record, Refusal> {
        let there = self.get(kind, id).filter(|record| record.object["deleted"] != Value::Bool(true));
        there.ok_or_else(|| Refusal::no_such(kind.name(), id, parameter))
    }

    /// A family's objects, oldest first.
    pub fn all(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Record> {
        self.families.get(&kind).into_iter().flat_map(|family| family.records.iter())
    }

    /// Writes fields of an object that is there.
    pub fn set(&mut self, kind: Kind, id: &str, changes: Value) {
        if let (Some(record), Value::Object(changes)) = (self.get_mut(kind, id), changes) {
            for (field, value) in changes {
                record.object[field] = value;
            }
        }
        self.schedule(kind, id);
    }

    /// Puts another object in the place of one that is there.
    pub fn replace(&mut self, kind: Kind, id: &str, object: Value) {
        if let Some(record) = self.get_mut(kind, id) {
            record.object = object;
        }
        self.schedule(kind, id);
    }

    /// Makes an event about an object as it is now, in the endpoint's version, for good.
    pub fn emit(&mut self, event_type: &str, kind: Kind, id: &str) {
        self.emit_change(event_type, kind, id, None);
    }

    /// Whether an event of a type about an object is on its way and was not taken yet.
    pub fn is_untaken(&self, event_type: &str, id: &str) -> bool {
        self.auto_deliver
            && self.pending.keys().filter_map(|event| self.get(Kind::Event, event)).any(|record| {
                text(&record.object, "type") == event_type && text(&record.object["data"]["object"], "id") == id
            })
    }

    /// The same, with the values that changed as they were before.
    pub fn emit_change(&mut self, event_type: &str, kind: Kind, id: &str, previous: Option<Value>) {
        if event_type.starts_with("invoice_payment.") && self.endpoint_version.train() == Train::Acacia {
            // The object came with basil; an older endpoint never hears of it.
            return;
        }
        let Some(record) = self.get(kind, id) else { return };
        let object = self.endpoint_version.render(self, &record.object);
        let previous = previous.map(|previous| self.endpoint_version.render_previous(self, kind, &previous));
        let event = event::build(self, event_type, &object, previous);
        let event_id = self.insert(Kind::Event, event, Map::new());
        if self.deliver {
            self.pending.insert(event_id.clone(), Pending::default());
            if self.auto_deliver {
                self.outbox.push(event_id);
            }
        }
    }

    /// Events that still have attempts left, of which no timer knows.
    pub fn waiting(&self) -> impl Iterator<Item = &String> {
        self.pending.iter().filter(|(_, pending)| !pending.given_up && pending.due.is_none()).map(|(id, _)| id)
    }
}

/// A text field of an object; empty when absent or null.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// An integer field of an object; zero when absent or null.
pub fn number(object: &Value, field: &str) -> i64 {
    object.get(field).and_then(Value::as_i64).unwrap_or_default()
}

/// Extra facts from a JSON object.
pub fn facts(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// An object with these fields null: Stripe writes what is not set, it does not omit it.
pub fn with_nulls(mut object: Value, nulls: &[&str]) -> Value {
    for field in nulls {
        object[*field] = Value::Null;
    }
    object
}

/// An object with more fields.
pub fn with_fields(mut object: Value, fields: Value) -> Value {
    if let Value::Object(fields) = fields {
        for (field, value) in fields {
            object[field] = value;
        }
    }
    object
}
