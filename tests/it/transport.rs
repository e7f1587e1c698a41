#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Response};
use creditd::clock;
use creditd::stripe::client::{Fetch, Fetched, Listing, StripeClient, StripeError, StripeId};
use creditd::stripe::fake::RecordingFake;
use creditd::stripe::requests::request_path;
use creditd::stripe::transport::{
    API_VERSION, ATTEMPTS_MAX, BODY_BYTES_MAX, Transport, TransportError, TransportSettings,
};
use jiff::Timestamp;
use rstest::rstest;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const KEY: &str = "sk_test_synthetic";

/// What the server says to one request.
#[derive(Clone)]
struct Reply {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    delay: Duration,
}

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, headers: vec![], body: body.as_bytes().to_vec(), delay: Duration::ZERO }
}

impl Reply {
    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
}

#[derive(Clone)]
struct Seen {
    target: String,
    headers: HeaderMap,
    at: Instant,
}

/// A server on loopback that gives its replies in order, then 599 for ever.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn start(replies: Vec<Reply>) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, replies) = (Arc::clone(&seen), Arc::new(Mutex::new(VecDeque::from(replies))));
        let app = Router::new().fallback(move |request: Request| {
            let target = request.uri().path_and_query().unwrap().as_str().to_owned();
            log.lock().unwrap().push(Seen { target, headers: request.headers().clone(), at: clock::instant() });
            let next = replies.lock().unwrap().pop_front().unwrap_or_else(|| reply(599, "no reply left"));
            async move {
                tokio::time::sleep(next.delay).await;
                let mut response = Response::builder().status(next.status);
                for (name, value) in next.headers {
                    response = response.header(name, value);
                }
                response.body(Body::from(next.body)).unwrap()
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn settings(url: &str) -> TransportSettings {
    TransportSettings {
        base_url: url.to_owned(),
        backoff_base: Duration::from_millis(2),
        total_timeout: Duration::from_secs(5),
        ..TransportSettings::new(SecretString::from(KEY))
    }
}

fn id(text: &str) -> StripeId {
    StripeId::new(text).unwrap()
}

fn charge() -> Fetch {
    Fetch::Charge { id: id("ch_1") }
}

async fn ask(server: &Server) -> Result<Fetched, StripeError> {
    Transport::new(&settings(&server.url)).unwrap().fetch(&charge()).await
}

pub fn every_fetch() -> Vec<(Fetch, &'static str)> {
    let created_gte = Timestamp::from_second(1_790_000_000).unwrap();
    let mut all = vec![
        (
            Fetch::SessionLineItems { session: id("cs_test_1"), starting_after: None },
            "/v1/checkout/sessions/cs_test_1/line_items?limit=100",
        ),
        (
            Fetch::SessionLineItems { session: id("cs_test_1"), starting_after: Some(id("li_9")) },
            "/v1/checkout/sessions/cs_test_1/line_items?limit=100&starting_after=li_9",
        ),
        (Fetch::Session { id: id("cs_test_1") }, "/v1/checkout/sessions/cs_test_1"),
        (Fetch::SessionsByIntent { payment_intent: id("pi_1") }, "/v1/checkout/sessions?limit=100&payment_intent=pi_1"),
        (Fetch::PaymentIntent { id: id("pi_1") }, "/v1/payment_intents/pi_1"),
        (Fetch::Charge { id: id("ch_1") }, "/v1/charges/ch_1"),
        (Fetch::Invoice { id: id("in_1") }, "/v1/invoices/in_1"),
        (Fetch::InvoiceLines { invoice: id("in_1"), starting_after: None }, "/v1/invoices/in_1/lines?limit=100"),
        (
            Fetch::InvoicesOf {
                customer: id("cus_1"),
                created_gte: Timestamp::from_second(1_790_000_000).unwrap(),
                starting_after: Some(id("in_9")),
            },
            "/v1/invoices?created[gte]=1790000000&customer=cus_1&limit=100&starting_after=in_9",
        ),
        (
            Fetch::InvoiceLines { invoice: id("in_1"), starting_after: Some(id("il_9")) },
            "/v1/invoices/in_1/lines?limit=100&starting_after=il_9",
        ),
        (
            Fetch::InvoicePayments { invoice: id("in_1"), starting_after: Some(id("inpay_9")) },
            "/v1/invoice_payments?invoice=in_1&limit=100&starting_after=inpay_9",
        ),
        (
            Fetch::InvoicePaymentsByIntent { payment_intent: id("pi_1") },
            "/v1/invoice_payments?limit=100&payment[payment_intent]=pi_1&payment[type]=payment_intent",
        ),
        (Fetch::Subscription { id: id("sub_1") }, "/v1/subscriptions/sub_1"),
        (
            Fetch::SubscriptionsOf { customer: id("cus_1"), starting_after: Some(id("sub_9")) },
            "/v1/subscriptions?customer=cus_1&limit=100&starting_after=sub_9&status=all",
        ),
        (Fetch::Schedule { id: id("sub_sched_1") }, "/v1/subscription_schedules/sub_sched_1"),
        (Fetch::Customer { id: id("cus_1") }, "/v1/customers/cus_1"),
        (Fetch::CardsOf { customer: id("cus_1") }, "/v1/customers/cus_1/payment_methods?limit=100&type=card"),
        (
            Fetch::IntentsOf { customer: id("cus_1"), created_gte, starting_after: None },
            "/v1/payment_intents?created[gte]=1790000000&customer=cus_1&limit=100",
        ),
        (Fetch::RefundsOf { charge: id("ch_1"), starting_after: None }, "/v1/refunds?charge=ch_1&limit=100"),
        (
            Fetch::DisputesOf { charge: id("ch_1"), starting_after: Some(id("dp_9")) },
            "/v1/disputes?charge=ch_1&limit=100&starting_after=dp_9",
        ),
        (Fetch::Refund { id: id("re_1") }, "/v1/refunds/re_1"),
        (Fetch::CreditNote { id: id("cn_1") }, "/v1/credit_notes/cn_1"),
        (
            Fetch::CreditNoteLines { note: id("cn_1"), starting_after: Some(id("cnli_9")) },
            "/v1/credit_notes/cn_1/lines?limit=100&starting_after=cnli_9",
        ),
    ];
    all.extend(every_list(created_gte));
    all
}

/// Events and whole kinds of objects.
fn every_list(created_gte: Timestamp) -> Vec<(Fetch, &'static str)> {
    vec![
        (
            Fetch::Events { created_gte, only_undelivered: false, types: Vec::new(), starting_after: None },
            "/v1/events?created[gte]=1790000000&limit=100",
        ),
        (
            Fetch::Events { created_gte, only_undelivered: true, types: Vec::new(), starting_after: Some(id("evt_9")) },
            "/v1/events?created[gte]=1790000000&delivery_success=false&limit=100&starting_after=evt_9",
        ),
        (
            Fetch::Events {
                created_gte,
                only_undelivered: false,
                types: vec!["invoice.paid", "invoice.voided"],
                starting_after: Some(id("evt_9")),
            },
            "/v1/events?created[gte]=1790000000&limit=100&starting_after=evt_9&types[0]=invoice.paid&types[1]=invoice.voided",
        ),
        (
            Fetch::Listed { what: Listing::Sessions, created_gte, starting_after: Some(id("cs_9")) },
            "/v1/checkout/sessions?created[gte]=1790000000&limit=100&starting_after=cs_9&status=complete",
        ),
        (
            Fetch::Listed { what: Listing::Invoices, created_gte, starting_after: None },
            "/v1/invoices?created[gte]=1790000000&limit=100&status=paid",
        ),
        (
            Fetch::Listed { what: Listing::PaymentIntents, created_gte, starting_after: None },
            "/v1/payment_intents?created[gte]=1790000000&limit=100",
        ),
        (
            Fetch::Listed { what: Listing::Subscriptions, created_gte, starting_after: None },
            "/v1/subscriptions?created[gte]=1790000000&limit=100&status=all",
        ),
        (
            Fetch::Listed { what: Listing::Refunds, created_gte, starting_after: None },
            "/v1/refunds?created[gte]=1790000000&limit=100",
        ),
        (
            Fetch::Listed { what: Listing::Disputes, created_gte, starting_after: None },
            "/v1/disputes?created[gte]=1790000000&limit=100",
        ),
    ]
}

#[test]
fn the_key_of_a_stored_answer_is_what_async_stripe_builds() {
    for (what, text) in every_fetch() {
        assert_eq!(what.path(), text);
        assert_eq!(request_path(&what), text);
    }
}

#[tokio::test]
async fn what_arrives_is_the_path_with_our_headers() {
    let fetches = every_fetch();
    let server = Server::start(vec![reply(200, "{}").with("request-id", "req_1"); fetches.len()]).await;
    let transport = Transport::new(&settings(&server.url)).unwrap();
    for (what, _) in &fetches {
        let answer = transport.fetch(what).await.unwrap();
        assert_eq!(answer, Fetched { status: 200, request_id: Some("req_1".to_owned()), body: "{}".into() });
    }
    let seen = server.seen();
    assert_eq!(seen.len(), fetches.len());
    for (seen, (_, text)) in seen.iter().zip(fetches) {
        assert_eq!(seen.target, text);
        assert_eq!(seen.headers["authorization"], format!("Bearer {KEY}"));
        assert_eq!(seen.headers["stripe-version"], API_VERSION);
        assert!(seen.headers["user-agent"].to_str().unwrap().starts_with("creditd/"));
        assert!(!seen.headers.contains_key("idempotency-key"));
    }
}

#[rstest]
#[case("")]
#[case("../customers")]
#[case("in_1/pay")]
#[case("in_1?expand[]=x")]
#[case("in_1#")]
#[case("in_%31")]
#[case("in 1")]
#[case("in_1\r\nX: y")]
#[case("ïn_1")]
fn an_id_that_bends_the_path_is_refused(#[case] text: &str) {
    assert!(StripeId::new(text).is_err());
}

#[test]
fn an_id_has_at_most_255_bytes() {
    assert!(StripeId::new(&"a".repeat(255)).is_ok());
    assert!(StripeId::new(&"a".repeat(256)).is_err());
}

#[rstest]
#[case(500)]
#[case(503)]
#[case(409)]
#[case(429)]
#[tokio::test]
async fn a_passing_failure_is_asked_again(#[case] status: u16) {
    let server = Server::start(vec![reply(status, "<html>"), reply(200, "{}")]).await;
    assert_eq!(ask(&server).await.unwrap().status, 200);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn attempts_are_bounded() {
    let server = Server::start(vec![reply(500, ""); 9]).await;
    let error = ask(&server).await.unwrap_err();
    assert!(matches!(error, StripeError::Unavailable { .. }) && error.retry_helps());
    assert_eq!(server.seen().len(), usize::try_from(ATTEMPTS_MAX).unwrap());
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let server = Server::start(vec![reply(429, "").with("retry-after", "1"), reply(200, "{}")]).await;
    assert_eq!(ask(&server).await.unwrap().status, 200);
    let seen = server.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_long_retry_after_is_handed_to_the_caller_at_once() {
    let server = Server::start(vec![reply(429, "").with("retry-after", "31")]).await;
    let error = ask(&server).await.unwrap_err();
    assert_eq!(error, StripeError::RateLimited { retry_after: Some(Duration::from_secs(31)) });
    assert!(error.retry_helps());
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn stripes_word_on_retrying_stands_above_the_status() {
    let no = Server::start(vec![reply(500, "").with("stripe-should-retry", "false")]).await;
    assert!(ask(&no).await.unwrap_err().retry_helps(), "not now, but later");
    assert_eq!(no.seen().len(), 1);
    let yes = Server::start(vec![reply(400, "").with("stripe-should-retry", "true"), reply(200, "{}")]).await;
    assert_eq!(ask(&yes).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_missing_object_is_an_answer() {
    let server = Server::start(vec![reply(404, r#"{"error":{"code":"resource_missing"}}"#)]).await;
    let fetched = ask(&server).await.unwrap();
    assert!(fetched.is_missing());
    assert_eq!(server.seen().len(), 1);
}

/// What was looked for would be taken for not there, and done a second time.
#[rstest]
#[case::a_proxys("<html>not found</html>")]
#[case::nothing("")]
#[case::json_of_somebody_else(r#"{"message":"no such route"}"#)]
#[case::an_error_of_somebody_else(r#"{"error":"not found"}"#)]
#[tokio::test]
async fn a_404_that_is_not_stripes_is_no_answer(#[case] body: &str) {
    let server = Server::start(vec![reply(404, body)]).await;
    let error = ask(&server).await.unwrap_err();
    assert!(error.retry_helps(), "{error}");
    assert_eq!(server.seen().len(), 1);
}

/// Older versions of the API do not have every path.
#[tokio::test]
async fn a_path_that_stripe_does_not_have_is_an_answer() {
    let body = r#"{"error":{"type":"invalid_request_error","message":"Unrecognized request URL (GET: /v1/x)."}}"#;
    let server = Server::start(vec![reply(404, body)]).await;
    assert!(ask(&server).await.unwrap().is_missing());
}

#[rstest]
#[case(401)]
#[case(403)]
#[tokio::test]
async fn a_refused_key_is_told_without_the_key(#[case] status: u16) {
    let server = Server::start(vec![reply(status, r#"{"error":{"message":"Invalid key sk_test_synthetic"}}"#)]).await;
    let error = ask(&server).await.unwrap_err();
    assert_eq!(error, StripeError::Unauthorized { status });
    assert!(!error.retry_helps() && !error.to_string().contains(KEY));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_refusal_keeps_stripes_code_and_message() {
    let body = r#"{"error":{"code":"parameter_unknown","message":"Received unknown parameter: x","type":"invalid_request_error"}}"#;
    let server = Server::start(vec![reply(400, body)]).await;
    let error = ask(&server).await.unwrap_err();
    let (code, message) = (Some("parameter_unknown".to_owned()), "Received unknown parameter: x".to_owned());
    assert_eq!(error, StripeError::Refused { status: 400, code, message });
    assert!(!error.retry_helps());
    let html = Server::start(vec![reply(400, "<html>")]).await;
    assert!(matches!(ask(&html).await.unwrap_err(), StripeError::Refused { status: 400, code: None, .. }));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::start(vec![reply(200, "{}")]).await;
    let target: &'static str = format!("{}/v1/charges/ch_1", other.url).leak();
    let server = Server::start(vec![reply(307, "").with("location", target)]).await;
    assert!(matches!(ask(&server).await.unwrap_err(), StripeError::Refused { status: 307, .. }));
    assert!(other.seen().is_empty(), "the key went nowhere else");
}

#[tokio::test]
async fn a_body_over_the_cap_is_refused_and_one_at_the_cap_is_not() {
    let sized = |bytes: usize| Reply { body: vec![b' '; bytes], ..reply(200, "") };
    let server = Server::start(vec![sized(BODY_BYTES_MAX), sized(BODY_BYTES_MAX + 1)]).await;
    assert_eq!(ask(&server).await.unwrap().body.len(), BODY_BYTES_MAX);
    let error = ask(&server).await.unwrap_err();
    assert_eq!(error, StripeError::TooLarge { limit_bytes: BODY_BYTES_MAX });
    assert!(!error.retry_helps());
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_late_answer_is_a_timeout_and_asked_again() {
    let late = Reply { delay: Duration::from_secs(20), ..reply(200, "{}") };
    let server = Server::start(vec![late, reply(200, "{}")]).await;
    let short = TransportSettings { total_timeout: Duration::from_millis(300), ..settings(&server.url) };
    assert_eq!(Transport::new(&short).unwrap().fetch(&charge()).await.unwrap().status, 200);
    assert_eq!(server.seen().len(), 2);
}

/// A body cut off before its announced end is no answer: half a list must never pass for a whole one.
#[tokio::test]
async fn a_cut_body_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections = tokio::spawn(async move {
        for _ in 0..ATTEMPTS_MAX {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0_u8; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"data\":[]}").await.unwrap();
        }
    });
    let error = Transport::new(&settings(&url)).unwrap().fetch(&charge()).await.unwrap_err();
    assert_eq!(error, StripeError::Unavailable { reason: "the answer was cut off".to_owned() });
    connections.await.unwrap();
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Transport::new(&settings(&url)).unwrap().fetch(&charge()).await.unwrap_err();
    assert_eq!(error, StripeError::Unavailable { reason: "no connection".to_owned() });
}

#[rstest]
#[case("http://api.stripe.com")]
#[case("http://127.0.0.1.example.com")]
#[case("ftp://127.0.0.1")]
#[case("api.stripe.com")]
#[case("https://user:pw@api.stripe.com")]
#[case("https://api.stripe.com/v1")]
#[case("https://api.stripe.com/?x=1")]
fn an_address_that_would_leak_the_key_is_refused(#[case] url: &str) {
    assert!(matches!(Transport::new(&settings(url)), Err(TransportError::BaseUrl)));
}

#[test]
fn settings_no_header_can_carry_are_refused() {
    let with = |key: &str, version: &str| {
        let key = SecretString::from(key);
        Transport::new(&TransportSettings { key, api_version: version.to_owned(), ..settings("http://127.0.0.1:1") })
    };
    assert!(with("sk_test_1\n", API_VERSION).is_ok(), "a file's last newline is trimmed");
    assert!(matches!(with("", API_VERSION), Err(TransportError::Key)));
    assert!(matches!(with("sk\nx", API_VERSION), Err(TransportError::Key)));
    assert!(matches!(with(KEY, " "), Err(TransportError::ApiVersion)));
}

#[test]
fn the_key_is_never_shown() {
    let settings = TransportSettings::new(SecretString::from(KEY));
    let transport = Transport::new(&settings).unwrap();
    assert!(!format!("{settings:?}{transport:?}").contains(KEY));
}

#[tokio::test]
async fn the_fake_answers_by_path_and_remembers() {
    let fake = RecordingFake::new();
    let invoice = Fetch::Invoice { id: id("in_1") };
    fake.answer(&invoice, r#"{"id":"in_1"}"#);
    fake.fail(&charge(), StripeError::RateLimited { retry_after: None });
    assert_eq!(fake.fetch(&invoice).await.unwrap().body, r#"{"id":"in_1"}"#);
    assert!(fake.fetch(&charge()).await.is_err());
    assert!(fake.fetch(&Fetch::Session { id: id("cs_1") }).await.unwrap().is_missing());
    assert_eq!(fake.calls(), ["/v1/invoices/in_1", "/v1/charges/ch_1", "/v1/checkout/sessions/cs_1"]);
}
