//! Our own routes: a task each.

use std::sync::Arc;
use std::time::Instant;

use albert_tasks::text::{EncodeOptions, Encoding};
use albert_tasks::{
    AnswerOptions, Answered, Classified, Embedding, Filled, LongText, Tagged, TextInput,
    ZeroShotAnswer, check_classes, cosine,
};
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::{Truncate, refused};
use crate::App;
use crate::batcher::Expected;
use crate::body::Sent;
use crate::models::{ModelList, Route};
use crate::problem::{Problem, Result};
use crate::texts::{Texts, check_reading, check_text};

/// The most candidates or answers that may be asked for.
const MOST_TOP: usize = 100;

type Answer<T> = Result<Json<Reply<T>>>;

/// An answer to a request.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Reply<T> {
    /// The model that answered.
    model: String,
    /// From the body's arrival to the answer, waiting included.
    latency_ms: f64,
    /// What it says.
    results: T,
    /// Where a row of the results is of several texts: of each text, the partners behind the texts,
    /// the pieces left out because it is longer than the model reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Vec<usize>>,
}

fn reply<T>(model: &str, began: Instant, results: T) -> Json<Reply<T>> {
    Json(Reply {
        model: model.to_owned(),
        latency_ms: (began.elapsed().as_secs_f64() * 1e6).round() / 1e3,
        results,
        truncated: None,
    })
}

fn top(top: Option<usize>, otherwise: usize) -> Result<usize> {
    match top.unwrap_or(otherwise) {
        0 => Err(Problem::field("top", "must be at least 1")),
        top if top > MOST_TOP => {
            let detail = format!("{top}; at most {MOST_TOP} can be asked for");
            Err(Problem::field("top", detail))
        }
        top => Ok(top),
    }
}

/// Texts with `[MASK]` where a piece is missing.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FillMaskRequest {
    /// One text or several, each with at least one `[MASK]`.
    text: Texts,
    /// Whose answer is wanted; by default `mini`'s.
    model: Option<String>,
    /// Candidates for each mask; 5 unless told.
    #[schema(minimum = 1, maximum = 100)]
    top: Option<usize>,
    truncate: Option<Truncate>,
}

/// The likeliest pieces for every `[MASK]`.
#[utoipa::path(
    post, path = "/v1/fill-mask", tag = "tasks", request_body = FillMaskRequest,
    responses((status = 200, description = "A row for each text", body = Reply<Vec<Filled>>))
)]
pub(crate) async fn fill_mask(
    State(app): State<Arc<App>>,
    Sent(request): Sent<FillMaskRequest>,
) -> Answer<Vec<Filled>> {
    let began = Instant::now();
    request.text.check("text", &app.options.limits)?;
    let top = top(request.top, 5)?;
    let masks = request
        .text
        .texts
        .iter()
        .map(|text| text.matches("[MASK]").count());
    let masks: usize = masks.sum();
    let candidates = masks * top;
    if candidates > app.options.limits.candidates {
        let detail = format!(
            "{candidates} candidates for all masks together; a request may have {}",
            app.options.limits.candidates
        );
        return Err(Problem::field("text", detail));
    }
    let model = app.model(request.model.as_deref(), Route::FillMask)?;
    let task = model.fill_mask()?;
    let long = request.truncate.map(LongText::from);
    let ask = move |_, text: &str| task.ask(text, top, long);
    // Of a long text, what is around its masks.
    let expected = Expected::of(&model, false, request.text.lengths()).with_masks(masks);
    let results = app.ask_each(&model, "text", request.text, expected, ask);
    let results = results.await?;
    app.note_truncated(results.iter().map(|filled| filled.truncated));
    Ok(reply(&model.name, began, results))
}

/// Texts to classify, or pairs of texts.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClassifyRequest {
    /// One text or several.
    text: Texts,
    /// The second text of each pair; as many as there are texts.
    text_pair: Option<Texts>,
    /// Whose answer is wanted; by default `sentiment`'s.
    model: Option<String>,
    /// Classes to name; all unless told.
    #[schema(minimum = 1, maximum = 100)]
    top: Option<usize>,
    truncate: Option<Truncate>,
}

/// The classes of texts, or of pairs of texts, or a number for each.
#[utoipa::path(
    post, path = "/v1/classify", tag = "tasks", request_body = ClassifyRequest,
    responses((status = 200, description = "A row for each text", body = Reply<Vec<Classified>>))
)]
pub(crate) async fn classify(
    State(app): State<Arc<App>>,
    Sent(request): Sent<ClassifyRequest>,
) -> Answer<Vec<Classified>> {
    let began = Instant::now();
    let limits = &app.options.limits;
    request.text.check("text", limits)?;
    request
        .text
        .check_pairs(request.text_pair.as_ref(), limits)?;
    let top = request.top.map(|some| top(Some(some), 1)).transpose()?;
    let model = app.model(request.model.as_deref(), Route::Classify)?;
    let task = model.classifier()?;
    let long = request.truncate.map(LongText::from);
    let pairs = request.text_pair;
    let pair_bytes = |row: usize| pairs.as_ref().map_or(0, |pairs| pairs.texts[row].len());
    let bytes = request.text.lengths().enumerate();
    let bytes = bytes.map(|(row, text)| text + pair_bytes(row));
    let expected = Expected::of(&model, long == Some(LongText::Windows), bytes);
    let ask = move |row: usize, text: &str| {
        let pair = pairs.as_ref().map(|pairs| pairs.texts[row].as_str());
        task.ask(TextInput { text, pair }, long)
    };
    let results = app.ask_each(&model, "text", request.text, expected, ask);
    let mut results = results.await?;
    app.note_truncated(results.iter().map(|said| said.truncated));
    if let Some(top) = top {
        results
            .iter_mut()
            .for_each(|said| said.labels.truncate(top));
    }
    Ok(reply(&model.name, began, results))
}

/// Texts, and classes that nobody trained for.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ZeroShotRequest {
    /// One text or several.
    text: Texts,
    /// The classes.
    #[schema(min_items = 1)]
    labels: Vec<String>,
    /// What a text is said to be, with `{}` for the class: `This text is about {}.` unless told.
    hypothesis: Option<String>,
    /// Whether a text may belong to any number of the classes.
    multi_label: Option<bool>,
    /// Whose answer is wanted; by default `nli`'s.
    model: Option<String>,
    truncate: Option<Truncate>,
}

/// How well classes that nobody trained for fit texts.
#[utoipa::path(
    post, path = "/v1/zero-shot", tag = "tasks", request_body = ZeroShotRequest,
    responses((status = 200, description = "A row for each text", body = Reply<Vec<ZeroShotAnswer>>))
)]
pub(crate) async fn zero_shot(
    State(app): State<Arc<App>>,
    Sent(request): Sent<ZeroShotRequest>,
) -> Answer<Vec<ZeroShotAnswer>> {
    let began = Instant::now();
    let limits = &app.options.limits;
    request.text.check("text", limits)?;
    if request.labels.is_empty() {
        return Err(Problem::field("labels", "an empty list: there is no class"));
    }
    if request.labels.len() > limits.labels {
        let detail = format!(
            "{} classes; a request may have {}",
            request.labels.len(),
            limits.labels
        );
        return Err(Problem::field("labels", detail));
    }
    for (row, label) in request.labels.iter().enumerate() {
        check_text("labels", Some(row), label, limits)?;
    }
    let classes: Vec<&str> = request.labels.iter().map(String::as_str).collect();
    check_classes(&classes).map_err(|error| {
        let problem = Problem::field("labels", error.to_string());
        match error {
            albert_tasks::Error::Class { class, .. } => problem.in_row(Some(class)),
            _ => problem,
        }
    })?;
    if request.text.texts.len() * request.labels.len() > limits.rows {
        let detail = format!(
            "{} texts with {} classes each are more than {} rows",
            request.text.texts.len(),
            request.labels.len(),
            limits.rows
        );
        return Err(Problem::field("text", detail));
    }
    let hypothesis = request.hypothesis.as_deref().unwrap_or_default();
    if request.hypothesis.is_some() {
        check_text("hypothesis", None, hypothesis, limits)?;
    }
    // Every class is put into the hypothesis, and that beside every text.
    let (texts, classes) = (request.text.texts.len(), request.labels.len());
    let labels: usize = request.labels.iter().map(String::len).sum();
    let places = hypothesis.matches("{}").count().max(1);
    let said = labels.saturating_mul(places);
    let said = said.saturating_add(classes.saturating_mul(hypothesis.len()));
    let read = said.saturating_mul(texts);
    let read = read.saturating_add(classes.saturating_mul(request.text.bytes()));
    check_reading("labels", read, limits)?;
    let model = app.model(request.model.as_deref(), Route::ZeroShot)?;
    let task = model.zero_shot(request.hypothesis.as_deref())?;
    let long = request.truncate.map(LongText::from);
    let (labels, multi_label) = (request.labels, request.multi_label == Some(true));
    let ask = move |_, text: &str| {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        task.ask(text, &labels, multi_label, long)
    };
    // A row for each class.
    let each = said / classes;
    let rows = request.text.lengths();
    let rows = rows.flat_map(|text| std::iter::repeat_n(text + each, classes));
    let expected = Expected::of(&model, false, rows);
    let results = app.ask_each(&model, "text", request.text, expected, ask);
    let results = results.await?;
    app.note_truncated(results.iter().map(|said| said.truncated));
    Ok(reply(&model.name, began, results))
}

/// Questions and the texts that may answer them.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerRequest {
    /// One question or several.
    question: Texts,
    /// The text that answers it: one for all questions, or one for each.
    context: Texts,
    /// Whose answer is wanted; by default `qa`'s.
    model: Option<String>,
    /// Answers to each question; 1 unless told.
    #[schema(minimum = 1, maximum = 100)]
    top: Option<usize>,
    truncate: Option<Truncate>,
}

/// The parts of texts that answer questions.
#[utoipa::path(
    post, path = "/v1/answer", tag = "tasks", request_body = AnswerRequest,
    responses((status = 200, description = "A row for each question", body = Reply<Vec<Answered>>))
)]
pub(crate) async fn answer(
    State(app): State<Arc<App>>,
    Sent(request): Sent<AnswerRequest>,
) -> Answer<Vec<Answered>> {
    let began = Instant::now();
    let limits = &app.options.limits;
    request.question.check("question", limits)?;
    request.context.check("context", limits)?;
    let lists = (request.question.list, request.context.list);
    let (questions, contexts) = (request.question, request.context.texts);
    let count = questions.texts.len();
    if contexts.len() != 1 && contexts.len() != count {
        let detail = format!("{} texts for {count} questions", contexts.len());
        return Err(Problem::field("context", detail));
    }
    // A context is read anew for each question.
    let repeats = if contexts.len() == 1 { count } else { 1 };
    let read = contexts.iter().map(String::len).sum::<usize>();
    check_reading("context", read.saturating_mul(repeats), limits)?;
    let options = AnswerOptions {
        top: top(request.top, 1)?,
        ..AnswerOptions::default()
    };
    let model = app.model(request.model.as_deref(), Route::Answer)?;
    let task = model.answerer()?;
    let long = request.truncate.map(LongText::from);
    let bytes = questions.lengths().enumerate();
    let bytes = bytes.map(|(row, asked)| asked + contexts.get(row).unwrap_or(&contexts[0]).len());
    let expected = Expected::of(&model, long != Some(LongText::Cut), bytes);
    let ask = move |row: usize, question: &str| {
        let context = contexts.get(row).unwrap_or(&contexts[0]);
        task.ask(question, context, &options, long)
    };
    let results = app.ask_each(&model, "context", questions, expected, ask);
    let results = results.await;
    let results = results.map_err(|problem| match problem.about() {
        Some("context") if !lists.1 => problem.moved(0, "context", false),
        Some("context") if !lists.0 => problem.in_row(Some(0)),
        _ => problem,
    })?;
    app.note_truncated(results.iter().map(|answered| answered.truncated));
    Ok(reply(&model.name, began, results))
}

/// Texts whose words are tagged.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TagRequest {
    /// One text or several.
    text: Texts,
    /// Whose answer is wanted; by default `slots`'s.
    model: Option<String>,
    truncate: Option<Truncate>,
}

/// The words that matter in texts.
#[utoipa::path(
    post, path = "/v1/tag", tag = "tasks", request_body = TagRequest,
    responses((status = 200, description = "A row for each text", body = Reply<Vec<Tagged>>))
)]
pub(crate) async fn tag(
    State(app): State<Arc<App>>,
    Sent(request): Sent<TagRequest>,
) -> Answer<Vec<Tagged>> {
    let began = Instant::now();
    let limits = &app.options.limits;
    request.text.check("text", limits)?;
    // Every word is told, a mark of punctuation too.
    request.text.check_pieces("text", None, limits)?;
    let model = app.model(request.model.as_deref(), Route::Tag)?;
    let task = model.tagger()?;
    let long = request.truncate.map(LongText::from);
    let ask = move |_, text: &str| task.ask(text, long);
    let all = long != Some(LongText::Cut);
    let expected = Expected::of(&model, all, request.text.lengths());
    let results = app.ask_each(&model, "text", request.text, expected, ask);
    let results = results.await?;
    app.note_truncated(results.iter().map(|tagged| tagged.truncated));
    Ok(reply(&model.name, began, results))
}

/// Texts to compare.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SimilarityRequest {
    /// Texts that are compared each with each, or with `text_pair` each with its partner.
    text: Texts,
    /// The partners; as many as there are texts.
    text_pair: Option<Texts>,
    /// Whose answer is wanted; by default `sentences`'s.
    model: Option<String>,
    truncate: Option<Truncate>,
}

/// How alike two texts are.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct PairSimilarity {
    /// The cosine of their vectors.
    similarity: f32,
}

/// Cosines: of all texts with all, or of pairs.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub(crate) enum Similarities {
    /// A row for each text, a number for each text.
    Matrix(Vec<Vec<f32>>),
    /// A row for each pair.
    Pairs(Vec<PairSimilarity>),
}

/// How alike texts are.
#[utoipa::path(
    post, path = "/v1/similarity", tag = "tasks", request_body = SimilarityRequest,
    responses((
        status = 200, body = Reply<Similarities>,
        description = "Without `text_pair` a square of cosines, else a row for each pair"
    ))
)]
pub(crate) async fn similarity(
    State(app): State<Arc<App>>,
    Sent(request): Sent<SimilarityRequest>,
) -> Answer<Similarities> {
    let began = Instant::now();
    let limits = &app.options.limits;
    request.text.check("text", limits)?;
    request
        .text
        .check_pairs(request.text_pair.as_ref(), limits)?;
    let model = app.model(request.model.as_deref(), Route::Similarity)?;
    let long = request.truncate.map(LongText::from);
    let mut texts = request.text;
    let (count, list) = (texts.texts.len(), texts.list);
    let paired = request.text_pair.is_some();
    if !paired && count * count > limits.rows * 64 {
        let detail = format!("{count} texts are too many to compare each with each");
        return Err(Problem::field("text", detail));
    }
    let partners = request.text_pair.into_iter().flat_map(|pairs| pairs.texts);
    texts.texts.extend(partners);
    // Rows are told apart, if only to know whose the refused one is.
    texts.list = true;
    let vectors = app.embed(&model, "text", texts, long).await;
    let vectors = vectors.map_err(|problem| {
        // What stands behind the texts are their partners.
        let problem = problem.moved(count, "text_pair", list);
        match list {
            true => problem,
            false => problem.in_row(None),
        }
    })?;
    let truncated = vectors.iter().map(|(e, _)| e.truncated).collect();
    // Each takes about as long as a byte of text.
    let cosines = match paired {
        true => count,
        false => count * count,
    };
    let compare = move || {
        let (left, right) = vectors.split_at(count);
        let of = |a: &(Embedding, usize), b: &(Embedding, usize)| cosine(&a.0.vector, &b.0.vector);
        match paired {
            true => {
                let both = left.iter().zip(right);
                let pair = |(a, b)| PairSimilarity {
                    similarity: of(a, b),
                };
                Similarities::Pairs(both.map(pair).collect())
            }
            false => {
                let row = |a| left.iter().map(|b| of(a, b)).collect();
                Similarities::Matrix(left.iter().map(row).collect())
            }
        }
    };
    let results = app.aside(cosines, compare).await?;
    let mut reply = reply(&model.name, began, results);
    reply.truncated = Some(truncated);
    Ok(reply)
}

/// Texts to cut into pieces.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenizeRequest {
    /// One text or several.
    text: Texts,
    /// The second text of each pair; as many as there are texts.
    text_pair: Option<Texts>,
    /// Whose pieces are wanted; by default `mini`'s.
    model: Option<String>,
}

/// A piece of a text.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Token {
    /// Its number in the vocabulary.
    id: u32,
    /// What it says; `▁` begins a word.
    piece: String,
    /// Its first character in its text (Unicode scalar values).
    start: usize,
    /// The character behind its last; `start` for pieces that were added.
    end: usize,
    /// Whether it was added.
    special: bool,
}

/// A text in pieces.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Tokens {
    /// In order.
    tokens: Vec<Token>,
}

fn tokens(encoding: &Encoding) -> Tokens {
    let pieces = encoding.pieces();
    let token = |at: usize| Token {
        id: encoding.ids[at],
        piece: pieces[at].to_owned(),
        start: encoding.offsets[at].0,
        end: encoding.offsets[at].1,
        special: encoding.special[at],
    };
    Tokens {
        tokens: (0..encoding.len()).map(token).collect(),
    }
}

/// How a model cuts texts into pieces.
#[utoipa::path(
    post, path = "/v1/tokenize", tag = "tasks", request_body = TokenizeRequest,
    responses((status = 200, description = "A row for each text", body = Reply<Vec<Tokens>>))
)]
pub(crate) async fn tokenize(
    State(app): State<Arc<App>>,
    Sent(request): Sent<TokenizeRequest>,
) -> Answer<Vec<Tokens>> {
    let began = Instant::now();
    let limits = &app.options.limits;
    request.text.check("text", limits)?;
    request
        .text
        .check_pairs(request.text_pair.as_ref(), limits)?;
    request
        .text
        .check_pieces("text", request.text_pair.as_ref(), limits)?;
    let model = app.model(request.model.as_deref(), Route::Tokenize)?;
    let own = Arc::clone(&model);
    let (texts, pairs) = (request.text, request.text_pair);
    let bytes = texts.bytes() + pairs.as_ref().map_or(0, Texts::bytes);
    let make = move || {
        let options = EncodeOptions::default();
        let tokenizer = &own.model.tokenizer;
        let cut = |(row, text): (usize, &String)| {
            let encoding = match &pairs {
                None => tokenizer.encode(text, &options),
                Some(pairs) => tokenizer.encode_pair(text, &pairs.texts[row], &options),
            };
            let encoding = encoding.map_err(|e| refused("text", texts.row(row), &e.into()))?;
            Ok(tokens(&encoding))
        };
        texts
            .texts
            .iter()
            .enumerate()
            .map(cut)
            .collect::<Result<_>>()
    };
    let results = app.aside(bytes, make).await??;
    Ok(reply(&model.name, began, results))
}

/// The models that are served, what they answer, and how to get those that are missing.
#[utoipa::path(
    get, path = "/v1/models", tag = "tasks",
    responses((status = 200, description = "The models", body = ModelList))
)]
pub(crate) async fn models(State(app): State<Arc<App>>) -> Json<ModelList> {
    Json(app.models().list())
}
