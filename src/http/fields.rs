//! The members of a request, taken one by one by readers that know their type; whatever is left over is refused by name.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, RawQuery};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::json::{Json, shortened};
use super::problem::Problem;

/// Most parameters of a query: no list takes more than seven.
const QUERY_PARAMETERS_MAX: usize = 50;

/// Members not yet taken, and the names that were asked for.
#[derive(Debug)]
pub struct Fields {
    /// Path of the object in the body, with a point behind it; empty at the top.
    prefix: String,
    left: BTreeMap<String, Json>,
    known: Vec<&'static str>,
}

/// Why a value is not what its field needs; the field's name is added.
pub type Reading<T> = Result<T, String>;

impl Fields {
    /// The members of an object at a path: empty, or a path without a last point.
    pub fn new(path: String, members: BTreeMap<String, Json>) -> Self {
        let prefix = if path.is_empty() { path } else { path + "." };
        Self { prefix, left: members, known: Vec::new() }
    }

    /// The path of a member.
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A refusal of a member.
    pub fn refuse(&self, name: &str, detail: impl std::fmt::Display) -> Problem {
        Problem::field(self.path(name), format!("`{}` {detail}", self.path(name)))
    }

    /// Is a member there that nobody has taken yet, and not null?
    pub fn has(&self, name: &str) -> bool {
        self.left.get(name).is_some_and(|value| *value != Json::Null)
    }

    /// The member itself; null stays null.
    fn take(&mut self, name: &'static str) -> Option<Json> {
        self.known.push(name);
        self.left.remove(name)
    }

    /// A member that may be absent or null.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Json) -> Reading<T>,
    ) -> Result<Option<T>, Problem> {
        Ok(self.clearable(name, read)?.flatten())
    }

    /// A member that may be absent, or null to clear what it stands for.
    pub fn clearable<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Json) -> Reading<T>,
    ) -> Result<Option<Option<T>>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Null) => Ok(Some(None)),
            Some(value) => read(value).map(|value| Some(Some(value))).map_err(|detail| self.refuse(name, detail)),
        }
    }

    /// A member that has to be there.
    pub fn required<T>(&mut self, name: &'static str, read: impl FnOnce(Json) -> Reading<T>) -> Result<T, Problem> {
        self.optional(name, read)?.ok_or_else(|| self.refuse(name, "is missing"))
    }

    /// An object inside, with its own fields.
    pub fn object(&mut self, name: &'static str) -> Result<Option<Self>, Problem> {
        let path = self.path(name);
        let read = |value| match value {
            Json::Object(members) => Ok(Self::new(path, members)),
            other => Err(format!("has to be an object, not {}", other.kind())),
        };
        self.optional(name, read)
    }

    /// Refuses what nobody asked for.
    pub fn done(self) -> Result<(), Problem> {
        let Some(name) = self.left.keys().next() else { return Ok(()) };
        let path = self.path(&shortened(name));
        Err(Problem::field(path.as_str(), format!("`{path}` is not known here; known are {}", self.known.join(", "))))
    }
}

/// The parameters of a query, read like a body's members. None is known twice.
#[derive(Debug)]
pub struct QueryFields(pub Fields);

impl<S: Send + Sync> FromRequestParts<S> for QueryFields {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let RawQuery(query) = RawQuery::from_request_parts(parts, state).await.unwrap_or(RawQuery(None));
        query_members(query.as_deref().unwrap_or_default())
            .map(|members| Self(Fields::new(String::new(), members)))
            .map_err(IntoResponse::into_response)
    }
}

fn query_members(query: &str) -> Result<BTreeMap<String, Json>, Problem> {
    let mut members = BTreeMap::new();
    let uri = format!("/?{query}").parse::<axum::http::Uri>();
    let bad = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail.to_owned());
    let uri = uri.map_err(|_| bad("the query cannot be read"))?;
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri);
    for (name, value) in pairs.map_err(|_| bad("the query cannot be read"))?.0 {
        if value.contains('\0') || name.contains('\0') {
            return Err(Problem::field(shortened(&name), "text has to be free of NUL characters"));
        }
        if members.len() >= QUERY_PARAMETERS_MAX {
            return Err(bad("the query has too many parameters"));
        }
        if members.insert(name.clone(), Json::Text(value)).is_some() {
            let name = shortened(&name);
            return Err(Problem::field(name.as_str(), format!("`{name}` is there twice")));
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::super::read;
    use super::*;

    fn fields(text: &str) -> Fields {
        let Json::Object(members) = parse(text.as_bytes()).unwrap() else { panic!("not an object") };
        Fields::new(String::new(), members)
    }

    fn said(problem: &Problem) -> (String, String) {
        let document = problem.document(None);
        let text = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
        (text("field"), text("detail"))
    }

    #[test]
    fn leftovers_are_refused_with_what_is_known() {
        let mut body = fields(r#"{"customer": "ada", "deduct": {"key": "1"}}"#);
        body.required("customer", read::external_id).unwrap();
        body.optional("feature", read::feature).unwrap();
        let (field, detail) = said(&body.done().unwrap_err());
        assert_eq!(field, "deduct");
        assert_eq!(detail, "`deduct` is not known here; known are customer, feature");
    }

    #[test]
    fn a_missing_member_is_named_and_null_is_missing() {
        for text in ["{}", r#"{"customer": null}"#] {
            let (field, detail) = said(&fields(text).required("customer", read::external_id).unwrap_err());
            assert_eq!((field.as_str(), detail.as_str()), ("customer", "`customer` is missing"));
        }
    }

    #[test]
    fn inner_members_are_named_with_their_path() {
        let mut body = fields(r#"{"paid": {"amount": 20}}"#);
        let mut paid = body.object("paid").unwrap().unwrap();
        let (field, _) = said(&paid.required("amount", read::text(20)).unwrap_err());
        assert_eq!(field, "paid.amount");
        let (field, detail) = said(&fields(r#"{"paid": []}"#).object("paid").unwrap_err());
        assert_eq!((field.as_str(), detail.as_str()), ("paid", "`paid` has to be an object, not a list"));
    }

    #[test]
    fn null_clears_and_absence_leaves() {
        let mut body = fields(r#"{"name": null}"#);
        assert_eq!(body.clearable("name", read::text(9)).unwrap(), Some(None));
        assert_eq!(body.clearable("email", read::text(9)).unwrap(), None);
    }

    #[test]
    fn queries_are_read_decoded_and_once() {
        let members = query_members("feature=a%20b&limit=5").unwrap();
        assert_eq!(members["feature"], Json::Text("a b".to_owned()));
        assert_eq!(said(&query_members("limit=5&limit=6").unwrap_err()).0, "limit");
        assert!(query_members("kind=%00").is_err());
        assert!(query_members("").unwrap().is_empty());
        let many: Vec<String> = (0..60).map(|n| format!("p{n}=1")).collect();
        assert!(query_members(&many.join("&")).is_err());
    }
}
