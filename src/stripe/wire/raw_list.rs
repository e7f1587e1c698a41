//! A page of a list whose items are kept as the bytes they came in.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::WireError;
use super::reader::Node;

/// One page; each item as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct RawList {
    /// This page's items.
    pub data: Vec<RawItem>,
    /// Whether another page follows; asked for with the last item's id.
    pub has_more: bool,
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
    #[serde(default)]
    has_more: bool,
}

impl RawList {
    /// Reads a page; one without `data` is no list.
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
        let data = page.data.into_iter().map(item).collect::<Result<_, WireError>>()?;
        Ok(Self { data, has_more: page.has_more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_an_item_are_untouched() {
        let page = br#"{"object":"list","data":[{"id":"evt_1","created":1790000000, "b":1.50,"a":"\u00e9"},{"x":{}}],"has_more":true}"#;
        let list = RawList::from_slice(page).unwrap();
        assert!(list.has_more);
        assert_eq!(list.data[0].bytes, br#"{"id":"evt_1","created":1790000000, "b":1.50,"a":"\u00e9"}"#);
        assert_eq!(list.data[0].created, Timestamp::from_second(1_790_000_000).ok());
        assert_eq!((list.data[1].id.as_deref(), list.data[1].bytes.as_slice()), (None, br#"{"x":{}}"#.as_slice()));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for wrong in
            [&b"{}"[..], b"[]", b"{\"data\":{}}", b"{\"data\":[1]}", b"{\"data\":[{\"id\":1}]}", b"{\"data\":[", b""]
        {
            assert!(RawList::from_slice(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
