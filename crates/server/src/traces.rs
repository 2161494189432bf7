//! Traces for OpenTelemetry: a span for every request, and in it spans of its parts, sent by OTLP
//! over HTTP. Texts never are in them.

use std::time::Duration;

use async_trait::async_trait;
use axum::http::{HeaderMap, Method};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, Key, KeyValue};
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use crate::Error;

/// What sends spans away may take so long; those that are left at the end, too.
const PATIENCE: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// The span of the request that the task answers, where there are traces.
    static CURRENT: Option<(SdkTracer, Context)>;
}

/// Where spans go.
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// To a collector, which takes them at `endpoint`. Name, headers, share
    /// and batches of what is sent are told by the environment (`OTEL_SERVICE_NAME` and so on).
    ///
    /// # Errors
    /// [`Error::Traces`] where the address is none.
    pub(crate) fn to(endpoint: &str) -> Result<Self, Error> {
        let wrong = |why: String| Error::Traces {
            endpoint: endpoint.to_owned(),
            why,
        };
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            return Err(wrong("it must begin with http:// or https://".to_owned()));
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new())
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let mut resource = Resource::builder().build();
        let name = resource.get(&Key::from_static_str("service.name"));
        if name.is_none_or(|name| name.as_str().starts_with("unknown_service")) {
            resource = Resource::builder().with_service_name("albert").build();
        }
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_batch_exporter(exporter)
            .build();
        Ok(Self {
            tracer: provider.tracer("albert-server"),
            provider,
        })
    }

    /// A request's span, within that of its caller if `headers` name one.
    pub(crate) fn begin(
        &self,
        headers: &HeaderMap,
        method: &Method,
        route: &str,
        id: &str,
    ) -> Spanned {
        let caller = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        let builder = self
            .tracer
            .span_builder(format!("{method} {route}"))
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", method.to_string()),
                KeyValue::new("http.route", route.to_owned()),
                KeyValue::new("albert.request_id", id.to_owned()),
            ]);
        let span = self.tracer.build_with_context(builder, &caller);
        Spanned {
            tracer: self.tracer.clone(),
            context: caller.with_span(span),
        }
    }

    /// Sends what is left.
    pub(crate) fn end(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(PATIENCE) {
            tracing::warn!(%error, "not all traces were sent");
        }
    }
}

/// A request's span.
pub(crate) struct Spanned {
    tracer: SdkTracer,
    context: Context,
}

impl Spanned {
    /// Ends it with the status of the answer.
    pub(crate) fn end(&self, status: u16) {
        let span = self.context.span();
        let status_code = KeyValue::new("http.response.status_code", i64::from(status));
        span.set_attribute(status_code);
        if status >= 500 {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

/// Answers a request, whose parts are within its span.
pub(crate) async fn within<F: Future>(request: Option<&Spanned>, answer: F) -> F::Output {
    let current = request.map(|span| (span.tracer.clone(), span.context.clone()));
    CURRENT.scope(current, answer).await
}

/// A part of the request that the task answers, until it is dropped.
pub(crate) struct Part(Option<Context>);

/// Begins a part of the request that the task answers.
pub(crate) fn part(name: &'static str) -> Part {
    let begun = CURRENT.try_with(|current| {
        let (tracer, request) = current.as_ref()?;
        let span = tracer.start_with_context(name, request);
        Some(request.with_span(span))
    });
    Part(begun.ok().flatten())
}

impl Part {
    /// Notes a number.
    pub(crate) fn note(&self, name: &'static str, value: f64) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(name, value));
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

/// Sends spans from the thread that collects them.
#[derive(Debug)]
struct Client(ureq::Agent);

impl Client {
    fn new() -> Self {
        Self(ureq::AgentBuilder::new().timeout(PATIENCE).build())
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let mut call = self.0.request(head.method.as_str(), &head.uri.to_string());
        for (name, value) in &head.headers {
            call = call.set(name.as_str(), value.to_str()?);
        }
        let reply = match call.send_bytes(&body) {
            Ok(reply) | Err(ureq::Error::Status(_, reply)) => reply,
            Err(error) => return Err(error.into()),
        };
        // What a collector says beyond its status is of no use here.
        let reply = Response::builder().status(reply.status());
        Ok(reply.body(Bytes::new())?)
    }
}
