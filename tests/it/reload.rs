//! Schemas that change while their pipeline runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use parqueduct::event::{Message, Properties};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::harness::program::{Program, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting, repository};
use crate::harness::{archive, now, orders, python};

const MINUTE: Duration = Duration::from_secs(60);

/// A pipeline of two shards, whose schema is a copy that may be changed.
struct Flow {
    rabbit: Rabbit,
    setting: Setting,
    schema: PathBuf,
    program: Program,
    published: usize,
}

impl Flow {
    fn start(more: &str) -> Self {
        let rabbit = now(Rabbit::shared());
        let mut options = Options::orders(rabbit.uri());
        options.pipeline = "declare = true\nshards = 2";
        options.more = more;
        let setting = Setting::new(&options);
        let original = repository().join("tests/data/order.v1.json");
        let schema = setting.directory.path().join("order.v1.json");
        std::fs::copy(&original, &schema).expect("it can be copied");
        setting.change(&original.display().to_string(), &schema.display().to_string());
        let program = Program::start_ready(&setting.config);
        Self { rabbit, setting, schema, program, published: 0 }
    }

    fn metric(&self, name: &str) -> f64 {
        self.program.metric(name)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.schema).expect("readable")
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.schema, text).expect("writable");
    }

    /// Puts `new` in the place of `old` in the schema, and waits until that many changes were taken and refused.
    fn change(&self, old: &str, new: &str, counts: (f64, f64)) {
        let text = self.text();
        assert!(text.contains(old), "{old} is not in {text}");
        self.write(&text.replace(old, new));
        self.wait_for(counts);
    }

    fn wait_for(&self, (taken, refused): (f64, f64)) {
        let of = |outcome: &str| {
            let text = self.program.get("/metrics").1;
            let series = format!("parqueduct_schema_reloads_total{{outcome=\"{outcome}\",pipeline=\"orders\"}} ");
            let value = text.lines().find_map(|line| line.strip_prefix(series.as_str()).map(str::to_owned));
            value.expect("the series").parse::<f64>().expect("a number")
        };
        let what = format!("{taken} schemas taken and {refused} refused");
        wait_for(&what, MINUTE, || (of("taken") == taken && of("refused") == refused).then_some(()));
    }

    /// Publishes so many orders more, each made of its number by `body`, and does not wait for them.
    fn publish(&mut self, count: usize, body: impl Fn(usize) -> Vec<u8>) {
        let properties = Properties { delivery_mode: Some(2), ..Properties::default() };
        let messages: Vec<_> = (self.published..self.published + count)
            .map(|n| Message { body: body(n), properties: properties.clone().into(), ..Message::default() })
            .collect();
        self.published += count;
        now(self.rabbit.publish(&self.setting.queue, &messages));
    }

    fn settle(&self) {
        self.program.wait_until_settled(self.published as u64, MINUTE);
    }

    /// Whether the file of each order has a column `channel`, and what it holds there.
    fn channels(&self) -> Vec<(usize, bool, Option<i64>)> {
        let mut found = Vec::new();
        for file in archive::data_files(&self.setting.store()) {
            let file = std::fs::File::open(file).expect("it can be opened");
            let rows = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("readable");
            for batch in rows {
                let batch = batch.expect("readable");
                let ids = batch.column_by_name("_event_id").expect("the column").as_string::<i32>();
                let channels = batch.column_by_name("channel").map(|column| column.as_primitive::<Int64Type>());
                for (row, id) in ids.iter().enumerate() {
                    let n = id.and_then(|id| id.strip_prefix("order-")?.parse().ok()).expect("an order");
                    let channel = channels.filter(|channels| channels.is_valid(row));
                    found.push((n, channels.is_some(), channel.map(|channels| channels.value(row))));
                }
            }
        }
        found
    }
}

/// The order number `n` with a field that the schema does not have at first.
fn with_channel(n: usize) -> Vec<u8> {
    let order = String::from_utf8(orders::good(n)).expect("UTF-8");
    order.replacen('{', &format!("{{\"channel\":{n},"), 1).into_bytes()
}

/// The rows, and those with a `channel`, and with a `since` of the customer, as DuckDB, Polars and PyArrow count them.
fn counted_by_name(tree: &Path) -> String {
    let script = repository().join("tests/engines/evolution.py");
    let done = Command::new(python::interpreter()).arg(script).arg(tree).output().expect("Python starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let lines = String::from_utf8(done.stdout).expect("UTF-8");
    let engines: BTreeSet<&str> = lines.lines().collect();
    assert_eq!((lines.lines().count(), engines.len()), (3, 1), "the engines disagree: {lines}");
    lines.lines().next().expect("a line").to_owned()
}

const NOTE: &str = "\"note\": {}";
const NOTE_AND_CHANNEL: &str = "\"note\": {}, \"channel\": {\"type\": \"integer\"}";

#[test]
fn a_new_optional_field_needs_no_restart_and_what_is_no_evolution_is_refused() {
    const OF_EACH: usize = 6000;
    let mut flow = Flow::start("[run]\nschema_reload = \"100ms\"\n");
    assert!(
        flow.program.get("/metrics").1.contains("parqueduct_schema_info{pipeline=\"orders\",schema=\"order@1\"} 1")
    );

    // The schema changes while events flow: none is lost over it, and none comes twice.
    flow.publish(OF_EACH, orders::good);
    flow.program.wait_for_more("parqueduct_archived_total", 0.0, MINUTE);
    flow.change(NOTE, NOTE_AND_CHANNEL, (1.0, 0.0));
    flow.publish(OF_EACH, with_channel);
    flow.settle();
    assert_eq!(flow.metric("parqueduct_archived_total"), 2.0 * OF_EACH as f64);
    let channels = flow.channels();
    assert_eq!(channels.len(), 2 * OF_EACH);
    assert!(channels.iter().any(|(_, has_column, _)| !has_column), "some came before");
    for (n, has_column, channel) in channels {
        let expected = (n >= OF_EACH).then_some(n as i64);
        assert_eq!(channel, expected, "order {n}");
        assert!(has_column || n < OF_EACH, "order {n}");
    }
    let log = flow.program.log();
    assert!(log.contains("a changed schema is taken") && log.contains("channel: new, Int64"), "{log}");
    assert!(log.contains("backward=\"yes\"") || log.contains("backward=yes"), "{log}");
    assert_eq!(flow.program.errors(), Vec::<String>::new());

    // Half of a file is no schema. It is said once, and the one before judges on.
    let whole = flow.text();
    flow.write(&whole[..whole.len() / 2]);
    flow.wait_for((1.0, 1.0));
    assert_eq!(flow.metric("parqueduct_schema_refused"), 1.0);
    flow.publish(500, with_channel);
    flow.settle();
    flow.write(&whole);
    wait_for("the schema to be what is in use", MINUTE, || {
        (flow.metric("parqueduct_schema_refused") == 0.0).then_some(())
    });
    flow.wait_for((1.0, 1.0));

    // A type that a column cannot hold beside the other, and a column that goes.
    flow.change("\"count\": { \"type\": \"integer\" }", "\"count\": { \"type\": \"number\" }", (1.0, 2.0));
    flow.publish(500, with_channel);
    flow.settle();
    flow.write(&whole.replace(NOTE_AND_CHANNEL, NOTE));
    flow.wait_for((1.0, 3.0));
    assert_eq!(flow.metric("parqueduct_schema_refused"), 1.0);
    let refusals = flow.program.errors();
    assert_eq!(refusals.len(), 3, "each is said once: {refusals:#?}");
    for (refusal, why) in
        refusals.iter().zip(["is not JSON", "count: was Int64, is Float64", "channel: gone, was Int64"])
    {
        assert!(refusal.contains("a changed schema is refused") && refusal.contains(why), "{refusal}");
    }

    // Mended, with one column more, within an object.
    let nested = "\"name\": { \"type\": [\"string\", \"null\"] }";
    flow.write(&whole.replace(nested, &format!("{nested}, \"since\": {{ \"type\": \"string\" }}")));
    flow.wait_for((2.0, 3.0));
    assert_eq!(flow.metric("parqueduct_schema_refused"), 0.0);
    flow.publish(500, |n| {
        let order = String::from_utf8(with_channel(n)).expect("UTF-8");
        order.replace("\"name\":null", "\"name\":null,\"since\":\"2020\"").into_bytes()
    });
    flow.settle();

    for (name, value) in [
        ("parqueduct_archived_total", flow.published as f64),
        ("parqueduct_dead_lettered_total", 0.0),
        ("parqueduct_requeued_total", 0.0),
        ("parqueduct_duplicates_suppressed_total", 0.0),
        ("parqueduct_broker_reconnects_total", 0.0),
        ("parqueduct_in_flight", 0.0),
        ("parqueduct_deliveries_total", flow.published as f64),
    ] {
        assert_eq!(flow.metric(name), value, "{name}");
    }
    let store = flow.setting.store();
    archive::assert_orders(&archive::event_ids(&store), flow.published, 1);
    // Who reads by names sees one dataset, with null where there was no such column.
    let counted = counted_by_name(&store.join("data/orders/v1"));
    assert_eq!(counted, format!("{} {} 500", flow.published, flow.published - OF_EACH));
    let (status, log) = flow.program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    assert!(log.contains("in_flight=0"), "{log}");
}

/// What the schema marks as sensitive is hidden as soon as it does; what it refers to is looked at, too.
#[test]
fn what_a_changed_file_of_the_schema_masks_is_hidden_from_viewers() {
    let token = "a-viewer-of-this-test-0123456789";
    let http = format!("[[http.token]]\nname = \"v\"\nrole = \"viewer\"\ntoken = \"{token}\"\n");
    let mut flow = Flow::start(&format!("[run]\nschema_reload = \"100ms\"\n{http}"));
    let beside = flow.setting.directory.path().join("status.json");
    std::fs::write(&beside, r#"{"enum": ["new", "paid", "sent"]}"#).expect("writable");
    flow.change(
        "\"status\": { \"enum\": [\"new\", \"paid\", \"sent\"] }",
        "\"status\": { \"$ref\": \"status.json\" }",
        (1.0, 0.0),
    );
    flow.publish(1, |_| orders::bad(17).body);
    flow.settle();
    let letters = flow.setting.dead_letters();
    let id = letters[0]["id"].as_str().expect("an id");
    let body = || {
        let path = format!("/api/v1/letters/{id}/body");
        let answer = flow.program.get_as(&path, token);
        assert_eq!(answer.0, 200, "{answer:?}");
        answer.1
    };
    assert!(body().contains("\"lost\""), "{}", body());
    std::fs::write(&beside, r#"{"enum": ["new", "paid", "sent"], "x-parqueduct-sensitive": true}"#).expect("writable");
    flow.wait_for((2.0, 0.0));
    assert!(!body().contains("lost"), "{}", body());
    assert_eq!(flow.program.errors(), Vec::<String>::new());
}
