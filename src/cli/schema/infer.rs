//! `parqueduct schema infer`: samples of files, of a queue or of dead letters to a schema, and what is doubtful about it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Arg, Args, ValueEnum};
use serde_json::json;

use super::{BODY_BYTES_MAX, DEPTH_MAX, samples};
use crate::app;
use crate::broker::{Broker, Glance, Rabbit};
use crate::cli::ConfigArgs;
use crate::cli::dlq::{FilterArguments, StateArgument};
use crate::config::{self, Config};
use crate::content;
use crate::decode::cloudevents;
use crate::decode::{Auto, Decoder, JsonDecoder, Limits, MsgpackDecoder, Wire};
use crate::dlq::records::{Order, Records};
use crate::event::Message;
use crate::metrics::Metrics;
use crate::rejection::Issue;
use crate::schema::columns::columns;
use crate::schema::infer::{Learner, Options, Proposal};
use crate::schema::{Language, Schema, Types, infer};

/// Messages of a queue that are looked at when nobody says how many, and bytes of their bodies in any case.
const PEEK_MESSAGES: usize = 1_000;
const PEEK_BYTES_MAX: usize = 256 << 20;

/// Files of dead letters read at the same time.
const READS_MAX: usize = 4;

#[derive(Debug, Args)]
#[command(mut_args(of_sources))]
pub struct InferArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// JSON is one event a line, plain, gzip or zstd; of MessagePack each file is one event; - is standard input
    #[arg(value_name = "FILE", required_unless_present_any = ["queue", "dead_letters"])]
    #[arg(conflicts_with_all = ["queue", "dead_letters"])]
    files: Vec<PathBuf>,
    /// Learn of the bodies of dead letters: all that are dead, or those that the options below mean
    #[arg(long, conflicts_with = "format")]
    dead_letters: bool,
    #[command(flatten)]
    filter: FilterArguments,
    /// Only those of which this became
    #[arg(long, value_enum, default_value_t = StateArgument::Dead)]
    state: StateArgument,
    /// What the samples are written in; of a queue that a pipeline reads, what that says, else json
    #[arg(long, value_enum)]
    format: Option<SampleFormat>,
    /// At most so many; all of files and of dead letters, 1,000 of a queue
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    samples: Option<u64>,
    /// Nothing beyond what was seen: no other fields, no numbers out of the range seen, no other values of strings that
    /// have few
    #[arg(long)]
    strict: bool,
    /// No value of a string stands in the schema
    #[arg(long)]
    no_enums: bool,
    /// The schema's title
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Findings as JSON objects, one a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SampleFormat {
    Json,
    Msgpack,
    /// Each says itself which of the two it is
    Auto,
}

/// What else the options of dead letters mean here: `--queue` alone is a queue to look at, the others go with
/// `--dead-letters`.
fn of_sources(arg: Arg) -> Arg {
    match arg.get_id().as_str() {
        "queue" => arg.help(
            "Learn of the messages at the head of this queue, which are given back; with --dead-letters, only of those \
             that came from it",
        ),
        "pipeline" | "group" | "code" | "since" | "until" | "exchange" | "routing_key" | "producer" | "event_id"
        | "message_id" | "headers" | "values" | "text" | "state" => {
            arg.requires("dead_letters").conflicts_with("files")
        }
        _ => arg,
    }
}

impl InferArgs {
    pub fn needs_config(&self) -> bool {
        self.dead_letters || self.filter.queue.is_some()
    }
}

/// Writes the schema to `out`, and what is to be said of it to `errors`.
///
/// # Errors
/// A source cannot be read, or none of its samples can.
pub async fn run(
    args: &InferArgs,
    config: Option<Config>,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> anyhow::Result<()> {
    let mut lesson = match (config, &args.filter.queue) {
        (None, _) => of_files(args)?,
        (Some(config), _) if args.dead_letters => of_dead_letters(args, &config).await?,
        (Some(config), Some(queue)) => of_queue(args, &config, queue).await?,
        (Some(_), None) => unreachable!("the configuration is for these two"),
    };
    lesson.tell_refused();
    if lesson.learner.samples() == 0 {
        lesson.notes.push("there is no sample to learn of".to_owned());
        bail!("{}", lesson.notes.join("; "));
    }
    let options = Options { title: args.name.clone(), strict: args.strict, no_enums: args.no_enums };
    let proposal = lesson.learner.propose(&options);
    let text = format!("{:#}\n", proposal.schema);
    lesson.notes.extend(without_columns(&text));
    out.write_all(text.as_bytes()).context("cannot write the output")?;
    // Nobody may be listening there.
    let _ = tell(&proposal, &lesson.notes, args.json, errors);
    Ok(())
}

fn tell(proposal: &Proposal, notes: &[String], as_json: bool, errors: &mut impl Write) -> io::Result<()> {
    for note in notes {
        match as_json {
            true => writeln!(errors, "{}", json!({ "note": note }))?,
            false => writeln!(errors, "{note}")?,
        }
    }
    for finding in &proposal.findings {
        if !as_json {
            writeln!(errors, "{finding}")?;
            continue;
        }
        let infer::Finding { path, doubt, chosen, evidence, alternative } = finding;
        let told = json!({
            "path": path, "doubt": doubt.as_str(), "chosen": chosen, "evidence": evidence, "alternative": alternative,
        });
        writeln!(errors, "{told}")?;
    }
    Ok(())
}

/// Why the schema gives no columns, if it gives none: that is not for the samples to say.
fn without_columns(schema: &str) -> Option<String> {
    let read = |_: &Path| Ok(schema.as_bytes().to_vec());
    let loaded = Schema::load(&Language::JsonSchema, Path::new("/inferred.json"), "inferred", 1, &read);
    let problem = match loaded {
        Ok(schema) => format!("{:#}", anyhow::Error::from(columns(&schema).err()?)),
        Err(error) => format!("{:#}", anyhow::Error::from(error)),
    };
    Some(format!("no pipeline takes this schema as it is: {problem}"))
}

/// What is being learned, of how many samples more.
struct Lesson {
    learner: Learner,
    decoder: Decoder,
    left: u64,
    /// Samples that cannot be decoded, by code: how many, and where the first is.
    refused: BTreeMap<&'static str, (u64, String)>,
    notes: Vec<String>,
}

impl Lesson {
    fn new(format: SampleFormat, samples_max: Option<u64>) -> Self {
        let limits = Limits { body_bytes_max: BODY_BYTES_MAX, depth_max: DEPTH_MAX };
        let decoder = match format {
            SampleFormat::Json => Decoder::Json(JsonDecoder::new(limits)),
            SampleFormat::Msgpack => Decoder::Msgpack(MsgpackDecoder::new(limits)),
            SampleFormat::Auto => {
                let auto = Auto::new(Types::Said, config::Framing::None, Arc::default());
                Decoder::new(&Wire::Auto(Box::new(auto)), limits)
            }
        };
        let learner = Learner::new(infer::Limits::default());
        let left = samples_max.unwrap_or(u64::MAX);
        Self { learner, decoder, left, refused: BTreeMap::new(), notes: Vec::new() }
    }

    /// Learns of one sample; `false`: it was the last that is wanted.
    fn take(&mut self, body: &[u8], place: impl FnOnce() -> String) -> bool {
        self.take_as(None, body, place)
    }

    /// The same of one that is said to be of that media type.
    fn take_as(&mut self, content_type: Option<&str>, body: &[u8], place: impl FnOnce() -> String) -> bool {
        let learner = &mut self.learner;
        match self.decoder.decode_as(content_type, body, |tape| learner.observe(tape.root())) {
            Ok(()) => self.left -= 1,
            Err(rejection) => {
                let code = rejection.issues().first().map_or("decode", |Issue { code, .. }| code.as_str());
                let known = self.refused.entry(code).or_insert_with(|| (0, place()));
                known.0 += 1;
            }
        }
        self.left > 0
    }

    fn tell_refused(&mut self) {
        for (code, (count, place)) in &self.refused {
            self.notes
                .push(format!("{count} samples were passed over, as they cannot be read ({code}); the first: {place}"));
        }
    }
}

fn of_files(args: &InferArgs) -> anyhow::Result<Lesson> {
    let format = args.format.unwrap_or(SampleFormat::Json);
    let mut lesson = Lesson::new(format, args.samples);
    for path in &args.files {
        let shown = path.display();
        if lesson.left == 0 {
            break;
        }
        if format == SampleFormat::Json {
            samples::each_line(path, |number, line| Ok(lesson.take(line, || format!("{shown}:{number}"))))?;
        } else {
            let mut body = Vec::new();
            let mut input = app::open_lines(path, false).with_context(|| format!("{shown}: cannot be read"))?;
            let most = BODY_BYTES_MAX as u64 + 1;
            Read::take(&mut input.reader, most)
                .read_to_end(&mut body)
                .with_context(|| format!("{shown}: cannot be read"))?;
            lesson.take(&body, || shown.to_string());
        }
    }
    Ok(lesson)
}

async fn of_queue(args: &InferArgs, config: &Config, queue: &str) -> anyhow::Result<Lesson> {
    let read_by = config.pipelines.iter().find(|pipeline| pipeline.queue == *queue);
    let read_as = read_by.and_then(|pipeline| pipeline.events.first()).map(|event| (event.format, event.native()));
    let format = match (args.format, read_as) {
        (Some(format), _) => format,
        (None, Some((config::Format::Auto, config::Format::Json))) => SampleFormat::Auto,
        (None, None | Some((_, config::Format::Json | config::Format::Auto))) => SampleFormat::Json,
        (None, Some((_, config::Format::Msgpack))) => SampleFormat::Msgpack,
        (None, Some((_, format @ (config::Format::Avro | config::Format::Protobuf)))) => {
            bail!("queue `{queue}` holds {}, which has a schema: --format says otherwise", format.as_str())
        }
    };
    let mut lesson = Lesson::new(format, None);
    let messages_max = args.samples.map_or(PEEK_MESSAGES, |samples| usize::try_from(samples).unwrap_or(usize::MAX));
    let name = "parqueduct schema infer".to_owned();
    let glance = Glance { queue: queue.to_owned(), messages_max, bytes_max: PEEK_BYTES_MAX, name };
    let messages = Rabbit::new(&config.rabbitmq, app::broker_surroundings())?.peek(&glance).await?;
    for (number, message) in (1..).zip(&messages) {
        let body = content::opened(message);
        let data = in_envelope(read_by, message, &body);
        let (content_type, body) = match &data {
            Some((content_type, data)) => (content_type.as_deref(), data.as_slice()),
            None => (message.properties.content_type.as_deref(), &*body),
        };
        lesson.take_as(content_type, body, || format!("message {number} from the queue's head"));
    }
    lesson.notes.push(format!(
        "{} messages of queue `{queue}` were looked at and given back: they are marked as redelivered, and a quorum queue \
         has counted one delivery of each towards its limit",
        messages.len()
    ));
    Ok(lesson)
}

/// The data of a CloudEvent that is the whole body of a message of that pipeline, and their media type.
fn in_envelope(
    pipeline: Option<&config::Pipeline>,
    message: &Message,
    opened: &[u8],
) -> Option<(Option<String>, Vec<u8>)> {
    pipeline.filter(|pipeline| pipeline.envelope == config::Envelope::CloudEvents)?;
    cloudevents::structured_data(message, opened)
}

async fn of_dead_letters(args: &InferArgs, config: &Config) -> anyhow::Result<Lesson> {
    let filter = args.filter.with(args.state, app::now())?;
    let store = app::open_store(config, &Arc::new(Metrics::new(crate::VERSION)))?;
    // What is binary is given as JSON.
    let mut lesson = Lesson::new(SampleFormat::Json, args.samples);
    let records = Records::new(store, READS_MAX);
    let unreadable = records
        .found(&filter, Order::NewestFirst, None, usize::MAX, |found| {
            let letter = found.letter;
            let document = letter.document();
            let data = in_envelope(config.pipeline(&letter.origin.pipeline), &letter.message, &document);
            let document = data.as_ref().map_or(&*document, |(_, data)| data.as_slice());
            match lesson.take(document, || format!("dead letter {}", letter.id)) {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })
        .await?;
    lesson.notes.extend(unreadable.into_iter().map(|file| format!("{:#}", anyhow::Error::from(file))));
    Ok(lesson)
}
