//! What all requests share, and what happens around each.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::Error;
use crate::api::{Dialect, documents, openai, operations, tei, v1};
use crate::auth::Keys;
use crate::batcher::{Batcher, said};
use crate::body::{self, Bodies};
use crate::config::ServeOptions;
use crate::metrics::{Metrics, OfRoute, Outcome};
use crate::models::Models;
use crate::page::page_file;
use crate::problem::{Problem, Result};
use crate::request_id;
use crate::tls;
use crate::traces::{self, Spanned, Traces};

/// Turns for work that takes a core for a while. What is long takes turns among its like alone: while
/// it goes on, the system shares the cores, and what is short is soon done.
pub(crate) struct Turns {
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

impl Turns {
    fn new(workers: usize) -> Self {
        // More would only wait for the same cores.
        let turns = || Arc::new(Semaphore::new(Self::at_once(workers)));
        Self {
            short: turns(),
            long: turns(),
        }
    }

    /// Of each kind.
    pub(crate) fn at_once(workers: usize) -> usize {
        workers.max(2)
    }

    /// The turns of work on so many bytes.
    pub(crate) fn of(&self, bytes: usize) -> Arc<Semaphore> {
        Arc::clone(match bytes <= body::LONG {
            true => &self.short,
            false => &self.long,
        })
    }
}

/// What all requests share.
pub(crate) struct App {
    pub(crate) options: ServeOptions,
    models: RwLock<Arc<Models>>,
    keys: RwLock<Keys>,
    tls: Option<RwLock<TlsAcceptor>>,
    pub(crate) batcher: Batcher,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) started: Instant,
    /// Threads that prepare requests.
    pub(crate) workers: usize,
    pub(crate) traces: Option<Traces>,
    requests: Semaphore,
    pub(crate) bodies: Bodies,
    pub(crate) turns: Turns,
    leaving: AtomicBool,
}

impl App {
    pub(crate) fn new(
        options: ServeOptions,
        workers: usize,
    ) -> std::result::Result<Arc<Self>, Error> {
        if let Some(name) = options.limits.zero() {
            return Err(Error::Zero(name));
        }
        if let Some(name) = options.limits.endless() {
            return Err(Error::Endless(name));
        }
        let models = load(&options)?;
        let metrics = Arc::new(Metrics::new());
        let batcher = Batcher::start(&options.limits, Arc::clone(&metrics))?;
        Ok(Arc::new(Self {
            traces: options.traces.as_deref().map(Traces::to).transpose()?,
            requests: Semaphore::new(options.limits.requests.min(Semaphore::MAX_PERMITS)),
            bodies: Bodies::new(options.limits.bodies_bytes),
            turns: Turns::new(workers),
            models: RwLock::new(Arc::new(models)),
            keys: RwLock::new(options.keys.clone()),
            tls: acceptor(&options)?.map(RwLock::new),
            batcher,
            metrics,
            started: Instant::now(),
            workers,
            leaving: AtomicBool::new(false),
            options,
        }))
    }

    /// The models as they are now. A request keeps those that it began with.
    pub(crate) fn models(&self) -> Arc<Models> {
        Arc::clone(&self.models.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The keys as they are now.
    fn keys(&self) -> Keys {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.clone()
    }

    /// What makes a TLS connection of a socket, with the certificate as it is now.
    pub(crate) fn tls(&self) -> Option<TlsAcceptor> {
        let tls = self.tls.as_ref()?;
        Some(tls.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Loads models, keys and certificate anew; where one of them cannot be loaded, all of before go
    /// on.
    fn reload(&self) -> std::result::Result<(), Error> {
        let keys = self.options.key_file.as_deref().map(Keys::from_file);
        let (keys, tls) = (keys.transpose()?, acceptor(&self.options)?);
        let models = load(&self.options)?;
        if let Some(keys) = keys {
            *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        }
        if let (Some(own), Some(tls)) = (&self.tls, tls) {
            *own.write().unwrap_or_else(PoisonError::into_inner) = tls;
        }
        *self.models.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(models);
        self.metrics.reloads.inc();
        Ok(())
    }

    /// A thread that loads everything anew whenever it is told, once for all that told it meanwhile.
    pub(crate) fn reloader(self: &Arc<Self>) -> std::result::Result<SyncSender<()>, Error> {
        let (tell, told) = sync_channel(1);
        let app = Arc::clone(self);
        let reload = move || {
            while let Ok(()) = told.recv() {
                match app.reload() {
                    Ok(()) => tracing::info!("models, keys and certificate were loaded anew"),
                    Err(error) => {
                        tracing::error!(%error, "nothing was loaded anew; what was there before goes on");
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("reloads".to_owned());
        thread.spawn(reload).map_err(Error::Thread)?;
        Ok(tell)
    }

    /// From now on nobody should send requests here.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }

    /// All routes.
    pub(crate) fn router(self: &Arc<Self>) -> std::result::Result<Router, Error> {
        let app = Arc::clone(self);
        let tasks = Router::new()
            .route("/v1/fill-mask", post(v1::fill_mask))
            .route("/v1/classify", post(v1::classify))
            .route("/v1/zero-shot", post(v1::zero_shot))
            .route("/v1/answer", post(v1::answer))
            .route("/v1/tag", post(v1::tag))
            .route("/v1/similarity", post(v1::similarity))
            .route("/v1/tokenize", post(v1::tokenize))
            .route("/v1/embeddings", post(openai::embeddings))
            .route("/", post(tei::root))
            .route("/embed", post(tei::embed))
            .route("/predict", post(tei::predict))
            .route("/rerank", post(tei::rerank))
            .route("/similarity", post(tei::similarity))
            .route("/tokenize", post(tei::tokenize))
            .route_layer(from_fn_with_state(Arc::clone(&app), admit));
        let lists = Router::new()
            .route("/v1/models", get(v1::models))
            .route("/v1/models/{name}", get(openai::model))
            .route("/info", get(tei::info))
            .route_layer(from_fn_with_state(Arc::clone(&app), let_in));
        let open = Router::new()
            .route("/health", get(operations::health))
            .route("/ready", get(operations::ready))
            .route("/metrics", get(operations::metrics))
            .route("/openapi.json", get(documents::openapi))
            .route("/", get(page));
        let router = tasks
            .merge(lists)
            .merge(open)
            .fallback(page)
            .method_not_allowed_fallback(wrong_method)
            .with_state(Arc::clone(&app))
            .layer(CatchPanicLayer::custom(panicked));
        let router = match cors(&self.options.cors_origins)? {
            Some(cors) => router.layer(cors),
            None => router,
        };
        Ok(router.layer(from_fn_with_state(app, around)))
    }
}

fn acceptor(options: &ServeOptions) -> std::result::Result<Option<TlsAcceptor>, Error> {
    options.tls.as_ref().map(tls::acceptor).transpose()
}

/// The models, each of which has run once where there was time for it.
fn load(options: &ServeOptions) -> std::result::Result<Models, Error> {
    let models = Models::load(&options.models, options.threads, options.early_exit)?;
    let began = Instant::now();
    for model in models.all() {
        if began.elapsed() >= options.warmup {
            break;
        }
        model.warm_up().map_err(|error| Error::Model {
            name: model.name.clone(),
            error,
        })?;
    }
    Ok(models)
}

/// Headers for pages of other origins, where there are such.
fn cors(origins: &[String]) -> std::result::Result<Option<CorsLayer>, Error> {
    if origins.is_empty() {
        return Ok(None);
    }
    let allowed = match origins.iter().any(|origin| origin == "*") {
        true => AllowOrigin::any(),
        false => {
            let parse = |origin: &String| {
                let wrong = || Error::Origin(origin.clone());
                // A browser sends a scheme, a host and perhaps a port.
                let rest = origin.strip_prefix("http://");
                let rest = rest.or_else(|| origin.strip_prefix("https://"));
                let plain = rest.is_some_and(|rest| {
                    !rest.is_empty() && !rest.contains(['/', '?', '#', '@', '*'])
                });
                let value = HeaderValue::from_str(origin).map_err(|_| wrong())?;
                plain.then_some(value).ok_or_else(wrong)
            };
            AllowOrigin::list(
                origins
                    .iter()
                    .map(parse)
                    .collect::<std::result::Result<Vec<_>, Error>>()?,
            )
        }
    };
    let id = HeaderName::from_static(request_id::HEADER);
    Ok(Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::POST])
            // Clients send headers of their own, such as OpenAI's `x-stainless-os`; none means more here
            // than what a key decides.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers([id, header::RETRY_AFTER, tei::TRUNCATED])
            .max_age(Duration::from_secs(3600)),
    ))
}

/// Around everything: an id, a line in the log, numbers.
async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id::of(request.headers());
    let method = request.method().clone();
    // Routes are few; paths that callers make up are not.
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or("other", MatchedPath::as_str).to_owned();
    app.metrics.in_flight.inc();
    let traces = app.traces.as_ref();
    let span = traces.map(|traces| traces.begin(request.headers(), &method, &route, &id));
    let mut under_way = UnderWay {
        span,
        app: &app,
        id: id.clone(),
        method,
        route,
        began,
        status: None,
    };
    let answer = traces::within(under_way.span.as_ref(), next.run(request));
    let mut response = request_id::CURRENT.scope(id.clone(), answer).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        let name = HeaderName::from_static(request_id::HEADER);
        response.headers_mut().insert(name, value);
    }
    if app.is_leaving() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    under_way.status = Some(response.status().as_u16());
    response
}

/// A request's status where its caller left before there was one, as web servers log it.
const LEFT: u16 = 499;

/// A request that is told of once it ends, however it does.
struct UnderWay<'a> {
    app: &'a App,
    id: String,
    method: Method,
    route: String,
    began: Instant,
    span: Option<Spanned>,
    status: Option<u16>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let Self {
            id, method, route, ..
        } = &*self;
        let metrics = &self.app.metrics;
        metrics.in_flight.dec();
        let status = self.status.unwrap_or(LEFT);
        let seconds = self.began.elapsed().as_secs_f64();
        let ms = (seconds * 1e6).round() / 1e3;
        match status {
            // It ends, as it was told to.
            503 => tracing::info!(id, %method, route, status, ms, "request"),
            500.. => tracing::error!(id, %method, route, status, ms, "request"),
            _ => tracing::info!(id, %method, route, status, ms, "request"),
        }
        if let Some(span) = &self.span {
            span.end(status);
        }
        let outcome = Outcome {
            route: route.clone(),
            status,
        };
        metrics.requests.get_or_create(&outcome).inc();
        let of_route = OfRoute {
            route: route.clone(),
        };
        metrics.seconds.get_or_create(&of_route).observe(seconds);
        if status == 429 {
            metrics.rejected.get_or_create(&of_route).inc();
        }
    }
}

/// With a request on a connection that came while the server was ending already.
#[derive(Clone, Copy)]
pub(crate) struct TooLate;

/// Whether it is in time, and has a key.
fn entitled(app: &App, request: &Request) -> Result<()> {
    if request.extensions().get::<TooLate>().is_some() {
        return Err(Problem::draining());
    }
    app.keys().admit(request.headers())
}

/// Around what needs a key.
async fn let_in(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match entitled(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => Dialect::of(request.uri().path()).refuse(problem),
    }
}

/// Around what is computed: a key, a body, a place, a time.
async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let dialect = Dialect::of(request.uri().path());
    let response = match admitted(&app, request, next).await {
        Ok(response) => response,
        Err(problem) => dialect.refuse(problem),
    };
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        // It holds nothing of what the others may need, but its connection.
        tokio::time::sleep(Duration::from_millis(app.options.limits.refusal_ms)).await;
    }
    response
}

async fn admitted(app: &App, request: Request, next: Next) -> Result<Response> {
    if let Err(problem) = entitled(app, &request) {
        body::forget(app, request).await;
        return Err(problem);
    }
    let receiving = traces::part("receive");
    let (request, _held) = body::arrived(app, request).await?;
    drop(receiving);
    let limits = &app.options.limits;
    let _place = app.requests.try_acquire().map_err(|_| {
        let detail = format!("{} requests are being answered already", limits.requests);
        Problem::busy(detail, 1)
    })?;
    let seconds = limits.request_seconds;
    let answer = tokio::time::timeout(Duration::from_secs(seconds), next.run(request));
    answer.await.map_err(|_| Problem::too_slow(seconds))
}

/// The page's files, which need no key: the page asks for it.
async fn page(request: Request) -> Response {
    let path = request.uri().path();
    let file = match *request.method() {
        Method::GET | Method::HEAD => page_file(path),
        _ => None,
    };
    let Some(file) = file else {
        return Problem::no_route(path).into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, file.content_type),
        // Files change with the program alone.
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; \
             frame-ancestors 'none'; base-uri 'self'; form-action 'self'",
        ),
    ];
    (headers, Body::from(file.bytes)).into_response()
}

async fn wrong_method(request: Request) -> Problem {
    let detail = format!(
        "{} {} is not there; /openapi.json lists what there is",
        request.method(),
        request.uri().path()
    );
    Problem::wrong_method(detail)
}

/// A handler that panicked: its request fails, and nothing else.
#[allow(clippy::needless_pass_by_value)] // As the layer calls it.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    tracing::error!(panic = said(&*panic), "a request failed");
    Problem::internal("the request failed; the log has more").into_response()
}
