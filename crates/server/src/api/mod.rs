//! What can be asked, in three dialects: ours, OpenAI's, text-embeddings-inference's.

pub(crate) mod documents;
pub(crate) mod openai;
pub(crate) mod operations;
pub(crate) mod tei;
pub(crate) mod v1;

use std::sync::Arc;
use std::time::Duration;

use albert_tasks::{Asked, Embedding, LongText};
use serde::Deserialize;

use crate::App;
use crate::models::{Route, Served};
use crate::problem::{Problem, Result};
use crate::texts::Texts;

/// What becomes of a text that is longer than the model reads. Without it: classes are told from
/// its beginning, everything else from windows over all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Truncate {
    /// It is refused.
    Error,
    /// Its beginning is read.
    End,
    /// All of it is read, in windows.
    Windows,
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

impl App {
    /// The model of a name, or the one that answers on a route.
    pub(crate) fn model(&self, name: Option<&str>, route: Route) -> Result<Arc<Served>> {
        Ok(Arc::clone(self.models().get(name, route)?))
    }

    /// Asks about each text, where that may take its time, and answers all together. A text that
    /// its task refuses is named by `field` and its row.
    pub(crate) async fn ask_each<A: Send + 'static>(
        &self,
        model: &Arc<Served>,
        field: &'static str,
        texts: Texts,
        ask: impl Fn(usize, &str) -> albert_tasks::Result<Asked<A>> + Send + 'static,
    ) -> Result<Vec<A>> {
        let seconds = self.options.limits.request_seconds;
        let make = move || {
            let each = texts.texts.iter().enumerate();
            let questions = each.map(|(row, text)| {
                ask(row, text).map_err(|error| refused(field, texts.row(row), &error))
            });
            questions.collect::<Result<Vec<_>>>()
        };
        let answer = async {
            match Asked::all(self.aside(make).await??) {
                Some(all) => self.batcher.answer(model, all).await,
                None => Ok(Vec::new()),
            }
        };
        let answer = tokio::time::timeout(Duration::from_secs(seconds), answer).await;
        answer.map_err(|_| Problem::too_slow(seconds))?
    }

    /// Does work that takes a core for a while beside the threads that answer sockets.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let id = crate::request_id::current();
        // Whoever leaves before the turn has come leaves nothing behind to be done.
        let turn = Arc::clone(&self.preparing).acquire_owned().await;
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
        self.ask_each(model, field, texts, ask).await
    }
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
