//! Spans of flushes, sent to a collector as OTLP over HTTP (<https://opentelemetry.io/docs/specs/otlp/>). Best effort: what
//! cannot be sent is dropped and counted, and holds nothing up.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanLimits,
};
use tokio::runtime::Handle;
use tracing::warn;

use crate::VERSION;
use crate::app::machine;
use crate::config::{self, Secret};
use crate::ingest::{FlushSpan, Spans};
use crate::metrics::{Metrics, SpanExport};
use crate::store::flush::Source;
use crate::web::Web;

/// Bytes of an answer that are read: collectors say little.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How long the last spans may take at the end of the process.
const END_MAX: Duration = Duration::from_secs(2);

/// Sends what flushes tell.
pub struct Otlp {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Otlp {
    /// Within a runtime, which the requests are made on.
    ///
    /// # Errors
    /// What the exporter says of its configuration.
    pub fn start(config: &config::Otlp, instance: &str, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let client = Client {
            web: Arc::new(Web { ca: config.ca.clone(), patience: config.timeout }),
            authorization: config.authorization.clone(),
            runtime: Handle::current(),
            metrics: Arc::clone(metrics),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(format!("{}/v1/traces", config.endpoint))
            .with_timeout(config.timeout)
            .build()?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(config.queue_max)
            .with_max_export_batch_size(config.queue_max.min(512))
            .with_scheduled_delay(config.interval)
            .build();
        let resource = Resource::builder_empty().with_attributes([
            KeyValue::new("service.name", "parqueduct"),
            KeyValue::new("service.version", VERSION),
            KeyValue::new("service.instance.id", instance.to_owned()),
        ]);
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        // Both said: else the library takes what the environment has for other programs (OTEL_TRACES_SAMPLER and its like).
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOn)
            .with_span_limits(SpanLimits::default())
            .with_span_processor(processor)
            .with_resource(resource.build())
            .build();
        Ok(Self { tracer: provider.tracer("parqueduct"), provider })
    }

    /// Sends what is left.
    pub async fn end(&self) {
        let provider = self.provider.clone();
        // It waits for the requests, which need this thread.
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(END_MAX)).await;
        if !matches!(ended, Ok(Ok(()))) {
            warn!("the last spans could not be sent: they are dropped");
        }
    }
}

impl Spans for Otlp {
    fn flush(&self, span: FlushSpan) {
        let whole = self.tracer.build_with_context(of_flush(&span), &Context::new());
        let context = Context::new().with_remote_span_context(whole.span_context().clone());
        for stage in &span.stages {
            let builder = SpanBuilder::from_name(stage.name)
                .with_kind(SpanKind::Internal)
                .with_start_time(SystemTime::from(stage.began));
            let mut part = self.tracer.build_with_context(builder, &context);
            if let Some(failure) = stage.failure {
                part.set_attribute(KeyValue::new("error.type", failure));
                part.set_status(Status::error(failure));
            }
            part.end_with_timestamp(stage.ended.into());
        }
        let mut whole = whole;
        if !span.durable {
            whole.set_status(Status::error("its deliveries went back to the queue"));
        }
        whole.end_with_timestamp(span.ended.into());
    }
}

/// The span around the stages. Names of attributes are those of the semantic conventions for messaging where they have one
/// (<https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/>).
fn of_flush(span: &FlushSpan) -> SpanBuilder {
    let figure = |name: &'static str, value: u64| KeyValue::new(name, i64::try_from(value).unwrap_or(i64::MAX));
    let mut attributes = vec![
        KeyValue::new("parqueduct.pipeline", span.pipeline.clone()),
        KeyValue::new("parqueduct.flush", span.flush.to_string()),
        KeyValue::new("parqueduct.fate", if span.durable { "durable" } else { "abandoned" }),
        figure("messaging.batch.message_count", span.deliveries),
        figure("parqueduct.archived", span.archived),
        figure("parqueduct.dead_lettered", span.dead_lettered),
        figure("parqueduct.suppressed", span.suppressed),
        figure("parqueduct.files", span.files),
        figure("parqueduct.bytes", span.bytes),
    ];
    match &span.source {
        Source::Queue { queue, shard } => attributes.extend([
            KeyValue::new("messaging.system", "rabbitmq"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", queue.clone()),
            KeyValue::new("parqueduct.shard", i64::from(*shard)),
        ]),
        Source::File { .. } => {}
    }
    let links = span.links.iter().filter_map(|(trace, span)| {
        let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
        let context = SpanContext::new(trace, span, TraceFlags::default(), true, TraceState::NONE);
        Some(Link::with_context(context))
    });
    SpanBuilder::from_name("flush")
        .with_kind(SpanKind::Consumer)
        .with_start_time(SystemTime::from(span.began))
        .with_attributes(attributes)
        .with_links(links.collect())
}

/// Our own HTTP client under the exporter, which calls it on a thread that is not the runtime's.
struct Client {
    web: Arc<Web>,
    authorization: Option<Secret>,
    runtime: Handle,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let authorization = self.authorization.as_ref().map(machine::secret).transpose();
        let web = Arc::clone(&self.web);
        let answered = match authorization {
            Ok(authorization) => {
                let asked = self.runtime.spawn(async move { send(&web, request, authorization).await });
                asked.await.unwrap_or_else(|_| Err("the process ends".to_owned()))
            }
            Err(unread) => Err(unread),
        };
        let refused = match &answered {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(reason) => Some(reason.clone()),
        };
        self.metrics.spans_exported(if refused.is_none() { SpanExport::Sent } else { SpanExport::Failed });
        if let Some(reason) = refused {
            warn!(reason, "spans could not be sent to the collector: they are dropped");
        }
        answered.map_err(Into::into)
    }
}

async fn send(web: &Web, request: Request<Bytes>, authorization: Option<String>) -> Result<Response<Bytes>, String> {
    let (parts, body) = request.into_parts();
    let ask = |client: &reqwest::Client| {
        let request = client.post(parts.uri.to_string()).headers(parts.headers).body(body);
        match authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        }
    };
    let answer = web.ask(ask, ANSWER_BYTES_MAX).await?;
    Response::builder().status(answer.status).body(answer.body.into()).map_err(|error| error.to_string())
}
