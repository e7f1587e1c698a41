//! A page of a list whose items are kept as the bytes they came in.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::WireError;
use super::reader::Node;
use crate::stripe::client::StripeId;

/// One page; each item as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct RawList {
    /// This page's items.
    pub data: Vec<RawItem>,
    /// What the next page starts after; `None`: this is the last.
    pub next: Option<StripeId>,
}

/// An item of a list: its bytes, and what is needed to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct RawItem {
    /// Its id.
    pub id: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Its bytes, untouched.
    pub bytes: Vec<u8>,
    /// The same, read.
    pub value: Value,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    has_more: bool,
}

impl RawList {
    /// Reads a page. One without `data` or `has_more`, or that goes on from nothing, is no list: taken for the last page of
    /// one, it would say that what was looked for is not there.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, WireError> {
        let page: Page<'_> = serde_json::from_slice(bytes)
            .map_err(|error| WireError::NotJson { line: error.line(), column: error.column() })?;
        let item = |raw: &RawValue| {
            let bytes = raw.get().as_bytes().to_vec();
            let value = super::parse(&bytes)?;
            let node = Node::root(&value)?;
            let (id, created) = (node.text(&["id"])?, node.time(&["created"])?);
            Ok(RawItem { id, created, bytes, value })
        };
        let data = page.data.into_iter().map(item).collect::<Result<Vec<RawItem>, WireError>>()?;
        let last = data.last().and_then(|item| StripeId::new(item.id.as_deref()?).ok());
        let nothing = || WireError::WrongType {
            field: "data".to_owned(),
            expected: "a page to go on from",
            found: "one without a last id",
        };
        let next = if page.has_more { Some(last.ok_or_else(nothing)?) } else { None };
        Ok(Self { data, next })
    }

    /// The first item that fits.
    pub fn find(&self, fits: impl Fn(&Value) -> bool) -> Option<&Value> {
        self.data.iter().map(|item| &item.value).find(|value| fits(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_an_item_are_untouched() {
        let page = br#"{"object":"list","data":[{"id":"evt_1","created":1790000000, "b":1.50,"a":"\u00e9"},{"x":{}}],"has_more":false}"#;
        let list = RawList::from_slice(page).unwrap();
        assert_eq!(list.next, None);
        assert_eq!(list.data[0].bytes, br#"{"id":"evt_1","created":1790000000, "b":1.50,"a":"\u00e9"}"#);
        assert_eq!(list.data[0].created, Timestamp::from_second(1_790_000_000).ok());
        assert_eq!((list.data[1].id.as_deref(), list.data[1].bytes.as_slice()), (None, br#"{"x":{}}"#.as_slice()));
    }

    #[test]
    fn the_next_page_starts_after_the_last_item_or_the_page_is_refused() {
        let page = |data: &str, more: bool| format!(r#"{{"data":{data},"has_more":{more}}}"#).into_bytes();
        let next = |page: Vec<u8>| RawList::from_slice(&page).map(|list| list.next);
        let after = StripeId::new("in_2").unwrap();
        assert_eq!(next(page(r#"[{"id":"in_1"},{"id":"in_2"}]"#, true)), Ok(Some(after)));
        assert_eq!(next(page(r#"[{"id":"in_1"}]"#, false)), Ok(None));
        for endless in ["[]", "[{}]", r#"[{"id":"in_1"},{"id":"a/b"}]"#] {
            assert!(next(page(endless, true)).is_err(), "{endless}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for wrong in [
            &b"{}"[..],
            b"[]",
            b"{\"data\":[]}",
            b"{\"data\":{}}",
            b"{\"data\":[1]}",
            b"{\"data\":[{\"id\":1}]}",
            b"{\"data\":[",
            b"",
        ] {
            assert!(RawList::from_slice(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
