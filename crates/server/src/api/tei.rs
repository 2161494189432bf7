//! The routes of text-embeddings-inference, as its clients speak them.

use std::sync::Arc;

use albert_tasks::text::EncodeOptions;
use albert_tasks::{Classified, Embedding, LabelScore, LongText, TextInput, cosine};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::{refused, truncated};
use crate::App;
use crate::batcher::Expected;
use crate::body::Sent;
use crate::models::{Route, Served};
use crate::problem::Problem;
use crate::texts::{Texts, check_text};

/// A problem with the two fields that text-embeddings-inference's clients read.
pub(crate) struct TeiProblem(Problem);

impl From<Problem> for TeiProblem {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for TeiProblem {
    fn into_response(self) -> Response {
        let kind = match self.0.status() {
            StatusCode::TOO_MANY_REQUESTS => "overloaded",
            status if status.is_server_error() => "backend",
            _ => "validation",
        };
        let fields = json!({ "error": self.0.detail(), "error_type": kind });
        self.0.with_fields(fields)
    }
}

/// Tells of how many texts pieces were left out because they are longer than the model reads:
/// these answers have no field for it.
pub(crate) const TRUNCATED: HeaderName = HeaderName::from_static("x-truncated-texts");

/// An answer about texts, and how many of them were cut.
pub(crate) struct AboutTexts<T> {
    answer: T,
    truncated: usize,
}

impl<T: Serialize> IntoResponse for AboutTexts<T> {
    fn into_response(self) -> Response {
        let header = [(TRUNCATED, HeaderValue::from(self.truncated))];
        (header, Json(self.answer)).into_response()
    }
}

type Answer<T> = Result<Json<T>, TeiProblem>;
type TextsAnswer<T> = Result<AboutTexts<T>, TeiProblem>;

/// Texts to turn into vectors.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct EmbedRequest {
    /// One text or several.
    inputs: Texts,
    /// Vectors have length 1; anything but true is refused.
    normalize: Option<bool>,
    /// Vectors are whole here: refused.
    dimensions: Option<usize>,
    /// No prompt has a name here: refused.
    prompt_name: Option<String>,
    /// Whether the beginning of a text that is too long will do; such a text is refused unless
    /// told.
    truncate: Option<bool>,
    /// Which side is left out: the end.
    #[serde(rename = "truncation_direction")]
    _truncation_direction: Option<Direction>,
}

/// The side of a text that is left out where it is too long.
#[derive(Clone, Copy, utoipa::ToSchema)]
pub(crate) enum Direction {
    /// The end. The beginning cannot be.
    Right,
}

impl<'de> Deserialize<'de> for Direction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        super::one_of(
            deserializer,
            &[("Right", Self::Right), ("right", Self::Right)],
        )
    }
}

/// Of how many texts pieces were left out.
fn cut(vectors: &[(Embedding, usize)]) -> usize {
    truncated(vectors.iter().map(|(embedding, _)| embedding.truncated))
}

fn long(truncate: Option<bool>) -> Option<LongText> {
    Some(match truncate.unwrap_or(false) {
        true => LongText::Cut,
        false => LongText::Refuse,
    })
}

/// The same as `/embed`.
#[utoipa::path(
    post, path = "/", tag = "text-embeddings-inference", request_body = EmbedRequest,
    responses((
        status = 200, description = "As `/embed`", body = Vec<Vec<f32>>,
        headers(("x-truncated-texts" = usize, description = "Texts of which pieces were left out"))
    ))
)]
pub(crate) async fn root(
    state: State<Arc<App>>,
    sent: Result<Sent<EmbedRequest>, Problem>,
) -> TextsAnswer<Vec<Vec<f32>>> {
    embed(state, sent).await
}

/// A vector for each text.
#[utoipa::path(
    post, path = "/embed", tag = "text-embeddings-inference", request_body = EmbedRequest,
    responses((
        status = 200, description = "A vector for each text", body = Vec<Vec<f32>>,
        headers(("x-truncated-texts" = usize, description = "Texts of which pieces were left out"))
    ))
)]
pub(crate) async fn embed(
    State(app): State<Arc<App>>,
    sent: Result<Sent<EmbedRequest>, Problem>,
) -> TextsAnswer<Vec<Vec<f32>>> {
    let Sent(request) = sent?;
    request.inputs.check("inputs", &app.options.limits)?;
    if request.normalize == Some(false) {
        let detail = "vectors have length 1 here; others cannot be had";
        return Err(Problem::field("normalize", detail).into());
    }
    if request.dimensions.is_some() {
        let detail = "vectors are whole here; /v1/embeddings shortens them";
        return Err(Problem::field("dimensions", detail).into());
    }
    if let Some(name) = request.prompt_name {
        let detail = format!("no prompt is named {name:?}");
        return Err(Problem::field("prompt_name", detail).into());
    }
    let model = app.only_model(Route::Embeddings)?;
    let long = long(request.truncate);
    let vectors = app.embed(&model, "inputs", request.inputs, long).await?;
    Ok(AboutTexts {
        truncated: cut(&vectors),
        answer: vectors.into_iter().map(|(e, _)| e.vector).collect(),
    })
}

/// A text, or a pair as a list of two; or a list of lists, each of a text or of a pair.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(
    untagged,
    expecting = "a text, a pair as a list of two texts, or a list of such lists"
)]
pub(crate) enum PredictInputs {
    /// A text.
    One(String),
    /// A text alone in a list, or a pair.
    Pair(Vec<String>),
    /// Several of these.
    Many(Vec<Vec<String>>),
}

/// Texts to classify.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct PredictRequest {
    inputs: PredictInputs,
    /// Whether the beginning of a text that is too long will do; such a text is refused unless
    /// told.
    truncate: Option<bool>,
    /// Which side is left out: the end.
    #[serde(rename = "truncation_direction")]
    _truncation_direction: Option<Direction>,
    /// Logits instead of probabilities: refused if true.
    raw_scores: Option<bool>,
}

/// A class and its probability.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Prediction {
    score: f32,
    label: String,
}

/// What is said of a text, or of each of several.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub(crate) enum Predictions {
    /// Of one.
    One(Vec<Prediction>),
    /// Of several.
    Many(Vec<Vec<Prediction>>),
}

/// The classes of texts, likeliest first.
#[utoipa::path(
    post, path = "/predict", tag = "text-embeddings-inference", request_body = PredictRequest,
    responses((
        status = 200, description = "Classes with probabilities", body = Predictions,
        headers(("x-truncated-texts" = usize, description = "Texts of which pieces were left out"))
    ))
)]
pub(crate) async fn predict(
    State(app): State<Arc<App>>,
    sent: Result<Sent<PredictRequest>, Problem>,
) -> TextsAnswer<Predictions> {
    let Sent(request) = sent?;
    let limits = &app.options.limits;
    let (inputs, one) = match request.inputs {
        PredictInputs::One(text) => (vec![vec![text]], true),
        PredictInputs::Pair(texts) => (vec![texts], true),
        PredictInputs::Many(many) => (many, false),
    };
    if inputs.is_empty() || inputs.len() > limits.rows {
        let detail = format!(
            "{} texts; 1 to {} can be asked for",
            inputs.len(),
            limits.rows
        );
        return Err(Problem::field("inputs", detail).into());
    }
    for (row, texts) in inputs.iter().enumerate() {
        let row = (!one).then_some(row);
        if texts.is_empty() || texts.len() > 2 {
            let detail = format!("{} texts where one or a pair should stand", texts.len());
            return Err(Problem::field("inputs", detail).in_row(row).into());
        }
        for text in texts {
            check_text("inputs", row, text, limits)?;
        }
    }
    if request.raw_scores == Some(true) {
        let detail = "logits cannot be had here, only probabilities";
        return Err(Problem::field("raw_scores", detail).into());
    }
    let model = app.only_model(Route::Classify)?;
    let task = model.classifier()?;
    let long = long(request.truncate);
    // Each has a first text and at most a second.
    let halves = inputs.into_iter().map(|texts| {
        let mut texts = texts.into_iter();
        (texts.next().unwrap_or_default(), texts.next())
    });
    let (texts, pairs): (Vec<String>, Vec<Option<String>>) = halves.unzip();
    let texts = Texts { texts, list: !one };
    let both = texts.texts.iter().zip(&pairs);
    let bytes = both.map(|(text, pair)| text.len() + pair.as_ref().map_or(0, String::len));
    let expected = Expected::of(&model, false, bytes);
    let ask = move |row: usize, text: &str| {
        let pair = pairs[row].as_deref();
        task.ask(TextInput { text, pair }, long)
    };
    let said = app.ask_each(&model, "inputs", texts, expected, ask).await?;
    let truncated = app.note_truncated(said.iter().map(|said| said.truncated));
    let mut all = said.into_iter().map(predictions);
    let answer = match one {
        true => Predictions::One(all.next().unwrap_or_default()),
        false => Predictions::Many(all.collect()),
    };
    Ok(AboutTexts { answer, truncated })
}

fn predictions(said: Classified) -> Vec<Prediction> {
    if let Some(score) = said.score {
        let label = "score".to_owned();
        return vec![Prediction { score, label }];
    }
    let prediction = |LabelScore { label, probability }| Prediction {
        score: probability,
        label,
    };
    said.labels.into_iter().map(prediction).collect()
}

/// A query, and texts to put in order by how alike they are to it.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct RerankRequest {
    query: String,
    texts: Vec<String>,
    /// Whether the texts come back with their scores.
    return_text: Option<bool>,
    /// Scores are cosines either way.
    #[serde(rename = "raw_scores")]
    _raw_scores: Option<bool>,
    /// Whether the beginning of a text that is too long will do; such a text is refused unless
    /// told.
    truncate: Option<bool>,
    /// Which side is left out: the end.
    #[serde(rename = "truncation_direction")]
    _truncation_direction: Option<Direction>,
}

/// A text's place in the order.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Rank {
    /// Which of the texts.
    index: usize,
    /// The text, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The cosine with the query.
    score: f32,
}

/// Texts in the order of how alike they are to a query.
#[utoipa::path(
    post, path = "/rerank", tag = "text-embeddings-inference", request_body = RerankRequest,
    responses((
        status = 200, description = "The most alike first", body = Vec<Rank>,
        headers(("x-truncated-texts" = usize, description = "Texts of which pieces were left out"))
    ))
)]
pub(crate) async fn rerank(
    State(app): State<Arc<App>>,
    sent: Result<Sent<RerankRequest>, Problem>,
) -> TextsAnswer<Vec<Rank>> {
    let Sent(request) = sent?;
    let limits = &app.options.limits;
    check_text("query", None, &request.query, limits)?;
    let texts = Texts {
        texts: request.texts,
        list: true,
    };
    texts.check("texts", limits)?;
    let model = app.only_model(Route::Rerank)?;
    let mut shown = match request.return_text == Some(true) {
        true => texts.texts.iter().cloned().map(Some).collect(),
        false => vec![None; texts.texts.len()],
    };
    let fields = ("query", "texts");
    let AboutTexts { answer, truncated } = app
        .alike(&model, request.query, texts, fields, request.truncate)
        .await?;
    let ranks = answer.into_iter().zip(&mut shown).enumerate();
    let mut ranks: Vec<Rank> = ranks
        .map(|(index, (score, text))| Rank {
            index,
            text: text.take(),
            score,
        })
        .collect();
    ranks.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(AboutTexts {
        answer: ranks,
        truncated,
    })
}

/// A sentence, and sentences to compare it with.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct TeiSimilarityRequest {
    inputs: Compared,
    parameters: Option<SimilarityParameters>,
}

/// What is compared with what.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct Compared {
    source_sentence: String,
    sentences: Vec<String>,
}

/// How texts are compared.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct SimilarityParameters {
    /// Whether the beginning of a text that is too long will do; such a text is refused unless
    /// told.
    truncate: Option<bool>,
    /// Which side is left out: the end.
    #[serde(rename = "truncation_direction")]
    _truncation_direction: Option<Direction>,
}

/// How alike sentences are to one.
#[utoipa::path(
    post, path = "/similarity", tag = "text-embeddings-inference",
    request_body = TeiSimilarityRequest,
    responses((
        status = 200, description = "A cosine for each sentence", body = Vec<f32>,
        headers(("x-truncated-texts" = usize, description = "Texts of which pieces were left out"))
    ))
)]
pub(crate) async fn similarity(
    State(app): State<Arc<App>>,
    sent: Result<Sent<TeiSimilarityRequest>, Problem>,
) -> TextsAnswer<Vec<f32>> {
    let Sent(request) = sent?;
    let limits = &app.options.limits;
    let Compared {
        source_sentence,
        sentences,
    } = request.inputs;
    check_text("inputs.source_sentence", None, &source_sentence, limits)?;
    let texts = Texts {
        texts: sentences,
        list: true,
    };
    texts.check("inputs.sentences", limits)?;
    let model = app.only_model(Route::Similarity)?;
    let truncate = request.parameters.and_then(|p| p.truncate);
    let fields = ("inputs.source_sentence", "inputs.sentences");
    let alike = app.alike(&model, source_sentence, texts, fields, truncate);
    Ok(alike.await?)
}

impl App {
    /// The cosines of texts with one; `fields` are that of the one and that of the texts.
    async fn alike(
        &self,
        model: &Arc<Served>,
        one: String,
        mut texts: Texts,
        fields: (&'static str, &'static str),
        truncate: Option<bool>,
    ) -> Result<AboutTexts<Vec<f32>>, Problem> {
        let count = texts.texts.len();
        texts.texts.push(one);
        let vectors = self.embed(model, fields.1, texts, long(truncate)).await;
        let mut vectors = vectors.map_err(|problem| problem.moved(count, fields.0, false))?;
        let truncated = cut(&vectors);
        let one = vectors.pop().map_or_else(Vec::new, |(one, _)| one.vector);
        let score = |(e, _): &(Embedding, usize)| cosine(&one, &e.vector);
        let answer = vectors.iter().map(score).collect();
        Ok(AboutTexts { answer, truncated })
    }
}

/// Texts to cut into pieces.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct TeiTokenizeRequest {
    /// One text or several.
    inputs: Texts,
    /// Whether `[CLS]` and `[SEP]` are added.
    add_special_tokens: Option<bool>,
}

/// A piece of a text.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct TeiToken {
    id: u32,
    text: String,
    special: bool,
    /// Its first character; none of a piece that was added.
    start: Option<usize>,
    /// The character behind its last; none of a piece that was added.
    stop: Option<usize>,
}

/// The pieces of texts.
#[utoipa::path(
    post, path = "/tokenize", tag = "text-embeddings-inference",
    request_body = TeiTokenizeRequest,
    responses((status = 200, description = "The pieces of each text", body = Vec<Vec<TeiToken>>))
)]
pub(crate) async fn tokenize(
    State(app): State<Arc<App>>,
    sent: Result<Sent<TeiTokenizeRequest>, Problem>,
) -> Answer<Vec<Vec<TeiToken>>> {
    let Sent(request) = sent?;
    request.inputs.check("inputs", &app.options.limits)?;
    request
        .inputs
        .check_pieces("inputs", None, &app.options.limits)?;
    let model = app.only_model(Route::Embeddings)?;
    let bytes = request.inputs.bytes();
    let make = move || {
        let cut = |(row, text): (usize, &String)| {
            let options = EncodeOptions::default();
            let encoding = model.model.tokenizer.encode(text, &options);
            let row = request.inputs.row(row);
            let encoding = encoding.map_err(|e| refused("inputs", row, &e.into()))?;
            let pieces = encoding.pieces();
            let bytes: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let byte = |at: usize| bytes.get(at).copied().unwrap_or(text.len());
            let token = |at: usize| {
                let special = encoding.special[at];
                let (start, end) = encoding.offsets[at];
                TeiToken {
                    id: encoding.ids[at],
                    // What the text says there, letter by letter.
                    text: match special {
                        true => pieces[at].to_owned(),
                        false => text[byte(start)..byte(end)].to_owned(),
                    },
                    special,
                    start: (!special).then_some(start),
                    stop: (!special).then_some(end),
                }
            };
            let all = request.add_special_tokens != Some(false);
            let wanted = |at: &usize| all || !encoding.special[*at];
            Ok((0..encoding.len()).filter(wanted).map(token).collect())
        };
        let texts = request.inputs.texts.iter().enumerate();
        texts.map(cut).collect::<Result<_, Problem>>()
    };
    Ok(Json(app.aside(bytes, make).await??))
}

/// The model of `/embed`, and the server's bounds.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Info {
    model_id: String,
    model_sha: Option<String>,
    model_dtype: &'static str,
    model_type: ModelType,
    max_concurrent_requests: usize,
    max_input_length: usize,
    max_batch_tokens: usize,
    max_batch_requests: Option<usize>,
    max_client_batch_size: usize,
    auto_truncate: bool,
    tokenization_workers: usize,
    version: &'static str,
    sha: Option<&'static str>,
    docker_label: Option<&'static str>,
}

/// What kind of model it is.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct ModelType {
    embedding: EmbeddingModel,
}

/// How vectors are made.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct EmbeddingModel {
    pooling: String,
}

/// What answers at `/embed`.
#[utoipa::path(
    get, path = "/info", tag = "text-embeddings-inference",
    responses(
        (status = 200, description = "The model and the server's bounds", body = Info),
        (status = 422, description = "No model, or no single one, answers at `/embed`", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn info(State(app): State<Arc<App>>) -> Answer<Info> {
    let model = app.only_model(Route::Embeddings)?;
    let limits = &app.options.limits;
    let pooling = model.model.settings.pooling.unwrap_or_default();
    Ok(Json(Info {
        model_id: model.name.clone(),
        model_sha: None,
        model_dtype: match model.model.engine.precision().name() {
            "f32" => "float32",
            other => other,
        },
        model_type: ModelType {
            embedding: EmbeddingModel {
                pooling: format!("{pooling:?}").to_lowercase(),
            },
        },
        max_concurrent_requests: limits.requests,
        max_input_length: model.model.engine.config().max_position_embeddings,
        max_batch_tokens: limits.batch_tokens,
        max_batch_requests: None,
        max_client_batch_size: limits.rows,
        auto_truncate: false,
        tokenization_workers: app.workers,
        version: env!("CARGO_PKG_VERSION"),
        sha: None,
        docker_label: None,
    }))
}
