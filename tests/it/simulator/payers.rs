//! What payers do besides paying at once: links, kept cards, captures, parts, authentication, other currencies, taxes.

use creditd::simulator::{InvoiceOrder, Outcome, TaxRate};
use reqwest::Method;
use serde_json::{Value, json};

use super::{ACACIA, Account, id, ids_of};

async fn read(account: &Account, path: &str, of: &Value) -> Value {
    account.get(&format!("{path}/{}", of.as_str().unwrap()), "").await
}

#[tokio::test]
async fn a_payment_link_makes_sessions_that_carry_it() {
    let account = Account::new().await;
    let price = account.price("").await;
    let form = format!(
        "line_items[0][price]={price}&line_items[0][quantity]=2&metadata[campaign]=x\
         &payment_intent_data[metadata][topup]=t"
    );
    let link = account.post("/v1/payment_links", &form).await;
    let session = account.simulator.follow_payment_link(&id(&link)).unwrap();
    assert_eq!((&session["payment_link"], &session["amount_total"]), (&link["id"], &json!(2_000)));
    assert_eq!(session["metadata"], json!({ "campaign": "x" }));
    let paid = account.simulator.pay_checkout(&id(&session), Outcome::Paid).unwrap();
    assert_eq!(read(&account, "/v1/payment_intents", &paid["payment_intent"]).await["metadata"]["topup"], "t");
    account.simulator.follow_payment_link(&id(&link)).unwrap();
    let list = account.get("/v1/checkout/sessions", &format!("payment_link={}", id(&link))).await;
    assert_eq!(ids_of(&list).len(), 2, "a link sells more than once");
    account.post(&format!("/v1/payment_links/{}", id(&link)), "active=false").await;
    assert!(account.simulator.follow_payment_link(&id(&link)).is_err());
    account
        .refused(
            Method::POST,
            "/v1/payment_links",
            "line_items[0][price]=price_none",
            400,
            json!("line_items[0][price]"),
        )
        .await;
    let unknown = format!("{form}&after_completion[type]=redirect");
    account.refused(Method::POST, "/v1/payment_links", &unknown, 400, json!("after_completion[type]")).await;
}

#[tokio::test]
async fn a_card_is_set_up_charged_renewed_and_detached() {
    let account = Account::new().await;
    let customer = id(&account.post("/v1/customers", "email=a@example.com").await);
    let form = format!("mode=setup&currency=eur&customer={customer}&success_url=x&setup_intent_data[metadata][a]=b");
    let session = account.post("/v1/checkout/sessions", &form).await;
    assert_eq!((&session["amount_total"], &session["payment_status"]), (&Value::Null, &json!("no_payment_required")));
    let done = account.simulator.pay_checkout(&id(&session), Outcome::Paid).unwrap();
    let intent = read(&account, "/v1/setup_intents", &done["setup_intent"]).await;
    assert_eq!((&intent["status"], &intent["metadata"]["a"]), (&json!("succeeded"), &json!("b")));
    assert_eq!(account.event("setup_intent.succeeded")["data"]["object"], intent);
    let method = intent["payment_method"].as_str().unwrap();
    assert_eq!(account.event("payment_method.attached")["data"]["object"]["customer"], json!(customer));
    let charge =
        format!("amount=500&currency=eur&customer={customer}&payment_method={method}&confirm=true&off_session=true");
    assert_eq!(account.post("/v1/payment_intents", &charge).await["status"], "succeeded");
    let stranger = charge.replace(&format!("customer={customer}&"), "");
    account.refused(Method::POST, "/v1/payment_intents", &stranger, 400, json!("payment_method")).await;
    let path = format!("/v1/payment_methods/{method}");
    account.simulator.renew_card(method, 1, 2040).unwrap();
    let told = account.event("payment_method.automatically_updated");
    assert_eq!(told["data"]["previous_attributes"]["card"]["exp_year"], 2_034);
    account.post(&path, "card[exp_month]=6&metadata[k]=v").await;
    assert_eq!(account.event("payment_method.updated")["data"]["object"]["card"]["exp_month"], 6);
    account.refused(Method::POST, &path, "card[number]=4242", 400, json!("card[number]")).await;
    let list = format!("customer={customer}&type=card");
    assert_eq!(ids_of(&account.get("/v1/payment_methods", &list).await), [method]);
    account.post(&format!("{path}/detach"), "").await;
    assert_eq!(account.event("payment_method.detached")["data"]["previous_attributes"]["customer"], json!(customer));
    account.refused(Method::POST, "/v1/payment_intents", &charge, 400, json!("payment_method")).await;
    let attached = account.post("/v1/payment_methods/pm_card_visa/attach", &format!("customer={customer}")).await;
    assert_eq!(attached["customer"], json!(customer));
}

#[tokio::test]
async fn a_manual_capture_pays_later_and_perhaps_a_part() {
    let account = Account::new().await;
    let price = account.price("").await;
    let session = account.session(&price, "payment", "&payment_intent_data[capture_method]=manual").await;
    let done = account.simulator.pay_checkout(&session, Outcome::Paid).unwrap();
    assert_eq!((&done["status"], &done["payment_status"]), (&json!("complete"), &json!("unpaid")));
    let intent = done["payment_intent"].as_str().unwrap();
    let path = format!("/v1/payment_intents/{intent}");
    let held = account.get(&path, "").await;
    assert_eq!((&held["status"], &held["amount_capturable"]), (&json!("requires_capture"), &json!(3_000)));
    let refund = format!("payment_intent={intent}");
    account.refused(Method::POST, "/v1/refunds", &refund, 400, json!("payment_intent")).await;
    account
        .refused(Method::POST, &format!("{path}/capture"), "amount_to_capture=3001", 400, json!("amount_to_capture"))
        .await;
    assert!(account.simulator.pay_checkout(&session, Outcome::AsyncSucceed).is_err());
    let taken = account.post(&format!("{path}/capture"), "amount_to_capture=2000").await;
    assert_eq!((&taken["status"], &taken["amount_received"]), (&json!("succeeded"), &json!(2_000)));
    assert_eq!(account.event("payment_intent.succeeded")["data"]["object"]["amount_received"], 2_000);
    assert_eq!(account.post("/v1/refunds", &refund).await["amount"], 2_000, "no more than was taken");
    account.refused(Method::POST, &format!("{path}/cancel"), "", 400, json!("id")).await;
    let form = "amount=5&currency=eur&payment_method=pm_card_visa&confirm=true&capture_method=manual";
    let made = account.post("/v1/payment_intents", form).await;
    let canceled =
        account.post(&format!("/v1/payment_intents/{}/cancel", id(&made)), "cancellation_reason=abandoned").await;
    assert_eq!((&canceled["status"], &canceled["cancellation_reason"]), (&json!("canceled"), &json!("abandoned")));
}

#[tokio::test]
async fn a_payer_who_is_there_authenticates_or_does_not() {
    let account = Account::new().await;
    let form = "amount=700&currency=eur&payment_method=pm_card_authenticationRequired&confirm=true";
    for (succeeds, status) in [(true, "succeeded"), (false, "requires_payment_method")] {
        let made = account.post("/v1/payment_intents", form).await;
        assert_eq!((&made["status"], made["next_action"].is_object()), (&json!("requires_action"), true));
        let then = account.simulator.authenticate(&id(&made), succeeds).unwrap();
        assert_eq!((&then["status"], &then["next_action"]), (&json!(status), &Value::Null));
        assert!(account.simulator.authenticate(&id(&made), true).is_err(), "asked once");
    }
    assert_eq!(account.events("payment_intent.requires_action").len(), 2);
    account.event("payment_intent.payment_failed");
    let absent = account.send(Method::POST, "/v1/payment_intents", &format!("{form}&off_session=true"), &[]).await;
    assert_eq!((absent.status, &absent.body["error"]["code"]), (402, &json!("authentication_required")));
}

#[tokio::test]
async fn an_invoice_is_paid_in_parts() {
    let account = Account::new().await;
    let made = account.subscription("").await;
    let end = made["items"]["data"][0]["current_period_end"].as_i64().unwrap();
    account.simulator.advance_to(jiff::Timestamp::from_second(end + 60).unwrap()).await.unwrap();
    let found = read(&account, "/v1/subscriptions", &made["id"]).await;
    let invoice = found["latest_invoice"].as_str().unwrap();
    assert!(account.simulator.pay_invoice_part(invoice, 1).is_err(), "a draft is not paid");
    account.post(&format!("/v1/invoices/{invoice}/finalize"), "auto_advance=false").await;
    let before = account.events("invoice.paid").len();
    let part = account.simulator.pay_invoice_part(invoice, 400).unwrap();
    assert_eq!(
        (&part["status"], &part["amount_paid"], &part["amount_remaining"]),
        (&json!("open"), &json!(400), &json!(600))
    );
    assert_eq!(account.events("invoice.paid").len(), before);
    let paid = account.events("invoice_payment.paid").pop().unwrap()["data"]["object"].clone();
    assert_eq!((&paid["amount_paid"], &paid["is_default"]), (&json!(400), &json!(false)));
    assert!(account.simulator.pay_invoice_part(invoice, 601).is_err());
    let whole = account.simulator.pay_invoice_part(invoice, 600).unwrap();
    assert_eq!((&whole["status"], &whole["amount_paid"]), (&json!("paid"), &json!(1_000)));
    assert_eq!(account.events("invoice.paid").len(), before + 1);
    assert_eq!(ids_of(&account.get("/v1/invoice_payments", &format!("invoice={invoice}")).await).len(), 2);
}

#[tokio::test]
async fn a_buyer_may_see_another_currency() {
    let account = Account::new().await;
    let price = account.price("").await;
    let session = account.session(&price, "payment", "").await;
    account.simulator.present_checkout(&session, 3_300, "usd").unwrap();
    let paid = account.simulator.pay_checkout(&session, Outcome::Paid).unwrap();
    let seen = json!({ "presentment_amount": 3_300, "presentment_currency": "usd" });
    assert_eq!(
        (&paid["presentment_details"], &paid["amount_total"], &paid["currency"]),
        (&seen, &json!(3_000), &json!("eur"))
    );
    let intent = read(&account, "/v1/payment_intents", &paid["payment_intent"]).await;
    assert_eq!(intent["presentment_details"], seen);
    let refund = account.post("/v1/refunds", &format!("payment_intent={}&amount=1000", id(&intent))).await;
    assert_eq!(refund["presentment_details"]["presentment_amount"], 1_100);
    let answer = account.get_in(ACACIA, &format!("/v1/checkout/sessions/{session}"), "").await.body;
    assert_eq!(answer.get("presentment_details"), None);
    assert!(account.simulator.present_checkout(&session, 1, "usd").is_err(), "it is paid");
}

#[tokio::test]
async fn taxes_and_discounts_stand_on_sessions_and_invoices() {
    let account = Account::new().await;
    account.simulator.set_tax(TaxRate { basis_points: 1_900, inclusive: false }).unwrap();
    assert!(account.simulator.set_tax(TaxRate { basis_points: 10_001, inclusive: false }).is_err());
    let price = account.price("").await;
    let session =
        account.session(&price, "payment", "&automatic_tax[enabled]=true&discounts[0][coupon]=percent_10").await;
    let found = account.get(&format!("/v1/checkout/sessions/{session}"), "expand[]=line_items").await;
    assert_eq!(found["total_details"], json!({ "amount_discount": 300, "amount_shipping": 0, "amount_tax": 513 }));
    assert_eq!((&found["amount_subtotal"], &found["amount_total"]), (&json!(3_000), &json!(3_213)));
    assert_eq!(found["line_items"]["data"][0]["amount_tax"], 513);
    let plain = account.session(&price, "payment", "").await;
    assert_eq!(
        account.get(&format!("/v1/checkout/sessions/{plain}"), "").await["amount_total"],
        3_000,
        "who does not ask"
    );
    account.simulator.set_tax(TaxRate { basis_points: 2_500, inclusive: true }).unwrap();
    let made = account.subscription("&automatic_tax[enabled]=true&discounts[0][coupon]=amount_200").await;
    let invoice = read(&account, "/v1/invoices", &made["latest_invoice"]).await;
    assert_eq!(
        (&invoice["subtotal"], &invoice["total"], &invoice["total_excluding_tax"]),
        (&json!(1_000), &json!(800), &json!(640))
    );
    assert_eq!(
        (&invoice["total_taxes"][0]["amount"], &invoice["total_discount_amounts"][0]["amount"]),
        (&json!(160), &json!(200))
    );
    let line = &invoice["lines"]["data"][0];
    assert_eq!(
        (&line["taxes"][0]["tax_behavior"], &line["discount_amounts"][0]["amount"]),
        (&json!("inclusive"), &json!(200))
    );
    assert_eq!(account.simulator.log().charges().last().unwrap().amount, 800);
    let old = account.get_in(ACACIA, &format!("/v1/invoices/{}", id(&invoice)), "").await.body;
    assert_eq!((&old["tax"], &old["total_tax_amounts"][0]["inclusive"]), (&json!(160), &json!(true)));
    account
        .refused(
            Method::POST,
            "/v1/subscriptions",
            &format!("customer={}&items[0][price]=x&discounts[0][coupon]=none", made["customer"].as_str().unwrap()),
            400,
            json!("items[0][price]"),
        )
        .await;
}

#[tokio::test]
async fn currencies_without_and_with_three_decimals_and_sessions_for_nothing() {
    let account = Account::new().await;
    for (currency, amount) in [("jpy", 500), ("kwd", 12_340)] {
        let form = format!("currency={currency}&unit_amount={amount}&product_data[name]=Credits");
        let price = id(&account.post("/v1/prices", &form).await);
        let session = account.session(&price, "payment", "").await;
        let paid = account.simulator.pay_checkout(&session, Outcome::Paid).unwrap();
        assert_eq!((&paid["amount_total"], &paid["currency"]), (&json!(3 * amount), &json!(currency)));
        let charge = account.simulator.log().charges().pop().unwrap();
        assert_eq!((charge.amount, charge.currency.as_str()), (3 * amount, currency));
        let free = account.session(&price, "payment", "&discounts[0][coupon]=percent_100").await;
        let free = account.simulator.pay_checkout(&free, Outcome::Paid).unwrap();
        assert_eq!((&free["payment_status"], &free["payment_intent"]), (&json!("no_payment_required"), &Value::Null));
    }
    assert_eq!(account.simulator.log().charges().len(), 2);
}

#[tokio::test]
async fn an_invoice_of_a_quote_names_it_where_its_version_has_it() {
    let account = Account::new().await;
    let customer = id(&account.post("/v1/customers", "").await);
    let price = account.price("").await;
    let order = json!({ "customer": customer, "price": price, "billing_reason": "quote_accept" });
    let order: InvoiceOrder = serde_json::from_value(order).unwrap();
    let invoice = account.simulator.make_quote_invoice("qt_1", &order).unwrap();
    assert_eq!(invoice["parent"]["quote_details"]["quote"], "qt_1");
    let old = account.get_in(ACACIA, &format!("/v1/invoices/{}", id(&invoice)), "").await.body;
    assert_eq!(old["quote"], "qt_1");
    let other = InvoiceOrder { billing_reason: "manual".to_owned(), ..order };
    assert!(account.simulator.make_quote_invoice("qt_1", &other).is_err());
}

#[tokio::test]
async fn lists_for_a_catch_up_are_filtered_paged_and_newest_first() {
    let account = Account::new().await;
    let price = account.price("").await;
    let (customer, other) =
        (id(&account.post("/v1/customers", "").await), id(&account.post("/v1/customers", "").await));
    let mut times = Vec::new();
    for day in 1..=5 {
        account.advance(&format!("2026-02-0{day}T00:00:00Z")).await;
        let session = account.session(&price, "payment", &format!("&customer={customer}")).await;
        let paid = account.simulator.pay_checkout(&session, Outcome::Paid).unwrap();
        account
            .post("/v1/refunds", &format!("payment_intent={}&amount=1", paid["payment_intent"].as_str().unwrap()))
            .await;
        times.push(account.simulator.now().as_second());
    }
    let (from, to) = (times[1], times[4]);
    for (path, filter) in [
        ("/v1/checkout/sessions", format!("&customer={customer}")),
        ("/v1/payment_intents", format!("&customer={customer}")),
        ("/v1/charges", format!("&customer={customer}")),
        ("/v1/refunds", String::new()),
        ("/v1/events", "&type=charge.refunded".to_owned()),
        ("/v1/events", "&types[0]=checkout.session.completed".to_owned()),
    ] {
        let window = format!("created[gte]={from}&created[lt]={to}&limit=2{filter}");
        let first = account.get(path, &window).await;
        let seen = ids_of(&first);
        assert_eq!((seen.len(), &first["has_more"]), (2, &json!(true)), "{path}{filter}");
        let rest = account.get(path, &format!("{window}&starting_after={}", seen[1])).await;
        assert_eq!((ids_of(&rest).len(), &rest["has_more"]), (1, &json!(false)), "{path}{filter}");
        let back = account.get(path, &format!("{window}&ending_before={}", ids_of(&rest)[0])).await;
        assert_eq!(ids_of(&back), seen, "{path}{filter}");
        let all = [first["data"].as_array().unwrap().clone(), rest["data"].as_array().unwrap().clone()].concat();
        let created: Vec<i64> = all.iter().map(|one| one["created"].as_i64().unwrap()).collect();
        assert_eq!(created, [times[3], times[2], times[1]], "{path}{filter}: newest first");
    }
    assert!(ids_of(&account.get("/v1/charges", &format!("customer={other}")).await).is_empty());
    for (path, filter) in
        [("/v1/invoices", "status=paid"), ("/v1/subscriptions", "status=all"), ("/v1/disputes", "limit=1")]
    {
        assert!(ids_of(&account.get(path, &format!("{filter}&created[gte]={from}")).await).is_empty(), "{path}");
    }
}
