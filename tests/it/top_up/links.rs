//! The card's owner is asked for: a page that carries the same top-up, paid once, and closed when it is given up.

use creditd::domain::command::{Charging, SetRule};
use creditd::domain::top_up::{Link, TopUpState};
use creditd::simulator::{CardOrder, Outcome};

use super::{Shop, rule};

/// A shop whose card wants its owner, with the page that was opened for them.
async fn asked() -> (Shop, Link) {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_authenticationRequired").await;
    shop.set(rule(None)).await;
    let open = shop.wait(|open| open.len() == 1 && open[0].link.is_some()).await;
    assert_eq!((open[0].state, open[0].reason.as_deref()), (TopUpState::NeedsAction, Some("authentication_required")));
    assert_eq!(shop.paused().await, Some("authentication_required"));
    let link = open[0].link.clone().unwrap();
    (shop, link)
}

#[tokio::test]
async fn paying_by_the_page_grants_once_and_the_rule_goes_on() {
    let (shop, link) = asked().await;
    let session = link.session.unwrap();
    shop.app.simulator.pay_checkout(&session, Outcome::Paid).unwrap();
    for kind in ["checkout.session.completed", "payment_intent.succeeded", "checkout.session.completed"] {
        shop.app.deliver_newest(kind).await;
    }
    shop.settled().await;
    assert_eq!((shop.charged(), shop.credits().await.as_str(), shop.paused().await), (vec![2_000], "25", None));
    shop.close().await;
}

/// No event comes; the page's time runs out, and the charger finds that it was paid.
#[tokio::test]
async fn a_page_that_was_paid_unheard_is_found_when_its_time_is_over() {
    let (shop, link) = asked().await;
    shop.app.simulator.pay_checkout(&link.session.unwrap(), Outcome::Paid).unwrap();
    shop.later(86_500).await;
    shop.settled().await;
    assert_eq!((shop.charged(), shop.credits().await.as_str(), shop.paused().await), (vec![2_000], "25", None));
    shop.close().await;
}

#[tokio::test]
async fn nobody_comes_for_a_week_and_it_is_given_up() {
    let (shop, mut page) = asked().await;
    for _ in 0..9 {
        shop.later(86_500).await;
        // It goes on by itself: to the next page, or to its end.
        let number = page.number;
        let is_next = |link: &Option<Link>| link.as_ref().is_some_and(|link| link.number > number);
        let open = shop.wait(|open| open.iter().all(|one| is_next(&one.link))).await;
        let Some(next) = open.into_iter().next().and_then(|one| one.link) else { break };
        page = next;
    }
    shop.settled().await;
    assert_eq!(shop.history().await, [("failed".to_owned(), Some("link_expired".to_owned()))]);
    assert_eq!((shop.charged(), shop.paused().await), (vec![], Some("authentication_required")));
    let pages = shop.app.simulator.log().requests();
    let pages = pages.iter().filter(|request| request.path == "/v1/checkout/sessions").count();
    assert!((2..=7).contains(&pages), "{pages} pages in a week");
    shop.spend("one", "1").await;
    assert!(shop.open_top_ups().await.is_empty(), "a paused rule decides nothing");
    shop.close().await;
}

#[tokio::test]
async fn a_new_card_closes_the_page_and_is_charged_instead() {
    let (shop, link) = asked().await;
    shop.usual_card("pm_card_visa").await;
    shop.post(Charging::CardSeen(None)).await;
    shop.settled().await;
    assert_eq!(shop.charged(), [2_000]);
    let refused = shop.app.simulator.pay_checkout(&link.session.unwrap(), Outcome::Paid);
    assert!(refused.is_err(), "the page is closed: {refused:?}");
    assert_eq!(shop.credits().await, "25");
    shop.close().await;
}

#[tokio::test]
async fn switching_off_closes_the_page() {
    let (shop, link) = asked().await;
    shop.set(SetRule { enabled: false, ..rule(None) }).await;
    shop.settled().await;
    assert!(shop.app.simulator.pay_checkout(&link.session.unwrap(), Outcome::Paid).is_err());
    assert_eq!(shop.history().await, [("dropped".to_owned(), Some("disabled".to_owned()))]);
    assert_eq!((shop.charged(), shop.credits().await.as_str()), (vec![], "5"));
    shop.close().await;
}

/// The intent that asked for its owner is cancelled before a page is opened, so that both cannot be paid.
#[tokio::test]
async fn what_asked_for_its_owner_cannot_be_paid_beside_the_page() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_visa").await;
    shop.app.simulator.set_card(&shop.payer, &CardOrder::requires_action()).unwrap();
    shop.set(rule(None)).await;
    let open = shop.wait(|open| open.len() == 1 && open[0].link.is_some()).await;
    let intent = open[0].last_try.clone().unwrap().payment_intent.unwrap();
    let late = shop.app.simulator.authenticate(&intent, true);
    assert!(late.is_err(), "{late:?}");
    assert_eq!(shop.charged(), Vec::<i64>::new());
    shop.close().await;
}
