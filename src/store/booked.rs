//! What the books hold of Stripe's objects: a payment by any of its ids, the plans of a subscription, and what stored
//! events told of an object. For replay and reconcile, which compare and change nothing.

use jiff::Timestamp;
use rust_decimal::Decimal;
use sqlx::types::Json;
use uuid::Uuid;

use super::rows::{credits, time, word};
use super::{Store, StoreError};
use crate::domain::credits::Credits;
use crate::domain::ids::{AccountId, GrantId, PaymentId};
use crate::domain::reversal::BackView;
use crate::store::event_listings::EventState;

const PAYMENTS: &str = "-- booked_payments
SELECT DISTINCT p.account_id, p.payment_id, p.status, c.customer_id
FROM payment_aliases a JOIN payments p ON p.account_id = a.account_id AND p.payment_id = a.payment_id
LEFT JOIN customers c ON c.account_id = p.account_id
WHERE a.alias = ANY($1) ORDER BY p.account_id, p.payment_id LIMIT 100";
const GRANTS: &str = "-- booked_grants
SELECT grant_id, feature, item_key, original, remaining, starts_at FROM grants
WHERE account_id = $1 AND payment_id = $2 ORDER BY starts_at, grant_id LIMIT 400";
const PLANS: &str = "-- booked_plans
SELECT s.account_id, t.plan_id, t.state, t.quantity, t.paid_through, t.seen_at
FROM stripe_subscription_ids s JOIN attachments t
    ON t.account_id = s.account_id AND t.stripe_subscription = s.stripe_subscription_id
WHERE s.stripe_subscription_id = $1 ORDER BY t.started_at, t.attachment_id LIMIT 100";
const TOLD: &str = "-- events_about
SELECT object_id, event_id, event_type, state, reason, created_at FROM stripe_events
WHERE object_id = ANY($1) ORDER BY object_id, created_at, event_id";
const REVERSALS: &str = "-- booked_reversals
SELECT document FROM reversals WHERE account_id = $1 AND payment_id = $2 ORDER BY object_id";
const SINCE: &str = "-- events_since
SELECT event_id FROM stripe_events
WHERE (received_at, event_id) > ($1, $2) ORDER BY received_at, event_id LIMIT $3";
const PLACE: &str = "-- event_place
SELECT received_at FROM stripe_events WHERE event_id = $1";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 7] = [PAYMENTS, GRANTS, PLANS, TOLD, REVERSALS, SINCE, PLACE];

/// A payment that is claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookedPayment {
    /// Whose.
    pub account: AccountId,
    /// Our id.
    pub payment: PaymentId,
    /// claimed, paid, free or failed.
    pub status: String,
    /// The app's id of the customer; absent once erased.
    pub customer: Option<String>,
    /// What it gave.
    pub grants: Vec<BookedGrant>,
}

/// A grant that a payment gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookedGrant {
    /// Our id.
    pub grant: GrantId,
    /// Whose credits.
    pub feature: String,
    /// What of the payment it is; absent for a plan's period.
    pub item_key: Option<String>,
    /// How many it was.
    pub original: Credits,
    /// How many are left.
    pub remaining: Credits,
    /// Spendable from then.
    pub starts_at: Timestamp,
}

/// A plan that a subscription gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookedPlan {
    /// Whose.
    pub account: AccountId,
    /// The plan.
    pub plan: String,
    /// `active`, `trialing`, `past_due`, `paused`, `ended`, ..
    pub state: String,
    /// Seats.
    pub quantity: i64,
    /// Paid until then.
    pub paid_through: Option<Timestamp>,
    /// When Stripe was last asked about it.
    pub seen_at: Option<Timestamp>,
}

/// A stored event that told of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldBy {
    /// The object.
    pub object: String,
    /// The event.
    pub event: String,
    /// Its type.
    pub event_type: String,
    /// How far it has come.
    pub state: EventState,
    /// Why.
    pub reason: Option<String>,
    /// When Stripe made it.
    pub created_at: Timestamp,
}

type GrantRow = (Uuid, String, Option<String>, Decimal, Decimal, jiff_sqlx::Timestamp);
type PlanRow = (Uuid, String, String, i64, Option<jiff_sqlx::Timestamp>, Option<jiff_sqlx::Timestamp>);
type ToldRow = (String, String, String, String, Option<String>, jiff_sqlx::Timestamp);

fn booked_grant((id, feature, item_key, original, remaining, starts_at): GrantRow) -> Result<BookedGrant, StoreError> {
    Ok(BookedGrant {
        grant: GrantId::from_uuid(id),
        feature,
        item_key,
        original: credits(original, "grants", "original")?,
        remaining: credits(remaining, "grants", "remaining")?,
        starts_at: starts_at.to_jiff(),
    })
}

impl Store {
    /// What is known of a payment's money going back.
    pub async fn booked_reversals(&self, account: AccountId, payment: PaymentId) -> Result<Vec<BackView>, StoreError> {
        let rows: Vec<Json<BackView>> = sqlx::query_scalar(REVERSALS)
            .bind(account.as_uuid())
            .bind(payment.as_uuid())
            .fetch_all(self.pool())
            .await?;
        Ok(rows.into_iter().map(|Json(view)| view).collect())
    }

    /// The payments that have one of these Stripe ids, with what each gave.
    pub async fn booked_payments(&self, aliases: &[&str]) -> Result<Vec<BookedPayment>, StoreError> {
        let rows: Vec<(Uuid, Uuid, String, Option<String>)> =
            sqlx::query_as(PAYMENTS).bind(aliases).fetch_all(self.pool()).await?;
        let mut payments = Vec::with_capacity(rows.len());
        for (account, payment, status, customer) in rows {
            let grants: Vec<GrantRow> =
                sqlx::query_as(GRANTS).bind(account).bind(payment).fetch_all(self.pool()).await?;
            let grants = grants.into_iter().map(booked_grant).collect::<Result<_, _>>()?;
            let (account, payment) = (AccountId::from_uuid(account), PaymentId::from_uuid(payment));
            payments.push(BookedPayment { account, payment, status, customer, grants });
        }
        Ok(payments)
    }

    /// The plans that a subscription gave.
    pub async fn booked_plans(&self, subscription: &str) -> Result<Vec<BookedPlan>, StoreError> {
        let rows: Vec<PlanRow> = sqlx::query_as(PLANS).bind(subscription).fetch_all(self.pool()).await?;
        let plan = |(account, plan, state, quantity, paid_through, seen_at): PlanRow| BookedPlan {
            account: AccountId::from_uuid(account),
            plan,
            state,
            quantity,
            paid_through: paid_through.map(jiff_sqlx::Timestamp::to_jiff),
            seen_at: seen_at.map(jiff_sqlx::Timestamp::to_jiff),
        };
        Ok(rows.into_iter().map(plan).collect())
    }

    /// What stored events told of these objects, oldest first.
    pub async fn events_about(&self, objects: &[&str]) -> Result<Vec<ToldBy>, StoreError> {
        let rows: Vec<ToldRow> = sqlx::query_as(TOLD).bind(objects).fetch_all(self.pool()).await?;
        let told = |(object, event, event_type, state, reason, created_at): ToldRow| {
            let known = EventState::ALL.into_iter().find(|known| known.word() == state);
            let state = word(known, "stripe_events", "state", &event)?;
            Ok(ToldBy { object, event, event_type, state, reason, created_at: created_at.to_jiff() })
        };
        rows.into_iter().map(told).collect()
    }

    /// Ids of events stored after a time, oldest first; `after` is the last one of the page before.
    pub async fn events_since(
        &self,
        since: Timestamp,
        after: Option<&str>,
        most: i64,
    ) -> Result<Vec<String>, StoreError> {
        let place: Option<jiff_sqlx::Timestamp> = match after {
            Some(id) => sqlx::query_scalar(PLACE).bind(id).fetch_optional(self.pool()).await?,
            None => None,
        };
        let page = sqlx::query_scalar(SINCE).bind(place.unwrap_or_else(|| time(since)));
        Ok(page.bind(after.unwrap_or_default()).bind(most).fetch_all(self.pool()).await?)
    }
}
