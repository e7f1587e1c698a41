//! Giving credits: by hand, by the app, and by a payment.

use jiff::{SignedDuration, Timestamp};

use super::super::account::{GrantMade, Line};
use super::super::catalog::{Expiry, Feature, FeatureId};
use super::super::command::{
    Decision, NewGrant, Outcome, PAYMENT_GRANTS_MAX, Purchase, PurchasedGrant, Rejection, WalletRef,
};
use super::super::credits::Credits;
use super::super::entry::{EntryKind, Source};
use super::super::grant::{Grant, Origin, Period, Wallet, WalletState};
use super::super::ids::{GrantId, WalletId};
use super::super::proration::{Share, Step};
use super::super::{grant::Category, period};
use super::Draft;

/// What a new grant is to be, wallet already found.
pub(super) struct Plan {
    pub wallet: WalletId,
    pub entity: String,
    pub category: Category,
    pub priority: Option<i32>,
    pub quantity: Credits,
    pub unlimited: bool,
    pub starts_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub grace: Option<SignedDuration>,
    pub period: Option<Period>,
}

impl Draft<'_> {
    pub(super) fn new_grant(&mut self, new: &NewGrant) -> Result<Decision, Rejection> {
        self.source = new.source;
        self.must_hold_credits(&new.feature)?;
        let starts_at = new.starts_at.unwrap_or(self.context.now);
        let wallet = self.wallet_for(&new.wallet, &new.feature)?;
        let expires_at = match new.expires_at {
            Some(end) => Some(end),
            None => self.default_expiry(wallet, starts_at)?,
        };
        if expires_at.is_some_and(|end| end <= starts_at) {
            return Err(Rejection::EndsBeforeStart);
        }
        let plan = Plan {
            wallet,
            entity: new.entity.clone(),
            category: new.category,
            priority: new.priority,
            quantity: new.quantity,
            unlimited: false,
            starts_at,
            expires_at,
            grace: None,
            period: None,
        };
        let origin = Origin {
            money: new.money.clone(),
            contract: new.contract.clone(),
            terms: new.terms.clone(),
            reason: Some(new.reason.clone()),
            metadata: new.metadata.clone(),
            ..Origin::default()
        };
        let grant = self.make_grant(plan, origin)?;
        self.note_by_hand(&new.reason, new.actor.as_deref());
        Ok(Decision::Applied(Outcome::Granted { grants: vec![grant] }))
    }

    pub(super) fn purchase(&mut self, purchase: &Purchase) -> Result<Decision, Rejection> {
        self.source = Source::Payment;
        if purchase.grants.len() > PAYMENT_GRANTS_MAX {
            return Err(Rejection::TooManyItems(purchase.grants.len()));
        }
        let known = |grants: &super::super::account::AccountState| -> Vec<GrantId> {
            grants.bought.iter().filter(|((payment, _), _)| *payment == purchase.payment).map(|(_, id)| *id).collect()
        };
        let basis = self.state.bases.get(&purchase.payment).copied();
        if basis.is_some_and(|basis| basis != purchase.basis) {
            return Ok(Decision::AlreadyApplied(Outcome::Granted { grants: known(&self.state) }));
        }
        // The catalogue may have given the item of a price another name between two events of one payment.
        let price_is_known = |bought: &PurchasedGrant| {
            let Some(price) = &bought.stripe_price else { return false };
            let of_price = |key: &str| key.strip_prefix(price.as_str()).is_some_and(|rest| rest.starts_with(':'));
            self.state.bought.keys().any(|(payment, key)| *payment == purchase.payment && of_price(key))
        };
        let is_new = |bought: &&PurchasedGrant| {
            !self.state.bought.contains_key(&(purchase.payment, bought.item_key.clone())) && !price_is_known(bought)
        };
        let missing: Vec<&PurchasedGrant> = purchase.grants.iter().filter(is_new).collect();
        if missing.is_empty() {
            return Ok(Decision::AlreadyApplied(Outcome::Granted { grants: known(&self.state) }));
        }
        for bought in missing {
            let grant = self.buy(purchase, bought)?;
            self.state.bought.insert((purchase.payment, bought.item_key.clone()), grant);
        }
        if basis.is_none() {
            self.state.bases.insert(purchase.payment, purchase.basis);
            self.changes.bases.insert(purchase.payment, purchase.basis);
        }
        Ok(Decision::Applied(Outcome::Granted { grants: known(&self.state) }))
    }

    fn buy(&mut self, purchase: &Purchase, bought: &PurchasedGrant) -> Result<GrantId, Rejection> {
        self.must_hold_credits(&bought.feature)?;
        let wallet = self.wallet_for(&bought.wallet, &bought.feature)?;
        let expires_at = match bought.expires_at {
            Some(end) => Some(end),
            None => self.default_expiry(wallet, purchase.paid_at)?,
        };
        let plan = Plan {
            wallet,
            entity: String::new(),
            category: bought.category,
            priority: bought.priority,
            quantity: bought.quantity,
            unlimited: false,
            starts_at: purchase.paid_at,
            expires_at,
            grace: None,
            period: None,
        };
        let version = bought.plan.as_ref().map(|plan| {
            let version = self.context.catalog.plan_versions.get(plan).copied().unwrap_or_default();
            (plan.clone(), version)
        });
        let origin = Origin {
            payment: Some(purchase.payment),
            item_key: Some(bought.item_key.clone()),
            plan: version,
            money: bought.money.clone(),
            stripe_price: bought.stripe_price.clone(),
            stripe_line: bought.stripe_line.clone(),
            metadata: purchase.metadata.clone(),
            ..Origin::default()
        };
        self.make_grant(plan, origin)
    }

    /// Books a grant and lets it repay its wallet's debts first (rule 21).
    pub(super) fn make_grant(&mut self, plan: Plan, origin: Origin) -> Result<GrantId, Rejection> {
        let id = GrantId::from_uuid(self.ids.fresh());
        self.make_grant_as(id, plan, origin)
    }

    /// The same, under an id that was reserved for it.
    pub(super) fn make_grant_as(&mut self, id: GrantId, plan: Plan, origin: Origin) -> Result<GrantId, Rejection> {
        let wallet = self.state.wallet(plan.wallet).cloned();
        let Some(wallet) = wallet else { return Err(Rejection::WalletClosed(plan.wallet)) };
        let grace_ends_at = match (plan.expires_at, plan.grace) {
            (Some(end), Some(grace)) => Some(end.checked_add(grace).map_err(|_| period::OutOfCalendar)?),
            (None, _) | (Some(_), None) => None,
        };
        let grant = Grant {
            id,
            wallet: wallet.id,
            wallet_priority: wallet.priority,
            wallet_state: wallet.state,
            feature: wallet.feature.clone(),
            entity: plan.entity,
            category: plan.category,
            priority: plan.priority.unwrap_or_else(|| plan.category.default_priority()),
            unlimited: plan.unlimited,
            original: plan.quantity,
            remaining: Credits::ZERO,
            held: Credits::ZERO,
            frozen: false,
            starts_at: plan.starts_at,
            expires_at: plan.expires_at,
            grace_ends_at,
            period: plan.period,
            payment: origin.payment,
            rolled: None,
        };
        if let Some(period) = &grant.period {
            let whole = Step { changed_at: None, above: Credits::ZERO, up_to: plan.quantity };
            self.state.shares.push(Share {
                attachment: period.attachment,
                item: period.item.clone(),
                feature: grant.feature.clone(),
                period_start: period.start,
                step: origin.step.unwrap_or(whole),
                given: plan.quantity,
                grant: id,
                payment: origin.payment,
                stripe_price: origin.stripe_price.clone(),
                ends_at: plan.expires_at,
                gone: false,
                lost: Credits::ZERO,
            });
        }
        let line = Line::of(&grant, EntryKind::Grant, plan.quantity).at(plan.starts_at);
        self.remember_for_reversals(&grant, &origin);
        self.state.grants.push(grant.clone());
        self.changes.grants.push(GrantMade { grant, origin });
        self.book(line)?;
        self.repay_debts(id)?;
        Ok(id)
    }

    /// Finds or makes the wallet a grant goes to.
    pub(super) fn wallet_for(&mut self, wanted: &WalletRef, feature: &FeatureId) -> Result<WalletId, Rejection> {
        let found = match wanted {
            WalletRef::Default => self.state.wallets.iter().find(|w| w.is_default && w.feature == *feature),
            WalletRef::Named { id, .. } => self.state.wallet(*id),
        };
        if let Some(wallet) = found {
            if wallet.feature != *feature {
                let (wallet, holds) = (wallet.id, wallet.feature.clone());
                return Err(Rejection::WalletFeature { wallet, holds, asked: feature.clone() });
            }
            return match wallet.state {
                WalletState::Open | WalletState::Frozen => Ok(wallet.id),
                WalletState::Closed => Err(Rejection::WalletClosed(wallet.id)),
            };
        }
        let (id, key) = match wanted {
            WalletRef::Default => (WalletId::from_uuid(self.ids.fresh()), None),
            WalletRef::Named { id, key } => (*id, key.clone()),
        };
        Ok(self.add_wallet(Wallet {
            id,
            key,
            name: None,
            feature: feature.clone(),
            is_default: matches!(wanted, WalletRef::Default),
            priority: 0,
            state: WalletState::Open,
            default_expiry_days: None,
            debt_limit: None,
            metadata: std::collections::BTreeMap::new(),
            closed_at: None,
        }))
    }

    pub(super) fn default_expiry(&self, wallet: WalletId, from: Timestamp) -> Result<Option<Timestamp>, Rejection> {
        let days = self.state.wallet(wallet).and_then(|wallet| wallet.default_expiry_days);
        Ok(period::expiry(from, days.map_or(Expiry::Never, Expiry::Days))?)
    }

    pub(super) fn must_hold_credits(&self, feature: &FeatureId) -> Result<(), Rejection> {
        match self.context.catalog.catalog.features.get(feature) {
            None => Err(Rejection::UnknownFeature(feature.clone())),
            Some(Feature::Boolean) => Err(Rejection::NotMetered(feature.clone())),
            Some(Feature::Metered { .. } | Feature::CreditSystem { .. }) => Ok(()),
        }
    }
}
