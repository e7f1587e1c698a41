//! A refusal in Stripe's own form: a status and `{"error": {type, code, param, message}}`.

use serde_json::{Map, Value, json};

/// What a request is refused with, and whether it was executed first.
///
/// Only an executed refusal is kept for its idempotency key; a failed validation leaves the key free.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    status: u16,
    error: Map<String, Value>,
    executed: bool,
}

impl Refusal {
    fn new(status: u16, kind: &str, message: &str) -> Self {
        let mut error = Map::new();
        error.insert("type".to_owned(), json!(kind));
        error.insert("message".to_owned(), json!(message));
        Self { status, error, executed: false }
    }

    /// 400 `invalid_request_error`.
    pub fn invalid(message: &str) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// 400 with a code and the parameter it is about.
    pub fn parameter(code: &str, parameter: &str, message: &str) -> Self {
        Self::invalid(message).with("code", json!(code)).with("param", json!(parameter))
    }

    /// 400 `parameter_unknown`.
    pub fn unknown_parameter(parameter: &str) -> Self {
        Self::parameter("parameter_unknown", parameter, &format!("Received unknown parameter: {parameter}"))
    }

    /// 400 `parameter_missing`.
    pub fn missing(parameter: &str) -> Self {
        Self::parameter("parameter_missing", parameter, &format!("Missing required param: {parameter}."))
    }

    /// 400 `resource_missing`: a parameter names an object that is not there.
    pub fn no_such(what: &str, id: &str, parameter: &str) -> Self {
        Self::parameter("resource_missing", parameter, &format!("No such {what}: '{id}'"))
    }

    /// 404 `resource_missing`: the path names an object that is not there.
    pub fn not_found(what: &str, id: &str) -> Self {
        Self { status: 404, ..Self::no_such(what, id, "id") }
    }

    /// 404 for a path or method that is not served.
    pub fn unrecognized_url(method: &str, path: &str) -> Self {
        let message = format!("Unrecognized request URL ({method}: {path}).");
        Self { status: 404, ..Self::invalid(&message) }
    }

    /// 401.
    pub fn unauthorized(message: &str) -> Self {
        Self { status: 401, ..Self::invalid(message) }
    }

    /// 400 or 409 `idempotency_error`.
    pub fn idempotency(status: u16, message: &str) -> Self {
        Self::new(status, "idempotency_error", message)
    }

    /// 402 `card_error`, always of an executed request.
    pub fn card(code: &str, decline_code: Option<&str>, message: &str) -> Self {
        let refusal = Self::new(402, "card_error", message).with("code", json!(code)).executed();
        match decline_code {
            Some(decline_code) => refusal.with("decline_code", json!(decline_code)),
            None => refusal,
        }
    }

    /// 500 `api_error`.
    pub fn api_error(message: &str) -> Self {
        Self::new(500, "api_error", message)
    }

    /// The same refusal with another field in its error.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.error.insert(field.to_owned(), value);
        self
    }

    /// The same refusal, of a request that was executed.
    #[must_use]
    pub fn executed(mut self) -> Self {
        self.executed = true;
        self
    }

    /// Whether the request was executed, so that its idempotency key keeps the answer.
    pub fn was_executed(&self) -> bool {
        self.executed
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body, as Stripe writes it.
    pub fn body(&self) -> Value {
        json!({ "error": self.error })
    }
}
