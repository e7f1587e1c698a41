//! `price`, and `plan`, its older name.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, number, text, with_nulls};
use super::AMOUNT_MAX;
use super::product::{self, ProductData};

/// Parameters of a creation.
pub const ACCEPTED: &[&str] = &[
    "currency",
    "unit_amount",
    "active",
    "lookup_key",
    "transfer_lookup_key",
    "nickname",
    "product",
    "product_data[name]",
    "product_data[metadata][*]",
    "recurring[interval]",
    "recurring[interval_count]",
    "tax_behavior",
    "metadata[*]",
    "metadata",
    "expand[]",
];
/// Parameters of an update.
pub const UPDATE: &[&str] = &["active", "nickname", "metadata[*]", "metadata", "expand[]"];
/// Filters of the list.
pub const FILTERS: &[&str] = &["active", "currency", "product", "type", "lookup_keys[]"];

/// A price to be made, checked.
#[derive(Clone, Debug)]
pub struct PriceData {
    currency: String,
    unit_amount: i64,
    product: Option<String>,
    product_data: Option<ProductData>,
    recurring: Option<(String, i64)>,
    tax_behavior: String,
}

impl PriceData {
    /// Reads the fields of a price or of `price_data`; products made inline are active only under `/v1/prices`.
    pub fn read(state: &State, params: &Params, product_active: bool) -> Result<Self, Refusal> {
        let currency = params.currency("currency")?.ok_or_else(|| Refusal::missing(&params.name("currency")))?;
        let unit_amount = params
            .integer_between("unit_amount", 0, AMOUNT_MAX)?
            .ok_or_else(|| Refusal::missing(&params.name("unit_amount")))?;
        let product = params.string("product")?;
        let product_data = ProductData::read(params, "product_data", product_active)?;
        match (&product, &product_data) {
            (Some(id), None) => {
                state.named(Kind::Product, id, &params.name("product"))?;
            }
            (None, Some(_)) => {}
            (None, None) | (Some(_), Some(_)) => {
                return Err(Refusal::parameter(
                    "parameter_missing",
                    &params.name("product"),
                    "You must specify either `product` or `product_data`, and only one of them.",
                ));
            }
        }
        let tax_behavior = params.one_of("tax_behavior", &["exclusive", "inclusive", "unspecified"])?;
        Ok(Self {
            currency,
            unit_amount,
            product,
            product_data,
            recurring: read_recurring(params)?,
            tax_behavior: tax_behavior.unwrap_or_else(|| "unspecified".to_owned()),
        })
    }

    /// The currency it will have.
    pub fn currency(&self) -> &str {
        &self.currency
    }

    /// Minor units of one.
    pub fn unit_amount(&self) -> i64 {
        self.unit_amount
    }

    /// Whether it will recur.
    pub fn is_recurring(&self) -> bool {
        self.recurring.is_some()
    }
}

/// The longest interval Stripe takes is three years.
fn read_recurring(params: &Params) -> Result<Option<(String, i64)>, Refusal> {
    if !params.has("recurring") {
        return Ok(None);
    }
    let interval = params
        .one_of("recurring[interval]", &["day", "week", "month", "year"])?
        .ok_or_else(|| Refusal::missing(&params.name("recurring[interval]")))?;
    let longest = match interval.as_str() {
        "day" => 1_095,
        "week" => 156,
        "month" => 36,
        _ => 3,
    };
    let count = params.integer_between("recurring[interval_count]", 1, longest)?.unwrap_or(1);
    Ok(Some((interval, count)))
}

/// `POST /v1/prices`.
pub fn create(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let price = PriceData::read(state, params, true)?;
    let lookup_key = params.string("lookup_key")?;
    let transfer = params.boolean("transfer_lookup_key")?.unwrap_or(false);
    let fields = json!({
        "active": params.boolean("active")?.unwrap_or(true), "nickname": params.string("nickname")?,
        "metadata": params.metadata("metadata", &Value::Null)?, "lookup_key": lookup_key,
    });
    let holder = lookup_key.as_deref().and_then(|key| {
        state
            .all(Kind::Price)
            .find(|record| text(&record.object, "lookup_key") == key)
            .map(|record| record.object["id"].clone())
    });
    if holder.is_some() && !transfer {
        return Err(Refusal::parameter(
            "resource_already_exists",
            "lookup_key",
            "A price already uses that lookup key. To transfer it to this price, pass `transfer_lookup_key`.",
        ));
    }
    // From here it must succeed.
    if let Some(holder) = holder.as_ref().and_then(Value::as_str) {
        state.set(Kind::Price, holder, json!({ "lookup_key": null }));
    }
    let id = insert(state, &price, &fields);
    Ok(state.found(Kind::Price, &id)?.object.clone())
}

/// Makes the price that `price_data` describes; like Stripe's it is not active.
pub fn from_price_data(state: &mut State, price: &PriceData) -> String {
    insert(state, price, &json!({ "active": false, "nickname": null, "metadata": {}, "lookup_key": null }))
}

/// Makes the price of a line that only says its amount, below zero for a credit; no event tells of it.
pub fn of_amount(state: &mut State, currency: &str, unit_amount: i64, name: &str) -> String {
    let product = ids::fresh("prod");
    product::put(state, &product, name, None, false, &json!({}));
    let price = PriceData {
        currency: currency.to_owned(),
        unit_amount,
        product: Some(product),
        product_data: None,
        recurring: None,
        tax_behavior: "unspecified".to_owned(),
    };
    let id = ids::fresh("price");
    put(state, &id, &price, &json!({ "active": false, "nickname": null, "metadata": {}, "lookup_key": null }));
    id
}

/// A price that stands in a catalogue under an id of its own, as on a dashboard where somebody made it before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedPrice {
    /// Its id.
    pub id: String,
    /// Name of its product.
    pub product: String,
    /// Currency code, lower case.
    pub currency: String,
    /// Minor units of one.
    pub unit_amount: i64,
    /// Interval and count; absent: paid once.
    pub recurring: Option<(String, i64)>,
    /// Its lookup key.
    pub lookup_key: Option<String>,
}

/// Puts a price in place unless it is there; no event tells of it.
pub fn seed(state: &mut State, seed: &SeedPrice) {
    if state.get(Kind::Price, &seed.id).is_some() {
        return;
    }
    let product = ids::fresh("prod");
    product::put(state, &product, &seed.product, None, true, &json!({}));
    let price = PriceData {
        currency: seed.currency.clone(),
        unit_amount: seed.unit_amount,
        product: Some(product),
        product_data: None,
        recurring: seed.recurring.clone(),
        tax_behavior: "unspecified".to_owned(),
    };
    put(
        state,
        &seed.id,
        &price,
        &json!({
            "active": true, "nickname": null, "metadata": {}, "lookup_key": seed.lookup_key,
        }),
    );
}

fn insert(state: &mut State, price: &PriceData, fields: &Value) -> String {
    let id = ids::fresh("price");
    put(state, &id, price, fields);
    state.emit("price.created", Kind::Price, &id);
    id
}

fn put(state: &mut State, id: &str, price: &PriceData, fields: &Value) {
    let product = match (&price.product, &price.product_data) {
        (Some(product), _) => Some(product.clone()),
        (None, Some(data)) => Some(product::from_product_data(state, data)),
        (None, None) => None,
    };
    let recurring = price.recurring.as_ref().map(|(interval, count)| {
        json!({
            "interval": interval, "interval_count": count, "meter": null, "trial_period_days": null,
            "usage_type": "licensed",
        })
    });
    let object = with_nulls(
        json!({
            "id": id, "object": "price", "active": fields["active"], "billing_scheme": "per_unit",
            "created": state.now, "currency": price.currency, "livemode": false, "lookup_key": fields["lookup_key"],
            "metadata": fields["metadata"], "nickname": fields["nickname"], "product": product,
            "recurring": recurring, "tax_behavior": price.tax_behavior,
            "type": if price.recurring.is_some() { "recurring" } else { "one_time" },
            "unit_amount": price.unit_amount, "unit_amount_decimal": price.unit_amount.to_string(),
        }),
        &["custom_unit_amount", "tiers_mode", "transform_quantity"],
    );
    state.insert(Kind::Price, object, Map::new());
}

/// `POST /v1/prices/{id}`.
pub fn update(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    super::update(state, Kind::Price, id, params, &[("nickname", true)])
}

/// The `plan` of a recurring price, kept by Stripe in subscription items to this day.
pub fn plan(price: &Value) -> Value {
    let recurring = &price["recurring"];
    if recurring.is_null() {
        return Value::Null;
    }
    with_nulls(
        json!({
            "id": price["id"], "object": "plan", "active": price["active"], "amount": number(price, "unit_amount"),
            "amount_decimal": price["unit_amount_decimal"], "billing_scheme": "per_unit",
            "created": price["created"], "currency": price["currency"], "interval": recurring["interval"],
            "interval_count": recurring["interval_count"], "livemode": false, "metadata": price["metadata"],
            "nickname": price["nickname"], "product": price["product"], "usage_type": "licensed",
        }),
        &["meter", "tiers_mode", "transform_usage", "trial_period_days"],
    )
}
