//! What is sold: features, credit systems with their costs, plans with their items, prices and packs.
//!
//! A [`Catalog`] in memory is always consistent: the only ways to one are `catalog::file` (a TOML document with every
//! mistake named by line) and the store's rows that such a document was applied from.

mod cost;
pub mod diff;
mod events;
pub mod file;
mod overage;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attachment::Attachment;
use super::credits::{AmountError, Credits, Quantity, Rate};
use super::money::Money;
use super::top_up::PlanTopUp;
pub use cost::{Cost, CostError, CostRule, Pattern, Priced, RESERVED_WORDS};
pub use overage::{Overage, UnitPrice};

/// Longest feature, plan, wallet or item name, in bytes.
pub const NAME_MAX: usize = 128;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes letters, digits, `_`, `-`, `.` and `:`, at most [`NAME_MAX`] bytes.
            pub fn new(text: &str) -> Option<Self> {
                let fits = !text.is_empty() && text.len() <= NAME_MAX;
                let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':'));
                (fits && plain).then(|| Self(text.to_owned()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A feature's name in the catalogue and the API.
    FeatureId
);
name!(
    /// A plan's name in the catalogue and the API.
    PlanId
);

/// What a feature is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Feature {
    /// On or off by plan.
    Boolean,
    /// Counted; `consumable` usage is spent for good, the other kind (seats) is set and freed.
    Metered {
        /// Spent for good?
        consumable: bool,
        /// Names of events that count for it; each counts for one feature only.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        events: Vec<String>,
        /// The property whose number is the quantity of usage that comes without one; absent: one each.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sum: Option<String>,
        /// What becomes of its credits that are returned to an expired grant.
        #[serde(default, skip_serializing_if = "Returned::is_default")]
        returned: Returned,
    },
    /// A pool that metered features draw from.
    CreditSystem {
        /// What usage of each metered feature costs.
        costs: BTreeMap<FeatureId, Cost>,
        /// What becomes of its credits that are returned to an expired grant.
        #[serde(default, skip_serializing_if = "Returned::is_default")]
        returned: Returned,
    },
}

impl Feature {
    /// A metered feature whose usage is spent, with nothing more to say about it.
    pub const fn consumable() -> Self {
        Self::Metered { consumable: true, events: Vec::new(), sum: None, returned: Returned::Expire }
    }

    /// A credit system with nothing but costs to say about it.
    pub const fn credit_system(costs: BTreeMap<FeatureId, Cost>) -> Self {
        Self::CreditSystem { costs, returned: Returned::Expire }
    }
}

/// What becomes of credits that a refund of usage returns to a grant that expired meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Returned {
    /// They expire with it.
    #[default]
    Expire,
    /// They can be spent again.
    Revive,
}

impl Returned {
    /// The word used in catalogue files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Expire => "expire",
            Self::Revive => "revive",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Expire, Self::Revive].into_iter().find(|known| known.word() == word)
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The length of a recurring period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalUnit {
    /// Sixty seconds.
    Minute,
    /// Sixty minutes.
    Hour,
    /// A calendar day.
    Day,
    /// Seven days.
    Week,
    /// A calendar month; its end is computed from the anchor.
    Month,
    /// A calendar year.
    Year,
}

/// A period: a count of units, such as 3 months.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// The unit.
    pub unit: IntervalUnit,
    /// How many, 1 to 1,000.
    pub count: u16,
}

impl Interval {
    /// How long it is on average, in seconds.
    pub fn average_seconds(self) -> i64 {
        let unit: i64 = match self.unit {
            IntervalUnit::Minute => 60,
            IntervalUnit::Hour => 3_600,
            IntervalUnit::Day => 86_400,
            IntervalUnit::Week => 604_800,
            IntervalUnit::Month => 2_629_746,
            IntervalUnit::Year => 31_556_952,
        };
        // Cannot saturate: a count has 16 bits.
        unit.saturating_mul(i64::from(self.count.max(1)))
    }
}

/// Where a reset's boundaries lie (rule 17).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ResetAnchor {
    /// Counted from the attachment's anchor.
    Anniversary,
    /// At the calendar's own starts (first of the month, Monday, midnight) in a time zone.
    Calendar {
        /// An IANA time zone name.
        time_zone: String,
    },
}

/// When credits of a purchase end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// They stay until they are spent.
    Never,
    /// After so many calendar days from the payment.
    Days(u32),
    /// After so many calendar months from the payment.
    Months(u32),
}

/// What is carried into the next period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollover {
    /// Most credits carried over all living rollover grants of the item; at most one of `max` and `max_percent` is there.
    pub max: Option<Credits>,
    /// The same as a share of the item's included amount, in percent, 1 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_percent: Option<u32>,
    /// Months a carried grant lives; absent: until it is spent.
    pub months: Option<u32>,
}

/// A price of a plan or of a pack, as Stripe knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// What one costs.
    pub amount: MoneyText,
    /// How often; absent: once.
    pub every: Option<Interval>,
    /// Stripe's lookup key.
    pub lookup_key: Option<String>,
    /// The Stripe price this is.
    pub stripe_price: Option<String>,
    /// The Stripe product; lines whose price is unknown are matched by it.
    pub stripe_product: Option<String>,
    /// Older Stripe prices that mean the same.
    pub also: Vec<String>,
}

/// Money as it is stored in a catalogue document: major units and currency, validated when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoneyText {
    /// Major units, such as "10.00".
    pub amount: String,
    /// Lower-case code.
    pub currency: String,
}

impl MoneyText {
    /// The exact amount; `None` only for a row that no reader wrote.
    pub fn money(&self) -> Option<Money> {
        Money::parse_major(&self.amount, self.currency.parse().ok()?).ok()
    }
}

impl From<Money> for MoneyText {
    fn from(money: Money) -> Self {
        Self { amount: money.major(), currency: money.currency().code().to_owned() }
    }
}

/// A prepaid pack: buying one gives `credits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// Credits in one pack.
    pub credits: Credits,
    /// Its price.
    pub price: Price,
    /// Fewest credits in one purchase.
    pub minimum: Option<Credits>,
}

/// What one item of a plan gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Stable name inside the plan; by default the feature's, and part of every once-only key.
    pub id: String,
    /// Which feature's credits, or which flag.
    pub feature: FeatureId,
    /// Credits given each period (or once, without `reset`).
    pub included: Option<Credits>,
    /// Credits given for a trial instead of the included amount; absent: the included amount.
    #[serde(default)]
    pub trial_included: Option<Credits>,
    /// No limit at all.
    pub unlimited: bool,
    /// How often the included amount comes anew.
    pub reset: Option<Interval>,
    /// Where its boundaries lie.
    pub anchor: ResetAnchor,
    /// What is carried over.
    pub rollover: Option<Rollover>,
    /// What can be bought.
    pub packs: Vec<Pack>,
    /// When bought or one-off credits end.
    pub expires_after: Expiry,
    /// Burn priority of its grants, lower first (rule 20).
    pub priority: Option<i32>,
    /// What may be owed when its credits are spent (rule 22); absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overage: Option<Overage>,
}

/// How a plan's fee is recognised (rule 38).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevenuePolicy {
    /// Straight-line over the paid period; included credits have zero basis.
    OverTime,
    /// Split between access and credits by relative standalone price.
    Allocate,
    /// Everything is deferred on the credits.
    Credits,
    /// Quantities only.
    External,
}

/// What an upgrade inside a period gives, once it is paid (rule 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upgrade {
    /// What it includes more, for the time that remains of the period.
    #[default]
    Prorate,
    /// The whole new allowance; what is unspent of the period ends.
    FullReset,
    /// Nothing before the next period.
    NextPeriod,
}

impl Upgrade {
    /// The word used in catalogue files and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Prorate => "prorate",
            Self::FullReset => "full_reset",
            Self::NextPeriod => "next_period",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Prorate, Self::FullReset, Self::NextPeriod].into_iter().find(|known| known.word() == word)
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Hours that a plan keeps its flags while its payment is overdue, unless it says otherwise: a week, in which most cards
/// that are declined at first are charged after all.
pub const PAST_DUE_GRACE_HOURS: u32 = 168;

const fn past_due_grace_hours() -> u32 {
    PAST_DUE_GRACE_HOURS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_past_due_grace(hours: &u32) -> bool {
    *hours == PAST_DUE_GRACE_HOURS
}

/// A plan as it stands in one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its name for people.
    pub name: Option<String>,
    /// Attached to every new customer?
    pub auto_enable: bool,
    /// Beside another plan rather than instead of it?
    pub add_on: bool,
    /// Plans of one group exclude each other.
    pub group: Option<String>,
    /// Days of trial before the first payment; 0 is none.
    pub trial_days: u32,
    /// What an upgrade to it inside a period gives.
    #[serde(default, skip_serializing_if = "Upgrade::is_default")]
    pub upgrade: Upgrade,
    /// Hours that its boolean features stay on while its payment is overdue (rule 18).
    #[serde(default = "past_due_grace_hours", skip_serializing_if = "is_past_due_grace")]
    pub past_due_grace_hours: u32,
    /// How its fee is recognised.
    pub revenue: RevenuePolicy,
    /// Standalone price of access, for `allocate`.
    pub access_price: Option<MoneyText>,
    /// Its prices; none: it is ours and free.
    pub prices: Vec<Price>,
    /// What it gives.
    pub items: Vec<Item>,
    /// Rules by which balances of those who have it are topped up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_ups: Vec<PlanTopUp>,
}

/// Least price of one credit, so that pay-what-you-want and full coupons mint nothing (rule 10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinimumPrice {
    /// What one credit costs at least.
    pub amount: MoneyText,
}

/// Everything sold, in one version.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Catalog {
    /// Features by name.
    pub features: BTreeMap<FeatureId, Feature>,
    /// Plans by name.
    pub plans: BTreeMap<PlanId, Plan>,
    /// Feature whose credits a payment's metadata means when it names none.
    pub default_credits: Option<FeatureId>,
    /// Least price of one credit of a feature, in each currency it is listed for.
    pub minimum_prices: BTreeMap<FeatureId, Vec<MinimumPrice>>,
}

/// A pool that usage of a feature may draw from, and at which rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The feature whose grants are drawn.
    pub feature: FeatureId,
    /// Credits of the pool for one unit of the used feature.
    pub rate: Rate,
    /// The feature's own grants rather than a credit system's?
    pub own: bool,
}

impl Pool {
    /// What a quantity costs in this pool.
    pub fn cost(&self, quantity: Quantity) -> Result<Credits, AmountError> {
        self.rate.cost(quantity)
    }
}

/// What a Stripe price or product means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sold<'catalog> {
    /// A plan's recurring fee.
    PlanFee {
        /// The plan.
        plan: &'catalog PlanId,
        /// Its price.
        price: &'catalog Price,
    },
    /// A pack of one item.
    Pack {
        /// The plan that offers it.
        plan: &'catalog PlanId,
        /// The item.
        item: &'catalog Item,
        /// The pack.
        pack: &'catalog Pack,
    },
}

impl Catalog {
    /// The pools that usage of `feature` draws from: its own grants first, then credit systems by name (rule 20). A card
    /// has no rate of its own: there it is one, and only [`Catalog::priced`] knows what usage costs.
    pub fn pools(&self, feature: &FeatureId) -> Vec<Pool> {
        let own = match self.features.get(feature) {
            None | Some(Feature::Boolean) => None,
            Some(Feature::Metered { .. } | Feature::CreditSystem { .. }) => {
                Some(Pool { feature: feature.clone(), rate: Rate::ONE, own: true })
            }
        };
        let systems = self.costs_of(feature).map(|(system, cost)| {
            let rate = match cost {
                Cost::Each(rate) => *rate,
                Cost::Card(_) => Rate::ONE,
            };
            Pool { feature: system.clone(), rate, own: false }
        });
        own.into_iter().chain(systems).collect()
    }

    /// Is it a pool that other features draw from?
    pub fn is_credit_system(&self, feature: &FeatureId) -> bool {
        matches!(self.features.get(feature), Some(Feature::CreditSystem { .. }))
    }

    /// Is it set and freed, rather than spent?
    pub fn is_level(&self, feature: &FeatureId) -> bool {
        matches!(self.features.get(feature), Some(Feature::Metered { consumable: false, .. }))
    }

    /// What becomes of a feature's credits that are returned to an expired grant.
    pub fn returned(&self, feature: &FeatureId) -> Returned {
        match self.features.get(feature) {
            Some(Feature::Metered { returned, .. } | Feature::CreditSystem { returned, .. }) => *returned,
            Some(Feature::Boolean) | None => Returned::default(),
        }
    }

    /// What is sold under a Stripe price, else (price unknown) under its product.
    pub fn sold(&self, price: Option<&str>, product: Option<&str>) -> Option<Sold<'_>> {
        let by_price = price.and_then(|id| {
            self.find_sold(|known| {
                known.stripe_price.as_deref() == Some(id) || known.also.iter().any(|also| also == id)
            })
        });
        by_price.or_else(|| product.and_then(|id| self.find_sold(|known| known.stripe_product.as_deref() == Some(id))))
    }

    fn find_sold(&self, is: impl Fn(&Price) -> bool) -> Option<Sold<'_>> {
        self.plans.iter().find_map(|(id, plan)| {
            let fee = plan.prices.iter().find(|price| is(price)).map(|price| Sold::PlanFee { plan: id, price });
            fee.or_else(|| {
                plan.items.iter().find_map(|item| {
                    let pack = item.packs.iter().find(|pack| is(&pack.price))?;
                    Some(Sold::Pack { plan: id, item, pack })
                })
            })
        })
    }

    /// The feature whose credits a payment's metadata means when it names none: configured, else the only credit system.
    pub fn default_credit_feature(&self) -> Option<&FeatureId> {
        if self.default_credits.is_some() {
            return self.default_credits.as_ref();
        }
        let mut systems = self.features.iter().filter(|(_, kind)| matches!(kind, Feature::CreditSystem { .. }));
        match (systems.next(), systems.next()) {
            (Some((only, _)), None) => Some(only),
            (None | Some(_), _) => None,
        }
    }
}

/// One version of the catalogue, as the store holds it; the default is the empty version 0.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CatalogVersion {
    /// Counts up by one with each apply; 0 is the empty catalogue before the first.
    pub version: i32,
    /// When it was applied; absent for version 0.
    pub applied_at: Option<Timestamp>,
    /// Version of each plan's terms that new attachments pin.
    pub plan_versions: BTreeMap<PlanId, i32>,
    /// The terms of every version that was ever current: attachments pin one.
    pub terms: BTreeMap<(PlanId, i32), Plan>,
    /// What is sold.
    pub catalog: Catalog,
}

impl CatalogVersion {
    /// The terms that an attachment pinned.
    pub fn terms_of(&self, known: &Attachment) -> Option<&Plan> {
        self.terms.get(&(known.plan.clone(), known.plan_version))
    }

    /// The group whose plans exclude an attachment's. A plan that the catalogue dropped keeps the group its terms say.
    pub fn group_of(&self, known: &Attachment) -> Option<&str> {
        let current = self.catalog.plans.get(&known.plan);
        current.or_else(|| self.terms_of(known))?.exclusive_group()
    }
}

impl Plan {
    /// Does it give nothing but packs to be bought?
    pub fn gives_only_packs(&self) -> bool {
        !self.items.is_empty()
            && self.items.iter().all(|item| item.included.is_none() && !item.unlimited && !item.packs.is_empty())
    }

    /// The group whose other plans it excludes; an add-on takes nobody's place.
    pub fn exclusive_group(&self) -> Option<&str> {
        self.group.as_deref().filter(|_| !self.add_on)
    }
}
