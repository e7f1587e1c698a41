//! Refunds, disputes and credit notes: money that goes back, and what it leaves behind.

use creditd::simulator::{DisputeOrder, DisputeStep, Outcome, RefundMode, RefundOutcome};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Account, id, ids_of};

/// A paid session of 30.00, its payment intent and charge.
async fn paid(account: &Account) -> (String, String) {
    let price = account.price("").await;
    let session = account.session(&price, "payment", "").await;
    let session = account.simulator.pay_checkout(&session, Outcome::Paid).unwrap();
    let intent = session["payment_intent"].as_str().unwrap().to_owned();
    let found = account.get(&format!("/v1/payment_intents/{intent}"), "").await;
    (intent, found["latest_charge"].as_str().unwrap().to_owned())
}

async fn charge(account: &Account, id: &str) -> Value {
    account.get(&format!("/v1/charges/{id}"), "").await
}

/// Types of the events since so many, in order.
fn since(account: &Account, before: usize) -> Vec<String> {
    account.all_events()[before..].iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn refunds_add_up_to_the_charge_and_no_further() {
    let account = Account::new().await;
    let (intent, of) = paid(&account).await;
    let before = account.all_events().len();
    let form = format!("charge={of}&amount=1000&reason=requested_by_customer&metadata[why]=a");
    let first = account.post("/v1/refunds", &form).await;
    assert_eq!((&first["status"], &first["amount"]), (&json!("succeeded"), &json!(1_000)));
    assert_eq!((&first["payment_intent"], &first["metadata"]["why"]), (&json!(intent), &json!("a")));
    assert_eq!(
        since(&account, before),
        ["refund.created", "charge.refunded", "refund.updated", "charge.refund.updated"]
    );
    let told = account.event("charge.refunded");
    assert_eq!(told["data"]["object"]["amount_refunded"], 1_000);
    assert_eq!(told["data"]["previous_attributes"], json!({ "amount_refunded": 0, "refunded": false }));
    assert_eq!(charge(&account, &of).await["refunded"], false);
    let post = Method::POST;
    let more = format!("charge={of}&amount=2001");
    account.refused(post.clone(), "/v1/refunds", &more, 400, json!("amount")).await;
    let rest = account.post("/v1/refunds", &format!("payment_intent={intent}")).await;
    assert_eq!(rest["amount"], 2_000);
    let found = charge(&account, &of).await;
    assert_eq!((&found["amount_refunded"], &found["refunded"]), (&json!(3_000), &json!(true)));
    let again = account.refused(post.clone(), "/v1/refunds", &format!("charge={of}"), 400, json!("charge")).await;
    assert_eq!(again["code"], "charge_already_refunded");
    for list in [format!("charge={of}"), format!("payment_intent={intent}")] {
        assert_eq!(ids_of(&account.get("/v1/refunds", &list).await), [id(&rest), id(&first)], "newest first");
    }
    assert_eq!(ids_of(&account.get("/v1/refunds", "charge=ch_other").await), Vec::<String>::new());
    assert_eq!(account.get(&format!("/v1/refunds/{}", id(&first)), "").await["amount"], 1_000);
    for (form, parameter) in [
        (String::new(), json!("charge")),
        (format!("charge={of}&payment_intent={intent}"), json!("payment_intent")),
        ("charge=ch_none".to_owned(), json!("charge")),
        (format!("charge={of}&reason=whim"), json!("reason")),
        (format!("charge={of}&amount=0"), json!("amount")),
        (format!("charge={of}&reverse_transfer=true"), json!("reverse_transfer")),
    ] {
        account.refused(post.clone(), "/v1/refunds", &form, 400, parameter).await;
    }
    assert_eq!(account.simulator.log().refunds().iter().map(|refund| refund.amount).sum::<i64>(), 3_000);
}

#[tokio::test]
async fn a_pending_refund_waits_for_its_bank_and_a_failed_one_gives_back() {
    let account = Account::new().await;
    let (_, of) = paid(&account).await;
    account.simulator.set_refund_mode(RefundMode::Pending).unwrap();
    let made = account.post("/v1/refunds", &format!("charge={of}&amount=1200")).await;
    assert_eq!((&made["status"], &made["pending_reason"]), (&json!("pending"), &json!("processing")));
    assert_eq!(charge(&account, &of).await["amount_refunded"], 1_200);
    assert!(account.events("refund.updated").is_empty());
    let done = account.simulator.settle_refund(&id(&made), RefundOutcome::Succeed).unwrap();
    assert_eq!((&done["status"], done.get("pending_reason")), (&json!("succeeded"), None));
    assert_eq!(account.event("refund.updated")["data"]["previous_attributes"], json!({ "status": "pending" }));
    assert!(account.simulator.settle_refund(&id(&made), RefundOutcome::Succeed).is_err(), "not twice");
    let before = account.all_events().len();
    let failed = account.simulator.settle_refund(&id(&made), RefundOutcome::Fail).unwrap();
    assert_eq!((&failed["status"], &failed["failure_reason"]), (&json!("failed"), &json!("expired_or_canceled_card")));
    assert_eq!(since(&account, before), ["refund.failed", "refund.updated", "charge.refund.updated"]);
    let found = charge(&account, &of).await;
    assert_eq!((&found["amount_refunded"], &found["refunded"]), (&json!(0), &json!(false)));
    assert!(account.simulator.settle_refund(&id(&made), RefundOutcome::Fail).is_err(), "not twice");
    let statuses: Vec<String> = account.simulator.log().refunds().iter().map(|refund| refund.status.clone()).collect();
    assert_eq!(statuses, ["pending", "succeeded", "failed"]);
}

#[tokio::test]
async fn the_balance_ties_out() {
    let account = Account::new().await;
    let (_, of) = paid(&account).await;
    let made = account.post("/v1/refunds", &format!("charge={of}&amount=1000")).await;
    account.simulator.settle_refund(&id(&made), RefundOutcome::Fail).unwrap();
    let dispute = account.simulator.open_dispute(&of, &DisputeOrder::default()).unwrap();
    account.simulator.move_dispute(&id(&dispute), DisputeStep::FundsWithdrawn).unwrap();
    let list = account.get("/v1/balance_transactions", "limit=100").await;
    let told: Vec<(String, i64, i64)> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|one| {
            assert_eq!(one["net"].as_i64(), Some(one["amount"].as_i64().unwrap() - one["fee"].as_i64().unwrap()));
            let category = one["reporting_category"].as_str().unwrap().to_owned();
            (category, one["amount"].as_i64().unwrap(), one["fee"].as_i64().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("charge".to_owned(), 3_000, 87),
            ("refund".to_owned(), -1_000, 0),
            ("refund_failure".to_owned(), 1_000, 0),
            ("dispute".to_owned(), -3_000, 1_500),
        ]
    );
    let of_charge = charge(&account, &of).await["balance_transaction"].as_str().unwrap().to_owned();
    let path = format!("/v1/balance_transactions/{of_charge}");
    assert_eq!(account.get(&path, "").await["status"], "pending");
    account.advance("2026-02-03T00:00:00Z").await;
    assert_eq!(account.get(&path, "").await["status"], "available");
    assert_eq!(account.get("/v1/balance_transactions", "type=adjustment").await["data"][0]["source"], id(&dispute));
}

#[tokio::test]
async fn a_dispute_is_withdrawn_reviewed_closed_and_reinstated() {
    let account = Account::new().await;
    let (intent, of) = paid(&account).await;
    let order = DisputeOrder { amount: Some(2_000), reason: Some("product_not_received".to_owned()), warning: false };
    let opened = account.simulator.open_dispute(&of, &order).unwrap();
    assert_eq!((&opened["status"], &opened["amount"]), (&json!("needs_response"), &json!(2_000)));
    assert_eq!(charge(&account, &of).await["disputed"], true);
    let refused = account.refused(Method::POST, "/v1/refunds", &format!("charge={of}"), 400, json!("charge")).await;
    assert_eq!(refused["code"], "charge_disputed");
    let go = |step| account.simulator.move_dispute(&id(&opened), step);
    assert!(go(DisputeStep::FundsReinstated { amount: None }).is_err(), "nothing was taken");
    assert!(go(DisputeStep::WarningClosed).is_err());
    let taken = go(DisputeStep::FundsWithdrawn).unwrap();
    assert_eq!(taken["balance_transactions"][0]["amount"], -2_000);
    assert!(go(DisputeStep::FundsWithdrawn).is_err(), "not twice");
    account.post(&format!("/v1/disputes/{}", id(&opened)), "evidence[uncategorized_text]=here").await;
    let won = go(DisputeStep::Won).unwrap();
    assert_eq!(won["status"], "won");
    assert!(go(DisputeStep::Lost).is_err(), "closed once");
    assert!(go(DisputeStep::FundsReinstated { amount: Some(2_001) }).is_err());
    go(DisputeStep::FundsReinstated { amount: Some(500) }).unwrap();
    go(DisputeStep::FundsReinstated { amount: None }).unwrap();
    assert!(go(DisputeStep::FundsReinstated { amount: None }).is_err());
    let told: Vec<(String, String)> = account
        .all_events()
        .iter()
        .filter(|event| event["data"]["object"]["object"] == "dispute")
        .map(|event| (event["type"].as_str().unwrap().to_owned(), event["data"]["object"]["status"].to_string()))
        .collect();
    let expected = [
        ("created", "needs_response"),
        ("funds_withdrawn", "needs_response"),
        ("updated", "under_review"),
        ("closed", "won"),
        ("funds_reinstated", "won"),
        ("funds_reinstated", "won"),
    ]
    .map(|(what, status)| (format!("charge.dispute.{what}"), format!("\"{status}\"")));
    assert_eq!(told, expected);
    assert_eq!(ids_of(&account.get("/v1/disputes", &format!("payment_intent={intent}")).await), [id(&opened)]);
    assert_eq!(account.get(&format!("/v1/disputes/{}", id(&opened)), "").await["status"], "won");
}

#[tokio::test]
async fn an_inquiry_takes_nothing_and_a_warning_of_fraud_names_its_charge() {
    let account = Account::new().await;
    let (intent, of) = paid(&account).await;
    let warning = account.simulator.warn_of_fraud(&of, "made_with_stolen_card").unwrap();
    assert_eq!((&warning["actionable"], &warning["payment_intent"]), (&json!(true), &json!(intent)));
    assert_eq!(account.event("radar.early_fraud_warning.created")["data"]["object"], warning);
    assert_eq!(ids_of(&account.get("/v1/radar/early_fraud_warnings", &format!("charge={of}")).await), [id(&warning)]);
    assert!(account.simulator.warn_of_fraud(&of, "a hunch").is_err());
    let inquiry = DisputeOrder { warning: true, ..DisputeOrder::default() };
    let opened = account.simulator.open_dispute(&of, &inquiry).unwrap();
    assert_eq!(opened["status"], "warning_needs_response");
    let go = |step| account.simulator.move_dispute(&id(&opened), step);
    for step in [DisputeStep::FundsWithdrawn, DisputeStep::Won, DisputeStep::Lost] {
        assert!(go(step).is_err(), "{step:?}");
    }
    assert_eq!(go(DisputeStep::WarningClosed).unwrap()["status"], "warning_closed");
    account.post("/v1/refunds", &format!("charge={of}&amount=1")).await;
    let second = account.simulator.open_dispute(&of, &inquiry).unwrap();
    let prevented = account.simulator.move_dispute(&id(&second), DisputeStep::Prevented).unwrap();
    assert_eq!(prevented["status"], "prevented");
    let too_much = DisputeOrder { amount: Some(3_001), ..DisputeOrder::default() };
    assert!(account.simulator.open_dispute(&of, &too_much).is_err());
}

/// A paid subscription invoice of 10.00 and its only line.
async fn invoiced(account: &Account) -> (Value, String) {
    let made = account.subscription("").await;
    let invoice = account.get(&format!("/v1/invoices/{}", made["latest_invoice"].as_str().unwrap()), "").await;
    let line = id(&invoice["lines"]["data"][0]);
    (invoice, line)
}

#[tokio::test]
async fn a_credit_note_of_a_paid_invoice_refunds_credits_or_notes_what_happened_outside() {
    let account = Account::new().await;
    let (invoice, line) = invoiced(&account).await;
    let of = id(&invoice);
    let lines = format!("invoice={of}&lines[0][type]=invoice_line_item&lines[0][invoice_line_item]={line}");
    let post = Method::POST;
    for (form, parameter) in [
        (format!("{lines}&lines[0][amount]=400"), "refund_amount"),
        (format!("{lines}&lines[0][amount]=400&refund_amount=399"), "refund_amount"),
        (format!("{lines}&lines[0][amount]=1001&refund_amount=1001"), "lines[0][invoice_line_item]"),
        (format!("{lines}&lines[0][quantity]=2&refund_amount=2000"), "lines[0][invoice_line_item]"),
        (format!("{lines}&lines[0][amount]=1&lines[0][quantity]=1"), "lines[0][amount]"),
        (format!("invoice={of}&amount=5&refund_amount=5&reason=mood"), "reason"),
        (format!("invoice={of}&amount=5000&refund_amount=5000"), "amount"),
        (format!("invoice={of}"), "amount"),
        ("amount=5".to_owned(), "invoice"),
        (format!("invoice={of}&amount=5&refund_amount=5&email_type=none"), "email_type"),
    ] {
        account.refused(post.clone(), "/v1/credit_notes", &form, 400, json!(parameter)).await;
    }
    let form = format!(
        "{lines}&lines[0][amount]=400&refund_amount=300&credit_amount=60&out_of_band_amount=40&reason=order_change&memo=m"
    );
    let before = account.all_events().len();
    let note = account.post("/v1/credit_notes", &form).await;
    assert_eq!(
        (&note["total"], &note["type"], &note["post_payment_amount"], &note["out_of_band_amount"]),
        (&json!(400), &json!("post_payment"), &json!(400), &json!(40))
    );
    assert_eq!(note["lines"]["data"][0]["invoice_line_item"], line);
    let refund = account.event("refund.created")["data"]["object"].clone();
    assert_eq!((&note["refunds"][0]["refund"], &refund["amount"]), (&refund["id"], &json!(300)));
    assert_eq!(
        since(&account, before),
        [
            "refund.created",
            "charge.refunded",
            "refund.updated",
            "charge.refund.updated",
            "customer.updated",
            "credit_note.created",
            "invoice.updated",
        ]
    );
    let customer = account.get(&format!("/v1/customers/{}", invoice["customer"].as_str().unwrap()), "").await;
    assert_eq!(customer["balance"], -60);
    assert_eq!(account.get(&format!("/v1/invoices/{of}"), "").await["post_payment_credit_notes_amount"], 400);
    let rest = format!("{lines}&lines[0][amount]=601&refund_amount=601");
    account.refused(post.clone(), "/v1/credit_notes", &rest, 400, json!("lines[0][invoice_line_item]")).await;
    assert_eq!(ids_of(&account.get("/v1/credit_notes", &format!("invoice={of}")).await), [id(&note)]);
    let path = format!("/v1/credit_notes/{}", id(&note));
    assert_eq!(ids_of(&account.get(&format!("{path}/lines"), "").await), [id(&note["lines"]["data"][0])]);
    let void = account.send(post.clone(), &format!("{path}/void"), "", &[]).await;
    assert_eq!(void.status, 400, "of an open invoice only");
    account.post(&path, "memo=n").await;
    assert_eq!(account.event("credit_note.updated")["data"]["previous_attributes"], json!({ "memo": "m" }));
    let answer = account.get_in(super::ACACIA, &path, "").await.body;
    assert_eq!((&answer["refund"], answer.get("refunds")), (&refund["id"], None), "one refund up to acacia");
    account.advance("2026-03-01T00:00:00Z").await;
    let charges = account.simulator.log().charges();
    assert_eq!(charges.last().unwrap().amount, 940, "the credit pays the next invoice first");
}

#[tokio::test]
async fn a_credit_note_of_an_open_invoice_lowers_what_is_due_and_may_be_voided() {
    let account = Account::new().await;
    let (_, invoice) = open_invoice(&account).await;
    let note = account.post("/v1/credit_notes", &format!("invoice={invoice}&amount=400")).await;
    assert_eq!((&note["type"], &note["pre_payment_amount"]), (&json!("pre_payment"), &json!(400)));
    let path = format!("/v1/invoices/{invoice}");
    assert_eq!(account.get(&path, "").await["amount_remaining"], 600);
    account
        .refused(Method::POST, "/v1/credit_notes", &format!("invoice={invoice}&amount=601"), 400, json!("amount"))
        .await;
    let voided = account.post(&format!("/v1/credit_notes/{}/void", id(&note)), "").await;
    assert_eq!((&voided["status"], &account.event("credit_note.voided")["data"]["object"]), (&json!("void"), &voided));
    assert_eq!(account.get(&path, "").await["amount_remaining"], 1_000);
    account.post("/v1/credit_notes", &format!("invoice={invoice}&amount=100")).await;
    let paid = account.post(&format!("{path}/pay"), "").await;
    assert_eq!((&paid["amount_paid"], &paid["status"]), (&json!(900), &json!("paid")));
    assert_eq!(account.simulator.log().charges().last().unwrap().amount, 900);
    let (_, whole) = open_invoice(&account).await;
    account.post("/v1/credit_notes", &format!("invoice={whole}&amount=1000")).await;
    let closed = account.get(&format!("/v1/invoices/{whole}"), "").await;
    assert_eq!((&closed["status"], &closed["amount_paid"]), (&json!("paid"), &json!(0)));
}

/// A subscription whose second invoice is open, and that invoice.
async fn open_invoice(account: &Account) -> (Value, String) {
    let made = account.subscription("").await;
    let end = made["items"]["data"][0]["current_period_end"].as_i64().unwrap();
    let after = jiff::Timestamp::from_second(end + 60).unwrap();
    account.simulator.advance_to(after).await.unwrap();
    let found = account.get(&format!("/v1/subscriptions/{}", id(&made)), "").await;
    let invoice = found["latest_invoice"].as_str().unwrap().to_owned();
    account.post(&format!("/v1/invoices/{invoice}/finalize"), "auto_advance=false").await;
    (found, invoice)
}
