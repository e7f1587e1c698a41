//! From what an event asks for to posted commands: whose account, which payment, which wallets.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::charges;
use crate::domain::catalog::FeatureId;
use crate::domain::command::{
    Command, Decision, Outcome, PlanChanged, PlanPaid, Purchase, PurchasedGrant, Rejection, WalletRef,
};
use crate::domain::ids::{AccountId, PaymentId};
use crate::domain::overage_bill::{BillOrder, BillOverage, BillPaid, BillVoid};
use crate::domain::reversal::MoneyBack;
use crate::inbox::facts::cut;
use crate::inbox::intent::{
    FeatureWish, Intent, MoneyBackSeen, OverageDue, PaymentIntent, Who, Why, WishedBill, WishedChange, WishedGrant,
    WishedPlan,
};
use crate::posting::{PostError, Posting};
use crate::store::accounts::EXTERNAL_ID_MAX;
use crate::store::events::WAITING_FOR_CUSTOMER;
use crate::store::payments::PaymentClaim;
use crate::store::{Store, StoreError};

/// What was done.
pub(super) struct Done {
    pub account: AccountId,
    /// A Stripe customer was linked: events that waited for it may go on.
    pub linked: bool,
    /// A payment was claimed under these ids: what went back of it may be waiting for one of them.
    pub paid: Vec<String>,
}

/// How the commands of an event ended, as far as they got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    /// Commands that changed something.
    pub applied: u32,
    /// Commands that had been applied before.
    pub repeated: u32,
}

impl Tally {
    pub(super) const fn count(&mut self, decision: &Decision) {
        match decision {
            Decision::Applied(_) => self.applied = self.applied.saturating_add(1),
            Decision::AlreadyApplied(_) => self.repeated = self.repeated.saturating_add(1),
        }
    }
}

/// Why it was not done.
pub(super) enum Setback {
    /// Until its cause goes.
    Park(Why),
    /// Until a payment has one of these ids.
    Wait(Why, Vec<String>),
    /// Nothing is to be done, and whose it is, if it is somebody's here.
    Ignore(Why, Option<AccountId>),
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
        | Rejection::Cost(_)
        | Rejection::SpendLimit { .. }
        | Rejection::NothingToReturn { .. }
        | Rejection::TooManyToReturn
        | Rejection::NotSettable(_)
        | Rejection::NotHoldable(_)
        | Rejection::NotLimitable(_)
        | Rejection::UnknownHold(_)
        | Rejection::HoldOfOther { .. }
        | Rejection::HoldOfReturn
        | Rejection::TooManyLimits
        | Rejection::UnknownLimit(_)
        | Rejection::Limit(_)
        | Rejection::Calendar(_)
        | Rejection::TooManyItems(_)
        | Rejection::NoTotal(_)
        | Rejection::TooManyViews
        | Rejection::Constraint(_)
        | Rejection::UnknownWallet(_)
        | Rejection::UnknownGrant(_)
        | Rejection::WalletExists(_)
        | Rejection::TooManyWallets
        | Rejection::WalletHeld { .. }
        | Rejection::MoreThanFree { .. }
        | Rejection::NothingToVoid { .. }
        | Rejection::GrantUnlimited(_)
        | Rejection::GrantEnded { .. }
        | Rejection::AlreadyAttached(_)
        | Rejection::NotAttached(_)
        | Rejection::PlanHasPrice(_)
        | Rejection::NotCarriedOver(_) => "rejected",
        Rejection::UnknownBill(_) | Rejection::BillIsOver { .. } | Rejection::BillCurrency { .. } => "bill",
        Rejection::Charging(refusal) => refusal.code(),
    }
}

/// Carries out one intent: finds or makes the account, claims the payment, posts everything it bought.
pub(super) async fn carry_out(
    store: &Store,
    posting: &Posting,
    intent: Intent,
    tally: &mut Tally,
) -> Result<Done, Setback> {
    match intent {
        Intent::Link(who) => {
            check_link(store, &who).await?;
            let (account, linked) = find_account(store, &who).await?;
            open(posting, account, tally).await?;
            Ok(Done { account, linked, paid: Vec::new() })
        }
        Intent::Payment(payment) => pay(store, posting, *payment, tally).await,
        Intent::Subscription(seen, who) => {
            let (account, linked) = find_account(store, &who).await?;
            claim_subscription(store, account, &seen.subscription).await?;
            tally.count(&posting.post(account, None, Command::SubscriptionSeen(*seen)).await?);
            Ok(Done { account, linked, paid: Vec::new() })
        }
        Intent::RenewalLost(lost, who) => {
            let (account, linked) = find_account(store, &who).await?;
            claim_subscription(store, account, &lost.subscription).await?;
            tally.count(&posting.post(account, None, Command::RenewalLost(lost)).await?);
            Ok(Done { account, linked, paid: Vec::new() })
        }
        Intent::MoneyBack(seen) => give_back(store, posting, *seen, tally).await,
        Intent::BillOverage(due, who) => bill_overage(store, posting, due, &who, tally).await,
        Intent::BillsVoid { bills, invoice, reason, who } => {
            let (account, linked) = find_account(store, &who).await?;
            for bill in bills {
                let order = BillVoid { bill, invoice: Some(invoice.clone()), reason: reason.to_owned() };
                tally.count(&posting.post(account, None, Command::Bill(BillOrder::Void(order))).await?);
            }
            Ok(Done { account, linked, paid: Vec::new() })
        }
        Intent::TopUp(seen) => charges::settle(store, posting, *seen, tally).await,
        Intent::Try(seen) => charges::try_changed(store, posting, *seen, tally).await,
        Intent::Card(seen) => charges::card_seen(store, posting, seen, tally).await,
        Intent::CustomerDeleted(customer) => charges::customer_deleted(store, posting, &customer, tally).await,
    }
}

/// Bills what a customer of ours owes of overage on a draft. Nobody is made for it: who is not here owes nothing.
async fn bill_overage(
    store: &Store,
    posting: &Posting,
    due: OverageDue,
    who: &Who,
    tally: &mut Tally,
) -> Result<Done, Setback> {
    let named = match &who.customer_id {
        Some(named) if check_id("customer", named).is_ok() => store.find_customer(named).await?,
        Some(_) | None => None,
    };
    let account = match (named, &who.stripe_customer) {
        (Some(account), _) => Some(account),
        (None, Some(stripe_customer)) => store.find_stripe_customer(stripe_customer).await?,
        (None, None) => None,
    };
    let Some(account) = account else {
        return Err(Setback::Ignore(Why::new("unknown_customer", "nobody here is billed by this draft"), None));
    };
    let OverageDue { invoice, currency, period_end, stripe_customer } = due;
    let order = BillOverage { currency, period_end, stripe_customer, draft_invoice: Some(invoice) };
    let decision = match posting.post(account, None, Command::Bill(BillOrder::Make(order))).await {
        Err(PostError::Rejected(Rejection::Erased)) => {
            return Err(Setback::Ignore(Why::new("customer_erased", "who was erased is not billed"), Some(account)));
        }
        decision => decision?,
    };
    if let Outcome::Billed { bill: None } = decision.outcome() {
        return Err(Setback::Ignore(
            Why::new("nothing_owed", "no overage is to be billed by this draft"),
            Some(account),
        ));
    }
    tally.count(&decision);
    Ok(Done { account, linked: false, paid: Vec::new() })
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

async fn open(posting: &Posting, account: AccountId, tally: &mut Tally) -> Result<(), Setback> {
    tally.count(&posting.post(account, None, Command::Open).await?);
    Ok(())
}

/// No column holds a NUL, so a payment with one in its metadata waits for a person rather than fail again and again.
pub(super) fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), Setback> {
    match metadata.iter().find(|(key, value)| key.contains('\0') || value.contains('\0')) {
        None => Ok(()),
        Some((key, _)) => {
            let detail = format!("metadata.{} holds a NUL, which cannot be stored", cut(key));
            Err(Setback::Park(Why::new("bad_metadata", detail)))
        }
    }
}

async fn pay(store: &Store, posting: &Posting, payment: PaymentIntent, tally: &mut Tally) -> Result<Done, Setback> {
    check_metadata(&payment.metadata)?;
    check_wallets(store, &payment).await?;
    let (account, linked) = find_account(store, &payment.who).await?;
    let of_plans = payment.plans.iter().map(|plan| &plan.subscription);
    for subscription in of_plans.chain(payment.changes.iter().map(|change| &change.subscription)) {
        claim_subscription(store, account, subscription).await?;
    }
    let paid = payment.facts.aliases().into_iter().map(str::to_owned).collect();
    let claimed = match store.claim_payment(account, &payment.facts).await? {
        PaymentClaim::Claimed(payment) => payment,
        PaymentClaim::Conflict { found } => return Err(Setback::Park(Why::new("payment_conflict", found))),
    };
    for change in payment.changes {
        let command = Command::PlanChanged(plan_changed(change, claimed, payment.paid_at, &payment.metadata));
        tally.count(&posting.post(account, None, command).await?);
    }
    for plan in payment.plans {
        let command = Command::PlanPaid(plan_paid(plan, claimed, &payment.metadata));
        tally.count(&posting.post(account, None, command).await?);
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
        tally.count(&posting.post(account, None, Command::Purchase(purchase)).await?);
    }
    for WishedBill { bill, currency, lines } in payment.bills {
        let invoice = payment.facts.invoice.clone().unwrap_or_default();
        let order = BillPaid { bill, payment: claimed, invoice, paid_at: payment.paid_at, currency, lines };
        tally.count(&posting.post(account, None, Command::Bill(BillOrder::Paid(order))).await?);
    }
    Ok(Done { account, linked, paid })
}

/// Money of one of our payments went back. What is of no payment of ours is somebody else's, unless its payment is yet
/// to come: then it is taken up.
async fn give_back(store: &Store, posting: &Posting, seen: MoneyBackSeen, tally: &mut Tally) -> Result<Done, Setback> {
    let found = store.find_payments(&seen.aliases).await?;
    let Some(first) = found.first() else {
        let detail = format!("no payment of ours has {}; it is taken up when one does", seen.aliases.join(", "));
        return Err(Setback::Wait(Why::new("unknown_payment", detail), seen.aliases));
    };
    if found.iter().any(|other| other.payment != first.payment) {
        let detail = format!("{} belong to different payments", seen.aliases.join(", "));
        return Err(Setback::Park(Why::new("payment_conflict", detail)));
    }
    if let (Some(of), Some(paid)) = (&seen.currency, &first.currency)
        && of != paid
    {
        let detail = format!("money went back in {}, the payment was in {paid}", cut(of));
        return Err(Setback::Park(Why::new("bad_money", detail)));
    }
    let command = Command::MoneyBack(MoneyBack { payment: first.payment, views: seen.views });
    let decision = posting.post(first.account, None, command).await?;
    tally.count(&decision);
    if let (Decision::Applied(Outcome::Reversed { taken, owed, waived, .. }), payment) = (&decision, first.payment) {
        tracing::info!(%payment, %taken, %owed, %waived, "money of a payment went back");
    }
    Ok(Done { account: first.account, linked: false, paid: Vec::new() })
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
        credited: plan.credited,
        money: plan.money,
        stripe_price: plan.stripe_price,
        stripe_line: plan.stripe_line,
        metadata: metadata.clone(),
    }
}

/// The metadata of a Stripe customer that is linked already names somebody else: a link is never replaced, so a person
/// has to say what was meant. Looked at first, so that a contradiction makes nobody.
async fn check_link(store: &Store, who: &Who) -> Result<(), Setback> {
    let (Some(named), Some(stripe_customer)) = (&who.customer_id, &who.stripe_customer) else { return Ok(()) };
    check_id("customer", named)?;
    let Some(linked) = store.find_stripe_customer(stripe_customer).await? else { return Ok(()) };
    if store.find_customer(named).await? == Some(linked) {
        return Ok(());
    }
    let detail = format!("{stripe_customer} is linked to {linked}, and its metadata names `{}`", cut(named));
    Err(Setback::Park(Why::new("link_conflict", detail)))
}

/// A wallet named in the metadata has to be the payer's, or nobody's yet. Looked at before anything is claimed: a payment
/// that parks here holds nothing, so that what corrects it finds the payment, the customer and the link free.
async fn check_wallets(store: &Store, payment: &PaymentIntent) -> Result<(), Setback> {
    let keys: Vec<&str> = payment.grants.iter().filter_map(|wish| wish.wallet_key.as_deref()).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let who = &payment.who;
    let account = match (who.customer_id.as_deref().or(who.client_reference.as_deref()), &who.stripe_customer) {
        (Some(named), _) => {
            check_id("customer", named)?;
            store.find_customer(named).await?
        }
        (None, Some(stripe_customer)) => match store.find_stripe_customer(stripe_customer).await? {
            // It waits for its link, whoever's the wallet is.
            None => return Ok(()),
            linked => linked,
        },
        (None, None) => return Ok(()),
    };
    for key in keys {
        check_id("wallet", key)?;
        let owner = store.find_wallet(key).await?.map(|found| found.account);
        if let Some(owner) = owner.filter(|owner| Some(*owner) != account) {
            return Err(wallet_of_other(key, owner, account));
        }
    }
    Ok(())
}

fn wallet_of_other(key: &str, owner: AccountId, account: Option<AccountId>) -> Setback {
    let payer = account.map_or_else(|| "a customer not known yet".to_owned(), |account| account.to_string());
    let detail = format!("wallet `{}` belongs to {owner}, not to {payer}", cut(key));
    Setback::Park(Why::new("wallet_of_other_customer", detail))
}

/// No column holds a NUL, and no id of the app's is endless.
fn check_id(whose: &str, id: &str) -> Result<(), Setback> {
    if id.len() <= EXTERNAL_ID_MAX && !id.chars().any(char::is_control) {
        return Ok(());
    }
    let detail =
        format!("the {whose} id in the metadata has to be 1 to {EXTERNAL_ID_MAX} bytes without control characters");
    Err(Setback::Park(Why::new("bad_metadata", detail)))
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
    check_id("customer", customer_id)?;
    let account = store.claim_customer(customer_id).await?.account();
    let Some(stripe_customer) = who.stripe_customer.as_deref() else { return Ok((account, false)) };
    if store.find_stripe_customer(stripe_customer).await?.is_some() {
        return Ok((account, false));
    }
    store.link_stripe_customer(stripe_customer, account).await?;
    // Here, and not when all is done: what waited for this link must not wait for the rest of this event.
    store.wake_parked(&WAITING_FOR_CUSTOMER).await?;
    Ok((account, true))
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
    check_id("wallet", key)?;
    let found = store.claim_wallet(key, account).await?;
    if found.account != account {
        return Err(wallet_of_other(key, found.account, Some(account)));
    }
    let holds = store.wallet_feature(found).await?.and_then(|feature| FeatureId::new(&feature));
    let ours = found.wallet.to_string() == key;
    let reference = WalletRef::Named { id: found.wallet, key: (!ours).then(|| key.to_owned()) };
    Ok((reference, holds))
}
