//! An intent as people and programs read it: which commands it leads to, for whom, with which amounts. Pure.

use serde_json::{Value, json};

use super::intent::{
    FeatureWish, Intent, PaymentIntent, TrySeen, Who, WishedBill, WishedChange, WishedGrant, WishedPlan,
};
use crate::domain::command::{Basis, TryResult};
use crate::domain::ids::BillId;
use crate::domain::money::Money;
use crate::domain::subscription::{SubscriptionLife, SubscriptionSeen};

/// The commands an intent leads to, in the order in which they are posted.
pub fn commands(intent: &Intent) -> Vec<Value> {
    match intent {
        Intent::Link(who) => vec![json!({ "command": "open", "customer": customer(who) })],
        Intent::Payment(payment) => payment_commands(payment),
        Intent::Subscription(seen, who) => vec![subscription_seen(seen, who)],
        Intent::RenewalLost(lost, who) => vec![json!({
            "command": "renewal_lost",
            "customer": customer(who),
            "subscription": lost.subscription,
            "period_start": lost.period_start,
        })],
        Intent::MoneyBack(seen) => vec![json!({
            "command": "money_back",
            "payment": seen.aliases,
            "currency": seen.currency,
            "objects": seen.views,
        })],
        Intent::BillOverage(due, who) => vec![json!({
            "command": "bill_overage",
            "customer": customer(who),
            "invoice": due.invoice,
            "currency": due.currency,
            "period_end": due.period_end,
        })],
        Intent::BillsVoid { bills, invoice, reason, who } => {
            let void = |bill: &BillId| json!({ "command": "bill_void", "customer": customer(who), "bill": bill, "invoice": invoice, "reason": reason });
            bills.iter().map(void).collect()
        }
        Intent::TopUp(seen) => vec![json!({
            "command": "top_up_paid",
            "top_up": seen.top_up,
            "payment": seen.facts.aliases(),
            "stripe_customer": seen.facts.stripe_customer,
            "paid_at": seen.paid_at,
            "net": seen.net.to_string(),
            "paid": seen.gross.to_string(),
            "becomes_default": seen.saved.as_ref().map(|card| &card.payment_method),
        })],
        Intent::Try(seen) => vec![try_seen(seen)],
        Intent::Card(seen) => vec![json!({
            "command": "card_seen",
            "stripe_customer": seen.stripe_customer,
            "becomes_default": seen.saved.as_ref().map(|card| &card.payment_method),
        })],
        Intent::CustomerDeleted(customer) => {
            vec![json!({ "command": "customer_deleted", "stripe_customer": customer })]
        }
    }
}

fn try_seen(seen: &TrySeen) -> Value {
    let (result, why) = match &seen.result {
        TryResult::Unknown { .. } => ("unknown", None),
        TryResult::Processing { .. } => ("processing", None),
        TryResult::NeedsAction { .. } => ("needs_action", None),
        TryResult::Declined { why, .. } => ("declined", Some(why)),
        TryResult::Refused(_) => ("refused", None),
        TryResult::NotDone => ("not_done", None),
    };
    json!({
        "command": "try_ended",
        "top_up": seen.top_up,
        "attempt": seen.attempt,
        "result": result,
        "code": why.and_then(|why| why.code.as_ref()),
        "decline_code": why.and_then(|why| why.decline_code.as_ref()),
        "advice_code": why.and_then(|why| why.advice_code.as_ref()),
    })
}

fn payment_commands(payment: &PaymentIntent) -> Vec<Value> {
    let ids = payment.facts.aliases();
    let customer = customer(&payment.who);
    let mut all: Vec<Value> = payment.plans.iter().map(|paid| plan_paid(paid, &customer, &ids)).collect();
    all.extend(payment.changes.iter().map(|change| plan_changed(change, &customer, &ids)));
    if !payment.grants.is_empty() {
        let basis = match payment.basis {
            Basis::Metadata => "metadata",
            Basis::Lines => "lines",
        };
        all.push(json!({
            "command": "purchase",
            "customer": customer,
            "payment": ids,
            "basis": basis,
            "paid_at": payment.paid_at,
            "grants": payment.grants.iter().map(grant).collect::<Vec<_>>(),
        }));
    }
    let paid = |bill: &WishedBill| {
        let lines = &bill.lines;
        json!({ "command": "bill_paid", "customer": customer, "payment": ids, "bill": bill.bill, "lines": lines })
    };
    all.extend(payment.bills.iter().map(paid));
    all
}

fn plan_paid(paid: &WishedPlan, customer: &Value, ids: &[&str]) -> Value {
    json!({
        "command": "plan_paid",
        "customer": customer,
        "payment": ids,
        "subscription": paid.subscription,
        "plan": paid.plan.to_string(),
        "quantity": paid.quantity,
        "period_start": paid.period_start,
        "period_end": paid.period_end,
        "is_trial": paid.is_trial,
        "credited": paid.credited.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "paid": money(paid.money.paid),
    })
}

fn plan_changed(change: &WishedChange, customer: &Value, ids: &[&str]) -> Value {
    let plan = |plan: String, quantity: i64| json!({ "plan": plan, "quantity": quantity });
    json!({
        "command": "plan_changed",
        "customer": customer,
        "payment": ids,
        "subscription": change.subscription,
        "changed_at": change.changed_at,
        "period_end": change.period_end,
        "from": change.from.iter().map(|held| plan(held.plan.to_string(), held.quantity)).collect::<Vec<_>>(),
        "to": change.to.iter().map(|held| plan(held.plan.to_string(), held.quantity)).collect::<Vec<_>>(),
    })
}

fn grant(wish: &WishedGrant) -> Value {
    let feature = match &wish.feature {
        FeatureWish::Named(feature) | FeatureWish::WalletElse(Some(feature)) => Some(feature.to_string()),
        FeatureWish::WalletElse(None) => None,
    };
    json!({
        "item_key": wish.item_key,
        "feature": feature,
        "wallet": wish.wallet_key,
        "quantity": wish.quantity.to_string(),
        "expires_at": wish.expires_at,
        "paid": money(wish.money.paid),
    })
}

fn subscription_seen(seen: &SubscriptionSeen, who: &Who) -> Value {
    let (state, ended_at) = life(seen.life);
    let plans = seen.plans.iter().map(|held| json!({ "plan": held.plan.to_string(), "quantity": held.quantity }));
    json!({
        "command": "subscription_seen",
        "customer": customer(who),
        "subscription": seen.subscription,
        "seen_at": seen.seen_at,
        "state": state,
        "ended_at": ended_at,
        "plans": plans.collect::<Vec<_>>(),
        "cancel_at": seen.cancel_at,
    })
}

/// The state of an attachment that follows a subscription of this life.
pub fn life(life: SubscriptionLife) -> (&'static str, Option<jiff::Timestamp>) {
    match life {
        SubscriptionLife::Active => ("active", None),
        SubscriptionLife::Trialing => ("trialing", None),
        SubscriptionLife::PastDue => ("past_due", None),
        SubscriptionLife::Paused => ("paused", None),
        SubscriptionLife::Ended(at) => ("ended", Some(at)),
    }
}

fn customer(who: &Who) -> Value {
    json!({
        "id": who.customer_id.as_ref().or(who.client_reference.as_ref()),
        "stripe_customer": who.stripe_customer,
    })
}

fn money(paid: Option<Money>) -> Value {
    paid.map_or(Value::Null, |paid| Value::from(paid.to_string()))
}
