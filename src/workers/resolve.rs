//! From what an event asks for to posted commands: whose account, which payment, which wallets.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::catalog::FeatureId;
use crate::domain::command::{
    Command, Decision, PlanChanged, PlanPaid, Purchase, PurchasedGrant, Rejection, WalletRef,
};
use crate::domain::ids::{AccountId, PaymentId};
use crate::inbox::facts::cut;
use crate::inbox::intent::{FeatureWish, Intent, PaymentIntent, Who, Why, WishedChange, WishedGrant, WishedPlan};
use crate::posting::{PostError, Posting};
use crate::store::accounts::EXTERNAL_ID_MAX;
use crate::store::payments::PaymentClaim;
use crate::store::{Store, StoreError};

/// What was done.
pub(super) struct Done {
    pub account: AccountId,
    /// A Stripe customer was linked: events that waited for it may go on.
    pub linked: bool,
}

/// Why it was not done.
pub(super) enum Setback {
    /// Until its cause goes.
    Park(Why),
    /// Later.
    Retry(Why),
    /// The database.
    Store(StoreError),
}

impl From<StoreError> for Setback {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<PostError> for Setback {
    fn from(error: PostError) -> Self {
        match error {
            PostError::Rejected(rejection) => Self::Park(Why::new(code_of(&rejection), rejection.to_string())),
            PostError::UnknownAccount(_) | PostError::Busy(_) | PostError::Store(_) => {
                Self::Retry(Why::new("posting", error.to_string()))
            }
        }
    }
}

fn code_of(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::UnknownFeature(_) | Rejection::NotMetered(_) => "unknown_feature",
        Rejection::UnknownPlan(_) => "unknown_plan",
        Rejection::WalletFeature { .. } | Rejection::WalletClosed(_) => "wallet",
        Rejection::Erased => "customer_erased",
        Rejection::Insufficient { .. }
        | Rejection::DebtNotAllowed(_)
        | Rejection::KeyConflict
        | Rejection::EndsBeforeStart
        | Rejection::Amount(_)
        | Rejection::Calendar(_)
        | Rejection::TooManyItems(_)
        | Rejection::Constraint(_) => "rejected",
    }
}

/// Carries out one intent: finds or makes the account, claims the payment, posts everything it bought.
pub(super) async fn carry_out(store: &Store, posting: &Posting, intent: Intent) -> Result<Done, Setback> {
    match intent {
        Intent::Link(who) => {
            let (account, linked) = find_account(store, &who).await?;
            open(posting, account).await?;
            Ok(Done { account, linked })
        }
        Intent::Payment(payment) => pay(store, posting, *payment).await,
        Intent::Subscription(seen, who) => {
            let (account, linked) = find_account(store, &who).await?;
            claim_subscription(store, account, &seen.subscription).await?;
            let _: Decision = posting.post(account, None, Command::SubscriptionSeen(*seen)).await?;
            Ok(Done { account, linked })
        }
        Intent::RenewalLost(lost, who) => {
            let (account, linked) = find_account(store, &who).await?;
            claim_subscription(store, account, &lost.subscription).await?;
            let _: Decision = posting.post(account, None, Command::RenewalLost(lost)).await?;
            Ok(Done { account, linked })
        }
    }
}

/// Fixes whose a subscription is: the plans it pays for never move to somebody else because its metadata changed.
async fn claim_subscription(store: &Store, account: AccountId, subscription: &str) -> Result<(), Setback> {
    let owner = store.claim_subscription(subscription, account).await?;
    if owner == account {
        return Ok(());
    }
    let detail = format!("{subscription} belongs to {owner}; its metadata or its customer now names {account}");
    Err(Setback::Park(Why::new("subscription_conflict", detail)))
}

async fn open(posting: &Posting, account: AccountId) -> Result<(), Setback> {
    let _: Decision = posting.post(account, None, Command::Open).await?;
    Ok(())
}

/// No column holds a NUL, so a payment with one in its metadata waits for a person rather than fail again and again.
fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), Setback> {
    match metadata.iter().find(|(key, value)| key.contains('\0') || value.contains('\0')) {
        None => Ok(()),
        Some((key, _)) => {
            let detail = format!("metadata.{} holds a NUL, which cannot be stored", cut(key));
            Err(Setback::Park(Why::new("bad_metadata", detail)))
        }
    }
}

async fn pay(store: &Store, posting: &Posting, payment: PaymentIntent) -> Result<Done, Setback> {
    check_metadata(&payment.metadata)?;
    let (account, linked) = find_account(store, &payment.who).await?;
    let of_plans = payment.plans.iter().map(|plan| &plan.subscription);
    for subscription in of_plans.chain(payment.changes.iter().map(|change| &change.subscription)) {
        claim_subscription(store, account, subscription).await?;
    }
    let claimed = match store.claim_payment(account, &payment.facts).await? {
        PaymentClaim::Claimed(payment) => payment,
        PaymentClaim::Conflict { found } => return Err(Setback::Park(Why::new("payment_conflict", found))),
    };
    for change in payment.changes {
        let command = Command::PlanChanged(plan_changed(change, claimed, payment.paid_at, &payment.metadata));
        let _: Decision = posting.post(account, None, command).await?;
    }
    for plan in payment.plans {
        let command = Command::PlanPaid(plan_paid(plan, claimed, &payment.metadata));
        let _: Decision = posting.post(account, None, command).await?;
    }
    if !payment.grants.is_empty() {
        let mut grants = Vec::with_capacity(payment.grants.len());
        for wish in payment.grants {
            grants.push(purchased(store, account, wish).await?);
        }
        let purchase = Purchase {
            payment: claimed,
            basis: payment.basis,
            paid_at: payment.paid_at,
            grants,
            metadata: payment.metadata,
        };
        let _: Decision = posting.post(account, None, Command::Purchase(purchase)).await?;
    }
    Ok(Done { account, linked })
}

fn plan_paid(plan: WishedPlan, payment: PaymentId, metadata: &BTreeMap<String, String>) -> PlanPaid {
    PlanPaid {
        payment: Some(payment),
        subscription: plan.subscription,
        plan: plan.plan,
        quantity: plan.quantity,
        period_start: plan.period_start,
        period_end: plan.period_end,
        is_trial: plan.is_trial,
        money: plan.money,
        stripe_price: plan.stripe_price,
        stripe_line: plan.stripe_line,
        metadata: metadata.clone(),
    }
}

fn plan_changed(
    change: WishedChange,
    payment: PaymentId,
    paid_at: Timestamp,
    metadata: &BTreeMap<String, String>,
) -> PlanChanged {
    PlanChanged {
        payment: Some(payment),
        subscription: change.subscription,
        changed_at: change.changed_at,
        period_end: change.period_end,
        paid_at,
        from: change.from,
        to: change.to,
        metadata: metadata.clone(),
    }
}

/// Whose it is: the metadata's customer, else the session's reference, else the linked Stripe customer. The first two
/// are made when unknown, and the Stripe customer is linked to them unless it is linked already (rule 3).
async fn find_account(store: &Store, who: &Who) -> Result<(AccountId, bool), Setback> {
    let named = who.customer_id.as_deref().or(who.client_reference.as_deref());
    let Some(customer_id) = named else {
        let Some(stripe_customer) = who.stripe_customer.as_deref() else {
            let detail = "neither metadata nor a Stripe customer says whose it is";
            return Err(Setback::Park(Why::new("unknown_customer", detail)));
        };
        let found = store.find_stripe_customer(stripe_customer).await?;
        let unknown = || {
            let detail = format!("{stripe_customer} is not linked to a customer: set stripe_customer on one");
            Setback::Park(Why::new("unknown_customer", detail))
        };
        return found.map(|account| (account, false)).ok_or_else(unknown);
    };
    if customer_id.len() > EXTERNAL_ID_MAX || customer_id.chars().any(char::is_control) {
        let detail = format!(
            "the customer id in the metadata has to be 1 to {EXTERNAL_ID_MAX} bytes without control characters"
        );
        return Err(Setback::Park(Why::new("bad_metadata", detail)));
    }
    let account = store.claim_customer(customer_id).await?.account();
    let Some(stripe_customer) = who.stripe_customer.as_deref() else { return Ok((account, false)) };
    let before = store.find_stripe_customer(stripe_customer).await?;
    if before.is_none() {
        store.link_stripe_customer(stripe_customer, account).await?;
    }
    Ok((account, before.is_none()))
}

async fn purchased(store: &Store, account: AccountId, wish: WishedGrant) -> Result<PurchasedGrant, Setback> {
    let (wallet, holds) = match &wish.wallet_key {
        None => (WalletRef::Default, None),
        Some(key) => find_wallet(store, account, key).await?,
    };
    let feature = match wish.feature {
        FeatureWish::Named(feature) => Some(feature),
        FeatureWish::WalletElse(default) => holds.or(default),
    };
    let no_feature = || {
        let detail = "nothing says which feature's credits: name feature_id in the metadata, or default_credits in the catalogue";
        Setback::Park(Why::new("no_feature", detail))
    };
    Ok(PurchasedGrant {
        item_key: wish.item_key,
        wallet,
        feature: feature.ok_or_else(no_feature)?,
        quantity: wish.quantity,
        category: wish.category,
        priority: wish.priority,
        expires_at: wish.expires_at,
        plan: wish.plan,
        money: wish.money,
        stripe_price: wish.stripe_price,
        stripe_line: wish.stripe_line,
    })
}

async fn find_wallet(store: &Store, account: AccountId, key: &str) -> Result<(WalletRef, Option<FeatureId>), Setback> {
    if key.len() > EXTERNAL_ID_MAX || key.chars().any(char::is_control) {
        let detail =
            format!("the wallet id in the metadata has to be 1 to {EXTERNAL_ID_MAX} bytes without control characters");
        return Err(Setback::Park(Why::new("bad_metadata", detail)));
    }
    let found = store.claim_wallet(key, account).await?;
    if found.account != account {
        let detail = format!("wallet `{key}` belongs to {}, not to {account}", found.account);
        return Err(Setback::Park(Why::new("wallet_of_other_customer", detail)));
    }
    let holds = store.wallet_feature(found).await?.and_then(|feature| FeatureId::new(&feature));
    let ours = found.wallet.to_string() == key;
    let reference = WalletRef::Named { id: found.wallet, key: (!ours).then(|| key.to_owned()) };
    Ok((reference, holds))
}
