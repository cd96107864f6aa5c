//! A schema and the local files it refers to, loaded once. Nothing is ever fetched over the network.
//!
//! Schemas of Avro and Protobuf are kept as what decoders need, and as the JSON Schema of the values those make, of which
//! columns and masks are made like those of any other.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::{Draft, Registry, Retrieve, Uri};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::avro::{self, AvroError};
use super::location;
use super::protobuf::{self, ProtobufError};

/// Files one schema may consist of.
const DOCUMENTS_MAX: usize = 1_000;

/// A JSON Schema with a name, a version and every local file its references lead to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Schema {
    loaded: Arc<Loaded>,
}

/// Reads a file of a schema.
pub type ReadFile<'r> = &'r dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// What a schema is written in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    #[default]
    JsonSchema,
    Avro,
    /// A descriptor set; the message of that full name.
    Protobuf {
        message: String,
    },
}

/// What bodies consist of, where they do not say so themselves.
#[derive(Clone, Debug, PartialEq)]
pub enum Types {
    /// They do.
    Said,
    Avro(Arc<avro::Types>),
    Protobuf(Arc<protobuf::Types>),
}

#[derive(Debug)]
struct Loaded {
    name: String,
    version: u32,
    types: Types,
    /// The root first, then those it refers to, in the order they were found.
    documents: Vec<Document>,
    registry: Registry<'static>,
    draft: Draft,
    hash: String,
    warnings: Vec<String>,
}

/// One file.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// What references resolve to.
    pub(super) uri: String,
    path: PathBuf,
    pub(super) contents: Arc<Value>,
}

/// Why a schema cannot be used. Each is mended in the schema or in the configuration; trying again is no use, save for
/// [`SchemaError::Unreadable`].
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("schema {path} cannot be read", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("schema {path} refers to \"{reference}\", looked for at {target}, which cannot be read",
            path = path.display(), target = target.display())]
    ReferenceUnreadable { path: PathBuf, reference: String, target: PathBuf, source: io::Error },
    #[error("schema {path} is not JSON", path = path.display())]
    NotJson { path: PathBuf, source: serde_json::Error },
    #[error("schema {path} is no usable Avro schema: {source}", path = path.display())]
    NotAvro { path: PathBuf, source: AvroError },
    #[error("schema {path} is no usable descriptor set: {source}", path = path.display())]
    NotProtobuf { path: PathBuf, source: ProtobufError },
    #[error("schema {path} names an unknown \"$schema\" \"{dialect}\": use \
             https://json-schema.org/draft/2020-12/schema, or draft 2019-09, 7, 6 or 4", path = path.display())]
    UnknownDialect { path: PathBuf, dialect: String },
    #[error("schema {path} refers to \"{reference}\", and nothing is fetched over the network: save it as a file beside \
             the schema and refer to it by its relative path", path = path.display())]
    Remote { path: PathBuf, reference: String },
    #[error("schema {path} has a reference that leads nowhere: {problem}", path = path.display())]
    Reference { path: PathBuf, problem: String },
    #[error("schema {path} is no valid schema at \"{pointer}\": {problem}", path = path.display())]
    Invalid { path: PathBuf, pointer: String, problem: String },
    #[error("schema {path} refers to more than {DOCUMENTS_MAX} files", path = path.display())]
    TooManyFiles { path: PathBuf },
}

impl Schema {
    /// Loads the schema at `location` and, through `read`, every local file it refers to: by relative path, by `file:` URI,
    /// or by a URI that stands to its `$id` as the file stands to it. The draft is that of `$schema`, by default 2020-12.
    ///
    /// A schema of another language is one file, and stands for the JSON Schema of the values that its decoder makes.
    ///
    /// # Errors
    /// The first thing found wrong, with the file and what to do; see [`SchemaError`].
    pub fn load(
        language: &Language,
        location: &Path,
        name: &str,
        version: u32,
        read: ReadFile<'_>,
    ) -> Result<Self, SchemaError> {
        let content = read(location).map_err(|source| SchemaError::Unreadable { path: location.to_owned(), source })?;
        let uri = location::uri_of(location);
        let (root, types, own_hash) = match language {
            Language::JsonSchema => (Document::parse(location, uri, &content)?, Types::Said, None),
            Language::Avro => {
                let written = Document::parse(location, uri.clone(), &content)?;
                let types = std::str::from_utf8(&content)
                    .map_err(|error| AvroError::Invalid(error.to_string()))
                    .and_then(|text| avro::Types::parse(text, &[]))
                    .map_err(|source| SchemaError::NotAvro { path: location.to_owned(), source })?;
                let hash = hash(std::slice::from_ref(&written));
                let contents = Arc::new(types.json_schema());
                (Document { contents, ..written }, Types::Avro(Arc::new(types)), Some(hash))
            }
            Language::Protobuf { message } => {
                let types = protobuf::Types::parse(&content, message)
                    .map_err(|source| SchemaError::NotProtobuf { path: location.to_owned(), source })?;
                let mut whole = Sha256::new_with_prefix(&content);
                whole.update(message);
                let contents = Arc::new(types.json_schema());
                let root = Document { uri, path: location.to_owned(), contents };
                (root, Types::Protobuf(Arc::new(types)), Some(hex(&whole.finalize())))
            }
        };
        let draft = Draft::default().detect(&root.contents);
        let (documents, registry) = gather(root, draft, read)?;
        let mut warnings = Vec::new();
        for document in &documents {
            document.check(draft)?;
            if matches!(language, Language::JsonSchema) {
                document.warn_of_unknown_formats(draft, &mut warnings);
            }
        }
        let hash = own_hash.unwrap_or_else(|| hash(&documents));
        let loaded = Loaded { name: name.to_owned(), version, types, documents, registry, draft, hash, warnings };
        Ok(Self { loaded: Arc::new(loaded) })
    }

    pub fn name(&self) -> &str {
        &self.loaded.name
    }

    pub fn version(&self) -> u32 {
        self.loaded.version
    }

    /// `name@version`, as in the `_schema` column.
    pub fn label(&self) -> String {
        format!("{}@{}", self.loaded.name, self.loaded.version)
    }

    /// What bodies consist of, where they do not say so themselves.
    pub fn types(&self) -> &Types {
        &self.loaded.types
    }

    /// SHA-256 in hex of what the schema says: of the root and of the files it refers to, members sorted, white space gone. It
    /// does not depend on where the files are.
    pub fn hash(&self) -> &str {
        &self.loaded.hash
    }

    /// The root document.
    pub fn document(&self) -> &Value {
        &self.root_document().contents
    }

    /// Where the root was loaded from.
    pub fn path(&self) -> &Path {
        &self.root_document().path
    }

    /// What is allowed but probably not meant, one sentence each: `format`s nothing checks.
    pub fn warnings(&self) -> &[String] {
        &self.loaded.warnings
    }

    /// The root as a place to follow references from.
    pub fn root(&self) -> Place<'_> {
        let document = self.root_document();
        let base = jsonschema::uri::from_str(&document.uri).expect("the registry took this URI");
        let place = Place { schema: self, value: &document.contents, base: Arc::new(base), draft: self.draft() };
        place.child(&document.contents)
    }

    pub(super) fn draft(&self) -> Draft {
        self.loaded.draft
    }

    pub(super) fn documents(&self) -> &[Document] {
        &self.loaded.documents
    }

    fn root_document(&self) -> &Document {
        self.loaded.documents.first().expect("the root is always loaded")
    }
}

/// A subschema together with the base that its references are resolved against.
#[derive(Clone, Debug)]
pub struct Place<'s> {
    schema: &'s Schema,
    value: &'s Value,
    base: Arc<Uri<String>>,
    draft: Draft,
}

impl<'s> Place<'s> {
    /// The subschema itself: an object or a boolean.
    pub fn value(&self) -> &'s Value {
        self.value
    }

    /// The value of one of its keywords.
    pub fn keyword(&self, name: &str) -> Option<&'s Value> {
        self.value.get(name)
    }

    /// Which draft governs it.
    pub fn draft(&self) -> Draft {
        self.draft
    }

    /// A subschema that stands inside this one, taking its own `$id` as base when it has one.
    pub fn child(&self, value: &'s Value) -> Place<'s> {
        let draft = self.draft.detect(value);
        let resource = draft.create_resource_ref(value);
        let base = resource.id().and_then(|id| jsonschema::uri::resolve_against(&self.base.borrow(), id).ok());
        Place { schema: self.schema, value, base: base.map_or_else(|| Arc::clone(&self.base), Arc::new), draft }
    }

    /// What a `$ref` (or `$dynamicRef`, read as a `$ref`) that stands in this subschema points to, in whichever file.
    ///
    /// # Errors
    /// [`SchemaError::Reference`]: it leads nowhere.
    pub fn follow(&self, reference: &str) -> Result<Place<'s>, SchemaError> {
        let resolver = self.schema.loaded.registry.resolver(self.base.as_ref().clone());
        let resolved = resolver.lookup(reference).map_err(|error| SchemaError::Reference {
            path: self.schema.path().to_owned(),
            problem: format!("\"{reference}\": {error}"),
        })?;
        let (value, resolver, draft) = resolved.into_inner();
        Ok(Place { schema: self.schema, value, base: resolver.base_uri(), draft }.child(value))
    }

    /// Whether both are the same subschema of the same file; tells a cycle of references.
    pub fn is(&self, other: &Place<'_>) -> bool {
        std::ptr::eq(self.value, other.value)
    }
}

impl Document {
    fn parse(path: &Path, uri: String, content: &[u8]) -> Result<Self, SchemaError> {
        let contents =
            serde_json::from_slice(content).map_err(|source| SchemaError::NotJson { path: path.to_owned(), source })?;
        Ok(Self { uri, path: path.to_owned(), contents: Arc::new(contents) })
    }

    /// What the document calls itself, when that is a whole URI.
    fn id(&self) -> Option<&str> {
        let draft = Draft::default().detect(&self.contents);
        let id = self.contents.get(draft.id_keyword())?.as_str()?;
        id.contains("://").then_some(id)
    }

    /// Holds the document against the metaschema of its draft.
    fn check(&self, root: Draft) -> Result<(), SchemaError> {
        let draft = root.detect(&self.contents);
        let result = match draft {
            Draft::Draft4 => jsonschema::draft4::meta::validate(&self.contents),
            Draft::Draft6 => jsonschema::draft6::meta::validate(&self.contents),
            Draft::Draft7 => jsonschema::draft7::meta::validate(&self.contents),
            Draft::Draft201909 => jsonschema::draft201909::meta::validate(&self.contents),
            Draft::Draft202012 => jsonschema::draft202012::meta::validate(&self.contents),
            // A metaschema of one's own, which the validator's builder reads.
            _ => Ok(()),
        };
        result.map_err(|error| SchemaError::Invalid {
            path: self.path.clone(),
            pointer: error.instance_path().as_str().to_owned(),
            problem: error.to_string(),
        })
    }

    fn warn_of_unknown_formats(&self, root: Draft, warnings: &mut Vec<String>) {
        let draft = root.detect(&self.contents);
        let options = jsonschema::options();
        visit_formats(&self.contents, &mut String::new(), &mut |pointer, format| {
            if !options.is_known_format(draft, format) {
                let path = self.path.display();
                warnings
                    .push(format!("{path} at \"{pointer}\": format \"{format}\" is not known, so nothing checks it"));
            }
        });
    }
}

/// Calls `found` with the pointer and the value of every `format` keyword below `schema`.
fn visit_formats(schema: &Value, pointer: &mut String, found: &mut dyn FnMut(&str, &str)) {
    /// Their members are named by the author, not by the specification.
    const NAMED: &[&str] =
        &["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];
    /// They hold instances, not schemas.
    const DATA: &[&str] = &["const", "enum", "default", "examples"];
    let length = pointer.len();
    match schema {
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                crate::value::push_segment(pointer, &index.to_string());
                visit_formats(element, pointer, found);
                pointer.truncate(length);
            }
        }
        Value::Object(members) => {
            if let Some(Value::String(format)) = members.get("format") {
                found(pointer, format);
            }
            for (name, value) in members.iter().filter(|(name, _)| !DATA.contains(&name.as_str())) {
                crate::value::push_segment(pointer, name);
                match value {
                    Value::Object(named) if NAMED.contains(&name.as_str()) => {
                        let length = pointer.len();
                        for (name, value) in named {
                            crate::value::push_segment(pointer, name);
                            visit_formats(value, pointer, found);
                            pointer.truncate(length);
                        }
                    }
                    value => visit_formats(value, pointer, found),
                }
                pointer.truncate(length);
            }
        }
        _ => {}
    }
}

/// Loads what the documents refer to until nothing is missing.
fn gather(root: Document, draft: Draft, read: ReadFile<'_>) -> Result<(Vec<Document>, Registry<'static>), SchemaError> {
    let mut documents = vec![root];
    loop {
        let missing = Missing::default();
        match prepare(&documents, draft, missing.clone()) {
            Ok(registry) => return Ok((documents, registry)),
            Err(error) => match missing.take() {
                Some(uri) => {
                    let document = load_reference(&documents, &uri, read)?;
                    documents.push(document);
                }
                None => {
                    let path = documents[0].path.clone();
                    return Err(SchemaError::Reference { path, problem: error.to_string() });
                }
            },
        }
        if documents.len() > DOCUMENTS_MAX {
            return Err(SchemaError::TooManyFiles { path: documents.swap_remove(0).path });
        }
    }
}

fn prepare(
    documents: &[Document],
    draft: Draft,
    missing: Missing,
) -> Result<Registry<'static>, jsonschema::ReferencingError> {
    let mut builder = Registry::new().retriever(missing);
    if draft != Draft::Unknown {
        builder = builder.draft(draft);
    }
    for document in documents {
        builder = builder.add(&document.uri, Arc::clone(&document.contents))?;
    }
    builder.prepare()
}

fn load_reference(documents: &[Document], uri: &str, read: ReadFile<'_>) -> Result<Document, SchemaError> {
    let root = &documents[0];
    let target = location::path_of(uri)
        .or_else(|| documents.iter().find_map(|document| location::beside(uri, document.id()?, &document.path)));
    let Some(target) = target else {
        let path = root.path.clone();
        return Err(match root.contents.get("$schema").and_then(Value::as_str) {
            Some(dialect) if dialect.trim_end_matches('#') == uri => {
                SchemaError::UnknownDialect { path, dialect: dialect.to_owned() }
            }
            _ => SchemaError::Remote { path, reference: uri.to_owned() },
        });
    };
    let content = read(&target).map_err(|source| SchemaError::ReferenceUnreadable {
        path: root.path.clone(),
        // Of a relative path the URI is of our making and would tell nobody anything.
        reference: location::path_of(uri).map_or_else(|| uri.to_owned(), |path| path.display().to_string()),
        target: target.clone(),
        source,
    })?;
    Document::parse(&target, uri.to_owned(), &content)
}

/// Notes the first URI the registry lacks; the registry asks for it here, having no way to borrow the caller's reader.
#[derive(Clone, Default)]
struct Missing(Arc<Mutex<Option<String>>>);

impl Missing {
    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Retrieve for Missing {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| uri.as_str().to_owned());
        Err("not loaded yet".into())
    }
}

fn hash(documents: &[Document]) -> String {
    let mut digests: Vec<_> = documents
        .iter()
        .map(|document| {
            let mut text = Vec::new();
            write_canonical(&document.contents, &mut text);
            Sha256::digest(&text)
        })
        .collect();
    // The root leads; in which order the others were met is chance.
    digests[1..].sort_unstable();
    let mut whole = Sha256::new();
    for digest in digests {
        whole.update(digest);
    }
    hex(&whole.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Appends `value` as JSON without white space, the members of objects sorted by name.
fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (position, (name, value)) in sorted.into_iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                crate::value::write_json_string(name, out);
                out.push(b':');
                write_canonical(value, out);
            }
            out.push(b'}');
        }
        Value::Array(elements) => {
            out.push(b'[');
            for (position, element) in elements.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_canonical(element, out);
            }
            out.push(b']');
        }
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}
