//! Plans and items of a catalogue that is made by code.

use creditd::domain::catalog::{
    Expiry, FeatureId, Interval, IntervalUnit, Item, PAST_DUE_GRACE_HOURS, Plan, ResetAnchor, RevenuePolicy, Upgrade,
};
use creditd::domain::credits::Credits;

/// A plan that everyone has and nobody pays for.
pub fn free_plan(items: Vec<Item>) -> Plan {
    Plan {
        name: None,
        auto_enable: true,
        add_on: false,
        group: None,
        trial_days: 0,
        upgrade: Upgrade::Prorate,
        past_due_grace_hours: PAST_DUE_GRACE_HOURS,
        revenue: RevenuePolicy::OverTime,
        access_price: None,
        prices: Vec::new(),
        items,
        top_ups: Vec::new(),
    }
}

/// An item that gives so much of a feature each month.
pub fn monthly_item(id: &str, feature: FeatureId, included: Option<Credits>) -> Item {
    Item {
        id: id.to_owned(),
        feature,
        included,
        trial_included: None,
        unlimited: false,
        reset: Some(Interval { unit: IntervalUnit::Month, count: 1 }),
        anchor: ResetAnchor::Anniversary,
        rollover: None,
        packs: Vec::new(),
        expires_after: Expiry::Never,
        priority: None,
        overage: None,
    }
}
