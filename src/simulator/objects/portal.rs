//! `billing_portal.session`: an address for a customer to look after their subscriptions; nothing is served there.

use serde_json::{Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State};

/// Parameters of a creation.
pub const ACCEPTED: &[&str] = &["customer", "return_url", "expand[]"];

/// `POST /v1/billing_portal/sessions`.
pub fn create(state: &State, params: &Params) -> Result<Value, Refusal> {
    let customer = params.required("customer")?;
    state.named(Kind::Customer, &customer, "customer")?;
    let id = ids::fresh("bps");
    Ok(json!({
        "id": id, "object": "billing_portal.session", "configuration": "bpc_simulated", "created": state.now,
        "customer": customer, "customer_account": null, "flow": null, "livemode": false, "locale": null,
        "on_behalf_of": null, "return_url": params.string("return_url")?,
        "url": format!("{}/portal/{id}", state.base_url),
    }))
}
