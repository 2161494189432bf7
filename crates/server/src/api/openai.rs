//! `/v1/embeddings` as OpenAI's clients speak it.

use std::sync::Arc;

use albert_tasks::{Embedding, LongText};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use crate::App;
use crate::body::Sent;
use crate::models::{OpenAiModel, Route};
use crate::problem::Problem;
use crate::texts::Texts;

/// Texts to turn into vectors. Other fields that OpenAI's clients send are ignored.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct EmbeddingsRequest {
    /// One text or several. Lists of numbers are refused: they are ids of another vocabulary.
    input: Texts,
    /// A model that is served; `sentences` unless told.
    model: Option<String>,
    /// Numbers unless told.
    encoding_format: Option<Format>,
    /// Keep only so many numbers of each vector, and bring it to length 1 again.
    #[schema(minimum = 1)]
    dimensions: Option<usize>,
    truncate: Option<super::Truncate>,
}

/// How a vector is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Numbers.
    Float,
    /// The bytes of little-endian f32, in base64.
    Base64,
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = [("float", Self::Float), ("base64", Self::Base64)];
        super::one_of(deserializer, &names)
    }
}

/// Vectors of texts.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Embeddings {
    object: &'static str,
    data: Vec<EmbeddingRow>,
    model: String,
    usage: Usage,
}

/// A text's vector.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct EmbeddingRow {
    object: &'static str,
    index: usize,
    embedding: Vector,
    /// Pieces left out because the text is longer than the model reads. OpenAI's have no such field.
    truncated: usize,
}

/// A vector as it was asked for.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub(crate) enum Vector {
    /// Numbers.
    Float(Vec<f32>),
    /// The bytes of little-endian f32, in base64.
    Base64(String),
}

/// Pieces that were read.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// A problem that OpenAI's clients understand as well.
pub(crate) struct OpenAiProblem(Problem);

impl From<Problem> for OpenAiProblem {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for OpenAiProblem {
    fn into_response(self) -> Response {
        let kind = match self.0.status().as_u16() {
            401 => "authentication_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        let error = json!({
            "message": self.0.detail(),
            "type": kind,
            "param": self.0.about(),
            "code": null,
        });
        self.0.with_fields(json!({ "error": error }))
    }
}

/// No model of that name, which OpenAI's clients turn into their `NotFoundError`.
fn not_found(problem: Problem) -> OpenAiProblem {
    OpenAiProblem(problem.with_status(StatusCode::NOT_FOUND))
}

/// Vectors of texts, as OpenAI's clients ask for them.
#[utoipa::path(
    post, path = "/v1/embeddings", tag = "openai", request_body = EmbeddingsRequest,
    responses(
        (status = 200, description = "A vector for each text", body = Embeddings),
        (status = 404, description = "The model is not served", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn embeddings(
    State(app): State<Arc<App>>,
    sent: Result<Sent<EmbeddingsRequest>, Problem>,
) -> Result<Json<Embeddings>, OpenAiProblem> {
    let Sent(request) = sent?;
    request.input.check("input", &app.options.limits)?;
    let model = app.model(request.model.as_deref(), Route::Embeddings);
    let model = model.map_err(not_found)?;
    let hidden = model.model.engine.config().hidden_size;
    let dimensions = request.dimensions.unwrap_or(hidden);
    if dimensions == 0 || dimensions > hidden {
        let detail = format!("{dimensions}; this model's vectors have 1 to {hidden} numbers");
        return Err(Problem::field("dimensions", detail).into());
    }
    let long = request.truncate.map(LongText::from);
    let vectors = app.embed(&model, "input", request.input, long).await?;
    let prompt_tokens = vectors.iter().map(|(_, tokens)| tokens).sum();
    let row = |(index, (embedding, _)): (usize, (Embedding, usize))| EmbeddingRow {
        object: "embedding",
        index,
        truncated: embedding.truncated,
        embedding: written(
            shortened(embedding.vector, dimensions),
            request.encoding_format.unwrap_or(Format::Float),
        ),
    };
    Ok(Json(Embeddings {
        object: "list",
        data: vectors.into_iter().enumerate().map(row).collect(),
        model: model.name.clone(),
        usage: Usage {
            prompt_tokens,
            total_tokens: prompt_tokens,
        },
    }))
}

/// A model that is served, as OpenAI's clients ask for it.
#[utoipa::path(
    get, path = "/v1/models/{name}", tag = "openai",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "It is served", body = OpenAiModel),
        (status = 400, description = "The name is no text", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "It is not", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn model(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<OpenAiModel>, OpenAiProblem> {
    let named = name.map_err(|error| Problem::field("name", error.body_text()));
    let Path(name) = named.map_err(|problem| problem.with_status(StatusCode::BAD_REQUEST))?;
    let model = app.model(Some(&name), Route::Tokenize);
    let model = model.map_err(not_found)?;
    Ok(Json(OpenAiModel::new(model.name.clone())))
}

fn written(vector: Vec<f32>, format: Format) -> Vector {
    match format {
        Format::Float => Vector::Float(vector),
        Format::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            Vector::Base64(BASE64_STANDARD.encode(bytes))
        }
    }
}

/// The first numbers of a vector of length 1, brought to length 1.
fn shortened(mut vector: Vec<f32>, dimensions: usize) -> Vec<f32> {
    if dimensions < vector.len() {
        vector.truncate(dimensions);
        let squares = vector.iter().map(|x| f64::from(*x).powi(2));
        let norm = squares.sum::<f64>().sqrt().max(1e-12);
        vector
            .iter_mut()
            .for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortened_vector_has_length_1() {
        assert_eq!(shortened(vec![0.6, 0.8], 2), [0.6, 0.8]);
        assert_eq!(shortened(vec![0.6, 0.8], 1), [1.0]);
        assert_eq!(shortened(vec![0.0, 1.0], 1), [0.0]);
    }
}
