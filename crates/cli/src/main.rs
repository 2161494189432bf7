//! The program `albert`: raw text to a trained model, a trained model to answers.
//!
//! Exit codes: 0 for success, 2 for wrong usage, 1 for any other failure. Answers go to the
//! standard output, everything else to the standard error.

mod args;
mod commands;
mod output;
mod progress;
mod rows;
#[cfg(feature = "train")]
mod signals;
mod stream;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output has gone (`albert ... | head`): nothing is wrong.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("error: {}", output::chain(&error)));
            ExitCode::FAILURE
        }
    }
}
