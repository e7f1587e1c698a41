//! What became of a write, in three values: answered, refused, unknown.
//!
//! Always true:
//! - nothing is called refused or answered of which not the whole body arrived and could be read;
//! - unknown never means "not done": the same bytes under the same key are sent again, for hours, until they are answered
//!   or refused, or until the object is found;
//! - what Stripe said is kept as it came, whatever was made of it.
//!
//! Error documents differ from version to version, so each fact of a decline is looked for in every place it ever stood,
//! and one of an unexpected type counts as absent.

use std::fmt;
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Map, Value};

/// As much of Stripe's message as an outcome keeps.
const MESSAGE_CHARS_MAX: usize = 300;

/// Codes by which an issuer asks for the card's owner; the last was recorded beside the code of the first.
const AUTHENTICATION_CODES: [&str; 4] = [
    "authentication_required",
    "authentication_not_handled",
    "payment_intent_authentication_failure",
    "invoice_payment_intent_requires_action",
];

/// States of an intent that took money or still may without anyone doing anything.
const TAKING_STATES: [&str; 3] = ["succeeded", "processing", "requires_capture"];

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum WriteOutcome {
    /// Done; what it is worth stands in the body (a charge may still be `processing` or want its owner).
    Answered(Answered),
    /// Understood and not done.
    Refused(Refused),
    /// It may have been done.
    Unknown(Unknown),
}

impl WriteOutcome {
    /// Stripe's name for the exchange.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Answered(answered) => answered.request_id.as_deref(),
            Self::Refused(refused) => refused.request_id.as_deref(),
            Self::Unknown(unknown) => unknown.request_id.as_deref(),
        }
    }

    /// What was said, as it came; of a cut answer, what arrived of it.
    pub const fn body(&self) -> &Bytes {
        match self {
            Self::Answered(answered) => &answered.body,
            Self::Refused(refused) => &refused.body,
            Self::Unknown(unknown) => &unknown.body,
        }
    }

    /// Whether Stripe repeated what it said before under this key.
    pub const fn is_replayed(&self) -> bool {
        match self {
            Self::Answered(answered) => answered.replayed,
            Self::Refused(refused) => refused.replayed,
            Self::Unknown(unknown) => unknown.replayed,
        }
    }
}

/// A write that was done.
#[derive(Clone, PartialEq, Eq)]
pub struct Answered {
    /// The status, 200.
    pub status: u16,
    /// Stripe's name for the exchange.
    pub request_id: Option<String>,
    /// Whether Stripe repeated an earlier answer.
    pub replayed: bool,
    /// The object, whole: a JSON object with a field `object`.
    pub body: Bytes,
}

/// A write that Stripe understood and did not do.
#[derive(Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why, by what follows from it.
    pub class: RefusalClass,
    /// The status.
    pub status: u16,
    /// Stripe's code, for instance `parameter_unknown`.
    pub code: Option<String>,
    /// The parameter it speaks of.
    pub param: Option<String>,
    /// Stripe's message, cut short; for people, never for decisions.
    pub message: String,
    /// Stripe's name for the exchange.
    pub request_id: Option<String>,
    /// Whether Stripe repeated an earlier refusal.
    pub replayed: bool,
    /// The error document, whole.
    pub body: Bytes,
}

impl Refused {
    /// Whether it also answers every earlier sending under this key: nothing was done by any of them, and another try is
    /// a new decision with a new key. A refused key of ours or changed parameters say nothing about earlier sendings.
    pub const fn is_final(&self) -> bool {
        match self.class {
            RefusalClass::Declined(_) | RefusalClass::Invalid | RefusalClass::ResourceMissing => true,
            RefusalClass::IdempotencyMismatch | RefusalClass::Unauthorized => false,
        }
    }
}

/// Why Stripe refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalClass {
    /// The card was declined, for certain.
    Declined(Box<Decline>),
    /// The request is wrong, or its object is in another state: a bug of ours, or someone was faster.
    Invalid,
    /// Something it names is not there, for instance a detached card.
    ResourceMissing,
    /// The key was used with other parameters: a bug, never cured with a fresh key.
    IdempotencyMismatch,
    /// Our API key is wrong, revoked or may not do this: nothing is sent until someone acts.
    Unauthorized,
}

/// What is known of a decline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decline {
    /// `card_declined`, `expired_card`, `authentication_required` and the like.
    pub code: Option<String>,
    /// The issuer's reason.
    pub decline_code: Option<String>,
    /// What Stripe advises; it stands above the reason.
    pub advice_code: Option<String>,
    /// The network's advice, for instance `02`.
    pub network_advice_code: Option<String>,
    /// The network's reason, for instance `51`.
    pub network_decline_code: Option<String>,
    /// The intent.
    pub payment_intent: Option<String>,
    /// The intent's state.
    pub payment_intent_status: Option<String>,
    /// The charge that failed.
    pub charge: Option<String>,
    /// The card, by its method.
    pub payment_method: Option<String>,
}

impl Decline {
    /// Whether the card's owner is asked for: another try without them is of no use.
    pub fn wants_authentication(&self) -> bool {
        let codes = [&self.code, &self.decline_code];
        let named = codes.into_iter().flatten().any(|code| AUTHENTICATION_CODES.contains(&code.as_str()));
        named || self.payment_intent_status.as_deref() == Some("requires_action")
    }

    fn read(error: &Map<String, Value>) -> Self {
        let text = |path: &[&str]| text_at(error, path);
        let first = |paths: &[&[&str]]| paths.iter().find_map(|path| text(path));
        // The intent's own memory of the failure, then the charge's, under the names charges had and have.
        let named = |field: &'static str| {
            first(&[
                &[field],
                &["payment_intent", "last_payment_error", field],
                &["setup_intent", "last_setup_error", field],
                &["payment_intent", "latest_charge", "outcome", field],
                &["payment_intent", "charges", "data", "0", "outcome", field],
            ])
        };
        Self {
            code: first(&[
                &["code"],
                &["payment_intent", "last_payment_error", "code"],
                &["payment_intent", "latest_charge", "failure_code"],
                &["payment_intent", "charges", "data", "0", "failure_code"],
            ]),
            decline_code: named("decline_code"),
            advice_code: named("advice_code"),
            network_advice_code: named("network_advice_code"),
            network_decline_code: named("network_decline_code"),
            payment_intent: first(&[&["payment_intent", "id"], &["payment_intent"]]),
            payment_intent_status: text(&["payment_intent", "status"]),
            charge: first(&[
                &["charge", "id"],
                &["charge"],
                &["payment_intent", "latest_charge", "id"],
                &["payment_intent", "latest_charge"],
                &["payment_intent", "last_payment_error", "charge"],
                &["payment_intent", "charges", "data", "0", "id"],
            ]),
            payment_method: first(&[
                &["payment_method", "id"],
                &["payment_method"],
                &["payment_intent", "last_payment_error", "payment_method", "id"],
                &["payment_intent", "payment_method"],
                &["source", "id"],
            ]),
        }
    }
}

/// A write that may have been done, or may still be.
#[derive(Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Why nothing is known.
    pub why: UnknownReason,
    /// The status, if one arrived.
    pub status: Option<u16>,
    /// How long Stripe asks us to wait.
    pub retry_after: Option<Duration>,
    /// Stripe's name for the exchange.
    pub request_id: Option<String>,
    /// Whether Stripe repeated an earlier answer: a 500 kept under its key stays unknown however often it is repeated.
    pub replayed: bool,
    /// What arrived of the answer.
    pub body: Bytes,
}

/// Why nothing is known of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownReason {
    /// No connection was made: this sending did nothing, an earlier one under the key may have.
    NotConnected,
    /// No whole answer in time.
    Timeout,
    /// The exchange broke off before an answer began.
    Broken,
    /// The answer broke off.
    Cut,
    /// The answer cannot be read, or is not one of Stripe's.
    Unreadable,
    /// The answer is larger than any of Stripe's.
    TooLarge,
    /// Stripe failed: 5xx, or an `api_error`.
    ServerError,
    /// The key is in use by a sending still under way, or the object is locked.
    Busy,
    /// Too many requests: this sending did nothing, an earlier one under the key may have.
    RateLimited,
    /// A status that no write gets.
    UnexpectedStatus,
    /// Refused in words, while the intent shown with it takes money.
    Contradiction,
}

impl fmt::Display for UnknownReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NotConnected => "no connection",
            Self::Timeout => "timeout",
            Self::Broken => "the exchange broke off",
            Self::Cut => "the answer was cut off",
            Self::Unreadable => "the answer cannot be read",
            Self::TooLarge => "the answer is too large",
            Self::ServerError => "Stripe failed",
            Self::Busy => "the key or the object is in use",
            Self::RateLimited => "Stripe's rate limit holds",
            Self::UnexpectedStatus => "an unexpected status",
            Self::Contradiction => "a refusal whose intent takes money",
        })
    }
}

/// Everything of an answer but its body, as the headers tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerHead {
    /// The status.
    pub status: u16,
    /// `Request-Id`.
    pub request_id: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// `Idempotent-Replayed`.
    pub replayed: bool,
}

/// Judges a whole answer.
pub fn judge(head: AnswerHead, body: Bytes) -> WriteOutcome {
    let Ok(Value::Object(document)) = serde_json::from_slice::<Value>(&body) else {
        return unknown(unreadable(head.status), head, body);
    };
    if (200..300).contains(&head.status) {
        if document.get("object").is_some_and(Value::is_string) {
            let AnswerHead { status, request_id, retry_after: _, replayed } = head;
            return WriteOutcome::Answered(Answered { status, request_id, replayed, body });
        }
        return unknown(UnknownReason::Unreadable, head, body);
    }
    let Some(Value::Object(error)) = document.get("error") else {
        return unknown(unreadable(head.status), head, body);
    };
    match class(head.status, error) {
        Ok(class) => refused(class, head, error, body),
        Err(why) => unknown(why, head, body),
    }
}

/// An outcome that is not known, with what arrived.
pub fn unknown(why: UnknownReason, head: AnswerHead, body: Bytes) -> WriteOutcome {
    let AnswerHead { status, request_id, retry_after, replayed } = head;
    let status = (status != 0).then_some(status);
    WriteOutcome::Unknown(Unknown { why, status, retry_after, request_id, replayed, body })
}

/// Of an answer that is no document of Stripe's: its status still says when to come back.
const fn unreadable(status: u16) -> UnknownReason {
    match status {
        409 => UnknownReason::Busy,
        429 => UnknownReason::RateLimited,
        500.. => UnknownReason::ServerError,
        _ => UnknownReason::Unreadable,
    }
}

fn class(status: u16, error: &Map<String, Value>) -> Result<RefusalClass, UnknownReason> {
    let kind = text_at(error, &["type"]);
    let kind = kind.as_deref().unwrap_or_default();
    match status {
        409 => return Err(UnknownReason::Busy),
        429 => return Err(UnknownReason::RateLimited),
        500.. => return Err(UnknownReason::ServerError),
        401 | 403 => return Ok(RefusalClass::Unauthorized),
        400 | 402 | 404 => {}
        _ => return Err(UnknownReason::UnexpectedStatus),
    }
    if kind == "api_error" {
        return Err(UnknownReason::ServerError);
    }
    let decline = Decline::read(error);
    let takes = decline.payment_intent_status.as_deref().is_some_and(|state| TAKING_STATES.contains(&state));
    if kind == "idempotency_error" {
        Ok(RefusalClass::IdempotencyMismatch)
    } else if status == 402 || kind == "card_error" {
        if takes { Err(UnknownReason::Contradiction) } else { Ok(RefusalClass::Declined(Box::new(decline))) }
    } else if decline.code.as_deref() == Some("resource_missing") {
        Ok(RefusalClass::ResourceMissing)
    } else {
        // An intent shown with it is in a state of its own, for instance one cancelled too late.
        Ok(RefusalClass::Invalid)
    }
}

fn refused(class: RefusalClass, head: AnswerHead, error: &Map<String, Value>, body: Bytes) -> WriteOutcome {
    let AnswerHead { status, request_id, retry_after: _, replayed } = head;
    let message = text_at(error, &["message"]).unwrap_or_else(|| "no message".to_owned());
    WriteOutcome::Refused(Refused {
        class,
        status,
        code: text_at(error, &["code"]),
        param: text_at(error, &["param"]),
        message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
        request_id,
        replayed,
        body,
    })
}

/// The text at a path; list entries by their number. Anything but a text is absent.
fn text_at(error: &Map<String, Value>, path: &[&str]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let mut value = error.get(*first)?;
    for step in rest {
        value = match value {
            Value::Array(entries) => entries.get(step.parse::<usize>().ok()?)?,
            Value::Object(fields) => fields.get(*step)?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
        };
    }
    value.as_str().map(str::to_owned)
}

// Without bodies, which name customers: these are logged.
impl fmt::Debug for Answered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, request_id, replayed, body } = self;
        write!(out, "Answered {{ {status}, {request_id:?}, replayed: {replayed}, {} bytes }}", body.len())
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, status, code, param, message: _, request_id, replayed, body } = self;
        write!(
            out,
            "Refused {{ {class:?}, {status}, {code:?}, {param:?}, {request_id:?}, replayed: {replayed}, {} bytes }}",
            body.len()
        )
    }
}

impl fmt::Debug for Unknown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, status, retry_after, request_id, replayed, body } = self;
        write!(
            out,
            "Unknown {{ {why:?}, {status:?}, {retry_after:?}, {request_id:?}, replayed: {replayed}, {} bytes }}",
            body.len()
        )
    }
}
