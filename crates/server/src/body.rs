//! A request's body: of bounded size, in bounded time, in memory that all requests share, JSON, with
//! errors that name the field.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::App;
use crate::problem::{Problem, Result};
use crate::request_id;

/// What takes more bytes is long: it is parsed beside the threads that answer sockets, and its texts are
/// cut into pieces so many bytes at a time.
pub(crate) const LONG: usize = 64 << 10;

/// So many bytes of every body are nobody's concern: what small requests need cannot be taken by
/// large ones, and connections bound how many there are.
const SMALL: usize = 64 << 10;

/// The body of a request that is refused unread is taken off the wire for so long, up to twice what a body
/// may have: who is cut off while sending may never see an answer.
const FORGETTING: Duration = Duration::from_secs(1);

/// Memory for bodies, of all requests together.
pub(crate) struct Bodies {
    /// A permit is a KiB.
    free: Arc<Semaphore>,
    bytes: usize,
}

impl Bodies {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(
                bytes.div_ceil(1024).min(Semaphore::MAX_PERMITS),
            )),
            bytes,
        }
    }

    /// Takes as much as a body of some bytes needs beyond what it holds.
    fn hold(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<()> {
        let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let needs = bytes.saturating_sub(SMALL).div_ceil(1024);
        let more = needs.saturating_sub(has);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more)
            .ok()
            .and_then(|more| Arc::clone(&self.free).try_acquire_many_owned(more).ok());
        let Some(more) = more else {
            let detail = format!("requests fill the {} bytes that they may take", self.bytes);
            return Err(Problem::busy(detail, 1));
        };
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }
}

/// The request once its body is here, and the memory that is taken for it. It has had no place
/// among those that are answered until then: who sends slowly keeps no small request out.
pub(crate) async fn arrived(
    app: &App,
    request: Request,
) -> Result<(Request, Option<OwnedSemaphorePermit>)> {
    if let Err(problem) = check_head(app, &request) {
        forget(app, request).await;
        return Err(problem);
    }
    let seconds = app.options.limits.body_seconds;
    let (head, body) = request.into_parts();
    let read = read(app, body);
    let bytes = tokio::time::timeout(Duration::from_secs(seconds), read).await;
    let (bytes, held) = bytes.map_err(|_| Problem::slow_body(seconds))??;
    if app.options.log_texts {
        let (id, body) = (request_id::current(), String::from_utf8_lossy(&bytes));
        tracing::info!(id, %body, "asked");
    }
    Ok((Request::from_parts(head, Body::from(bytes)), held))
}

/// Takes the body of a request that is refused, unless its caller waits to be told to send it.
pub(crate) async fn forget(app: &App, request: Request) {
    if request.headers().contains_key(header::EXPECT) {
        return;
    }
    let (mut body, most) = (request.into_body(), most_bytes(app));
    let take = async {
        let mut length = 0;
        while let Some(Ok(frame)) = body.frame().await {
            length += frame.data_ref().map_or(0, Bytes::len);
            if length > 2 * most {
                break;
            }
        }
    };
    // What is left is cut off.
    let _ = tokio::time::timeout(FORGETTING, take).await;
}

/// What a body may have: what could never be held is too large, and not for another time.
fn most_bytes(app: &App) -> usize {
    let limits = &app.options.limits;
    limits.body_bytes.min(limits.bodies_bytes + SMALL)
}

fn too_large(most: usize) -> Problem {
    Problem::too_large(format!("the body may have {most} bytes"))
}

async fn read(app: &App, mut body: Body) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>)> {
    let most = most_bytes(app);
    let (mut bytes, mut held) = (Vec::new(), None);
    let (mut length, mut refused) = (0, None);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Problem::bad_body(error.to_string()))?;
        // Trailers say nothing here.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length += data.len();
        if length > most {
            return Err(too_large(most));
        }
        if refused.is_none()
            && let Err(busy) = app.bodies.hold(&mut held, length)
        {
            // The rest is read and forgotten: who is cut off while sending may never see an answer.
            (bytes, held) = (Vec::new(), None);
            refused = Some(busy);
        }
        if refused.is_none() {
            bytes.extend_from_slice(&data);
        }
    }
    match refused {
        Some(busy) => Err(busy),
        None => Ok((bytes, held)),
    }
}

/// A body, which has [arrived], read as a `T`.
pub(crate) struct Sent<T>(pub(crate) T);

impl<T: DeserializeOwned + Send + 'static> FromRequest<Arc<App>> for Sent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self> {
        let body = request.into_body().collect().await;
        let bytes: Bytes = body
            .map_err(|error| Problem::bad_body(error.to_string()))?
            .to_bytes();
        match bytes.len() <= LONG {
            true => parse(&bytes),
            false => app.aside(bytes.len(), move || parse(&bytes)).await?,
        }
        .map(Sent)
    }
}

/// What a request's head says of its body.
fn check_head(app: &App, request: &Request) -> Result<()> {
    check_type(request)?;
    let told = request.headers().get(header::CONTENT_LENGTH);
    let told = told.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let most = most_bytes(app);
    match told.is_some_and(|told| told > most as u64) {
        true => Err(too_large(most)),
        false => Ok(()),
    }
}

fn check_type(request: &Request) -> Result<()> {
    let packed = request.headers().get(header::CONTENT_ENCODING);
    if let Some(packed) = packed.filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(Problem::packed(&String::from_utf8_lossy(packed.as_bytes())));
    }
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
            let (mut field, row) = field_and_row(&path);
            let said = plain(&inner);
            if let Some(named) = missing_or_twice(&said) {
                field = match field == "body" {
                    true => named.to_owned(),
                    false => format!("{field}.{named}"),
                };
            }
            return Problem::field(field, said).in_row(row);
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

/// The field that an object lacks, or has twice: its path leads to the object.
fn missing_or_twice(said: &str) -> Option<&str> {
    let named = said.strip_prefix("missing field `");
    let named = named.or_else(|| said.strip_prefix("duplicate field `"));
    Some(named?.split_once('`')?.0)
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
        let lacking = problem(r#"{"top": 1}"#);
        assert_eq!(
            (&lacking["status"], &lacking["field"]),
            (&422.into(), &"text".into())
        );
        let twice = problem(r#"{"text": [], "top": 1, "top": 2}"#);
        assert_eq!(
            (&twice["status"], &twice["field"]),
            (&422.into(), &"top".into())
        );
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
