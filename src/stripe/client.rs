//! What we ask of Stripe, as values, and who can ask it or have it write.
//!
//! [`Fetch::path`] is the whole question in one text. An answer that influenced a command is stored under it beside its
//! event, and replay reads it there, so the text of a question never changes once released.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use hyper::body::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use super::frozen::{Frozen, IdempotencyKey};
use super::outcome::WriteOutcome;

/// The largest page Stripe gives.
pub const PAGE_LIMIT: i64 = 100;

/// Most types of events Stripe takes in one question.
pub const EVENT_TYPES_MAX: usize = 20;

/// Longer than any id of Stripe's (255 by its documentation).
const ID_BYTES_MAX: usize = 255;

/// An id of Stripe's that can stand in a path: letters, digits and `_`, so no text from outside can bend the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StripeId(String);

/// A text that is no id of Stripe's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of Stripe's: it has to be 1 to {ID_BYTES_MAX} letters, digits and `_`")]
pub struct StripeIdError;

impl StripeId {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, StripeIdError> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let fits = (1..=ID_BYTES_MAX).contains(&text.len());
        if is_plain && fits { Ok(Self(text.to_owned())) } else { Err(StripeIdError) }
    }

    /// The id of a reference in an answer: a text, or an expanded object.
    pub fn of(reference: &Value) -> Option<Self> {
        Self::new(reference.as_str().or_else(|| reference["id"].as_str())?).ok()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<StripeId> for String {
    fn from(id: StripeId) -> Self {
        id.0
    }
}

impl fmt::Display for StripeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::str::FromStr for StripeId {
    type Err = StripeIdError;

    fn from_str(text: &str) -> Result<Self, StripeIdError> {
        Self::new(text)
    }
}

/// One question. Lists come in pages of [`PAGE_LIMIT`]; the next page starts after the last item's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fetch {
    /// The line items of a checkout session, which webhooks leave out.
    SessionLineItems {
        /// The session.
        session: StripeId,
        /// The last item of the page before.
        starting_after: Option<StripeId>,
    },
    /// A checkout session.
    Session {
        /// The session.
        id: StripeId,
    },
    /// The checkout session behind a payment intent.
    SessionsByIntent {
        /// The intent.
        payment_intent: StripeId,
    },
    /// A payment intent.
    PaymentIntent {
        /// The intent.
        id: StripeId,
    },
    /// A charge.
    Charge {
        /// The charge.
        id: StripeId,
    },
    /// An invoice.
    Invoice {
        /// The invoice.
        id: StripeId,
    },
    /// The lines of an invoice, of which a webhook carries the first page only.
    InvoiceLines {
        /// The invoice.
        invoice: StripeId,
        /// The last line of the page before.
        starting_after: Option<StripeId>,
    },
    /// The payments of an invoice.
    InvoicePayments {
        /// The invoice.
        invoice: StripeId,
        /// The last payment of the page before.
        starting_after: Option<StripeId>,
    },
    /// The invoice behind a payment intent, since basil.
    InvoicePaymentsByIntent {
        /// The intent.
        payment_intent: StripeId,
    },
    /// A subscription.
    Subscription {
        /// The subscription.
        id: StripeId,
    },
    /// All subscriptions of a customer, ended ones too.
    SubscriptionsOf {
        /// Whose.
        customer: StripeId,
        /// The last subscription of the page before.
        starting_after: Option<StripeId>,
    },
    /// A subscription's schedule.
    Schedule {
        /// The schedule.
        id: StripeId,
    },
    /// A customer.
    Customer {
        /// The customer.
        id: StripeId,
    },
    /// A customer's saved cards, newest first: the first page of them.
    CardsOf {
        /// Whose.
        customer: StripeId,
    },
    /// A customer's payment intents, newest first: where a charge is looked for whose answer never came. A list, not a
    /// search, for that one lags.
    IntentsOf {
        /// Whose.
        customer: StripeId,
        /// Only intents created at or after this second.
        created_gte: Timestamp,
        /// The last intent of the page before.
        starting_after: Option<StripeId>,
    },
    /// A customer's invoices, newest first, drafts too: where one is looked for whose making was not answered.
    InvoicesOf {
        /// Whose.
        customer: StripeId,
        /// Only invoices created at or after this second.
        created_gte: Timestamp,
        /// The last invoice of the page before.
        starting_after: Option<StripeId>,
    },
    /// The refunds of a charge.
    RefundsOf {
        /// The charge.
        charge: StripeId,
        /// The last refund of the page before.
        starting_after: Option<StripeId>,
    },
    /// A refund.
    Refund {
        /// The refund.
        id: StripeId,
    },
    /// A credit note.
    CreditNote {
        /// The note.
        id: StripeId,
    },
    /// The lines of a credit note, of which a webhook carries the first page only.
    CreditNoteLines {
        /// The note.
        note: StripeId,
        /// The last line of the page before.
        starting_after: Option<StripeId>,
    },
    /// The disputes of a charge.
    DisputesOf {
        /// The charge.
        charge: StripeId,
        /// The last dispute of the page before.
        starting_after: Option<StripeId>,
    },
    /// An intent to keep a card.
    SetupIntent {
        /// The intent.
        id: StripeId,
    },
    /// Events, newest first, for catch-up.
    Events {
        /// Only events created at or after this second.
        created_gte: Timestamp,
        /// Only events some endpoint has not answered: the quick pass.
        only_undelivered: bool,
        /// Only events of these types, [`EVENT_TYPES_MAX`] at most; none: of all.
        types: Vec<&'static str>,
        /// The last event of the page before.
        starting_after: Option<StripeId>,
    },
    /// Objects of one kind, newest first, to compare with the books.
    Listed {
        /// Which kind.
        what: Listing,
        /// Only objects created at or after this second.
        created_gte: Timestamp,
        /// The last object of the page before.
        starting_after: Option<StripeId>,
    },
}

/// Kinds of objects that are listed whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Listing {
    /// Complete checkout sessions.
    Sessions,
    /// Paid invoices.
    Invoices,
    /// Payment intents, whatever their status.
    PaymentIntents,
    /// Subscriptions, ended ones too.
    Subscriptions,
    /// Refunds.
    Refunds,
    /// Disputes.
    Disputes,
}

impl Fetch {
    /// The canonical text of the question: path and query as they are sent.
    pub fn path(&self) -> String {
        match self {
            Self::SessionLineItems { session, starting_after } => {
                format!(
                    "/v1/checkout/sessions/{session}/line_items?limit={PAGE_LIMIT}{}",
                    after(starting_after.as_ref())
                )
            }
            Self::Session { id } => format!("/v1/checkout/sessions/{id}"),
            Self::SessionsByIntent { payment_intent } => {
                format!("/v1/checkout/sessions?limit={PAGE_LIMIT}&payment_intent={payment_intent}")
            }
            Self::PaymentIntent { id } => format!("/v1/payment_intents/{id}"),
            Self::Charge { id } => format!("/v1/charges/{id}"),
            Self::Invoice { id } => format!("/v1/invoices/{id}"),
            Self::InvoiceLines { invoice, starting_after } => {
                format!("/v1/invoices/{invoice}/lines?limit={PAGE_LIMIT}{}", after(starting_after.as_ref()))
            }
            Self::InvoicePayments { invoice, starting_after } => {
                format!("/v1/invoice_payments?invoice={invoice}&limit={PAGE_LIMIT}{}", after(starting_after.as_ref()))
            }
            Self::InvoicePaymentsByIntent { payment_intent } => format!(
                "/v1/invoice_payments?limit={PAGE_LIMIT}&payment[payment_intent]={payment_intent}&payment[type]=payment_intent"
            ),
            Self::Subscription { id } => format!("/v1/subscriptions/{id}"),
            Self::SubscriptionsOf { customer, starting_after } => {
                let after = after(starting_after.as_ref());
                format!("/v1/subscriptions?customer={customer}&limit={PAGE_LIMIT}{after}&status=all")
            }
            Self::Schedule { id } => format!("/v1/subscription_schedules/{id}"),
            Self::Customer { id } => format!("/v1/customers/{id}"),
            Self::CardsOf { customer } => {
                format!("/v1/customers/{customer}/payment_methods?limit={PAGE_LIMIT}&type=card")
            }
            Self::IntentsOf { customer, created_gte, starting_after } => {
                let (second, after) = (created_gte.as_second(), after(starting_after.as_ref()));
                format!("/v1/payment_intents?created[gte]={second}&customer={customer}&limit={PAGE_LIMIT}{after}")
            }
            Self::InvoicesOf { customer, created_gte, starting_after } => {
                let (second, after) = (created_gte.as_second(), after(starting_after.as_ref()));
                format!("/v1/invoices?created[gte]={second}&customer={customer}&limit={PAGE_LIMIT}{after}")
            }
            Self::RefundsOf { charge, starting_after } => {
                format!("/v1/refunds?charge={charge}&limit={PAGE_LIMIT}{}", after(starting_after.as_ref()))
            }
            Self::Refund { id } => format!("/v1/refunds/{id}"),
            Self::CreditNote { id } => format!("/v1/credit_notes/{id}"),
            Self::CreditNoteLines { note, starting_after } => {
                format!("/v1/credit_notes/{note}/lines?limit={PAGE_LIMIT}{}", after(starting_after.as_ref()))
            }
            Self::DisputesOf { charge, starting_after } => {
                format!("/v1/disputes?charge={charge}&limit={PAGE_LIMIT}{}", after(starting_after.as_ref()))
            }
            Self::SetupIntent { id } => format!("/v1/setup_intents/{id}"),
            Self::Events { created_gte, only_undelivered, types, starting_after } => {
                let undelivered = if *only_undelivered { "&delivery_success=false" } else { "" };
                let second = created_gte.as_second();
                let after = after(starting_after.as_ref());
                let types = types.iter().enumerate().map(|(place, kind)| format!("&types[{place}]={kind}"));
                let types: String = types.collect();
                format!("/v1/events?created[gte]={second}{undelivered}&limit={PAGE_LIMIT}{after}{types}")
            }
            Self::Listed { what, created_gte, starting_after } => listed(*what, *created_gte, starting_after.as_ref()),
        }
    }
}

fn listed(what: Listing, created_gte: Timestamp, starting_after: Option<&StripeId>) -> String {
    let (second, after) = (created_gte.as_second(), after(starting_after));
    let (path, status) = match what {
        Listing::Sessions => ("checkout/sessions", "&status=complete"),
        Listing::Invoices => ("invoices", "&status=paid"),
        Listing::PaymentIntents => ("payment_intents", ""),
        Listing::Subscriptions => ("subscriptions", "&status=all"),
        Listing::Refunds => ("refunds", ""),
        Listing::Disputes => ("disputes", ""),
    };
    format!("/v1/{path}?created[gte]={second}&limit={PAGE_LIMIT}{after}{status}")
}

fn after(cursor: Option<&StripeId>) -> String {
    cursor.map(|id| format!("&starting_after={id}")).unwrap_or_default()
}

/// An answer: 200, or 404 for an object Stripe does not know, whereupon the caller takes the event's own payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The status.
    pub status: u16,
    /// Stripe's name for the exchange.
    pub request_id: Option<String>,
    /// The body, whole and unread.
    pub body: Bytes,
}

impl Fetched {
    /// Whether Stripe does not know the object.
    pub const fn is_missing(&self) -> bool {
        self.status == 404
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StripeError {
    /// The key is wrong, revoked, or may not read this.
    #[error("Stripe refuses our key with {status}: check `stripe.secret_key` and its permissions")]
    Unauthorized {
        /// 401 or 403.
        status: u16,
    },
    /// Too many requests.
    #[error("Stripe's rate limit holds")]
    RateLimited {
        /// How long Stripe asks us to wait.
        retry_after: Option<Duration>,
    },
    /// No answer, or one that says to come back: 5xx, 409, a timeout, a broken connection, a cut body.
    #[error("Stripe cannot be reached: {reason}")]
    Unavailable {
        /// What happened, without addresses' secrets or bodies.
        reason: String,
    },
    /// Stripe understood and refuses.
    #[error("Stripe refuses the request with {status} {}: {message}", .code.as_deref().unwrap_or("(no code)"))]
    Refused {
        /// The status.
        status: u16,
        /// Stripe's code, for instance `resource_missing`.
        code: Option<String>,
        /// Stripe's message, cut short.
        message: String,
    },
    /// An answer larger than any we ask for.
    #[error("Stripe's answer is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
}

impl StripeError {
    /// Whether the same question may be answered later without anyone changing anything.
    pub const fn retry_helps(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Unavailable { .. } => true,
            Self::Unauthorized { .. } | Self::Refused { .. } | Self::TooLarge { .. } => false,
        }
    }
}

/// The answer to come.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Fetched, StripeError>> + Send + 'a>>;

/// The outcome to come.
pub type Sent<'a> = Pin<Box<dyn Future<Output = WriteOutcome> + Send + 'a>>;

/// Someone who can ask Stripe and have it write: the transport, or the fake.
pub trait StripeClient: Send + Sync {
    /// Asks. Reading is all it does, so asking twice is harmless.
    fn fetch<'a>(&'a self, what: &'a Fetch) -> Answer<'a>;

    /// Has Stripe do what these bytes say, once for this key. The row that holds both is committed before, and after an
    /// unknown outcome exactly both are sent again; see [`super::outcome`].
    fn send<'a>(&'a self, write: &'a Frozen, key: &'a IdempotencyKey) -> Sent<'a>;
}
