//! `albert doctor`: what this program finds on this machine.

use albert_checkpoint::find_model;
use anyhow::Result;
use serde::Serialize;

use crate::args::DoctorArgs;
use crate::output;

#[derive(Serialize)]
struct Report {
    version: &'static str,
    target: String,
    training: bool,
    instruction_sets_found: Vec<&'static str>,
    instruction_set_used: String,
    threads: usize,
    default_model: Option<String>,
    default_model_problem: Option<String>,
    memory_bytes: Option<u64>,
    memory_available_bytes: Option<u64>,
}

pub fn run(args: DoctorArgs) -> Result<()> {
    let model = find_model(None);
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        training: cfg!(feature = "train"),
        instruction_sets_found: albert_kernels::detected_features(),
        instruction_set_used: albert_kernels::Isa::used().to_string(),
        threads: albert_kernels::available_threads(),
        default_model: model.as_ref().ok().map(|dir| dir.display().to_string()),
        default_model_problem: model.as_ref().err().map(ToString::to_string),
        memory_bytes: memory("MemTotal:"),
        memory_available_bytes: memory("MemAvailable:"),
    };
    if args.json {
        return output::json(&report);
    }
    let memory = |bytes: Option<u64>| bytes.map_or("unknown".into(), output::bytes);
    let rows = [
        ("version", report.version.to_owned()),
        ("built for", report.target),
        (
            "training",
            if report.training {
                "built in"
            } else {
                "left out"
            }
            .to_owned(),
        ),
        (
            "instruction sets found",
            report.instruction_sets_found.join(" "),
        ),
        ("instruction set used", report.instruction_set_used),
        ("threads", report.threads.to_string()),
        (
            "default model",
            report
                .default_model
                .or(report.default_model_problem)
                .unwrap_or_default(),
        ),
        ("memory", memory(report.memory_bytes)),
        ("memory available", memory(report.memory_available_bytes)),
    ];
    output::table(
        &["what", "found"],
        &rows.map(|(what, found)| vec![what.to_owned(), found]),
    )
}

/// A line of Linux's `/proc/meminfo`, in bytes; nothing on other systems.
fn memory(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()
        .map(|kilobytes| kilobytes * 1024)
}
