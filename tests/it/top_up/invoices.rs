//! Charges by an invoice: paid, paid by a balance, declined, asked for, voided.

use creditd::domain::command::{Charging, SetRule};
use creditd::domain::top_up::{ChargeMode, TopUpState};
use creditd::simulator::{CardOrder, Fault, FaultRule};

use super::{Shop, rule};

fn invoiced() -> SetRule {
    SetRule { mode: ChargeMode::Invoice, ..rule(None) }
}

#[tokio::test]
async fn an_invoice_is_made_filled_made_final_and_paid() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_visa").await;
    shop.set(invoiced()).await;
    shop.settled().await;
    assert_eq!((shop.charged(), shop.credits().await.as_str()), (vec![2_000], "25"));
    shop.app.deliver_newest("invoice.paid").await;
    shop.app.deliver_newest("payment_intent.succeeded").await;
    shop.app.settle().await;
    assert_eq!(shop.credits().await, "25");
    shop.close().await;
}

#[tokio::test]
async fn every_step_may_lose_its_reply() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_visa").await;
    let lost = |path: &str| FaultRule { times: Some(2), ..FaultRule::new("POST", path, Fault::DropReply) };
    shop.app.simulator.set_fault_rules(vec![lost("/v1/invoiceitems"), lost("/v1/invoices")]).unwrap();
    shop.set(invoiced()).await;
    shop.settled().await;
    assert_eq!((shop.charged(), shop.credits().await.as_str()), (vec![2_000], "25"));
    shop.close().await;
}

#[tokio::test]
async fn a_balance_at_stripe_pays_without_a_charge() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_visa").await;
    let path = format!("/v1/customers/{}", shop.payer);
    shop.app.stripe("POST", &path, &[("balance", "-5000")]).await;
    shop.set(invoiced()).await;
    shop.settled().await;
    assert_eq!((shop.charged(), shop.credits().await.as_str()), (vec![], "25"));
    shop.close().await;
}

#[tokio::test]
async fn a_declined_invoice_is_voided_before_the_next_try() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_visa").await;
    let short = CardOrder { times: Some(1), ..CardOrder::declined("card_declined", Some("insufficient_funds")) };
    shop.app.simulator.set_card(&shop.payer, &short).unwrap();
    shop.set(invoiced()).await;
    let open = shop.wait(|open| open.len() == 1 && open[0].tries == 1 && open[0].state == TopUpState::Open).await;
    let first = open[0].last_try.clone().unwrap().invoice.unwrap();
    let invoice = shop.app.stripe("GET", &format!("/v1/invoices/{first}"), &[]).await;
    assert_eq!(invoice["status"], "void");
    shop.later(86_500).await;
    shop.settled().await;
    assert_eq!((shop.charged(), shop.credits().await.as_str()), (vec![2_000], "25"));
    shop.close().await;
}

#[tokio::test]
async fn the_invoices_own_page_is_the_link() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_authenticationRequired").await;
    shop.set(invoiced()).await;
    let open = shop.wait(|open| open.len() == 1 && open[0].link.is_some()).await;
    let invoice = open[0].last_try.clone().unwrap().invoice.unwrap();
    assert_eq!((open[0].state, shop.paused().await), (TopUpState::NeedsAction, Some("authentication_required")));
    shop.app.simulator.pay_invoice(&invoice, "pm_card_visa").unwrap();
    shop.app.deliver_newest("invoice.paid").await;
    shop.settled().await;
    assert_eq!((shop.charged(), shop.credits().await.as_str(), shop.paused().await), (vec![2_000], "25", None));
    shop.close().await;
}

#[tokio::test]
async fn a_new_card_voids_the_invoice_that_waits() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_authenticationRequired").await;
    shop.set(invoiced()).await;
    let open = shop.wait(|open| open.len() == 1 && open[0].link.is_some()).await;
    let waiting = open[0].last_try.clone().unwrap().invoice.unwrap();
    shop.usual_card("pm_card_visa").await;
    shop.post(Charging::CardSeen(None)).await;
    shop.settled().await;
    assert_eq!(shop.charged(), [2_000]);
    let invoice = shop.app.stripe("GET", &format!("/v1/invoices/{waiting}"), &[]).await;
    assert_eq!(invoice["status"], "void");
    shop.close().await;
}
