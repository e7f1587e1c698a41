//! Payments of top-ups as Stripe tells of them: by an intent, a session or an invoice, in any order and as often as it
//! likes, each is one grant; and what is not what was decided waits for a person.

use creditd::domain::command::{BeginTry, Charging, Command, OrderTopUp, Outcome, Request, TopUpPaid};
use creditd::domain::ids::{AccountId, AttemptId, TopUpId};
use creditd::domain::money::{Currency, Money};
use creditd::domain::payment::{PaymentFacts, PaymentStatus};
use creditd::domain::top_up::ChargeMode;
use creditd::store::payments::PaymentClaim;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::database::raw;
use crate::support::events::{event, moment};

/// Minor units of an order of 20 credits.
const COSTS: i64 = 2_000;

/// A customer with a top-up that is to be paid. The test says what becomes of it: nothing charges by itself.
pub struct Ordered {
    pub customer: String,
    pub stripe: String,
    pub account: AccountId,
    pub top_up: TopUpId,
}

impl TestApp {
    /// A customer who is linked to a Stripe customer of their own and has ordered 20 credits for 20 dollars.
    pub async fn ordered(&self, customer: &str) -> Ordered {
        self.hold_charger().await;
        let stripe = format!("cus_of_{customer}");
        let path = format!("/api/v1/customers/{customer}");
        self.call("PUT", &path, Some(json!({ "stripe_customer": stripe }))).await;
        let account = self.store.find_customer(customer).await.unwrap().unwrap();
        let usd: Currency = "usd".parse().unwrap();
        let order = OrderTopUp {
            feature: "usd_credits".parse_feature(),
            wallet: None,
            quantity: "20".parse().unwrap(),
            currency: Some(usd),
            payment_method: None,
            mode: ChargeMode::PaymentIntent,
            usual_currency: None,
            usual_month: [(usd, 1_000_000)].into(),
        };
        let outcome = self.charge(account, Charging::Order(Box::new(order))).await;
        let Outcome::Charged { top_up: Some(top_up) } = outcome else { panic!("{outcome:?}") };
        Ordered { customer: customer.to_owned(), stripe, account, top_up }
    }

    /// Posts something of the charger's.
    pub async fn charge(&self, account: AccountId, charging: Charging) -> Outcome {
        let posted = self.daemon.posting().post(account, None, Command::Charging(charging)).await.unwrap();
        posted.outcome().clone()
    }

    /// A try of a top-up has begun.
    pub async fn tried(&self, ordered: &Ordered) -> AttemptId {
        let attempt = AttemptId::from_uuid(uuid::Uuid::from_u128(ordered.top_up.as_uuid().as_u128() ^ 1));
        let begin = BeginTry {
            top_up: ordered.top_up,
            number: 1,
            attempt,
            customer: ordered.stripe.clone(),
            payment_method: "pm_1".to_owned(),
            step: "charge",
            request: Request { method: "POST".to_owned(), path: "/v1/payment_intents".to_owned(), body: String::new() },
        };
        self.charge(ordered.account, Charging::BeginTry(Box::new(begin))).await;
        attempt
    }

    /// How a top-up stands: its state and reason.
    pub async fn top_up(&self, id: TopUpId) -> (String, Option<String>) {
        let pool = raw(&self.url).await;
        let row = sqlx::query_as("SELECT state, reason FROM top_ups WHERE topup_id = $1").bind(id.as_uuid());
        row.fetch_one(&pool).await.unwrap()
    }

    /// How its last try stands: state, code, decline code, advice.
    pub async fn last_try(&self, id: TopUpId) -> [Option<String>; 4] {
        let pool = raw(&self.url).await;
        let text = "SELECT state, code, decline_code, advice_code FROM top_up_tries WHERE topup_id = $1
            ORDER BY try DESC LIMIT 1";
        let row: (Option<String>, Option<String>, Option<String>, Option<String>) =
            sqlx::query_as(text).bind(id.as_uuid()).fetch_one(&pool).await.unwrap();
        row.into()
    }

    /// Tells of something, and waits until it stands so.
    pub async fn tells(&self, id: &str, kind: &str, object: &Value, (state, reason): (&str, &str)) {
        self.send(&event(id, kind, object)).await;
        self.until(id, state, reason).await;
    }
}

/// Names of features, for short.
trait ParseFeature {
    fn parse_feature(&self) -> creditd::domain::catalog::FeatureId;
}

impl ParseFeature for str {
    fn parse_feature(&self) -> creditd::domain::catalog::FeatureId {
        creditd::domain::catalog::FeatureId::new(self).unwrap()
    }
}

/// An intent of the charger's own, or of a link's page when there is no attempt.
pub fn intent(ordered: &Ordered, number: usize, status: &str, attempt: Option<AttemptId>) -> Value {
    let mut metadata = json!({ "creditd_topup_id": ordered.top_up, "creditd_customer_id": "eve", "credit_amount": "900",
        "feature_id": "usd_credits" });
    if let Some(attempt) = attempt {
        metadata["creditd_attempt_id"] = json!(attempt);
    }
    let received = if status == "succeeded" { COSTS } else { 0 };
    json!({ "id": format!("pi_{}_{number}", ordered.customer), "object": "payment_intent", "status": status,
        "capture_method": "automatic_async", "amount": COSTS, "amount_received": received, "currency": "usd",
        "created": moment(0).as_second(), "customer": ordered.stripe,
        "latest_charge": format!("ch_{}_{number}", ordered.customer), "metadata": metadata })
}

fn session(ordered: &Ordered, number: usize, payment_status: &str) -> Value {
    let metadata = json!({ "creditd_topup_id": ordered.top_up, "creditd_credits": "900", "feature_id": "usd_credits" });
    json!({ "id": format!("cs_{}_{number}", ordered.customer), "object": "checkout.session", "mode": "payment",
        "payment_status": payment_status, "status": "complete", "created": moment(0).as_second(), "currency": "usd",
        "amount_subtotal": COSTS, "amount_total": COSTS + 380, "customer": ordered.stripe,
        "total_details": { "amount_tax": 380, "amount_discount": 0, "amount_shipping": 0 },
        "payment_intent": format!("pi_{}_{number}", ordered.customer), "metadata": metadata })
}

/// An invoice with a line of the catalogue's pack.
fn invoice(ordered: &Ordered, number: usize, by: Option<&str>) -> Value {
    let id = format!("in_{}_{number}", ordered.customer);
    let payments: Vec<Value> = by
        .iter()
        .map(|intent| {
            json!({ "id": "inpay_1", "object": "invoice_payment", "invoice": id, "status": "paid",
            "payment": { "type": "payment_intent", "payment_intent": intent } })
        })
        .collect();
    json!({ "id": id, "object": "invoice", "status": "paid", "billing_reason": "manual", "currency": "usd",
        "created": moment(0).as_second(), "customer": ordered.stripe, "subtotal": COSTS, "total": COSTS + 380,
        "amount_paid": if by.is_some() { COSTS + 380 } else { 0 }, "total_taxes": [{ "amount": 380 }],
        "status_transitions": { "paid_at": moment(0).as_second() },
        "payments": { "object": "list", "data": payments, "has_more": false },
        "lines": { "object": "list", "has_more": false, "data": [{ "id": "il_1", "object": "line_item", "amount": COSTS,
            "currency": "usd", "quantity": 20, "pricing": { "price_details": { "price": "price_usd_credit",
            "product": "price_usd_credit" } }, "period": { "start": 1, "end": 1 } }] },
        "metadata": { "creditd_topup_id": ordered.top_up, "credit_amount": "900" } })
}

/// The 20 credits, once, and nothing else.
async fn has_it_once(app: &TestApp, ordered: &Ordered, story: &str) {
    let grants = app.bought(&ordered.customer).await;
    assert_eq!(grants.len(), 1, "{story}: {grants:?}");
    assert_eq!((&grants[0]["quantity"], &grants[0]["basis_minor"]), (&json!("20"), &json!(COSTS)), "{story}");
    assert_eq!(app.top_up(ordered.top_up).await, ("succeeded".to_owned(), None), "{story}");
}

fn orders<T: Copy>(of: &[T]) -> Vec<Vec<T>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for place in 0..of.len() {
        let mut rest = of.to_vec();
        let first = rest.remove(place);
        all.extend(orders(&rest).into_iter().map(|rest| [vec![first], rest].concat()));
    }
    all
}

/// What the charger does itself when Stripe answers it.
async fn charger_says(app: &TestApp, ordered: &Ordered) {
    let money = |minor| Money::from_minor(minor, "usd".parse().unwrap()).unwrap();
    let intent = format!("pi_{}_1", ordered.customer);
    let facts = PaymentFacts {
        status: PaymentStatus::Paid,
        payment_intent: Some(intent.clone()),
        stripe_customer: Some(ordered.stripe.clone()),
        ..PaymentFacts::default()
    };
    let PaymentClaim::Claimed(payment) = app.store.claim_payment(ordered.account, &facts).await.unwrap() else {
        panic!("claimed by somebody else")
    };
    let paid = TopUpPaid {
        top_up: ordered.top_up,
        payment,
        payment_intent: Some(intent),
        paid_at: moment(0),
        net: money(COSTS),
        gross: money(COSTS + 380),
        stripe_line: None,
        metadata: std::collections::BTreeMap::new(),
    };
    app.charge(ordered.account, Charging::Paid(Box::new(paid))).await;
}

#[tokio::test]
async fn one_payment_told_of_by_everything_in_every_order_and_twice_is_one_grant() {
    let app = TestApp::start().await;
    for (number, order) in orders(&["intent", "session", "invoice", "charger"]).into_iter().enumerate() {
        let ordered = app.ordered(&format!("c{number}")).await;
        for round in 0..2 {
            for told in &order {
                let id = format!("evt_{number}_{round}_{told}");
                let by = format!("pi_{}_1", ordered.customer);
                let done = ("processed", "");
                match *told {
                    "intent" => {
                        let attempt = AttemptId::from_uuid(uuid::Uuid::from_u128(7));
                        let paid = intent(&ordered, 1, "succeeded", Some(attempt));
                        app.tells(&id, "payment_intent.succeeded", &paid, done).await;
                    }
                    "session" => {
                        app.tells(&id, "checkout.session.completed", &session(&ordered, 1, "paid"), done).await;
                    }
                    "invoice" => app.tells(&id, "invoice.paid", &invoice(&ordered, 1, Some(&by)), done).await,
                    _ => charger_says(&app, &ordered).await,
                }
            }
        }
        has_it_once(&app, &ordered, &order.join(", ")).await;
    }
    app.finish().await;
}

#[rstest]
#[case::its_own_charge("intent")]
#[case::a_links_intent("link")]
#[case::a_session("session")]
#[case::a_session_paid_later("async")]
#[case::an_invoice("invoice")]
#[case::an_invoice_that_a_balance_paid("balance")]
#[tokio::test]
async fn each_way_to_pay_gives_what_was_decided_and_nothing_by_price_or_metadata(#[case] way: &str) {
    let app = TestApp::start().await;
    let ordered = app.ordered("ada").await;
    let attempt = AttemptId::from_uuid(uuid::Uuid::from_u128(7));
    let (kind, object) = match way {
        "intent" => ("payment_intent.succeeded", intent(&ordered, 1, "succeeded", Some(attempt))),
        "link" => ("payment_intent.succeeded", intent(&ordered, 1, "succeeded", None)),
        "session" => ("checkout.session.completed", session(&ordered, 1, "paid")),
        "async" => {
            let unpaid = session(&ordered, 1, "unpaid");
            app.tells("evt_unpaid", "checkout.session.completed", &unpaid, ("ignored", "not_paid_yet")).await;
            assert_eq!(app.bought("ada").await, Vec::<Value>::new(), "nothing is paid yet");
            ("checkout.session.async_payment_succeeded", session(&ordered, 1, "paid"))
        }
        "balance" => ("invoice.paid", invoice(&ordered, 1, None)),
        _ => ("invoice.paid", invoice(&ordered, 1, Some("pi_ada_1"))),
    };
    app.tells("evt_paid", kind, &object, ("processed", "")).await;
    has_it_once(&app, &ordered, way).await;
    assert_eq!(app.call("GET", "/api/v1/customers/eve", None).await.0, 404, "metadata makes nobody");
    let (_, replayed) = app.call("POST", "/api/v1/stripe-events/evt_paid/replay", Some(json!({ "apply": true }))).await;
    let done = ["commands_applied", "commands_repeated"].map(|field| replayed["applied"][field].as_i64());
    assert_eq!(done, [Some(0), Some(1)], "{replayed}");
    has_it_once(&app, &ordered, "replayed").await;
    app.finish().await;
}

#[rstest]
#[case::nobodys_top_up("unknown", "unknown_top_up")]
#[case::no_id_at_all("unreadable", "unknown_top_up")]
#[case::of_somebody_else("other", "link_conflict")]
#[case::of_nobody_known("unlinked", "unknown_customer")]
#[case::of_nobody("nobody", "missing_fact")]
#[case::too_little("less", "amount_mismatch")]
#[case::another_currency("eur", "amount_mismatch")]
#[case::a_discount("discount", "amount_mismatch")]
#[case::nothing_at_all("free", "amount_mismatch")]
#[case::a_session_without_its_intent("no intent", "missing_fact")]
#[tokio::test]
async fn a_payment_that_is_not_what_was_decided_waits_for_a_person_and_gives_nothing(
    #[case] what: &str,
    #[case] reason: &str,
) {
    let app = TestApp::start().await;
    let ordered = app.ordered("ada").await;
    let bob = app.ordered("bob").await;
    let attempt = AttemptId::from_uuid(uuid::Uuid::from_u128(7));
    let mut paid = intent(&ordered, 1, "succeeded", Some(attempt));
    let mut kind = "payment_intent.succeeded";
    match what {
        "unknown" => paid["metadata"]["creditd_topup_id"] = json!(TopUpId::from_uuid(uuid::Uuid::from_u128(9))),
        "unreadable" => paid["metadata"]["creditd_topup_id"] = json!("tup_1"),
        "other" => paid["customer"] = json!(bob.stripe),
        "unlinked" => paid["customer"] = json!("cus_new"),
        "nobody" => paid["customer"] = Value::Null,
        "less" => paid["amount_received"] = json!(COSTS - 1),
        "eur" => paid["currency"] = json!("eur"),
        other => {
            kind = "checkout.session.completed";
            paid = session(&ordered, 1, "paid");
            match other {
                "discount" => paid["total_details"]["amount_discount"] = json!(100),
                "free" => {
                    paid["payment_status"] = json!("no_payment_required");
                    paid["amount_total"] = json!(0);
                    paid["total_details"] = json!({ "amount_tax": 0, "amount_discount": COSTS });
                    paid["payment_intent"] = Value::Null;
                }
                _ => paid["payment_intent"] = Value::Null,
            }
        }
    }
    app.tells("evt_odd", kind, &paid, ("parked", reason)).await;
    assert_eq!(app.bought("ada").await, Vec::<Value>::new());
    assert_eq!(app.bought("bob").await, Vec::<Value>::new());
    if what == "unlinked" {
        app.call("PUT", "/api/v1/customers/ada", Some(json!({ "stripe_customer": "cus_new" }))).await;
        app.until("evt_odd", "processed", "").await;
        has_it_once(&app, &ordered, "linked since").await;
    }
    app.finish().await;
}

#[tokio::test]
async fn a_second_payment_of_one_top_up_goes_back_and_gives_nothing() {
    let app = TestApp::start().await;
    let ordered = app.ordered("ada").await;
    let attempt = AttemptId::from_uuid(uuid::Uuid::from_u128(7));
    let own = intent(&ordered, 1, "succeeded", Some(attempt));
    app.tells("evt_own", "payment_intent.succeeded", &own, ("processed", "")).await;
    for id in ["evt_page", "evt_page_again"] {
        app.tells(id, "checkout.session.completed", &session(&ordered, 2, "paid"), ("processed", "")).await;
    }
    has_it_once(&app, &ordered, "paid twice").await;
    let pool = raw(&app.url).await;
    let excess: Vec<(String, i64)> =
        sqlx::query_as("SELECT payment_intent, amount_minor FROM top_up_excess").fetch_all(&pool).await.unwrap();
    assert_eq!(excess, [("pi_ada_2".to_owned(), COSTS + 380)], "all that was paid goes back");
    // What a balance paid cannot be refunded by itself.
    app.tells("evt_balance", "invoice.paid", &invoice(&ordered, 3, None), ("parked", "cannot_refund")).await;
    app.finish().await;
}

/// A decline's codes as they stand on an intent.
fn declined(mut intent: Value) -> Value {
    intent["last_payment_error"] = json!({ "type": "card_error", "code": "card_declined",
        "decline_code": "insufficient_funds", "advice_code": "try_again_later" });
    intent
}

#[rstest]
#[case::declined("payment_intent.payment_failed", "requires_payment_method", "declined", "open")]
#[case::slow("payment_intent.processing", "processing", "processing", "processing")]
#[case::its_owner_is_asked_for("payment_intent.requires_action", "requires_action", "needs_action", "needs_action")]
#[case::cancelled_by_somebody("payment_intent.canceled", "canceled", "not_done", "failed")]
#[case::late_news("payment_intent.requires_action", "processing", "processing", "processing")]
#[tokio::test]
async fn what_becomes_of_a_try_is_told_by_its_intent_as_it_is_now(
    #[case] kind: &str,
    #[case] status: &str,
    #[case] of_try: &str,
    #[case] of_top_up: &str,
) {
    let app = TestApp::start().await;
    let ordered = app.ordered("ada").await;
    let attempt = app.tried(&ordered).await;
    let mut now = intent(&ordered, 1, status, Some(attempt));
    if status == "requires_payment_method" {
        now = declined(now);
    }
    for id in ["evt_1", "evt_2"] {
        app.tells(id, kind, &now, ("processed", "")).await;
        // The second time nothing is under way any more that could be lost.
        if status == "canceled" {
            app.tells("evt_3", kind, &now, ("ignored", "payment_failed")).await;
            break;
        }
    }
    let found = app.last_try(ordered.top_up).await;
    assert_eq!(found[0].as_deref(), Some(of_try));
    if of_try == "declined" {
        let codes = ["card_declined", "insufficient_funds", "try_again_later"];
        assert_eq!(found[1..], codes.map(|code| Some(code.to_owned())));
    }
    assert_eq!(app.top_up(ordered.top_up).await.0, of_top_up);
    assert_eq!(app.bought("ada").await, Vec::<Value>::new());
    app.finish().await;
}

/// The charger cancels an intent itself before it opens a page; then the page goes on waiting.
#[tokio::test]
async fn an_intent_cancelled_while_its_owner_is_asked_for_ends_nothing() {
    let app = TestApp::start().await;
    let ordered = app.ordered("ada").await;
    let attempt = app.tried(&ordered).await;
    let asks = intent(&ordered, 1, "requires_action", Some(attempt));
    app.tells("evt_asks", "payment_intent.requires_action", &asks, ("processed", "")).await;
    let gone = intent(&ordered, 1, "canceled", Some(attempt));
    app.tells("evt_gone", "payment_intent.canceled", &gone, ("ignored", "payment_failed")).await;
    assert_eq!(app.top_up(ordered.top_up).await.0, "needs_action");
    let page = session(&ordered, 2, "paid");
    app.tells("evt_page", "checkout.session.completed", &page, ("processed", "")).await;
    has_it_once(&app, &ordered, "by the page").await;
    app.finish().await;
}

#[tokio::test]
async fn what_fails_on_a_links_page_or_after_the_payment_changes_nothing() {
    let app = TestApp::start().await;
    let ordered = app.ordered("ada").await;
    let attempt = app.tried(&ordered).await;
    let of_page = declined(intent(&ordered, 2, "requires_payment_method", None));
    app.tells("evt_page", "payment_intent.payment_failed", &of_page, ("ignored", "payment_failed")).await;
    let of_page = intent(&ordered, 2, "canceled", None);
    app.tells("evt_page_gone", "payment_intent.canceled", &of_page, ("ignored", "payment_failed")).await;
    assert_eq!(app.last_try(ordered.top_up).await[0].as_deref(), Some("sent"));
    let nothing_yet = intent(&ordered, 1, "requires_payment_method", Some(attempt));
    app.tells("evt_new", "payment_intent.payment_failed", &nothing_yet, ("ignored", "not_paid_yet")).await;
    let paid = intent(&ordered, 1, "succeeded", Some(attempt));
    // Told as a failure, and paid by now.
    app.tells("evt_paid", "payment_intent.payment_failed", &paid, ("processed", "")).await;
    has_it_once(&app, &ordered, "paid").await;
    for (id, kind, status) in [
        ("evt_late", "payment_intent.payment_failed", "requires_payment_method"),
        ("evt_slow", "payment_intent.processing", "processing"),
        ("evt_asks", "payment_intent.requires_action", "requires_action"),
    ] {
        let late = declined(intent(&ordered, 1, status, Some(attempt)));
        app.tells(id, kind, &late, ("processed", "")).await;
        has_it_once(&app, &ordered, id).await;
    }
    assert_eq!(app.last_try(ordered.top_up).await[0].as_deref(), Some("succeeded"));
    app.finish().await;
}

/// Intents of others are nobody's business here, whatever becomes of them.
#[tokio::test]
async fn intents_that_are_no_top_ups_are_ignored_as_ever() {
    let app = TestApp::start().await;
    for (kind, status, reason) in [
        ("payment_intent.payment_failed", "requires_payment_method", "payment_failed"),
        ("payment_intent.canceled", "canceled", "payment_failed"),
        ("payment_intent.processing", "processing", "not_paid_yet"),
        ("payment_intent.requires_action", "requires_action", "not_paid_yet"),
    ] {
        let other = json!({ "id": "pi_other", "object": "payment_intent", "status": status, "metadata": {} });
        app.tells(&format!("evt_{status}"), kind, &other, ("ignored", reason)).await;
    }
    app.finish().await;
}

/// An intent of the simulated Stripe, charged with a saved card for this top-up, of which no event was delivered.
async fn charged_unheard(app: &TestApp, customer: &str) -> TopUpId {
    let ordered = app.ordered(customer).await;
    let stripe = app.stripe_customer().await;
    app.call("PUT", &format!("/api/v1/customers/{customer}"), Some(json!({ "stripe_customer": stripe }))).await;
    let card = app.stripe("POST", "/v1/payment_methods/pm_card_visa/attach", &[("customer", &stripe)]).await;
    let (card, id) = (card["id"].as_str().unwrap().to_owned(), ordered.top_up.to_string());
    let attempt = AttemptId::from_uuid(uuid::Uuid::from_u128(7)).to_string();
    let form = [
        ("amount", "2000"),
        ("currency", "usd"),
        ("customer", &stripe),
        ("payment_method", &card),
        ("confirm", "true"),
        ("off_session", "true"),
        ("metadata[creditd_topup_id]", &id),
        ("metadata[creditd_attempt_id]", &attempt),
    ];
    let paid = app.stripe("POST", "/v1/payment_intents", &form).await;
    assert_eq!(paid["status"], "succeeded", "{paid}");
    ordered.top_up
}

#[tokio::test]
async fn a_top_up_whose_webhook_was_lost_is_found_among_stripes_events() {
    let app = TestApp::start().await;
    let top_up = charged_unheard(&app, "ada").await;
    app.caught_up().await;
    assert_eq!(app.top_up(top_up).await.0, "succeeded");
    assert_eq!(app.bought("ada").await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn a_top_up_whose_events_are_gone_is_found_among_stripes_intents_once() {
    let app = TestApp::start().await;
    let top_up = charged_unheard(&app, "ada").await;
    let rows = app.compared(false).await;
    let intents = rows("payment intents");
    assert_eq!((intents.found, intents.missing), (1, 1), "{intents:?}");
    assert_eq!(app.top_up(top_up).await.0, "open", "without repair nothing is written");
    let rows = app.compared(true).await;
    assert_eq!(rows("payment intents").repaired, 1);
    app.settle().await;
    assert_eq!(app.top_up(top_up).await.0, "succeeded");
    for repair in [false, true] {
        let intents = app.compared(repair).await("payment intents");
        assert_eq!((intents.known, intents.missing), (1, 0), "{intents:?}");
    }
    assert_eq!(app.bought("ada").await.len(), 1);
    app.finish().await;
}
