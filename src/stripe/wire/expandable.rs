//! A reference to another object: its id, or the object itself where Stripe expanded it.

use serde_json::{Map, Value};

use super::Wire;
use super::reader::{Node, WireError};

/// An id, or an object in its place.
#[derive(Clone, Debug, PartialEq)]
pub enum Expandable {
    /// Only the id.
    Id(String),
    /// The object, which carries its id.
    Object {
        /// The object's id.
        id: String,
        /// The object as sent.
        object: Map<String, Value>,
    },
}

impl Expandable {
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(id) => Some(Self::Id(id.clone())),
            Value::Object(object) => {
                let id = object.get("id")?.as_str()?.to_owned();
                Some(Self::Object { id, object: object.clone() })
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
        }
    }

    /// The id, in either form.
    pub fn id(&self) -> &str {
        match self {
            Self::Id(id) | Self::Object { id, .. } => id,
        }
    }

    /// The id, in either form, without a copy.
    pub fn into_id(self) -> String {
        match self {
            Self::Id(id) | Self::Object { id, .. } => id,
        }
    }

    /// The object, if it was expanded.
    pub fn node(&self) -> Option<Node<'_>> {
        match self {
            Self::Id(_) => None,
            Self::Object { object, .. } => Some(Node::over(object)),
        }
    }

    /// The object read as what it is, if it was expanded.
    pub fn read<T: Wire>(&self) -> Result<Option<T>, WireError> {
        self.node().map(|node| T::read(&node)).transpose()
    }
}
