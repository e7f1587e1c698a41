//! What cards do when they are charged: as a test ordered, else by their expiry, else by the test method they were made
//! of.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::refusal::Refusal;
use super::super::state::{Kind, State, number};
use super::card_order::standing;
use super::test_method::{Conduct, conduct};

/// How long a delayed method takes unless it is ordered otherwise: the four working days of a bank debit.
pub const DELAY_SECONDS: i64 = 4 * 24 * 60 * 60;
/// The code of a charge that wants its owner.
pub const AUTHENTICATION: &str = "authentication_required";

/// Why a card was declined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decline {
    /// The error's code.
    pub code: String,
    /// The issuer's reason, which Stripe calls decline code.
    pub reason: Option<String>,
    /// What the issuer advises, in Stripe's words.
    pub advice: Option<String>,
    /// The network's own advice, such as `02`.
    pub network_advice: Option<String>,
    /// The network's own reason, such as `51`.
    pub network_reason: Option<String>,
    /// For the buyer.
    pub message: String,
}

impl Decline {
    /// A decline without advice.
    pub fn new(code: &str, reason: Option<&str>, message: &str) -> Self {
        let (code, message) = (code.to_owned(), message.to_owned());
        let reason = reason.map(str::to_owned);
        Self { code, reason, advice: None, network_advice: None, network_reason: None, message }
    }

    /// The decline of a card whose owner is away.
    pub fn wants_owner() -> Self {
        let message = "Your card was declined. This transaction requires authentication.";
        Self::new(AUTHENTICATION, Some(AUTHENTICATION), message)
    }

    /// What a request is refused with.
    pub fn refusal(&self) -> Refusal {
        let refusal = Refusal::card(&self.code, self.reason.as_deref(), &self.message);
        self.advices().into_iter().fold(refusal, |refusal, (field, value)| refusal.with(field, json!(value)))
    }

    /// The advice there is, by the names it has in an error.
    pub fn advices(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("advice_code", &self.advice),
            ("network_advice_code", &self.network_advice),
            ("network_decline_code", &self.network_reason),
        ];
        all.into_iter().filter_map(|(field, value)| Some((field, value.as_deref()?))).collect()
    }
}

/// What is answered when a card asks for an owner who is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// 402, and the intent waits for another method.
    Declined,
    /// 402, and the intent waits for its owner.
    Refused,
    /// 200, and the intent waits for its owner.
    Asked,
}

/// A card asks its owner to authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What becomes of it while the owner is away.
    pub absent: Absent,
    /// What a request is then refused with.
    pub decline: Decline,
    /// Why it is declined all the same once the owner has authenticated.
    pub then: Option<Decline>,
    /// Whether a test ordered it.
    pub ordered: bool,
}

/// A payment that is not known at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// After how many seconds it is known; none: never by itself.
    pub seconds: Option<i64>,
    /// Why it fails then; none: it succeeds.
    pub fails: Option<Decline>,
}

/// What a card does with a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behavior {
    /// The money moves.
    Succeeds,
    /// It does not.
    Declines(Decline),
    /// The owner has to authenticate.
    Asks(Question),
    /// It is known later.
    Processes(Delay),
}

impl Behavior {
    /// Why nothing is paid at once; none if it is, or is on its way.
    pub fn decline(&self) -> Option<&Decline> {
        match self {
            Self::Succeeds | Self::Processes(_) => None,
            Self::Declines(decline) => Some(decline),
            Self::Asks(question) => Some(&question.decline),
        }
    }

    /// The same once the owner is there and has authenticated.
    #[must_use]
    pub fn authenticated(self) -> Self {
        match self {
            Self::Asks(Question { then: None, .. }) => Self::Succeeds,
            Self::Asks(Question { then: Some(decline), .. }) => Self::Declines(decline),
            other @ (Self::Succeeds | Self::Declines(_) | Self::Processes(_)) => other,
        }
    }

    fn asks(then: Option<Decline>) -> Self {
        Self::Asks(Question { absent: Absent::Declined, decline: Decline::wants_owner(), then, ordered: false })
    }
}

/// Who is charged, with what, and whether they are there.
#[derive(Clone, Copy, Debug)]
pub struct Charged<'payer> {
    /// The customer.
    pub customer: Option<&'payer str>,
    /// The saved card; none leaves it to the orders.
    pub method: Option<&'payer str>,
    /// Whether the owner is there.
    pub present: bool,
}

impl Charged<'_> {
    fn orders(&self) -> [(Kind, Option<&str>); 2] {
        [(Kind::Customer, self.customer), (Kind::PaymentMethod, self.method)]
    }
}

/// What the next charge would do.
pub fn expected(state: &State, charged: Charged<'_>) -> Behavior {
    let orders = charged.orders().into_iter().filter_map(|(kind, id)| standing(state, kind, id?)?.1);
    let ordered = orders.into_iter().next();
    ordered.or_else(|| charged.method.map(|method| own(state, method, charged.present))).unwrap_or(Behavior::Succeeds)
}

/// What this charge does: it is counted.
pub fn next(state: &mut State, charged: Charged<'_>) -> Behavior {
    let behavior = expected(state, charged);
    for (kind, id) in charged.orders() {
        let Some((mut found, taken)) = id.and_then(|id| standing(state, kind, id)) else { continue };
        let counted = |field: &str| found[field].as_u64().unwrap_or(0);
        let (seen, takes) = (counted("seen") + 1, counted("taken") + u64::from(taken.is_some()));
        found["seen"] = json!(seen);
        found["taken"] = json!(takes);
        state.set_extra(kind, id.unwrap_or_default(), "card_order", found);
        if taken.is_some() {
            break;
        }
    }
    behavior
}

/// What a card does by itself: by its expiry, else by what it was made of.
pub fn own(state: &State, method: &str, present: bool) -> Behavior {
    let Some(record) = state.get(Kind::PaymentMethod, method) else { return Behavior::Succeeds };
    if is_expired(&record.object, state.now) {
        return Behavior::Declines(Decline::new("expired_card", Some("expired_card"), "Your card has expired."));
    }
    let made_of = record.extra.get("made_of").and_then(Value::as_str).unwrap_or_default();
    let set_up = record.extra.get("set_up") == Some(&json!(true));
    match conduct(made_of) {
        None | Some(Conduct::Pays) => Behavior::Succeeds,
        Some(Conduct::Declines(decline)) => Behavior::Declines(decline),
        Some(Conduct::Asks(then)) => Behavior::asks(then),
        Some(Conduct::AsksOnSetup) if set_up && !present => Behavior::Succeeds,
        Some(Conduct::IsSetUp) if !present => Behavior::Succeeds,
        Some(Conduct::AsksOnSetup | Conduct::IsSetUp) => Behavior::asks(None),
        Some(Conduct::Takes(delay)) => Behavior::Processes(delay),
    }
}

/// What a card does when it is kept for later: nothing is charged.
pub fn on_setup(state: &State, method: &str) -> Behavior {
    let made_of = state.get(Kind::PaymentMethod, method).and_then(|record| record.extra.get("made_of")?.as_str());
    match conduct(made_of.unwrap_or_default()) {
        Some(Conduct::IsSetUp | Conduct::Takes(_)) => Behavior::Succeeds,
        // Its owner is asked; the funds are not looked at.
        Some(Conduct::Asks(_) | Conduct::AsksOnSetup) => Behavior::asks(None),
        // This one goes bad only once it is kept.
        Some(Conduct::Declines(_)) if made_of == Some("pm_card_chargeCustomerFail") => Behavior::Succeeds,
        None | Some(Conduct::Pays | Conduct::Declines(_)) => own(state, method, true),
    }
}

/// Whether a card's last month is over.
fn is_expired(method: &Value, now: i64) -> bool {
    let Ok(now) = Timestamp::from_second(now) else { return false };
    let today = now.to_zoned(TimeZone::UTC).date();
    let last = (number(&method["card"], "exp_year"), number(&method["card"], "exp_month"));
    method["card"].is_object() && (i64::from(today.year()), i64::from(today.month())) > last
}
