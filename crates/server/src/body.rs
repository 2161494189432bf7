//! A request's body: of bounded size, in bounded time, JSON, with errors that name the field.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::App;
use crate::problem::{Problem, Result};

/// A body that was read as a `T`.
pub(crate) struct Sent<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Sent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self> {
        let limits = &app.options.limits;
        check_type(&request)?;
        let seconds = limits.body_seconds;
        let read = read(request, limits.body_bytes);
        let bytes = tokio::time::timeout(Duration::from_secs(seconds), read).await;
        let bytes = bytes.map_err(|_| Problem::slow_body(seconds))??;
        parse(&bytes).map(Sent)
    }
}

fn check_type(request: &Request) -> Result<()> {
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else {
        return Err(Problem::not_json_type("without a type"));
    };
    let value = value.to_str().unwrap_or("one that is not text");
    let essence = value.split(';').next().unwrap_or_default().trim();
    let json = essence.eq_ignore_ascii_case("application/json")
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    match json {
        true => Ok(()),
        false => Err(Problem::not_json_type(essence)),
    }
}

async fn read(request: Request, most: usize) -> Result<Vec<u8>> {
    let too_large = || Problem::too_large(format!("the body may have {most} bytes"));
    let told = request.headers().get(header::CONTENT_LENGTH);
    let told = told.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|told| told > most as u64) {
        return Err(too_large());
    }
    let body: Limited<Body> = Limited::new(request.into_body(), most);
    match body.collect().await {
        Ok(whole) => Ok(whole.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(Problem::bad_body(error.to_string())),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    // A list would be read as an object without names.
    if bytes.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes)
            .map_err(|error| Problem::not_json(error.to_string()))?;
        return Err(Problem::field("body", "must be an object, not a list"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() {
            let (field, row) = field_and_row(&path);
            return Problem::field(field, plain(&inner)).in_row(row);
        }
        Problem::not_json(inner.to_string())
    })?;
    let rest = reader
        .end()
        .map_err(|error| Problem::not_json(error.to_string()));
    rest.map(|()| value)
}

/// The message without its place in the text, which is of no use to whoever sent an object.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rfind(" at line ").map_or(&*text, |at| &text[..at]);
    // Rust's words for what people call otherwise.
    match text.split_once("expected struct ") {
        Some((before, _)) => format!("{before}expected an object"),
        None => text.replace("expected usize", "expected a whole number, 0 or more"),
    }
}

/// `text[3]` is row 3 of `text`.
fn field_and_row(path: &str) -> (String, Option<usize>) {
    let list = path.split_once('[').and_then(|(name, rest)| {
        let (row, _) = rest.split_once(']')?;
        Some((name.to_owned(), row.parse().ok()?))
    });
    match (list, path) {
        (Some((name, row)), _) => (name, Some(row)),
        (None, "." | "?") => ("body".to_owned(), None),
        (None, path) => (path.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Two {
        text: Vec<String>,
        top: Option<u32>,
    }

    #[test]
    fn an_object_is_read() {
        let two: Two = parse(br#" {"text": ["a"], "top": 3} "#).unwrap();
        assert_eq!((two.text, two.top), (vec!["a".to_owned()], Some(3)));
    }

    #[test]
    fn an_error_names_the_field_and_the_row() {
        let problem = |text: &str| {
            let problem = parse::<Two>(text.as_bytes()).unwrap_err();
            serde_json::to_value(&problem).unwrap()
        };
        let wrong = problem(r#"{"text": ["a", 3]}"#);
        assert_eq!(wrong["status"], 422);
        assert_eq!(
            (&wrong["field"], &wrong["row"]),
            (&"text".into(), &1.into())
        );
        let wrong = problem(r#"{"text": [], "top": -1}"#);
        assert_eq!(wrong["field"], "top");
        let wrong = problem(r#"{"text": [], "topp": 1}"#);
        assert_eq!(wrong["status"], 422);
        assert!(
            wrong["detail"].as_str().unwrap().contains("topp"),
            "{wrong}"
        );
        for text in ["", "{", r#"{"text": []} x"#, "\u{feff}{}"] {
            assert_eq!(problem(text)["status"], 400, "{text}");
        }
    }
}
