//! The official SDKs read what the simulator emits.

use std::path::Path;
use std::process::Command;

use creditd::clock::Clock;
use creditd::simulator::{CardOrder, DisputeOrder, DisputeStep, Options, Outcome, RefundMode, RefundOutcome, TaxRate};
use jiff::SignedDuration;
use reqwest::Method;

use super::{Account, id};

/// Three weeks in which everything happens that can happen to a subscription and its invoices.
async fn live(account: &Account) {
    let price = account.price("&recurring[interval]=day").await;
    let mut subscriptions = Vec::new();
    for more in ["&trial_period_days=4", "", "&cancel_at_period_end=true", "", ""] {
        let customer = id(&account.post("/v1/customers", "email=a@example.com&name=A").await);
        let form = format!("customer={customer}&items[0][price]={price}{more}");
        subscriptions.push((customer, id(&account.post("/v1/subscriptions", &form).await)));
    }
    let declined = CardOrder::declined("card_declined", Some("insufficient_funds"));
    account.simulator.set_card(&subscriptions[1].0, &declined).unwrap();
    let never = id(&account.post("/v1/customers", "").await);
    account.simulator.set_card(&never, &declined).unwrap();
    account.post("/v1/subscriptions", &format!("customer={never}&items[0][price]={price}")).await;
    let start = account.simulator.now();
    account.simulator.advance_to(start + SignedDuration::from_hours(24 * 10)).await.unwrap();
    let gone = account.send(Method::DELETE, &format!("/v1/customers/{}", subscriptions[3].0), "", &[]).await;
    assert_eq!(gone.status, 200);
    for end in ["void", "mark_uncollectible"] {
        let hour = SignedDuration::from_mins(90);
        let path = format!("/v1/subscriptions/{}", subscriptions[4].1);
        let mut latest = account.get(&path, "").await["latest_invoice"].as_str().unwrap().to_owned();
        let paid = latest.clone();
        for _ in 0..48 {
            if latest != paid {
                break;
            }
            account.simulator.advance_to(account.simulator.now() + SignedDuration::from_mins(30)).await.unwrap();
            account.get(&path, "").await["latest_invoice"].as_str().unwrap().clone_into(&mut latest);
        }
        account.post(&format!("/v1/invoices/{latest}/finalize"), "auto_advance=false").await;
        account.post(&format!("/v1/invoices/{latest}/{end}"), "").await;
        account.simulator.advance_to(account.simulator.now() + hour).await.unwrap();
    }
    for event_type in [
        "customer.deleted",
        "customer.subscription.deleted",
        "customer.subscription.trial_will_end",
        "customer.subscription.updated",
        "invoice.marked_uncollectible",
        "invoice.payment_failed",
        "invoice.voided",
        "payment_intent.canceled",
    ] {
        assert!(!account.events(event_type).is_empty(), "no {event_type}");
    }
}

/// Money goes back in every way it can.
async fn give_back(account: &Account) {
    let price = account.price("").await;
    let mut charges = Vec::new();
    for _ in 0..4 {
        let session = account.session(&price, "payment", "").await;
        let session = account.simulator.pay_checkout(&session, Outcome::Paid).unwrap();
        let path = format!("/v1/payment_intents/{}", session["payment_intent"].as_str().unwrap());
        charges.push(account.get(&path, "").await["latest_charge"].as_str().unwrap().to_owned());
    }
    account.post("/v1/refunds", &format!("charge={}&amount=100&reason=duplicate", charges[0])).await;
    account.simulator.set_refund_mode(RefundMode::Pending).unwrap();
    let failing = id(&account.post("/v1/refunds", &format!("charge={}", charges[1])).await);
    account.simulator.settle_refund(&failing, RefundOutcome::Fail).unwrap();
    account.post("/v1/refunds", &format!("charge={}", charges[1])).await;
    account.simulator.set_refund_mode(RefundMode::Immediate).unwrap();
    let dispute = id(&account.simulator.open_dispute(&charges[2], &DisputeOrder::default()).unwrap());
    for step in [
        DisputeStep::FundsWithdrawn,
        DisputeStep::UnderReview,
        DisputeStep::Won,
        DisputeStep::FundsReinstated { amount: None },
    ] {
        account.simulator.move_dispute(&dispute, step).unwrap();
    }
    account.simulator.warn_of_fraud(&charges[3], "misc").unwrap();
    let made = account.subscription("").await;
    let invoice = account.get(&format!("/v1/invoices/{}", made["latest_invoice"].as_str().unwrap()), "").await;
    let line = id(&invoice["lines"]["data"][0]);
    let form = format!(
        "invoice={}&lines[0][type]=invoice_line_item&lines[0][invoice_line_item]={line}&lines[0][quantity]=1\
         &refund_amount=900&credit_amount=100",
        id(&invoice)
    );
    account.post("/v1/credit_notes", &form).await;
}

/// Plans change, cards are kept, and what is sold is taxed and discounted.
async fn change(account: &Account) {
    account.simulator.set_tax(TaxRate { basis_points: 700, inclusive: false }).unwrap();
    let made = account.subscription("&automatic_tax[enabled]=true&discounts[0][coupon]=percent_20").await;
    let path = format!("/v1/subscriptions/{}", id(&made));
    let item = id(&made["items"]["data"][0]);
    let start = account.simulator.now();
    account.simulator.advance_to(start + SignedDuration::from_hours(24)).await.unwrap();
    for more in [
        "quantity]=2&proration_behavior=always_invoice",
        "quantity]=3",
        "quantity]=1&payment_behavior=pending_if_incomplete&proration_behavior=always_invoice",
    ] {
        account.post(&path, &format!("items[0][id]={item}&items[0][{more}")).await;
    }
    let declined = CardOrder::declined("card_declined", Some("insufficient_funds"));
    account.simulator.set_card(made["customer"].as_str().unwrap(), &declined).unwrap();
    let pending = "quantity]=9&payment_behavior=pending_if_incomplete&proration_behavior=always_invoice";
    account.post(&path, &format!("items[0][id]={item}&items[0][{pending}")).await;
    let other = account.subscription("").await;
    account.post("/v1/subscription_schedules", &format!("from_subscription={}", id(&other))).await;
    let paused = account.subscription("").await;
    account.post(&format!("/v1/subscriptions/{}", id(&paused)), "pause_collection[behavior]=void").await;
    let customer = paused["customer"].as_str().unwrap();
    let form = format!("mode=setup&currency=eur&customer={customer}&success_url=x");
    let session = id(&account.post("/v1/checkout/sessions", &form).await);
    account.simulator.pay_checkout(&session, Outcome::Paid).unwrap();
    let price = account.price("").await;
    let form = format!("line_items[0][price]={price}&line_items[0][quantity]=1");
    let link = id(&account.post("/v1/payment_links", &form).await);
    let session = id(&account.simulator.follow_payment_link(&link).unwrap());
    account.simulator.present_checkout(&session, 1_100, "usd").unwrap();
    account.simulator.pay_checkout(&session, Outcome::Paid).unwrap();
    let form = "amount=700&currency=eur&payment_method=pm_card_authenticationRequired&confirm=true";
    account.post("/v1/payment_intents", form).await;
    let held = "amount=700&currency=eur&payment_method=pm_card_visa&confirm=true&capture_method=manual";
    account.post("/v1/payment_intents", held).await;
}

/// Cards are charged while their owners are away, with every answer there is; invoices are made by hand.
async fn charge(account: &Account) {
    for card in [
        "pm_card_mastercard",
        "pm_card_chargeDeclinedInsufficientFunds",
        "pm_card_authenticationRequired",
        "pm_card_authenticationRequiredOnSetup",
        "pm_usBankAccount",
        "pm_usBankAccount_accountClosed",
        "pm_usBankAccount_processing",
    ] {
        let customer = id(&account.post("/v1/customers", &format!("payment_method={card}")).await);
        let methods = account.get(&format!("/v1/customers/{customer}/payment_methods"), "").await;
        let method = id(&methods["data"][0]);
        let default = format!("invoice_settings[default_payment_method]={method}");
        account.post(&format!("/v1/customers/{customer}"), &default).await;
        let pay = format!("customer={customer}&payment_method={method}&confirm=true");
        let intent = format!("{pay}&amount=700&currency=eur&off_session=true");
        account.send(Method::POST, "/v1/payment_intents", &intent, &[]).await;
        let advised = CardOrder {
            advice_code: Some("try_again_later".to_owned()),
            network_advice_code: Some("02".to_owned()),
            network_decline_code: Some("51".to_owned()),
            times: Some(1),
            ..CardOrder::declined("card_declined", Some("insufficient_funds"))
        };
        for order in [advised, CardOrder { times: Some(1), ..CardOrder::requires_action() }] {
            account.simulator.set_card(&customer, &order).unwrap();
            account.send(Method::POST, "/v1/payment_intents", &intent, &[]).await;
        }
        account.send(Method::POST, "/v1/setup_intents", &format!("confirm=true&payment_method={card}"), &[]).await;
        for end in ["pay", "void"] {
            let draft = "currency=eur&pending_invoice_items_behavior=exclude&auto_advance=false";
            let invoice = id(&account.post("/v1/invoices", &format!("customer={customer}&{draft}")).await);
            let item = format!("customer={customer}&invoice={invoice}&amount=1500&currency=eur");
            account.post("/v1/invoiceitems", &item).await;
            account.post(&format!("/v1/invoices/{invoice}/finalize"), "").await;
            account.send(Method::POST, &format!("/v1/invoices/{invoice}/{end}"), "", &[]).await;
        }
        let given_up = format!("customer={customer}&currency=eur&pending_invoice_items_behavior=exclude");
        let given_up = id(&account.post("/v1/invoices", &given_up).await);
        account.send(Method::DELETE, &format!("/v1/invoices/{given_up}"), "", &[]).await;
        account.post(&format!("/v1/payment_methods/{method}/detach"), "").await;
    }
    let start = account.simulator.now();
    account.simulator.advance_to(start + SignedDuration::from_hours(24 * 5)).await.unwrap();
    let made = account.subscription("").await;
    let waiting =
        format!("customer={}&amount=5&currency=eur&subscription={}", made["customer"].as_str().unwrap(), id(&made));
    account.post("/v1/invoiceitems", &waiting).await;
    for event_type in [
        "customer.updated",
        "invoice.deleted",
        "invoice.payment_action_required",
        "payment_intent.processing",
        "payment_intent.requires_action",
        "payment_method.attached",
        "payment_method.detached",
        "setup_intent.requires_action",
        "setup_intent.setup_failed",
        "setup_intent.succeeded",
    ] {
        assert!(!account.events(event_type).is_empty(), "no {event_type}");
    }
}

/// Both official SDKs read what is emitted. `CREDITD_TEST_PYTHON` names an interpreter with `stripe` 16.1.0 and
/// `CREDITD_TEST_NODE_MODULES` a folder with `stripe` 23.1.0; without them the test says that it skipped.
#[tokio::test]
async fn sdk_reads_what_the_simulator_emits() {
    let account = Account::start({
        let mut options = Options::new(Clock::shifted(SignedDuration::ZERO));
        options.webhook_secrets = vec!["whsec_sdk".to_owned()];
        options
    })
    .await;
    live(&account).await;
    give_back(&account).await;
    change(&account).await;
    charge(&account).await;
    let base = account.simulator.base_url().to_owned();
    for (program, script, variable, version) in [
        (setting("CREDITD_TEST_PYTHON"), "simulator_objects.py", "CREDITD_TEST_PYTHON", "16.1.0"),
        (
            setting("CREDITD_TEST_NODE_MODULES").map(|_| "node".to_owned()),
            "simulator_objects.mjs",
            "CREDITD_TEST_NODE_MODULES",
            "23.1.0",
        ),
    ] {
        let Some(program) = program else {
            println!("skipped {script}: {variable} is not set (stripe {version} wanted)");
            continue;
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(script);
        let base = base.clone();
        let output = tokio::task::spawn_blocking(move || Command::new(program).arg(path).arg(base).output().unwrap());
        let output = output.await.unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{stdout}\n{stderr}");
        print!("{script}: {stdout}");
        assert!(stdout.contains("read by stripe"), "{script} checked nothing: {stdout}");
    }
}

#[expect(clippy::disallowed_methods, reason = "where the official SDKs are is a fact of the machine that tests")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
