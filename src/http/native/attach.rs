//! `POST /attach`, `/attach/preview`, `/cancel`, `/uncancel` and `/portal`: plans and packs, as the app asks for them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::super::App;
use super::super::fields::{Fields, Reading};
use super::super::json::{Json as Input, JsonBody};
use super::super::problem::Problem;
use super::super::read;
use crate::domain::attachment::CarryOver;
use crate::domain::catalog::{NAME_MAX, PlanId};
use crate::domain::command::CancelWhen;
use crate::domain::credits::Credits;
use crate::domain::ids::AccountId;
use crate::selling::error::SellError;
use crate::selling::leave::Left;
use crate::selling::offer::{QUANTITIES_MAX, Refusal};
use crate::selling::order::{Attached, Leave, Order};

/// Longest address that is handed on to Stripe, in bytes; Stripe takes 5,000 characters.
pub const URL_MAX: usize = 2_048;
/// Most seats: Stripe's limit of a quantity.
pub const SEATS_MAX: i32 = 999_999;
/// Longest lookup key or id of a price, in bytes.
pub const PRICE_MAX: usize = 200;
/// When a plan ends that is cancelled.
pub const WHEN: [(&str, CancelWhen); 2] = [("period_end", CancelWhen::PeriodEnd), ("now", CancelWhen::Now)];

/// Gives a plan or packs, or a way to pay for them.
pub async fn attach(State(app): State<App>, JsonBody(body): JsonBody) -> Result<Json<Value>, Problem> {
    let order = read_order(&app, body).await?;
    let (customer, plan) = (order.customer.clone(), order.plan.clone());
    let attached = app.selling.attach(order).await?;
    let mut shown = render(&customer, &plan, &attached);
    shown.insert("checkout_url".to_owned(), json!(attached.checkout_url));
    shown.insert("required_action".to_owned(), json!(attached.required_action));
    let attachment = attached.attachment.map(|(id, state)| json!({ "id": id, "state": state }));
    shown.insert("attachment".to_owned(), json!(attachment));
    Ok(Json(Value::Object(shown)))
}

/// Tells what [`attach`] would do.
pub async fn preview(State(app): State<App>, JsonBody(body): JsonBody) -> Result<Json<Value>, Problem> {
    let order = read_order(&app, body).await?;
    let previewed = app.selling.preview(&order).await?;
    let mut shown = render(&order.customer, &order.plan, &previewed.attached);
    shown.insert("is_estimate".to_owned(), json!(previewed.is_estimate));
    shown.insert("balances".to_owned(), json!(previewed.balances));
    shown.insert("renews_at".to_owned(), json!(previewed.renews_at));
    shown.insert("ends".to_owned(), json!(previewed.ends));
    Ok(Json(Value::Object(shown)))
}

/// Ends a plan.
pub async fn cancel(State(app): State<App>, JsonBody(mut body): JsonBody) -> Result<Json<Value>, Problem> {
    let when = body.optional("when", read::word(&WHEN))?.unwrap_or(CancelWhen::PeriodEnd);
    let (customer, wish) = read_leave(&app, body, when).await?;
    let plan = wish.plan.clone();
    Ok(Json(render_left(&customer, &plan, &app.selling.cancel(wish).await?)))
}

/// Lets a plan go on that was set to end or to change.
pub async fn uncancel(State(app): State<App>, JsonBody(body): JsonBody) -> Result<Json<Value>, Problem> {
    let (customer, wish) = read_leave(&app, body, CancelWhen::PeriodEnd).await?;
    let plan = wish.plan.clone();
    Ok(Json(render_left(&customer, &plan, &app.selling.uncancel(wish).await?)))
}

/// Opens Stripe's portal.
pub async fn portal(State(app): State<App>, JsonBody(mut body): JsonBody) -> Result<Json<Value>, Problem> {
    let customer = body.required("customer", read::external_id)?;
    let return_url = body.optional("return_url", url)?;
    body.done()?;
    let account = app.directory.account(&customer).await?;
    let portal = app.selling.portal(account, return_url).await?;
    Ok(Json(json!({ "customer": customer, "url": portal.url })))
}

async fn read_order(app: &App, mut body: Fields) -> Result<Order, Problem> {
    let customer = body.required("customer", read::external_id)?;
    let mut order = Order {
        account: AccountId::from_uuid(uuid::Uuid::nil()),
        plan: body.required("plan", plan)?,
        price: body.optional("price", read::plain(PRICE_MAX))?,
        quantities: body.optional("quantities", quantities)?.unwrap_or_default(),
        seats: body.optional("seats", read::integer(1, SEATS_MAX))?.map(i64::from),
        entity: body.optional("entity", read::external_id)?.unwrap_or_default(),
        carry_over: carry_over(&mut body)?,
        success_url: body.optional("success_url", url)?,
        cancel_url: body.optional("cancel_url", url)?,
        key: body.optional("key", read::external_id)?,
        customer,
    };
    body.done()?;
    order.account = app.directory.account(&order.customer).await?;
    Ok(order)
}

async fn read_leave(app: &App, mut body: Fields, when: CancelWhen) -> Result<(String, Leave), Problem> {
    let customer = body.required("customer", read::external_id)?;
    let plan = body.required("plan", plan)?;
    let entity = body.optional("entity", read::external_id)?.unwrap_or_default();
    body.done()?;
    let account = app.directory.account(&customer).await?;
    Ok((customer, Leave { account, plan, entity, when }))
}

fn plan(value: Input) -> Reading<PlanId> {
    let text = read::text(NAME_MAX)(value)?;
    PlanId::new(&text).ok_or_else(|| "has to be letters, digits, `_`, `-`, `.` and `:`".to_owned())
}

fn quantities(value: Input) -> Reading<BTreeMap<String, Credits>> {
    let Input::Object(members) = value else {
        return Err(format!("has to be an object of decimal strings, not {}", value.kind()));
    };
    if members.is_empty() || members.len() > QUANTITIES_MAX {
        return Err(format!("has to name 1 to {QUANTITIES_MAX} features or items"));
    }
    let one = |(name, value): (String, Input)| {
        let plain = !name.is_empty() && name.len() <= NAME_MAX && !name.chars().any(char::is_control);
        if !plain {
            return Err(format!("names features or items by 1 to {NAME_MAX} bytes"));
        }
        let credits = read::positive_credits(value).map_err(|detail| format!("of `{name}` {detail}"))?;
        Ok((name, credits))
    };
    members.into_iter().map(one).collect()
}

fn carry_over(body: &mut Fields) -> Result<CarryOver, Problem> {
    let Some(mut wish) = body.object("carry_over")? else { return Ok(CarryOver::default()) };
    let balances = wish.optional("balances", read::boolean)?.unwrap_or(false);
    let usage = wish.optional("usage", read::boolean)?.unwrap_or(false);
    wish.done()?;
    Ok(CarryOver { balances, usage })
}

/// An address a buyer is sent to: of the web, so that no page of ours leads into a script.
pub(super) fn url(value: Input) -> Reading<String> {
    let text = read::plain(URL_MAX)(value)?;
    if read::is_web_address(&text) {
        Ok(text)
    } else {
        Err("has to be an address of the web, such as https://example.com/paid".to_owned())
    }
}

fn render(customer: &str, plan: &PlanId, attached: &Attached) -> Map<String, Value> {
    let shown = json!({
        "customer": customer,
        "plan": plan,
        "action": attached.what,
        "lines": attached.lines,
        "total": attached.total,
        "trial_days": attached.trial_days,
        "effective_at": attached.effective_at,
    });
    match shown {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

fn render_left(customer: &str, plan: &PlanId, left: &Left) -> Value {
    json!({
        "customer": customer,
        "plan": plan,
        "attachment": left.attachment,
        "ends_at": left.ends_at,
        "by_stripe": left.by_stripe,
    })
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let bad = |code| Self::new(StatusCode::BAD_REQUEST, code, detail.clone());
        match refusal {
            Refusal::UnknownPlan(_) => Self::new(StatusCode::NOT_FOUND, "unknown_plan", detail).about("plan"),
            Refusal::UnknownPrice { .. } => bad("unknown_price").about("price"),
            Refusal::WhichCurrency(_) => bad("bad_request").about("price"),
            Refusal::Currency { .. } => bad("currency_mismatch").about("price"),
            Refusal::NotInStripe(_) => bad("price_not_in_stripe").about("plan"),
            Refusal::NoPacks { .. } | Refusal::QuantitiesMissing(_) | Refusal::Included { .. } => {
                bad("bad_request").about("quantities")
            }
            Refusal::BelowMinimum { .. } => bad("below_minimum").about("quantities"),
            Refusal::TooMuch => bad("too_much").about("quantities"),
            Refusal::AlreadyAttached(_) => Self::new(StatusCode::CONFLICT, "already_attached", detail).about("plan"),
            Refusal::NotSupported { field, .. } => bad("not_supported").about(field),
            Refusal::SetupCurrency => bad("bad_request").about("currency"),
            Refusal::UrlMissing => bad("bad_request").about("success_url"),
        }
    }
}

impl From<SellError> for Problem {
    fn from(error: SellError) -> Self {
        let detail = error.to_string();
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, detail.clone());
        match error {
            SellError::Refused(refusal) => refusal.into(),
            SellError::NotConfigured => Self::new(StatusCode::BAD_REQUEST, "stripe_not_configured", detail),
            SellError::UnknownCustomer => Self::unknown_customer(),
            SellError::NoStripeCustomer => {
                Self::new(StatusCode::NOT_FOUND, "no_stripe_customer", detail).about("customer")
            }
            SellError::NotAttached(_) => Self::new(StatusCode::NOT_FOUND, "not_attached", detail).about("plan"),
            SellError::Shared { .. } => conflict("subscription_shared").about("plan"),
            SellError::KeyConflict => conflict("key_conflict").about("key"),
            SellError::InProgress => conflict("payment_processing").about("plan"),
            SellError::Declined(decline) => Self::new(StatusCode::PAYMENT_REQUIRED, "payment_failed", detail)
                .with("decline_code", decline.decline_code.or(decline.code)),
            SellError::StripeRefused(_) => conflict("stripe_refused"),
            SellError::Unavailable { reason, retry_after, may_be_done: _ } => {
                let detail = "Stripe cannot be asked now; send the request again, nothing is done twice";
                let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "stripe_unavailable", detail);
                problem.after(retry_after.unwrap_or(STRIPE_RETRY)).because(reason)
            }
            SellError::Post(error) => error.into(),
            SellError::Store(error) => error.into(),
            SellError::Inconsistent(cause) => Self::internal(cause),
        }
    }
}

/// What a client waits before it asks for something again that Stripe did not answer, when Stripe does not say.
const STRIPE_RETRY: std::time::Duration = std::time::Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://app.example/ok?session={CHECKOUT_SESSION_ID}")]
    #[case("http://localhost:3000/paid#top")]
    #[case("http://[::1]:3000")]
    fn an_address_of_the_web_is_one(#[case] text: &str) {
        assert_eq!(url(Input::Text(text.to_owned())).unwrap(), text);
    }

    #[rstest]
    #[case("javascript:alert(1)")]
    #[case("JAVASCRIPT:alert(1)")]
    #[case("data:text/html,hi")]
    #[case("//example.com")]
    #[case("/paid")]
    #[case("https://")]
    #[case("https:///paid")]
    #[case("https://?x")]
    #[case("https://user@example.com/")]
    #[case("https://example.com/\"><script>")]
    #[case("https://example.com/a b")]
    #[case("https://example.com/\u{e9}")]
    #[case("https://example.com/\n")]
    #[case("ftp://example.com/")]
    #[case("")]
    fn anything_else_is_none(#[case] text: &str) {
        assert!(url(Input::Text(text.to_owned())).is_err(), "{text}");
    }
}
