//! Rows of the ledger's tables, and the domain types they become.

use rust_decimal::Decimal;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::StoreError;
use super::rows::{credits, word};
use crate::domain::account::{AccountLife, AccountState};
use crate::domain::attachment::{Attachment, AttachmentOrigin, AttachmentState};
use crate::domain::catalog::{FeatureId, PlanId};
use crate::domain::credits::Credits;
use crate::domain::entry::ChainHead;
use crate::domain::grant::{Category, Grant, Period, Rolled, WalletState};
use crate::domain::ids::{AccountId, AttachmentId, GrantId, PaymentId, WalletId};
use crate::domain::proration::{Share, Step};

/// Columns of a grant `g` and its wallet `w`, in the order in which [`grant`] reads them.
macro_rules! grant_columns {
    () => {
        "g.account_id, g.grant_id, g.wallet_id, w.priority, w.state, g.feature, g.entity, g.category, g.priority,
    g.unlimited, g.original, g.remaining, g.held, g.frozen, g.starts_at, g.expires_at, g.grace_ends_at, g.attachment_id,
    g.item, g.period_start, g.payment_id, g.rolled_from, g.rolled_attachment_id, g.rolled_item"
    };
}
pub(super) use grant_columns;

/// Column of the first fact of the situation, behind those of a grant.
pub(super) const SITUATION_COLUMN: usize = 24;
/// Column of the first fact of an account's head, behind those of the situation.
pub(super) const HEAD_COLUMN: usize = SITUATION_COLUMN + 5;

/// An account as its head tells, its id in one column and the rest from another on. Read by place, not by name: these
/// rows come with every request.
pub(super) fn head(columns: &PgRow, id: usize, rest: usize) -> Result<AccountState, StoreError> {
    let account_id: Uuid = columns.try_get(id)?;
    let row = account_id.to_string();
    let state: &str = columns.try_get(rest)?;
    let head: Option<[u8; 32]> = columns.try_get::<&[u8], _>(rest + 2)?.try_into().ok();
    let next_due_at: Option<jiff_sqlx::Timestamp> = columns.try_get(rest + 4)?;
    Ok(AccountState {
        life: word(AccountLife::from_word(state), "accounts", "state", &row)?,
        seq: columns.try_get(rest + 1)?,
        head: ChainHead(word(head, "accounts", "chain_head", &row)?),
        last_entry_at: columns.try_get::<jiff_sqlx::Timestamp, _>(rest + 3)?.to_jiff(),
        next_due_at: next_due_at.map(jiff_sqlx::Timestamp::to_jiff),
        ..AccountState::empty(AccountId::from_uuid(account_id))
    })
}

/// An open grant and whose it is, by place.
pub(super) fn grant(columns: &PgRow) -> Result<(AccountId, Grant), StoreError> {
    let time = |place: usize| -> Result<Option<jiff::Timestamp>, StoreError> {
        let at: Option<jiff_sqlx::Timestamp> = columns.try_get(place)?;
        Ok(at.map(jiff_sqlx::Timestamp::to_jiff))
    };
    let id: Uuid = columns.try_get(1)?;
    let row = || id.to_string();
    let (attachment, item): (Option<Uuid>, Option<String>) = (columns.try_get(17)?, columns.try_get(18)?);
    let period = match (attachment, item, time(19)?) {
        (Some(attachment), Some(item), Some(start)) => {
            Some(Period { attachment: AttachmentId::from_uuid(attachment), item, start })
        }
        _ => None,
    };
    let payment: Option<Uuid> = columns.try_get(20)?;
    let rolled = match (columns.try_get(21)?, columns.try_get(22)?, columns.try_get(23)?) {
        (Some(from), Some(attachment), Some(item)) => {
            Some(Rolled { from: GrantId::from_uuid(from), attachment: AttachmentId::from_uuid(attachment), item })
        }
        _ => None,
    };
    let wallet_state = WalletState::from_word(columns.try_get(4)?);
    let feature = FeatureId::new(columns.try_get(5)?);
    let category = Category::from_word(columns.try_get(7)?);
    let grant = Grant {
        id: GrantId::from_uuid(id),
        wallet: WalletId::from_uuid(columns.try_get(2)?),
        wallet_priority: columns.try_get(3)?,
        wallet_state: wallet_state.map_or_else(|| word(None, "wallets", "state", &row()), Ok)?,
        feature: feature.map_or_else(|| word(None, "grants", "feature", &row()), Ok)?,
        entity: columns.try_get(6)?,
        category: category.map_or_else(|| word(None, "grants", "category", &row()), Ok)?,
        priority: columns.try_get(8)?,
        unlimited: columns.try_get(9)?,
        original: credits(columns.try_get(10)?, "grants", "original")?,
        remaining: credits(columns.try_get(11)?, "grants", "remaining")?,
        held: credits(columns.try_get(12)?, "grants", "held")?,
        frozen: columns.try_get(13)?,
        starts_at: columns.try_get::<jiff_sqlx::Timestamp, _>(14)?.to_jiff(),
        expires_at: time(15)?,
        grace_ends_at: time(16)?,
        period,
        payment: payment.map(PaymentId::from_uuid),
        rolled,
    };
    Ok((AccountId::from_uuid(columns.try_get(0)?), grant))
}

/// A grant as the first columns of a longer row.
pub(super) struct GrantRow(AccountId, Grant);

impl GrantRow {
    pub(super) fn into_grant(self) -> (AccountId, Grant) {
        (self.0, self.1)
    }
}

impl<'row> sqlx::FromRow<'row, PgRow> for GrantRow {
    fn from_row(row: &'row PgRow) -> Result<Self, sqlx::Error> {
        grant(row).map(|(account, grant)| Self(account, grant)).map_err(|error| sqlx::Error::Decode(error.into()))
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct AttachmentRow {
    account_id: Uuid,
    attachment_id: Uuid,
    plan_id: String,
    plan_version: i32,
    state: String,
    origin: String,
    stripe_subscription: Option<String>,
    entity: String,
    quantity: i64,
    anchor: jiff_sqlx::Timestamp,
    paid_through: Option<jiff_sqlx::Timestamp>,
    started_at: jiff_sqlx::Timestamp,
    trial_ends_at: Option<jiff_sqlx::Timestamp>,
    cancel_at: Option<jiff_sqlx::Timestamp>,
    ended_at: Option<jiff_sqlx::Timestamp>,
    seen_at: Option<jiff_sqlx::Timestamp>,
    is_final: bool,
    changed_at: Option<jiff_sqlx::Timestamp>,
    past_due_since: Option<jiff_sqlx::Timestamp>,
    paid_by: Option<Uuid>,
    paid_from: Option<jiff_sqlx::Timestamp>,
    grants_ended_at: Option<jiff_sqlx::Timestamp>,
    fee_went_back: bool,
}

impl AttachmentRow {
    /// The payment of a plan in force, when something of it went back.
    pub(super) fn fee_gone_back(&self) -> Option<PaymentId> {
        self.paid_by.filter(|_| self.fee_went_back).map(PaymentId::from_uuid)
    }

    pub(super) fn into_attachment(self) -> Result<(AccountId, Attachment), StoreError> {
        let row = self.attachment_id.to_string();
        let origin = AttachmentOrigin::from_row(&self.origin, self.stripe_subscription);
        let attachment = Attachment {
            id: AttachmentId::from_uuid(self.attachment_id),
            plan: word(PlanId::new(&self.plan_id), "attachments", "plan_id", &row)?,
            plan_version: self.plan_version,
            state: word(AttachmentState::from_word(&self.state), "attachments", "state", &row)?,
            origin: word(origin, "attachments", "origin", &row)?,
            entity: self.entity,
            quantity: self.quantity,
            anchor: self.anchor.to_jiff(),
            paid_through: self.paid_through.map(jiff_sqlx::Timestamp::to_jiff),
            started_at: self.started_at.to_jiff(),
            trial_ends_at: self.trial_ends_at.map(jiff_sqlx::Timestamp::to_jiff),
            cancel_at: self.cancel_at.map(jiff_sqlx::Timestamp::to_jiff),
            ended_at: self.ended_at.map(jiff_sqlx::Timestamp::to_jiff),
            seen_at: self.seen_at.map(jiff_sqlx::Timestamp::to_jiff),
            is_final: self.is_final,
            changed_at: self.changed_at.map(jiff_sqlx::Timestamp::to_jiff),
            past_due_since: self.past_due_since.map(jiff_sqlx::Timestamp::to_jiff),
            paid_by: self.paid_by.map(PaymentId::from_uuid).zip(self.paid_from.map(jiff_sqlx::Timestamp::to_jiff)),
            grants_ended_at: self.grants_ended_at.map(jiff_sqlx::Timestamp::to_jiff),
        };
        Ok((AccountId::from_uuid(self.account_id), attachment))
    }
}

/// What a period was given by one grant.
#[derive(sqlx::FromRow)]
pub(super) struct ShareRow {
    account_id: Uuid,
    attachment_id: Uuid,
    item: String,
    period_start: jiff_sqlx::Timestamp,
    grant_id: Uuid,
    feature: String,
    original: Decimal,
    changed_at: Option<jiff_sqlx::Timestamp>,
    level_from: Option<Decimal>,
    level_to: Option<Decimal>,
    payment_id: Option<Uuid>,
    stripe_price: Option<String>,
    expires_at: Option<jiff_sqlx::Timestamp>,
    gone: bool,
    lost: Decimal,
}

impl ShareRow {
    pub(super) fn into_share(self) -> Result<(AccountId, Share), StoreError> {
        let row = self.grant_id.to_string();
        let given = credits(self.original, "grants", "original")?;
        let level = |level: Option<Decimal>, column| level.map(|level| credits(level, "grants", column)).transpose();
        let share = Share {
            attachment: AttachmentId::from_uuid(self.attachment_id),
            item: self.item,
            feature: word(FeatureId::new(&self.feature), "grants", "feature", &row)?,
            period_start: self.period_start.to_jiff(),
            step: Step {
                changed_at: self.changed_at.map(jiff_sqlx::Timestamp::to_jiff),
                above: level(self.level_from, "level_from")?.unwrap_or(Credits::ZERO),
                up_to: level(self.level_to, "level_to")?.unwrap_or(given),
            },
            given,
            grant: GrantId::from_uuid(self.grant_id),
            payment: self.payment_id.map(PaymentId::from_uuid),
            stripe_price: self.stripe_price,
            ends_at: self.expires_at.map(jiff_sqlx::Timestamp::to_jiff),
            gone: self.gone,
            lost: credits(self.lost, "entries", "sum(amount)")?,
        };
        Ok((AccountId::from_uuid(self.account_id), share))
    }
}
