//! Wallets, voids and adjustments through the API: what is answered, what is in the ledger, and what the next check says.

use creditd::domain::api_key::Scope;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::http_api::Api;

fn wallet(key: &str, id: &str, priority: i32) -> Value {
    json!({ "key": key, "customer": "ada", "feature": "transcription-credits", "id": id, "priority": priority })
}

/// Credits of a pool that no plan gives.
fn grant(key: &str, wallet: &str, quantity: &str) -> Value {
    json!({ "key": key, "customer": "ada", "feature": "transcription-credits", "quantity": quantity, "wallet": wallet,
        "category": "promotional", "reason": "goodwill" })
}

fn usage(key: &str, minutes: &str) -> Value {
    json!({ "key": key, "customer": "ada", "feature": "audio-minutes", "quantity": minutes })
}

async fn given(api: &Api, key: &str, wallet: &str, quantity: &str) -> String {
    api.post("/grants", &grant(key, wallet, quantity)).await.ok()["id"].as_str().unwrap().to_owned()
}

async fn available(api: &Api, wallet: &str) -> Value {
    api.get(&format!("/wallets/{wallet}")).await.ok()["available"].clone()
}

async fn must_balance(api: &Api) {
    let found = api.store.verify().await.unwrap();
    assert!(!found.differs(), "{:#?}", found.checks.iter().filter(|check| check.differences > 0).collect::<Vec<_>>());
}

#[tokio::test]
async fn wallets_burn_by_priority_and_the_next_check_knows() {
    let api = Api::start().await;
    api.customer("ada").await;
    for (key, id, priority) in [("w1", "paid", 10), ("w2", "promo", -10)] {
        assert_eq!(api.post("/wallets", &wallet(key, id, priority)).await.status, 201);
        given(&api, key, id, "100").await;
    }
    let question = json!({ "customer": "ada", "feature": "audio-minutes", "quantity": "10", "explain": true });
    let first = |answer: Value| answer["lots"][0]["grant"].clone();
    let grants = async |wallet: &'static str| {
        let listed = api.get(&format!("/customers/ada/grants?wallet={wallet}")).await.ok();
        listed["data"][0]["id"].clone()
    };
    assert_eq!(first(api.post("/check", &question).await.ok()), grants("promo").await);
    api.post("/track", &usage("t1", "10")).await.ok();
    assert_eq!((available(&api, "promo").await, available(&api, "paid").await), (json!("70"), json!("100")));
    // The other way round, from the next check on.
    let changed = api.patch("/wallets/paid", &json!({ "priority": -20, "name": "Paid" })).await.ok();
    assert_eq!(
        (&changed["priority"], &changed["name"], &changed["state"]),
        (&json!(-20), &json!("Paid"), &json!("open"))
    );
    assert_eq!(first(api.post("/check", &question).await.ok()), grants("paid").await);
    // Frozen, it gives nothing, and a check says why.
    api.patch("/wallets/paid", &json!({ "frozen": true })).await.ok();
    assert_eq!(first(api.post("/check", &question).await.ok()), grants("promo").await);
    api.patch("/wallets/promo", &json!({ "frozen": true })).await.ok();
    let refused = api.post("/check", &question).await.ok();
    assert_eq!((&refused["allowed"], &refused["reason"]), (&json!(false), &json!("frozen")));
    assert_eq!(refused["lots"][0]["blocked_by"], "frozen");
    let shown = api.get("/customers/ada/balance?feature=transcription-credits").await.ok();
    assert_eq!((&shown["balances"][0]["available"], &shown["balances"][0]["frozen"]), (&json!("0"), &json!("170")));
    for id in ["paid", "promo"] {
        api.patch(&format!("/wallets/{id}"), &json!({ "frozen": false, "priority": null })).await.ok();
    }
    let listed = api.get("/customers/ada").await.ok();
    let wallets: Vec<(&str, i64, &str)> = listed["wallets"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|wallet| wallet["feature"] == "transcription-credits")
        .map(|w| (w["wallet"].as_str().unwrap(), w["priority"].as_i64().unwrap(), w["available"].as_str().unwrap()))
        .collect();
    assert_eq!(wallets, [("paid", 0, "100"), ("promo", 0, "70")]);
    must_balance(&api).await;
}

#[tokio::test]
async fn a_wallet_is_made_once_shown_and_listed() {
    let api = Api::start().await;
    api.customer("ada").await;
    api.customer("eve").await;
    let mut new = wallet("w1", "promo", -5);
    new["name"] = json!("Promotions");
    new["default_expiry_days"] = json!(90);
    new["limit"] = json!("12.5");
    new["metadata"] = json!({ "team": "growth" });
    let first = api.post("/wallets", &new).await;
    assert_eq!(first.status, 201);
    let first = first.body;
    for (member, value) in [
        ("wallet", json!("promo")),
        ("customer", json!("ada")),
        ("name", json!("Promotions")),
        ("priority", json!(-5)),
        ("default_expiry_days", json!(90)),
        ("limit", json!("12.5")),
        ("metadata", json!({ "team": "growth" })),
        ("default", json!(false)),
        ("state", json!("open")),
        ("available", json!("0")),
        ("debts", json!([])),
        ("grants", json!({ "open": 0, "all": 0 })),
        ("closed_at", json!(null)),
    ] {
        assert_eq!(first[member], value, "{member}");
    }
    let again = api.post("/wallets", &new).await;
    assert_eq!((again.status.as_u16(), &again.body["wallet"]), (200, &json!("promo")));
    let mut other = new.clone();
    other["limit"] = json!("12");
    assert_eq!(api.post("/wallets", &other).await.problem(), (409, "key_conflict", "key"));
    other["key"] = json!("w2");
    assert_eq!(api.post("/wallets", &other).await.problem(), (409, "wallet_exists", "id"));
    other["customer"] = json!("eve");
    assert_eq!(api.post("/wallets", &other).await.problem(), (409, "wallet_of_other_customer", "id"));
    // Without an id of the app's it has ours; the same key makes no second one.
    let mut nameless = wallet("w3", "", 0);
    nameless.as_object_mut().unwrap().remove("id");
    let all = join_all((0..8).map(|_| async { api.post("/wallets", &nameless).await.ok() })).await;
    assert!(all.iter().all(|made| made["wallet"] == all[0]["wallet"]));
    let ours = all[0]["wallet"].as_str().unwrap().to_owned();
    assert!(ours.starts_with("wallet_"));
    assert_eq!(api.get(&format!("/wallets/{ours}")).await.ok()["wallet"], json!(ours));
    // Pages, newest first: the default one of the plan's credits is the oldest.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for _ in 0..4 {
        let page = api.get(&format!("/wallets?customer=ada&limit=1{cursor}")).await.ok();
        seen.extend(page["data"].as_array().unwrap().iter().map(|wallet| wallet["wallet"].clone()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0], json!(ours));
    // A default expiry counts from the grant's start, which may lie ahead.
    let starts_at = api.get("/customers/ada").await.ok()["at"].as_str().unwrap().parse::<Timestamp>().unwrap()
        + SignedDuration::from_hours(24);
    let mut later = grant("g1", "promo", "7");
    later["starts_at"] = json!(starts_at);
    let later = api.post("/grants", &later).await.ok();
    assert_eq!(later["expires_at"], json!(starts_at + SignedDuration::from_hours(24 * 90)));
    assert_eq!(available(&api, "promo").await, "0", "it is not spendable before its start");
    api.post("/test-clock/advance", &json!({ "seconds": 86_400 })).await.ok();
    let shown = api.get("/wallets/promo").await.ok();
    assert_eq!((&shown["available"], &shown["grants"]), (&json!("7"), &json!({ "open": 1, "all": 1 })));
    must_balance(&api).await;
}

#[tokio::test]
async fn an_ended_wallet_is_void_in_the_ledger_and_closed() {
    let api = Api::start().await;
    api.customer("ada").await;
    let spent = given(&api, "g1", "purse", "10").await;
    let whole = given(&api, "g2", "purse", "20").await;
    api.post("/track", &usage("t1", "2")).await.ok();
    let end = json!({ "key": "e1", "reason": "contract over" });
    let first = api.post("/wallets/purse/terminate", &end).await.ok();
    assert_eq!((&first["status"], &first["voided"], &first["repaid"]), (&json!("applied"), &json!("24"), &json!("0")));
    assert_eq!((&first["grants"], &first["wallet"]["state"]), (&json!(2), &json!("closed")));
    assert_eq!(first["wallet"]["grants"], json!({ "open": 0, "all": 2 }));
    assert!(first["wallet"]["closed_at"].is_string());
    let mut again = api.post("/wallets/purse/terminate", &end).await.ok();
    assert_eq!(again["status"], "repeated");
    (again["status"], again["wallet"]["at"]) = (json!("applied"), first["wallet"]["at"].clone());
    assert_eq!(again, first);
    let anew = api.post("/wallets/purse/terminate", &json!({ "key": "e2", "reason": "again" })).await.ok();
    assert_eq!((&anew["status"], &anew["voided"]), (&json!("repeated"), &json!("0")));
    let other = json!({ "key": "e1", "reason": "other" });
    assert_eq!(api.post("/wallets/purse/terminate", &other).await.problem(), (409, "key_conflict", "key"));
    let lines = api.get("/customers/ada/entries?kind=void").await.ok();
    let lines: Vec<(&str, &str)> = lines["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["grant"].as_str().unwrap(), line["amount"].as_str().unwrap()))
        .collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.contains(&(spent.as_str(), "-4")) && lines.contains(&(whole.as_str(), "-20")), "{lines:?}");
    let first_line = api.get("/customers/ada/entries?kind=void").await.ok()["data"][1].clone();
    assert_eq!((&first_line["reason"], &first_line["source"]), (&json!("contract over"), &json!("api")));
    assert!(first_line["actor"].as_str().unwrap().starts_with("key_"));
    for refused in [
        api.post("/grants", &grant("g3", "purse", "1")).await,
        api.patch("/wallets/purse", &json!({ "name": "x" })).await,
        api.post("/adjustments", &json!({ "key": "a1", "grant": whole, "quantity": "1", "reason": "r" })).await,
    ] {
        assert_eq!(refused.problem(), (409, "wallet_closed", "wallet"));
    }
    must_balance(&api).await;
}

/// Usage and the end of a wallet at once: every credit is either drawn or void.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_and_the_end_of_a_wallet_share_no_credit() {
    let api = Api::start().await;
    api.customer("ada").await;
    given(&api, "g1", "purse", "90").await;
    let use_one = async |number: u32| {
        let mut usage = usage(&format!("t{number}"), "1");
        usage["when_short"] = json!("reject");
        api.post("/track", &usage).await.status.as_u16()
    };
    let end = async {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        api.post("/wallets/purse/terminate", &json!({ "key": "e", "reason": "r" })).await.ok()["voided"].clone()
    };
    let (used, voided) = tokio::join!(join_all((0..20).map(use_one)), end);
    let drawn = used.iter().filter(|status| **status == 200).count() * 3;
    assert!(used.iter().all(|status| [200, 402].contains(status)), "{used:?}");
    assert_eq!(voided, json!((90 - drawn).to_string()));
    must_balance(&api).await;
}

/// A plan goes on giving when the wallet it gave into is ended.
#[tokio::test]
async fn a_default_wallet_that_is_ended_makes_room_for_a_new_one() {
    let api = Api::start().await;
    api.customer("ada").await;
    let shown = api.get("/customers/ada").await.ok();
    let old = shown["wallets"][0]["wallet"].as_str().unwrap().to_owned();
    let ended = api.post(&format!("/wallets/{old}/terminate"), &json!({ "key": "e1", "reason": "r" })).await.ok();
    assert_eq!((&ended["voided"], &ended["wallet"]["default"]), (&json!("100"), &json!(false)));
    api.post("/test-clock/advance", &json!({ "seconds": 32 * 86_400 })).await.ok();
    let balance = api.get("/customers/ada/balance?feature=credits").await.ok();
    assert_eq!(balance["balances"][0]["available"], "100", "the next month is given all the same");
    let usage = json!({ "key": "t1", "customer": "ada", "feature": "requests", "quantity": "1" });
    assert_eq!(api.post("/track", &usage).await.ok()["drawn"], "3");
    let wallets = api.get("/wallets?customer=ada").await.ok();
    let states: Vec<(&Value, &Value)> =
        wallets["data"].as_array().unwrap().iter().map(|wallet| (&wallet["state"], &wallet["default"])).collect();
    assert_eq!(states, [(&json!("open"), &json!(true)), (&json!("closed"), &json!(false))]);
    must_balance(&api).await;
}

#[tokio::test]
async fn a_grant_is_voided_at_most_as_far_as_it_is_free() {
    let api = Api::start().await;
    api.customer("ada").await;
    let id = given(&api, "g1", "purse", "10").await;
    api.post("/track", &usage("t1", "2")).await.ok();
    let void = format!("/grants/{id}/void");
    let too_much = json!({ "key": "v1", "quantity": "4.5", "reason": "wrong" });
    let refused = api.post(&void, &too_much).await;
    assert_eq!(refused.problem(), (409, "more_than_free", "quantity"));
    let numbers = ["asked", "free", "held"].map(|name| refused.body[name].as_str().unwrap());
    assert_eq!(numbers, ["4.5", "4", "0"]);
    // A refusal leaves its key free.
    let some = json!({ "key": "v1", "quantity": "1.5", "reason": "wrong" });
    let done = api.post(&void, &some).await.ok();
    assert_eq!(
        (&done["status"], &done["quantity"], &done["remaining"]),
        (&json!("applied"), &json!("-1.5"), &json!("2.5"))
    );
    let line = &done["entries"][0];
    assert_eq!((&line["kind"], &line["amount"], &line["grant"]), (&json!("void"), &json!("-1.5"), &json!(id)));
    assert_eq!((&line["reason"], done["entries"].as_array().unwrap().len()), (&json!("wrong"), 1));
    let mut again = api.post(&void, &some).await.ok();
    assert_eq!(again["status"], "repeated");
    again["status"] = json!("applied");
    assert_eq!(again, done);
    let other = json!({ "key": "v1", "quantity": "2", "reason": "wrong" });
    assert_eq!(api.post(&void, &other).await.problem(), (409, "key_conflict", "key"));
    // Without a quantity it is all that is free; of two at once one finds nothing.
    let rest = |key: &'static str| {
        let (api, void) = (&api, void.clone());
        async move { api.post(&void, &json!({ "key": key, "reason": "all" })).await }
    };
    let both = tokio::join!(rest("v2"), rest("v3"));
    let mut codes = [both.0.status.as_u16(), both.1.status.as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [200, 409]);
    assert_eq!(rest("v4").await.problem(), (409, "nothing_to_void", ""));
    assert_eq!(available(&api, "purse").await, "0");
    // A plan's period can be voided too.
    let plan = api.get("/customers/ada/grants?feature=credits").await.ok()["data"][0]["id"].clone();
    let plan = format!("/grants/{}/void", plan.as_str().unwrap());
    assert_eq!(api.post(&plan, &json!({ "key": "v5", "reason": "r" })).await.ok()["quantity"], "-100");
    for unknown in ["/grants/grant_00000000000000000000000000000007/void", "/grants/7/void", "/grants/%FF/void"] {
        assert_eq!(api.post(unknown, &some).await.problem(), (404, "unknown_grant", "grant"), "{unknown}");
    }
    must_balance(&api).await;
}

#[tokio::test]
async fn a_grant_is_corrected_up_and_down_while_it_is_not_over() {
    let api = Api::start().await;
    api.customer("ada").await;
    let mut new = grant("g1", "purse", "6");
    let expires_at = api.get("/customers/ada").await.ok()["at"].as_str().unwrap().parse::<Timestamp>().unwrap()
        + SignedDuration::from_hours(48);
    new["expires_at"] = json!(expires_at);
    let id = api.post("/grants", &new).await.ok()["id"].as_str().unwrap().to_owned();
    let adjust = |key: &'static str, quantity: &'static str| {
        let body = json!({ "key": key, "grant": id, "quantity": quantity, "reason": "a count" });
        let api = &api;
        async move { api.post("/adjustments", &body).await }
    };
    assert_eq!(adjust("a1", "-6.000000001").await.problem(), (409, "more_than_free", "quantity"));
    assert_eq!(adjust("a1", "-1").await.ok()["remaining"], "5");
    api.post("/track", &usage("t1", "2")).await.ok();
    // All of it is used: the row is closed, and an adjustment opens it again.
    assert_eq!(available(&api, "purse").await, "0");
    let up = adjust("a2", "9").await.ok();
    assert_eq!(
        (&up["quantity"], &up["remaining"], &up["entries"][0]["kind"]),
        (&json!("9"), &json!("9"), &json!("adjust"))
    );
    assert_eq!(available(&api, "purse").await, "9");
    assert_eq!(api.post("/track", &usage("t2", "1")).await.ok()["drawn"], "3");
    assert_eq!(adjust("a3", "1000000000000000000").await.problem(), (400, "bad_request", "quantity"));
    api.post("/test-clock/advance", &json!({ "to": expires_at })).await.ok();
    assert_eq!(adjust("a4", "1").await.problem(), (409, "grant_ended", "grant"));
    assert_eq!(adjust("a4", "-1").await.problem(), (409, "more_than_free", "quantity"));
    assert_eq!(adjust("a2", "9").await.ok()["status"], "repeated", "what was done is told again, over or not");
    must_balance(&api).await;
}

#[tokio::test]
async fn committed_credits_carry_their_contract() {
    let api = Api::start().await;
    api.customer("ada").await;
    let contract = json!({ "reference": "C-2024-Q2", "minimum_spend": { "amount": "50000.00", "currency": "USD" },
        "starts_at": "2026-01-01T00:00:00Z", "ends_at": "2027-01-01T00:00:00Z" });
    let mut new = grant("g1", "enterprise", "50000");
    (new["category"], new["contract"]) = (json!("committed"), contract.clone());
    let made = api.post("/grants", &new).await.ok();
    let mut wanted = contract.clone();
    wanted["minimum_spend"]["currency"] = json!("usd");
    assert_eq!(made["contract"], wanted);
    assert_eq!((&made["reference"], &made["expires_at"]), (&json!("C-2024-Q2"), &json!(null)));
    assert_eq!(api.get("/customers/ada/grants?wallet=enterprise").await.ok()["data"][0]["contract"], wanted);
    let mut other = new.clone();
    other["contract"]["minimum_spend"]["amount"] = json!("1");
    assert_eq!(api.post("/grants", &other).await.problem(), (409, "key_conflict", "key"));
    let mut paid = new.clone();
    (paid["key"], paid["contract"]) = (json!("g2"), json!({ "reference": "C-8" }));
    paid["paid"] = json!({ "amount": "10.00", "currency": "usd", "reference": "INV-1" });
    let paid = api.post("/grants", &paid).await.ok();
    assert_eq!((&paid["reference"], &paid["contract"]["reference"]), (&json!("INV-1"), &json!("C-8")));
    assert_eq!(paid["contract"]["minimum_spend"], json!(null));
}

/// The credit guide's wallets: one for promotions and one for what was paid, promotions first without any setting, and of
/// equal ones what ends soonest; 50,000 prepaid credits that expire.
#[tokio::test]
async fn the_guides_wallets_burn_as_it_says() {
    let api = Api::start().await;
    api.customer("ada").await;
    for (key, name) in [("w1", "Primary Credit Wallet"), ("w2", "Promotional Wallet")] {
        let mut new = wallet(key, name, 0);
        new["name"] = json!(name);
        assert_eq!(api.post("/wallets", &new).await.status, 201);
    }
    let now: Timestamp = api.get("/customers/ada").await.ok()["at"].as_str().unwrap().parse().unwrap();
    let ends = |days: i64| json!(now + SignedDuration::from_hours(24 * days));
    for (key, wallet, quantity, category, expires_at) in [
        ("paid", "Primary Credit Wallet", "50000", "prepaid", ends(90)),
        ("late", "Promotional Wallet", "10000", "promotional", ends(60)),
        ("soon", "Promotional Wallet", "500", "promotional", ends(30)),
    ] {
        let mut new = grant(key, wallet, quantity);
        (new["category"], new["expires_at"]) = (json!(category), expires_at);
        api.post("/grants", &new).await.ok();
    }
    let left = async || {
        let listed = api.get("/customers/ada/grants?feature=transcription-credits").await.ok();
        let all = listed["data"].as_array().unwrap().iter();
        let mut left: Vec<String> = all.map(|grant| grant["remaining"].as_str().unwrap().to_owned()).collect();
        left.reverse();
        left
    };
    api.post("/track", &usage("t1", "200")).await.ok();
    assert_eq!(left().await, ["50000", "9900", "0"], "promotions first, and of these what ends soonest");
    api.post("/track", &usage("t2", "3301")).await.ok();
    assert_eq!(left().await, ["49997", "0", "0"], "then what was paid");
    api.post("/test-clock/advance", &json!({ "to": ends(90) })).await.ok();
    let balance = api.get("/customers/ada/balance?feature=transcription-credits").await.ok();
    assert_eq!(balance["balances"][0]["available"], "0", "expired credits are not available");
    must_balance(&api).await;
}

/// A customer's key sees wallets and balances; only admins make and correct.
#[tokio::test]
async fn every_scope_may_look() {
    let api = Api::start().await;
    api.customer("ada").await;
    given(&api, "g1", "purse", "1").await;
    for scope in [Scope::App, Scope::Finance] {
        for path in ["/wallets/purse", "/wallets?customer=ada", "/customers/ada/balance"] {
            let answer = api.call(Some(api.key(scope)), "GET", &format!("/api/v1{path}"), "").await;
            assert_eq!(answer.status, 200, "{scope} {path}");
        }
    }
}
