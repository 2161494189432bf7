//! For whoever runs the server.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;

use crate::App;
use crate::problem::Problem;

/// How the server is.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Health {
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
}

fn health_of(app: &App, status: &'static str) -> Json<Health> {
    Json(Health {
        status,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: app.started.elapsed().as_secs(),
    })
}

/// Whether the process lives.
#[utoipa::path(
    get, path = "/health", tag = "operations",
    responses((status = 200, description = "It does", body = Health))
)]
pub(crate) async fn health(State(app): State<Arc<App>>) -> Json<Health> {
    health_of(&app, "alive")
}

/// Whether requests should be sent here.
#[utoipa::path(
    get, path = "/ready", tag = "operations",
    responses(
        (status = 200, description = "They should", body = Health),
        (
            status = 503, description = "The server is ending", body = Problem,
            content_type = "application/problem+json"
        )
    )
)]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Health>, Problem> {
    match app.is_leaving() {
        true => Err(Problem::draining()),
        false => Ok(health_of(&app, "ready")),
    }
}

/// Numbers for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operations",
    responses((
        status = 200, description = "OpenMetrics text", body = String,
        content_type = "application/openmetrics-text"
    ))
)]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.text())
}
