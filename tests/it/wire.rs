#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use creditd::stripe::wire::{
    Charge, Customer, Envelope, Event, Expandable, Invoice, InvoiceLine, InvoicePayment, LineKind, PaidOutside,
    PaymentIntent, Session, SessionLineItem, Subscription, Wire, WireError, WireMoney, parse,
};
use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

const VERSIONS: [&str; 2] = ["2024-09-30.acacia", "2026-09-30.endive"];

fn bytes(version: &str, name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/stripe/{version}/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn event(version: &str, name: &str) -> Event {
    match Envelope::from_slice(&bytes(version, name)).unwrap() {
        Envelope::Snapshot(event) => *event,
        Envelope::Thin(thin) => panic!("a snapshot, not {thin:?}"),
    }
}

fn object(version: &str, name: &str) -> Value {
    event(version, name).object.unwrap()
}

fn usd(minor: i64) -> WireMoney {
    WireMoney { minor, currency: "usd".to_owned() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Puts an unknown field into every object, however deep.
fn with_unknown_fields(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(with_unknown_fields);
            map.insert("zz_unknown".to_owned(), json!({ "deep": [1, null, { "x": 1.5 }] }));
        }
        Value::Array(items) => items.iter_mut().for_each(with_unknown_fields),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Metadata is a map of texts, where an unknown key is the app's: there it would not be unknown.
fn without_unknown_metadata(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
                metadata.remove("zz_unknown");
            }
            map.values_mut().for_each(without_unknown_metadata);
        }
        Value::Array(items) => items.iter_mut().for_each(without_unknown_metadata),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_envelope_says_what_happened() {
    for version in VERSIONS {
        let event = event(version, "checkout.session.completed");
        assert_eq!(event.id.as_deref(), Some("evt_synthetic0001"));
        assert_eq!(event.kind.as_deref(), Some("checkout.session.completed"));
        assert_eq!(event.api_version.as_deref(), Some(version));
        assert_eq!((event.livemode, event.created), (Some(false), Some(at(1_790_000_100))));
        assert_eq!((event.account, event.previous_attributes), (None, None));
        assert_eq!(event.object_kind.as_deref(), Some("checkout.session"));
        assert_eq!(event.object_id.as_deref(), Some("cs_test_synthetic0001"));
    }
}

#[test]
fn a_thin_event_is_recognised_and_not_read_as_a_snapshot() {
    let thin = json!({ "object": "v2.core.event", "id": "evt_thin", "type": "v1.billing.meter.no_meter_found", "created": "2026-11-01T00:00:00Z" });
    let read = Envelope::from_slice(thin.to_string().as_bytes()).unwrap();
    assert!(matches!(read, Envelope::Thin(thin) if thin.id.as_deref() == Some("evt_thin")));
}

#[test]
fn a_connect_account_and_previous_attributes_are_told() {
    let value =
        json!({ "account": "acct_1", "data": { "object": {}, "previous_attributes": { "status": "trialing" } } });
    let event = Event::from_value(&value).unwrap();
    assert_eq!(event.account.as_deref(), Some("acct_1"));
    assert_eq!(event.previous_attributes, Some(json!({ "status": "trialing" })));
}

#[rstest]
#[case("checkout.session.completed", "complete", "paid", Some("pi_Synthetic0001"))]
#[case("checkout.session.async_payment_succeeded", "complete", "paid", Some("pi_Synthetic0001"))]
#[case("checkout.session.async_payment_failed", "complete", "unpaid", Some("pi_Synthetic0001"))]
#[case("checkout.session.expired", "expired", "unpaid", None)]
fn a_session_in_both_versions(
    #[case] name: &str,
    #[case] status: &str,
    #[case] paid: &str,
    #[case] intent: Option<&str>,
) {
    let [old, new] = VERSIONS.map(|version| Session::from_value(&object(version, name)).unwrap());
    assert_eq!(old, new);
    assert_eq!((new.mode.as_deref(), new.status.as_deref()), (Some("payment"), Some(status)));
    assert_eq!(new.payment_status.as_deref(), Some(paid));
    assert_eq!(new.payment_intent.as_ref().map(Expandable::id), intent);
    assert_eq!((new.amount_total, new.amount_subtotal), (Some(usd(5_000)), Some(usd(5_000))));
    assert_eq!((new.amount_tax, new.amount_discount), (Some(usd(0)), Some(usd(0))));
    assert_eq!((new.amount_sold, new.presentment), (Some(usd(5_000)), None));
    assert_eq!(new.customer.as_deref(), Some("cus_Synthetic0001"));
    assert_eq!(new.created, Some(at(1_790_000_000)));
    assert_eq!(new.metadata["flexprice_customer_id"], "cust_acme_corp");
    assert_eq!(new.metadata["credit_amount"], "50000");
    assert_eq!(new.metadata["wallet_id"], "wal_3kd92x");
    assert_eq!(new.line_items, None, "webhooks carry no line items");
}

#[test]
fn line_items_of_a_session_in_both_versions() {
    let [old, new] = VERSIONS
        .map(|version| SessionLineItem::list_from_slice(&bytes(version, "checkout.session.line_items")).unwrap());
    assert_eq!(old, new);
    let line = &new.data[0];
    assert!(!new.has_more);
    assert_eq!(line.price.as_deref(), Some("price_Synthetic50k"));
    assert_eq!(line.product.as_deref(), Some("prod_SyntheticPack"));
    assert_eq!((line.quantity, line.amount_total.clone()), (Some(2), Some(usd(5_000))));
    assert_eq!((line.is_recurring, line.is_metered), (Some(false), None));
}

#[test]
fn an_invoice_in_both_versions() {
    let [old, new] = VERSIONS.map(|version| Invoice::from_value(&object(version, "invoice.paid")).unwrap());
    for invoice in [&old, &new] {
        assert_eq!((invoice.status.as_deref(), invoice.is_paid), (Some("paid"), Some(true)));
        assert_eq!(invoice.billing_reason.as_deref(), Some("subscription_create"));
        assert_eq!(invoice.subscription.as_deref(), Some("sub_Synthetic0001"));
        assert_eq!(invoice.parent_kind.as_deref(), Some("subscription_details"));
        assert_eq!(invoice.subscription_metadata.as_ref().unwrap()["flexprice_customer_id"], "cust_acme_corp");
        assert_eq!((invoice.paid_at, invoice.created), (Some(at(1_790_000_005)), Some(at(1_790_000_000))));
        assert_eq!((invoice.subtotal.clone(), invoice.total.clone()), (Some(usd(2_000)), Some(usd(2_142))));
        assert_eq!((invoice.tax.clone(), invoice.discount.clone()), (Some(usd(342)), Some(usd(200))));
        assert_eq!(invoice.amount_paid, Some(usd(2_142)));
        assert_eq!(invoice.customer.as_deref(), Some("cus_Synthetic0001"));
    }
    assert_eq!(old.taxes, new.taxes);
    assert_eq!(old.period, new.period);
    // What only one of the shapes can say:
    assert_eq!((old.payment_intents(), old.charges()), (vec!["pi_Synthetic0002"], vec!["ch_Synthetic0001"]));
    assert_eq!((new.payment_intents(), new.charges()), (vec![], vec![]), "absent from webhooks since basil");
    assert_eq!(old.paid_outside, Some(PaidOutside::Whole(false)));
    assert_eq!(new.paid_outside, Some(PaidOutside::Amount(usd(0))));
}

#[test]
fn an_invoice_line_in_both_versions() {
    let [old, new] = VERSIONS.map(|version| {
        let lines = Invoice::from_value(&object(version, "invoice.paid")).unwrap().lines.unwrap();
        assert!(!lines.has_more);
        lines.data.into_iter().next().unwrap()
    });
    assert_eq!(new.quantity_decimal.as_deref(), Some("1"));
    assert_eq!(new.subtotal, Some(usd(2_000)));
    assert_eq!(old.is_metered, Some(false), "the old shape carries the price");
    assert_eq!(new.is_metered, None);
    let same = InvoiceLine { quantity_decimal: None, subtotal: None, is_metered: Some(false), ..new };
    assert_eq!(old, same);
    assert_eq!(old.price.as_deref(), Some("price_SyntheticPro"));
    assert_eq!(old.product.as_deref(), Some("prod_SyntheticPro"));
    assert_eq!((old.kind.clone(), old.is_proration), (Some(LineKind::Subscription), Some(false)));
    assert_eq!(old.subscription_item.as_deref(), Some("si_Synthetic0001"));
    assert_eq!(old.period.unwrap().end, at(1_792_592_000));
    assert_eq!(old.taxes.as_ref().unwrap()[0].is_inclusive, Some(false));
    assert_eq!(old.discount, Some(usd(200)));
}

#[test]
fn the_payments_of_an_invoice_stand_in_for_the_old_intent() {
    let page = parse(&bytes("2026-09-30.endive", "invoice_payments")).unwrap();
    let payment = InvoicePayment::list_from_slice(page.to_string().as_bytes()).unwrap().data.remove(0);
    assert_eq!(payment.payment_intent.as_deref(), Some("pi_Synthetic0002"));
    assert_eq!((payment.amount_paid, payment.paid_at), (Some(usd(2_142)), Some(at(1_790_000_005))));
    let mut invoice = object("2026-09-30.endive", "invoice.paid");
    invoice["payments"] = page;
    assert_eq!(Invoice::from_value(&invoice).unwrap().payment_intents(), vec!["pi_Synthetic0002"]);
    invoice["payments"]["data"][0]["status"] = json!("canceled");
    assert_eq!(Invoice::from_value(&invoice).unwrap().payment_intents(), Vec::<&str>::new());
}

#[rstest]
#[case::new(json!({ "parent": { "type": "invoice_item_details", "invoice_item_details": { "proration": true, "invoice_item": "ii_1", "subscription": "sub_1" } }, "pricing": { "price_details": { "price": { "id": "price_1", "product": "prod_wrong" }, "product": "prod_1" } } }))]
#[case::old(json!({ "type": "invoiceitem", "proration": true, "invoice_item": "ii_1", "subscription": "sub_1", "price": { "id": "price_1", "product": { "id": "prod_1" } } }))]
#[case::plan(json!({ "type": "invoiceitem", "proration": true, "invoice_item": "ii_1", "subscription": "sub_1", "price": null, "plan": { "id": "price_1", "product": "prod_1" } }))]
fn a_proration_by_any_path(#[case] value: Value) {
    let line = InvoiceLine::from_value(&value).unwrap();
    assert_eq!((line.kind, line.is_proration), (Some(LineKind::InvoiceItem), Some(true)));
    assert_eq!((line.price.as_deref(), line.product.as_deref()), (Some("price_1"), Some("prod_1")));
    assert_eq!((line.invoice_item.as_deref(), line.subscription.as_deref()), (Some("ii_1"), Some("sub_1")));
}

#[rstest]
#[case(json!({ "price": { "id": "p", "recurring": { "usage_type": "metered" } } }), Some(true))]
#[case(json!({ "plan": { "id": "p", "usage_type": "metered" } }), Some(true))]
#[case(json!({ "pricing": { "price_details": { "price": { "id": "p", "recurring": { "usage_type": "metered" } } } } }), Some(true))]
#[case(json!({ "pricing": { "price_details": { "price": "p" } } }), None)]
fn metered_lines(#[case] value: Value, #[case] expected: Option<bool>) {
    assert_eq!(InvoiceLine::from_value(&value).unwrap().is_metered, expected);
}

#[test]
fn a_new_path_answers_before_the_old_one() {
    let value =
        json!({ "subscription": "sub_old", "parent": { "subscription_details": { "subscription": "sub_new" } } });
    assert_eq!(Invoice::from_value(&value).unwrap().subscription.as_deref(), Some("sub_new"));
    let value = json!({ "subscription": "sub_old", "parent": null });
    assert_eq!(Invoice::from_value(&value).unwrap().subscription.as_deref(), Some("sub_old"));
}

#[rstest]
#[case(json!({ "status": "paid" }), Some(true))]
#[case(json!({ "status": "open", "paid": true }), Some(false))]
#[case(json!({ "paid": true }), Some(true))]
#[case(json!({}), None)]
fn paid(#[case] value: Value, #[case] expected: Option<bool>) {
    assert_eq!(Invoice::from_value(&value).unwrap().is_paid, expected);
}

#[test]
fn coupons_moved_below_source() {
    for value in [
        json!({ "discounts": [{ "id": "di_1", "source": { "coupon": "half" } }] }),
        json!({ "discounts": [{ "id": "di_1", "coupon": { "id": "half" } }] }),
        json!({ "discounts": ["di_1"], "discount": { "id": "di_1", "coupon": { "id": "half" } } }),
    ] {
        assert_eq!(Invoice::from_value(&value).unwrap().coupons, ["half"]);
    }
}

#[test]
fn an_intent_tells_its_charge_by_either_path() {
    let new = json!({ "id": "pi_1", "status": "succeeded", "currency": "jpy", "amount_received": 500, "latest_charge": "ch_1" });
    let old = json!({ "id": "pi_1", "status": "succeeded", "currency": "jpy", "amount_received": 500, "invoice": "in_1",
        "charges": { "data": [{ "id": "ch_1", "created": 5 }, { "id": "ch_0" }] } });
    let (new, old) = (PaymentIntent::from_value(&new).unwrap(), PaymentIntent::from_value(&old).unwrap());
    let charge = old.latest_charge.unwrap();
    assert_eq!((new.latest_charge.unwrap().id(), charge.id()), ("ch_1", "ch_1"));
    assert_eq!(charge.read::<Charge>().unwrap().unwrap().created, Some(at(5)));
    assert_eq!(old.invoice.as_deref(), Some("in_1"));
    assert_eq!(new.amount_received, Some(WireMoney { minor: 500, currency: "jpy".to_owned() }));
    let none = PaymentIntent::from_value(&json!({ "charges": { "data": [] } })).unwrap();
    assert_eq!(none.latest_charge, None);
}

#[test]
fn a_charge_tells_what_went_back() {
    let value = json!({ "id": "ch_1", "created": 5, "amount": 900, "amount_refunded": 300, "currency": "eur", "paid": true,
        "balance_transaction": { "id": "txn_1" }, "payment_intent": "pi_1",
        "presentment_details": { "presentment_amount": 1000, "presentment_currency": "usd" } });
    let charge = Charge::from_value(&value).unwrap();
    assert_eq!(charge.amount_refunded, Some(WireMoney { minor: 300, currency: "eur".to_owned() }));
    assert_eq!(charge.presentment, Some(usd(1_000)));
    assert_eq!((charge.balance_transaction.as_deref(), charge.paid), (Some("txn_1"), Some(true)));
}

#[test]
fn the_current_period_of_an_item_stood_on_the_subscription() {
    let item = json!({ "id": "si_1", "quantity": 3, "price": { "id": "price_1", "product": "prod_1", "recurring": { "usage_type": "licensed" } } });
    let mut new_item = item.clone();
    new_item["current_period_start"] = json!(10);
    new_item["current_period_end"] = json!(20);
    let old = json!({ "id": "sub_1", "current_period_start": 10, "current_period_end": 20, "items": { "data": [item], "has_more": false } });
    let new = json!({ "id": "sub_1", "items": { "data": [new_item], "has_more": false } });
    let (old, new) = (Subscription::from_value(&old).unwrap(), Subscription::from_value(&new).unwrap());
    assert_eq!(old, new);
    let item = &new.items.unwrap().data[0];
    assert_eq!((item.current_period.unwrap().start, item.quantity), (at(10), Some(3)));
    assert_eq!((item.price.as_deref(), item.product.as_deref()), (Some("price_1"), Some("prod_1")));
    assert_eq!(item.is_metered, Some(false));
}

#[test]
fn a_localized_session_of_old_kept_what_was_sold_in_its_conversion() {
    let old = json!({ "currency": "eur", "amount_total": 930, "currency_conversion": { "amount_total": 1000, "amount_subtotal": 1000, "source_currency": "usd", "fx_rate": "0.93" } });
    let new = json!({ "currency": "usd", "amount_total": 1000, "presentment_details": { "presentment_amount": 930, "presentment_currency": "eur" } });
    for value in [old, new] {
        let session = Session::from_value(&value).unwrap();
        assert_eq!(session.amount_sold, Some(usd(1_000)));
        assert_eq!(session.presentment, Some(WireMoney { minor: 930, currency: "eur".to_owned() }));
    }
}

#[test]
fn unknown_fields_at_any_depth_change_nothing() {
    for version in VERSIONS {
        for name in ["checkout.session.completed", "invoice.paid"] {
            let plain = object(version, name);
            let mut noisy = plain.clone();
            with_unknown_fields(&mut noisy);
            without_unknown_metadata(&mut noisy);
            assert_ne!(plain, noisy);
            assert_eq!(Session::from_value(&plain), Session::from_value(&noisy));
            assert_eq!(Invoice::from_value(&plain), Invoice::from_value(&noisy));
        }
    }
}

#[test]
fn any_field_may_be_missing_or_null() {
    let empty = json!({});
    assert!(Event::from_value(&empty).is_ok() && Session::from_value(&empty).is_ok());
    assert!(Invoice::from_value(&empty).is_ok() && InvoiceLine::from_value(&empty).is_ok());
    assert!(InvoicePayment::from_value(&empty).is_ok() && SessionLineItem::from_value(&empty).is_ok());
    assert!(PaymentIntent::from_value(&empty).is_ok() && Charge::from_value(&empty).is_ok());
    assert!(Subscription::from_value(&empty).is_ok());
    for version in VERSIONS {
        let full = object(version, "invoice.paid");
        for key in full.as_object().unwrap().keys() {
            let (mut nulled, mut cut) = (full.clone(), full.clone());
            nulled[key] = Value::Null;
            cut.as_object_mut().unwrap().remove(key);
            assert_eq!(Invoice::from_value(&nulled).unwrap(), Invoice::from_value(&cut).unwrap(), "{key}");
        }
    }
}

#[test]
fn an_amount_without_its_currency_is_no_amount() {
    let session = Session::from_value(&json!({ "amount_total": 5 })).unwrap();
    assert_eq!((session.amount_total, session.currency), (None, None));
}

#[test]
fn an_account_may_stand_in_place_of_a_customer() {
    let account = json!({ "customer": null, "customer_account": "acct_1" });
    let both = json!({ "customer": { "id": "cus_1", "deleted": true }, "customer_account": "acct_1" });
    let (session, invoice) = (Session::from_value(&account).unwrap(), Invoice::from_value(&account).unwrap());
    assert_eq!((session.customer.as_deref(), invoice.customer.as_deref()), (Some("acct_1"), Some("acct_1")));
    assert_eq!(PaymentIntent::from_value(&account).unwrap().customer.as_deref(), Some("acct_1"));
    assert_eq!(Subscription::from_value(&account).unwrap().customer.as_deref(), Some("acct_1"));
    assert_eq!(Session::from_value(&both).unwrap().customer.as_deref(), Some("cus_1"));
}

#[test]
fn a_customer_says_who_it_is_and_whether_it_lives() {
    let alive = Customer::from_value(&json!({ "id": "cus_1", "metadata": { "customer_id": "ada" } })).unwrap();
    assert_eq!(
        (alive.id.as_deref(), alive.is_deleted, alive.metadata["customer_id"].as_str()),
        (Some("cus_1"), None, "ada")
    );
    assert_eq!(Customer::from_value(&json!({ "id": "cus_1", "deleted": true })).unwrap().is_deleted, Some(true));
}

#[test]
fn the_kind_of_a_line_is_told_by_its_details_where_the_word_is_missing() {
    for (details, kind) in
        [("subscription_item_details", LineKind::Subscription), ("invoice_item_details", LineKind::InvoiceItem)]
    {
        let line = InvoiceLine::from_value(&json!({ "parent": { details: { "proration": false } } })).unwrap();
        assert_eq!((line.kind, line.is_proration), (Some(kind), Some(false)));
    }
}

/// Before invoices carried the subscription's metadata, only its lines did; an invoice item's metadata is its own.
#[rstest]
#[case::line_of_the_subscription("subscription", Some("ada"))]
#[case::invoice_item("invoiceitem", None)]
fn the_subscriptions_metadata_stood_on_its_lines(#[case] kind: &str, #[case] expected: Option<&str>) {
    let line = json!({ "type": kind, "metadata": { "customer_id": "ada" } });
    let mut invoice = json!({ "subscription": "sub_1", "lines": { "data": [line], "has_more": false } });
    let named = |invoice: &Value| {
        let metadata = Invoice::from_value(invoice).unwrap().subscription_metadata;
        metadata.and_then(|metadata| metadata.get("customer_id").cloned())
    };
    assert_eq!(named(&invoice).as_deref(), expected);
    invoice["subscription_details"] = json!({ "metadata": { "customer_id": "bob" } });
    assert_eq!(named(&invoice).as_deref(), Some("bob"), "the snapshot stands above the copy");
    let one_off = json!({ "lines": invoice["lines"] });
    assert_eq!(named(&one_off), None, "no subscription, no metadata of one");
}

type Read = fn(&Value) -> Option<WireError>;

fn refusal<T: Wire>(value: &Value) -> Option<WireError> {
    T::from_value(value).err()
}

#[rstest]
#[case(refusal::<Session>, "amount_total", json!({ "amount_total": 10.0 }))]
#[case(refusal::<Session>, "amount_total", json!({ "amount_total": "10" }))]
#[case(refusal::<Session>, "amount_total", json!({ "amount_total": 9_223_372_036_854_775_808_u64 }))]
#[case(refusal::<Session>, "currency", json!({ "currency": 1 }))]
#[case(refusal::<Session>, "mode", json!({ "mode": ["payment"] }))]
#[case(refusal::<Session>, "created", json!({ "created": "2026-01-01" }))]
#[case(refusal::<Session>, "created", json!({ "created": i64::MAX }))]
#[case(refusal::<Session>, "livemode", json!({ "livemode": "false" }))]
#[case(refusal::<Session>, "metadata", json!({ "metadata": [] }))]
#[case(refusal::<Session>, "metadata.credit_amount", json!({ "metadata": { "credit_amount": 50000 } }))]
#[case(refusal::<Session>, "total_details", json!({ "total_details": 5 }))]
#[case(refusal::<Session>, "total_details.amount_tax", json!({ "total_details": { "amount_tax": true } }))]
#[case(refusal::<Session>, "payment_intent", json!({ "payment_intent": 5 }))]
#[case(refusal::<Session>, "payment_intent", json!({ "payment_intent": { "object": "payment_intent" } }))]
#[case(refusal::<Session>, "line_items.data", json!({ "line_items": {} }))]
#[case(refusal::<SessionLineItem>, "quantity", json!({ "quantity": "2" }))]
#[case(refusal::<SessionLineItem>, "price", json!({ "price": 5 }))]
#[case(refusal::<SessionLineItem>, "price.product", json!({ "price": { "id": "p", "product": 5 } }))]
#[case(refusal::<Invoice>, "parent", json!({ "parent": "sub_1" }))]
#[case(refusal::<Invoice>, "parent.subscription_details", json!({ "parent": { "subscription_details": 1 } }))]
#[case(refusal::<Invoice>, "parent.subscription_details.subscription", json!({ "parent": { "subscription_details": { "subscription": 1 } }, "subscription": "sub_1" }))]
#[case(refusal::<Invoice>, "lines", json!({ "lines": [] }))]
#[case(refusal::<Invoice>, "lines.data.1", json!({ "lines": { "data": [{}, 5] } }))]
#[case(refusal::<Invoice>, "lines.data.0.amount", json!({ "lines": { "data": [{ "amount": 1.5 }] } }))]
#[case(refusal::<Invoice>, "lines.has_more", json!({ "lines": { "data": [], "has_more": "no" } }))]
#[case(refusal::<Invoice>, "total_taxes.0.amount", json!({ "currency": "usd", "total_taxes": [{}] }))]
#[case(refusal::<Invoice>, "total_taxes.1.amount", json!({ "currency": "usd", "total_taxes": [{ "amount": i64::MAX }, { "amount": 1 }] }))]
#[case(refusal::<Invoice>, "discounts.0", json!({ "discounts": [7] }))]
#[case(refusal::<Invoice>, "payments.data.0.payment", json!({ "payments": { "data": [{ "payment": "pi_1" }] } }))]
#[case(refusal::<InvoiceLine>, "period.end", json!({ "period": { "start": 1, "end": 1.5 } }))]
#[case(refusal::<InvoiceLine>, "parent.subscription_item_details.proration", json!({ "parent": { "subscription_item_details": { "proration": 1 } } }))]
#[case(refusal::<InvoiceLine>, "quantity_decimal", json!({ "quantity_decimal": 1.5 }))]
#[case(refusal::<PaymentIntent>, "charges.data", json!({ "charges": { "data": { "id": "ch_1" } } }))]
#[case(refusal::<PaymentIntent>, "charges.data.0", json!({ "charges": { "data": [3] } }))]
#[case(refusal::<Charge>, "amount_refunded", json!({ "amount_refunded": 1.0 }))]
#[case(refusal::<Subscription>, "items.data.0.price", json!({ "items": { "data": [{ "price": 1 }] } }))]
#[case(refusal::<Event>, "data.object", json!({ "data": { "object": "in_1" } }))]
#[case(refusal::<Event>, "data.previous_attributes", json!({ "data": { "object": {}, "previous_attributes": [] } }))]
fn a_wrong_type_is_refused_and_named(#[case] read: Read, #[case] field: &str, #[case] value: Value) {
    let error = read(&value).expect("refused");
    assert_eq!(error.field(), Some(field), "{error}");
    assert!(error.to_string().contains(field));
}

#[test]
fn an_amount_written_with_an_exponent_is_refused() {
    let error = Session::from_slice(br#"{"amount_total":1e3}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`amount_total` has to be a whole number of at most 2^63, not a number with a fraction or exponent"
    );
}

#[rstest]
#[case(b"[]")]
#[case(b"\"x\"")]
#[case(b"null")]
#[case(b"5")]
#[case(b"")]
#[case(b"<html>")]
#[case(b"{\"id\":\"evt_1\"")]
#[case(b"{}{}")]
fn what_is_no_object_is_refused(#[case] body: &[u8]) {
    assert!(Envelope::from_slice(body).is_err());
    assert!(Invoice::from_slice(body).is_err());
}

#[test]
fn a_list_answer_without_data_is_no_empty_list() {
    assert_eq!(InvoiceLine::list_from_slice(br#"{"error":{}}"#).unwrap_err().field(), Some("data"));
    assert_eq!(InvoiceLine::list_from_slice(br#"{"data":[]}"#).unwrap_err().field(), Some("has_more"));
}

#[test]
fn an_error_never_shows_what_stood_there() {
    let error = Session::from_value(&json!({ "amount_total": "secret@example.com" })).unwrap_err();
    assert!(!error.to_string().contains("secret") && !format!("{error:?}").contains("secret"));
}
