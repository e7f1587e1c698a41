//! Rows of the ledger's tables, and the domain types they become.

use rust_decimal::Decimal;
use uuid::Uuid;

use super::StoreError;
use super::rows::{credits, word};
use crate::domain::account::{AccountLife, AccountState};
use crate::domain::attachment::{Attachment, AttachmentOrigin, AttachmentState};
use crate::domain::catalog::{FeatureId, PlanId};
use crate::domain::entry::ChainHead;
use crate::domain::grant::{Category, Grant, Period, Wallet, WalletState};
use crate::domain::ids::{AccountId, AttachmentId, GrantId, WalletId};

#[derive(sqlx::FromRow)]
pub(super) struct HeadRow {
    account_id: Uuid,
    state: String,
    entry_seq: i64,
    chain_head: Vec<u8>,
    last_entry_at: jiff_sqlx::Timestamp,
    next_due_at: Option<jiff_sqlx::Timestamp>,
}

impl HeadRow {
    pub(super) fn into_state(self) -> Result<AccountState, StoreError> {
        let row = self.account_id.to_string();
        let head: Option<[u8; 32]> = self.chain_head.try_into().ok();
        Ok(AccountState {
            id: AccountId::from_uuid(self.account_id),
            life: word(AccountLife::from_word(&self.state), "accounts", "state", &row)?,
            seq: self.entry_seq,
            head: ChainHead(word(head, "accounts", "chain_head", &row)?),
            last_entry_at: self.last_entry_at.to_jiff(),
            next_due_at: self.next_due_at.map(jiff_sqlx::Timestamp::to_jiff),
            grants: Vec::new(),
            debts: Vec::new(),
            wallets: Vec::new(),
            attachments: Vec::new(),
            bought: std::collections::BTreeMap::new(),
            renewed: std::collections::BTreeMap::new(),
            given: std::collections::BTreeMap::new(),
            bases: std::collections::BTreeMap::new(),
            complete: false,
        })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct GrantRow {
    account_id: Uuid,
    grant_id: Uuid,
    wallet_id: Uuid,
    wallet_priority: i32,
    wallet_state: String,
    feature: String,
    entity: String,
    category: String,
    priority: i32,
    unlimited: bool,
    original: Decimal,
    remaining: Decimal,
    held: Decimal,
    frozen: bool,
    starts_at: jiff_sqlx::Timestamp,
    expires_at: Option<jiff_sqlx::Timestamp>,
    grace_ends_at: Option<jiff_sqlx::Timestamp>,
    attachment_id: Option<Uuid>,
    item: Option<String>,
    period_start: Option<jiff_sqlx::Timestamp>,
}

impl GrantRow {
    pub(super) fn into_grant(self) -> Result<(AccountId, Grant), StoreError> {
        let row = self.grant_id.to_string();
        let period = match (self.attachment_id, self.item, self.period_start) {
            (Some(attachment), Some(item), Some(start)) => {
                Some(Period { attachment: AttachmentId::from_uuid(attachment), item, start: start.to_jiff() })
            }
            _ => None,
        };
        let grant = Grant {
            id: GrantId::from_uuid(self.grant_id),
            wallet: WalletId::from_uuid(self.wallet_id),
            wallet_priority: self.wallet_priority,
            wallet_state: word(WalletState::from_word(&self.wallet_state), "wallets", "state", &row)?,
            feature: word(FeatureId::new(&self.feature), "grants", "feature", &row)?,
            entity: self.entity,
            category: word(Category::from_word(&self.category), "grants", "category", &row)?,
            priority: self.priority,
            unlimited: self.unlimited,
            original: credits(self.original, "grants", "original")?,
            remaining: credits(self.remaining, "grants", "remaining")?,
            held: credits(self.held, "grants", "held")?,
            frozen: self.frozen,
            starts_at: self.starts_at.to_jiff(),
            expires_at: self.expires_at.map(jiff_sqlx::Timestamp::to_jiff),
            grace_ends_at: self.grace_ends_at.map(jiff_sqlx::Timestamp::to_jiff),
            period,
        };
        Ok((AccountId::from_uuid(self.account_id), grant))
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct WalletRow {
    account_id: Uuid,
    wallet_id: Uuid,
    wallet_key: Option<String>,
    name: Option<String>,
    feature: String,
    is_default: bool,
    priority: i32,
    state: String,
    default_expiry_days: Option<i32>,
}

impl WalletRow {
    pub(super) fn into_wallet(self) -> Result<(AccountId, Wallet), StoreError> {
        let row = self.wallet_id.to_string();
        let days = self.default_expiry_days.map(u32::try_from).transpose();
        let wallet = Wallet {
            id: WalletId::from_uuid(self.wallet_id),
            key: self.wallet_key,
            name: self.name,
            feature: word(FeatureId::new(&self.feature), "wallets", "feature", &row)?,
            is_default: self.is_default,
            priority: self.priority,
            state: word(WalletState::from_word(&self.state), "wallets", "state", &row)?,
            default_expiry_days: word(days.ok(), "wallets", "default_expiry_days", &row)?,
        };
        Ok((AccountId::from_uuid(self.account_id), wallet))
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
}

impl AttachmentRow {
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
        };
        Ok((AccountId::from_uuid(self.account_id), attachment))
    }
}
