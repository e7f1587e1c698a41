//! The API on a database of its own, spoken to without a socket.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use creditd::clock::Clock;
use creditd::domain::api_key::{KeyText, Scope};
use creditd::domain::catalog::{Catalog, Cost, Feature, FeatureId, Item, Plan, PlanId, RevenuePolicy};
use creditd::domain::credits::Credits;
use creditd::http::health::WorkerAges;
use creditd::http::webhook::{Receive, ReceiveError, Received};
use creditd::http::{App, router};
use creditd::posting::Posting;
use creditd::store::Store;
use creditd::store::catalog::Applied;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::support::catalog::{free_plan, monthly_item};
use crate::support::database::fresh_store;

/// Takes the signature `good` only.
struct OneSignature;

impl Receive for OneSignature {
    fn receive<'a>(&'a self, body: Bytes, signature: Option<&'a str>) -> BoxFuture<'a, Result<Received, ReceiveError>> {
        Box::pin(async move {
            match (signature, body.as_ref()) {
                (Some("good"), b"{}") => Ok(Received::Stored),
                (Some("good"), _) => Err(ReceiveError::NotJson("line 1".to_owned())),
                (_, _) => Err(ReceiveError::Signature { code: "signature_invalid", detail: "no match".to_owned() }),
            }
        })
    }
}

/// An answer.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// Status, code and field of a refusal, which has to be a problem document.
    pub fn problem(&self) -> (u16, &str, &str) {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.body);
        assert_eq!(self.body["status"], self.status.as_u16());
        assert!(self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        assert!(self.body["type"].is_string() && self.body["title"].is_string());
        let text = |name: &str| self.body.get(name).and_then(Value::as_str).unwrap_or_default();
        (self.status.as_u16(), text("code"), text("field"))
    }

    /// The body of a success.
    pub fn ok(self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.body);
        self.body
    }
}

/// The API under test.
pub struct Api {
    pub router: Router,
    pub store: Store,
    pub app: App,
    keys: BTreeMap<Scope, String>,
}

fn random(seed: u8) -> [u8; 30] {
    std::array::from_fn(|place| seed.wrapping_mul(31).wrapping_add(u8::try_from(place).unwrap().wrapping_mul(17)))
}

fn name(text: &str) -> FeatureId {
    FeatureId::new(text).unwrap()
}

/// Requests cost 3 credits each and Free gives 100 a month; a minute of audio costs 3 of another pool; Free turns `sso`
/// on and nothing turns `audit` on.
pub fn catalog() -> Catalog {
    let costs =
        |of: &str, rate: &str| Feature::credit_system(BTreeMap::from([(name(of), Cost::Each(rate.parse().unwrap()))]));
    let features = BTreeMap::from([
        (name("requests"), Feature::consumable()),
        (name("audio-minutes"), Feature::consumable()),
        (name("credits"), costs("requests", "3")),
        (name("transcription-credits"), costs("audio-minutes", "3")),
        (name("sso"), Feature::Boolean),
        (name("audit"), Feature::Boolean),
    ]);
    let items = vec![
        monthly_item("credits", name("credits"), Some(Credits::whole(100))),
        Item { reset: None, ..monthly_item("sso", name("sso"), None) },
    ];
    let free = Plan { revenue: RevenuePolicy::External, ..free_plan(items) };
    Catalog { features, plans: BTreeMap::from([(PlanId::new("free").unwrap(), free)]), ..Catalog::default() }
}

impl Api {
    pub async fn start() -> Self {
        Self::on(fresh_store().await).await
    }

    /// On a database that may have been started before.
    pub async fn on(store: Store) -> Self {
        store.ensure_instance(false, None).await.unwrap();
        let _: Applied = store.apply_catalog(&catalog(), [7; 32], false).await.unwrap();
        let mut keys = BTreeMap::new();
        for (seed, scope) in (1..).zip(Scope::ALL) {
            let key = KeyText::make(false, scope, random(seed));
            store.create_key(&key, scope, "test", None).await.unwrap();
            keys.insert(scope, key.expose().to_owned());
        }
        let posting = Posting::start(&store);
        let app = App::new(store.clone(), posting, Clock::system(), WorkerAges::default(), Arc::new(OneSignature));
        Self { router: router(app.clone()), store, app, keys }
    }

    pub fn key(&self, scope: Scope) -> &str {
        &self.keys[&scope]
    }

    /// Sends a request as it is.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        assert!(head.headers.contains_key("x-request-id"));
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("no JSON: {bytes:?}"));
        Answer { status: head.status, headers: head.headers, body }
    }

    /// Sends text with a key.
    pub async fn call(&self, key: Option<&str>, method: &str, path: &str, body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// As admin.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Some(self.key(Scope::Admin)), "POST", &format!("/api/v1{path}"), &body.to_string()).await
    }

    /// As admin.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Some(self.key(Scope::Admin)), "PUT", &format!("/api/v1{path}"), &body.to_string()).await
    }

    /// As admin.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call(Some(self.key(Scope::Admin)), "PATCH", &format!("/api/v1{path}"), &body.to_string()).await
    }

    /// As admin.
    pub async fn get(&self, path: &str) -> Answer {
        self.call(Some(self.key(Scope::Admin)), "GET", &format!("/api/v1{path}"), "").await
    }

    /// A customer with what everyone gets.
    pub async fn customer(&self, id: &str) {
        assert_eq!(self.put(&format!("/customers/{id}"), &serde_json::json!({})).await.status, StatusCode::CREATED);
    }
}
