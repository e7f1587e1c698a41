//! JSON in, strictly: no number is rounded (one with a fraction is kept as it was written), no key twice, no NUL, and every
//! refusal names the place.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::fields::Fields;
use super::problem::Problem;

/// Largest body that is read: a batch of 1,000 events with metadata fits, and reading it holds no worker for long.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Longest time a body may take: a megabyte at the pace of an old modem line is not waited for.
pub const BODY_TIME: Duration = Duration::from_secs(10);

/// A JSON value as requests may carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// null.
    Null,
    /// true or false.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A number with a fraction or an exponent, `-0`, or one beyond 64 bits, as it was written.
    Decimal(String),
    /// Text, without NUL.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// An object; no key twice.
    Object(BTreeMap<String, Self>),
}

impl Json {
    /// What kind of value it is, for a sentence that says what was found.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Integer(_) | Self::Decimal(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// A request's body, read as one JSON object.
#[derive(Debug)]
pub struct JsonBody(pub Fields);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read(request).await.map(Self)
    }
}

async fn read(request: Request) -> Result<Fields, Problem> {
    must_be_json(request.headers())?;
    let bytes = read_capped(request.into_body(), BODY_BYTES_MAX).await?;
    match parse(&bytes)? {
        Json::Object(members) => Ok(Fields::new(String::new(), members)),
        other => Err(bad(format!("the body has to be a JSON object, not {}", other.kind()))),
    }
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
}

fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = |detail| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail);
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(unsupported("bodies are read as they are: leave content-encoding out"));
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(unsupported("content-type has to be application/json"))
}

/// Reads a body up to `most` bytes, whatever length it claims.
pub async fn read_capped(body: Body, most: usize) -> Result<axum::body::Bytes, Problem> {
    let read = tokio::time::timeout(BODY_TIME, Limited::new(body, most).collect());
    let Ok(read) = read.await else {
        let detail = format!("the body was not whole after {} seconds", BODY_TIME.as_secs());
        return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail));
    };
    match read {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
            let detail = format!("the body is larger than {most} bytes");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail))
        }
        Err(_) => Err(bad("the body ended before it was whole")),
    }
}

/// Parses JSON. Nesting is bounded by `serde_json`'s own limit of 128.
pub fn parse(bytes: &[u8]) -> Result<Json, Problem> {
    let place = Place { bytes, ..Place::default() };
    let mut input = serde_json::Deserializer::from_slice(bytes);
    let parsed = Strict(&place).deserialize(&mut input).and_then(|value| input.end().map(|()| value));
    parsed.map_err(|error| refusal(&error, &place))
}

fn refusal(error: &serde_json::Error, place: &Place<'_>) -> Problem {
    let reason = place.reason.borrow_mut().take();
    let problem = match reason {
        Some(reason) => bad(format!("{reason} (line {}, column {})", error.line(), error.column())),
        None => bad(format!("this is not JSON: {error}")),
    };
    match place.path.borrow().as_slice() {
        [] => problem,
        path => problem.about(path.concat()),
    }
}

/// Where in the document the parser is, and why it stopped, if that was our own reason.
#[derive(Default)]
struct Place<'b> {
    bytes: &'b [u8],
    path: RefCell<Vec<String>>,
    reason: RefCell<Option<String>>,
    /// Numbers that are no 64-bit integers, as they were written; found when the first of them is met.
    decimals: RefCell<Option<std::vec::IntoIter<&'b [u8]>>>,
}

impl Place<'_> {
    fn refuse<E: serde::de::Error>(&self, reason: String) -> E {
        let error = E::custom(&reason);
        *self.reason.borrow_mut() = Some(reason);
        error
    }

    fn text<E: serde::de::Error>(&self, text: String) -> Result<String, E> {
        if text.contains('\0') {
            return Err(self.refuse("text has to be free of NUL characters".to_owned()));
        }
        Ok(text)
    }

    /// How the number was written at which the parser is: it meets them in the document's order, as floats.
    fn decimal<E: serde::de::Error>(&self) -> Result<String, E> {
        let mut decimals = self.decimals.borrow_mut();
        let next = decimals.get_or_insert_with(|| decimals_of(self.bytes).into_iter()).next();
        let text = next.and_then(|text| std::str::from_utf8(text).ok()).map(ToOwned::to_owned);
        text.ok_or_else(|| self.refuse("this number cannot be read".to_owned()))
    }

    /// Reads a value one step further in; the step stays where an error leaves it.
    fn step<T, E>(&self, step: String, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.path.borrow_mut().push(step);
        let value = read()?;
        self.path.borrow_mut().pop();
        Ok(value)
    }
}

/// The numbers of a document, outside of its texts, that are no 64-bit integers.
fn decimals_of(bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(byte) = rest.first() {
        let length = match byte {
            b'"' => text_length(rest),
            b'-' | b'0'..=b'9' => {
                let is_of_number = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let length = rest.iter().take_while(is_of_number).count();
                let number = rest.get(..length).unwrap_or_default();
                let text = std::str::from_utf8(number).unwrap_or_default();
                if text == "-0" || (text.parse::<i64>().is_err() && text.parse::<u64>().is_err()) {
                    found.push(number);
                }
                length
            }
            _ => 1,
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    found
}

/// Bytes of the text that begins here, its quotation marks included.
fn text_length(bytes: &[u8]) -> usize {
    let mut is_escaped = false;
    let end = bytes.iter().skip(1).position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    });
    end.map_or(bytes.len(), |end| end.saturating_add(2))
}

struct Strict<'p>(&'p Place<'p>);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Json, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Json;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("text, a whole number, true, false, null, a list or an object")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Json, E> {
        self.0.decimal().map(Json::Decimal)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Json, E> {
        self.0.text(value.to_owned()).map(Json::Text)
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Json, E> {
        self.0.text(value).map(Json::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        loop {
            let step = format!("[{}]", items.len());
            match self.0.step(step, || access.next_element_seed(Strict(self.0)))? {
                Some(item) => items.push(item),
                None => return Ok(Json::List(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(key) = access.next_key::<String>()? {
            let key = self.0.text::<A::Error>(key)?;
            let dot = if self.0.path.borrow().is_empty() { "" } else { "." };
            let value = self.0.step(format!("{dot}{}", shortened(&key)), || {
                if members.contains_key(&key) {
                    return Err(self.0.refuse("this key is there twice".to_owned()));
                }
                access.next_value_seed(Strict(self.0))
            })?;
            members.insert(key, value);
        }
        Ok(Json::Object(members))
    }
}

/// Longest key that is told back in a refusal, in characters.
const KEY_SHOWN_MAX: usize = 80;

/// A key as refusals show it.
pub fn shortened(key: &str) -> String {
    key.chars().take(KEY_SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn refused(text: &str) -> (String, Option<String>) {
        let document = parse(text.as_bytes()).unwrap_err().document(None);
        assert_eq!(document["code"], "bad_request");
        let field = document.get("field").map(|field| field.as_str().unwrap().to_owned());
        (document["detail"].as_str().unwrap().to_owned(), field)
    }

    #[test]
    fn whole_documents_are_read() {
        let read = parse(br#"{"a": [1, -2, true, null, "x"], "b": {"c": 18446744073709551615}}"#).unwrap();
        let Json::Object(members) = read else { panic!("not an object") };
        let list = [Json::Integer(1), Json::Integer(-2), Json::Bool(true), Json::Null, Json::Text("x".to_owned())];
        assert_eq!(members["a"], Json::List(list.to_vec()));
        let inner = BTreeMap::from([("c".to_owned(), Json::Integer(i128::from(u64::MAX)))]);
        assert_eq!(members["b"], Json::Object(inner));
    }

    #[rstest]
    #[case::huge_exponent(r#"{"quantity": 1e400}"#, "quantity", "number out of range")]
    #[case::nan(r#"{"quantity": NaN}"#, "quantity", "this is not JSON")]
    #[case::infinity(r#"{"quantity": Infinity}"#, "quantity", "this is not JSON")]
    #[case::twice(r#"{"a": 1, "b": {"c": 1, "c": 1}}"#, "b.c", "this key is there twice")]
    #[case::twice_escaped(r#"{"key": "1", "\u006bey": "2"}"#, "key", "this key is there twice")]
    #[case::nul(r#"{"events": [{"key": "a\u0000b"}]}"#, "events[0].key", "NUL")]
    #[case::lone_surrogate(r#"{"name": "\ud800"}"#, "name", "this is not JSON")]
    fn bad_values_are_refused_at_their_place(#[case] text: &str, #[case] field: &str, #[case] detail: &str) {
        let (said, named) = refused(text);
        assert!(said.contains(detail), "{said}");
        assert_eq!(named.as_deref(), Some(field));
    }

    #[test]
    fn numbers_that_are_no_integers_are_kept_as_they_were_written() {
        let text = r#"{"b": 1.50, "a\"1.5": ["2.5\\", 1e5, -0, {"c": 18446744073709551616, "d": -7, "e": 0.1}], "f": -9223372036854775809}"#;
        let Json::Object(read) = parse(text.as_bytes()).unwrap() else { panic!("not an object") };
        let decimal = |text: &str| Json::Decimal(text.to_owned());
        assert_eq!((&read["b"], &read["f"]), (&decimal("1.50"), &decimal("-9223372036854775809")));
        let inner = [("c", decimal("18446744073709551616")), ("d", Json::Integer(-7)), ("e", decimal("0.1"))];
        let inner = Json::Object(inner.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        let list = [Json::Text("2.5\\".to_owned()), decimal("1e5"), decimal("-0"), inner];
        assert_eq!(read["a\"1.5"], Json::List(list.to_vec()));
        let whole = format!("[{}1]", "0.25,".repeat(10_000));
        assert!(matches!(parse(whole.as_bytes()).unwrap(), Json::List(items) if items[9_999] == decimal("0.25")));
    }

    #[rstest]
    #[case::empty("")]
    #[case::text("hello")]
    #[case::trailing("{} {}")]
    #[case::trailing_comma(r#"{"a": 1,}"#)]
    #[case::comment("{/* */}")]
    #[case::single_quotes("{'a': 1}")]
    fn what_is_not_json_is_refused_with_its_position(#[case] text: &str) {
        let (said, _) = refused(text);
        assert!(said.starts_with("this is not JSON: ") && said.contains("line 1 column"), "{said}");
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let (said, _) = refused(&deep);
        assert!(said.contains("recursion limit exceeded"), "{said}");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert!(parse(b"{\"a\": \"\xff\xfe\"}").is_err());
        assert!(parse(b"\xef\xbb\xbf{}").is_err());
    }

    #[test]
    fn a_media_type_other_than_json_is_refused() {
        let headers = |name, value| HeaderMap::from_iter([(name, axum::http::HeaderValue::from_static(value))]);
        assert!(must_be_json(&headers(CONTENT_TYPE, "application/json")).is_ok());
        assert!(must_be_json(&headers(CONTENT_TYPE, "Application/JSON; charset=utf-8")).is_ok());
        for wrong in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"] {
            let problem = must_be_json(&headers(CONTENT_TYPE, wrong)).unwrap_err();
            assert_eq!(problem.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        assert!(must_be_json(&HeaderMap::new()).is_err());
        let mut zipped = headers(CONTENT_TYPE, "application/json");
        zipped.insert(CONTENT_ENCODING, axum::http::HeaderValue::from_static("gzip"));
        assert!(must_be_json(&zipped).is_err());
    }
}
