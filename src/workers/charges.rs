//! What events say of the charger's business: top-ups that were paid, tries that got somewhere, cards, and customers that
//! are no more.

use uuid::Uuid;

use sha2::{Digest, Sha256};

use super::resolve::{Done, Setback, Tally, check_metadata};
use crate::domain::command::{Charging, Command, TopUpPaid, TryResult};
use crate::domain::ids::{AccountId, TopUpId};
use crate::inbox::facts::cut;
use crate::inbox::intent::{CardSeen, SavedCard, TopUpSeen, TrySeen, Why};
use crate::posting::Posting;
use crate::store::Store;
use crate::store::payments::PaymentClaim;
use crate::stripe::client::StripeId;
use crate::stripe::write::Write;

/// A payment of a top-up: claimed, then posted to whoever decided it. The door holds its amount against the decision.
pub(super) async fn settle(
    store: &Store,
    posting: &Posting,
    seen: TopUpSeen,
    tally: &mut Tally,
) -> Result<Done, Setback> {
    check_metadata(&seen.facts.metadata)?;
    let account = owner_of(store, seen.top_up, seen.facts.stripe_customer.as_deref()).await?;
    let paid = seen.facts.aliases().into_iter().map(str::to_owned).collect();
    let payment = match store.claim_payment(account, &seen.facts).await? {
        PaymentClaim::Claimed(payment) => payment,
        PaymentClaim::Conflict { found } => return Err(Setback::Park(Why::new("payment_conflict", found))),
    };
    let TopUpSeen { top_up, facts, paid_at, net, gross, stripe_line, saved } = seen;
    let command = TopUpPaid {
        top_up,
        payment,
        payment_intent: facts.payment_intent,
        paid_at,
        net,
        gross,
        stripe_line,
        metadata: facts.metadata,
    };
    post(posting, account, Charging::Paid(Box::new(command)), tally).await?;
    if let (Some(card), Some(customer)) = (saved, facts.stripe_customer) {
        become_default(store, account, &customer, &card).await?;
    }
    Ok(Done { account, linked: false, paid })
}

/// What became of a try, short of its success.
pub(super) async fn try_changed(
    store: &Store,
    posting: &Posting,
    seen: TrySeen,
    tally: &mut Tally,
) -> Result<Done, Setback> {
    let TrySeen { top_up, attempt, stripe_customer, result } = seen;
    let account = owner_of(store, top_up, stripe_customer.as_deref()).await?;
    // While its card's owner is waited for, and afterwards, an intent is cancelled by the charger itself, so that its link
    // alone can pay. Who cancels one before has ended the try.
    if result == TryResult::NotDone && !store.is_try_under_way(account, top_up, attempt).await? {
        let detail = format!("{attempt} of {top_up} is not under way: nothing is lost with its intent");
        return Err(Setback::Ignore(Why::new("payment_failed", detail), None));
    }
    post(posting, account, Charging::TryEnded { top_up, attempt, result }, tally).await?;
    Ok(Done { account, linked: false, paid: Vec::new() })
}

/// A card that is new or changed.
pub(super) async fn card_seen(
    store: &Store,
    posting: &Posting,
    seen: CardSeen,
    tally: &mut Tally,
) -> Result<Done, Setback> {
    let account = linked_to(store, &seen.stripe_customer).await?;
    post(posting, account, Charging::CardSeen(seen.at), tally).await?;
    if let Some(card) = &seen.saved {
        become_default(store, account, &seen.stripe_customer, card).await?;
    }
    Ok(Done { account, linked: false, paid: Vec::new() })
}

/// Stripe's customer is gone: nothing more is charged until somebody acts.
pub(super) async fn customer_deleted(
    store: &Store,
    posting: &Posting,
    stripe_customer: &str,
    tally: &mut Tally,
) -> Result<Done, Setback> {
    let account = linked_to(store, stripe_customer).await?;
    post(posting, account, Charging::CustomerDeleted, tally).await?;
    Ok(Done { account, linked: false, paid: Vec::new() })
}

async fn post(posting: &Posting, account: AccountId, charging: Charging, tally: &mut Tally) -> Result<(), Setback> {
    tally.count(&posting.post(account, None, Command::Charging(charging)).await?);
    Ok(())
}

/// Whose a top-up is; Stripe's customer who pays it has to be theirs.
async fn owner_of(store: &Store, top_up: TopUpId, stripe_customer: Option<&str>) -> Result<AccountId, Setback> {
    let Some(account) = store.find_top_up(top_up).await? else {
        let detail = format!("{top_up} is no top-up of this database");
        return Err(Setback::Park(Why::new("unknown_top_up", detail)));
    };
    let Some(stripe_customer) = stripe_customer else {
        let detail = format!("customer is missing on what was made for {top_up}");
        return Err(Setback::Park(Why::new("missing_fact", detail)));
    };
    match store.find_stripe_customer(stripe_customer).await? {
        Some(linked) if linked == account => Ok(account),
        Some(linked) => {
            let detail = format!("{top_up} is {account}'s, and {} is linked to {linked}", cut(stripe_customer));
            Err(Setback::Park(Why::new("link_conflict", detail)))
        }
        None => {
            let detail = format!("{top_up} is {account}'s, and {} is linked to nobody", cut(stripe_customer));
            Err(Setback::Park(Why::new("unknown_customer", detail)))
        }
    }
}

/// Cards and deletions of customers that are nobody's here are somebody else's business.
async fn linked_to(store: &Store, stripe_customer: &str) -> Result<AccountId, Setback> {
    let not_linked = || {
        let detail = format!("{} is linked to no customer", cut(stripe_customer));
        Setback::Ignore(Why::new("not_linked", detail), None)
    };
    store.find_stripe_customer(stripe_customer).await?.ok_or_else(not_linked)
}

/// Whose request it is that makes a card the default: the same for whatever event tells of what kept it, so that an old
/// one told again brings no old card back.
pub(super) fn card_owner(card: &SavedCard) -> Uuid {
    let digest = Sha256::digest(format!("card:{}:{}", card.by, card.payment_method));
    let mut first = [0; 16];
    for (to, from) in first.iter_mut().zip(digest) {
        *to = from;
    }
    Uuid::from_bytes(first)
}

async fn become_default(
    store: &Store,
    account: AccountId,
    stripe_customer: &str,
    card: &SavedCard,
) -> Result<(), Setback> {
    let unreadable = |error: String| Setback::Park(Why::new("unreadable", error));
    let id = |text: &str| StripeId::new(text).map_err(|error| unreadable(format!("`{}`: {error}", cut(text))));
    let write = Write::SetDefaultMethod { customer: id(stripe_customer)?, payment_method: id(&card.payment_method)? };
    let frozen = write.freeze().map_err(|error| unreadable(error.to_string()))?;
    let request = (frozen.method().as_str(), frozen.path(), frozen.body());
    if store.queue_default_card(account, card_owner(card), request).await? {
        tracing::info!(account.id = %account, kept_by = %card.by, "a card is to become its customer's default");
    }
    Ok(())
}
