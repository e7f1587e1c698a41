//! Selling and switching under attack: plans to and fro, seats beyond counting, answers that were lost, previews.

use creditd::domain::catalog::PlanId;
use creditd::domain::command::{Attach, Cancel, CancelWhen, CarryOver, Command, Decision, PlaceHold};
use creditd::domain::decide::{Context, decide};
use creditd::domain::hold::WhenMore;
use creditd::domain::ids::HoldId;
use serde_json::json;

use crate::attach::{Shop, pairs};
use crate::domain_laws::{credits, feature, quantity};
use crate::subscription_laws::World;
use crate::support::world::Counting;

/// Three plans of ours in one group; one is everyone's, and welcomes by a gift.
const OURS: &str = r#"
[features.calls]
type = "metered"
[plans.free]
group = "main"
auto_enable = true
[[plans.free.items]]
feature = "calls"
included = "5"
reset = "month"
[[plans.free.items]]
id = "welcome"
feature = "calls"
included = "100"
[plans.tiny]
group = "main"
[[plans.tiny.items]]
feature = "calls"
included = "1"
reset = "month"
[plans.hobby]
group = "main"
[[plans.hobby.items]]
feature = "calls"
included = "8"
reset = "month"
"#;

fn attach(plan: &str, carry_over: CarryOver) -> Command {
    Command::Attach(Attach { plan: PlanId::new(plan).unwrap(), entity: String::new(), quantity: 1, carry_over })
}

fn cancel(plan: &str) -> Command {
    Command::Cancel(Cancel { plan: PlanId::new(plan).unwrap(), entity: String::new(), when: CancelWhen::Now })
}

fn hold(world: &mut World, calls: &str) -> HoldId {
    let wanted = PlaceHold {
        feature: feature("calls"),
        entity: String::new(),
        quantity: quantity(calls),
        properties: std::collections::BTreeMap::default(),
        ttl_seconds: 3_600,
        when_more: WhenMore::Reject,
    };
    let _: Decision = world.post(&Command::Hold(wanted));
    world.state.holds.last().unwrap().id
}

async fn apply(shop: &Shop, catalog: &str) {
    let catalog = creditd::domain::catalog::file::read(catalog).unwrap();
    let _: creditd::store::catalog::Applied = shop.app.store.apply_catalog(&catalog, [2; 32], false).await.unwrap();
}

/// What a plan gives once, it gives once: not again each time somebody leaves it and comes back.
#[test]
fn a_welcome_gift_is_not_given_again_to_who_comes_back() {
    let mut world = World::with(OURS);
    world.at("01-03");
    assert_eq!(world.available(), credits("105"));
    for _ in 0..3 {
        let _: Decision = world.post(&attach("hobby", CarryOver::default()));
        let _: Decision = world.post(&cancel("hobby"));
        assert_eq!(world.available(), credits("105"), "everyone's plan came back");
        let _: Decision = world.post(&attach("hobby", CarryOver::default()));
        let _: Decision = world.post(&attach("free", CarryOver::default()));
        assert_eq!(world.available(), credits("105"));
    }
    world.must_keep_the_laws();
}

/// What a hold pins when its plan is replaced ends with the plan as soon as the hold lets go (rule 16).
#[test]
fn credits_held_over_a_switch_do_not_outlive_their_plan() {
    let mut world = World::with(OURS);
    world.at("01-03");
    world.spend("105");
    let _: Decision = world.post(&attach("hobby", CarryOver::default()));
    let before = world.available();
    let all = before.to_string();
    let pinned = hold(&mut world, &all);
    let _: Decision = world.post(&attach("tiny", CarryOver::default()));
    let after = world.available();
    let _: Decision = world.post(&Command::ReleaseHold(pinned));
    assert_eq!(world.available(), after, "what was pinned is over with its plan");
    world.must_keep_the_laws();
}

/// Seats that give more than can be counted are refused when they are asked for, not at the next renewal.
#[test]
fn seats_beyond_counting_leave_the_account_alive() {
    let mut world = World::with(&OURS.replace("\"8\"", "\"1000000000000000\""));
    let _: Decision = world.post(&attach("hobby", CarryOver::default()));
    let many = Attach {
        plan: PlanId::new("hobby").unwrap(),
        entity: String::new(),
        quantity: 999_999,
        carry_over: CarryOver::default(),
    };
    let context = Context { catalog: &world.catalog, now: world.now };
    let refused = decide(&mut world.state, &mut world.changes, &Command::Attach(many), context, &mut Counting(9_000));
    assert!(refused.is_err(), "{refused:?}");
    world.at("03-03");
    world.spend("1");
    world.must_keep_the_laws();
}

/// Rests that would add up to more than can be counted stop there.
#[rstest::rstest]
#[case::uncapped("{}")]
#[case::percent("{ max_percent = 1000 }")]
fn rests_beyond_counting_leave_the_account_alive(#[case] rollover: &str) {
    let plan = format!(
        "[features.calls]\ntype = \"metered\"\n[plans.free]\nauto_enable = true\n[[plans.free.items]]\n\
         feature = \"calls\"\nincluded = \"600000000000000000\"\nreset = \"month\"\nrollover = {rollover}\n"
    );
    for months in [&["02-03", "03-03", "04-03", "05-03"][..], &["05-03"]] {
        let mut world = World::with(&plan);
        for month in months {
            world.at(month);
            world.spend("1");
        }
        world.must_keep_the_laws();
    }
}

/// The same order with the same key is answered as before, although what it asked for is there by now.
#[tokio::test]
async fn an_order_repeated_with_its_key_is_answered_as_before() {
    let shop = Shop::open().await;
    let body = json!({ "key": "own" });
    let first = shop.attach("hobby", body.clone()).await;
    assert_eq!(shop.attach("hobby", body.clone()).await, first);
    let (status, answer) = shop.try_attach("hobby", json!({ "key": "own", "seats": 3 })).await;
    assert_eq!((status, &answer["code"]), (409, &json!("key_conflict")), "{answer}");
    shop.close().await;
}

/// The same of a subscription that a saved card started, once Stripe's events told of it.
#[tokio::test]
async fn a_subscription_repeated_with_its_key_is_answered_as_before() {
    let shop = Shop::open().await;
    shop.buy("extra").await;
    let body = json!({ "key": "pro-1" });
    let first = shop.attach("pro", body.clone()).await;
    assert_eq!(first["action"], "charge");
    shop.told().await;
    assert_eq!(shop.plans().await, pairs(&[("extra", "active"), ("pro", "active")]));
    assert_eq!(shop.attach("pro", body.clone()).await, first);
    shop.close().await;
}

/// A preview says what attach then does.
#[tokio::test]
async fn previews_say_what_attach_then_does() {
    let shop = Shop::open().await;
    shop.buy("pro").await;
    // A saved card is not charged for an add-on without a key.
    let preview = shop.preview("extra", json!({})).await;
    let attached = shop.attach("extra", json!({})).await;
    assert_eq!(preview["action"], attached["action"], "an add-on without a key");
    let preview = shop.preview("extra", json!({ "key": "e1" })).await;
    assert_eq!(preview["action"], "charge");
    // A plan of ours waits for the end of what is paid, also where that is set to end already.
    let body = json!({ "customer": "ada", "plan": "pro", "when": "period_end" });
    assert_eq!(shop.post("cancel", body).await.0, 200);
    shop.told().await;
    let preview = shop.preview("hobby", json!({})).await;
    let attached = shop.attach("hobby", json!({})).await;
    assert_eq!(
        (&preview["action"], &preview["effective_at"]),
        (&attached["action"], &attached["effective_at"]),
        "{preview}"
    );
    shop.close().await;
}

/// A change to a price of another interval begins a period of its own: the whole new fee, less the rest of the old one.
#[tokio::test]
async fn a_change_of_interval_is_previewed_as_stripe_asks_for_it() {
    let shop = Shop::open().await;
    let dear = creditd::simulator::SeedPrice {
        id: "price_max_year".to_owned(),
        product: "price_max_year".to_owned(),
        currency: "usd".to_owned(),
        unit_amount: 40_000,
        recurring: Some(("year".to_owned(), 1)),
        lookup_key: None,
    };
    shop.app.simulator.seed_price(&dear).unwrap();
    let fee = r#"stripe_price = "price_max" }"#;
    let both =
        format!(r#"{fee}, {{ amount = "400.00", currency = "usd", every = "year", stripe_price = "price_max_year" }}"#);
    apply(&shop, &crate::attach::CATALOG.replace(fee, &both)).await;
    shop.buy("pro").await;
    let yearly = json!({ "price": "price_max_year" });
    let preview = shop.preview("max", yearly.clone()).await;
    let total: i64 = preview["total"]["amount"].as_str().unwrap().replace('.', "").parse().unwrap();
    shop.attach("max", yearly).await;
    let paid: Vec<i64> = shop.app.simulator.log().charges().iter().map(|charge| charge.amount).collect();
    // The clock goes on between the questions.
    assert!(paid.len() == 2 && paid[1].abs_diff(39_000) < 3 && paid[1].abs_diff(total) < 3, "{paid:?}: {preview}");
    shop.told().await;
    shop.close().await;
}

/// Two keys are two purchases of what may be bought again, also before Stripe told of the first.
#[tokio::test]
async fn two_keys_buy_an_add_on_twice() {
    let shop = Shop::open().await;
    shop.buy("pro").await;
    for key in ["e1", "e2", "e1", "e2"] {
        assert_eq!(shop.attach("extra", json!({ "key": key })).await["action"], "charge");
    }
    shop.told().await;
    assert_eq!((shop.credits().await.as_str(), shop.writes("/v1/subscriptions")), ("22", 2));
    shop.close().await;
}

/// A page that was opened at another price is not handed out as if it asked for today's.
#[tokio::test]
async fn a_page_of_an_older_price_closes() {
    let shop = Shop::open().await;
    let old = shop.attach("pro", json!({})).await;
    let dearer = creditd::simulator::SeedPrice {
        id: "price_pro_2".to_owned(),
        product: "price_pro_2".to_owned(),
        currency: "usd".to_owned(),
        unit_amount: 1_200,
        recurring: Some(("month".to_owned(), 1)),
        lookup_key: None,
    };
    shop.app.simulator.seed_price(&dearer).unwrap();
    let (was, is) = (r#"amount = "10.00""#, r#"amount = "12.00""#);
    let catalog =
        crate::attach::CATALOG.replace(r#"stripe_price = "price_pro" }"#, r#"stripe_price = "price_pro_2" }"#);
    apply(&shop, &catalog.replace(was, is)).await;
    let new = shop.attach("pro", json!({})).await;
    assert_eq!(new["total"]["amount"], "12.00");
    assert_ne!(new["checkout_url"], old["checkout_url"]);
    shop.pay(&new).await;
    let paid: Vec<i64> = shop.app.simulator.log().charges().iter().map(|charge| charge.amount).collect();
    assert_eq!(paid, [1_200]);
    shop.told().await;
    shop.close().await;
}

/// A key that is used again late does not end a paid plan that the customer has decided to keep.
#[tokio::test]
async fn an_old_key_does_not_end_what_was_kept() {
    let shop = Shop::open().await;
    shop.buy("pro").await;
    let body = json!({ "key": "k" });
    assert_eq!(shop.attach("hobby", body.clone()).await["action"], "schedule");
    assert_eq!(shop.attach("hobby", body.clone()).await["action"], "schedule");
    shop.told().await;
    let keep = json!({ "customer": "ada", "plan": "pro" });
    assert_eq!(shop.post("uncancel", keep).await.0, 200);
    shop.told().await;
    assert_eq!(shop.plans().await, pairs(&[("pro", "active")]));
    shop.try_attach("hobby", body).await;
    shop.told().await;
    let (_, ada) = shop.app.call("GET", "/api/v1/customers/ada", None).await;
    assert_eq!(ada["plans"][0]["cancel_at"], serde_json::Value::Null, "{ada}");
    assert_eq!(shop.plans().await, pairs(&[("pro", "active")]));
    shop.close().await;
}

/// The same as in the domain, through the database: held over a switch, let go, and gone.
#[tokio::test]
async fn held_credits_end_with_their_plan_in_the_database() {
    let shop = Shop::open().await;
    for (number, then) in ["hobby", "free"].into_iter().enumerate() {
        let all = shop.credits().await;
        let hold = json!({ "key": format!("h{number}"), "ttl_seconds": 600 });
        let body = json!({ "customer": "ada", "feature": "messages", "quantity": all, "hold": hold });
        let (status, held) = shop.post("check", body).await;
        assert_eq!((status, &held["allowed"]), (200, &json!(true)), "{held}");
        shop.attach(then, json!({})).await;
        let now = shop.credits().await;
        let id = held["hold"]["id"].as_str().unwrap_or_else(|| panic!("{held}"));
        let (status, answer) = shop.post(&format!("holds/{id}/release"), json!({})).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(shop.credits().await, now, "what was pinned is over");
    }
    shop.close().await;
}
