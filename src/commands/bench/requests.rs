//! What the load asks: each kind of request as the bytes that go over the wire.

use std::io::Write as _;

use crate::clock::Clock;
use crate::stripe::signature::{Secret, sign};

/// The customers that tracks and checks are about: `track_0`, `track_1`, ..
const TRACKED: &str = "track";
/// The customers whose payments the webhooks tell of, apart so that their many grants do not slow the tracks.
const PAYING: &str = "pay";
/// Both, for the preparation.
pub(super) const CUSTOMER_KINDS: [&str; 2] = [TRACKED, PAYING];

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `GET /healthz`: what the daemon's HTTP costs without any work.
    Hello,
    /// `POST /api/v1/check`.
    Check,
    /// The same, with the grants behind the answer.
    Explain,
    /// `POST /api/v1/track`, each on any customer.
    Spread,
    /// The same, all on one customer.
    Hot,
    /// A signed delivery of a paid checkout, each a new event that grants credits.
    Webhook,
}

/// Everything a round's requests are made from.
pub(super) struct Work {
    /// What is asked.
    pub(super) kind: Kind,
    /// No other round's: it makes keys and ids unique.
    pub(super) round: String,
    /// How many customers of each kind there are.
    pub(super) customers: u32,
    /// An admin key.
    pub(super) api_key: String,
    /// What deliveries are signed with.
    pub(super) webhook_secret: Secret,
    /// Tells when a delivery is signed.
    pub(super) clock: Clock,
}

impl Work {
    /// Appends a client's next request.
    pub(super) fn write(&self, out: &mut Vec<u8>, client: usize, sequence: u64) {
        let any = rand::random::<u32>().checked_rem(self.customers).unwrap_or_default();
        match self.kind {
            Kind::Hello => out.extend_from_slice(b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n"),
            Kind::Check | Kind::Explain => {
                let explain = if self.kind == Kind::Explain { r#","explain":true"# } else { "" };
                let body =
                    format!(r#"{{"customer":"{TRACKED}_{any}","feature":"basic_messages","quantity":"1"{explain}}}"#);
                post(out, "/api/v1/check", &self.authorization(), &body);
            }
            Kind::Spread | Kind::Hot => {
                let customer = if self.kind == Kind::Hot { 0 } else { any };
                let body = format!(
                    r#"{{"key":"{}-{client}-{sequence}","customer":"{TRACKED}_{customer}","feature":"basic_messages","quantity":"1"}}"#,
                    self.round
                );
                post(out, "/api/v1/track", &self.authorization(), &body);
            }
            Kind::Webhook => {
                let now = self.clock.now();
                let body = delivery(&format!("{}_{client}_{sequence}", self.round), any, now.as_second());
                let signature = format!("Stripe-Signature: {}", sign(body.as_bytes(), &self.webhook_secret, now));
                post(out, "/webhooks/stripe", &signature, &body);
            }
        }
    }

    fn authorization(&self) -> String {
        format!("Authorization: Bearer {}", self.api_key)
    }

    /// The request that makes a customer.
    pub(super) fn customer(&self, kind: &str, number: u32) -> Vec<u8> {
        let mut out = Vec::new();
        with_body(&mut out, "PUT", &format!("/api/v1/customers/{kind}_{number}"), &self.authorization(), "{}");
        out
    }

    /// The request that gives a customer more credits than any measurement draws.
    pub(super) fn grant(&self, kind: &str, number: u32) -> Vec<u8> {
        let body = format!(
            r#"{{"key":"bench-{kind}-{number}","customer":"{kind}_{number}","feature":"usd_credits","quantity":"10000000","category":"promotional","reason":"a measurement"}}"#
        );
        let mut out = Vec::new();
        post(&mut out, "/api/v1/grants", &self.authorization(), &body);
        out
    }
}

fn post(out: &mut Vec<u8>, path: &str, header: &str, body: &str) {
    with_body(out, "POST", path, header, body);
}

fn with_body(out: &mut Vec<u8>, method: &str, path: &str, header: &str, body: &str) {
    let length = body.len();
    // Writing to a Vec cannot fail.
    let _ = write!(
        out,
        "{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n{header}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
}

/// A paid Checkout session whose metadata says what it grants, so that nothing has to be asked of Stripe.
fn delivery(id: &str, customer: u32, now: i64) -> String {
    format!(
        r#"{{"id":"evt_{id}","object":"event","api_version":"2026-09-30.endive","created":{now},"livemode":false,"pending_webhooks":1,"request":{{"id":null,"idempotency_key":null}},"type":"checkout.session.completed","data":{{"object":{{"id":"cs_test_{id}","object":"checkout.session","amount_subtotal":2000,"amount_total":2000,"automatic_tax":{{"enabled":false,"liability":null,"status":null}},"cancel_url":null,"client_reference_id":null,"created":{now},"currency":"usd","customer":null,"customer_details":{{"email":"ada@example.com","name":"Ada","phone":null,"tax_exempt":"none"}},"expires_at":null,"invoice":null,"livemode":false,"locale":null,"metadata":{{"creditd_customer_id":"{PAYING}_{customer}","creditd_credits":"20","creditd_feature_id":"usd_credits"}},"mode":"payment","payment_intent":null,"payment_method_types":["card"],"payment_status":"paid","status":"complete","subscription":null,"success_url":"https://example.com/thanks","total_details":{{"amount_discount":0,"amount_shipping":0,"amount_tax":0}},"url":null}}}}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_whole_and_its_key_is_its_own() {
        let secret = Secret::new("whsec_bench").unwrap();
        for kind in [Kind::Hello, Kind::Check, Kind::Explain, Kind::Spread, Kind::Hot, Kind::Webhook] {
            let (webhook_secret, clock) = (secret.clone(), Clock::system());
            let (round, api_key) = ("r0".to_owned(), "key".to_owned());
            let work = Work { kind, round, customers: 1, api_key, webhook_secret, clock };
            let text = |client, sequence| {
                let mut out = Vec::new();
                work.write(&mut out, client, sequence);
                String::from_utf8(out).unwrap()
            };
            let (head, body) = text(0, 0).split_once("\r\n\r\n").map(|(h, b)| (h.to_owned(), b.to_owned())).unwrap();
            if kind == Kind::Hello {
                continue;
            }
            assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
            let _: serde_json::Value = serde_json::from_str(&body).unwrap();
            if !matches!(kind, Kind::Check | Kind::Explain) {
                assert_ne!(text(0, 0), text(0, 1));
                assert_ne!(text(0, 0), text(1, 0));
            }
        }
    }
}
