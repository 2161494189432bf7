//! What can be asked, in three dialects: ours, OpenAI's, text-embeddings-inference's.

pub(crate) mod documents;
pub(crate) mod openai;
pub(crate) mod operations;
pub(crate) mod tei;
pub(crate) mod v1;

use std::sync::Arc;

use albert_tasks::{Asked, Embedding, LongText};
use axum::response::{IntoResponse, Response};
use serde::de::{Deserialize, Deserializer, Error};

use crate::App;
use crate::api::openai::OpenAiProblem;
use crate::api::tei::TeiProblem;
use crate::batcher::Expected;
use crate::body::LONG;
use crate::models::{Route, Served};
use crate::problem::{Problem, Result};
use crate::texts::Texts;
use crate::traces;

/// What becomes of a text that is longer than the model reads. Without it: classes are told from
/// its beginning, everything else from windows over all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Truncate {
    /// It is refused.
    Error,
    /// Its beginning is read.
    End,
    /// All of it is read, in windows.
    Windows,
}

impl<'de> Deserialize<'de> for Truncate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let names = [
            ("error", Self::Error),
            ("end", Self::End),
            ("windows", Self::Windows),
        ];
        one_of(deserializer, &names)
    }
}

/// Reads one of some names. Derived, an enum takes objects, too, and of what is no string says that it
/// is no JSON.
pub(crate) fn one_of<'de, D: Deserializer<'de>, T: Copy>(
    deserializer: D,
    names: &[(&str, T)],
) -> std::result::Result<T, D::Error> {
    let given = String::deserialize(deserializer)?;
    let found = names.iter().find(|(name, _)| *name == given);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<String> = names.iter().map(|(name, _)| format!("`{name}`")).collect();
        D::Error::custom(format!("`{given}` is none of {}", names.join(", ")))
    })
}

impl From<Truncate> for LongText {
    fn from(truncate: Truncate) -> Self {
        match truncate {
            Truncate::Error => LongText::Refuse,
            Truncate::End => LongText::Cut,
            Truncate::Windows => LongText::Windows,
        }
    }
}

/// How the clients of a route read refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Ours.
    Plain,
    /// OpenAI's.
    OpenAi,
    /// text-embeddings-inference's.
    Tei,
}

impl Dialect {
    /// Of a path.
    pub(crate) fn of(path: &str) -> Self {
        match path {
            "/v1/embeddings" | "/v1/models" => Self::OpenAi,
            _ if path.starts_with("/v1/models/") => Self::OpenAi,
            _ if path.starts_with("/v1/") => Self::Plain,
            _ => Self::Tei,
        }
    }

    /// A refusal, before a route's own code could say it.
    pub(crate) fn refuse(self, problem: Problem) -> Response {
        match self {
            Self::Plain => problem.into_response(),
            Self::OpenAi => OpenAiProblem::from(problem).into_response(),
            Self::Tei => TeiProblem::from(problem).into_response(),
        }
    }
}

impl App {
    /// The model of a name, or the one that answers on a route.
    pub(crate) fn model(&self, name: Option<&str>, route: Route) -> Result<Arc<Served>> {
        Ok(Arc::clone(self.models().get(name, route)?))
    }

    /// The model that answers on a route whose requests cannot name one.
    pub(crate) fn only_model(&self, route: Route) -> Result<Arc<Served>> {
        Ok(Arc::clone(self.models().only(route)?))
    }

    /// Asks about each text, where that may take its time, and answers all together. A text that
    /// its task refuses is named by `field` and its row. Long requests take a turn for some of their
    /// texts at a time, so that they go on beside each other.
    pub(crate) async fn ask_each<A: Send + 'static>(
        &self,
        model: &Arc<Served>,
        field: &'static str,
        texts: Texts,
        expected: Expected,
        ask: impl Fn(usize, &str) -> albert_tasks::Result<Asked<A>> + Send + Sync + 'static,
    ) -> Result<Vec<A>> {
        self.batcher.check_early(model, expected)?;
        // Goes with the future, when the caller goes.
        let caller = Arc::new(());
        let preparing = traces::part("prepare");
        let parts = texts.parts(LONG);
        let given = Arc::new((texts, ask));
        let mut asked = Vec::new();
        for part in parts {
            let (given, here) = (Arc::clone(&given), Arc::downgrade(&caller));
            let make = move || {
                let (texts, ask) = &*given;
                let rows = part.take_while(|_| here.strong_count() > 0);
                let questions = rows.map(|row| {
                    let question = ask(row, &texts.texts[row]);
                    question.map_err(|error| refused(field, texts.row(row), &error))
                });
                questions.collect::<Result<Vec<_>>>()
            };
            let some = match expected.is_little() {
                true => make(),
                false => self.aside(expected.bytes(), make).await?,
            };
            asked.extend(some?);
        }
        let asked = Asked::all(asked);
        drop((preparing, caller));
        match asked {
            Some(all) => self.batcher.answer(model, all).await,
            None => Ok(Vec::new()),
        }
    }

    /// Does work on so many bytes, which takes a core for a while, beside the threads that answer
    /// sockets.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let id = crate::request_id::current();
        // Whoever leaves before the turn has come leaves nothing behind to be done.
        let turn = self.turns.of(bytes).acquire_owned().await;
        let work = move || {
            let _turn = turn;
            crate::request_id::CURRENT.sync_scope(id, work)
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| {
            tracing::error!(%error, "preparing a request failed");
            Problem::internal("preparing the request failed; the log has more")
        })
    }

    /// Counts the texts of which pieces were left out, and says how many they are.
    pub(crate) fn note_truncated(&self, pieces: impl Iterator<Item = usize>) -> usize {
        let texts = truncated(pieces);
        self.metrics.truncated.inc_by(texts as u64);
        texts
    }

    /// The vectors of texts, each with the pieces that it was made of.
    pub(crate) async fn embed(
        &self,
        model: &Arc<Served>,
        field: &'static str,
        texts: Texts,
        long: Option<LongText>,
    ) -> Result<Vec<(Embedding, usize)>> {
        let task = model.embedder();
        let ask = move |_, text: &str| {
            let asked = task.ask(text, long)?;
            let tokens = asked.tokens();
            Ok(asked.map(move |embedding| (embedding, tokens)))
        };
        let all = long != Some(LongText::Cut);
        let expected = Expected::of(model, all, texts.lengths());
        let vectors = self.ask_each(model, field, texts, expected, ask).await?;
        self.note_truncated(vectors.iter().map(|(embedding, _)| embedding.truncated));
        Ok(vectors)
    }
}

/// Of how many texts pieces were left out, by how many of each were.
pub(crate) fn truncated(pieces: impl Iterator<Item = usize>) -> usize {
    pieces.filter(|&pieces| pieces > 0).count()
}

/// A text that its task refuses, and which of them it is where there is a list.
pub(crate) fn refused(
    field: &'static str,
    row: Option<usize>,
    error: &albert_tasks::Error,
) -> Problem {
    use albert_tasks::Error::{LongQuestion, NoMask, NoWindows};
    let detail = error.to_string();
    match error {
        NoMask { text, .. } => Problem::field(field, format!("no [MASK] to fill in {text:?}")),
        LongQuestion { .. } => Problem::field("question", detail),
        NoWindows => Problem::field("truncate", detail),
        _ => Problem::field(field, detail),
    }
    .in_row(row)
}
