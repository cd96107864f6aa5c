//! What was seen to a schema that fixes columns and asks for nothing else: for a pipeline that nobody wrote one for.
//!
//! What is merely new must not be refused, so nothing is required, everything may be null, objects are open, and there are
//! no enumerations and no ranges. What stands in the schema is what columns are made of: types, the formats of dates and
//! instants, decimals. A field whose type cannot be told yet, as it was null or empty in all samples, is left out: it is
//! declared once it can ([`extend`]). Nor is one whose name is a value (an address of e-mail, an id): a column's name is for
//! everybody to see. What looks as if it were about a person is marked as sensitive, for nobody looks at it.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::node::{Elements, Members, Named, Node};
use super::number::Numbers;
use super::personal::{is_personal_name, is_untold_name};
use super::propose::leaf::{FORMAT_MIN, decimal_for, personal_number, personal_text};
use super::propose::{DIALECT, is_map, kinds};
use super::text::{Format, Texts};
use crate::schema::columns::{NESTING_MAX, columns};
use crate::schema::{FINER, Language, SENSITIVE, STRUCT, Schema};
use crate::value::Pointer;

type Keywords = Map<String, Json>;

/// An object within the event that has more names is kept as JSON text: the columns are for the event's own.
const STRUCT_NAMES_MAX: usize = 500;

pub(super) fn fixed(root: &Node, title: &str) -> Json {
    let properties = match &root.members {
        Members::Named(named) => properties(named, 1),
        // There are too many names: they are no columns.
        Members::Any(_) | Members::Unseen => Map::new(),
    };
    json!({ "$schema": DIALECT, "title": title, "type": "object", "properties": properties })
}

fn properties(named: &Named, level: usize) -> Keywords {
    let told = named.iter().filter(|(name, _)| !is_untold_name(name));
    told.filter_map(|(name, node)| Some((name.to_owned(), Json::Object(place(node, name, level)?)))).collect()
}

fn nullable(name: &str) -> Keywords {
    Map::from_iter([("type".to_owned(), json!([name, "null"]))])
}

/// What is kept as JSON text, whatever it is.
fn anything() -> Keywords {
    Map::new()
}

/// The keywords of a place, as deep as its column is; `None`: its type cannot be told.
fn place(node: &Node, name: &str, level: usize) -> Option<Keywords> {
    Some(match kinds(node).as_slice() {
        [] => return None,
        [(_, "boolean")] => nullable("boolean"),
        [(_, "string")] => string(&node.texts, name),
        [(_, kind @ ("integer" | "number"))] => number(&node.numbers, kind, name),
        [(_, "object")] => return object(node, level),
        [(_, "array")] => return array(node, level),
        _ => anything(),
    })
}

fn string(texts: &Texts, name: &str) -> Keywords {
    let mut keywords = nullable("string");
    if personal_text(texts).is_some() || is_personal_name(name) {
        keywords.insert(SENSITIVE.to_owned(), json!(true));
    }
    let Some((format, fits)) = texts.likeliest() else { return keywords };
    let is_sure = fits == texts.count && fits >= FORMAT_MIN && texts.unheld == 0;
    // Of other formats columns are text as well.
    if is_sure && matches!(format, Format::DateTime | Format::Date) {
        keywords.insert("format".to_owned(), json!(format.as_str()));
    }
    if is_sure && format == Format::DateTime {
        keywords.insert(FINER.to_owned(), json!(true));
    }
    keywords
}

fn number(numbers: &Numbers, kind: &str, name: &str) -> Keywords {
    let mut keywords = nullable(kind);
    if personal_number(numbers).is_some() || is_personal_name(name) {
        keywords.insert(SENSITIVE.to_owned(), json!(true));
    }
    let is_wide = if numbers.fractions == 0 { numbers.big > 0 } else { numbers.lossy > 0 };
    if let Some((precision, scale)) = decimal_for(numbers).filter(|_| is_wide) {
        keywords.insert("format".to_owned(), json!("decimal"));
        keywords.insert("precision".to_owned(), json!(precision));
        keywords.insert("scale".to_owned(), json!(scale));
    }
    keywords
}

fn object(node: &Node, level: usize) -> Option<Keywords> {
    let named = match &node.members {
        Members::Named(named) if named.are_values() => return Some(nullable("object")),
        Members::Named(named) if named.len() == 0 => return None,
        Members::Named(named) if named.len() > STRUCT_NAMES_MAX => return Some(nullable("object")),
        Members::Named(named) if !is_map(named, node.objects) && level < NESTING_MAX => named,
        _ => return Some(nullable("object")),
    };
    let properties = properties(named, level + 1);
    if properties.is_empty() {
        return None;
    }
    let mut keywords = nullable("object");
    keywords.insert(STRUCT.to_owned(), json!(true));
    keywords.insert("properties".to_owned(), Json::Object(properties));
    Some(keywords)
}

fn array(node: &Node, level: usize) -> Option<Keywords> {
    let items = match &node.elements {
        Elements::None => return None,
        Elements::Of(elements) if level < NESTING_MAX => place(elements, "", level + 1)?,
        Elements::Of(_) | Elements::Unseen => return Some(nullable("array")),
    };
    let mut keywords = nullable("array");
    keywords.insert("items".to_owned(), Json::Object(items));
    Some(keywords)
}

/// Declares the field at `path`, as issues name places, in `schema`, as it is in `learned`. `false`: there it is not known, or
/// `schema` has no object that could have it.
pub fn extend(schema: &mut Json, learned: &Json, path: &str) -> bool {
    let Ok(pointer) = Pointer::parse(path) else { return false };
    let Some((name, above)) = pointer.segments().split_last() else { return false };
    let (mut to, mut from) = (schema, learned);
    for segment in above {
        let keyword = if segment == "[*]" && to.get("items").is_some() { "items" } else { "properties" };
        let below = |place: &Json| match keyword {
            "items" => place.get("items").is_some(),
            _ => place.get("properties").is_some_and(|all| all.get(segment).is_some()),
        };
        if !below(to) || !below(from) {
            return false;
        }
        (to, from) = (&mut to[keyword], &from[keyword]);
        if keyword == "properties" {
            (to, from) = (&mut to[segment.as_str()], &from[segment.as_str()]);
        }
    }
    let Some(found) = from.get("properties").and_then(|all| all.get(name)) else { return false };
    let Some(properties) = to.get_mut("properties").and_then(Json::as_object_mut) else { return false };
    if properties.contains_key(name) {
        return false;
    }
    properties.insert(name.clone(), found.clone());
    true
}

/// `schema`, without those properties of the event that cannot be columns beside the ones before them; and their names.
pub fn with_columns(schema: Json) -> (Json, Vec<String>) {
    if gives_columns(&schema) {
        return (schema, Vec::new());
    }
    let (mut whole, mut left_out) = (schema, Vec::new());
    let Some(Json::Object(all)) = whole.get_mut("properties").map(Json::take) else { return (whole, left_out) };
    whole["properties"] = json!({});
    add(&mut whole, &all.into_iter().collect::<Vec<_>>(), &mut left_out);
    (whole, left_out)
}

/// Declares those of `properties` that can be columns beside the ones before them, by halves: most can.
fn add(schema: &mut Json, properties: &[(String, Json)], left_out: &mut Vec<String>) {
    let mut wider = schema.clone();
    properties.iter().for_each(|(name, property)| wider["properties"][name.as_str()] = property.clone());
    match properties {
        _ if gives_columns(&wider) => *schema = wider,
        [] => {}
        [(name, _)] => left_out.push(name.clone()),
        _ => {
            let (first, second) = properties.split_at(properties.len() / 2);
            add(schema, first, left_out);
            add(schema, second, left_out);
        }
    }
}

fn gives_columns(schema: &Json) -> bool {
    let read = |_: &Path| Ok(schema.to_string().into_bytes());
    let loaded = Schema::load(&Language::JsonSchema, Path::new("/learned.json"), "learned", 1, &read);
    loaded.is_ok_and(|schema| columns(&schema).is_ok())
}
