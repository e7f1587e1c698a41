//! Events signed by Stripe's official SDKs are believed, by the same rules as Stripe's own.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use creditd::simulator::Outcome;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::app::{TestApp, WEBHOOK_SECRET};
use crate::support::events::moment;

/// A program that signs, with its script.
type Signer = (String, &'static str);

/// The SDKs of this machine. `CREDITD_TEST_PYTHON` names an interpreter with `stripe` 16.1.0 and
/// `CREDITD_TEST_NODE_MODULES` a folder with `stripe` 23.1.0; of one that is absent it is said that it was skipped.
#[expect(clippy::disallowed_methods, reason = "where the official SDKs are is a fact of the machine that tests")]
fn signers() -> Vec<Signer> {
    let python = std::env::var("CREDITD_TEST_PYTHON").ok();
    let node = std::env::var("CREDITD_TEST_NODE_MODULES").ok().map(|_| "node".to_owned());
    let known = [
        (python, "sign_event.py", "CREDITD_TEST_PYTHON is not set (stripe 16.1.0 wanted)"),
        (node, "sign_event.mjs", "CREDITD_TEST_NODE_MODULES is not set (stripe 23.1.0 wanted)"),
    ];
    let mut found = Vec::new();
    for (program, script, absent) in known {
        match program {
            Some(program) => found.push((program, script)),
            None => println!("skipped {script}: {absent}"),
        }
    }
    found
}

/// The header an SDK makes for a payload.
fn sdk_header((program, script): &Signer, payload: &[u8], secret: &str, seconds_ago: i64) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(script);
    let mut child = Command::new(program)
        .arg(path)
        .args([secret, &moment(seconds_ago).as_second().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(payload).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{script} failed");
    let text = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert!(text.starts_with("t="), "{script} printed {text}");
    text
}

#[tokio::test]
async fn an_event_signed_by_an_official_sdk_grants_once_however_often_it_comes() {
    for signer in signers() {
        let app = TestApp::start().await;
        let fields = [
            ("mode", "payment"),
            ("line_items[0][price]", "price_usd_credit"),
            ("line_items[0][quantity]", "20"),
            ("metadata[creditd_customer_id]", "ada"),
            ("metadata[name]", "Zoë — “20 credits”"),
        ];
        let session = app.checkout(&fields).await;
        app.simulator.pay_checkout(session["id"].as_str().unwrap(), Outcome::Paid).unwrap();
        let event = app.simulator.event_ids("checkout.session.completed").pop().unwrap();
        let (body, _) = app.simulator.signed_delivery(&event).unwrap();
        let signature = sdk_header(&signer, &body, WEBHOOK_SECRET, 0);
        for (status, answer) in join_all((0..20).map(|_| app.deliver(&body, Some(&signature)))).await {
            assert_eq!((status, answer), (200, json!({ "received": true })), "{}", signer.1);
        }
        app.until(&event, "processed", "").await;
        assert_eq!((app.stored_events().await, app.bought("ada").await.len()), (1, 1));
        assert_eq!(app.available("ada", "usd_credits").await, "25");
        app.finish().await;
    }
}

#[tokio::test]
async fn what_an_sdk_signs_is_judged_by_secret_age_and_bytes() {
    for signer in signers() {
        let app = TestApp::start().await;
        let body = crate::support::events::event("evt_sdk", "product.created", &json!({ "id": "prod_1" })).to_string();
        let body = body.as_bytes();
        let other = sdk_header(&signer, body, "whsec_of_somebody_else", 0);
        let good = sdk_header(&signer, body, WEBHOOK_SECRET, 0);
        let mut altered = body.to_vec();
        altered.push(b' ');
        for (body, text, code) in [
            (body, other.clone(), "signature_mismatch"),
            (body, sdk_header(&signer, body, WEBHOOK_SECRET, 400), "signature_too_old"),
            (body, good.replace("v1=", "v0="), "signature_v1_missing"),
            (&altered, good.clone(), "signature_mismatch"),
        ] {
            let (status, answer) = app.deliver(body, Some(&text)).await;
            assert_eq!((status, &answer["code"]), (400, &json!(code)), "{}", signer.1);
        }
        assert_eq!(app.stored_events().await, 0);
        // The other signature first, under the time of the good one: each header was signed in a second of its own.
        let time = good.split_once(',').unwrap().0;
        let v1 = crate::support::events::v1;
        let two = format!("{time},v1={},v1={}", v1(&other), v1(&good));
        assert_eq!(app.deliver(body, Some(&two)).await.0, 200, "two secrets, one of them ours");
        let ahead = sdk_header(&signer, body, WEBHOOK_SECRET, -4_000);
        assert_eq!(app.deliver(body, Some(&ahead)).await.0, 200, "4,000 s ahead");
        app.until("evt_sdk", "ignored", "unhandled_type").await;
        app.finish().await;
    }
}
