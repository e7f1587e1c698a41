//! `creditd verify`: a clean database passes, and each change behind the door's back is named by the check it breaks.

use std::collections::BTreeMap;

use creditd::commands::verify::{Verdict, VerifyArgs, run};
use creditd::domain::catalog::{Catalog, Cost, Feature, FeatureId, Plan, PlanId, RevenuePolicy};
use creditd::domain::command::{
    Basis, Command, Decision, NewGrant, Outcome, PlaceHold, PlanPaid, Purchase, PurchasedGrant, Track, WalletRef,
    WhenShort,
};
use creditd::domain::credits::{Credits, Quantity};
use creditd::domain::grant::{Category, GrantMoney};
use creditd::domain::ids::{AccountId, PaymentId};
use creditd::domain::money::Money;
use creditd::domain::payment::{PaymentFacts, PaymentStatus};
use creditd::posting::Posting;
use creditd::store::Store;
use creditd::store::catalog::Applied;
use creditd::store::payments::PaymentClaim;
use jiff::Timestamp;
use rstest::rstest;
use sqlx::{Executor, PgPool};

use crate::domain_laws::given;
use crate::support::catalog::{free_plan, monthly_item};
use crate::support::database::fresh_both;
use crate::support::plans::{days_after, paid_period};

fn feature(name: &str) -> FeatureId {
    FeatureId::new(name).unwrap()
}

pub(crate) fn catalogue() -> Catalog {
    let plan = |auto_enable| Plan {
        auto_enable,
        revenue: RevenuePolicy::Credits,
        ..free_plan(vec![monthly_item("credits", feature("credits"), Some(Credits::whole(5)))])
    };
    let returned = creditd::domain::catalog::Returned::Expire;
    let seats = Feature::Metered { consumable: false, events: Vec::new(), sum: None, returned };
    let costs = BTreeMap::from([(feature("messages"), "0.01".parse().map(Cost::Each).unwrap())]);
    Catalog {
        features: BTreeMap::from([
            (feature("messages"), Feature::consumable()),
            (feature("seats"), seats),
            (feature("credits"), Feature::credit_system(costs)),
        ]),
        plans: BTreeMap::from([(PlanId::new("free").unwrap(), plan(true)), (PlanId::new("pro").unwrap(), plan(false))]),
        ..Catalog::default()
    }
}

/// A database with one of everything the door writes so far.
pub(crate) async fn lived_in() -> (Store, PgPool) {
    let (store, pool) = fresh_both().await;
    store.ensure_instance(false, None).await.unwrap();
    let applied = store.apply_catalog(&catalogue(), [1; 32], false).await.unwrap();
    assert_eq!(applied, Applied::Version(1));
    let posting = Posting::start(&store);
    for name in ["ada", "=bob()", "cy"] {
        let account = store.claim_customer(name).await.unwrap().account();
        live(&store, &posting, account, name).await;
    }
    // Claimed, never posted to.
    let _: AccountId = store.claim_customer("dot").await.unwrap().account();
    posting.shut_down().await;
    (store, pool)
}

async fn live(store: &Store, posting: &Posting, account: AccountId, name: &str) {
    let money = |minor| GrantMoney {
        paid: Some(Money::from_minor(minor, "usd".parse().unwrap()).unwrap()),
        tax_minor: Some(minor / 5),
        discount_minor: Some(0),
        basis_minor: Some(minor - minor / 5),
    };
    let reason = "=HYPERLINK(\"x\"),\r\n\"goodwill\"".to_owned();
    let given = NewGrant { reason, ..given("messages", "40") };
    // More than the free plan's 5 credits pay for.
    use_messages(posting, account, "600").await;
    post(posting, account, Command::Grant(given)).await;
    let facts = PaymentFacts {
        status: PaymentStatus::Paid,
        currency: Some("usd".parse().unwrap()),
        amount_paid_minor: Some(1_000),
        payment_intent: Some(format!("pi_{name}")),
        session: Some(format!("cs_{name}")),
        ..PaymentFacts::default()
    };
    let PaymentClaim::Claimed(payment) = store.claim_payment(account, &facts).await.unwrap() else {
        panic!("a fresh payment is claimed")
    };
    let paid_at = store.instance().await.unwrap().unwrap().now;
    post(posting, account, Command::Purchase(purchase(payment, paid_at, money(1_000)))).await;
    let (start, end) = (days_after(paid_at, -1), days_after(paid_at, 27));
    let period = paid_period(&format!("sub_{name}"), "pro", start, end);
    let plan = PlanPaid { quantity: 2, money: money(2_000), ..period };
    post(posting, account, Command::PlanPaid(plan)).await;
    for units in ["100", "700", "9000"] {
        use_messages(posting, account, units).await;
    }
}

async fn use_messages(posting: &Posting, account: AccountId, units: &str) {
    let used =
        Track { when_short: WhenShort::Cap, ..Track::of(feature("messages"), units.parse::<Quantity>().unwrap()) };
    post(posting, account, Command::Track(used)).await;
}

pub(crate) fn purchase(payment: PaymentId, paid_at: Timestamp, money: GrantMoney) -> Purchase {
    let pack = PurchasedGrant {
        item_key: "price_1:credits".to_owned(),
        wallet: WalletRef::Default,
        feature: feature("credits"),
        quantity: Credits::whole(1_000),
        category: Category::Prepaid,
        priority: None,
        expires_at: None,
        plan: None,
        money,
        stripe_price: Some("price_1".to_owned()),
        stripe_line: None,
    };
    Purchase { payment, basis: Basis::Lines, paid_at, grants: vec![pack], metadata: BTreeMap::new() }
}

async fn post(posting: &Posting, account: AccountId, command: Command) {
    let decision = posting.post(account, None, command).await.unwrap();
    assert!(matches!(decision, Decision::Applied(_)), "{decision:?}");
}

#[tokio::test]
async fn a_database_that_only_the_door_wrote_holds() {
    let (store, _) = lived_in().await;
    let found = store.verify().await.unwrap();
    let differing: Vec<_> = found.checks.iter().filter(|check| check.differences > 0).collect();
    assert!(differing.is_empty(), "{differing:#?}");
    let names: Vec<&str> = found.checks.iter().map(|check| check.check).collect();
    let checks = [
        "grant_balances",
        "debt_balances",
        "reversals",
        "never_below_zero",
        "entry_numbers",
        "ledger_time",
        "entry_references",
        "payments",
        "periods",
        "look_ups",
        "due_times",
        "rollovers",
        "holds",
        "usage",
        "levels",
        "ceilings",
        "top_ups",
        "charge_work",
        "overage_bills",
        "hash_chain",
        "totals",
    ];
    assert_eq!(names, checks);
    for check in &found.checks {
        assert!(
            check.examined > 0
                || [
                    "debt_balances",
                    "reversals",
                    "rollovers",
                    "holds",
                    "levels",
                    "ceilings",
                    "top_ups",
                    "charge_work",
                    "overage_bills"
                ]
                .contains(&check.check),
            "{} looked at nothing",
            check.check
        );
    }
    let mut out = Vec::new();
    assert_eq!(run(&store, &VerifyArgs { json: false }, &mut out).await.unwrap(), Verdict::Holds);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("hash_chain") && text.ends_with("every check holds\n"), "{text}");
    assert!(text.contains("= sum"), "{text}");
}

#[tokio::test]
async fn an_empty_database_holds() {
    let (store, _) = fresh_both().await;
    assert!(!store.verify().await.unwrap().differs());
}

/// One change each, the checks that have to name it, and words of what is said.
#[rstest]
#[case::amount_of_an_entry("UPDATE entries SET amount = amount + 1 WHERE kind = 'draw' AND amount < 0 AND seq = (SELECT min(seq) FROM entries e WHERE e.account_id = entries.account_id AND kind = 'draw')",
    &["grant_balances", "usage", "hash_chain", "totals"], "first line whose hash does not follow")]
#[case::shortfall_of_an_entry("UPDATE entries SET shortfall = shortfall + 1 WHERE shortfall > 0", &["hash_chain", "usage"], "does not follow")]
#[case::time_of_an_entry("UPDATE entries SET at = at - interval '1 year' WHERE seq = 3", &["hash_chain", "ledger_time"], "the line before it")]
#[case::feature_of_an_entry("UPDATE entries SET feature = 'no such!' WHERE seq = 3", &["hash_chain", "entry_references", "totals"], "cannot be read")]
#[case::last_entry_gone("DELETE FROM entries e WHERE seq = (SELECT entry_seq FROM accounts a WHERE a.account_id = e.account_id)",
    &["grant_balances", "entry_numbers", "usage", "hash_chain", "totals"], "lines at the end are missing")]
#[case::middle_entry_gone("DELETE FROM entry_notes; DELETE FROM entries WHERE seq = 2",
    &["grant_balances", "entry_numbers", "usage", "hash_chain", "totals"], "numbered 1 to")]
#[case::an_entry_twice("INSERT INTO entries SELECT account_id, seq + 1, at, event_at, kind, grant_id, wallet_id, debt_id, hold_id, feature, amount, command, used_feature, quantity, shortfall, source, hash FROM entries e WHERE seq = (SELECT entry_seq FROM accounts a WHERE a.account_id = e.account_id)",
    &["entry_numbers", "grant_balances", "usage", "hash_chain", "totals"], "counts")]
#[case::remaining("UPDATE grants SET remaining = remaining + 1 WHERE is_open", &["grant_balances", "totals"], "remaining")]
#[case::held("UPDATE grants SET held = 1 WHERE remaining > 1", &["grant_balances", "holds"], "held 1")]
#[case::original("UPDATE grants SET original = original * 2", &["grant_balances"], "original")]
#[case::head("UPDATE accounts SET chain_head = decode(repeat('ff', 32), 'hex') WHERE entry_seq > 0", &["hash_chain"], "not the hash of its last line")]
#[case::head_without_lines("UPDATE accounts SET chain_head = decode(repeat('ff', 32), 'hex') WHERE entry_seq = 0", &["hash_chain"], "has a head and no line")]
#[case::entry_seq("UPDATE accounts SET entry_seq = entry_seq + 1", &["entry_numbers"], "counts")]
#[case::last_entry_at("UPDATE accounts SET last_entry_at = last_entry_at + interval '1 s'", &["ledger_time"], "the account says")]
#[case::due_time("UPDATE accounts SET next_due_at = next_due_at + interval '1 day'", &["due_times"], "queued for")]
#[case::queue_lost("DELETE FROM account_work", &["due_times"], "queued for never")]
#[case::wrong_bucket("UPDATE account_work SET bucket = (bucket + 1) % 16", &["due_times"], "in bucket")]
#[case::alias_of_nobody("UPDATE payment_aliases SET payment_id = gen_random_uuid()", &["payments"], "does not have")]
#[case::alias_lost("DELETE FROM payment_aliases WHERE alias LIKE 'cs_%'", &["payments"], "leads to nothing")]
#[case::no_basis("UPDATE payments SET basis = NULL", &["payments"], "says no basis")]
#[case::unpaid_period("UPDATE attachments SET paid_through = anchor WHERE paid_through IS NOT NULL", &["periods"], "paid is up to")]
#[case::period_twice("DROP INDEX grants_once_per_period; UPDATE grants g SET attachment_id = o.attachment_id, item = o.item, period_start = o.period_start FROM grants o WHERE o.account_id = g.account_id AND o.attachment_id IS NOT NULL AND g.attachment_id IS NULL",
    &["periods"], "times for the period")]
#[case::item_twice("ALTER TABLE grants DROP CONSTRAINT grants_once_per_payment_item; UPDATE grants g SET payment_id = o.payment_id, item_key = o.item_key FROM grants o WHERE o.account_id = g.account_id AND o.item_key IS NOT NULL AND g.item_key IS NULL",
    &["payments"], "gave item price_1:credits")]
#[case::customer_id_lost("DELETE FROM customer_ids WHERE customer_id = 'ada'", &["look_ups"], "is not found by its customer id")]
#[case::customer_renamed("UPDATE customers SET customer_id = 'eve' WHERE customer_id = 'ada'", &["look_ups"], "that its customer does not have")]
#[case::grant_id_lost("DELETE FROM grant_ids", &["look_ups"], "is not found by its id")]
#[case::wallet_id_lost("DELETE FROM wallet_ids", &["look_ups"], "is not found by its id")]
#[case::wallet_of_nobody("INSERT INTO wallet_ids VALUES ('stray', gen_random_uuid(), gen_random_uuid())", &["look_ups"], "not there")]
#[case::wallet_moved("UPDATE entries SET wallet_id = gen_random_uuid() WHERE wallet_id IS NOT NULL", &["entry_references", "hash_chain"], "another wallet")]
#[case::grant_of_nobody("UPDATE entries SET grant_id = gen_random_uuid() WHERE kind = 'grant'",
    &["entry_references", "hash_chain", "grant_balances", "never_below_zero"], "which is not there")]
#[case::command_of_nobody("UPDATE entries SET command = 1 WHERE seq = 2; UPDATE entries SET command = 2 WHERE seq = 3", &["entry_references", "usage", "hash_chain"], "which is none")]
#[case::overdrawn_for_a_moment("UPDATE entries SET kind = 'adjust', amount = -amount WHERE kind = 'grant'; UPDATE grants SET metadata = '{}'",
    &["never_below_zero", "grant_balances", "hash_chain", "totals"], "leaves grant_")]
#[case::debt_without_a_line("INSERT INTO debts (account_id, debt_id, wallet_id, feature, cause, original, outstanding, created_at) SELECT account_id, gen_random_uuid(), wallet_id, feature, 'usage', 5, 5, created_at FROM wallets",
    &["debt_balances"], "outstanding 5")]
#[case::rolled_in_from_nowhere("UPDATE entries SET kind = 'rollover_in' WHERE kind = 'grant'", &["rollovers", "hash_chain"], "of no grant")]
#[case::rolled_out_to_nowhere("UPDATE entries SET kind = 'rollover_out' WHERE kind = 'draw' AND amount < 0", &["rollovers", "usage", "hash_chain"], "that no grant carries")]
#[case::rolled_nothing("UPDATE grants g SET rolled_from = o.grant_id, rolled_attachment_id = o.attachment_id, rolled_item = o.item FROM grants o WHERE o.account_id = g.account_id AND o.attachment_id IS NOT NULL AND g.category = 'promotional'",
    &["rollovers"], "carries 0, its grant rolled over 0")]
#[tokio::test]
async fn a_change_behind_the_door_is_named(#[case] tamper: &str, #[case] checks: &[&str], #[case] words: &str) {
    let (store, pool) = lived_in().await;
    pool.execute(sqlx::AssertSqlSafe(tamper.to_owned())).await.unwrap();
    let found = store.verify().await.unwrap();
    assert!(found.differs());
    let named: std::collections::BTreeSet<&str> =
        found.checks.iter().filter(|check| check.differences > 0).map(|check| check.check).collect();
    let wanted: std::collections::BTreeSet<&str> = checks.iter().copied().collect();
    assert_eq!(named, wanted, "{:#?}", found.checks);
    let said = found.checks.iter().flat_map(|check| &check.first).any(|difference| difference.found.contains(words));
    assert!(said, "nobody says `{words}`: {:#?}", found.checks);
}

/// The same with holds, one open and one settled, and something in use.
async fn used_in() -> (Store, PgPool) {
    let (store, pool) = lived_in().await;
    let posting = Posting::start(&store);
    let account = store.claim_customer("ada").await.unwrap().account();
    let hold = |units: i64| {
        Command::Hold(PlaceHold {
            feature: feature("messages"),
            entity: String::new(),
            quantity: Quantity::whole(units),
            properties: BTreeMap::new(),
            ttl_seconds: 600,
            when_more: creditd::domain::hold::WhenMore::Reject,
        })
    };
    let mut held = Vec::new();
    for units in [5, 7] {
        let decision = posting.post(account, None, hold(units)).await.unwrap();
        let Outcome::Held(placed) = decision.outcome() else { panic!("{decision:?}") };
        held.push(placed.hold);
    }
    let settle = Track { hold: Some(held[0]), is_final: true, ..Track::of(feature("messages"), Quantity::whole(3)) };
    post(&posting, account, Command::Track(settle)).await;
    let seats = Track { set: Some(Quantity::whole(4)), ..Track::of(feature("seats"), Quantity::ZERO) };
    post(&posting, account, Command::Track(seats)).await;
    post(&posting, account, Command::Track(Track::of(feature("messages"), Quantity::whole(-2)))).await;
    posting.shut_down().await;
    (store, pool)
}

#[rstest]
#[case::nothing("SELECT 1", &[], "")]
#[case::slice("UPDATE hold_slices SET amount = amount + 1", &["holds"], "slices of open holds")]
#[case::ended_with_slices("UPDATE holds SET state = 'released', ended_at = clock_timestamp() WHERE state = 'open'", &["holds"], "and still has 1 slices")]
#[case::slices_lost("DELETE FROM hold_slices", &["holds"], "slices of open holds 0")]
#[case::hold_id_lost("DELETE FROM hold_ids", &["look_ups"], "is not found by its id")]
#[case::hold_of_nobody("INSERT INTO hold_ids VALUES ('hold_00000000000000000000000000000007', gen_random_uuid(), '00000000-0000-0000-0000-000000000007')", &["look_ups"], "is looked up and not there")]
#[case::units("UPDATE usage_records SET quantity = quantity + 1 WHERE paid <> '[]' AND quantity > 0", &["usage"], "of messages, the ledger says")]
#[case::paid("UPDATE usage_records SET paid = jsonb_set(paid, '{0,amount}', '\"0.5\"') WHERE paid->0 ? 'grant'", &["usage"], "is listed as taking 0.5")]
#[case::payer("UPDATE usage_records SET paid = jsonb_set(paid, '{0,grant}', '\"grant_00000000000000000000000000000007\"') WHERE paid->0 ? 'grant'", &["usage"], "of grant_00000000000000000000000000000007, the ledger says 0")]
#[case::usage_lost("DELETE FROM usage_records WHERE paid <> '[]'", &["usage"], "is usage, and not listed")]
#[case::usage_of_nobody("INSERT INTO usage_records (account_id, seq, at, feature, quantity) SELECT account_id, 9999, clock_timestamp(), 'messages', 1 FROM accounts", &["usage"], "no such command is in the ledger")]
#[case::returned("UPDATE usage_records SET returned = 0 WHERE returned > 0", &["usage"], "tracks say that 0 were taken back, what took them back says 2")]
#[case::unpaid("UPDATE usage_records SET paid = '[{\"pool\": \"credits\", \"amount\": \"3\"}]' || paid WHERE quantity > 0 AND paid <> '[]'", &["usage"], "and lacking 3")]
#[case::owed("UPDATE usage_records SET paid = '[{\"pool\": \"credits\", \"debt\": \"debt_00000000000000000000000000000007\", \"amount\": \"3\"}]' || paid WHERE quantity > 0 AND paid <> '[]'", &["usage"], "is listed as owing 3")]
#[case::level("UPDATE levels SET used = used + 1", &["levels"], "in use 5, tracks 4")]
#[tokio::test]
async fn a_change_of_usage_behind_the_door_is_named(
    #[case] tamper: &str,
    #[case] checks: &[&str],
    #[case] words: &str,
) {
    let (store, pool) = used_in().await;
    pool.execute(sqlx::AssertSqlSafe(tamper.to_owned())).await.unwrap();
    let found = store.verify().await.unwrap();
    let named: Vec<&str> = found.checks.iter().filter(|check| check.differences > 0).map(|check| check.check).collect();
    assert_eq!(named, checks, "{:#?}", found.checks);
    let said = found.checks.iter().flat_map(|check| &check.first).any(|difference| difference.found.contains(words));
    assert!(said || checks.is_empty(), "nobody says `{words}`: {:#?}", found.checks);
    for check in ["holds", "usage", "levels"] {
        let looked_at = found.checks.iter().find(|one| one.check == check).unwrap().examined;
        assert!(looked_at > 0 || words.contains("not listed"), "{check}");
    }
}

#[tokio::test]
async fn differences_are_listed_for_people_and_machines() {
    let (store, pool) = lived_in().await;
    pool.execute("UPDATE grants SET remaining = remaining + 0.5 WHERE is_open").await.unwrap();
    let mut out = Vec::new();
    assert_eq!(run(&store, &VerifyArgs { json: true }, &mut out).await.unwrap(), Verdict::Differs);
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(json["holds"], false);
    let check = &json["checks"][0];
    assert_eq!(check["check"], "grant_balances");
    assert!(check["first"][0]["row"].as_str().unwrap().starts_with("grant_"));
    let mut out = Vec::new();
    assert_eq!(run(&store, &VerifyArgs { json: false }, &mut out).await.unwrap(), Verdict::Differs);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("\ngrant_balances: ") && text.ends_with("differences were found\n"), "{text}");
}

/// Sums over all accounts leave the range of one amount, and are exact all the same.
#[tokio::test]
async fn totals_beyond_the_largest_amount_are_exact() {
    let (store, pool) = fresh_both().await;
    store.ensure_instance(false, None).await.unwrap();
    let _: Applied = store.apply_catalog(&catalogue(), [1; 32], false).await.unwrap();
    let posting = Posting::start(&store);
    let account = store.claim_customer("rich").await.unwrap().account();
    for _ in 0..3 {
        let payment = PaymentFacts {
            payment_intent: Some(format!("pi_{}", creditd::clock::fresh_uuid())),
            ..PaymentFacts::default()
        };
        let PaymentClaim::Claimed(payment) = store.claim_payment(account, &payment).await.unwrap() else { panic!() };
        let mut bought = purchase(payment, Timestamp::UNIX_EPOCH, GrantMoney::default());
        bought.grants[0].quantity = Credits::MAX;
        post(&posting, account, Command::Purchase(bought)).await;
    }
    let found = store.verify().await.unwrap();
    assert!(!found.differs(), "{:#?}", found.checks);
    let total = found.totals.iter().find(|total| total.feature == "credits").unwrap();
    assert_eq!(total.remaining, "3000000000000000005");
    // Twenty rows are shown, all are counted.
    let many = "INSERT INTO wallet_ids SELECT 'stray' || n, gen_random_uuid(), gen_random_uuid() FROM generate_series(1, 50) AS n";
    pool.execute(many).await.unwrap();
    let found = store.verify().await.unwrap();
    let check = found.checks.iter().find(|check| check.check == "look_ups").unwrap();
    assert_eq!((check.differences, check.first.len()), (50, 20));
}
