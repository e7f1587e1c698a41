//! What cards do when they are charged: as a test ordered, else by their expiry, else by the test method they were made
//! of.
//!
//! Stripe refuses to attach its declining cards. Here they can be attached, and stand for cards that went bad after:
//! without that no saved card could ever decline for the reason a test needs.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::refusal::Refusal;
use super::super::state::{Kind, State, number};

/// How long a delayed method takes unless it is ordered otherwise: the four working days of a bank debit.
const DELAY_SECONDS: i64 = 4 * 24 * 60 * 60;
/// The longest delay that can be ordered.
const DELAY_SECONDS_MAX: i64 = 366 * 24 * 60 * 60;
/// Parts of a whole in which a share is given.
const WHOLE: u32 = 1_000;
/// The code of a charge that wants its owner.
const AUTHENTICATION: &str = "authentication_required";

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
    pub network_decline: Option<String>,
    /// For the buyer.
    pub message: String,
}

impl Decline {
    /// A decline without advice.
    pub fn new(code: &str, reason: Option<&str>, message: &str) -> Self {
        let (code, message) = (code.to_owned(), message.to_owned());
        let reason = reason.map(str::to_owned);
        Self { code, reason, advice: None, network_advice: None, network_decline: None, message }
    }

    fn wants_owner() -> Self {
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
            ("network_decline_code", &self.network_decline),
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

/// How a charge goes that is neither paid nor declined at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CardBehaviour {
    /// 200 `processing`; later it succeeds, or fails with the order's code.
    Processing,
    /// The owner is asked: 200 `requires_action`, or with a code 402 while the intent waits for its owner.
    RequiresAction,
}

/// How a customer's next charges without a buyer behave: renewals, retries, off-session payments. It stands above the
/// cards. A Checkout Session is paid by a buyer who is there, and as its own order says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CardOrder {
    /// The error's code, such as `card_declined`; without one the charges succeed.
    pub code: Option<String>,
    /// The issuer's reason, such as `insufficient_funds`.
    pub decline_code: Option<String>,
    /// The issuer's advice, such as `try_again_later`.
    pub advice_code: Option<String>,
    /// The network's own advice, such as `02`.
    pub network_advice_code: Option<String>,
    /// The network's own reason, such as `51`.
    pub network_decline_code: Option<String>,
    /// Neither paid nor declined at once.
    pub behaviour: Option<CardBehaviour>,
    /// When a processing charge is known; four days without.
    pub settles_after_seconds: Option<i64>,
    /// So many charges; all until the next order without.
    pub times: Option<u32>,
    /// Only so many of a thousand charges, chosen by the seed; all without.
    pub per_thousand: Option<u32>,
    /// What chooses; the same seed chooses the same charges.
    pub seed: u64,
}

impl CardOrder {
    /// Charges that are declined until the next order.
    #[must_use]
    pub fn declined(code: &str, decline_code: Option<&str>) -> Self {
        let decline_code = decline_code.map(str::to_owned);
        Self { code: Some(code.to_owned()), decline_code, ..Self::default() }
    }

    /// Charges that are processing, and succeed after so many seconds.
    #[must_use]
    pub fn processing(settles_after_seconds: i64) -> Self {
        let (behaviour, seconds) = (Some(CardBehaviour::Processing), Some(settles_after_seconds));
        Self { behaviour, settles_after_seconds: seconds, ..Self::default() }
    }

    /// Charges that are answered with 200 and wait for their owner.
    #[must_use]
    pub fn requires_action() -> Self {
        Self { behaviour: Some(CardBehaviour::RequiresAction), ..Self::default() }
    }

    /// Whether it lets charges go their own way again.
    fn ends(&self) -> bool {
        self.code.is_none() && self.behaviour.is_none()
    }

    /// Refuses an order that makes no sense.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.ends() && self != &Self::default() {
            return Err(Refusal::missing("code"));
        }
        let processing = self.behaviour == Some(CardBehaviour::Processing);
        let fits = |seconds: i64| processing && (0..=DELAY_SECONDS_MAX).contains(&seconds);
        if !self.settles_after_seconds.is_none_or(fits) {
            return Err(Refusal::invalid("settles_after_seconds is for a processing charge, and at most 366 days."));
        }
        if self.per_thousand.is_some_and(|share| share > WHOLE) {
            return Err(Refusal::invalid("per_thousand is at most 1000."));
        }
        Ok(())
    }

    /// The name in the log.
    pub fn name(&self) -> String {
        let named = [self.code.as_deref(), self.decline_code.as_deref(), self.advice_code.as_deref()];
        let mut names: Vec<String> = named.into_iter().flatten().map(str::to_owned).collect();
        names.extend(self.behaviour.map(|behaviour| format!("{behaviour:?}")));
        if names.is_empty() { "succeeds".to_owned() } else { names.join(" ") }
    }

    fn decline(&self, code: &str) -> Decline {
        Decline {
            advice: self.advice_code.clone(),
            network_advice: self.network_advice_code.clone(),
            network_decline: self.network_decline_code.clone(),
            ..Decline::new(code, self.decline_code.as_deref(), "Your card was declined.")
        }
    }

    fn behavior(&self) -> Option<Behavior> {
        let decline = self.code.as_deref().map(|code| self.decline(code));
        Some(match (self.behaviour, decline) {
            (None, None) => return None,
            (None, Some(decline)) if decline.code == AUTHENTICATION => {
                Behavior::Asks(Question { absent: Absent::Declined, decline, then: None, ordered: true })
            }
            (None, Some(decline)) => Behavior::Declines(decline),
            (Some(CardBehaviour::Processing), fails) => {
                Behavior::Processes(Delay { seconds: self.settles_after_seconds.or(Some(DELAY_SECONDS)), fails })
            }
            (Some(CardBehaviour::RequiresAction), decline) => Behavior::Asks(Question {
                absent: if decline.is_some() { Absent::Refused } else { Absent::Asked },
                decline: decline.unwrap_or_else(Decline::wants_owner),
                then: None,
                ordered: true,
            }),
        })
    }

    /// Whether it is for a charge, of which so many were asked about and so many were taken.
    fn takes(&self, seen: u64, taken: u64) -> bool {
        let left = self.times.is_none_or(|times| taken < u64::from(times));
        let chosen = self.per_thousand.is_none_or(|share| {
            let mut random = StdRng::seed_from_u64(self.seed ^ (seen << 32));
            random.random_range(0..WHOLE) < share
        });
        left && chosen
    }
}

/// Orders how the next charges of a customer, or with one card, behave.
pub fn order(state: &mut State, kind: Kind, id: &str, order: &CardOrder) -> Result<(), Refusal> {
    order.check()?;
    state.named(kind, id, "id")?;
    state.set_extra(kind, id, "card_order", json!({ "order": order, "seen": 0, "taken": 0 }));
    Ok(())
}

/// What was ordered for the next charge; with whether it is taken.
fn standing(state: &State, kind: Kind, id: &str) -> Option<(Value, Option<Behavior>)> {
    let standing = state.get(kind, id)?.extra.get("card_order")?.clone();
    let order = CardOrder::deserialize(&standing["order"]).ok()?;
    let count = |field: &str| standing[field].as_u64().unwrap_or(0);
    let taken = order.takes(count("seen"), count("taken"));
    let behavior = order.behavior().filter(|_| taken);
    Some((standing, behavior))
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

/// What a test method does.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Conduct {
    Pays,
    Declines(Decline),
    /// On every charge, however it was kept; perhaps for nothing.
    Asks(Option<Decline>),
    /// Not while its owner is away, once it was set up.
    AsksOnSetup,
    /// Not while its owner is away.
    IsSetUp,
    Takes(Delay),
}

/// Stripe's declining cards: the name, the error's code, the issuer's reason.
const DECLINING: &[(&str, &str, Option<&str>, &str)] = &[
    ("chargeDeclined", "card_declined", Some("generic_decline"), "Your card was declined."),
    ("chargeCustomerFail", "card_declined", Some("generic_decline"), "Your card was declined."),
    (
        "chargeDeclinedInsufficientFunds",
        "card_declined",
        Some("insufficient_funds"),
        "Your card has insufficient funds.",
    ),
    ("chargeDeclinedLostCard", "card_declined", Some("lost_card"), "Your card has been declined."),
    ("chargeDeclinedStolenCard", "card_declined", Some("stolen_card"), "Your card has been declined."),
    ("chargeDeclinedFraudulent", "card_declined", Some("fraudulent"), "Your card was declined."),
    ("radarBlock", "card_declined", Some("fraudulent"), "Your card was declined."),
    ("chargeDeclinedExpiredCard", "expired_card", None, "Your card has expired."),
    ("chargeDeclinedIncorrectCvc", "incorrect_cvc", None, "Your card's security code is incorrect."),
    ("chargeDeclinedProcessingError", "processing_error", None, "An error occurred while processing your card."),
    (
        "chargeDeclinedVelocityLimitExceeded",
        "card_declined",
        Some("card_velocity_exceeded"),
        "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
    ),
];
/// Reasons that Stripe has no test card for: `pm_card_chargeDeclined_` and the reason, which is ours.
const REASONS: &[&str] = &[
    "approve_with_id",
    "call_issuer",
    "card_not_supported",
    "card_velocity_exceeded",
    "currency_not_supported",
    "do_not_honor",
    "do_not_try_again",
    "expired_card",
    "fraudulent",
    "generic_decline",
    "incorrect_number",
    "insufficient_funds",
    "invalid_account",
    "issuer_not_available",
    "lost_card",
    "merchant_blacklist",
    "no_action_taken",
    "no_such_card",
    "pickup_card",
    "processing_error",
    "reenter_transaction",
    "restricted_card",
    "revocation_of_all_authorizations",
    "revocation_of_authorization",
    "service_not_allowed",
    "stolen_card",
    "stop_payment_order",
    "transaction_not_allowed",
    "try_again_later",
    "withdrawal_count_limit_exceeded",
];
/// Reasons that are the error's code too.
const OWN_CODES: &[&str] = &["expired_card", "incorrect_number", "processing_error"];
/// Stripe's bank accounts whose debits fail, and why.
const FAILING_ACCOUNTS: &[(&str, &str)] = &[
    ("accountClosed", "account_closed"),
    ("accountFrozen", "account_frozen"),
    ("debitNotAuthorized", "debit_not_authorized"),
    ("insufficientFunds", "insufficient_funds"),
    ("noAccount", "no_account"),
];

/// Whether there is such a test method.
pub fn is_test_method(name: &str) -> bool {
    conduct(name).is_some()
}

fn conduct(name: &str) -> Option<Conduct> {
    if let Some(bank) = name.strip_prefix("pm_usBankAccount") {
        return account(bank.strip_prefix('_').unwrap_or(bank));
    }
    let card = name.strip_prefix("pm_card_")?;
    if brand(card).is_some() {
        return Some(Conduct::Pays);
    }
    let card = card.strip_prefix("visa_").unwrap_or(card);
    let declining = DECLINING.iter().find(|(known, ..)| *known == card);
    if let Some((_, code, reason, message)) = declining {
        return Some(Conduct::Declines(Decline::new(code, *reason, message)));
    }
    if let Some(reason) = card.strip_prefix("chargeDeclined_").filter(|reason| REASONS.contains(reason)) {
        let code = if OWN_CODES.contains(&reason) { reason } else { "card_declined" };
        return Some(Conduct::Declines(Decline::new(code, Some(reason), "Your card was declined.")));
    }
    let broke = || Decline::new("card_declined", Some("insufficient_funds"), "Your card has insufficient funds.");
    Some(match card {
        "authenticationRequired" | "threeDSecureRequired" | "threeDSecure2Required" => Conduct::Asks(None),
        "authenticationRequiredChargeDeclinedInsufficientFunds" => Conduct::Asks(Some(broke())),
        "authenticationRequiredOnSetup" => Conduct::AsksOnSetup,
        "authenticationRequiredSetupForOffSession" => Conduct::IsSetUp,
        _ => return None,
    })
}

fn account(name: &str) -> Option<Conduct> {
    let delay = |seconds, fails| Some(Conduct::Takes(Delay { seconds, fails }));
    match name {
        "" | "success" => delay(Some(DELAY_SECONDS), None),
        "processing" => delay(None, None),
        _ => {
            let (_, reason) = FAILING_ACCOUNTS.iter().find(|(known, _)| *known == name)?;
            let message = "The customer's bank account could not be debited.";
            delay(
                Some(DELAY_SECONDS),
                Some(Decline::new("payment_intent_payment_attempt_failed", Some(reason), message)),
            )
        }
    }
}

/// Brand, funding and last digits of a card that pays.
fn brand(card: &str) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match card {
        "visa" => ("visa", "credit", "4242"),
        "visa_debit" => ("visa", "debit", "5556"),
        "mastercard" => ("mastercard", "credit", "4444"),
        "mastercard_debit" => ("mastercard", "debit", "8210"),
        "mastercard_prepaid" => ("mastercard", "prepaid", "5100"),
        "amex" => ("amex", "credit", "8431"),
        "discover" => ("discover", "credit", "1117"),
        "diners" => ("diners", "credit", "0004"),
        "jcb" => ("jcb", "credit", "0505"),
        "unionpay" => ("unionpay", "credit", "0005"),
        _ => return None,
    })
}

/// What a method made of a test method looks like: its brand, funding and last digits; none if it is a bank account.
pub fn face(made_of: &str) -> Option<(&'static str, &'static str, &'static str)> {
    let card = made_of.strip_prefix("pm_card_")?;
    Some(brand(card).unwrap_or(("visa", "credit", "0000")))
}
