//! Opens a checkpoint folder and saves it again in another number format:
//! `resave FROM TO [f32|f16|bf16]`. `golden/checkpoint/roundtrip.py` runs it
//! between two loads in transformers.

use std::env;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use albert_checkpoint::{Checkpoint, DType, SaveTensor, save};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [from, to] => resave(from, to, "f32"),
        [from, to, dtype] => resave(from, to, dtype),
        _ => {
            eprintln!("usage: resave FROM TO [f32|f16|bf16]");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn resave(from: &str, to: &str, dtype: &str) -> Result<(), Box<dyn Error>> {
    let dtype: DType = dtype.parse()?;
    let checkpoint = Checkpoint::open(Path::new(from))?;
    for line in checkpoint.notes() {
        println!("note: {line}");
    }
    for name in checkpoint.unused() {
        println!("unused: {name}");
    }
    let views: Vec<_> = checkpoint.tensors().collect();
    let numbers: Vec<_> = views.iter().map(|view| view.to_f32()).collect();
    let tensors: Vec<_> = views
        .iter()
        .zip(&numbers)
        .map(|(view, data)| SaveTensor {
            name: view.name,
            shape: view.shape,
            data,
        })
        .collect();
    let tokenizer = checkpoint.tokenizer_file();
    let extra: Vec<(&str, &Path)> = tokenizer
        .iter()
        .filter_map(|path| Some((path.file_name()?.to_str()?, path.as_path())))
        .collect();
    save(Path::new(to), checkpoint.config(), &tensors, dtype, &extra)?;
    Ok(())
}
