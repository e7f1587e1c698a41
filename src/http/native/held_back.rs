//! Why nothing is charged: codes, numbers and sentences, the same in answers, refusals and `creditd why`.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::super::problem::Problem;
use crate::domain::command::ChargingRefusal;
use crate::domain::grant::WalletState;
use crate::domain::money::{Currency, Money};
use crate::domain::top_up::PauseReason;
use crate::domain::top_up::why::HeldBack;
use crate::store::circuits::OpenCircuit;

/// What keeps charges back of everybody: Stripe cannot be asked, or has refused too often.
pub const CIRCUIT_OPEN: &str = "circuit_open";

/// What holds a rule back now, for an answer.
pub fn shown(held_back: &HeldBack) -> Value {
    let mut members = numbers(held_back);
    members.insert("code".to_owned(), json!(held_back.code()));
    members.insert("detail".to_owned(), json!(sentence(held_back)));
    Value::Object(members)
}

/// The circuit that holds everything back, for an answer.
pub fn circuit_shown(circuit: &OpenCircuit) -> Value {
    let OpenCircuit { until, reason } = circuit;
    json!({
        "code": CIRCUIT_OPEN,
        "detail": format!("nothing is sent to Stripe until {until}: {reason}"),
        "until": until,
        "reason": reason,
    })
}

/// Money of a count of minor units; a sum that is no money any more is null.
pub(super) fn money(minor: i64, currency: Currency) -> Option<Money> {
    Money::from_minor(minor, currency).ok()
}

/// The numbers of a check that failed.
fn numbers(held_back: &HeldBack) -> Map<String, Value> {
    let members = match held_back {
        HeldBack::Disabled
        | HeldBack::ConsentMissing
        | HeldBack::Disputed
        | HeldBack::Unlimited
        | HeldBack::PriceMissing
        | HeldBack::TooMuch
        | HeldBack::OutOfRange => json!({}),
        HeldBack::ReplacedByOther(rule) => json!({ "rule": rule }),
        HeldBack::Paused { because, since } => json!({ "because": because, "since": since }),
        HeldBack::OpenTopUp { top_up, state } => json!({ "top_up": top_up, "top_up_state": state }),
        HeldBack::WalletShut(state) => json!({ "wallet_state": state }),
        HeldBack::BalanceAbove { balance, threshold } => json!({ "balance": balance, "threshold": threshold }),
        HeldBack::AtTarget { balance, target } => json!({ "balance": balance, "target": target }),
        HeldBack::Cooldown { until } => json!({ "until": until }),
        HeldBack::Ceiling { window, of_money, currency, most, used, asked, until } => {
            let number = |value: i64| if *of_money { json!(money(value, *currency)) } else { json!(value.to_string()) };
            json!({ "window": window, "most": number(*most), "used": number(*used), "asked": number(*asked), "until": until })
        }
    };
    match members {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// The same for people.
pub fn sentence(held_back: &HeldBack) -> String {
    match held_back {
        HeldBack::Disabled => "the rule is switched off".to_owned(),
        HeldBack::ReplacedByOther(rule) => format!("rule `{rule}` stands in its place"),
        HeldBack::ConsentMissing => "nobody agreed to be charged while away".to_owned(),
        HeldBack::Paused { because, .. } => paused(*because).to_owned(),
        HeldBack::OpenTopUp { top_up, state } => format!("{top_up} is {} and not over", state.word()),
        HeldBack::WalletShut(WalletState::Closed) => "its wallet is over, and takes nothing any more".to_owned(),
        HeldBack::WalletShut(_) => "its wallet is frozen: what is bought could not be spent".to_owned(),
        HeldBack::Disputed => "a dispute is open: nobody who disputes a charge is charged again".to_owned(),
        HeldBack::Unlimited => "there is no limit to spend".to_owned(),
        HeldBack::BalanceAbove { balance, threshold } => {
            format!("{balance} credits are there, and it buys at {threshold} or fewer")
        }
        HeldBack::AtTarget { balance, target } => format!("{balance} credits are there, and it fills up to {target}"),
        HeldBack::PriceMissing => {
            "the catalogue sells no packs of the feature in the rule's currency to this customer".to_owned()
        }
        HeldBack::TooMuch => "one purchase cannot be that large".to_owned(),
        HeldBack::Cooldown { until } => format!("it decided a short while ago, and may again from {until}"),
        HeldBack::Ceiling { window, of_money, currency, most, used, asked, .. } => {
            let number = |value: i64| {
                money(value, *currency)
                    .filter(|_| *of_money)
                    .map_or_else(|| value.to_string(), |money| money.to_string())
            };
            let (window, asked, used, most) = (window.word(), number(*asked), number(*used), number(*most));
            format!("{used} of {most} are decided in this {window}, and {asked} more would pass it")
        }
        HeldBack::OutOfRange => "the sums leave the range that is kept".to_owned(),
    }
}

const fn paused(because: PauseReason) -> &'static str {
    match because {
        PauseReason::NoPaymentMethod => "Stripe's customer has no card, or is not known",
        PauseReason::CardDeclined => "the card was declined for good, or too often: another card mends it",
        PauseReason::AuthenticationRequired => "the card's owner has to pay by the link, or give another card",
        PauseReason::Refused => {
            "Stripe refuses the request, or nothing came of several: mend it, then set the rule anew"
        }
        PauseReason::CustomerDeleted => "Stripe's customer was deleted",
    }
}

impl From<ChargingRefusal> for Problem {
    fn from(refusal: ChargingRefusal) -> Self {
        let (code, detail) = (refusal.code(), refusal.to_string());
        let bad = || Self::new(StatusCode::BAD_REQUEST, code, detail.clone());
        let missing = || Self::new(StatusCode::NOT_FOUND, code, detail.clone());
        let conflict = || Self::new(StatusCode::CONFLICT, code, detail.clone());
        match refusal {
            ChargingRefusal::PriceMissing { currency, .. } => {
                bad().about(if currency.is_some() { "currency" } else { "feature" })
            }
            ChargingRefusal::WhichCurrency(_) => bad().about("currency"),
            ChargingRefusal::CeilingMissing(_) => bad().about("max_per_month.money"),
            ChargingRefusal::ConsentMissing => bad().about("consent"),
            ChargingRefusal::TooMuch => bad().about("quantity"),
            ChargingRefusal::NothingToBuy => bad().about("target"),
            ChargingRefusal::UnknownRule(_) => missing().about("name"),
            ChargingRefusal::UnknownTopUp(_) => missing().about("id"),
            ChargingRefusal::InProgress(top_up) => conflict().with("top_up", top_up.to_string()),
            ChargingRefusal::HeldBack(held_back) => {
                let start = Self::new(StatusCode::CONFLICT, code, sentence(&held_back));
                numbers(&held_back).into_iter().fold(start, |problem, (name, value)| problem.with(&name, value))
            }
            ChargingRefusal::CurrencyFixed(_) => conflict().about("currency"),
            ChargingRefusal::TooManyRules
            | ChargingRefusal::MovedOn(_)
            | ChargingRefusal::Mismatch { .. }
            | ChargingRefusal::CannotRefund(_) => conflict(),
        }
    }
}

/// Every code that may hold a rule back, for the document.
pub const CODES: [&str; 20] = [
    CIRCUIT_OPEN,
    "disabled",
    "replaced_by_other_rule",
    "consent_missing",
    "paused",
    "open_top_up",
    "wallet_frozen",
    "wallet_closed",
    "disputed",
    "unlimited",
    "balance_above",
    "at_target",
    "price_missing",
    "too_much",
    "cooldown",
    "max_per_day_count",
    "max_per_day_money",
    "max_per_month_count",
    "max_per_month_money",
    "out_of_range",
];

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::credits::Credits;
    use crate::domain::ids::TopUpId;
    use crate::domain::limit::Window;
    use crate::domain::top_up::TopUpState;

    fn ceiling(window: Window, of_money: bool) -> HeldBack {
        let (currency, until) = ("usd".parse().unwrap(), Timestamp::UNIX_EPOCH);
        HeldBack::Ceiling { window, of_money, currency, most: 5_000, used: 4_000, asked: 1_001, until }
    }

    #[test]
    fn every_check_has_its_code_in_the_document_and_a_sentence() {
        let (balance, until) = (Credits::whole(7), Timestamp::UNIX_EPOCH);
        let all = [
            HeldBack::Disabled,
            HeldBack::ReplacedByOther("mine".to_owned()),
            HeldBack::ConsentMissing,
            HeldBack::Paused { because: PauseReason::CardDeclined, since: until },
            HeldBack::OpenTopUp { top_up: TopUpId::from_uuid(uuid::Uuid::nil()), state: TopUpState::Charging },
            HeldBack::WalletShut(WalletState::Frozen),
            HeldBack::WalletShut(WalletState::Closed),
            HeldBack::Disputed,
            HeldBack::Unlimited,
            HeldBack::BalanceAbove { balance, threshold: Credits::whole(5) },
            HeldBack::AtTarget { balance, target: Credits::whole(5) },
            HeldBack::PriceMissing,
            HeldBack::TooMuch,
            HeldBack::Cooldown { until },
            ceiling(Window::Day, false),
            ceiling(Window::Day, true),
            ceiling(Window::Month, false),
            ceiling(Window::Month, true),
            HeldBack::OutOfRange,
        ];
        let codes: Vec<&str> = all.iter().map(HeldBack::code).collect();
        assert_eq!(codes, CODES[1..]);
        assert!(all.iter().all(|held_back| sentence(held_back).len() > 10));
    }

    #[test]
    fn ceilings_tell_their_numbers_in_money_or_in_decisions() {
        let of_money = shown(&ceiling(Window::Month, true));
        assert_eq!(of_money["code"], "max_per_month_money");
        assert_eq!(of_money["most"], json!({ "amount": "50.00", "currency": "usd" }));
        assert_eq!(
            of_money["detail"],
            "40.00 USD of 50.00 USD are decided in this month, and 10.01 USD more would pass it"
        );
        let of_count = shown(&ceiling(Window::Day, false));
        assert_eq!(
            (&of_count["most"], &of_count["used"], &of_count["asked"]),
            (&json!("5000"), &json!("4000"), &json!("1001"))
        );
    }
}
