//! `albert export`.

use albert_checkpoint::{Checkpoint, DType, SaveTensor, find_model, save};
use albert_tasks::{TaskSettings, tokenizer_of};
use anyhow::{Result, bail};

use crate::args::{Dtype, ExportArgs};
use crate::output;

pub fn run(args: ExportArgs) -> Result<()> {
    let checkpoint = Checkpoint::open(&find_model(Some(&args.model))?)?;
    let output = &args.output;
    if std::fs::read_dir(output).is_ok_and(|mut files| files.next().is_some()) {
        bail!(
            "{}: the output folder exists and is not empty; name another",
            output.display()
        );
    }
    let tokenizer = tokenizer_of(&checkpoint)?;
    let values: Vec<_> = checkpoint
        .tensors()
        .map(|view| (view.name.to_owned(), view.shape.to_vec(), view.to_f32()))
        .collect();
    let tensors: Vec<SaveTensor<'_>> = values
        .iter()
        .map(|(name, shape, data)| SaveTensor { name, shape, data })
        .collect();
    let dtype = match args.dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::Bf16 => DType::Bf16,
    };
    save(output, checkpoint.config(), &tensors, dtype, &[])?;
    tokenizer.save(output)?;
    let settings = TaskSettings::read(checkpoint.dir())?;
    if settings != TaskSettings::default() {
        settings.save(output)?;
    }
    output::line(&format!(
        "{}: {}, {} tensors",
        output.display(),
        checkpoint.config().architecture,
        tensors.len()
    ))
}
