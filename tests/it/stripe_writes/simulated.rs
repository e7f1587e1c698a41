//! Writes against the simulated Stripe: what its keys keep, and what a client has to make of it.

use std::time::Duration;

use creditd::clock::Clock;
use creditd::simulator::{Options, SeedPrice, Simulator};
use creditd::stripe::client::{Fetch, StripeClient, StripeId};
use creditd::stripe::frozen::{Frozen, Metadata};
use creditd::stripe::outcome::{Answered, RefusalClass, Refused, UnknownReason, WriteOutcome};
use creditd::stripe::transport::{Transport, TransportSettings};
use creditd::stripe::write::{Buyer, Charge, Checkout, CheckoutLine, NewCustomer, Purpose, Write};
use secrecy::SecretString;
use serde_json::Value;

use super::samples::{charge, checkout, frozen, id, key, line, money};
use super::server::{settings, unknown, why};

/// A simulated account, a client that speaks to it, and a customer.
struct Account {
    simulator: Simulator,
    clock: Clock,
    transport: Transport,
    customer: StripeId,
}

impl Account {
    async fn new() -> Self {
        let clock = Clock::manual("2026-01-31T00:00:00Z".parse().unwrap());
        let simulator = Simulator::start(Options::new(clock.clone())).await.unwrap();
        // Pauses long enough for a sending under way to end.
        let settings = TransportSettings { backoff_base: Duration::from_millis(400), ..settings(simulator.base_url()) };
        let transport = Transport::new(&settings).unwrap();
        let made = Write::CreateCustomer(NewCustomer {
            email: Some("a@example.com".to_owned()),
            name: None,
            metadata: Metadata::new().with("creditd_customer_id", "u1").unwrap(),
        });
        let answer = answered(transport.send(&frozen(&made), &key("customer:u1")).await);
        let customer = id(json(&answer)["id"].as_str().unwrap());
        Self { simulator, clock, transport, customer }
    }

    fn charge(&self, method: &str, minor: i64) -> Write {
        Write::Charge(Charge {
            amount: money(minor),
            customer: self.customer.clone(),
            payment_method: id(method),
            ..charge()
        })
    }

    async fn send(&self, write: &Write, under: &str) -> WriteOutcome {
        self.transport.send(&frozen(write), &key(under)).await
    }

    /// Charges that moved money, by the simulator's own log.
    fn charges(&self) -> usize {
        self.simulator.log().charges().len()
    }
}

fn json(answered: &Answered) -> Value {
    serde_json::from_slice(&answered.body).unwrap()
}

#[track_caller]
fn answered(outcome: WriteOutcome) -> Answered {
    match outcome {
        WriteOutcome::Answered(answered) => answered,
        WriteOutcome::Refused(_) | WriteOutcome::Unknown(_) => panic!("not answered: {outcome:?} {:?}", outcome.body()),
    }
}

#[track_caller]
fn refused(outcome: WriteOutcome) -> Refused {
    match outcome {
        WriteOutcome::Refused(refused) => refused,
        WriteOutcome::Answered(_) | WriteOutcome::Unknown(_) => panic!("not refused: {outcome:?}"),
    }
}

#[tokio::test]
async fn a_charge_is_made_once_however_often_it_is_sent() {
    let account = Account::new().await;
    let write = account.charge("pm_card_visa", 2000);
    let first = answered(account.send(&write, "topup:1").await);
    let object = json(&first);
    assert_eq!((object["status"].as_str(), object["amount"].as_i64()), (Some("succeeded"), Some(2000)));
    assert_eq!(object["metadata"]["creditd_topup_id"], "top_1");
    let again = answered(account.send(&write, "topup:1").await);
    assert_eq!((first.replayed, again.replayed), (false, true));
    assert_eq!(first.body, again.body);
    assert_eq!(account.charges(), 1);
    // It is found from the customer too, which is how a lost answer is found.
    let created_gte = account.clock.now();
    let what = Fetch::IntentsOf { customer: account.customer.clone(), created_gte, starting_after: None };
    let listed: Value = serde_json::from_slice(&account.transport.fetch(&what).await.unwrap().body).unwrap();
    assert_eq!(listed["data"][0]["metadata"]["creditd_topup_id"], "top_1");
}

#[tokio::test]
async fn a_decline_is_definite_is_replayed_and_is_over_with_a_new_key() {
    let account = Account::new().await;
    let declined = account.charge("pm_card_chargeDeclinedInsufficientFunds", 2000);
    let first = refused(account.send(&declined, "topup:1").await);
    let RefusalClass::Declined(decline) = &first.class else { panic!("{first:?}") };
    assert_eq!(decline.code.as_deref(), Some("card_declined"));
    assert_eq!(decline.decline_code.as_deref(), Some("insufficient_funds"));
    assert!(decline.payment_intent.as_deref().unwrap().starts_with("pi_"));
    assert!(decline.charge.as_deref().unwrap().starts_with("ch_"));
    assert_eq!(decline.payment_intent_status.as_deref(), Some("requires_payment_method"));
    assert!(first.is_final() && !decline.wants_authentication());
    let again = refused(account.send(&declined, "topup:1").await);
    assert!(again.replayed && again.body == first.body);
    let other = account.charge("pm_card_visa", 2000);
    assert_eq!(json(&answered(account.send(&other, "topup:2").await))["status"], "succeeded");
}

#[tokio::test]
async fn a_card_that_wants_its_owner_says_so() {
    let account = Account::new().await;
    let refused = refused(account.send(&account.charge("pm_card_authenticationRequired", 2000), "topup:1").await);
    let RefusalClass::Declined(decline) = refused.class else { panic!("{refused:?}") };
    assert!(decline.wants_authentication());
}

/// The failure that charged: its 500 is kept, so repeats tell nothing, and the list of intents tells all.
#[tokio::test]
async fn a_kept_failure_stays_unknown_and_the_charge_is_found() {
    let account = Account::new().await;
    account.simulator.set_faults(Duration::ZERO, 1);
    let write = account.charge("pm_card_visa", 2000);
    let first = account.send(&write, "topup:1").await;
    assert_eq!((why(&first), unknown(&first).replayed), (UnknownReason::ServerError, false));
    let again = account.send(&write, "topup:1").await;
    assert_eq!((why(&again), unknown(&again).replayed), (UnknownReason::ServerError, true));
    assert_eq!(account.charges(), 1, "it had charged, once");
}

#[tokio::test]
async fn changed_parameters_are_a_bug_and_no_failure_of_the_charge() {
    let account = Account::new().await;
    drop(answered(account.send(&account.charge("pm_card_visa", 2000), "topup:1").await));
    let refused = refused(account.send(&account.charge("pm_card_visa", 2001), "topup:1").await);
    assert_eq!((&refused.class, refused.is_final()), (&RefusalClass::IdempotencyMismatch, false));
    assert_eq!(account.charges(), 1);
}

#[tokio::test]
async fn a_key_in_use_is_waited_for_and_gives_the_first_ones_answer() {
    let account = Account::new().await;
    account.simulator.set_faults(Duration::from_millis(150), 0);
    let write = account.charge("pm_card_visa", 2000);
    let (first, second) = tokio::join!(account.send(&write, "topup:1"), account.send(&write, "topup:1"));
    let (first, second) = (answered(first), answered(second));
    assert_eq!(first.body, second.body);
    assert!(first.replayed != second.replayed, "one of them waited");
    assert_eq!(account.charges(), 1);
}

/// Refusals that ran nothing leave the key free; a key older than a day is a new one, which is why none is used then.
#[tokio::test]
async fn what_ran_nothing_leaves_the_key_free_and_a_day_frees_all() {
    let account = Account::new().await;
    let wrong = account.charge("pm_nobody", 2000);
    assert_eq!(refused(account.send(&wrong, "topup:1").await).class, RefusalClass::ResourceMissing);
    let write = account.charge("pm_card_visa", 2000);
    assert!(!answered(account.send(&write, "topup:1").await).replayed);
    assert!(account.clock.set("2026-02-01T01:00:00Z".parse().unwrap()));
    assert!(!answered(account.send(&write, "topup:1").await).replayed);
    assert_eq!(account.charges(), 2, "sent after a day it charges again");
}

#[tokio::test]
async fn a_wrong_key_of_ours_is_no_failure_of_the_charge() {
    let account = Account::new().await;
    let wrong = TransportSettings { key: SecretString::from("sk_wrong"), ..settings(account.simulator.base_url()) };
    let transport = Transport::new(&wrong).unwrap();
    let refused = refused(transport.send(&frozen(&account.charge("pm_card_visa", 2000)), &key("topup:1")).await);
    assert_eq!((&refused.class, refused.is_final()), (&RefusalClass::Unauthorized, false));
    assert!(!answered(account.send(&account.charge("pm_card_visa", 2000), "topup:1").await).replayed);
}

#[tokio::test]
async fn a_checkout_is_opened_with_metadata_that_leads_home_and_closed() {
    let account = Account::new().await;
    let seed = SeedPrice {
        id: "price_1".to_owned(),
        product: "Credits".to_owned(),
        currency: "usd".to_owned(),
        unit_amount: 1000,
        recurring: None,
        lookup_key: None,
    };
    account.simulator.seed_price(&seed).unwrap();
    let lines = vec![CheckoutLine::Price(line("price_1", 2))];
    let opened = Write::CreateSession(Checkout {
        buyer: Buyer::Customer(account.customer.clone()),
        expires_at: None,
        ..checkout(Purpose::Payment { lines, save_card: true })
    });
    let session = json(&answered(account.send(&opened, "session:1").await));
    assert_eq!((session["mode"].as_str(), session["status"].as_str()), (Some("payment"), Some("open")));
    assert_eq!(session["customer"], account.customer.as_str());
    assert_eq!(session["metadata"]["creditd_customer_id"], "u&1=ü", "what a form has to encode arrives whole");
    assert_eq!(session["client_reference_id"], "u1");
    let close = Write::ExpireSession { session: id(session["id"].as_str().unwrap()) };
    assert_eq!(json(&answered(account.send(&close, "expire:1").await))["status"], "expired");
    // Closing what is closed is refused for certain, under another key.
    let refused = refused(account.send(&close, "expire:2").await);
    assert_eq!(refused.class, RefusalClass::Invalid);
}

/// Stripe confirms no intent that might redirect into nowhere: a charge either allows no redirect or says where to.
#[tokio::test]
async fn a_charge_leads_nobody_into_nowhere() {
    let account = Account::new().await;
    let form = "amount=5&currency=usd&confirm=true&payment_method=pm_card_visa&automatic_payment_methods[enabled]=true";
    let lost = Frozen::restore("POST", "/v1/payment_intents", form).unwrap();
    let refused = refused(account.transport.send(&lost, &key("a")).await);
    assert_eq!((&refused.class, refused.param.as_deref()), (&RefusalClass::Invalid, Some("return_url")));
    let Write::Charge(charge) = account.charge("pm_card_visa", 5) else { unreachable!("a charge was made") };
    let back = Some("https://app.example/paid".to_owned());
    drop(answered(account.send(&Write::Charge(Charge { return_url: back, ..charge }), "b").await));
    drop(answered(account.send(&account.charge("pm_card_visa", 5), "c").await));
}
