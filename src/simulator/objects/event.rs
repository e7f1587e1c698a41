//! `event`: an object as it was, in the version of the endpoint, for good.

use serde_json::{Value, json};

use super::super::ids;
use super::super::state::State;

/// Filters of the list.
pub const FILTERS: &[&str] = &["type", "types[]", "delivery_success"];
/// `GET /v1/events` reaches this far back.
pub const HORIZON_SECONDS: i64 = 30 * 24 * 60 * 60;

/// An event about an object already rendered in the endpoint's version.
pub fn build(state: &State, event_type: &str, object: &Value, previous: Option<Value>) -> Value {
    let mut data = json!({ "object": object });
    if let Some(previous) = previous {
        data["previous_attributes"] = previous;
    }
    json!({
        "id": ids::fresh("evt"), "object": "event", "api_version": state.endpoint_version.as_str(),
        "created": state.now, "data": data, "livemode": false, "pending_webhooks": i64::from(state.deliver),
        "request": { "id": state.origin.request_id, "idempotency_key": state.origin.idempotency_key },
        "type": event_type,
    })
}
