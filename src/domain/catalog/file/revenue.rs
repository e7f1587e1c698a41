//! How a plan's fee is recognised (rule 38): which policies fit what the plan sells.

use std::collections::BTreeMap;

use super::super::{Expiry, Interval, IntervalUnit, Item, Plan, PlanId, Price, RevenuePolicy};
use super::Reading;
use super::features::Kind;
use super::reading::{Field, Mistakes, Place, Section, nearest};
use crate::domain::credits::Credits;

const POLICIES: [&str; 4] = ["over_time", "allocate", "credits", "external"];

/// The policy a plan states.
pub(super) fn read_policy(field: &Field<'_>, mistakes: &mut Mistakes<'_>) -> Option<RevenuePolicy> {
    match field.text(mistakes)? {
        "over_time" => Some(RevenuePolicy::OverTime),
        "allocate" => Some(RevenuePolicy::Allocate),
        "credits" => Some(RevenuePolicy::Credits),
        "external" => Some(RevenuePolicy::External),
        other => {
            let hint = nearest(other, &POLICIES).map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
            let message =
                format!("\"{other}\" is none of \"over_time\", \"allocate\", \"credits\" and \"external\"{hint}");
            mistakes.add(field.place(), message);
            None
        }
    }
}

/// The policy that holds: the stated one if it fits, else `over_time` if that fits, else it has to be stated.
pub(super) fn decide(
    stated: Option<RevenuePolicy>,
    prices: &[Price],
    items: &[Item],
    section: &Section<'_>,
    reading: &mut Reading<'_>,
) -> RevenuePolicy {
    let Reading { mistakes, kinds, .. } = reading;
    let key = section.key("revenue");
    if section.has("access_price") && stated != Some(RevenuePolicy::Allocate) {
        let message = "only revenue = \"allocate\" weighs access; write that, or take `access_price` out";
        mistakes.add(&section.key("access_price"), message);
    }
    if prices.is_empty() {
        return decide_without_fee(stated, items, &key, mistakes);
    }
    let mut outliving = items.iter().filter(|item| gives_credits(item, kinds));
    let outliving = outliving.find_map(|item| outlives(item, prices).map(|how| format!("item `{}` {how}", item.id)));
    match (stated, outliving) {
        (None | Some(RevenuePolicy::OverTime), None) | (Some(RevenuePolicy::External), _) => {}
        (None, Some(how)) => {
            let message = format!("has to be written, because {how}; {}", ways_out());
            mistakes.add(&key, message);
        }
        (Some(RevenuePolicy::OverTime), Some(how)) => {
            let message =
                format!("\"over_time\" is for credits that die within the paid period, but {how}; {}", ways_out());
            mistakes.add(&key, message);
        }
        (Some(RevenuePolicy::Allocate), _) => {
            if !section.has("access_price") {
                let message = "is missing, and revenue = \"allocate\" weighs access by it; write \
                               access_price = { amount = \"..\", currency = \"..\" }";
                mistakes.add(&section.key("access_price"), message);
            }
        }
        (Some(RevenuePolicy::Credits), _) => refuse_credits(items, kinds, section, mistakes),
    }
    stated.unwrap_or(RevenuePolicy::OverTime)
}

/// No fee, so nothing to recognise over time: packs are deferred on their credits, or all of it is elsewhere.
fn decide_without_fee(
    stated: Option<RevenuePolicy>,
    items: &[Item],
    key: &Place,
    mistakes: &mut Mistakes<'_>,
) -> RevenuePolicy {
    let sells_packs = items.iter().any(|item| !item.packs.is_empty());
    match stated {
        None => {}
        Some(RevenuePolicy::Credits | RevenuePolicy::External) if sells_packs => {}
        Some(RevenuePolicy::OverTime | RevenuePolicy::Allocate | RevenuePolicy::Credits | RevenuePolicy::External) => {
            mistakes.add(key, "a plan without `prices` has no fee to recognise; take `revenue` out");
        }
    }
    stated.unwrap_or(RevenuePolicy::OverTime)
}

fn ways_out() -> &'static str {
    "write revenue = \"credits\" if the plan sells nothing but credits, else revenue = \"allocate\" with an access_price"
}

/// `credits` defers the whole fee on the credits, so there have to be some and nothing else.
fn refuse_credits(items: &[Item], kinds: &BTreeMap<String, Kind>, section: &Section<'_>, mistakes: &mut Mistakes<'_>) {
    let any_credits = items.iter().any(|item| gives_credits(item, kinds));
    let other =
        items.iter().find(|item| !gives_credits(item, kinds) && item.packs.is_empty() && item.overage.is_none());
    let message = match other {
        Some(item) => format!(
            "\"credits\" is for plans that sell nothing but credits, but item `{}` gives more; write \"allocate\" with \
             an access_price",
            item.id
        ),
        None if !any_credits => {
            "\"credits\" defers the fee on included credits, and no item includes any; write \"over_time\"".to_owned()
        }
        None => return,
    };
    mistakes.add(&section.key("revenue"), message);
}

/// Does an item include credits? Seats are freed again, so they are access rather than credits.
fn gives_credits(item: &Item, kinds: &BTreeMap<String, Kind>) -> bool {
    let spent = kinds.get(item.feature.as_str()).is_some_and(|kind| *kind != Kind::Freed);
    spent && item.included.is_some_and(Credits::is_positive)
}

/// How an item's included credits live on beyond the paid period, if they do.
fn outlives(item: &Item, prices: &[Price]) -> Option<String> {
    if item.rollover.is_some() {
        return Some("rolls over".to_owned());
    }
    let paid_days = prices.iter().map(|price| price.every.map_or(0, least_days)).min().unwrap_or(0);
    match (item.reset, item.expires_after) {
        (Some(reset), _) if least_days(reset) > paid_days => {
            Some("renews more slowly than the plan is paid".to_owned())
        }
        (Some(_), _) => None,
        (None, Expiry::Never) => Some("gives one-off credits that never end".to_owned()),
        (None, Expiry::Days(days)) => outlasts(days, paid_days),
        (None, Expiry::Months(months)) => {
            let months = u16::try_from(months).unwrap_or(u16::MAX);
            outlasts(least_days(Interval { unit: IntervalUnit::Month, count: months }), paid_days)
        }
    }
}

fn outlasts(days: u32, paid_days: u32) -> Option<String> {
    (days > paid_days).then(|| "gives one-off credits that end after the paid period".to_owned())
}

/// The fewest days a period can have: months count 30 less two for February, which keeps 12 months below a year.
fn least_days(interval: Interval) -> u32 {
    let count = u32::from(interval.count);
    match interval.unit {
        IntervalUnit::Minute | IntervalUnit::Hour => 0,
        IntervalUnit::Day => count,
        IntervalUnit::Week => count.saturating_mul(7),
        IntervalUnit::Month if count.checked_rem(12) == Some(0) => {
            count.checked_div(12).unwrap_or(0).saturating_mul(365)
        }
        IntervalUnit::Month => count.saturating_mul(30).saturating_sub(2),
        IntervalUnit::Year => count.saturating_mul(365),
    }
}

/// `allocate` weighs credits by their top-up price, so each pool it includes needs a pack in the same currency.
pub(super) fn refuse_unweighable(
    plans: &BTreeMap<PlanId, Plan>,
    places: &BTreeMap<PlanId, Section<'_>>,
    reading: &mut Reading<'_>,
) {
    // A plan with a mistake is not among these, and its packs would be missed.
    if reading.mistakes.count() > 0 {
        return;
    }
    for (id, plan) in plans.iter().filter(|(_, plan)| plan.revenue == RevenuePolicy::Allocate) {
        let (Some(access), Some(place)) = (&plan.access_price, places.get(id)) else { continue };
        let unpriced = plan.items.iter().find(|item| {
            let mut packs = plans.values().flat_map(|plan| &plan.items).filter(|other| other.feature == item.feature);
            gives_credits(item, &reading.kinds)
                && !packs.any(|other| other.packs.iter().any(|pack| pack.price.amount.currency == access.currency))
        });
        if let Some(item) = unpriced {
            let message = format!(
                "\"allocate\" weighs credits by their top-up price, and `{}` has no pack in {}; add one to a plan",
                item.feature, access.currency
            );
            reading.mistakes.add(&place.key("revenue"), message);
        }
    }
}
