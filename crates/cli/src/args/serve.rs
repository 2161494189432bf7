//! `albert serve`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};

use super::Precision;

/// Threads that anyone could want.
pub const MOST_THREADS: i64 = 1024;

#[derive(Args)]
#[command(after_help = "Examples:\n  albert serve\n  \
    albert serve --port 9000 --model reviews=my-reviews --model sentiment\n  \
    curl -s localhost:8080/v1/classify -H 'Content-Type: application/json' \\\n    \
    -d '{\"text\": \"A film to remember.\"}'\n\n\
    SIGTERM ends it once what was accepted is answered, SIGHUP loads models, keys and certificate anew.\n\
    docs/serve.md has the configuration file, the limits and the routes.")]
pub struct ServeArgs {
    /// A model: NAME=DIR, or the name of one that ships; in the environment ALBERT_SERVE_MODELS, with commas
    /// between them. Without it, all that ship
    #[arg(long, value_name = "NAME[=DIR]")]
    pub model: Vec<String>,
    /// Listen here; nobody but this machine can ask unless told
    #[arg(long, value_name = "ADDRESS", env = "ALBERT_HOST", value_parser = host)]
    pub host: Option<IpAddr>,
    /// Listen on this port, 8080 unless told; 0 takes a free one
    #[arg(long, value_name = "PORT", env = "ALBERT_PORT")]
    pub port: Option<u16>,
    /// A TOML file with what stands here, and the limits; what is given here counts more
    #[arg(long, value_name = "FILE", env = "ALBERT_CONFIG")]
    pub config: Option<PathBuf>,
    /// Keys of those who may ask, one a line, each with its requests a second if bounded
    #[arg(long, value_name = "FILE", env = "ALBERT_API_KEY_FILE")]
    pub api_keys: Option<PathBuf>,
    /// Let pages of this origin ask; * for any. None unless told
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "ALBERT_CORS_ORIGINS",
        value_delimiter = ','
    )]
    pub cors_origin: Vec<String>,
    /// Speak TLS with this certificate (PEM, with those between it and a root)
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        env = "ALBERT_TLS_CERTIFICATE"
    )]
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_certificate",
        env = "ALBERT_TLS_KEY"
    )]
    pub tls_key: Option<PathBuf>,
    /// Arithmetic of the layers; without it, as the weights are stored
    #[arg(long, value_enum, env = "ALBERT_PRECISION")]
    pub precision: Option<Precision>,
    /// Let a text leave a classifier with early exits once so many layers in a row agreed with the one
    /// before them; without it, all layers read every text
    #[arg(long, value_name = "N", env = "ALBERT_PATIENCE")]
    pub patience: Option<usize>,
    /// Threads that compute; without it, all that the process may use
    #[arg(long, value_name = "N", env = "ALBERT_THREADS", value_parser = clap::value_parser!(u16).range(1..=MOST_THREADS))]
    pub threads: Option<u16>,
    /// Another bound than usual; in the environment ALBERT_LIMITS, with commas between them.
    /// docs/serve.md has all of them
    #[arg(long = "limit", value_name = "NAME=N", value_delimiter = ',')]
    pub limits: Vec<String>,
    /// Before it is ready each model runs a short row, as long as no more than so many seconds have
    /// passed; 0: none does. 10 unless told
    #[arg(long, value_name = "SECONDS", env = "ALBERT_WARMUP")]
    pub warmup: Option<u32>,
    /// What is written for every request, to the standard error; never its text, unless --log-texts
    /// says so
    #[arg(long, value_enum, env = "ALBERT_LOG")]
    pub log: Option<LogStyle>,
    /// Write down what requests say, too
    #[arg(
        long,
        value_name = "BOOLEAN",
        env = "ALBERT_LOG_TEXTS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub log_texts: Option<bool>,
    /// Send traces to this collector of OpenTelemetry, by OTLP over HTTP; in the environment
    /// OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT. None unless told
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

/// An address, or the name that this machine has for itself.
pub fn host(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
        _ => text.parse().map_err(|_| {
            format!(
                "`{text}` is no IP address; 127.0.0.1 is this machine, 0.0.0.0 all its addresses"
            )
        }),
    }
}

/// How requests are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStyle {
    /// Lines for people
    Text,
    /// A JSON object a line
    Json,
    /// Nothing but warnings and errors
    Off,
}
