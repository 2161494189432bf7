//! `albert serve`.

use std::env::VarError;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use albert_checkpoint::{find_model, shipped_models};
use albert_engine::EarlyExit;
use albert_server::{Keys, Limits, ModelSource, ServeOptions, TlsFiles, serve};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tracing_subscriber::filter::LevelFilter;

use crate::args::{LogStyle, Precision, ServeArgs};
use crate::output;

/// Keys, where they are not to lie in a file.
const KEYS: &str = "ALBERT_API_KEYS";

/// What `--model` names, with commas between them.
const MODELS: &str = "ALBERT_SERVE_MODELS";

/// The configuration file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    host: Option<IpAddr>,
    port: Option<u16>,
    models: Vec<String>,
    api_keys: Option<PathBuf>,
    cors_origins: Vec<String>,
    tls: Option<TlsFiles>,
    precision: Option<Precision>,
    threads: Option<u16>,
    patience: Option<usize>,
    warm_up: Option<bool>,
    log: Option<LogStyle>,
    otlp_endpoint: Option<String>,
    limits: Limits,
}

impl File {
    /// The file, with other bounds where there are.
    fn read(path: Option<&Path>, limits: &[String]) -> Result<Self> {
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
        for limit in limits {
            let number = limit.split_once('=');
            let number =
                number.and_then(|(name, number)| Some((name, number.parse::<i64>().ok()?)));
            let (Some((name, number)), Some(given)) = (number, given.as_table_mut()) else {
                bail!("--limit {limit}: a name, =, and a whole number are needed");
            };
            given.insert(name.trim().to_owned(), number.into());
        }
        table.try_into().context("--limit")
    }
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
    let of_environment = std::env::var(MODELS).unwrap_or_default();
    let of_environment = of_environment.split(',').filter(|name| !name.is_empty());
    let of_environment: Vec<String> = of_environment.map(str::to_owned).collect();
    let all = [args.model, of_environment, file.models];
    let named = all.into_iter().find(|named| !named.is_empty());
    let named = named.unwrap_or_default();
    let precision = args.precision.or(file.precision);
    options.models = sources(&named, precision)?;
    options.keys = keys(args.api_keys.or(file.api_keys).as_deref())?;
    options.cors_origins = match args.cors_origin.is_empty() {
        true => file.cors_origins,
        false => args.cors_origin,
    };
    options.tls = match (args.tls_certificate, args.tls_key) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        _ => file.tls,
    };
    let collector = args.otlp_endpoint.or(file.otlp_endpoint);
    // An empty variable is as good as none.
    options.traces = collector.filter(|endpoint| !endpoint.is_empty());
    options.threads = args.threads.or(file.threads).map(usize::from);
    options.early_exit = args.patience.or(file.patience).map(EarlyExit::after);
    options.warm_up = !args.no_warm_up && file.warm_up.unwrap_or(true);
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

/// The keys of a file, or else of the environment; whoever names either wants to be asked for one.
fn keys(path: Option<&Path>) -> Result<Keys> {
    let (place, text) = match (path, std::env::var(KEYS)) {
        (Some(path), _) => {
            let place = path.display().to_string();
            let text = std::fs::read_to_string(path).with_context(|| place.clone())?;
            (place, text)
        }
        (None, Ok(text)) => (KEYS.to_owned(), text.replace(',', "\n")),
        (None, Err(VarError::NotPresent)) => return Ok(Keys::default()),
        (None, Err(error)) => bail!("{KEYS}: {error}"),
    };
    let keys = Keys::parse(&text).map_err(|why| anyhow::anyhow!("{place}: {why}"))?;
    if keys.is_empty() {
        bail!("{place}: there is no key in it");
    }
    Ok(keys)
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
