//! `albert export`, and how a folder that stands alone is written.

use std::path::Path;

use albert_checkpoint::{
    AlbertConfig, Checkpoint, DType, Result as CheckpointResult, SaveTensor, find_model, save,
};
use albert_tasks::{TaskSettings, tokenizer_of};
use anyhow::{Result, bail};

use crate::args::{Dtype, ExportArgs};
use crate::output;

pub fn run(args: ExportArgs) -> Result<()> {
    let checkpoint = Checkpoint::open(&find_model(Some(&args.model))?)?;
    let output = &args.output;
    must_be_empty(output)?;
    let dtype = match args.dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::Bf16 => DType::Bf16,
    };
    write(&checkpoint, output, |config, tensors| {
        save(output, config, tensors, dtype, &[])
    })?;
    output::line(&format!(
        "{}: {}, {} tensors",
        output.display(),
        checkpoint.config().architecture,
        checkpoint.tensors().count()
    ))
}

/// Refuses a folder that holds something.
pub fn must_be_empty(output: &Path) -> Result<()> {
    if std::fs::read_dir(output).is_ok_and(|mut files| files.next().is_some()) {
        bail!(
            "{}: the output folder exists and is not empty; name another",
            output.display()
        );
    }
    Ok(())
}

/// Writes all that a checkpoint has into a folder: the configuration and the tensors by `save`, then
/// the tokenizer and what the task says.
pub fn write(
    checkpoint: &Checkpoint,
    output: &Path,
    save: impl FnOnce(&AlbertConfig, &[SaveTensor<'_>]) -> CheckpointResult<()>,
) -> Result<()> {
    // What cannot be read or used is told before anything is written.
    checkpoint.check_finite()?;
    let tokenizer = tokenizer_of(checkpoint)?;
    let settings = TaskSettings::read(checkpoint.dir())?;
    let values: Vec<_> = checkpoint
        .tensors()
        .map(|view| (view.name, view.shape, view.to_f32()))
        .collect();
    let tensors: Vec<SaveTensor<'_>> = values
        .iter()
        .map(|(name, shape, data)| SaveTensor { name, shape, data })
        .collect();
    save(checkpoint.config(), &tensors)?;
    tokenizer.save(output)?;
    if settings != TaskSettings::default() {
        settings.save(output)?;
    }
    Ok(())
}
