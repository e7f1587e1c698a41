//! The simulator over HTTP: what it answers, refuses, keeps, emits and delivers.
#![expect(clippy::unwrap_used, reason = "the builders of a test fail it where they stand")]

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
use creditd::clock::Clock;
use creditd::simulator::{Entry, InvoiceOrder, Options, Outcome, Simulator, SimulatorError};
use reqwest::Method;
use serde_json::{Value, json};

mod cards;
mod chaos;
mod deliveries;
mod faults;
mod idempotency;
mod invoices_by_hand;
mod outages;
mod payers;
mod plan_changes;
mod refunds;
mod saved_cards;
mod sdk;
mod shapes;
mod subscriptions;
mod time;

const ACACIA: &str = "2024-09-30.acacia";

/// 2026-01-31T00:00:00Z: month ends show whether periods are counted from the anchor.
fn clock() -> Clock {
    Clock::manual("2026-01-31T00:00:00Z".parse().unwrap())
}

/// Options of a simulator whose state is kept in a folder.
fn kept_in(folder: &tempfile::TempDir) -> Options {
    let mut options = Options::new(clock());
    options.state_file = Some(folder.path().join("stripe.json"));
    options
}

fn client() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let redirect = reqwest::redirect::Policy::none();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().redirect(redirect).build().unwrap()
}

/// A simulator and a client that speaks to it.
struct Account {
    simulator: Simulator,
    client: reqwest::Client,
}

/// One answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Value,
    headers: HeaderMap,
}

impl Account {
    async fn start(options: Options) -> Self {
        Self { simulator: Simulator::start(options).await.unwrap(), client: client() }
    }

    async fn new() -> Self {
        Self::start(Options::new(clock())).await
    }

    async fn send(&self, method: Method, path: &str, form: &str, headers: &[(&str, &str)]) -> Answer {
        let mut url = format!("{}{path}", self.simulator.base_url());
        let body = if method == Method::POST {
            form.to_owned()
        } else {
            if !form.is_empty() {
                url.push('?');
                url.push_str(form);
            }
            String::new()
        };
        let mut request = self.client.request(method, url).body(body);
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.header("authorization", "Bearer sk_test_123");
        }
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null);
        Answer { status, body, headers }
    }

    async fn post(&self, path: &str, form: &str) -> Value {
        let answer = self.send(Method::POST, path, form, &[]).await;
        assert_eq!(answer.status, 200, "{path} {form}: {}", answer.body);
        answer.body
    }

    async fn get(&self, path: &str, query: &str) -> Value {
        let answer = self.send(Method::GET, path, query, &[]).await;
        assert_eq!(answer.status, 200, "{path} {query}: {}", answer.body);
        answer.body
    }

    async fn get_in(&self, version: &str, path: &str, query: &str) -> Answer {
        self.send(Method::GET, path, query, &[("stripe-version", version)]).await
    }

    /// Refused with this status, and about this parameter.
    async fn refused(&self, method: Method, path: &str, form: &str, status: u16, parameter: Value) -> Value {
        let answer = self.send(method, path, form, &[]).await;
        assert_eq!((answer.status, &answer.body["error"]["param"]), (status, &parameter), "{path} {form}: {answer:?}");
        assert_eq!(answer.body["error"]["type"], "invalid_request_error", "{path} {form}");
        assert!(answer.headers.contains_key("request-id"));
        answer.body["error"].clone()
    }

    async fn price(&self, more: &str) -> String {
        let form = format!("currency=EUR&unit_amount=1000&product_data[name]=Credits{more}");
        id(&self.post("/v1/prices", &form).await)
    }

    async fn session(&self, price: &str, mode: &str, extra: &str) -> String {
        let form = format!(
            "mode={mode}&success_url=http://127.0.0.1/done&line_items[0][price]={price}&line_items[0][quantity]=3{extra}"
        );
        id(&self.post("/v1/checkout/sessions", &form).await)
    }

    fn events(&self, event_type: &str) -> Vec<Value> {
        let ids = self.simulator.event_ids(event_type);
        ids.iter().map(|id| self.simulator.event(id).unwrap()).collect()
    }

    fn event(&self, event_type: &str) -> Value {
        let events = self.events(event_type);
        assert_eq!(events.len(), 1, "{event_type}: {events:?}");
        events[0].clone()
    }
}

fn id(object: &Value) -> String {
    object["id"].as_str().unwrap().to_owned()
}

fn ids_of(list: &Value) -> Vec<String> {
    list["data"].as_array().unwrap().iter().map(id).collect()
}

fn seconds(time: &str) -> i64 {
    time.parse::<jiff::Timestamp>().unwrap().as_second()
}

#[tokio::test]
async fn only_loopback_is_listened_on_and_delivered_to() {
    let mut options = Options::new(clock());
    options.listen = SocketAddr::from(([0, 0, 0, 0], 0));
    assert!(matches!(Simulator::start(options).await, Err(SimulatorError::NotLoopback(_))));
    for url in ["http://192.0.2.1/hook", "https://example.com/hook", "https://127.0.0.1/hook", "no url"] {
        let mut options = Options::new(clock());
        options.webhook_url = Some(url.to_owned());
        assert!(matches!(Simulator::start(options).await, Err(SimulatorError::WebhookNotLoopback(_))), "{url}");
    }
    let mut options = Options::new(clock());
    options.endpoint_version = "2025-09-30.basil".to_owned();
    assert!(matches!(Simulator::start(options).await, Err(SimulatorError::UnknownVersion(_))));
}

#[tokio::test]
async fn keys_and_versions_are_checked_before_anything_else() {
    let account = Account::new().await;
    for authorization in ["", "Bearer sk_live_1", "Bearer nothing", "Basic !!!"] {
        let answer = account.send(Method::POST, "/v1/customers", "x=1", &[("authorization", authorization)]).await;
        assert_eq!(answer.status, 401, "{authorization}");
    }
    // "sk_test_123:" in base64.
    let basic = ("authorization", "Basic c2tfdGVzdF8xMjM6");
    assert_eq!(account.send(Method::POST, "/v1/customers", "", &[basic]).await.status, 200);
    let answer = account.get_in("2025-03-30.basil", "/v1/customers", "").await;
    assert_eq!(answer.status, 400);
    let answer = account.get_in("2026-10-28.endive", "/v1/customers", "").await;
    assert_eq!((answer.status, answer.headers["stripe-version"].to_str().unwrap()), (200, "2026-10-28.endive"));
    let mut options = Options::new(clock());
    options.api_key = Some("sk_test_only".to_owned());
    let strict = Account::start(options).await;
    assert_eq!(strict.send(Method::GET, "/v1/customers", "", &[]).await.status, 401);
    let exact = ("authorization", "Bearer sk_test_only");
    assert_eq!(strict.send(Method::GET, "/v1/customers", "", &[exact]).await.status, 200);
}

#[tokio::test]
async fn parameters_are_honoured_or_refused() {
    let account = Account::new().await;
    let post = Method::POST;
    for (path, form, parameter) in [
        ("/v1/customers", "nickname=x", json!("nickname")),
        ("/v1/customers", "metadata[a][b]=x", json!("metadata[a][b]")),
        ("/v1/customers", "email=", json!("email")),
        ("/v1/customers", "a[b=1", Value::Null),
        ("/v1/customers", "email=%zz", Value::Null),
        ("/v1/customers", "email=a&email=b", Value::Null),
        ("/v1/products", "", json!("name")),
        ("/v1/prices", "currency=eur&unit_amount=1", json!("product")),
        ("/v1/prices", "currency=euro&unit_amount=1&product_data[name]=x", json!("currency")),
        ("/v1/prices", "currency=eur&unit_amount=1.5&product_data[name]=x", json!("unit_amount")),
        ("/v1/prices", "currency=eur&unit_amount=-1&product_data[name]=x", json!("unit_amount")),
        ("/v1/prices", "currency=eur&unit_amount=1&product=prod_x", json!("product")),
        (
            "/v1/prices",
            "currency=eur&unit_amount=1&product_data[name]=x&recurring[interval]=eon",
            json!("recurring[interval]"),
        ),
        ("/v1/checkout/sessions", "success_url=x", json!("mode")),
        ("/v1/checkout/sessions", "mode=payment", json!("success_url")),
        ("/v1/checkout/sessions", "mode=payment&success_url=x", json!("line_items")),
        ("/v1/checkout/sessions", "mode=payment&success_url=x&customer=cus_x", json!("customer")),
        (
            "/v1/checkout/sessions",
            "mode=payment&success_url=x&line_items[0][price]=price_x&line_items[0][quantity]=1",
            json!("line_items[0][price]"),
        ),
        (
            "/v1/checkout/sessions",
            "mode=payment&success_url=x&line_items[0][price]=price_x",
            json!("line_items[0][quantity]"),
        ),
        (
            "/v1/checkout/sessions",
            "mode=setup&success_url=x&payment_intent_data[metadata][a]=1",
            json!("payment_intent_data"),
        ),
        ("/v1/payment_intents", "amount=1&currency=eur&off_session=true", json!("off_session")),
        ("/v1/payment_intents", "amount=0&currency=eur", json!("amount")),
        ("/v1/payment_intents", "amount=1&currency=eur&confirm=true&payment_method=pm_x", json!("payment_method")),
        ("/v1/subscriptions", "customer=cus_x", json!("customer")),
    ] {
        account.refused(post.clone(), path, form, 400, parameter).await;
    }
    let json_body = [("content-type", "application/json")];
    assert_eq!(account.send(post.clone(), "/v1/customers", "{}", &json_body).await.status, 400);
    for path in [
        "/v1/customers/cus_x",
        "/v1/products/prod_x",
        "/v1/prices/price_x",
        "/v1/checkout/sessions/cs_test_x",
        "/v1/checkout/sessions/cs_test_x/line_items",
        "/v1/payment_intents/pi_x",
        "/v1/charges/ch_x",
        "/v1/invoices/in_x",
        "/v1/invoices/in_x/lines",
        "/v1/invoice_payments/inpay_x",
        "/v1/subscriptions/sub_x",
        "/v1/events/evt_x",
    ] {
        let error = account.refused(Method::GET, path, "", 404, json!("id")).await;
        assert_eq!(error["code"], "resource_missing");
    }
    account.refused(Method::GET, "/v1/unknown", "", 404, Value::Null).await;
    account.refused(post, "/v1/charges", "", 404, Value::Null).await;
    account.refused(Method::GET, "/v1/customers", "limit=0", 400, json!("limit")).await;
    account.refused(Method::GET, "/v1/customers", "starting_after=cus_x", 400, json!("starting_after")).await;
    assert!(account.simulator.event_ids("customer.created").is_empty(), "a refusal changes nothing");
}

#[tokio::test]
async fn a_paid_checkout_makes_intent_charge_and_events() {
    let account = Account::new().await;
    let price = account.price("").await;
    let more = "&metadata[user]=u1&payment_intent_data[metadata][topup]=t1&client_reference_id=ref";
    let session = account.session(&price, "payment", more).await;
    let open = account.get(&format!("/v1/checkout/sessions/{session}"), "").await;
    assert_eq!(
        (&open["status"], &open["payment_status"], &open["amount_total"]),
        (&json!("open"), &json!("unpaid"), &json!(3000))
    );
    let paid = account.simulator.pay_checkout(&session, Outcome::Paid).unwrap();
    let intent = paid["payment_intent"].as_str().unwrap();
    assert_eq!((&paid["status"], &paid["payment_status"]), (&json!("complete"), &json!("paid")));
    let intent = account.get(&format!("/v1/payment_intents/{intent}"), "expand[]=latest_charge").await;
    assert_eq!((&intent["status"], &intent["metadata"]), (&json!("succeeded"), &json!({ "topup": "t1" })));
    let charge = &intent["latest_charge"];
    assert_eq!((&charge["amount"], &charge["created"]), (&json!(3000), &json!(seconds("2026-01-31T00:00:00Z"))));
    assert!(charge["balance_transaction"].as_str().unwrap().starts_with("txn_"));
    account.get(&format!("/v1/charges/{}", id(charge)), "").await;
    let completed = account.event("checkout.session.completed");
    assert_eq!(completed["data"]["object"]["metadata"], json!({ "user": "u1" }));
    assert!(completed["data"]["object"].get("line_items").is_none());
    account.event("payment_intent.succeeded");
    account.event("charge.succeeded");
    let found = account.get("/v1/checkout/sessions", &format!("payment_intent={}", id(&intent))).await;
    assert_eq!(ids_of(&found), [session.as_str()]);
    assert!(account.simulator.pay_checkout(&session, Outcome::Paid).is_err());
    assert!(account.simulator.expire_checkout(&session).is_err());
    let charges = account.simulator.log().charges();
    assert_eq!((charges.len(), charges[0].amount, charges[0].succeeded), (1, 3000, true));
}

#[tokio::test]
async fn delayed_payments_arrive_fail_or_the_session_expires() {
    let account = Account::new().await;
    let price = account.price("").await;
    for (outcome, event_type, status) in [
        (Outcome::AsyncSucceed, "checkout.session.async_payment_succeeded", "paid"),
        (Outcome::AsyncFail, "checkout.session.async_payment_failed", "unpaid"),
    ] {
        let session = account.session(&price, "payment", "").await;
        assert!(account.simulator.pay_checkout(&session, outcome).is_err(), "nothing is under way");
        let begun = account.simulator.pay_checkout(&session, Outcome::Async).unwrap();
        assert_eq!((&begun["status"], &begun["payment_status"]), (&json!("complete"), &json!("unpaid")));
        account.simulator.pay_checkout(&session, outcome).unwrap();
        assert_eq!(account.event(event_type)["data"]["object"]["payment_status"], status);
    }
    let session = account.session(&price, "payment", "").await;
    account.post(&format!("/v1/checkout/sessions/{session}/expire"), "").await;
    assert_eq!(account.event("checkout.session.expired")["data"]["object"]["status"], "expired");
    assert!(account.simulator.pay_checkout(&session, Outcome::Paid).is_err());
    let free = account.session(&price, "payment", "&discounts[0][coupon]=percent_100").await;
    let free = account.simulator.pay_checkout(&free, Outcome::Paid).unwrap();
    assert_eq!((&free["payment_status"], &free["payment_intent"]), (&json!("no_payment_required"), &Value::Null));
    assert_eq!(free["total_details"]["amount_discount"], 3000);
}

#[tokio::test]
async fn a_subscription_checkout_bills_calendar_months_counted_from_the_anchor() {
    let account = Account::new().await;
    let price = account.price("&recurring[interval]=month").await;
    let more = "&subscription_data[metadata][wallet]=w1&customer_email=a@example.com&metadata[only]=session";
    let session = account.session(&price, "subscription", more).await;
    let paid = account.simulator.pay_checkout(&session, Outcome::Paid).unwrap();
    let subscription = paid["subscription"].as_str().unwrap().to_owned();
    let customer = paid["customer"].as_str().unwrap().to_owned();
    let found = account.get(&format!("/v1/subscriptions/{subscription}"), "expand[]=customer").await;
    let (start, end) = (seconds("2026-01-31T00:00:00Z"), seconds("2026-02-28T00:00:00Z"));
    let item = &found["items"]["data"][0];
    assert_eq!((&item["current_period_start"], &item["current_period_end"]), (&json!(start), &json!(end)));
    assert_eq!(
        (&found["metadata"], &found["customer"]["email"]),
        (&json!({ "wallet": "w1" }), &json!("a@example.com"))
    );
    let invoice = account.event("invoice.paid")["data"]["object"].clone();
    account.event("invoice.payment_succeeded");
    account.event("customer.subscription.created");
    account.event("checkout.session.completed");
    assert_eq!((&invoice["status"], &invoice["billing_reason"]), (&json!("paid"), &json!("subscription_create")));
    assert_eq!(
        invoice["parent"]["subscription_details"],
        json!({ "metadata": { "wallet": "w1" }, "subscription": subscription })
    );
    let lines = account.get(&format!("/v1/invoices/{}/lines", id(&invoice)), "").await;
    let line = &lines["data"][0];
    assert_eq!(line["pricing"]["price_details"]["price"], json!(price));
    assert_eq!(line["period"], json!({ "start": start, "end": end }));
    assert_eq!(line["parent"]["subscription_item_details"]["subscription_item"], item["id"]);
    let payments = account.get("/v1/invoice_payments", &format!("invoice={}", id(&invoice))).await;
    let intent = payments["data"][0]["payment"]["payment_intent"].as_str().unwrap();
    let by_intent = format!("payment[type]=payment_intent&payment[payment_intent]={intent}");
    assert_eq!(account.get("/v1/invoice_payments", &by_intent).await["data"], payments["data"]);
    let order = json!({ "customer": customer, "subscription": subscription, "billing_reason": "subscription_cycle" });
    let order: InvoiceOrder = serde_json::from_value(order).unwrap();
    let next = account.simulator.make_invoice(&order).unwrap();
    let period = json!({ "start": end, "end": seconds("2026-03-31T00:00:00Z") });
    assert_eq!(next["lines"]["data"][0]["period"], period, "the 31st comes back after February");
    assert_eq!(account.event("customer.subscription.updated")["data"]["object"]["id"], json!(subscription));
    let gone = account.send(Method::DELETE, &format!("/v1/subscriptions/{subscription}"), "", &[]).await;
    assert_eq!((gone.status, &gone.body["status"]), (200, &json!("canceled")));
    assert!(account.simulator.make_invoice(&order).is_err(), "a canceled subscription is not billed");
    assert_eq!(account.get("/v1/subscriptions", "").await["data"], json!([]));
    assert_eq!(ids_of(&account.get("/v1/subscriptions", "status=all").await), [subscription]);
}

#[tokio::test]
async fn control_invoices_are_made_as_ordered_or_refused() {
    let account = Account::new().await;
    let customer = id(&account.post("/v1/customers", "name=A").await);
    let (once, monthly) = (account.price("").await, account.price("&recurring[interval]=month").await);
    let order = |more: Value| {
        let mut order = json!({ "customer": customer, "billing_reason": "manual" });
        order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<InvoiceOrder>(order).unwrap()
    };
    let manual = order(json!({ "price": once, "quantity": 2, "metadata": { "k": "v" } }));
    let manual = account.simulator.make_invoice(&manual).unwrap();
    assert_eq!((&manual["amount_paid"], &manual["metadata"]), (&json!(2000), &json!({ "k": "v" })));
    assert_eq!(manual["lines"]["data"][0]["parent"]["type"], "invoice_item_details");
    let made = order(json!({
        "price": monthly, "billing_reason": "subscription_create", "period_start": 1000, "period_end": 2000,
    }));
    let made = account.simulator.make_invoice(&made).unwrap();
    assert_eq!(made["lines"]["data"][0]["period"], json!({ "start": 1000, "end": 2000 }));
    for more in [
        json!({}),
        json!({ "price": "price_x" }),
        json!({ "price": once, "billing_reason": "whim" }),
        json!({ "price": once, "billing_reason": "subscription_create" }),
        json!({ "price": once, "quantity": 0 }),
        json!({ "price": once, "period_start": 5 }),
        json!({ "subscription": "sub_x" }),
    ] {
        assert!(account.simulator.make_invoice(&order(more.clone())).is_err(), "{more}");
    }
}

#[tokio::test]
async fn pages_hold_together() {
    let account = Account::new().await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(id(&account.post("/v1/customers", &format!("name=c{number}")).await));
    }
    made.reverse();
    let first = account.get("/v1/customers", "limit=2").await;
    assert_eq!((ids_of(&first), &first["has_more"]), (made[..2].to_vec(), &json!(true)));
    let next = account.get("/v1/customers", &format!("limit=3&starting_after={}", made[1])).await;
    assert_eq!((ids_of(&next), &next["has_more"]), (made[2..].to_vec(), &json!(false)));
    let back = account.get("/v1/customers", &format!("limit=2&ending_before={}", made[3])).await;
    assert_eq!((ids_of(&back), &back["has_more"]), (made[1..3].to_vec(), &json!(true)));
    let mut form = "mode=payment&success_url=x".to_owned();
    for number in 0..12 {
        form.extend([format!(
            "&line_items[{number}][price_data][currency]=eur&line_items[{number}][price_data][unit_amount]={number}\
             &line_items[{number}][price_data][product_data][name]=p{number}&line_items[{number}][quantity]=1"
        )]);
    }
    let session = id(&account.post("/v1/checkout/sessions", &form).await);
    let path = format!("/v1/checkout/sessions/{session}/line_items");
    let (first, second) = (account.get(&path, "").await, account.get(&path, "limit=100").await);
    assert_eq!((ids_of(&first).len(), &first["has_more"]), (10, &json!(true)));
    assert_eq!(ids_of(&second)[..10], ids_of(&first)[..]);
    let amounts: Vec<i64> =
        second["data"].as_array().unwrap().iter().map(|item| item["amount_total"].as_i64().unwrap()).collect();
    assert_eq!(amounts, (0..12).collect::<Vec<i64>>(), "in the order asked for");
    let rest = account.get(&path, &format!("starting_after={}", ids_of(&first)[9])).await;
    assert_eq!((ids_of(&rest).len(), &rest["has_more"]), (2, &json!(false)));
}

#[tokio::test]
async fn lists_filter_by_what_was_asked() {
    let clock = clock();
    let account = Account::start(Options::new(clock.clone())).await;
    let price = account.price("&lookup_key=pack").await;
    account.price("&lookup_key=other").await;
    assert_eq!(ids_of(&account.get("/v1/prices", "lookup_keys[]=pack").await), [price]);
    account
        .refused(
            Method::POST,
            "/v1/prices",
            "currency=eur&unit_amount=1&product_data[name]=x&lookup_key=pack",
            400,
            json!("lookup_key"),
        )
        .await;
    let taken = account.price("&lookup_key=pack&transfer_lookup_key=true").await;
    assert_eq!(ids_of(&account.get("/v1/prices", "lookup_keys[]=pack").await), [taken]);
    let first = account.get("/v1/events", "types[]=price.created&types[]=customer.created&limit=100").await;
    assert_eq!(ids_of(&first).len(), 3);
    assert!(clock.set("2026-02-10T00:00:00Z".parse().unwrap()));
    account.post("/v1/customers", "").await;
    let since = format!("created[gte]={}", seconds("2026-02-01T00:00:00Z"));
    assert_eq!(ids_of(&account.get("/v1/events", &since).await).len(), 1);
    assert_eq!(ids_of(&account.get("/v1/events", "type=price.created").await).len(), 3);
    assert!(clock.set("2026-03-05T00:00:00Z".parse().unwrap()));
    assert_eq!(ids_of(&account.get("/v1/events", "").await).len(), 1, "events reach 30 days back");
}

#[tokio::test]
async fn request_and_endpoint_versions_are_chosen_apart() {
    let mut options = Options::new(clock());
    options.endpoint_version = ACACIA.to_owned();
    let account = Account::start(options).await;
    let price = account.price("&recurring[interval]=month").await;
    let session = account.session(&price, "subscription", "&subscription_data[metadata][w]=1").await;
    let paid = account.simulator.pay_checkout(&session, Outcome::Paid).unwrap();
    let event = account.event("invoice.paid");
    let old = &event["data"]["object"];
    assert_eq!((&event["api_version"], &old["paid"]), (&json!(ACACIA), &json!(true)));
    assert_eq!(
        (&old["subscription"], &old["subscription_details"]["metadata"]),
        (&paid["subscription"], &json!({ "w": "1" }))
    );
    assert!(old["payment_intent"].is_string() && old["charge"].is_string());
    assert!(old.get("parent").is_none() && old.get("amount_overpaid").is_none());
    let line = &old["lines"]["data"][0];
    assert_eq!((&line["price"]["id"], &line["type"]), (&json!(price), &json!("subscription")));
    assert_eq!(line["proration"], false);
    assert!(line["subscription_item"].is_string() && line.get("pricing").is_none() && line.get("parent").is_none());
    assert!(account.events("invoice_payment.paid").is_empty(), "older endpoints know no such event");
    let path = format!("/v1/invoices/{}", id(old));
    let new = account.get(&path, "").await;
    assert_eq!(new["parent"]["subscription_details"]["subscription"], paid["subscription"]);
    assert!(new.get("subscription").is_none() && new.get("paid").is_none());
    assert_eq!(account.get_in(ACACIA, &path, "").await.body["subscription"], paid["subscription"]);
    let path = format!("/v1/subscriptions/{}", paid["subscription"].as_str().unwrap());
    let (old, new) = (account.get_in(ACACIA, &path, "").await.body, account.get(&path, "").await);
    assert_eq!(old["current_period_end"], new["items"]["data"][0]["current_period_end"]);
    assert!(new.get("current_period_end").is_none() && old["items"]["data"][0].get("current_period_end").is_none());
    assert_eq!(account.get_in(ACACIA, "/v1/invoice_payments", "").await.status, 404);
    let stored = account.get(&format!("/v1/events/{}", id(&event)), "").await;
    assert_eq!(stored["data"], event["data"], "an event keeps its version whoever asks");
}

#[tokio::test]
async fn the_state_file_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let options = || kept_in(&folder);
    let account = Account::start(options()).await;
    let key = [("idempotency-key", "k")];
    let first = account.send(Method::POST, "/v1/customers", "name=A", &key).await;
    let price = account.price("").await;
    let session = account.session(&price, "payment", "").await;
    account.simulator.pay_checkout(&session, Outcome::Paid).unwrap();
    account.simulator.stop().await;
    let again = Account::start(options()).await;
    let replayed = again.send(Method::POST, "/v1/customers", "name=A", &key).await;
    assert_eq!((&replayed.body, &replayed.headers["idempotent-replayed"]), (&first.body, &"true".parse().unwrap()));
    let found = again.get(&format!("/v1/checkout/sessions/{session}"), "expand[]=line_items").await;
    assert_eq!(
        (&found["payment_status"], &found["line_items"]["data"][0]["price"]["id"]),
        (&json!("paid"), &json!(price))
    );
    again.event("checkout.session.completed");
    assert!(again.simulator.pay_checkout(&session, Outcome::Paid).is_err(), "paid once");
    std::fs::write(folder.path().join("stripe.json"), "{").unwrap();
    assert!(matches!(Simulator::start(options()).await, Err(SimulatorError::Snapshot(_))));
}

#[tokio::test]
async fn the_checkout_page_shows_what_is_sold_and_pays() {
    let account = Account::new().await;
    let product = id(&account.post("/v1/products", "name=%3Cb%3ECredits").await);
    let price = id(&account.post("/v1/prices", &format!("currency=eur&unit_amount=5&product={product}")).await);
    let form = format!(
        "mode=payment&success_url=http://127.0.0.1/ok?s={{CHECKOUT_SESSION_ID}}&line_items[0][price]={price}&line_items[0][quantity]=1"
    );
    let session = account.post("/v1/checkout/sessions", &form).await;
    let url = session["url"].as_str().unwrap();
    let page = account.client.get(url).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("&lt;b&gt;Credits") && page.contains("<button"), "{page}");
    let paid = account.client.post(url).send().await.unwrap();
    assert_eq!(paid.headers()["location"], format!("http://127.0.0.1/ok?s={}", id(&session)));
    assert_eq!(account.client.post(url).send().await.unwrap().status(), 400, "paid once");
    let missing = format!("{}/pay/cs_test_x", account.simulator.base_url());
    assert_eq!(account.client.get(missing).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn the_log_keeps_requests_and_control_steps_but_no_key() {
    let account = Account::new().await;
    account.post("/v1/customers", "name=A").await;
    account.send(Method::POST, "/v1/customers", "bad=1", &[]).await;
    let json_body = [("content-type", "application/json")];
    let refused = account.send(Method::POST, "/control/pay/cs_test_x", r#"{"outcome":"whim"}"#, &json_body).await;
    assert_eq!(refused.status, 400);
    assert_eq!(
        account.send(Method::POST, "/control/pay/cs_test_x", r#"{"outcome":"paid"}"#, &json_body).await.status,
        404
    );
    let entries = account.simulator.log().entries();
    assert!(matches!(&entries[0], Entry::Request(entry) if entry.status == 200 && entry.body == "name=A"));
    assert!(matches!(&entries[1], Entry::Request(entry) if entry.status == 400 && entry.body == "bad=1"));
    assert!(matches!(&entries[2], Entry::Control { action, .. } if action == "pay"));
    let log = account.send(Method::GET, "/control/log", "", &[]).await.body;
    assert_eq!(log.as_array().unwrap().len(), 3);
    assert!(!log.to_string().contains("sk_test_123"));
}
