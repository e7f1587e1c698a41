//! Every request we can build, held against the official SDK's types of parameters.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use creditd::simulator::Log;
use serde_json::{Value, json};

use super::samples::{every_write, frozen};
use crate::transport::every_fetch;

/// A request as the script reads it.
fn request(method: &str, path: &str, form: &str) -> Value {
    json!({ "method": method, "path": path, "form": form })
}

fn ours() -> Vec<Value> {
    let writes = every_write().into_iter().map(|(_, write)| {
        let frozen = frozen(&write);
        request(frozen.method().as_str(), frozen.path(), frozen.body())
    });
    let fetches = every_fetch().into_iter().map(|(what, _)| {
        let path = what.path();
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        request("GET", path, query)
    });
    writes.chain(fetches).collect()
}

/// What the script has to find, so that its silence means something.
fn wrong() -> Vec<Value> {
    let intent = "amount=5&currency=usd";
    vec![
        request("POST", "/v1/payment_intents", "amount=5"),
        request("POST", "/v1/payment_intents", "amount=five&currency=usd"),
        request("POST", "/v1/payment_intents", &format!("{intent}&moon=1")),
        request("POST", "/v1/payment_intents", &format!("{intent}&automatic_payment_methods[moon]=true")),
        request("POST", "/v1/payment_intents", &format!("{intent}&idempotency_key=a")),
        request("POST", "/v1/payment_intents", &format!("{intent}&amount=6")),
        request("POST", "/v1/checkout/sessions", "line_items[0][prize]=price_1"),
        request("POST", "/v1/moons", ""),
        request("GET", "/v1/events", "limit=many"),
    ]
}

/// What the official SDK finds wrong with each request; `None`: it is not there. `CREDITD_TEST_PYTHON` names an
/// interpreter with `stripe` 16.1.0 and `pydantic`; without it the test says that it skipped.
pub fn lint(requests: &[Value]) -> Option<Vec<Vec<String>>> {
    #[expect(clippy::disallowed_methods, reason = "where the official SDK is is a fact of the machine that tests")]
    let Ok(program) = std::env::var("CREDITD_TEST_PYTHON") else {
        println!("skipped lint_requests.py: CREDITD_TEST_PYTHON is not set (stripe 16.1.0 and pydantic wanted)");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/lint_requests.py");
    let lines: Vec<String> = requests.iter().map(Value::to_string).collect();
    let input = lines.join("\n");
    let mut child = Command::new(program).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // Written from beside, for the script answers while it reads.
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "lint_requests.py failed; has the interpreter pydantic?");
    let found: Vec<Vec<String>> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), requests.len());
    Some(found)
}

/// Nothing is wrong with what a simulated Stripe was sent.
pub fn lint_log(log: &Log) {
    let sent = log.requests().into_iter().filter(|one| one.path.starts_with("/v1/"));
    let sent: Vec<Value> = sent
        .map(|one| request(&one.method, &one.path, if one.method == "GET" { &one.query } else { &one.body }))
        .collect();
    for (request, found) in sent.iter().zip(lint(&sent).unwrap_or_default()) {
        assert!(found.is_empty(), "{request}\n{found:#?}");
    }
}

#[test]
fn the_official_sdk_knows_every_parameter_we_send() {
    let (ours, wrong) = (ours(), wrong());
    assert!(ours.len() > 40, "{} requests", ours.len());
    let all: Vec<Value> = ours.iter().chain(&wrong).cloned().collect();
    let Some(found) = lint(&all) else { return };
    for (request, found) in ours.iter().zip(&found) {
        assert!(found.is_empty(), "{request}\n{found:#?}");
    }
    for (request, found) in wrong.iter().zip(&found[ours.len()..]) {
        assert!(!found.is_empty(), "nothing was found wrong with {request}");
    }
}
