//! `albert bench train`.

use albert_checkpoint::{AlbertConfig, Architecture};
use albert_kernels::ThreadPool;
use albert_kernels::training::matmul::multiplies_bf16;
use albert_model::{Precision, TrainingBackend};
use albert_train::bench::{BenchOptions, BenchReport, bench_training};
use anyhow::{Context, Result};
use serde::Serialize;

use super::bench_run::peak_memory;
use crate::args::{BenchTrainArgs, Device, TrainPrecision};
use crate::output;
use crate::progress::Steps;

#[derive(Serialize)]
struct Report {
    preset: String,
    batch: u32,
    length: u32,
    precision: &'static str,
    threads: usize,
    steps: usize,
    tokens_per_s: f64,
    step_ms: f64,
    step_ms_all: Vec<f64>,
    peak_memory_bytes: Option<u64>,
    estimated_memory_bytes: u64,
    loss: f32,
}

pub fn run(args: BenchTrainArgs) -> Result<()> {
    let mut config = AlbertConfig::preset(&args.preset).with_context(|| {
        let known = "base, large, xlarge, xxlarge, mini, tiny";
        format!("--preset: `{}` is none of {known}", args.preset)
    })?;
    config.architecture = Architecture::PreTraining;
    let precision = match args.precision {
        TrainPrecision::F32 => Precision::F32,
        TrainPrecision::Bf16 => Precision::Bf16,
    };
    // Where no pairs of bfloat16 are multiplied faster, products are of f32 numbers.
    let as_f32 = matches!(args.device, Device::Cpu) && !multiplies_bf16();
    if as_f32 && matches!(args.precision, TrainPrecision::Bf16) {
        output::note(
            "note: this processor does not multiply bf16 faster: products are of f32 numbers",
        );
    }
    let options = BenchOptions {
        config,
        batch: args.batch as usize,
        length: args.length as usize,
        steps: args.steps as usize,
        precision,
    };
    let pool = ThreadPool::for_training(args.threads.map(usize::from))?;
    let timed = pool.install(|| match args.device {
        Device::Cpu => timed::<albert_model::Cpu>(&options, &Default::default()),
        #[cfg(feature = "cuda")]
        Device::Cuda(number) => {
            timed::<albert_model::Cuda>(&options, &albert_model::CudaDevice::new(number))
        }
        #[cfg(feature = "wgpu")]
        Device::Wgpu => timed::<albert_model::Wgpu>(&options, &Default::default()),
    })?;
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let report = Report {
        preset: args.preset,
        batch: args.batch,
        length: args.length,
        precision: match args.precision {
            TrainPrecision::Bf16 if !as_f32 => "bf16",
            _ => "f32",
        },
        threads: pool.threads(),
        steps: timed.times.len(),
        tokens_per_s: timed.tokens_per_second(),
        step_ms: ms(timed.median()),
        step_ms_all: timed.times.iter().map(|&time| ms(time)).collect(),
        peak_memory_bytes: peak_memory(),
        estimated_memory_bytes: timed.estimated_bytes,
        loss: timed.loss,
    };
    if args.json {
        return output::json(&report);
    }
    let shape = format!("{} x {}", report.batch, report.length);
    output::table(
        &["what", "measured"],
        &[
            vec![
                "model, rows x length".into(),
                format!("{}, {shape}", report.preset),
            ],
            vec![
                "precision, threads".into(),
                format!("{}, {}", report.precision, report.threads),
            ],
            vec!["step, median".into(), format!("{:.1} ms", report.step_ms)],
            vec![
                "tokens a second".into(),
                output::thousands(report.tokens_per_s as u64),
            ],
            vec![
                "peak memory".into(),
                report
                    .peak_memory_bytes
                    .map_or("unknown".into(), output::bytes),
            ],
        ],
    )
}

fn timed<B: TrainingBackend>(options: &BenchOptions, device: &B::Device) -> Result<BenchReport> {
    albert_model::check_device::<B>(device)?;
    let mut steps = Steps::new();
    let report = bench_training::<B>(options, device, |step| {
        steps.show(&format!("{step} of {} steps timed", options.steps));
    });
    steps.finish();
    Ok(report?)
}
