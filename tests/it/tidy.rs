//! The house rules that the compiler does not hold: layers, containment, the list of modules, the size and the looks of
//! files. Each rule is a pure function from sources to findings, tried on small texts; one test runs them all over the
//! repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A module, and the layer it belongs to. A module may use those of the layers below its own, and of its own only where
/// [`SIBLINGS`] says so.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "words",
        &[
            "column",
            "content",
            "event",
            "headers",
            "mask",
            "metrics",
            "personal",
            "receipt",
            "rejection",
            "value",
            "web",
        ],
    ),
    ("config", &["config"]),
    ("parts", &["archive", "broker", "decode", "dlq", "monitor", "registry", "schema", "store"]),
    ("flows", &["ingest", "replay"]),
    ("rim", &["http", "cli", "app", "main"]),
];

/// Who may use whom within a layer. Words and the rim may use their own layer freely, as long as no cycle arises.
const SIBLINGS: &[(&str, &str)] =
    &[("archive", "store"), ("dlq", "store"), ("dlq", "decode"), ("decode", "schema"), ("replay", "ingest")];

/// What appears in some modules only. `main` may do what `app` may.
const CONTAINED: &[(&str, &[&str], &str)] = &[
    ("lapin", &["broker"], "the rest must not know how a broker is spoken to"),
    ("async_rs", &["broker"], "what the client library runs on is its own affair"),
    ("object_store", &["store"], "the rest must not know what kind of store it is"),
    ("axum", &["http"], "the rest must not know that it is served"),
    ("prometheus", &["metrics"], "metrics are named in one table"),
    ("jsonschema", &["schema"], "one place gives verdicts"),
    ("opentelemetry", &["app"], "the rest tells of itself in words of its own"),
    ("reqwest", &["app", "broker", "registry", "web"], "one place speaks HTTP to what stands beside us"),
    ("std::env", &["app"], "take the value as an argument"),
    ("std::fs", &["app", "cli", "broker", "store", "web"], "take a reader or the bytes as an argument"),
    ("tokio::fs", &["app", "cli", "broker", "store", "web"], "take a reader or the bytes as an argument"),
    ("SystemTime::now", &["app", "store"], "take the instant as an argument"),
    ("Utc::now", &["app"], "take the instant as an argument"),
    ("Ulid::new", &["app"], "take the id, or a source of ids, as an argument"),
    ("Ulid::generate", &["app"], "take the id, or a source of ids, as an argument"),
    ("Rng::new", &["app"], "take a seed as an argument"),
    ("println", &["app", "cli"], "the standard output belongs to commands; events go to the log"),
    ("eprintln", &["app", "cli"], "the standard error belongs to commands; events go to the log"),
];

/// A file of ours is read in one sitting.
const LINES_MAX: usize = 700;
/// Those that are longer, with their own limit and why.
const LONG_FILES: &[(&str, usize, &str)] = &[];

/// A file of the repository, by its path from the root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The module that a file of `src` belongs to; `None` for `lib.rs` and for files elsewhere.
    fn module(&self) -> Option<&str> {
        let first = self.path.strip_prefix("src/")?.split('/').next()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (name != "lib").then_some(name)
    }

    /// The code that ships: comments and texts blanked, items under `#[cfg(test)]` left out, line numbers kept.
    fn product(&self) -> String {
        without_tests(&blank(&self.text))
    }
}

// Reading Rust, roughly

/// `text` with the insides of comments, strings and character literals turned into spaces; lines stay where they are.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest, out.chars().next_back()) {
            length
        } else if first == '"' {
            string(rest)
        } else if first == '\'' {
            character(rest).unwrap_or(0)
        } else {
            0
        };
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[length..];
    }
    out
}

/// Length of the raw string literal at the start of `rest`.
fn raw_string(rest: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(is_word) {
        return None;
    }
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let inside = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let opening = rest.len() - inside.len();
    Some(inside.find(&end).map_or(rest.len(), |at| opening + at + end.len()))
}

/// Length of the string literal at the start of `rest`.
fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of the character literal at the start of `rest`; `None` for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let inside = &rest[1..];
    if inside.starts_with('\\') {
        return inside[2..].find('\'').map(|end| end + 4);
    }
    let first = inside.chars().next()?;
    inside[first.len_utf8()..].starts_with('\'').then_some(first.len_utf8() + 2)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Blanked code without the items that stand under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at]);
        let item = &rest[at + MARK.len()..];
        let length = item_length(item);
        out.extend(item[..length].chars().filter(|c| *c == '\n'));
        rest = &item[length..];
    }
    out.push_str(rest);
    out
}

/// Length of the item at the start of blanked code: up to its semicolon, or the brace that closes it.
fn item_length(code: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The lines, counted from 1, where `path` (such as `std::fs` or `lapin`) is used in blanked code as whole words.
fn uses(code: &str, path: &str) -> Vec<usize> {
    let whole = |at: usize| {
        let before = code[..at].chars().next_back();
        let after = code[at + path.len()..].chars().next();
        // `crate::archive::parquet` is not the crate `parquet`.
        let qualified = !path.contains("::") && code[..at].ends_with("::");
        !before.is_some_and(is_word) && !after.is_some_and(is_word) && !qualified
    };
    code.match_indices(path).filter(|(at, _)| whole(*at)).map(|(at, _)| line_of(code, at)).collect()
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The modules that blanked code names through `root` (`crate` or `parqueduct`), with their lines.
fn references(code: &str, root: &str) -> Vec<(String, usize)> {
    let start = format!("{root}::");
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&start) {
        if code[..at].chars().next_back().is_some_and(|c| is_word(c) || c == ':') {
            continue;
        }
        let rest = &code[at + start.len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => first_segments(group),
            None => vec![word(rest)],
        };
        found.extend(names.into_iter().filter(|name| !name.is_empty()).map(|name| (name, line_of(code, at))));
    }
    found
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| is_word(*c)).collect()
}

/// The first path segment of each entry of a `use` group, of which `group` is the inside and what follows.
fn first_segments(group: &str) -> Vec<String> {
    let (mut depth, mut entry, mut found) = (0, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(word(std::mem::take(&mut entry).trim())),
            _ => {}
        }
        if !(c == ',' && depth == 0) {
            entry.push(c);
        }
    }
    found.push(word(entry.trim()));
    found
}

// The rules

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, modules)| modules.contains(&module))
}

/// Who uses whom: product code only, a module's use of itself left out.
fn edges(sources: &[Source]) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for source in sources {
        let Some(module) = source.module() else { continue };
        let root = if module == "main" { "parqueduct" } else { "crate" };
        for (used, line) in references(&source.product(), root) {
            if used != module {
                found.push((module.to_owned(), used, format!("{}:{line}", source.path)));
            }
        }
    }
    found
}

fn layering(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for (module, used, place) in edges(sources) {
        let Some(own) = layer(&module) else {
            findings.push(format!("{place}: module `{module}` is in no layer: add it to LAYERS"));
            continue;
        };
        // Names that are no modules are macros and re-exports of the crate's root.
        let Some(other) = layer(&used) else { continue };
        let free = matches!(LAYERS[own].0, "words" | "rim");
        let sibling = own == other && (free || SIBLINGS.contains(&(module.as_str(), used.as_str())));
        if other >= own && !sibling {
            findings.push(format!(
                "{place}: `{module}` ({}) uses `{used}` ({}): {}",
                LAYERS[own].0,
                LAYERS[other].0,
                if own == other { "parts are joined by flows" } else { "layers use those below them" }
            ));
        }
    }
    findings
}

/// Modules that use each other, directly or through others.
fn cycles(sources: &[Source]) -> Vec<String> {
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, used, _) in edges(sources) {
        graph.entry(module).or_default().insert(used);
    }
    // Those that use nothing which is left are no part of a cycle; what cannot be taken away is.
    loop {
        let names: BTreeSet<String> = graph.keys().cloned().collect();
        graph.values_mut().for_each(|used| used.retain(|name| names.contains(name)));
        let before = graph.len();
        graph.retain(|_, used| !used.is_empty());
        if graph.len() == before {
            break;
        }
    }
    if graph.is_empty() {
        return Vec::new();
    }
    vec![format!("modules use each other in a circle: {}", graph.keys().cloned().collect::<Vec<_>>().join(", "))]
}

fn containment(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        let Some(module) = source.module() else { continue };
        let module = if module == "main" { "app" } else { module };
        let code = source.product();
        for (path, allowed, reason) in CONTAINED {
            if allowed.contains(&module) {
                continue;
            }
            for line in uses(&code, path) {
                findings.push(format!("{}:{line}: `{path}` is for {} only: {reason}", source.path, allowed.join(", ")));
            }
        }
        // The store draws names for its staging and the jitter of its retries, which no test needs to foresee.
        if !["app", "store"].contains(&module) {
            findings.extend(global_randomness(source, &code));
        }
    }
    findings
}

/// Free functions of `fastrand` draw from a generator that no test can seed.
fn global_randomness(source: &Source, code: &str) -> Vec<String> {
    const CRATE: &str = "fastrand::";
    code.match_indices(CRATE)
        .filter(|(at, _)| code[at + CRATE.len()..].starts_with(|c: char| c.is_lowercase()))
        .map(|(at, _)| format!("{}:{}: randomness without a seed: take an `Rng`", source.path, line_of(code, at)))
        .collect()
}

fn no_unwrap(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/")) {
        let code = source.product();
        for (at, _) in code.match_indices(".unwrap()") {
            findings.push(format!(
                "{}:{}: say why it holds with `expect`, or use `?`",
                source.path,
                line_of(&code, at)
            ));
        }
    }
    findings
}

/// The modules that the crate's root declares, in its order.
fn declared_modules(lib: &str) -> Vec<String> {
    blank(lib).lines().filter_map(|line| line.trim().strip_prefix("pub mod ")).map(word).collect()
}

/// The modules that the code map of ARCHITECTURE.md describes, in its order: the first cell of each row.
fn described_modules(architecture: &str) -> Vec<String> {
    let map = architecture.split("\n## ").find(|section| section.starts_with("Code map")).unwrap_or_default();
    map.lines().filter_map(|line| line.strip_prefix("| `")).map(word).collect()
}

fn module_list(lib: &str, architecture: &str) -> Vec<String> {
    let (declared, described) = (declared_modules(lib), described_modules(architecture));
    if declared == described {
        return Vec::new();
    }
    vec![format!(
        "ARCHITECTURE.md's code map lists {described:?}, src/lib.rs {declared:?}: make them the same, in order"
    )]
}

/// A module says what it is at its top, and at its line in the crate's root.
fn documented(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/")) {
        if source.path != "src/main.rs" && !source.text.starts_with("//! ") {
            findings.push(format!("{}:1: begins with `//!`, which says what the module is", source.path));
        }
        if source.path == "src/lib.rs" {
            let bare = |line: &&str| line.starts_with("pub mod ") && !line.contains("; // ");
            let missing =
                source.text.lines().filter(bare).map(|line| format!("src/lib.rs: `{line}` lacks its comment"));
            findings.extend(missing);
        }
    }
    findings
}

fn sizes(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        let listed = LONG_FILES.iter().find(|(path, ..)| *path == source.path);
        let (lines, max) = (source.text.lines().count(), listed.map_or(LINES_MAX, |(_, max, _)| *max));
        if lines > max {
            findings.push(format!("{}: {lines} lines, at most {max}: split it by what it is about", source.path));
        }
    }
    findings
}

fn looks(sources: &[Source]) -> Vec<String> {
    let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let mut findings = Vec::new();
    for source in sources {
        for (number, line) in (1..).zip(source.text.lines()) {
            let place = format!("{}:{number}", source.path);
            if line.ends_with([' ', '\t', '\r']) {
                findings.push(format!("{place}: white space at the end"));
            }
            if line.contains('\t') && source.path != "Makefile" {
                findings.push(format!("{place}: a tab"));
            }
            if unfinished.iter().any(|mark| line.split(|c: char| !is_word(c)).any(|word| word == *mark)) {
                findings.push(format!("{place}: unfinished work: do it, or write an issue"));
            }
        }
        if !source.text.is_empty() && !source.text.ends_with('\n') {
            findings.push(format!("{}: no newline at the end", source.path));
        }
    }
    findings
}

// The repository

/// Every text file that is ours, without what only tests compile: those files follow the looks and the sizes alone.
fn repository() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for place in
        ["src", "tests", "fuzz", "bench", "scripts", "docs", "dashboards", "config", "deploy", ".ci", ".config"]
    {
        walk(&root.join(place), &mut paths);
    }
    walk_flat(root, &mut paths);
    let mut sources = Vec::new();
    for path in paths {
        // What is not UTF-8 is data: the compressed flights.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let relative = path.strip_prefix(root).expect("walked from the root");
        sources.push(Source { path: relative.to_string_lossy().into_owned(), text });
    }
    sources
}

fn walk(directory: &Path, paths: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.expect("a directory of the repository can be listed").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        // Data of others is kept as it came.
        if path.is_dir() && name != "__pycache__" && name != "json-schema-test-suite" && name != "corpus" {
            walk(&path, paths);
        } else if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
}

fn walk_flat(root: &Path, paths: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(root).expect("the repository can be listed") {
        let path = entry.expect("the repository can be listed").path();
        let ours = |name: &str| name.ends_with(".md") || name.ends_with(".toml") || name.ends_with(".yml");
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        if path.is_file() && (ours(&name) || name == "Makefile" || name == "Dockerfile") {
            paths.push(path);
        }
    }
}

/// Files of `src` that only tests compile: declared by `#[cfg(test)] mod name;`.
fn test_only(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/")) {
        let directory = match source.path.strip_suffix("/mod.rs").or(source.path.strip_suffix("/lib.rs")) {
            Some(directory) => directory,
            None => source.path.trim_end_matches(".rs"),
        };
        let code = blank(&source.text);
        for (at, mark) in code.match_indices("#[cfg(test)]") {
            let item = code[at + mark.len()..].trim_start();
            let item = item.strip_prefix("pub(crate) ").or(item.strip_prefix("pub ")).unwrap_or(item);
            if let Some(name) =
                item.strip_prefix("mod ").map(word).filter(|name| item[4 + name.len()..].starts_with(';'))
            {
                found.push(format!("{directory}/{name}.rs"));
                found.push(format!("{directory}/{name}/"));
            }
        }
    }
    found
}

#[test]
fn the_repository_keeps_the_rules_of_the_house() {
    let all = repository();
    assert!(all.iter().any(|source| source.path == "src/lib.rs"), "the walk found the sources");
    let text_of = |path: &str| {
        all.iter().find(|source| source.path == path).map(|source| source.text.clone()).unwrap_or_default()
    };
    let (lib, architecture) = (text_of("src/lib.rs"), text_of("ARCHITECTURE.md"));

    let mut findings = looks(&all);
    findings.extend(sizes(&all));
    findings.extend(module_list(&lib, &architecture));

    let only_tests = test_only(&all);
    let product: Vec<Source> = all
        .into_iter()
        .filter(|source| !only_tests.iter().any(|path| source.path.starts_with(path.as_str())))
        .collect();
    findings.extend(documented(&product));
    findings.extend(layering(&product));
    findings.extend(cycles(&product));
    findings.extend(containment(&product));
    findings.extend(no_unwrap(&product));
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn a_part_that_uses_another_part_is_found() {
    let sources = [Source::new("src/archive/mod.rs", "use crate::{event::Message, broker::Shard};\n")];
    assert_eq!(
        layering(&sources),
        ["src/archive/mod.rs:1: `archive` (parts) uses `broker` (parts): parts are joined by flows"]
    );
    assert!(layering(&[Source::new("src/archive/mod.rs", "use crate::store::Store;\n")]).is_empty());
    assert_eq!(layering(&[Source::new("src/store/mod.rs", "use crate::archive::Batch;\n")]).len(), 1);
}

#[test]
fn a_module_that_uses_one_above_is_found_also_without_an_import() {
    let sources = [Source::new("src/event.rs", "\nfn f() { crate::config::load() }\n")];
    assert_eq!(
        layering(&sources),
        ["src/event.rs:2: `event` (words) uses `config` (config): layers use those below them"]
    );
    assert_eq!(layering(&[Source::new("src/extra.rs", "use crate::event::Message;\n")]).len(), 1);
    assert!(layering(&[Source::new("src/main.rs", "use parqueduct::app;\n")]).is_empty());
}

#[test]
fn modules_that_use_each_other_are_found() {
    let there = Source::new("src/app.rs", "use crate::cli::Run;\n");
    let back = Source::new("src/cli/mod.rs", "use crate::app::App;\n");
    assert!(cycles(std::slice::from_ref(&there)).is_empty());
    assert_eq!(cycles(&[there, back]), ["modules use each other in a circle: app, cli"]);
}

#[test]
fn a_crate_or_a_clock_outside_its_module_is_found() {
    let found = |path: &str, text: &str| containment(&[Source::new(path, text)]).len();
    assert_eq!(found("src/ingest/shard.rs", "use lapin::Channel;\n"), 1);
    assert_eq!(found("src/broker/mod.rs", "use lapin::Channel;\n"), 0);
    assert_eq!(found("src/ingest/mod.rs", "let now = chrono::Utc::now();\n"), 1);
    assert_eq!(found("src/main.rs", "let home = std::env::var(\"HOME\");\n"), 0);
    assert_eq!(found("src/decode/mod.rs", "/// Not `std::fs`.\nlet text = \"std::fs\";\n"), 0);
    assert_eq!(found("src/broker/mod.rs", "let wait = fastrand::u64(0..9);\n"), 1);
    assert_eq!(found("src/broker/mod.rs", "let wait = fastrand::Rng::with_seed(seed);\n"), 0);
    assert_eq!(found("src/store/mod.rs", "mod prometheus_like; use crate::x::axum;\n"), 0);
}

#[test]
fn tests_may_do_what_the_product_may_not() {
    let text = "fn f() {}\n#[cfg(test)]\nmod tests {\n    fn g() { std::fs::read(\"}\").unwrap(); }\n}\nfn h() { x.unwrap() }\n";
    let source = [Source::new("src/schema/mod.rs", text)];
    assert!(containment(&source).is_empty());
    assert_eq!(no_unwrap(&source), ["src/schema/mod.rs:6: say why it holds with `expect`, or use `?`"]);
    let declares = [Source::new("src/broker/mod.rs", "#[cfg(test)]\nmod conformance;\n")];
    assert_eq!(test_only(&declares), ["src/broker/conformance.rs", "src/broker/conformance/"]);
}

#[test]
fn comments_and_texts_are_no_code() {
    let text = "a // x\n/* y\n */ b \"z \\\" \n\" c 'q' '\\'' &'static r#\"w\"\"# d";
    assert_eq!(blank(text).split_whitespace().collect::<Vec<_>>(), ["a", "b", "c", "&'static", "d"]);
    assert_eq!(blank(text).lines().count(), text.lines().count());
}

#[test]
fn a_module_that_the_architecture_does_not_list_is_found() {
    let lib = "// Words.\npub mod event; // as it came\npub mod value; // decoded\n";
    let page =
        "# A\n\n## Code map\n\n| module | what |\n|---|---|\n| `event` | x |\n| `value` | y |\n\n## Later\n| `no` |\n";
    assert!(module_list(lib, page).is_empty());
    assert_eq!(module_list(lib, &page.replace("| `value` | y |\n", "")).len(), 1);
    assert_eq!(module_list(&lib.replace("event", "zebra"), page).len(), 1);
}

#[test]
fn an_undocumented_module_is_found() {
    assert_eq!(documented(&[Source::new("src/lib.rs", "//! Root.\npub mod event;\n")]).len(), 1);
    assert_eq!(documented(&[Source::new("src/event.rs", "use std::fmt;\n")]).len(), 1);
    assert!(documented(&[Source::new("src/lib.rs", "//! Root.\npub mod event; // as it came\n")]).is_empty());
}

#[test]
fn long_files_and_bad_looks_are_found() {
    assert_eq!(sizes(&[Source::new("src/event.rs", &"\n".repeat(LINES_MAX + 1))]).len(), 1);
    assert!(sizes(&[Source::new("src/event.rs", &"\n".repeat(LINES_MAX))]).is_empty());
    assert_eq!(looks(&[Source::new("a.md", "x \n\ty\nz")]).len(), 3);
    assert_eq!(looks(&[Source::new("src/a.rs", concat!("// TO", "DO: later\n"))]).len(), 1);
    assert!(looks(&[Source::new("Makefile", "all:\n\techo\n")]).is_empty());
}
