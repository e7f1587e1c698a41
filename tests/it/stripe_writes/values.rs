//! Writes as values: what is encoded, what is refused before anything is sent, and that bytes stay what they are.

use creditd::stripe::client::StripeClient;
use creditd::stripe::fake::RecordingFake;
use creditd::stripe::frozen::{Frozen, IdempotencyKey, Metadata, WriteError};
use creditd::stripe::outcome::{UnknownReason, WriteOutcome};
use creditd::stripe::write::{
    AfterLast, Charge, Checkout, CheckoutLine, InvoiceItem, ItemCharge, PaymentBehavior, Phase, Proration, Purpose,
    Refund, SubscriptionChange, Write,
};
use proptest::prelude::*;
use rstest::rstest;

use super::samples::{charge, checkout, every_write, frozen, id, key, line, money, usd};

/// The bytes of every kind of write. A change here is a change of what is sent under keys that are in use.
#[test]
fn every_write_is_these_bytes() {
    let listing: Vec<String> = every_write()
        .iter()
        .map(|(name, write)| {
            let frozen = frozen(write);
            let form = frozen.body().replace('&', "\n  ");
            format!("{name}: {} {}\n  {form}", frozen.method().as_str(), frozen.path())
        })
        .collect();
    insta::assert_snapshot!(listing.join("\n"));
}

/// Maps of the same pairs differ in their order from one to the next; what is sent does not, on any level.
#[test]
fn equal_writes_are_equal_bytes() {
    let metadata = (0..50).fold(Metadata::new(), |made, number| made.with(&format!("k{number}"), "v").unwrap());
    let lines = vec![CheckoutLine::Price(line("price_1", 1))];
    let phase = Phase {
        lines: vec![line("price_1", 1)],
        starts_at: None,
        ends_at: None,
        proration: Proration::None,
        metadata: metadata.clone(),
    };
    let session = |purpose| Write::CreateSession(Checkout { metadata: metadata.clone(), ..checkout(purpose) });
    let full = [
        Write::Charge(Charge { metadata: metadata.clone(), ..charge() }),
        session(Purpose::Payment { lines, save_card: true }),
        session(Purpose::Subscription { lines: vec![line("price_1", 1)], trial_days: None }),
        session(Purpose::Setup { currency: usd() }),
        Write::SetPhases { schedule: id("s_1"), phases: vec![phase.clone(), phase], after_last: AfterLast::GoOn },
    ];
    for write in full.into_iter().chain(every_write().into_iter().map(|(_, write)| write)) {
        let first = frozen(&write);
        for _ in 0..20 {
            assert_eq!(frozen(&write).body(), first.body());
        }
    }
}

/// Entries of a list stand in their order, beyond the tenth too, however Stripe reads their numbers.
#[test]
fn lines_keep_their_order() {
    let lines = (0..12).map(|number| CheckoutLine::Price(line(&format!("price_{number}"), 1))).collect();
    let session = frozen(&Write::CreateSession(checkout(Purpose::Payment { lines, save_card: false })));
    let prices: Vec<&str> = session
        .body()
        .split('&')
        .filter(|pair| pair.contains("[price]"))
        .map(|pair| pair.split('=').nth(1).unwrap())
        .collect();
    let wanted: Vec<String> = (0..12).map(|number| format!("price_{number}")).collect();
    assert_eq!(prices, wanted);
}

/// `metadata=` would clear what is there.
#[test]
fn no_metadata_is_no_parameter() {
    let write = Write::Charge(Charge { metadata: Metadata::new(), ..charge() });
    assert!(!frozen(&write).body().contains("metadata"));
}

#[test]
fn bytes_come_back_as_they_were_kept() {
    for (name, write) in every_write() {
        let kept = frozen(&write);
        let back = Frozen::restore(kept.method().as_str(), kept.path(), kept.body()).unwrap();
        assert_eq!(back, kept, "{name}");
        assert_eq!(back.body(), kept.body());
    }
    // The order of a row's bytes is kept even where we would write another one today.
    let older = Frozen::restore("POST", "/v1/refunds", "payment_intent=pi_1&amount=5").unwrap();
    assert_eq!(older.body(), "payment_intent=pi_1&amount=5");
}

#[rstest]
#[case("GET", "/v1/refunds", "", WriteError::Method)]
#[case("post", "/v1/refunds", "", WriteError::Method)]
#[case("POST", "/v1/", "", WriteError::Path)]
#[case("POST", "/v2/refunds", "", WriteError::Path)]
#[case("POST", "//evil.example/v1/x", "", WriteError::Path)]
#[case("POST", "/v1/../v2/x", "", WriteError::Path)]
#[case("POST", "/v1/refunds?x=1", "", WriteError::Path)]
#[case("POST", "/v1/refunds#", "", WriteError::Path)]
#[case("POST", "/v1/refunds", "a=b c", WriteError::Body)]
#[case("POST", "/v1/refunds", "a=b\r\nx: y", WriteError::Body)]
#[case("POST", "/v1/refunds", "a=ü", WriteError::Body)]
fn bytes_that_are_no_write_are_refused(
    #[case] method: &str,
    #[case] path: &str,
    #[case] body: &str,
    #[case] error: WriteError,
) {
    assert_eq!(Frozen::restore(method, path, body), Err(error));
}

#[test]
fn a_body_beyond_any_form_is_refused() {
    assert!(Frozen::restore("POST", "/v1/refunds", &"a".repeat(256 * 1024)).is_ok());
    assert_eq!(Frozen::restore("POST", "/v1/refunds", &"a".repeat(256 * 1024 + 1)), Err(WriteError::Body));
    assert_eq!(Frozen::restore("POST", &format!("/v1/{}", "a".repeat(600)), ""), Err(WriteError::Path));
}

#[rstest]
#[case("")]
#[case(" ")]
#[case("a b")]
#[case("a\n")]
#[case("ü")]
#[case("a\u{7f}")]
fn a_key_no_header_can_carry_is_refused(#[case] text: &str) {
    assert_eq!(IdempotencyKey::new(text), Err(WriteError::Key));
}

#[test]
fn a_key_has_1_to_255_characters() {
    assert_eq!(IdempotencyKey::new("a").unwrap().as_str(), "a");
    assert!(IdempotencyKey::new(&"a".repeat(255)).is_ok());
    assert_eq!(IdempotencyKey::new(&"a".repeat(256)), Err(WriteError::Key));
}

#[test]
fn metadata_keeps_to_stripes_limits() {
    let with = |key: &str, value: &str| Metadata::new().with(key, value);
    assert!(with(&"k".repeat(40), &"ü".repeat(500)).is_ok());
    for (key, value) in [("", "v"), (&"k".repeat(41), "v"), ("a[b]", "v"), ("k", ""), ("k", &"v".repeat(501))] {
        assert!(matches!(with(key, value), Err(WriteError::Metadata { .. })), "{key}={value}");
    }
    let full = (0..50).fold(Metadata::new(), |made, number| made.with(&format!("k{number}"), "v").unwrap());
    assert!(full.clone().with("k0", "other").is_ok(), "one that is there may change");
    assert!(full.with("k50", "v").is_err());
}

#[test]
fn an_amount_that_is_none_is_refused_before_anything_is_sent() {
    let charge = |minor| Write::Charge(Charge { amount: money(minor), ..charge() });
    let line = |minor| {
        let lines = vec![CheckoutLine::Amount { product: id("prod_1"), amount: money(minor) }];
        Write::CreateSession(checkout(Purpose::Payment { lines, save_card: false }))
    };
    let refund = |minor| {
        Write::Refund(Refund {
            payment_intent: id("pi_1"),
            amount: Some(money(minor)),
            reason: None,
            metadata: Metadata::new(),
        })
    };
    for write in [charge(0), charge(-1), line(0), line(-5), refund(0), refund(-5)] {
        assert!(matches!(write.freeze(), Err(WriteError::NotPositive { .. })), "{write:?}");
    }
    let item = |minor| {
        Write::AddInvoiceItem(InvoiceItem {
            customer: id("cus_1"),
            invoice: id("in_1"),
            charge: ItemCharge::Amount(money(minor)),
            description: None,
            metadata: Metadata::new(),
        })
    };
    assert!(item(0).freeze().is_err());
    assert!(item(-5).freeze().is_ok(), "a credit");
}

#[test]
fn a_list_that_is_empty_or_too_long_is_refused() {
    let payment =
        |count| Purpose::Payment { lines: vec![CheckoutLine::Price(line("price_1", 1)); count], save_card: false };
    let subscription = |count| Purpose::Subscription { lines: vec![line("price_1", 1); count], trial_days: None };
    let session = |purpose| Write::CreateSession(checkout(purpose)).freeze();
    assert!(session(payment(100)).is_ok() && session(subscription(20)).is_ok());
    for refused in [session(payment(0)), session(payment(101)), session(subscription(0)), session(subscription(21))] {
        assert!(matches!(refused, Err(WriteError::Count { .. })));
    }
    let change = SubscriptionChange {
        subscription: id("sub_1"),
        items: vec![],
        proration: Proration::None,
        payment: PaymentBehavior::ErrorIfIncomplete,
        proration_date: None,
    };
    assert!(matches!(Write::ChangeSubscription(change).freeze(), Err(WriteError::Count { found: 0, .. })));
    let phases = Write::SetPhases { schedule: id("s"), phases: vec![], after_last: AfterLast::Cancel };
    assert!(matches!(phases.freeze(), Err(WriteError::Count { found: 0, .. })));
}

proptest! {
    /// Whatever stands in a value arrives as it was, as its own parameter, and touches no other.
    #[test]
    fn no_value_bends_the_form(value in "\\PC{1,60}", key in "[^\\[\\]\\p{C}]{1,20}", email in "\\PC{1,40}") {
        let metadata = Metadata::new().with(&key, &value).unwrap();
        let write = Write::Charge(Charge { receipt_email: Some(email.clone()), metadata, ..charge() });
        let form = frozen(&write);
        let pairs: Vec<(String, String)> =
            reqwest::Url::parse(&format!("http://127.0.0.1/?{}", form.body())).unwrap().query_pairs().into_owned().collect();
        let value_of = |name: &str| pairs.iter().filter(|(found, _)| found == name).map(|(_, value)| value.clone()).collect::<Vec<_>>();
        prop_assert_eq!(value_of(&format!("metadata[{key}]")), [value]);
        prop_assert_eq!(value_of("receipt_email"), [email]);
        prop_assert_eq!(value_of("amount"), ["2000"]);
        prop_assert_eq!(pairs.len(), frozen(&Write::Charge(charge())).body().split('&').count() + 1);
    }
}

#[tokio::test]
async fn the_fake_gives_its_outcomes_in_order_and_remembers() {
    let fake = RecordingFake::new();
    fake.lose_write("/v1/refunds", UnknownReason::Timeout);
    fake.answer_write("/v1/refunds", 200, r#"{"id":"re_1","object":"refund"}"#);
    let write = Frozen::restore("POST", "/v1/refunds", "payment_intent=pi_1").unwrap();
    let under = key("refund:1");
    assert!(matches!(fake.send(&write, &under).await, WriteOutcome::Unknown(_)));
    for _ in 0..2 {
        assert!(matches!(fake.send(&write, &under).await, WriteOutcome::Answered(_)));
    }
    let elsewhere = Frozen::restore("POST", "/v1/customers", "").unwrap();
    let WriteOutcome::Unknown(unknown) = fake.send(&elsewhere, &under).await else { panic!("nobody answers there") };
    assert_eq!(unknown.why, UnknownReason::NotConnected);
    assert_eq!(fake.writes().len(), 4);
    assert_eq!(fake.writes()[0], (write, under));
}
