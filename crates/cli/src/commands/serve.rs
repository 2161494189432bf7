//! `albert serve`.

use std::env::VarError;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use albert_checkpoint::{find_model, shipped_models};
use albert_engine::EarlyExit;
use albert_server::{Keys, Limits, ModelSource, ServeOptions, TlsFiles, serve};
use anyhow::{Context, Result, bail};
use serde::de::{Deserialize, Deserializer, Error};
use tracing_subscriber::filter::LevelFilter;

use crate::args::{self, LogStyle, Precision, ServeArgs};
use crate::output;

/// Keys, where they are not to lie in a file.
const KEYS: &str = "ALBERT_API_KEYS";

/// The file that `--api-keys` names.
const KEY_FILE: &str = "ALBERT_API_KEY_FILE";

/// What `--limit` says, with commas between them.
const LIMITS: &str = "ALBERT_LIMITS";

/// What `--model` names, with commas between them.
const MODELS: &str = "ALBERT_SERVE_MODELS";

/// The configuration file.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    #[serde(deserialize_with = "host")]
    host: Option<IpAddr>,
    port: Option<u16>,
    models: Vec<String>,
    api_keys: Option<PathBuf>,
    cors_origins: Vec<String>,
    tls: Option<TlsFiles>,
    precision: Option<Precision>,
    threads: Option<u16>,
    patience: Option<usize>,
    warmup_seconds: Option<u32>,
    log: Option<LogStyle>,
    log_texts: Option<bool>,
    otlp_endpoint: Option<String>,
    limits: Limits,
}

fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    args::host(&text).map(Some).map_err(D::Error::custom)
}

impl File {
    /// The file, with other bounds where the environment or, before it, a flag says so.
    fn read(path: Option<&Path>, limits: &[String]) -> Result<Self> {
        let of_environment = variable(LIMITS)?.unwrap_or_default();
        let of_environment = listed(&of_environment).map(|limit| (LIMITS, limit));
        let of_flags = limits.iter().map(|limit| ("--limit", limit.as_str()));
        let mut text = String::new();
        if let Some(path) = path {
            let place = || path.display().to_string();
            text = std::fs::read_to_string(path).with_context(place)?;
            // What is wrong with it is told by its lines.
            toml::from_str::<Self>(&text).with_context(place)?;
        }
        let mut table: toml::Table = toml::from_str(&text)?;
        let given = table
            .entry("limits")
            .or_insert_with(|| toml::Table::new().into());
        for (place, limit) in of_environment.chain(of_flags) {
            let number = limit.split_once('=');
            let number =
                number.and_then(|(name, number)| Some((name, number.parse::<i64>().ok()?)));
            let (Some((name, number)), Some(given)) = (number, given.as_table_mut()) else {
                bail!("{place} {limit}: a name, =, and a whole number are needed");
            };
            given.insert(name.trim().to_owned(), number.into());
        }
        let file: Self = table.try_into().context("limits")?;
        let threads = i64::from(file.threads.unwrap_or(1));
        if !(1..=args::MOST_THREADS).contains(&threads) {
            let most = args::MOST_THREADS;
            bail!("`threads` must be 1 to {most}, not {threads}");
        }
        Ok(file)
    }
}

/// A variable of the environment; an empty one is as good as none.
fn variable(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(error) => bail!("{name}: {error}"),
    }
}

/// What a variable lists, with commas between.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

pub fn run(args: ServeArgs) -> Result<()> {
    let file = File::read(args.config.as_deref(), &args.limits)?;
    start_log(args.log.or(file.log).unwrap_or(LogStyle::Text));
    let options = options(args, file)?;
    let open = options.keys.is_empty() && !options.address.ip().is_loopback();
    if open {
        output::note(
            "note: everyone who reaches this machine may ask; --api-keys would change that",
        );
    }
    let scheme = match options.tls {
        Some(_) => "https",
        None => "http",
    };
    let drained = serve(options, move |address, _| {
        // Programs that start the server wait for this line.
        let said = output::line(&format!("listening on {scheme}://{address}"));
        if let Err(error) = said {
            output::note(&format!("note: {}", output::chain(&error)));
        }
    })?;
    if !drained {
        bail!("requests were cut off: they took longer than `drain_seconds`");
    }
    Ok(())
}

fn options(args: ServeArgs, file: File) -> Result<ServeOptions> {
    let mut options = ServeOptions {
        limits: file.limits,
        ..ServeOptions::default()
    };
    if let Some(host) = args.host.or(file.host) {
        options.address.set_ip(host);
    }
    if let Some(port) = args.port.or(file.port) {
        options.address.set_port(port);
    }
    let of_environment = variable(MODELS)?.unwrap_or_default();
    let of_environment: Vec<String> = listed(&of_environment).map(str::to_owned).collect();
    let all = [args.model, of_environment, file.models];
    let named = all.into_iter().find(|named| !named.is_empty());
    let named = named.unwrap_or_default();
    let precision = args.precision.or(file.precision);
    options.models = sources(&named, precision)?;
    (options.keys, options.key_file) = keys(args.api_keys, file.api_keys)?;
    let origins = args.cors_origin.into_iter();
    let origins: Vec<String> = origins.filter(|origin| !origin.is_empty()).collect();
    options.cors_origins = match origins.is_empty() {
        true => file.cors_origins,
        false => origins,
    };
    options.tls = match (args.tls_certificate, args.tls_key) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        _ => file.tls,
    };
    options.traces = collector(args.otlp_endpoint, file.otlp_endpoint)?;
    options.log_texts = args.log_texts.or(file.log_texts).unwrap_or(false);
    options.threads = args.threads.or(file.threads).map(usize::from);
    options.early_exit = args.patience.or(file.patience).map(EarlyExit::after);
    if let Some(seconds) = args.warmup.or(file.warmup_seconds) {
        options.warmup = Duration::from_secs(seconds.into());
    }
    Ok(options)
}

/// The models that are named, or all that ship.
fn sources(named: &[String], precision: Option<Precision>) -> Result<Vec<ModelSource>> {
    let precision = precision.map(Into::into);
    if named.is_empty() {
        let shipped = shipped_models();
        if shipped.is_empty() {
            bail!(
                "no model found; name one with --model NAME=DIR, or set ALBERT_MODELS to the folder \
                 that holds those that ship"
            );
        }
        let source = |model: albert_checkpoint::ShippedModel| ModelSource {
            name: model.name,
            dir: model.dir,
            precision,
        };
        return Ok(shipped.into_iter().map(source).collect());
    }
    let source = |text: &String| {
        let (name, dir) = match text.split_once('=') {
            Some((name, dir)) if name.trim().is_empty() || dir.is_empty() => {
                bail!("--model {text}: a name, =, and a folder are needed");
            }
            Some((name, dir)) => (name, find_model(Some(&as_path(dir)))?),
            None => (text.as_str(), find_model(Some(text))?),
        };
        let name = name.to_owned();
        Ok(ModelSource {
            name,
            dir,
            precision,
        })
    };
    named.iter().map(source).collect()
}

/// Behind `NAME=` stands a folder, also where a model that ships has its name.
fn as_path(dir: &str) -> String {
    match Path::new(dir).is_dir() && !dir.contains(['/', '\\']) {
        true => format!("./{dir}"),
        false => dir.to_owned(),
    }
}

/// Where traces are taken, as OpenTelemetry's own variables say, unless a flag says otherwise.
fn collector(of_flag: Option<String>, of_file: Option<String>) -> Result<Option<String>> {
    let off = variable("OTEL_SDK_DISABLED")?.is_some_and(|off| off.eq_ignore_ascii_case("true"));
    if off {
        return Ok(None);
    }
    let of_all = |base: String| format!("{}/v1/traces", base.trim_end_matches('/'));
    let whole = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")?;
    let base = variable("OTEL_EXPORTER_OTLP_ENDPOINT")?;
    let given = |base: Option<String>| base.filter(|base| !base.is_empty()).map(of_all);
    Ok(given(of_flag).or(whole).or(given(base)).or(given(of_file)))
}

/// The keys of the file that a flag or a variable names, of the environment, or of the file that the
/// configuration names; and the file.
fn keys(given: Option<PathBuf>, configured: Option<PathBuf>) -> Result<(Keys, Option<PathBuf>)> {
    // An empty one has no key in it, and must not let everyone in.
    let of_environment = match std::env::var(KEYS) {
        Ok(text) => Some(text),
        Err(VarError::NotPresent) => None,
        Err(error) => bail!("{KEYS}: {error}"),
    };
    let named = std::env::var_os(KEY_FILE).map(PathBuf::from);
    if of_environment.is_some() && named.is_some() && named == given {
        bail!("{KEY_FILE} and {KEYS} are both set: which of them has the keys?");
    }
    let file = match (given, &of_environment) {
        (None, Some(text)) => {
            let keys = Keys::parse(&text.replace(',', "\n"));
            let keys = keys.map_err(|why| anyhow::anyhow!("{KEYS}: {why}"))?;
            if keys.is_empty() {
                bail!("{KEYS}: there is no key in it");
            }
            return Ok((keys, None));
        }
        (given, _) => given.or(configured),
    };
    let keys = file.as_deref().map(Keys::from_file).transpose()?;
    Ok((keys.unwrap_or_default(), file))
}

fn start_log(style: LogStyle) {
    let level = match style {
        LogStyle::Off => LevelFilter::WARN,
        LogStyle::Text | LogStyle::Json => LevelFilter::INFO,
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .with_max_level(level);
    // An error means that there is one already, which is as well.
    let _ = match style {
        LogStyle::Json => builder.json().flatten_event(true).try_init(),
        LogStyle::Text | LogStyle::Off => builder.try_init(),
    };
}
