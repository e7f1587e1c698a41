//! `expand[]`: an id becomes the object it names, or a field that is only sent when asked for appears.

use serde_json::{Value, json};

use super::objects::embedded_list;
use super::refusal::Refusal;
use super::state::{Kind, State, text};

/// Stripe's limit of steps in one path.
const DEPTH_MAX: usize = 4;
/// Line items a session carries when they are expanded; the rest is paged.
const LINE_ITEMS_EMBEDDED: usize = 10;

/// Expands every path in an answer.
pub fn expand(state: &State, mut answer: Value, paths: &[String]) -> Result<Value, Refusal> {
    for path in paths {
        let steps: Vec<&str> = path.split('.').collect();
        // A list's own `data` does not count.
        let depth = steps.len() - usize::from(steps.first() == Some(&"data"));
        if depth > DEPTH_MAX {
            return Err(
                Refusal::invalid("You cannot expand more than 4 levels of a property.").with("param", json!("expand"))
            );
        }
        walk(state, &mut answer, &steps).ok_or_else(|| {
            Refusal::invalid(&format!("This property cannot be expanded ({path}).")).with("param", json!("expand"))
        })?;
    }
    Ok(answer)
}

fn walk(state: &State, value: &mut Value, steps: &[&str]) -> Option<()> {
    let Some((field, rest)) = steps.split_first() else { return Some(()) };
    if let Value::Array(values) = value {
        return values.iter_mut().try_for_each(|inner| walk(state, inner, steps));
    }
    if value.is_null() {
        return Some(());
    }
    if value.get(*field).is_none() {
        let included = include(state, value, field)?;
        value[*field] = included;
    }
    let inner = value.get_mut(*field)?;
    match inner.as_str().map(str::to_owned) {
        Some(id) => {
            let kind = Kind::of_id(&id).or_else(|| (*field == "product").then_some(Kind::Product))?;
            *inner = state.get(kind, &id)?.object.clone();
        }
        // A plain value, or a list to no purpose: only objects and nulls are passed through.
        None if inner.is_number() || inner.is_boolean() => return None,
        None => {}
    }
    walk(state, inner, rest)
}

fn include(state: &State, object: &Value, field: &str) -> Option<Value> {
    let id = text(object, "id");
    match (text(object, "object"), field) {
        ("checkout.session", "line_items") => {
            let items = state.get(Kind::Session, id)?.extra.get("line_items")?.as_array()?;
            let first: Vec<Value> = items.iter().take(LINE_ITEMS_EMBEDDED).cloned().collect();
            let mut list = embedded_list(&first, &format!("/v1/checkout/sessions/{id}/line_items"));
            list["has_more"] = json!(items.len() > LINE_ITEMS_EMBEDDED);
            Some(list)
        }
        ("invoice", "payments") => {
            let payments = state.all(Kind::InvoicePayment).map(|record| record.object.clone());
            let payments = payments.filter(|payment| text(payment, "invoice") == id).collect::<Vec<Value>>();
            Some(embedded_list(&payments, &format!("/v1/invoice_payments?invoice={id}")))
        }
        // Older shapes have these; the newest does not, and the edge writes them from here.
        (_, _) => None,
    }
}
