//! Every route, once: the router, the labels of metrics and the `OpenAPI` document are made from this table.

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, patch, post, put};

use super::native::{
    adjustments, attach, balance, check, customers, entries, grants, holds, limits, overage_bills, replay, setup,
    stripe_events, top_up_rules, top_ups, track, usage, wallets,
};
use super::openapi::{self, Operation};
use super::problem::Problem;
use super::{App, auth, health, scrape, test_clock, webhook};
use crate::domain::api_key::Scope;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// No key is asked for.
    Anyone,
    /// Stripe: the body carries a signature.
    Stripe,
    /// Whoever may read metrics: anyone, unless `metrics.public` is false; then scopes finance and admin.
    MetricsReaders,
    /// A key of any scope.
    AnyKey,
    /// A key of scope app or admin.
    AppOrAdmin,
    /// A key of scope finance or admin.
    FinanceOrAdmin,
    /// A key of scope admin.
    Admin,
}

impl Who {
    /// The scopes that may; empty: no key is asked for.
    pub const fn scopes(self, metrics_public: bool) -> &'static [Scope] {
        match self {
            Self::Anyone | Self::Stripe => &[],
            Self::MetricsReaders if metrics_public => &[],
            Self::MetricsReaders | Self::FinanceOrAdmin => &[Scope::Finance, Scope::Admin],
            Self::AnyKey => &Scope::ALL,
            Self::AppOrAdmin => &[Scope::App, Scope::Admin],
            Self::Admin => &[Scope::Admin],
        }
    }
}

/// One method of one path.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path's template.
    pub path: &'static str,
    /// Who may use it.
    pub who: Who,
    /// What the document says of it.
    pub operation: fn() -> Operation,
    handler: MethodRouter<App>,
}

/// A customer's spend limits, and one of them.
const LIMITS: &str = "/api/v1/customers/{customer}/spend-limits";
const LIMIT: &str = "/api/v1/customers/{customer}/spend-limits/{name}";
/// A customer's top-up rules, and one of them.
const RULES: &str = "/api/v1/customers/{customer}/topup-rules";
const RULE: &str = "/api/v1/customers/{customer}/topup-rules/{name}";
const RULE_WHY: &str = "/api/v1/customers/{customer}/topup-rules/{name}/why";

/// A customer's bills of overage.
const BILLS: &str = "/api/v1/customers/{customer}/overage-bills";

/// Every route.
pub fn table() -> Vec<Route> {
    use Who::{Admin, AnyKey, Anyone, AppOrAdmin, FinanceOrAdmin, MetricsReaders, Stripe};
    let route = |method, path, who, operation, handler| Route { method, path, who, operation, handler };
    let (read, write, set) = (Method::GET, Method::POST, Method::PUT);
    vec![
        route(write.clone(), "/api/v1/check", AppOrAdmin, openapi::check, post(check::check)),
        route(write.clone(), "/api/v1/track", AppOrAdmin, openapi::track, post(track::track)),
        route(write.clone(), "/api/v1/track/batch", AppOrAdmin, openapi::track_batch, post(track::batch)),
        route(set.clone(), "/api/v1/customers/{customer}", AppOrAdmin, openapi::put_customer, put(customers::put)),
        route(read.clone(), "/api/v1/customers/{customer}", AnyKey, openapi::get_customer, get(customers::get)),
        route(read.clone(), "/api/v1/customers/{customer}/grants", AnyKey, openapi::list_grants, get(grants::list)),
        route(read.clone(), "/api/v1/customers/{customer}/entries", AnyKey, openapi::list_entries, get(entries::list)),
        route(write.clone(), "/api/v1/grants", Admin, openapi::give_grant, post(grants::give)),
        route(read.clone(), "/api/v1/stripe-events", FinanceOrAdmin, openapi::list_events, get(stripe_events::list)),
        route(read.clone(), "/api/v1/stripe-events/{id}", FinanceOrAdmin, openapi::get_event, get(stripe_events::get)),
        route(write.clone(), "/api/v1/stripe-events/{id}/replay", Admin, openapi::replay, post(replay::replay)),
        route(write.clone(), "/api/v1/attach", AppOrAdmin, openapi::attach, post(attach::attach)),
        route(write.clone(), "/api/v1/attach/preview", AppOrAdmin, openapi::preview_attach, post(attach::preview)),
        route(write.clone(), "/api/v1/cancel", AppOrAdmin, openapi::cancel, post(attach::cancel)),
        route(write.clone(), "/api/v1/uncancel", AppOrAdmin, openapi::uncancel, post(attach::uncancel)),
        route(write.clone(), "/api/v1/portal", AppOrAdmin, openapi::portal, post(attach::portal)),
        route(write.clone(), "/api/v1/test-clock/advance", Admin, openapi::advance, post(test_clock::advance)),
        route(write.clone(), "/api/v1/wallets", Admin, openapi::make_wallet, post(wallets::make)),
        route(read.clone(), "/api/v1/wallets", AnyKey, openapi::list_wallets, get(wallets::list)),
        route(read.clone(), "/api/v1/wallets/{id}", AnyKey, openapi::get_wallet, get(wallets::get)),
        route(Method::PATCH, "/api/v1/wallets/{id}", Admin, openapi::change_wallet, patch(wallets::change)),
        route(
            write.clone(),
            "/api/v1/wallets/{id}/terminate",
            Admin,
            openapi::terminate_wallet,
            post(wallets::terminate),
        ),
        route(write.clone(), "/api/v1/grants/{id}/void", Admin, openapi::void_grant, post(adjustments::void)),
        route(write.clone(), "/api/v1/adjustments", Admin, openapi::adjust_grant, post(adjustments::adjust)),
        route(read.clone(), "/api/v1/customers/{customer}/balance", AnyKey, openapi::get_balance, get(balance::get)),
        route(write.clone(), "/api/v1/check/batch", AppOrAdmin, openapi::check_batch, post(check::batch)),
        route(read.clone(), "/api/v1/holds/{id}", AnyKey, openapi::get_hold, get(holds::get)),
        route(write.clone(), "/api/v1/holds/{id}/extend", AppOrAdmin, openapi::extend_hold, post(holds::extend)),
        route(write.clone(), "/api/v1/holds/{id}/release", AppOrAdmin, openapi::release_hold, post(holds::release)),
        route(read.clone(), "/api/v1/customers/{customer}/holds", AnyKey, openapi::list_holds, get(holds::list)),
        route(read.clone(), LIMITS, AnyKey, openapi::list_limits, get(limits::list)),
        route(set.clone(), LIMIT, AppOrAdmin, openapi::put_limit, put(limits::put)),
        route(read.clone(), LIMIT, AnyKey, openapi::get_limit, get(limits::get)),
        route(Method::DELETE, LIMIT, AppOrAdmin, openapi::delete_limit, delete(limits::delete)),
        route(read.clone(), "/api/v1/customers/{customer}/usage", AnyKey, openapi::list_usage, get(usage::list)),
        route(read.clone(), BILLS, AnyKey, openapi::list_overage_bills, get(overage_bills::list)),
        route(write.clone(), "/api/v1/setup", AppOrAdmin, openapi::setup, post(setup::open)),
        route(write.clone(), "/webhooks/stripe", Stripe, openapi::webhook, post(webhook::stripe)),
        route(read.clone(), "/healthz", Anyone, openapi::healthz, get(health::healthz)),
        route(read.clone(), "/readyz", Anyone, openapi::readyz, get(health::readyz)),
        route(read.clone(), "/openapi.json", Anyone, openapi::openapi, get(openapi::serve)),
        route(read.clone(), "/metrics", MetricsReaders, openapi::metrics, get(scrape::metrics)),
        route(read.clone(), RULES, AnyKey, openapi::list_rules, get(top_up_rules::list)),
        route(set, RULE, AppOrAdmin, openapi::put_rule, put(top_up_rules::put)),
        route(read.clone(), RULE, AnyKey, openapi::get_rule, get(top_up_rules::get)),
        route(Method::DELETE, RULE, AppOrAdmin, openapi::delete_rule, delete(top_up_rules::delete)),
        route(read.clone(), RULE_WHY, AnyKey, openapi::why, get(top_up_rules::why)),
        route(write, "/api/v1/topups", AppOrAdmin, openapi::order_top_up, post(top_ups::order)),
        route(read.clone(), "/api/v1/topups/{id}", AnyKey, openapi::get_top_up, get(top_ups::get)),
        route(read, "/api/v1/customers/{customer}/topups", AnyKey, openapi::list_top_ups, get(top_ups::list)),
    ]
}

/// The table as a router; each route lets only its scopes pass.
pub(super) fn router(app: &App) -> Router<App> {
    let mut router = Router::new();
    for Route { path, who, handler, .. } in table() {
        let scopes = who.scopes(app.metrics_public);
        let handler = if scopes.is_empty() {
            handler
        } else {
            handler.route_layer(from_fn_with_state((app.clone(), scopes), auth::admit))
        };
        router = router.route(path, handler);
    }
    router.fallback(unknown_route).method_not_allowed_fallback(unknown_method)
}

async fn unknown_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_route", "there is nothing at this path")
}

async fn unknown_method(request: Request) -> Problem {
    let detail = format!("this path does not take {}; the `allow` header tells what it takes", request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
