//! A card's owner is asked for: what could still take money by itself is ended first, then a page is opened that carries
//! the same top-up; and all of it is closed again when it is given up.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::begin::description;
use super::charge::LOOK_SECONDS;
use super::judge::{self, Judged};
use super::settle::{Through, metadata_of};
use super::steps::{Sent, Which};
use super::{After, ChargeError, Charger, Held, Move};
use crate::domain::command::Charging;
use crate::domain::top_up::{ChargeMode, Link, TopUp};
use crate::stripe::client::{Fetch, StripeId};
use crate::stripe::write::{Buyer, CancelReason, Checkout, CheckoutLine, Purpose, Write};

/// Pages that are opened one after the other: one lives a day, so a week.
const LINKS_MAX: u32 = 7;
/// Days after which a top-up that waits for its card's owner is given up.
const PATIENCE_DAYS: i64 = 7;
/// Seconds between two looks at a page whose buyer is paying.
const PAYING_SECONDS: i64 = 60;
/// Times that something is asked anew to be ended, each of which is repeated for a day under its key: a month.
pub(super) const ENDS_MAX: u32 = 30;
/// Hours in a day.
const DAY_HOURS: i64 = 24;

/// What became of something that could still take money.
pub(super) enum Ended {
    /// It takes nothing any more.
    Yes,
    /// It took the money: it is settled.
    Paid,
    /// It cannot be told, or not be ended, now.
    Wait(i64),
}

/// What asking for an end came to.
pub(super) enum EndAsked {
    /// It is done.
    Done,
    /// Nobody knows; it is worth asking again in so many seconds.
    Unknown(i64),
    /// It has to be looked at. Where Stripe may have forgotten the key, it may be asked for anew.
    Look { is_stale: bool },
}

impl Charger {
    /// Asks Stripe to end something that could still take money.
    pub(super) async fn ask_for_end(
        &self,
        held: Held<'_>,
        which: &Which,
        name: &'static str,
        write: Write,
    ) -> Result<EndAsked, ChargeError> {
        Ok(match self.step(held, which, name, || Ok(write)).await? {
            Sent::Done(answer) => {
                self.keep(held, which, &json!({ "id": answer["id"], "status": answer["status"] })).await?;
                EndAsked::Done
            }
            Sent::Unknown(seconds) => EndAsked::Unknown(seconds),
            Sent::Refused(_) => EndAsked::Look { is_stale: false },
            Sent::Stale => EndAsked::Look { is_stale: true },
        })
    }

    pub(super) async fn link(&self, held: Held<'_>, top_up: &TopUp, now: Timestamp) -> Result<Move, ChargeError> {
        if top_up.terms.mode == ChargeMode::Invoice {
            return self.link_invoice(held, top_up, now).await;
        }
        if let Some(link) = &top_up.link {
            if link.expires_at.is_none_or(|end| now < end) {
                return Ok(Move::Rest(After::AsIs));
            }
            match self.end_page(held, top_up, link).await? {
                Ended::Paid => return Ok(Move::On),
                Ended::Wait(seconds) => return Ok(Move::Rest(After::Later(seconds))),
                Ended::Yes => {}
            }
        } else {
            match self.end_intent(held, top_up).await? {
                Ended::Paid => return Ok(Move::On),
                Ended::Wait(seconds) => return Ok(Move::Rest(After::Later(seconds))),
                Ended::Yes => {}
            }
        }
        let number = top_up.link.as_ref().map_or(1, |link| link.number.saturating_add(1));
        if number > LINKS_MAX || is_over(top_up, now) {
            return self.expire(held, top_up).await;
        }
        let Some(return_url) = self.settings.return_url.clone() else {
            tracing::warn!(top_up = %top_up.id, "a card's owner is asked for, and no page can be opened: set charger.return_url");
            return Ok(Move::Rest(After::Later(LOOK_SECONDS)));
        };
        self.open_page(held, top_up, number, return_url).await
    }

    async fn open_page(
        &self,
        held: Held<'_>,
        top_up: &TopUp,
        number: u32,
        return_url: String,
    ) -> Result<Move, ChargeError> {
        let last = top_up.last_try.as_ref().ok_or(ChargeError::Broken("a link without a try before"))?;
        let which = Which::new(top_up.id.as_uuid(), top_up.id, format!("link_{number}"));
        let metadata = self.metadata(held, top_up).await?;
        let customer = StripeId::new(&last.customer)?;
        let write = || {
            Ok(Write::CreateSession(Checkout {
                purpose: Purpose::Payment {
                    lines: vec![CheckoutLine::Named { name: description(top_up), amount: top_up.amount }],
                    save_card: true,
                },
                buyer: Buyer::Customer(customer),
                success_url: return_url.clone(),
                cancel_url: Some(return_url),
                client_reference_id: None,
                expires_at: None,
                metadata,
            }))
        };
        let session = match self.step(held, &which, "open_page", write).await? {
            Sent::Done(session) => session,
            Sent::Unknown(seconds) => return Ok(Move::Rest(After::Later(seconds))),
            Sent::Refused(refused) => {
                tracing::error!(top_up = %top_up.id, code = refused.code, "Stripe refuses to open a page for a card's owner");
                return self.expire(held, top_up).await;
            }
            // A page that nobody was led to: it closes by itself.
            Sent::Stale => return self.expire(held, top_up).await,
        };
        let url = session["url"].as_str().ok_or(ChargeError::Broken("a Checkout session without an address"))?;
        let id = session["id"].as_str().ok_or(ChargeError::Broken("a Checkout session without an id"))?;
        let end = session["expires_at"].as_i64().and_then(|second| Timestamp::from_second(second).ok());
        let kept = json!({ "id": id, "url": url, "expires_at": session["expires_at"] });
        self.keep(held, &which, &kept).await?;
        let link = Link { url: url.to_owned(), expires_at: end, session: Some(id.to_owned()), number };
        self.edge("linked", self.post(held.account(), Charging::Linked { top_up: top_up.id, link })).await?;
        Ok(Move::Rest(After::AsIs))
    }

    /// Nobody came.
    pub(super) async fn expire(&self, held: Held<'_>, top_up: &TopUp) -> Result<Move, ChargeError> {
        let given_up = Charging::GiveUp { top_up: top_up.id, reason: "link_expired" };
        self.edge("give_up", self.post(held.account(), given_up)).await?;
        Ok(Move::On)
    }

    pub(super) async fn close(&self, held: Held<'_>, top_up: &TopUp) -> Result<Move, ChargeError> {
        let ended = match (&top_up.link, top_up.terms.mode) {
            (_, ChargeMode::Invoice) => self.end_invoice(held, top_up).await?,
            (Some(link), ChargeMode::PaymentIntent) => self.end_page(held, top_up, link).await?,
            (None, ChargeMode::PaymentIntent) => self.end_intent(held, top_up).await?,
        };
        match ended {
            Ended::Paid => Ok(Move::On),
            Ended::Wait(seconds) => Ok(Move::Rest(After::Later(seconds))),
            Ended::Yes => {
                self.edge("closed", self.post(held.account(), Charging::Closed(top_up.id))).await?;
                Ok(Move::On)
            }
        }
    }

    /// Cancels the last try's intent: a late authentication must not pay beside a page.
    async fn end_intent(&self, held: Held<'_>, top_up: &TopUp) -> Result<Ended, ChargeError> {
        let Some(last) = &top_up.last_try else { return Ok(Ended::Yes) };
        let Some(intent) = &last.payment_intent else { return Ok(Ended::Yes) };
        let id = StripeId::new(intent)?;
        for number in 1..=ENDS_MAX {
            let which = Which::new(last.attempt.as_uuid(), last.attempt, nth("cancel", number));
            let cancel = id.clone();
            let write = Write::CancelIntent { payment_intent: cancel, reason: CancelReason::Abandoned };
            let is_stale = match self.ask_for_end(held, &which, "cancel_intent", write).await? {
                EndAsked::Done => return Ok(Ended::Yes),
                EndAsked::Unknown(seconds) => return Ok(Ended::Wait(seconds)),
                EndAsked::Look { is_stale } => is_stale,
            };
            let found = self.edge("look_at_intent", self.ask_known(&Fetch::PaymentIntent { id: id.clone() })).await?;
            match self.is_intent_over(held, top_up, &found, None).await? {
                // Stripe may have forgotten the key, and the intent is as it was: it is asked anew, which ends it once.
                Ended::Wait(PAYING_SECONDS) if is_stale => {}
                ended => return Ok(ended),
            }
        }
        Err(ChargeError::Broken("a payment intent that cannot be cancelled"))
    }

    /// Can an intent still take money? One that did is settled.
    async fn is_intent_over(
        &self,
        held: Held<'_>,
        top_up: &TopUp,
        intent: &Value,
        session: Option<String>,
    ) -> Result<Ended, ChargeError> {
        match judge::intent(intent, top_up, self.livemode)? {
            Judged::Paid(paid) => {
                let through = Through { session, ..Through::default() };
                self.settle(held, top_up, paid, through, metadata_of(intent)).await?;
                Ok(Ended::Paid)
            }
            Judged::Processing(_) => Ok(Ended::Wait(LOOK_SECONDS)),
            Judged::Cancelled(_) => Ok(Ended::Yes),
            // Of a page that is closed: nobody can confirm it any more.
            Judged::Declined(..) | Judged::NeedsAction(_) | Judged::Other(_) if session.is_some() => Ok(Ended::Yes),
            Judged::Declined(..) | Judged::NeedsAction(_) | Judged::Other(_) => Ok(Ended::Wait(PAYING_SECONDS)),
        }
    }

    /// Closes a page, unless its buyer has paid by it.
    async fn end_page(&self, held: Held<'_>, top_up: &TopUp, link: &Link) -> Result<Ended, ChargeError> {
        let session = link.session.as_deref().ok_or(ChargeError::Broken("a page without its session"))?;
        let id = StripeId::new(session)?;
        let which = Which::new(top_up.id.as_uuid(), top_up.id, format!("expire_{}", link.number));
        let expire = id.clone();
        match self.ask_for_end(held, &which, "expire_page", Write::ExpireSession { session: expire }).await? {
            EndAsked::Done => return Ok(Ended::Yes),
            EndAsked::Unknown(seconds) => return Ok(Ended::Wait(seconds)),
            EndAsked::Look { .. } => {}
        }
        let found = self.edge("look_at_page", self.ask_known(&Fetch::Session { id })).await?;
        match found["status"].as_str() {
            Some("complete") => {}
            Some("open") => return Ok(Ended::Wait(PAYING_SECONDS)),
            Some("expired") => return Ok(Ended::Yes),
            Some(_) | None => return Err(ChargeError::Broken("a page whose status cannot be read")),
        }
        let intent = StripeId::of(&found["payment_intent"]);
        let id = intent.ok_or(ChargeError::Broken("a complete page without an intent"))?;
        let intent = self.ask_known(&Fetch::PaymentIntent { id }).await?;
        self.is_intent_over(held, top_up, &intent, Some(session.to_owned())).await
    }
}

/// A step that is asked anew: the first goes by its name alone.
pub(super) fn nth(step: &str, number: u32) -> String {
    if number == 1 { step.to_owned() } else { format!("{step}_{number}") }
}

/// Has a top-up waited for long enough?
pub(super) fn is_over(top_up: &TopUp, now: Timestamp) -> bool {
    let patience = SignedDuration::from_hours(PATIENCE_DAYS.saturating_mul(DAY_HOURS));
    let asked = top_up.last_try.as_ref().map_or(top_up.created_at, |last| last.created_at);
    asked.checked_add(patience).is_ok_and(|end| now >= end)
}
