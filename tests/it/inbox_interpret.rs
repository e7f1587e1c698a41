//! Interpretation is pure: the same event, answers and catalogue give the same intents, in both versions' shapes; a
//! missing money fact parks and is named.

use creditd::domain::catalog::Catalog;
use creditd::domain::command::Basis;
use creditd::domain::money::Money;
use creditd::inbox::intent::{FeatureWish, Intent, Interpretation, PaymentIntent, Why};
use creditd::inbox::interpret::{Answers, Context, interpret};
use creditd::stripe::client::Fetch;
use creditd::stripe::wire::{Event, Wire};
use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::fixtures::context;

const VERSIONS: [&str; 2] = ["2024-09-30.acacia", "2026-09-30.endive"];
const SESSION: &str = "checkout.session.completed";
const INVOICE: &str = "invoice.paid";
/// Questions one event of these may need.
const QUESTIONS_MAX: usize = 10;
const CATALOG: &str = r#"
[features.credits]
type = "metered"
[features.requests]
type = "metered"
[plans.pro]
name = "Pro"
prices = [{ amount = "20.00", currency = "usd", every = "month", stripe_price = "price_SyntheticPro" }]
[[plans.pro.items]]
feature = "credits"
included = "10"
reset = "month"
[plans.packs]
name = "Packs"
add_on = true
[[plans.packs.items]]
feature = "credits"
packs = [{ credits = "25000", amount = "25.00", currency = "usd", stripe_price = "price_Synthetic50k" }]
expires_after = "never"
"#;

/// What the world around an event is like.
struct World {
    catalog: Catalog,
    can_ask: bool,
    cutover_at: Option<Timestamp>,
    grant_free_checkouts: bool,
    park_unknown_prices: bool,
    line_items: Value,
}

impl World {
    fn new() -> Self {
        Self::with_catalog(&format!("default_credits = \"credits\"\n{CATALOG}"))
    }

    fn with_catalog(text: &str) -> Self {
        Self {
            catalog: creditd::domain::catalog::file::read(text).unwrap(),
            can_ask: true,
            cutover_at: None,
            grant_free_checkouts: true,
            park_unknown_prices: false,
            line_items: fixture(VERSIONS[1], "checkout.session.line_items"),
        }
    }

    /// Stripe's answer to a question.
    fn answer(&self, question: &Fetch) -> (u16, Value) {
        let empty = json!({ "object": "list", "data": [], "has_more": false });
        match question {
            Fetch::SessionLineItems { .. } => (200, self.line_items.clone()),
            Fetch::InvoicePayments { .. } => (200, fixture(VERSIONS[1], "invoice_payments")),
            Fetch::SessionsByIntent { .. } => (200, empty),
            Fetch::PaymentIntent { id } => {
                (200, json!({ "id": id.as_str(), "object": "payment_intent", "latest_charge": "ch_Synthetic0001" }))
            }
            Fetch::Charge { id } => {
                let charge = json!({ "id": id.as_str(), "object": "charge", "created": 1_790_000_003,
                    "balance_transaction": "txn_Synthetic0001" });
                (200, charge)
            }
            _ => (404, json!({ "error": { "message": "no such object" } })),
        }
    }

    /// Interprets an event until nothing more is asked.
    fn interpret(&self, event: &Value) -> Interpretation {
        let event = Event::from_value(event).unwrap();
        let mut answers = Answers::new(self.can_ask);
        for _ in 0..QUESTIONS_MAX {
            let context = Context {
                catalog: &self.catalog,
                answers: &answers,
                cutover_at: self.cutover_at,
                grant_free_checkouts: self.grant_free_checkouts,
                park_unknown_prices: self.park_unknown_prices,
                money_back: creditd::inbox::reversal::MoneyBackPolicy::default(),
            };
            match interpret(&event, context) {
                Interpretation::Ask(questions) => {
                    assert!(self.can_ask && !questions.is_empty());
                    for question in questions {
                        let (status, body) = self.answer(&question);
                        answers.add(question.path(), status, body.to_string().into_bytes(), Timestamp::UNIX_EPOCH);
                    }
                }
                done => return done,
            }
        }
        panic!("it keeps asking")
    }

    fn payment(&self, event: &Value) -> PaymentIntent {
        match self.interpret(event) {
            Interpretation::Act(mut intents) => match (intents.pop(), intents.is_empty()) {
                (Some(Intent::Payment(payment)), true) => *payment,
                other => panic!("one payment, not {other:?}"),
            },
            other => panic!("a payment, not {other:?}"),
        }
    }

    fn parked(&self, event: &Value) -> Why {
        match self.interpret(event) {
            Interpretation::Park(why) => why,
            other => panic!("parked, not {other:?}"),
        }
    }

    fn ignored(&self, event: &Value) -> &'static str {
        match self.interpret(event) {
            Interpretation::Ignore(why) => why.code,
            other => panic!("ignored, not {other:?}"),
        }
    }
}

fn fixture(version: &str, name: &str) -> Value {
    let path = format!("{}/tests/fixtures/stripe/{version}/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
}

/// The session without its metadata credits: its lines decide.
fn session_of_lines(version: &str) -> Value {
    let mut event = fixture(version, SESSION);
    event["data"]["object"]["metadata"].as_object_mut().unwrap().remove("credit_amount");
    event
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn remove(event: &mut Value, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let found = event.pointer_mut(parent).and_then(Value::as_object_mut).and_then(|object| object.remove(name));
    assert!(found.is_some(), "{pointer} is not there");
}

#[test]
fn a_subscriptions_first_invoice_is_the_same_payment_in_both_versions() {
    let world = World::new();
    let [old, new] = VERSIONS.map(|version| world.payment(&fixture(version, INVOICE)));
    assert_eq!(old, new);
    assert_eq!(new.who.customer_id.as_deref(), Some("cust_acme_corp"));
    assert_eq!((new.basis, new.paid_at, new.grants.len()), (Basis::Lines, at(1_790_000_003), 0));
    let facts = &new.facts;
    assert_eq!((facts.amount_paid_minor, facts.tax_minor, facts.discount_minor), (Some(2_142), Some(342), Some(200)));
    assert_eq!(facts.payment_intent.as_deref(), Some("pi_Synthetic0002"));
    assert_eq!(facts.charge.as_deref(), Some("ch_Synthetic0001"));
    assert_eq!(facts.balance_transaction.as_deref(), Some("txn_Synthetic0001"));
    assert_eq!(
        (facts.invoice.as_deref(), facts.subscription.as_deref()),
        (Some("in_Synthetic0001"), Some("sub_Synthetic0001"))
    );
    let [plan] = <[_; 1]>::try_from(new.plans).unwrap();
    assert_eq!((plan.plan.as_str(), plan.quantity), ("pro", 1));
    assert_eq!((plan.period_start, plan.period_end), (at(1_790_000_000), at(1_792_592_000)));
    assert_eq!(plan.money.paid.map(Money::minor), Some(2_142));
    assert_eq!(
        (plan.money.tax_minor, plan.money.discount_minor, plan.money.basis_minor),
        (Some(342), Some(200), Some(1_800))
    );
}

#[test]
fn a_session_with_metadata_is_the_same_payment_in_both_versions() {
    let world = World::new();
    let [old, new] = VERSIONS.map(|version| world.payment(&fixture(version, SESSION)));
    assert_eq!(old, new);
    let [grant] = <[_; 1]>::try_from(new.grants).unwrap();
    assert_eq!((new.basis, new.paid_at), (Basis::Metadata, at(1_790_000_003)));
    assert_eq!((grant.quantity.to_string().as_str(), grant.item_key.as_str()), ("50000", "metadata"));
    assert_eq!((grant.wallet_key.as_deref(), grant.money.basis_minor), (Some("wal_3kd92x"), Some(5_000)));
    assert!(matches!(&grant.feature, FeatureWish::WalletElse(Some(feature)) if feature.as_str() == "credits"));
    assert_eq!(new.metadata["stripe_session_id"], "cs_test_synthetic0001");
    assert_eq!(new.metadata["stripe_payment_intent"], "pi_Synthetic0001");
    assert_eq!(new.facts.metadata.get("stripe_session_id"), None, "the payment's metadata is the app's alone");
}

#[test]
fn a_session_of_lines_is_the_same_payment_in_both_versions() {
    let world = World::new();
    let [old, new] = VERSIONS.map(|version| world.payment(&session_of_lines(version)));
    assert_eq!(old, new);
    let [grant] = <[_; 1]>::try_from(new.grants).unwrap();
    assert_eq!((new.basis, grant.quantity.to_string().as_str()), (Basis::Lines, "50000"));
    assert_eq!(grant.stripe_price.as_deref(), Some("price_Synthetic50k"));
    assert_eq!(grant.money.basis_minor, Some(5_000));
}

/// Puts an unknown field into every object, however deep; metadata is the app's, where it would not be unknown.
fn with_unknown_fields(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.iter_mut().filter(|(name, _)| *name != "metadata").for_each(|(_, inner)| with_unknown_fields(inner));
            map.insert("zz_unknown".to_owned(), json!({ "deep": [1, null, { "x": 1.5, "object": "list" }] }));
        }
        Value::Array(items) => items.iter_mut().for_each(with_unknown_fields),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn unknown_fields_change_nothing_however_deep() {
    let mut world = World::new();
    for version in VERSIONS {
        for event in [fixture(version, SESSION), session_of_lines(version), fixture(version, INVOICE)] {
            let (plain, mut strange) = (world.payment(&event), event);
            with_unknown_fields(&mut strange);
            with_unknown_fields(&mut world.line_items);
            assert_eq!(world.payment(&strange), plain, "{version}");
        }
    }
}

#[rstest]
#[case::total("/data/object/total", "total")]
#[case::currency("/data/object/currency", "total")]
#[case::amount("/data/object/lines/data/0/amount", "lines.amount")]
#[case::line_currency("/data/object/lines/data/0/currency", "lines.amount")]
#[case::period("/data/object/lines/data/0/period", "lines.period")]
#[case::period_end("/data/object/lines/data/0/period/end", "lines.period")]
fn a_fact_missing_on_our_invoice_parks_and_is_named(#[case] pointer: &str, #[case] named: &str) {
    for version in VERSIONS {
        let mut event = fixture(version, INVOICE);
        remove(&mut event, pointer);
        let why = World::new().parked(&event);
        assert_eq!(why.code, "missing_fact", "{version} {why:?}");
        assert!(why.detail.contains(named), "{version} {why:?}");
        // The same hole in what is not ours is nobody's business.
        let stranger = World::with_catalog("[features.credits]\ntype = \"metered\"\n");
        assert_eq!(stranger.ignored(&event), "unknown_price", "{version}");
    }
}

#[test]
fn a_quantity_missing_on_our_line_parks_and_is_named() {
    for version in VERSIONS {
        let mut event = fixture(version, INVOICE);
        remove(&mut event, "/data/object/lines/data/0/quantity");
        let line = event["data"]["object"]["lines"]["data"][0].as_object_mut().unwrap();
        line.remove("quantity_decimal");
        let why = World::new().parked(&event);
        assert!(why.code == "missing_fact" && why.detail.contains("lines.quantity"), "{version} {why:?}");
    }
}

#[rstest]
#[case::amount("/data/object/amount_total", "amount_total")]
#[case::currency("/data/object/currency", "amount_total")]
#[case::status("/data/object/payment_status", "payment_status")]
#[case::mode("/data/object/mode", "mode")]
#[case::id("/data/object/id", "data.object.id")]
fn a_fact_missing_on_our_session_parks_and_is_named(#[case] pointer: &str, #[case] named: &str) {
    for version in VERSIONS {
        for mut event in [fixture(version, SESSION), session_of_lines(version)] {
            remove(&mut event, pointer);
            let why = World::new().parked(&event);
            assert!(why.code == "missing_fact" && why.detail.contains(named), "{version} {why:?}");
        }
    }
}

#[rstest]
#[case::amount("amount_total", "line_items.amount_total")]
#[case::currency("currency", "line_items.amount_total")]
#[case::quantity("quantity", "quantity")]
fn a_fact_missing_on_a_sessions_line_parks_and_is_named(#[case] field: &str, #[case] named: &str) {
    for version in VERSIONS {
        let mut world = World::new();
        remove(&mut world.line_items, &format!("/data/0/{field}"));
        let why = world.parked(&session_of_lines(version));
        assert!(why.code == "missing_fact" && why.detail.contains(named), "{version} {why:?}");
    }
}

#[test]
fn what_was_paid_before_the_cut_over_never_grants() {
    for version in VERSIONS {
        for event in [fixture(version, SESSION), session_of_lines(version), fixture(version, INVOICE)] {
            let mut world = World::new();
            world.cutover_at = Some(at(1_790_000_004));
            assert_eq!(world.ignored(&event), "before_cutover");
            world.cutover_at = Some(at(1_790_000_003));
            assert_eq!(world.payment(&event).paid_at, at(1_790_000_003), "the charge's own second");
        }
    }
}

#[test]
fn without_an_api_key_the_payload_is_enough_where_it_is_complete() {
    for version in VERSIONS {
        let mut world = World::new();
        world.can_ask = false;
        let payment = world.payment(&fixture(version, SESSION));
        assert_eq!((payment.paid_at, payment.grants.len()), (at(1_790_000_000), 1), "the session's own time");
        let payment = world.payment(&fixture(version, INVOICE));
        assert_eq!((payment.paid_at, payment.plans.len()), (at(1_790_000_005), 1), "status_transitions.paid_at");
        assert_eq!(world.parked(&session_of_lines(version)).code, "line_items_unavailable");
    }
}

#[test]
fn policies_say_what_becomes_of_unknown_prices_and_free_checkouts() {
    let strangers = "[features.credits]\ntype = \"metered\"\n";
    for version in VERSIONS {
        for event in [session_of_lines(version), fixture(version, INVOICE)] {
            let mut world = World::with_catalog(strangers);
            assert_eq!(world.ignored(&event), "unknown_price");
            world.park_unknown_prices = true;
            assert_eq!(world.parked(&event).code, "unknown_price");
        }
        let mut free = session_of_lines(version);
        free["data"]["object"]["payment_status"] = json!("no_payment_required");
        let mut world = World::new();
        assert_eq!(world.payment(&free).grants.len(), 1);
        world.grant_free_checkouts = false;
        assert_eq!(world.ignored(&free), "free_checkout");
    }
}

#[test]
fn a_credit_back_and_metered_usage_are_no_sale() {
    for version in VERSIONS {
        let mut event = fixture(version, INVOICE);
        event["data"]["object"]["lines"]["data"][0]["amount"] = json!(-2_000);
        assert_eq!(World::new().ignored(&event), "nothing_given");
    }
    let mut metered = fixture(VERSIONS[0], INVOICE);
    metered["data"]["object"]["lines"]["data"][0]["price"]["recurring"]["usage_type"] = json!("metered");
    assert_eq!(World::new().ignored(&metered), "nothing_given");
}

/// What it gives is told by `plan_proration`.
#[test]
fn a_paid_proration_is_a_change_and_no_whole_period() {
    for (version, place) in VERSIONS.into_iter().zip(["/proration", "/parent/subscription_item_details/proration"]) {
        let mut event = fixture(version, INVOICE);
        *event.pointer_mut(&format!("/data/object/lines/data/0{place}")).unwrap() = json!(true);
        let payment = World::new().payment(&event);
        assert_eq!((payment.plans.len(), payment.grants.len(), payment.changes.len()), (0, 0, 1), "{version}");
    }
}

#[test]
fn a_threshold_invoice_gives_no_new_allowance_and_an_upcoming_one_is_only_a_preview() {
    for version in VERSIONS {
        let mut event = fixture(version, INVOICE);
        event["data"]["object"]["billing_reason"] = json!("subscription_threshold");
        let payment = World::new().payment(&event);
        assert_eq!((payment.plans.len(), payment.grants.len()), (0, 0), "{version}");
        remove(&mut event, "/data/object/id");
        assert_eq!(World::new().ignored(&event), "upcoming_invoice");
    }
}

#[test]
fn money_that_cannot_be_is_refused_and_never_clamped() {
    for version in VERSIONS {
        let mut taxed = fixture(version, SESSION);
        taxed["data"]["object"]["total_details"]["amount_tax"] = json!(5_001);
        assert_eq!(World::new().parked(&taxed).code, "bad_money");
        let mut odd = fixture(version, SESSION);
        odd["data"]["object"]["currency"] = json!("credits");
        assert_eq!(World::new().parked(&odd).code, "bad_money");
        let mut fraction = fixture(version, INVOICE);
        fraction["data"]["object"]["lines"]["data"][0]["amount"] = json!(2_000.5);
        assert_eq!(World::new().parked(&fraction).code, "unreadable");
        let mut backwards = fixture(version, INVOICE);
        backwards["data"]["object"]["lines"]["data"][0]["period"]["end"] = json!(1_790_000_000);
        assert_eq!(World::new().parked(&backwards).code, "unreadable");
    }
}

#[test]
fn lines_come_in_pages_and_all_of_them_count() {
    let world = World::new();
    let line = world.line_items["data"][0].clone();
    let event = Event::from_value(&session_of_lines(VERSIONS[1])).unwrap();
    let mut answers = Answers::new(true);
    let mut pages = 0;
    let payment = loop {
        let context = context(&world.catalog, &answers);
        let questions = match interpret(&event, context) {
            Interpretation::Ask(questions) => questions,
            Interpretation::Act(mut intents) => break intents.pop().unwrap(),
            other => panic!("{other:?}"),
        };
        for question in questions {
            let (status, mut body) = world.answer(&question);
            if let Fetch::SessionLineItems { starting_after, .. } = &question {
                let expected = (pages > 0).then(|| format!("li_page{}", pages - 1));
                assert_eq!(starting_after.as_ref().map(ToString::to_string), expected);
                let mut line = line.clone();
                line["id"] = json!(format!("li_page{pages}"));
                body = json!({ "object": "list", "data": [line], "has_more": pages < 2 });
                pages += 1;
            }
            answers.add(question.path(), status, body.to_string().into_bytes(), Timestamp::UNIX_EPOCH);
        }
    };
    let Intent::Payment(payment) = payment else { panic!("a payment") };
    assert_eq!((pages, payment.grants.len()), (3, 1));
    assert_eq!(payment.grants[0].quantity.to_string(), "150000");
    assert_eq!(payment.grants[0].money.paid.map(Money::minor), Some(15_000));
}

#[test]
fn a_line_that_ends_its_pages_with_an_empty_one_parks() {
    let mut world = World::new();
    world.line_items = json!({ "object": "list", "data": [], "has_more": true });
    assert_eq!(world.parked(&session_of_lines(VERSIONS[1])).code, "unreadable");
}
