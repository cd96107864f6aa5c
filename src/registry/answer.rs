//! What a registry answers. A verdict is only what it says in its own words; all else is trouble.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// What it is asked for, in its own words first.
pub(super) const MEDIA_TYPES: &str = "application/vnd.schemaregistry.v1+json, application/json";

/// What there is no schema, subject or version by.
const NOT_FOUND: [u64; 3] = [40401, 40402, 40403];

/// What a schema is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Avro,
    Protobuf,
    Json,
}

/// No answer that can be used. Ours to wait for, or to put right; never an event's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    asked: Asked,
    reason: String,
}

/// Where the trouble is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Registry,
    /// It does not take who we are.
    Login,
    Secret,
    Schema,
}

impl Trouble {
    pub(super) fn new(asked: Asked, reason: impl Into<String>) -> Self {
        Self { asked, reason: reason.into() }
    }

    /// The same, of the registry at `url`.
    pub(super) fn of(self, url: &str) -> Self {
        Self { reason: format!("{url}: {}", self.reason), ..self }
    }

    /// Nothing changes until somebody puts it right.
    pub fn needs_a_person(&self) -> bool {
        matches!(self.asked, Asked::Login | Asked::Secret)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        f.write_str(match self.asked {
            Asked::Registry => ": see that [registry] names it, and that it is there",
            Asked::Login => ": put right the user and the password, or the token, of [registry]",
            Asked::Secret => ": see that we may read it",
            Asked::Schema => ": look at the schema in the registry",
        })
    }
}

impl std::error::Error for Trouble {}

/// A body that is understood.
pub trait Read: Sized {
    fn read(body: Value) -> Option<Self>;
}

/// A schema.
#[derive(Clone, Debug)]
pub struct SchemaAnswer {
    pub kind: Kind,
    pub text: String,
    pub references: Vec<Reference>,
}

/// A schema that one refers to, by its own name for it.
#[derive(Clone, Debug, Deserialize)]
pub struct Reference {
    pub name: String,
    pub subject: String,
    pub version: i64,
}

impl Read for SchemaAnswer {
    fn read(body: Value) -> Option<Self> {
        let kind = match body.get("schemaType") {
            None => Kind::Avro,
            Some(kind) => match kind.as_str()? {
                "AVRO" => Kind::Avro,
                "PROTOBUF" => Kind::Protobuf,
                "JSON" => Kind::Json,
                _ => return None,
            },
        };
        let references = match body.get("references") {
            None | Some(Value::Null) => Vec::new(),
            Some(references) => Vec::<Reference>::deserialize(references).ok()?,
        };
        Some(Self { kind, text: body.get("schema")?.as_str()?.to_owned(), references })
    }
}

impl Read for Vec<String> {
    fn read(body: Value) -> Option<Self> {
        Self::deserialize(body).ok()
    }
}

/// What it answered. `None`: it says that there is nothing of that name.
///
/// # Errors
/// [`Trouble`]: the answer is none that a registry gives.
pub fn read<T: Read>(status: u16, body: &[u8]) -> Result<Option<T>, Trouble> {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let code = json.as_ref().and_then(|json| json.get("error_code")).and_then(Value::as_u64);
    let odd = || Trouble::new(Asked::Registry, format!("it answered {status}, and not as a schema registry does"));
    match (status, code) {
        (200, _) => json.and_then(T::read).map(Some).ok_or_else(odd),
        (404, Some(code)) if NOT_FOUND.contains(&code) => Ok(None),
        (401 | 403, _) => Err(Trouble::new(Asked::Login, format!("it answered {status}"))),
        (300..=399, _) => Err(Trouble::new(Asked::Registry, format!("it answered {status}, to look elsewhere"))),
        (500..=599, _) => Err(Trouble::new(Asked::Registry, format!("it answered {status}"))),
        _ => Err(odd()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_registry_says_in_its_own_words_is_a_verdict() {
        let read = |status, body: &str| read::<SchemaAnswer>(status, body.as_bytes());
        let known = read(200, r#"{"schema":"{}","schemaType":"JSON","references":[]}"#).expect("an answer");
        assert_eq!(known.map(|schema| (schema.kind, schema.text)), Some((Kind::Json, "{}".to_owned())));
        let avro = read(200, r#"{"schema":"\"string\""}"#).expect("an answer").expect("a schema");
        assert_eq!(avro.kind, Kind::Avro, "what says nothing is Avro");
        assert!(read(404, r#"{"error_code":40403,"message":"Schema 7 not found"}"#).expect("an answer").is_none());
        for (status, body) in [
            (404, "<html>not found</html>"),
            (404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#),
            (200, "<html>sign in</html>"),
            (200, r#"{"schema":"{}","schemaType":"XML"}"#),
            (200, r#"{"schema":7}"#),
            (200, r#"{"schema":"{}","#),
            (200, "[]"),
            (204, ""),
            (302, ""),
            (401, r#"{"error_code":40101}"#),
            (429, ""),
            (500, r#"{"error_code":50001}"#),
            (503, "busy"),
        ] {
            assert!(read(status, body).is_err(), "{status} {body}");
        }
        assert!(read(403, "").expect_err("no answer").needs_a_person());
        assert!(!read(503, "").expect_err("no answer").needs_a_person());
    }
}
