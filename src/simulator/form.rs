//! Stripe's form encoding: `a[b][0]=c` becomes nested values, and back to names for messages.

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// Parameters of one request; the official SDKs stay far below.
const PARAMETERS_MAX: usize = 1_000;
/// Brackets in one name; the deepest documented parameter has six.
const DEPTH_MAX: usize = 8;

/// One `name=value` of a form, its name split at the brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// `a[b][0]` as `["a", "b", "0"]`; `a[]` ends in an empty segment.
    pub segments: Vec<String>,
    /// The decoded value.
    pub value: String,
}

impl Pair {
    /// The name as it is written in messages.
    pub fn name(&self) -> String {
        let mut name = String::new();
        for (place, segment) in self.segments.iter().enumerate() {
            if place == 0 {
                name.push_str(segment);
            } else {
                name.push('[');
                name.push_str(segment);
                name.push(']');
            }
        }
        name
    }
}

/// Splits a query or body into its pairs.
pub fn pairs(encoded: &str) -> Result<Vec<Pair>, Refusal> {
    let mut found = Vec::new();
    for part in encoded.split('&').filter(|part| !part.is_empty()) {
        if found.len() == PARAMETERS_MAX {
            return Err(Refusal::invalid(&format!("More than {PARAMETERS_MAX} parameters were sent.")));
        }
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let name = percent_decode(name)?;
        let segments = split_name(&name)
            .ok_or_else(|| Refusal::invalid(&format!("Invalid array or hash syntax in parameter: {name}")))?;
        found.push(Pair { segments, value: percent_decode(value)? });
    }
    Ok(found)
}

/// The pairs as nested values: objects, arrays where every key is a number, strings as leaves.
pub fn nest(pairs: &[Pair]) -> Result<Value, Refusal> {
    let mut root = Value::Object(Map::new());
    for pair in pairs {
        insert(&mut root, &pair.segments, &pair.value)
            .ok_or_else(|| Refusal::invalid(&format!("Parameter given twice or in two forms: {}", pair.name())))?;
    }
    Ok(arrays(root))
}

fn insert(place: &mut Value, segments: &[String], value: &str) -> Option<()> {
    let (first, rest) = segments.split_first()?;
    let object = place.as_object_mut()?;
    let key = if first.is_empty() { object.len().to_string() } else { first.clone() };
    if rest.is_empty() {
        return object.insert(key, Value::String(value.to_owned())).is_none().then_some(());
    }
    insert(object.entry(key).or_insert_with(|| Value::Object(Map::new())), rest, value)
}

fn arrays(value: Value) -> Value {
    let Value::Object(object) = value else { return value };
    let numbered = !object.is_empty() && object.keys().all(|key| key.bytes().all(|byte| byte.is_ascii_digit()));
    if !numbered {
        return Value::Object(object.into_iter().map(|(key, inner)| (key, arrays(inner))).collect());
    }
    let mut entries: Vec<(String, Value)> = object.into_iter().collect();
    // Numbers of equal length order as text; a shorter one is smaller.
    entries.sort_by(|(left, _), (right, _)| (left.len(), left).cmp(&(right.len(), right)));
    Value::Array(entries.into_iter().map(|(_, inner)| arrays(inner)).collect())
}

fn split_name(name: &str) -> Option<Vec<String>> {
    let (head, mut rest) = name.split_at(name.find('[').unwrap_or(name.len()));
    if head.is_empty() || head.contains(']') {
        return None;
    }
    let mut segments = vec![head.to_owned()];
    while !rest.is_empty() {
        let (segment, after) = rest.strip_prefix('[')?.split_once(']')?;
        if segment.contains('[') || segments.len() == DEPTH_MAX {
            return None;
        }
        segments.push(segment.to_owned());
        rest = after;
    }
    Some(segments)
}

fn percent_decode(text: &str) -> Result<String, Refusal> {
    let refused = || Refusal::invalid("Invalid percent-encoding or UTF-8 in a parameter.");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (Some(high), Some(low)) = (rest.next(), rest.next()) else { return Err(refused()) };
                let mut decoded = [0_u8];
                hex::decode_to_slice([high, low], &mut decoded).map_err(|_| refused())?;
                bytes.push(decoded[0]);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_| refused())
}
