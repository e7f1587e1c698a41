//! Every type of event that is known here: what it does, or why it does nothing.
//!
//! A type that is not listed is stored and ignored as `unhandled_type`. `tests/it/stripe_fixtures.rs` holds the list against
//! what [`super::interpret`] does.

use super::intent::Why;

/// What becomes of a type's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// They are read and may do something; what, in words.
    Acts(&'static str),
    /// They do nothing, whatever they hold: a code, and why.
    Ignored(&'static str, &'static str),
}

/// The types, or all that begin alike (`payment_method.*`), and their treatment.
pub const FAMILIES: &[(&str, Treatment)] = &[
    (
        "checkout.session.completed",
        Treatment::Acts("grants what a paid session sold; links whom a subscription's names; keeps a card set up"),
    ),
    ("checkout.session.async_payment_succeeded", Treatment::Acts("grants what the session sold, now that it is paid")),
    ("checkout.session.async_payment_failed", Treatment::Acts("nothing: the delayed payment never came")),
    ("checkout.session.expired", Treatment::Acts("nothing: nobody paid")),
    ("invoice.paid", Treatment::Acts("pays a plan's period, grants packs and metadata credits, clears billed overage")),
    ("invoice.voided", Treatment::Acts("ends the wait for a renewal; overage on it waits for the next bill")),
    ("invoice.marked_uncollectible", Treatment::Acts("ends the wait for a renewal; paid later, invoice.paid tells")),
    ("invoice.created", Treatment::Acts("puts overage on the draft of a subscription's next period")),
    ("invoice.deleted", Treatment::Acts("a draft that is no more: overage on it waits for the next bill")),
    ("invoice.payment_succeeded", Treatment::Ignored("told_by_other_event", "invoice.paid tells of the same payment")),
    ("invoice.finalized", Treatment::Ignored("invoice_not_paid", "open, and not paid; invoice.paid decides")),
    ("invoice.finalization_failed", Treatment::Ignored("invoice_not_paid", "still a draft, which nobody can pay")),
    ("invoice.sent", Treatment::Ignored("invoice_not_paid", "sent, and not paid")),
    ("invoice.overdue", Treatment::Ignored("invoice_not_paid", "due, and not paid")),
    ("invoice.will_be_due", Treatment::Ignored("invoice_not_paid", "not due yet")),
    ("invoice.updated", Treatment::Ignored("told_by_other_event", "each change that matters has its own event")),
    ("invoice.overpaid", Treatment::Ignored("overpaid", "what was paid beyond the total buys nothing")),
    ("invoice.upcoming", Treatment::Ignored("upcoming_invoice", "a preview; such an invoice has no id")),
    ("invoice.payment_failed", Treatment::Ignored("payment_failed", "the subscription's own event tells what follows")),
    ("invoice.payment_action_required", Treatment::Ignored("not_paid_yet", "the buyer has to confirm the payment")),
    ("invoice.payment_attempt_required", Treatment::Ignored("not_paid_yet", "the merchant has to attempt the payment")),
    ("invoice_payment.paid", Treatment::Acts("asks for its invoice; acts as invoice.paid once that is paid in full")),
    ("customer.subscription.created", Treatment::Acts("attaches plans")),
    ("customer.subscription.updated", Treatment::Acts("changes plans")),
    ("customer.subscription.paused", Treatment::Acts("turns plans off")),
    ("customer.subscription.resumed", Treatment::Acts("turns plans on")),
    ("customer.subscription.pending_update_applied", Treatment::Acts("changes plans")),
    ("customer.subscription.deleted", Treatment::Acts("ends plans")),
    (
        "customer.subscription.pending_update_expired",
        Treatment::Ignored("no_effect", "the change was not paid in time, so it never was"),
    ),
    (
        "customer.subscription.trial_will_end",
        Treatment::Ignored("no_effect", "a reminder; the subscription is as it was"),
    ),
    ("customer.created", Treatment::Acts("links whom its metadata names")),
    ("customer.updated", Treatment::Acts("links whom its metadata names; another card to pay with lets top-ups go on")),
    (
        "customer.deleted",
        Treatment::Acts("stops top-ups; its books stay, and its subscriptions' own events end their plans"),
    ),
    ("customer.discount.*", Treatment::Ignored("no_effect", "a discount counts where it lowers what is paid")),
    ("customer.source.*", Treatment::Ignored("pays_nothing", "a card on file pays for nothing by itself")),
    ("customer.tax_id.*", Treatment::Ignored("no_effect", "tax counts where it is paid")),
    (
        "payment_intent.succeeded",
        Treatment::Acts("grants a top-up, a session captured by hand, or credits its own metadata names"),
    ),
    ("payment_intent.created", Treatment::Ignored("not_paid_yet", "made, and not paid")),
    ("payment_intent.processing", Treatment::Acts("tells of a top-up's charge that its bank takes its time")),
    (
        "payment_intent.requires_action",
        Treatment::Acts("tells of a top-up's charge that the card's owner is asked for"),
    ),
    (
        "payment_intent.amount_capturable_updated",
        Treatment::Ignored("not_paid_yet", "authorised; payment_intent.succeeded tells of the capture"),
    ),
    ("payment_intent.partially_funded", Treatment::Ignored("not_paid_yet", "a part came; nothing before the rest")),
    ("payment_intent.payment_failed", Treatment::Acts("tells of a top-up's charge that it was declined, and why")),
    ("payment_intent.canceled", Treatment::Acts("tells of a top-up's charge that nothing comes of it")),
    ("charge.succeeded", Treatment::Ignored("told_by_other_event", "what it paid for has its own event")),
    ("charge.captured", Treatment::Ignored("told_by_other_event", "payment_intent.succeeded tells of the capture")),
    ("charge.pending", Treatment::Ignored("not_paid_yet", "on its way")),
    ("charge.failed", Treatment::Ignored("payment_failed", "nothing was taken")),
    ("charge.expired", Treatment::Ignored("payment_failed", "authorised and never captured")),
    ("charge.refunded", Treatment::Acts("takes the share of the credits that went back")),
    ("charge.refund.updated", Treatment::Acts("looks at its charge again")),
    ("refund.created", Treatment::Acts("looks at its charge again")),
    ("refund.updated", Treatment::Acts("looks at its charge again")),
    ("refund.failed", Treatment::Acts("looks at its charge again: credits come back")),
    ("charge.dispute.created", Treatment::Acts("freezes what is unspent")),
    ("charge.dispute.updated", Treatment::Acts("looks at the charge's disputes again")),
    ("charge.dispute.closed", Treatment::Acts("takes what was lost, or frees what was frozen")),
    ("charge.dispute.funds_withdrawn", Treatment::Acts("looks at the charge's disputes again")),
    ("charge.dispute.funds_reinstated", Treatment::Acts("gives back what was taken for it")),
    ("radar.early_fraud_warning.created", Treatment::Acts("freezes what is unspent, where the configuration says so")),
    ("radar.early_fraud_warning.updated", Treatment::Acts("frees it once nothing is to be done any more")),
    ("credit_note.created", Treatment::Acts("takes the credits of the lines it names")),
    ("credit_note.updated", Treatment::Acts("looks at the note again")),
    ("credit_note.voided", Treatment::Acts("gives back what the note took")),
    ("charge.updated", Treatment::Ignored("no_effect", "its description or its metadata changed")),
    ("payment_method.attached", Treatment::Acts("a new card lets top-ups go on")),
    ("payment_method.updated", Treatment::Acts("a changed card lets top-ups go on")),
    ("payment_method.automatically_updated", Treatment::Acts("a card renewed by its bank lets top-ups go on")),
    ("payment_method.card_automatically_updated", Treatment::Acts("the same, by its older name")),
    ("payment_method.detached", Treatment::Ignored("card_detached", "top-ups use another card, or wait for one")),
    ("payment_method.*", Treatment::Ignored("pays_nothing", "a payment method pays for nothing by itself")),
    ("setup_intent.succeeded", Treatment::Acts("a card kept for later lets top-ups go on, and may become the default")),
    ("setup_intent.*", Treatment::Ignored("pays_nothing", "a card was to be saved, not charged")),
    ("payment_link.*", Treatment::Ignored("pays_nothing", "each session it opens has its own events")),
];

/// How a type is listed.
pub fn treatment(kind: &str) -> Option<Treatment> {
    let is = |listed: &str| listed.strip_suffix('*').map_or(kind == listed, |start| kind.starts_with(start));
    FAMILIES.iter().find(|(listed, _)| is(listed)).map(|(_, treatment)| *treatment)
}

/// Why the events of a type that nothing here acts on are ignored.
pub(super) fn why_ignored(kind: &str) -> Why {
    match treatment(kind) {
        Some(Treatment::Ignored(code, words)) => Why::new(code, format!("{kind}: {words}")),
        Some(Treatment::Acts(_)) | None => {
            let detail = format!("events of type {} change nothing here", super::facts::cut(kind));
            Why::new("unhandled_type", detail)
        }
    }
}

/// Why an event about an intent that is no try of ours is ignored.
pub(super) fn why_no_try(kind: &str) -> Why {
    match kind {
        "payment_intent.payment_failed" => Why::new("payment_failed", "declined; nothing was taken"),
        "payment_intent.canceled" => Why::new("payment_failed", "cancelled; nothing was taken"),
        "payment_intent.processing" => Why::new("not_paid_yet", "on its way; payment_intent.succeeded tells"),
        _ => Why::new("not_paid_yet", "the buyer has to confirm the payment"),
    }
}
