//! `albert classify`, `tag`, `answer`, `choose`, `embed`, `similarity` and `zero-shot`.

use std::io::Read;
use std::path::Path;

use albert_checkpoint::ProblemType;
use albert_tasks::{
    AnswerOptions, Answered, Answerer, Chooser, Chosen, Classified, Classifier, Embedder, Error,
    LabelScore, Result as TaskResult, Tagged, Tagger, TextInput, ZeroShot, check_classes, cosine,
};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::args::{
    AnswerArgs, ChooseArgs, ClassifyArgs, EmbedArgs, ModelArgs, PoolingArg, SimilarityArgs,
    TagArgs, ZeroShotArgs,
};
use crate::output;
use crate::rows::{PairRow, TextRow};
use crate::stream::{self, unsure, with_abstention};

use super::{TaskModel, note_untaught, open_task, with_exit};

fn percent(share: f32) -> String {
    format!("{:.1}%", share * 100.0)
}

fn label_rows(labels: &[LabelScore], top: usize) -> Vec<Vec<String>> {
    let row = |label: &LabelScore| vec![percent(label.probability), label.label.clone()];
    labels.iter().take(top).map(row).collect()
}

/// A text, unless it is blank: heads say something of nothing, too.
fn not_blank(text: &str) -> TaskResult<&str> {
    match text.trim() {
        "" => Err(Error::BlankText("the text")),
        _ => Ok(text),
    }
}

fn input<'a>(text: &'a str, pair: Option<&'a str>) -> TaskResult<TextInput<'a>> {
    Ok(TextInput {
        text: not_blank(text)?,
        pair: pair.map(not_blank).transpose()?,
    })
}

pub fn classify(args: ClassifyArgs) -> Result<()> {
    let TaskModel {
        engine,
        tokenizer,
        settings,
    } = with_exit(open_task(&args.model, "sentiment")?, args.exit)?;
    let task = Classifier::new(engine, tokenizer)?.with_settings(settings);
    if args.abstain.is_some() && task.problem() == ProblemType::Regression {
        bail!("--abstain: the model gives numbers, and says nothing of how sure it is");
    }
    let top = args.top as usize;
    let short = |mut said: Classified| {
        said.labels.truncate(top);
        said
    };
    if args.rows.input.is_some() {
        return stream::answer(&args.rows, args.abstain, |rows: &[TextRow]| {
            let inputs = rows
                .iter()
                .map(|row| input(&row.text, row.text_pair.as_deref()));
            let inputs = inputs.collect::<TaskResult<Vec<_>>>()?;
            Ok(task.classify(&inputs)?.into_iter().map(short).collect())
        });
    }
    let pair = args.pair.as_deref();
    let inputs = args.texts.iter().map(|text| input(text, pair));
    let inputs = inputs.collect::<TaskResult<Vec<_>>>()?;
    for (said, text) in task.classify(&inputs)?.into_iter().zip(&args.texts) {
        let said = short(said);
        if args.rows.json {
            output::json(&with_abstention(&said, args.abstain)?)?;
            continue;
        }
        output::line(text)?;
        if let Some(score) = said.score {
            output::line(&format!("score {score:.4}"))?;
        } else {
            output::table(&["share", "class"], &label_rows(&said.labels, top))?;
        }
        if task.problem() == ProblemType::MultiLabel {
            let assigned = said.assigned.unwrap_or_default();
            output::line(&format!("it has: {}", assigned.join(", ")))?;
        }
        if let Some(text) = said.confidence.and_then(|c| unsure(c, args.abstain)) {
            output::line(&text)?;
        }
        if said.truncated > 0 {
            output::line(&format!(
                "({} pieces did not fit and were left out)",
                said.truncated
            ))?;
        }
    }
    Ok(())
}

pub fn tag(args: TagArgs) -> Result<()> {
    let TaskModel {
        engine,
        tokenizer,
        settings,
    } = open_task(&args.model, "slots")?;
    let task = Tagger::new(engine, tokenizer)?.with_settings(settings);
    if args.rows.input.is_some() {
        return stream::answer(&args.rows, args.abstain, |rows: &[TextRow]| {
            let texts = rows.iter().map(|row| not_blank(&row.text));
            task.tag(&texts.collect::<TaskResult<Vec<_>>>()?)
        });
    }
    let texts = args.texts.iter().map(|text| not_blank(text));
    let texts = texts.collect::<TaskResult<Vec<_>>>()?;
    for (said, text) in task.tag(&texts)?.iter().zip(&args.texts) {
        if args.rows.json {
            output::json(&with_abstention(said, args.abstain)?)?;
            continue;
        }
        show_tagged(text, said)?;
        let sure = said.words.iter().map(|word| word.confidence);
        if let Some(text) = unsure(sure.fold(1.0, f32::min), args.abstain) {
            output::line(&text)?;
        }
    }
    Ok(())
}

fn show_tagged(text: &str, said: &Tagged) -> Result<()> {
    output::line(text)?;
    let rows: Vec<Vec<String>> = said
        .entities
        .iter()
        .map(|entity| {
            vec![
                percent(entity.confidence),
                entity.label.clone(),
                entity.text.clone(),
                format!("{}..{}", entity.start, entity.end),
            ]
        })
        .collect();
    match rows.is_empty() {
        true => output::line("nothing found"),
        false => output::table(&["share", "label", "text", "characters"], &rows),
    }
}

/// A row of `answer`.
#[derive(Deserialize)]
struct QuestionRow {
    question: String,
    context: String,
}

pub fn answer(args: AnswerArgs) -> Result<()> {
    let TaskModel {
        engine,
        tokenizer,
        settings,
    } = open_task(&args.model, "qa")?;
    let task = Answerer::new(engine, tokenizer)?.with_settings(settings);
    let options = AnswerOptions {
        top: args.top as usize,
        max_length: args.max_length.map(|length| length as usize),
        ..AnswerOptions::default()
    };
    if args.rows.input.is_some() {
        return stream::answer(&args.rows, args.abstain, |rows: &[QuestionRow]| {
            rows.iter()
                .map(|row| task.answer(&row.question, &row.context, &options))
                .collect()
        });
    }
    let (Some(question), Some(context)) = (&args.question, &args.context) else {
        bail!("--question and --context, or --input");
    };
    if question.trim().is_empty() {
        bail!("--question is blank");
    }
    let text = whole_text(context)?;
    let said = task
        .answer(question, &text, &options)
        .with_context(|| context.display().to_string())?;
    if args.rows.json {
        return output::json(&with_abstention(&said, args.abstain)?);
    }
    show_answered(&said, args.abstain)
}

fn show_answered(said: &Answered, abstain: Option<f32>) -> Result<()> {
    if said.no_answer {
        output::line("the text does not seem to answer this; the nearest it has:")?;
    }
    let rows: Vec<Vec<String>> = said
        .answers
        .iter()
        .map(|answer| {
            vec![
                percent(answer.confidence),
                format!("{}..{}", answer.start, answer.end),
                answer.text.clone(),
            ]
        })
        .collect();
    output::table(&["share", "characters", "answer"], &rows)?;
    let best = said.answers.first();
    match best.and_then(|best| unsure(best.confidence, abstain)) {
        Some(text) => output::line(&text),
        None => Ok(()),
    }
}

/// The text of a file, or of the standard input for `-`.
fn whole_text(path: &Path) -> Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("standard input")?;
        return Ok(text);
    }
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    String::from_utf8(bytes).with_context(|| format!("{}: not UTF-8", path.display()))
}

/// A row of `choose`.
#[derive(Deserialize)]
struct ChoiceRow {
    #[serde(default)]
    context: String,
    #[serde(default)]
    question: String,
    choices: Vec<String>,
}

pub fn choose(args: ChooseArgs) -> Result<()> {
    if args.model.model.is_none() {
        bail!(
            "no model that chooses ships: name one with --model (`albert finetune choose` makes one)"
        );
    }
    let TaskModel {
        engine,
        tokenizer,
        settings,
    } = open_task(&args.model, "")?;
    let task = Chooser::new(engine, tokenizer)?.with_settings(settings);
    let chosen = |row: &ChoiceRow| {
        let choices: Vec<&str> = row.choices.iter().map(String::as_str).collect();
        task.choose(&row.context, &row.question, &choices)
    };
    if args.rows.input.is_some() {
        return stream::answer(&args.rows, args.abstain, |rows: &[ChoiceRow]| {
            rows.iter().map(chosen).collect()
        });
    }
    let context = args.context.as_deref().map(whole_text).transpose()?;
    let said = chosen(&ChoiceRow {
        context: context.unwrap_or_default(),
        question: args.question.unwrap_or_default(),
        choices: args.choices.clone(),
    })?;
    if args.rows.json {
        return output::json(&with_abstention(&said, args.abstain)?);
    }
    show_chosen(&args.choices, &said, args.abstain)
}

fn show_chosen(choices: &[String], said: &Chosen, abstain: Option<f32>) -> Result<()> {
    let mut rows: Vec<(f32, &String)> = said.probabilities.iter().copied().zip(choices).collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(share, choice)| vec![percent(share), choice.clone()])
        .collect();
    output::table(&["share", "choice"], &rows)?;
    match unsure(said.confidence, abstain) {
        Some(text) => output::line(&text),
        None => Ok(()),
    }
}

fn embedder(args: &ModelArgs, pooling: Option<PoolingArg>) -> Result<Embedder> {
    let TaskModel {
        engine,
        tokenizer,
        settings,
    } = open_task(args, "sentences")?;
    note_untaught(engine.config());
    let embedder = Embedder::new(engine, tokenizer).with_settings(settings);
    Ok(match pooling {
        Some(pooling) => embedder.with_pooling(pooling.into()),
        None => embedder,
    })
}

pub fn embed(args: EmbedArgs) -> Result<()> {
    let task = embedder(&args.model, args.pooling)?;
    if args.rows.input.is_some() {
        return stream::answer(&args.rows, None, |rows: &[TextRow]| {
            let texts = rows.iter().map(|row| not_blank(&row.text));
            task.embed(&texts.collect::<TaskResult<Vec<_>>>()?)
        });
    }
    let texts = args.texts.iter().map(|text| not_blank(text));
    let texts = texts.collect::<TaskResult<Vec<_>>>()?;
    task.embed(&texts)?.iter().try_for_each(output::json)
}

/// How alike two texts are.
#[derive(Serialize)]
struct Similarity {
    similarity: f32,
}

pub fn similarity(args: SimilarityArgs) -> Result<()> {
    let task = embedder(&args.model, args.pooling)?;
    if args.rows.input.is_some() {
        return stream::answer(&args.rows, None, |rows: &[PairRow]| {
            let texts = rows
                .iter()
                .flat_map(|row| [not_blank(&row.text), not_blank(&row.text_pair)]);
            let vectors = task.embed(&texts.collect::<TaskResult<Vec<_>>>()?)?;
            let cosines = vectors.chunks(2).map(|pair| Similarity {
                similarity: cosine(&pair[0].vector, &pair[1].vector),
            });
            Ok(cosines.collect())
        });
    }
    let [a, b] = args.texts.as_slice() else {
        bail!("two texts, or --input");
    };
    let similarity = task.similarity(not_blank(a)?, not_blank(b)?)?;
    match args.rows.json {
        true => output::json(&Similarity { similarity }),
        false => output::line(&format!("{similarity:.4}")),
    }
}

pub fn zero_shot(args: ZeroShotArgs) -> Result<()> {
    let TaskModel {
        engine,
        tokenizer,
        settings,
    } = open_task(&args.model, "nli")?;
    let classifier = Classifier::new(engine, tokenizer)?.with_settings(settings);
    let mut task = ZeroShot::new(classifier)?;
    if let Some(hypothesis) = &args.hypothesis {
        task = task.with_hypothesis(hypothesis)?;
    }
    let classes: Vec<&str> = args.classes.iter().map(String::as_str).collect();
    check_classes(&classes).context("--classes")?;
    let classify = |text: &str| task.classify(not_blank(text)?, &classes, args.multi_label);
    if args.rows.input.is_some() {
        return stream::answer(&args.rows, args.abstain, |rows: &[TextRow]| {
            rows.iter().map(|row| classify(&row.text)).collect()
        });
    }
    for text in &args.texts {
        let said = classify(text)?;
        if args.rows.json {
            output::json(&with_abstention(&said, args.abstain)?)?;
            continue;
        }
        output::line(text)?;
        let rows = label_rows(&said.labels, said.labels.len());
        output::table(&["share", "class"], &rows)?;
        if let Some(text) = unsure(said.confidence, args.abstain) {
            output::line(&text)?;
        }
    }
    Ok(())
}
