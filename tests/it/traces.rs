//! Traces that events are part of, and spans of flushes as a collector gets them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use parqueduct::event::{HeaderValue, Message, Properties};
use prost::Message as _;
use serde_json::Value;

use crate::harness::program::{Program, parqueduct, parqueduct_ok, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting};
use crate::harness::{now, orders, python};

const MINUTE: Duration = Duration::from_secs(60);

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// Takes spans, or answers with a status of its own.
struct Collector {
    address: SocketAddr,
    site: Arc<Site>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Site {
    spans: Mutex<Vec<Span>>,
    /// Attributes of the resource, and the header Authorization, as they came last.
    seen: Mutex<(BTreeMap<String, String>, Option<String>)>,
    refuse: Mutex<bool>,
}

impl Collector {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let site: Arc<Site> = Arc::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&site));
        runtime.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { address, site, _runtime: runtime }
    }

    fn spans(&self) -> Vec<Span> {
        self.site.spans.lock().expect("not poisoned").clone()
    }

    fn refuse(&self, refuse: bool) {
        *self.site.refuse.lock().expect("not poisoned") = refuse;
    }
}

async fn take(State(site): State<Arc<Site>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if *site.refuse.lock().expect("not poisoned") {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
    for of_resource in request.resource_spans {
        let attributes = of_resource.resource.expect("a resource").attributes;
        let named = attributes.into_iter().map(|pair| (pair.key, text(pair.value.and_then(|value| value.value))));
        let authorization = headers.get("Authorization").map(|value| value.to_str().expect("text").to_owned());
        *site.seen.lock().expect("not poisoned") = (named.collect(), authorization);
        let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        site.spans.lock().expect("not poisoned").extend(spans);
    }
    StatusCode::OK
}

fn text(value: Option<Any>) -> String {
    match value {
        Some(Any::StringValue(text)) => text,
        Some(Any::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

fn attribute(span: &Span, name: &str) -> String {
    let pair = span.attributes.iter().find(|pair| pair.key == name).unwrap_or_else(|| panic!("{name}: {span:?}"));
    text(pair.value.clone().and_then(|value| value.value))
}

fn traced(body: Vec<u8>, traceparent: &str) -> Message {
    let headers = vec![("traceparent".to_owned(), HeaderValue::Text(traceparent.as_bytes().to_vec()))];
    Message {
        body,
        properties: Properties { headers: Some(headers), ..Properties::default() }.into(),
        ..Message::default()
    }
}

fn setting(rabbit: &Rabbit, collector: &Collector) -> Setting {
    let more = format!(
        "[otlp]\nendpoint = \"http://{}\"\nauthorization = \"Bearer token-of-test\"\ninterval = \"100ms\"\n",
        collector.address
    );
    Setting::new(&Options { more: &more, ..Options::orders(rabbit.uri()) })
}

#[test]
fn events_keep_their_trace_and_flushes_are_spans_linked_with_it() {
    let (rabbit, collector) = (now(Rabbit::shared()), Collector::start());
    let setting = setting(&rabbit, &collector);
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let messages = [
        traced(orders::good(0), &parent),
        traced(orders::good(1), "00-no-trace-01"),
        Message { body: orders::good(2), ..Message::default() },
        traced(b"{}".to_vec(), &parent),
    ];
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(4, MINUTE);
    let spans = wait_for("spans", MINUTE, || {
        let spans = collector.spans();
        let flushes: Vec<_> = spans.iter().filter(|span| span.name == "flush").collect();
        let told: u64 = flushes
            .iter()
            .map(|span| attribute(span, "messaging.batch.message_count").parse::<u64>().expect("n"))
            .sum();
        (told == 4).then_some(spans)
    });
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success() && !log.contains("token-of-test") && !log.contains(" WARN "), "{log}");

    let rows = python::run_text(
        "import sys, glob, json, pyarrow.parquet as pq
rows = [row for path in glob.glob(sys.argv[1] + '/data/**/*.parquet', recursive=True)
        for row in pq.read_table(path, partitioning=None, columns=['_event_id', '_trace_id']).to_pylist()]
print(json.dumps({row['_event_id']: row['_trace_id'] for row in rows}, sort_keys=True))",
        &[setting.store().to_str().expect("UTF-8")],
    );
    assert_eq!(rows.trim(), format!("{{\"order-0\": \"{TRACE}\", \"order-1\": null, \"order-2\": null}}"));
    let listed = parqueduct_ok(&["dlq", "list", "--config", setting.config_text(), "--json"]);
    let letter: Value = serde_json::from_str(listed.lines().next().expect("a letter")).expect("JSON");
    assert_eq!(letter["trace_id"], TRACE);
    let shown =
        parqueduct_ok(&["dlq", "show", letter["id"].as_str().expect("an id"), "--config", setting.config_text()]);
    assert!(shown.contains(TRACE), "{shown}");

    let (resource, authorization) = collector.site.seen.lock().expect("not poisoned").clone();
    assert_eq!(authorization.as_deref(), Some("Bearer token-of-test"));
    assert_eq!(resource["service.name"], "parqueduct");
    let flush = spans.iter().find(|span| span.name == "flush" && !span.links.is_empty()).expect("a linked flush");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!((hex(&flush.links[0].trace_id), hex(&flush.links[0].span_id)), (TRACE.to_owned(), SPAN.to_owned()));
    assert_eq!(attribute(flush, "messaging.destination.name"), setting.queue);
    assert_eq!(attribute(flush, "parqueduct.fate"), "durable");
    let stages: Vec<_> = spans.iter().filter(|span| span.parent_span_id == flush.span_id).collect();
    let names: Vec<_> = stages.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names.len(), 7, "{names:?}");
    for name in ["fill", "encode", "wait", "intent", "objects", "proof", "outcome"] {
        let stage = stages.iter().find(|stage| stage.name == name).unwrap_or_else(|| panic!("{name} in {names:?}"));
        assert_eq!(stage.trace_id, flush.trace_id, "{name}");
        assert!(stage.start_time_unix_nano >= flush.start_time_unix_nano, "{name}");
        assert!(stage.end_time_unix_nano <= flush.end_time_unix_nano, "{name}");
    }
}

#[test]
fn what_the_environment_says_of_sampling_is_for_others() {
    let (rabbit, collector) = (now(Rabbit::shared()), Collector::start());
    let setting = setting(&rabbit, &collector);
    let others = [("OTEL_TRACES_SAMPLER", "always_off"), ("OTEL_SPAN_LINK_COUNT_LIMIT", "0")];
    let program = Program::start_with(&setting.config, &others).once_ready();
    now(rabbit.publish(&setting.queue, &[traced(orders::good(0), &format!("00-{TRACE}-{SPAN}-01"))]));
    program.wait_until_settled(1, MINUTE);
    let flush = wait_for("a flush", MINUTE, || collector.spans().into_iter().find(|span| span.name == "flush"));
    assert_eq!(flush.links.len(), 1, "{flush:?}");
}

#[test]
fn a_collector_in_trouble_holds_nothing_up() {
    let (rabbit, collector) = (now(Rabbit::shared()), Collector::start());
    let setting = setting(&rabbit, &collector);
    collector.refuse(true);
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &[Message { body: orders::good(0), ..Message::default() }]));
    program.wait_until_settled(1, MINUTE);
    let failed = || program.get("/metrics").1.contains("parqueduct_span_exports_total{outcome=\"failed\"}");
    wait_for("a failed export", MINUTE, || failed().then_some(()));
    assert_eq!(collector.spans(), []);
    collector.refuse(false);
    now(rabbit.publish(&setting.queue, &[Message { body: orders::good(1), ..Message::default() }]));
    program.wait_until_settled(2, MINUTE);
    // The end sends what waits.
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success() && log.contains("spans could not be sent to the collector"), "{log}");
    assert!(collector.spans().iter().any(|span| span.name == "flush"));
}

#[test]
fn a_collector_that_cannot_be_one_is_found_by_the_check() {
    let rabbit = now(Rabbit::shared());
    for (section, finding) in [
        ("endpoint = \"collector:4318\"", "is no address of a collector"),
        ("endpoint = \"http://a:b@c:4318\"", "holds a user or a password"),
        ("endpoint = \"http://c:4318?x=1\"", "holds more than an address"),
        ("authorization = \"x\"", "stands without endpoint"),
    ] {
        let more = format!("[otlp]\n{section}\n");
        let setting = Setting::new(&Options { more: &more, ..Options::orders(rabbit.uri()) });
        let checked = parqueduct(&["check", "--config", setting.config_text()]);
        let told = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
        assert!(told.contains(finding), "{section}: {told}");
    }
}
