//! `product`.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, with_nulls};

/// Parameters of a creation.
pub const ACCEPTED: &[&str] = &["id", "name", "description", "active", "metadata[*]", "metadata", "expand[]"];
/// Parameters of an update.
pub const UPDATE: &[&str] = &["name", "description", "active", "metadata[*]", "metadata", "expand[]"];
/// Filters of the list.
pub const FILTERS: &[&str] = &["active", "ids[]"];

/// `POST /v1/products`.
pub fn create(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let name = params.required("name")?;
    let description = params.string("description")?;
    let active = params.boolean("active")?.unwrap_or(true);
    let metadata = params.metadata("metadata", &Value::Null)?;
    let id = params.string("id")?.unwrap_or_else(|| ids::fresh("prod"));
    if state.get(Kind::Product, &id).is_some() {
        return Err(Refusal::parameter("resource_already_exists", "id", "Product already exists."));
    }
    insert(state, &id, &name, description.as_deref(), active, &metadata);
    Ok(state.found(Kind::Product, &id)?.object.clone())
}

/// Makes the product that `product_data` describes; it is not active, as Stripe's are not.
pub fn from_product_data(state: &mut State, data: &ProductData) -> String {
    let id = ids::fresh("prod");
    insert(state, &id, &data.name, data.description.as_deref(), data.active, &data.metadata);
    id
}

/// A product to be made inline, checked.
#[derive(Clone, Debug)]
pub struct ProductData {
    name: String,
    description: Option<String>,
    active: bool,
    metadata: Value,
}

impl ProductData {
    /// Reads `product_data` below a path; none if it was not sent.
    pub fn read(params: &Params, path: &str, active: bool) -> Result<Option<Self>, Refusal> {
        if !params.has(path) {
            return Ok(None);
        }
        Ok(Some(Self {
            name: params.required(&format!("{path}[name]"))?,
            description: params.string(&format!("{path}[description]"))?,
            active,
            metadata: params.metadata(&format!("{path}[metadata]"), &Value::Null)?,
        }))
    }
}

fn insert(state: &mut State, id: &str, name: &str, description: Option<&str>, active: bool, metadata: &Value) {
    put(state, id, name, description, active, metadata);
    state.emit("product.created", Kind::Product, id);
}

/// Puts a product in place; no event tells of it.
pub(super) fn put(state: &mut State, id: &str, name: &str, description: Option<&str>, active: bool, metadata: &Value) {
    let product = with_nulls(
        json!({
            "id": id, "object": "product", "active": active, "created": state.now, "description": description,
            "images": [], "livemode": false, "marketing_features": [], "metadata": metadata, "name": name,
            "type": "service", "updated": state.now,
        }),
        &[
            "default_price",
            "package_dimensions",
            "shippable",
            "statement_descriptor",
            "tax_code",
            "tax_details",
            "unit_label",
            "url",
        ],
    );
    state.insert(Kind::Product, product, Map::new());
}

/// `POST /v1/products/{id}`.
pub fn update(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    super::update(state, Kind::Product, id, params, &[("name", false), ("description", true)])
}
