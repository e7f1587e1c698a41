//! What the real binary logs: one line for each request, all of them named by the request's number, and no secrets.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::app::WEBHOOK_SECRET;
use crate::support::binary::{ADMIN, Running, Site, client, free_address};
use crate::support::events::signed;

const STRIPE_KEY: &str = "sk_test_canary_0123456789";
const APP_KEY: &str = "canary-app-key-0123456789";
const PASSWORD: &str = "canary-password";

async fn running(site: &Site, format: &str, filter: &str) -> (Running, std::net::SocketAddr) {
    let listen = free_address();
    let mut command = site.command(&["serve"]);
    // The test server asks for no password; one that is given is a secret all the same.
    let url = site.url.replacen("postgres://postgres@", &format!("postgres://postgres:{PASSWORD}@"), 1);
    command
        .env("DATABASE_URL", url)
        .env("CREDITD_LISTEN", listen.to_string())
        .env("CREDITD_API_KEYS", format!("admin:{ADMIN},app:{APP_KEY}"))
        .env("CREDITD_LOG_FORMAT", format)
        .env("RUST_LOG", filter)
        .env("STRIPE_SECRET_KEY", STRIPE_KEY)
        .env("STRIPE_API_BASE", "http://127.0.0.1:9");
    let running = Running::start(command, &site.folder.path().join("log"));
    (running.until_it_answers(listen).await, listen)
}

/// Requests that succeed, are refused, and carry secrets where they do not belong.
async fn traffic(listen: std::net::SocketAddr) {
    let client = client();
    let url = |path: &str| format!("http://{listen}{path}");
    let send = async |request: reqwest::RequestBuilder| request.send().await.unwrap();
    let put = client.put(url("/api/v1/customers/canary-customer")).bearer_auth(APP_KEY);
    let mail = json!({ "email": "canary@example.com", "name": "Canary Person" });
    let made = send(put.json(&mail).header("x-request-id", "it-made-1")).await;
    assert_eq!((made.status().as_u16(), &made.headers()["x-request-id"]), (201, &"it-made-1".parse().unwrap()));
    let wrong = send(client.get(url("/api/v1/stripe-events")).bearer_auth("canary-wrong-key-0123456789")).await;
    assert_eq!(wrong.status(), 401);
    let scope =
        send(client.get(url("/api/v1/stripe-events")).bearer_auth(APP_KEY).header("x-request-id", "it-scope-1"));
    let scope: Value = scope.await.json().await.unwrap();
    assert_eq!((scope["code"].as_str(), scope["request_id"].as_str()), (Some("scope"), Some("it-scope-1")));
    let body = json!({ "id": "evt_log_1", "object": "event", "api_version": null, "created": 1_790_000_000,
        "data": { "object": { "id": "cs_log", "object": "checkout.session", "mode": "payment",
            "payment_status": "paid", "customer_email": "canary@example.com" } },
        "livemode": false, "pending_webhooks": 1, "type": "checkout.session.completed" });
    let body = body.to_string();
    let deliver = client.post(url("/webhooks/stripe")).header("x-request-id", "it-hook-1");
    let taken = send(deliver.header("stripe-signature", signed(body.as_bytes())).body(body)).await;
    assert_eq!(taken.status(), 200);
    let forged = client.post(url("/webhooks/stripe")).header("stripe-signature", "t=1,v1=00");
    assert_eq!(send(forged.body("canary-body")).await.status(), 400);
    let usage = json!({ "key": "k", "customer": "canary-customer", "feature": "usd_credits", "quantity": "1",
        "metadata": { "note": "canary-metadata" } });
    assert_eq!(send(client.post(url("/api/v1/track")).bearer_auth(APP_KEY).json(&usage)).await.status(), 200);
}

#[tokio::test]
async fn each_request_is_one_json_line_with_stable_fields() {
    let site = Site::new().await;
    let (daemon, listen) = running(&site, "json", "info").await;
    traffic(listen).await;
    let log = site.folder.path().join("log");
    assert_eq!(daemon.end(Signal::SIGTERM).await, Some(0));
    let said = std::fs::read_to_string(log).unwrap();
    let lines: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    assert!(
        lines.iter().all(|line| ["timestamp", "level", "target", "message"].iter().all(|name| line[name].is_string()))
    );
    let of = |id: &str| lines.iter().filter(|line| line["span"]["request.id"] == id).collect::<Vec<_>>();
    let answered: Vec<&Value> = lines.iter().filter(|line| line["message"] == "a request was answered").collect();
    assert_eq!(answered.len(), 5, "one line for each request, none for probes and for usage that went well: {said}");
    let made = of("it-made-1");
    let [made] = made[..] else { panic!("{made:?}") };
    assert_eq!((made["method"].as_str(), made["status"].as_u64()), (Some("PUT"), Some(201)));
    assert_eq!((made["route"].as_str(), made["scope"].as_str()), (Some("/api/v1/customers/{customer}"), Some("app")));
    assert!(made["milliseconds"].is_u64() && made["key"].as_str().is_some_and(|key| key.starts_with("key_")), "{made}");
    let scope = of("it-scope-1")[0];
    assert_eq!(
        (scope["code"].as_str(), scope["status"].as_u64(), scope["scope"].as_str()),
        (Some("scope"), Some(403), Some("app"))
    );
    // The line of the task that stored the delivery has the number too.
    let hook: Vec<&str> = of("it-hook-1").into_iter().filter_map(|line| line["message"].as_str()).collect();
    assert_eq!(hook, ["stored an event", "a request was answered"], "{said}");
    assert!(!said.contains("canary-customer"), "a customer's id is not in the log: {said}");
}

#[tokio::test]
async fn no_secret_is_in_the_log_however_much_is_logged() {
    let mut said = String::new();
    for format in ["json", "text"] {
        let site = Site::new().await;
        let (daemon, listen) = running(&site, format, "trace").await;
        traffic(listen).await;
        assert_eq!(daemon.end(Signal::SIGTERM).await, Some(0));
        said += &std::fs::read_to_string(site.folder.path().join("log")).unwrap();
    }
    assert!(said.lines().count() > 100, "trace says much");
    for secret in [
        ADMIN,
        APP_KEY,
        STRIPE_KEY,
        PASSWORD,
        WEBHOOK_SECRET,
        "canary-wrong-key",
        "canary-body",
        "canary-metadata",
        "canary@example.com",
        "Canary Person",
    ] {
        let found: Vec<&str> = said.lines().filter(|line| line.contains(secret)).take(3).collect();
        assert!(found.is_empty(), "{secret} is in the log: {found:#?}");
    }
}
