//! The description of all routes, made from the types that they take and give.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::{openai, operations, tei, v1};
use crate::problem::Problem;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ALBERT",
        description = "A Lite BERT over HTTP: `albert serve`. Every refusal is a problem of \
            RFC 9457 that names the field, and the row where the field is a list."
    ),
    paths(
        v1::fill_mask,
        v1::classify,
        v1::zero_shot,
        v1::answer,
        v1::tag,
        v1::similarity,
        v1::tokenize,
        v1::models,
        openai::embeddings,
        openai::model,
        tei::root,
        tei::embed,
        tei::predict,
        tei::rerank,
        tei::similarity,
        tei::tokenize,
        tei::info,
        operations::health,
        operations::ready,
        operations::metrics,
    ),
    components(schemas(Problem)),
    modifiers(&Common),
    tags(
        (name = "tasks", description = "A task each"),
        (name = "openai", description = "As OpenAI's clients speak"),
        (name = "text-embeddings-inference", description = "As its clients speak"),
        (name = "operations", description = "For whoever runs the server"),
    )
)]
struct Document;

/// What the routes have in common.
struct Common;

/// How a request with a body can end, beside well.
const REFUSALS: [(&str, &str); 10] = [
    ("400", "The body is not JSON"),
    ("401", "The key is missing or wrong"),
    ("408", "The body came too slowly"),
    ("413", "The body is too large"),
    ("415", "The body is not application/json"),
    ("422", "A field says something that cannot be"),
    (
        "429",
        "The server has too much to do, or the key asked too often; see `Retry-After`",
    ),
    ("500", "The model or the server failed"),
    ("503", "The server is ending"),
    ("504", "The answer took too long"),
];

/// How one without a body can end, of the same.
const WITHOUT_BODY: [&str; 3] = ["401", "429", "503"];

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for item in document.paths.paths.values_mut() {
            for operation in item.post.iter_mut() {
                refuses(operation, &REFUSALS);
                needs_a_key(operation);
            }
            for operation in item.get.iter_mut() {
                let tags = operation.tags.iter().flatten();
                if tags.into_iter().all(|tag| tag != "operations") {
                    let without_body = REFUSALS
                        .iter()
                        .filter(|(status, _)| WITHOUT_BODY.contains(status));
                    refuses(operation, without_body);
                    needs_a_key(operation);
                }
            }
        }
        let key = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", key);
    }
}

fn refuses<'a>(
    operation: &mut Operation,
    refusals: impl IntoIterator<Item = &'a (&'a str, &'a str)>,
) {
    for (status, description) in refusals {
        let problem = Content::new(Some(Ref::from_schema_name("Problem")));
        let response = ResponseBuilder::new()
            .description(*description)
            .content("application/problem+json", problem);
        let responses = &mut operation.responses.responses;
        responses.insert((*status).to_owned(), response.build().into());
    }
}

/// A key, or none where the server has none.
fn needs_a_key(operation: &mut Operation) {
    let key = SecurityRequirement::new("key", Vec::<String>::new());
    operation.security = Some(vec![key, SecurityRequirement::default()]);
}

/// The document, as JSON.
pub(crate) async fn openapi() -> impl IntoResponse {
    static TEXT: LazyLock<String> =
        LazyLock::new(|| Document::openapi().to_json().unwrap_or_default());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str())
}
