//! Refusals as RFC 9457 problem documents: one stable code each, the field that is wrong, and, for faults of ours,
//! nothing but the number of the request.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::domain::command::Rejection;
use crate::posting::PostError;
use crate::store::StoreError;

/// What a client waits before it asks a database again that could not answer.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);

/// Why a request was not carried out. Boxed: most results are no problem.
#[derive(Clone, Debug)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
    /// More members of the document, such as what was required.
    facts: Map<String, Value>,
    retry_after: Option<Duration>,
    /// For the log, never for the caller.
    cause: Option<String>,
}

impl Problem {
    /// A refusal with its code and a sentence for people.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            status,
            code,
            detail: detail.into(),
            field: None,
            facts: Map::new(),
            retry_after: None,
            cause: None,
        }))
    }

    /// 400 `bad_request`: something about one field.
    pub fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail).about(field)
    }

    /// 404 `unknown_customer`.
    pub fn unknown_customer() -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_customer", "there is no customer with this id").about("customer")
    }

    /// 500: a fault of ours; the cause goes to the log.
    pub fn internal(cause: impl Into<String>) -> Self {
        let detail = "the request could not be carried out; the log tells why under this request id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).because(cause)
    }

    /// The same, naming a field.
    #[must_use]
    pub fn about(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// The same, with what the log is to say.
    pub(super) fn because(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// The same, with a time to come back.
    pub(super) fn after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// The same, with one more member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.facts.insert(name.to_owned(), value.into());
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Its stable code.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// What happened, for the log.
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// The document, with the number of the request, which finds its lines in the log.
    pub fn document(&self, request: Option<&str>) -> Value {
        let mut title = self.0.code.replace('_', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let mut document = json!({
            "type": format!("urn:creditd:problem:{}", self.0.code),
            "title": title,
            "status": self.0.status.as_u16(),
            "code": self.0.code,
            "detail": self.0.detail,
        });
        if let Value::Object(members) = &mut document {
            if let Some(field) = &self.0.field {
                members.insert("field".to_owned(), field.as_str().into());
            }
            if let Some(request) = request {
                members.insert("request_id".to_owned(), request.into());
            }
            for (name, value) in &self.0.facts {
                members.insert(name.clone(), value.clone());
            }
        }
        document
    }

    /// The whole answer.
    pub fn response(&self, request: &str) -> Response {
        let document = self.document(Some(request)).to_string();
        (self.0.status, self.headers(), document).into_response()
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = self.0.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if self.0.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"creditd\""));
        }
        headers
    }
}

/// Retry-After counts whole seconds; less than one is one.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // The body is rendered by `request::number`, which every answer passes and which knows the request's number.
        let mut response = (self.0.status, self.headers()).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let detail = rejection.to_string();
        let bad = |code| Self::new(StatusCode::BAD_REQUEST, code, detail.clone());
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, detail.clone());
        match rejection {
            Rejection::UnknownFeature(_) => {
                Self::new(StatusCode::NOT_FOUND, "unknown_feature", detail).about("feature")
            }
            Rejection::NotMetered(_) => bad("not_metered").about("feature"),
            Rejection::UnknownPlan(_) => Self::new(StatusCode::NOT_FOUND, "unknown_plan", detail).about("plan"),
            Rejection::Insufficient { pool, required, available } => {
                Self::new(StatusCode::PAYMENT_REQUIRED, "insufficient_credits", detail)
                    .with("pool", pool.as_str())
                    .with("required", required.to_string())
                    .with("available", available.to_string())
            }
            Rejection::DebtNotAllowed(_) => bad("debt_not_allowed").about("when_short"),
            Rejection::KeyConflict => conflict("key_conflict").about("key"),
            Rejection::WalletFeature { .. } => conflict("wallet_feature").about("wallet"),
            Rejection::WalletClosed(_) => conflict("wallet_closed").about("wallet"),
            Rejection::EndsBeforeStart => bad("bad_request").about("expires_at"),
            Rejection::Amount(_) => bad("bad_request").about("quantity"),
            Rejection::Cost(_) => bad("bad_properties").about("properties"),
            Rejection::SpendLimit { name, most, used, .. } => {
                Self::new(StatusCode::PAYMENT_REQUIRED, "spend_limit", detail)
                    .with("limit", name)
                    .with("most", most.to_string())
                    .with("used", used.to_string())
            }
            Rejection::NothingToReturn { .. } | Rejection::TooManyToReturn => {
                bad("nothing_to_return").about("quantity")
            }
            Rejection::NotSettable(_) => bad("not_settable").about("set"),
            Rejection::NotHoldable(_) => bad("not_holdable").about("hold"),
            Rejection::NotLimitable(_) => bad("not_limitable").about("feature"),
            Rejection::UnknownHold(_) => Self::new(StatusCode::NOT_FOUND, "unknown_hold", detail).about("hold"),
            Rejection::HoldOfOther { .. } | Rejection::HoldOfReturn => conflict("hold_of_other").about("hold"),
            Rejection::TooManyLimits => conflict("too_many_limits"),
            Rejection::UnknownLimit(_) => Self::new(StatusCode::NOT_FOUND, "unknown_limit", detail),
            Rejection::Limit(_) | Rejection::Calendar(_) | Rejection::TooManyItems(_) => bad("bad_request"),
            Rejection::Erased => Self::unknown_customer(),
            Rejection::NoTotal(_)
            | Rejection::TooManyViews
            | Rejection::Constraint(_)
            | Rejection::UnknownBill(_)
            | Rejection::BillIsOver { .. }
            | Rejection::BillCurrency { .. } => bad("refused"),
            Rejection::UnknownWallet(_) => Self::new(StatusCode::NOT_FOUND, "unknown_wallet", detail).about("wallet"),
            Rejection::UnknownGrant(_) => Self::new(StatusCode::NOT_FOUND, "unknown_grant", detail).about("grant"),
            Rejection::WalletExists(_) => conflict("wallet_exists").about("id"),
            Rejection::TooManyWallets => conflict("too_many_wallets"),
            Rejection::WalletHeld { held, .. } => {
                conflict("wallet_held").about("wallet").with("held", held.to_string())
            }
            Rejection::MoreThanFree { asked, free, held, .. } => {
                let problem = conflict("more_than_free").about("quantity").with("asked", asked.to_string());
                problem.with("free", free.to_string()).with("held", held.to_string())
            }
            Rejection::NothingToVoid { held, .. } => conflict("nothing_to_void").with("held", held.to_string()),
            Rejection::GrantUnlimited(_) => conflict("grant_unlimited").about("grant"),
            Rejection::GrantEnded { .. } => conflict("grant_ended").about("grant"),
            Rejection::AlreadyAttached(_) => conflict("already_attached").about("plan"),
            Rejection::NotAttached(_) => Self::new(StatusCode::NOT_FOUND, "not_attached", detail).about("plan"),
            Rejection::PlanHasPrice(_) => bad("plan_has_price").about("plan"),
            Rejection::NotCarriedOver(_) => bad("not_supported").about("carry_over"),
            Rejection::Charging(refusal) => refusal.into(),
        }
    }
}

impl From<&StoreError> for Problem {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Transient(_) | StoreError::Unavailable(_) | StoreError::CommitUnknown(_) => {
                let detail = "the database cannot answer now; send the request again with the same key";
                let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
                problem.after(UNAVAILABLE_RETRY).because(error.to_string())
            }
            StoreError::Constraint(_)
            | StoreError::Inconsistent { .. }
            | StoreError::LostLease(_)
            | StoreError::Migration(_)
            | StoreError::Database(_) => Self::internal(error.to_string()),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
    }
}

impl From<PostError> for Problem {
    fn from(error: PostError) -> Self {
        match error {
            PostError::Rejected(rejection) => rejection.into(),
            PostError::UnknownAccount(_) => Self::unknown_customer(),
            PostError::Busy(wait) => Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", error.to_string()).after(wait),
            PostError::Store(error) => Self::from(error.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::catalog::FeatureId;
    use crate::domain::credits::Credits;

    #[test]
    fn a_refusal_names_code_field_and_numbers() {
        let feature = FeatureId::new("credits").unwrap();
        let rejection =
            Rejection::Insufficient { pool: feature, required: Credits::whole(30), available: Credits::whole(12) };
        let problem = Problem::from(PostError::from(rejection));
        assert_eq!(problem.status(), StatusCode::PAYMENT_REQUIRED);
        assert_eq!(
            problem.document(Some("r1")),
            json!({
                "type": "urn:creditd:problem:insufficient_credits",
                "title": "Insufficient credits",
                "status": 402,
                "code": "insufficient_credits",
                "detail": "30 credits needed, 12 available",
                "request_id": "r1",
                "pool": "credits",
                "required": "30",
                "available": "12",
            })
        );
    }

    #[test]
    fn our_own_faults_say_nothing_but_the_request() {
        for error in [
            StoreError::Database("relation \"grants\" does not exist".to_owned()),
            StoreError::Inconsistent { table: "grants", column: "state", row: "7".to_owned() },
            StoreError::LostLease("customer_ids"),
            StoreError::Constraint("grants_pkey".to_owned()),
            StoreError::Unavailable("connection to 10.0.0.7 refused".to_owned()),
            StoreError::CommitUnknown("connection to 10.0.0.7 lost".to_owned()),
        ] {
            let problem = Problem::from(PostError::Store(Arc::new(error)));
            assert!(problem.status().is_server_error());
            let document = problem.document(Some("request-7")).to_string();
            for secret in ["grants", "10.0.0.7", "customer_ids", "relation"] {
                assert!(!document.contains(secret), "{document}");
            }
            assert!(document.contains("\"request_id\":\"request-7\""), "{document}");
            assert!(problem.cause().is_some());
        }
    }

    #[test]
    fn a_full_queue_tells_when_to_come_back() {
        let response = Problem::from(PostError::Busy(Duration::from_millis(500))).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        let response = Problem::from(PostError::Busy(Duration::from_millis(2_001))).into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "3");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    }
}
