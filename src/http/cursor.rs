//! Pages: an opaque cursor that holds the key of the last row, and the limit. Stable under inserts.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};

use super::fields::{Fields, Reading};
use super::json::Json;
use super::problem::Problem;
use super::read;

/// Rows of a page when nothing is said.
pub const LIMIT_DEFAULT: i32 = 50;
/// Most rows of a page.
pub const LIMIT_MAX: i32 = 500;
/// Longest cursor that is looked at: a Stripe event's key, the longest, stays below it.
pub const CURSOR_MAX: usize = 512;

/// Which page is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<K> {
    /// After the row with this key.
    pub after: Option<K>,
    limit: i32,
}

impl<K: FromStr + Display> Page<K> {
    /// Takes `cursor` and `limit` from a query.
    pub fn take(query: &mut Fields) -> Result<Self, Problem> {
        let after = query.optional("cursor", decode::<K>)?;
        let limit = query.optional("limit", read::integer(1, LIMIT_MAX))?.unwrap_or(LIMIT_DEFAULT);
        Ok(Self { after, limit })
    }

    /// Rows to ask the store for: one more than the page, which tells whether there is another page.
    pub fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// The page's body: its rows, and the cursor of the next page.
    pub fn body<T>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> K, row: impl Fn(&T) -> Value) -> Value {
        let size = usize::try_from(self.limit).unwrap_or_default();
        let more = rows.len() > size;
        rows.truncate(size);
        let next = rows.last().filter(|_| more).map(|last| encode(&key(last)));
        json!({ "data": rows.iter().map(row).collect::<Vec<_>>(), "next_cursor": next })
    }
}

fn encode(key: &impl Display) -> String {
    URL_SAFE_NO_PAD.encode(key.to_string())
}

fn decode<K: FromStr>(value: Json) -> Reading<K> {
    let text = read::text(CURSOR_MAX)(value)?;
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| text.parse().ok());
    key.ok_or_else(|| "is not a cursor of this list: take it from `next_cursor`, or leave it out".to_owned())
}

/// A value as JSON; what we answer with always is.
pub fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::ids::GrantId;

    fn page(members: &[(&str, &str)]) -> Result<Page<GrantId>, Problem> {
        let members: BTreeMap<String, Json> =
            members.iter().map(|(name, text)| ((*name).to_owned(), Json::Text((*text).to_owned()))).collect();
        Page::take(&mut Fields::new(String::new(), members))
    }

    #[test]
    fn a_cursor_comes_back_as_the_key_it_was_made_from() {
        let id = GrantId::from_uuid(uuid::Uuid::from_u128(7));
        let asked = page(&[("cursor", &encode(&id)), ("limit", "2")]).unwrap();
        assert_eq!(asked.after, Some(id));
        assert_eq!(asked.rows(), 3);
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let wrong = encode(&"wallet_00000000000000000000000000000007");
        for cursor in ["", "!!", "Zm9v", wrong.as_str(), &"A".repeat(600)] {
            let document = page(&[("cursor", cursor)]).unwrap_err().document(None);
            assert_eq!(document["field"], "cursor", "{cursor}");
            assert_eq!(document["code"], "bad_request");
        }
        for limit in ["0", "501", "-1", "many", "1.0"] {
            assert_eq!(page(&[("limit", limit)]).unwrap_err().document(None)["field"], "limit");
        }
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let asked = page(&[("limit", "2")]).unwrap();
        let ids: Vec<GrantId> = (1..=3).map(|n| GrantId::from_uuid(uuid::Uuid::from_u128(n))).collect();
        let body = asked.body(ids.clone(), |id| *id, value);
        assert_eq!(body["data"].as_array().unwrap().len(), 2);
        assert_eq!(body["next_cursor"], encode(&ids[1]));
        let body = asked.body(ids[..2].to_vec(), |id| *id, value);
        assert_eq!(body["next_cursor"], Value::Null);
        let body = asked.body(Vec::<GrantId>::new(), |id| *id, value);
        assert_eq!(body, json!({ "data": [], "next_cursor": null }));
    }
}
