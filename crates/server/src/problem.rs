//! Refusals, as RFC 9457 writes them.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::request_id;

/// Why a request was not answered: `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct Problem {
    /// What kind it is, in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request.
    detail: String,
    /// The field of the body that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    field: Option<Box<str>>,
    /// Where that field is a list, the index in it, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<usize>,
    /// The request's id, as in `x-request-id` and in the log.
    #[schema(value_type = String)]
    request_id: Box<str>,
    #[serde(skip)]
    retry_after: Option<u64>,
}

pub(crate) type Result<T> = std::result::Result<T, Problem>;

impl Problem {
    fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            title,
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
            row: None,
            request_id: request_id::current().into(),
            retry_after: None,
        }
    }

    pub(crate) fn not_json(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "The body is not JSON", detail)
    }

    pub(crate) fn bad_body(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "The body did not arrive", detail)
    }

    pub(crate) fn no_key() -> Self {
        let detail = "this server asks for a key: `Authorization: Bearer KEY`";
        Self::new(
            StatusCode::UNAUTHORIZED,
            "The key is missing or wrong",
            detail,
        )
    }

    pub(crate) fn no_route(path: &str) -> Self {
        let detail = format!("there is nothing at {path}; /openapi.json lists what there is");
        Self::new(StatusCode::NOT_FOUND, "There is no such route", detail)
    }

    pub(crate) fn wrong_method(detail: impl Into<String>) -> Self {
        let title = "The route does not take this method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, title, detail)
    }

    pub(crate) fn slow_body(seconds: u64) -> Self {
        let detail = format!("the body took more than {seconds} s to arrive");
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "The body came too slowly",
            detail,
        )
    }

    pub(crate) fn too_large(detail: impl Into<String>) -> Self {
        let title = "The request is too large";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, title, detail)
    }

    pub(crate) fn not_json_type(found: &str) -> Self {
        let detail = format!("the body must be application/json, not {found}");
        let title = "The body has another type";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, title, detail)
    }

    /// A field that says something that cannot be.
    pub(crate) fn field(field: impl Into<Box<str>>, detail: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..Self::unable(detail)
        }
    }

    /// The same where the field is a list.
    pub(crate) fn in_row(mut self, row: Option<usize>) -> Self {
        self.row = row;
        self
    }

    /// The same where rows from `first` on are those of another field, which may be a list.
    pub(crate) fn moved(mut self, first: usize, field: &str, list: bool) -> Self {
        if let Some(row) = self.row.filter(|row| *row >= first) {
            self.row = list.then_some(row - first);
            self.field = Some(field.into());
        }
        self
    }

    pub(crate) fn busy(detail: impl Into<String>, seconds: u64) -> Self {
        Self::later("The server has too much to do", detail, seconds)
    }

    /// Beyond the rate of a key.
    pub(crate) fn too_often(detail: impl Into<String>, seconds: u64) -> Self {
        Self::later("This key asks too often", detail, seconds)
    }

    /// What may be asked again in so many seconds.
    fn later(title: &'static str, detail: impl Into<String>, seconds: u64) -> Self {
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, title, detail);
        problem.retry_after = Some(seconds.max(1));
        problem
    }

    /// A route that no request can be answered on.
    pub(crate) fn unable(detail: impl Into<String>) -> Self {
        let title = "The request cannot be answered";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, title, detail)
    }

    pub(crate) fn packed(encoding: &str) -> Self {
        let detail = format!("the body is packed ({encoding}); bodies are read as they are");
        let title = "The body is of a kind that is not read";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, title, detail)
    }

    pub(crate) fn draining() -> Self {
        let detail = "the server is about to end and answers only what it has accepted";
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The server is ending",
            detail,
        );
        problem.retry_after = Some(1);
        problem
    }

    pub(crate) fn too_slow(seconds: u64) -> Self {
        let detail = format!("no answer within {seconds} s; the request was given up");
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "The answer took too long",
            detail,
        )
    }

    /// Something that is our fault.
    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        let title = "The server failed";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, title, detail)
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status.as_u16();
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    pub(crate) fn about(&self) -> Option<&str> {
        self.field.as_deref()
    }
}

impl Problem {
    /// As a response, with fields that the clients of others read.
    pub(crate) fn with_fields(self, fields: Value) -> Response {
        let (status, retry_after) = (self.status(), self.retry_after.map(HeaderValue::from));
        let mut body = json!(self);
        if let (Value::Object(body), Value::Object(fields)) = (&mut body, fields) {
            body.extend(fields);
        }
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.with_fields(json!({}))
    }
}
