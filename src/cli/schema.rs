//! `parqueduct schema`: what a schema gives, and what it says of samples, without a broker or a store; and the way back,
//! from samples to a schema.

mod infer; // samples -> a schema
mod learned; // what a pipeline has learned
mod samples; // lines of files

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

pub use infer::{InferArgs, run as infer};
pub use learned::{AdoptArgs, LearnedArgs, adopt, show as learned};

use super::table::{Column, Table};
use crate::config::{self, Format, Framing};
use crate::decode::{Decoder, Limits, Wire};
use crate::dlq::fingerprint::Signature;
use crate::dlq::sentence;
use crate::rejection::{Issue, Rejection};
use crate::schema::columns::columns;
use crate::schema::compat::{ChangeKind, Comparison, Consequence, Finding, Verdict};
use crate::schema::{Language, Schema, Validator};
use crate::value::Tape;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the columns of the Parquet files that a schema gives, each with the reason for its type
    Columns(ColumnsArgs),
    /// Try a schema on samples: tell of each event that it refuses what is wrong with it
    Check(CheckArgs),
    /// Tell what changes from one version of a schema to the next, for producers and for the files
    Diff(DiffArgs),
    /// Propose a schema for samples: of files, of a queue (without taking anything), or of dead letters
    Infer(Box<InferArgs>),
    /// Print the schema that a pipeline with schema = "infer" has learned
    Learned(LearnedArgs),
    /// Let a schema follow the one that a pipeline with schema = "infer" has learned, or be its first
    Adopt(AdoptArgs),
}

/// Which schema.
#[derive(Debug, Args)]
struct SchemaArgs {
    /// The schema: JSON Schema, an Avro schema (.avsc) or a descriptor set (.desc)
    #[arg(value_name = "SCHEMA")]
    schema: PathBuf,
    /// The full name of the message in a descriptor set
    #[arg(long, value_name = "NAME")]
    message: Option<String>,
}

#[derive(Debug, Args)]
pub struct ColumnsArgs {
    #[command(flatten)]
    schema: SchemaArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    schema: SchemaArgs,
    /// JSON is one event a line, plain, gzip or zstd; of another format each file is one event
    #[arg(required = true, value_name = "FILE")]
    samples: Vec<PathBuf>,
    /// Samples are MessagePack, judged by a JSON Schema
    #[arg(long)]
    msgpack: bool,
    /// What stands before the data: none, or single-object of Avro
    #[arg(long, default_value = "none", value_parser = parse_framing)]
    framing: Framing,
    /// Issues told of one event
    #[arg(long, value_name = "N", default_value_t = 8)]
    issues_max: usize,
    /// One JSON object a line for each issue
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The version that is in use
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The one that is to follow it
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// The full name of the message in descriptor sets
    #[arg(long, value_name = "NAME")]
    message: Option<String>,
    /// Fail unless the new version is so: backward (it accepts what the old one does), forward (the old one accepts what it
    /// does), or full (both)
    #[arg(long, value_enum, value_name = "WHAT")]
    require: Option<Required>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Required {
    Backward,
    Forward,
    Full,
}

/// The longest event that is read.
const BODY_BYTES_MAX: usize = 64 << 20;

/// As deep as a pipeline may allow.
const DEPTH_MAX: usize = 512;

fn parse_framing(text: &str) -> Result<Framing, String> {
    Framing::parse(text).ok_or_else(|| "write none or single-object".to_owned())
}

/// Whether all is well: `false` when samples were refused.
pub fn run(command: &Command, width: Option<usize>, out: &mut impl Write) -> anyhow::Result<bool> {
    match command {
        Command::Columns(args) => show_columns(args, width, out).map(|()| true),
        Command::Check(args) => check(args, out),
        Command::Diff(args) => diff(args, out),
        Command::Infer(_) | Command::Learned(_) | Command::Adopt(_) => unreachable!("they have their own way"),
    }
}

impl SchemaArgs {
    fn load(&self) -> anyhow::Result<Schema> {
        let path = std::path::absolute(&self.schema).with_context(|| format!("{}: no path", self.schema.display()))?;
        let ending = path.extension().and_then(|ending| ending.to_str());
        let language = match (ending, &self.message) {
            (Some("avsc"), None) => Language::Avro,
            (Some("desc"), Some(message)) => Language::Protobuf { message: message.clone() },
            (Some("desc"), None) => bail!("--message is needed: the name of a message in {}", self.schema.display()),
            (_, Some(_)) => bail!("--message is for a descriptor set, a file that ends with .desc"),
            (_, None) => Language::JsonSchema,
        };
        let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let (name, version) = config::schema_identity(&file);
        Ok(Schema::load(&language, &path, &name, version, &|path| std::fs::read(path))?)
    }
}

fn show_columns(args: &ColumnsArgs, width: Option<usize>, out: &mut impl Write) -> anyhow::Result<()> {
    let schema = args.schema.load()?;
    let columns = columns(&schema)?;
    let mut table = Table::new([Column::whole("COLUMN"), Column::whole("TYPE"), Column::cut("BECAUSE IT IS")]);
    for reason in &columns.reasons {
        let of = reason.type_name();
        if args.json {
            let line = json!({"column": reason.column, "path": reason.path, "type": of, "because": reason.sentence});
            writeln!(out, "{line}")?;
        } else {
            table.add([reason.column.clone(), of, reason.sentence.clone()]);
        }
    }
    if !args.json {
        table.write(out, width)?;
    }
    Ok(())
}

/// What samples are judged with.
struct Trial {
    decoder: Decoder,
    /// What is asked beside what the decoder sees to.
    validator: Option<Validator>,
}

impl Trial {
    fn new(args: &CheckArgs) -> anyhow::Result<Self> {
        let schema = args.schema.load()?;
        let (format, is_json) = match schema.types() {
            crate::schema::Types::Said if args.msgpack => (Format::Msgpack, true),
            crate::schema::Types::Said => (Format::Json, true),
            crate::schema::Types::Avro(_) => (Format::Avro, false),
            crate::schema::Types::Protobuf(_) => (Format::Protobuf, false),
        };
        if args.msgpack && !is_json {
            bail!("--msgpack is for a JSON Schema: {} is none", args.schema.schema.display());
        }
        if args.framing != Framing::None && format != Format::Avro {
            bail!("--framing is for an Avro schema: {} is none", args.schema.schema.display());
        }
        // The columns must be possible, too.
        columns(&schema)?;
        let limits = Limits { body_bytes_max: BODY_BYTES_MAX, depth_max: DEPTH_MAX };
        let decoder =
            Decoder::new(&Wire::new(format, args.framing, schema.types(), &std::sync::Arc::default()), limits);
        let validator = is_json.then(|| schema.validator(args.issues_max)).transpose()?;
        Ok(Self { decoder, validator })
    }

    fn judge(&mut self, body: &[u8]) -> Result<(), Rejection> {
        let validator = self.validator.as_ref();
        self.decoder
            .decode(body, |tape: &Tape<'_>| validator.map_or(Ok(()), |validator| validator.check(tape.root())))?
    }
}

#[derive(Default)]
struct Counts {
    good: u64,
    bad: u64,
}

fn check(args: &CheckArgs, out: &mut impl Write) -> anyhow::Result<bool> {
    let mut trial = Trial::new(args)?;
    let mut counts = Counts::default();
    for path in &args.samples {
        if matches!(trial.decoder, Decoder::Json(_)) {
            samples::each_line(path, |number, event| {
                tell(args, path, Some(number), event.len(), trial.judge(event), &mut counts, out)?;
                Ok(true)
            })?;
        } else {
            let body = std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
            tell(args, path, None, body.len(), trial.judge(&body), &mut counts, out)?;
        }
    }
    if !args.json {
        writeln!(out, "{} good, {} bad", counts.good, counts.bad)?;
    }
    Ok(counts.bad == 0)
}

fn tell(
    args: &CheckArgs,
    path: &Path,
    line: Option<u64>,
    body_bytes: usize,
    judged: Result<(), Rejection>,
    counts: &mut Counts,
    out: &mut impl Write,
) -> io::Result<()> {
    let Err(rejection) = judged else {
        counts.good += 1;
        return Ok(());
    };
    counts.bad += 1;
    for issue in rejection.issues().iter().take(args.issues_max) {
        let Issue { code, path: place, instance_path, expected, actual, offset, .. } = issue;
        if args.json {
            let told = json!({
                "file": path.display().to_string(), "line": line, "code": code.as_str(), "path": place,
                "instance_path": instance_path, "expected": expected, "actual": actual, "offset": offset,
            });
            writeln!(out, "{told}")?;
            continue;
        }
        let signature = Signature::new(code.as_str(), place, expected, actual, *offset, body_bytes as u64);
        let line = line.map_or_else(String::new, |line| format!(":{line}"));
        let exactly = if instance_path == place { String::new() } else { format!(", at {instance_path}") };
        writeln!(out, "{}{line}: {}{exactly} ({})", path.display(), sentence::of(&signature), code.as_str())?;
    }
    Ok(())
}

fn diff(args: &DiffArgs, out: &mut impl Write) -> anyhow::Result<bool> {
    let load = |path: &Path| SchemaArgs { schema: path.to_owned(), message: args.message.clone() }.load();
    let (old, new) = (load(&args.old)?, load(&args.new)?);
    let columns_of = |schema, path: &Path| columns(schema).with_context(|| path.display().to_string());
    let (old_columns, new_columns) = (columns_of(&old, &args.old)?, columns_of(&new, &args.new)?);
    let found = Comparison::of((&old, &old_columns), (&new, &new_columns))?;
    match args.json {
        true => writeln!(out, "{}", as_json(&found))?,
        false => tell_diff(&found, out)?,
    }
    let (backward, forward) = (found.backward() == Verdict::Yes, found.forward() == Verdict::Yes);
    Ok(match args.require {
        None => true,
        Some(Required::Backward) => backward,
        Some(Required::Forward) => forward,
        Some(Required::Full) => backward && forward,
    })
}

fn consequence_words(consequence: Consequence) -> (&'static str, &'static str) {
    match consequence {
        Consequence::SameColumns => ("same_columns", "the same columns: files of both are one dataset"),
        Consequence::OtherColumns => (
            "other_columns",
            "columns come or go: files of both are one dataset, read by names; what one lacks is null",
        ),
        Consequence::NewMajor => {
            ("new_major", "a column holds something else: give the new version a major of its own")
        }
    }
}

fn tell_diff(found: &Comparison, out: &mut impl Write) -> io::Result<()> {
    for (question, verdict, findings) in [
        ("backward: does the new version accept the old one's events?", found.backward(), &found.backward),
        ("forward: does the old version accept the new one's events?", found.forward(), &found.forward),
    ] {
        writeln!(out, "{question} {}", verdict.as_str())?;
        for Finding { path, is_sure, sentence } in findings {
            let place = if path.is_empty() { "the event" } else { path };
            let doubt = if *is_sure { "" } else { " (cannot be told)" };
            writeln!(out, "  {place}: {sentence}{doubt}")?;
        }
    }
    writeln!(out, "storage: {}", consequence_words(found.consequence()).1)?;
    for change in &found.storage {
        writeln!(out, "  {change}")?;
    }
    Ok(())
}

fn as_json(found: &Comparison) -> serde_json::Value {
    let findings = |findings: &[Finding]| -> Vec<_> {
        let finding = |found: &Finding| json!({"path": found.path, "sure": found.is_sure, "what": found.sentence});
        findings.iter().map(finding).collect()
    };
    let changes: Vec<_> = found
        .storage
        .iter()
        .map(|change| {
            let (from, to) = match &change.kind {
                ChangeKind::New(of) => (None, Some(of)),
                ChangeKind::Gone(of) => (Some(of), None),
                ChangeKind::Type { from, to } | ChangeKind::Property { from, to } => (Some(from), Some(to)),
            };
            json!({"column": change.column, "from": from, "to": to})
        })
        .collect();
    let word = |verdict: Verdict| verdict.as_str().replace(' ', "_");
    json!({
        "backward": {"verdict": word(found.backward()), "findings": findings(&found.backward)},
        "forward": {"verdict": word(found.forward()), "findings": findings(&found.forward)},
        "storage": {"consequence": consequence_words(found.consequence()).0, "columns": changes},
    })
}
