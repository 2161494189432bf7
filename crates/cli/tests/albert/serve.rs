//! `albert serve` as a process: how it starts, what it refuses, how it ends.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::*;

/// A server on a free port, of one model that ships.
struct Server {
    process: Child,
    address: String,
    log: tempfile::NamedTempFile,
}

impl Server {
    fn start(flags: &[&str]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_albert")), flags)
    }

    /// The same by a command to which the program's arguments are added.
    fn start_by(mut command: Command, flags: &[&str]) -> Self {
        let log = tempfile::NamedTempFile::new().expect("a file");
        let own = log.reopen().expect("the same file");
        let mut process = command
            .args(["serve", "--port", "0", "--log", "json", "--threads", "1"])
            .args(flags)
            .env("ALBERT_MODELS", root().join("models"))
            .stdout(Stdio::piped())
            .stderr(own)
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("its standard output");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("a line of its standard output");
        let address = line.trim().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Self {
            process,
            address,
            log,
        }
    }

    /// How many connections it says to have accepted, once it has ended.
    fn accepted(&self) -> usize {
        let log = std::fs::read_to_string(self.log.path()).unwrap();
        let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        let connections = last["connections"].as_u64();
        connections.unwrap_or_else(|| panic!("{last}")) as usize
    }

    fn signal(&self, name: &str) {
        let process = self.process.id().to_string();
        let sent = Command::new("kill").args([name, &process]).status();
        assert!(sent.expect("`kill` runs").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The status of a reply and its body, or none if the connection ended before it came.
fn ask(stream: &mut TcpStream, text: &str) -> Option<(u16, String)> {
    send(stream, &serde_json::json!({ "text": text }).to_string())
}

fn send(stream: &mut TcpStream, body: &str) -> Option<(u16, String)> {
    let head = format!(
        "POST /v1/classify HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    let (head, body) = reply.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[test]
fn fifty_ends_under_load_lose_no_request_that_was_accepted() {
    let mut all_answered = 0;
    let told = AtomicUsize::new(0);
    for round in 0..50 {
        let mut server = Server::start(&["--model", "sentiment", "--warmup", "0"]);
        let answered = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let load = || {
                // A connection for each request, until nobody accepts any more: at the end they are
                // dropped first, then refused.
                let address = server.address.parse().expect("an address");
                let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(500));
                while let Ok(mut stream) = connect() {
                    match ask(&mut stream, "a film to remember") {
                        Some((200, _)) => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        // Too late, and told so; as long as the others are being answered.
                        Some((503, body)) if body.contains("ending") => {
                            told.fetch_add(1, Ordering::Relaxed);
                        }
                        // Where connections cannot be turned away first, the system resets what it
                        // queued by itself when the port closes. The count below tells that from a loss.
                        None if cfg!(not(target_os = "linux")) => break,
                        lost => panic!("round {round}: {lost:?}"),
                    }
                }
            };
            for _ in 0..3 {
                scope.spawn(load);
            }
            // Another moment of the load each time.
            std::thread::sleep(Duration::from_millis(20 + 7 * round));
            server.signal("-TERM");
        });
        let status = server.process.wait().unwrap();
        assert_eq!(status.code(), Some(0), "round {round}");
        let answered = answered.into_inner();
        assert_eq!(server.accepted(), answered, "round {round}");
        all_answered += answered;
    }
    assert!(all_answered > 50);
    assert!(told.into_inner() > 50);
}

/// Of an address space of 2 GiB, 128 callers at once want more than all for their bodies alone.
#[cfg(target_os = "linux")]
#[test]
fn callers_who_want_more_memory_than_there_is_are_refused_and_the_rest_is_answered() {
    let config = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
    std::fs::write(config.path(), "[limits]\nrequest_seconds = 2\n").expect("it is written");
    let mut command = Command::new("sh");
    let limit = r#"ulimit -v 2097152 && exec "$0" "$@""#;
    command.args(["-c", limit, env!("CARGO_BIN_EXE_albert")]);
    let config = config.path().to_str().unwrap();
    // Each arena of glibc reserves 64 MiB of addresses, used or not.
    command.env("MALLOC_ARENA_MAX", "1");
    let mut server = Server::start_by(command, &["--model", "sentiment", "--config", config]);
    let text = "a film to remember ".repeat(9_900_000 / 19 / 10);
    let texts = vec![text.as_str(); 10];
    let body = serde_json::json!({"text": texts, "truncate": "windows"}).to_string();
    assert!(body.len() > 9_500_000);
    let statuses = Mutex::new(BTreeMap::<u16, usize>::new());
    std::thread::scope(|scope| {
        for _ in 0..128 {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(&server.address).unwrap();
                let (status, _) = send(&mut stream, &body).expect("an answer");
                *statuses.lock().unwrap().entry(status).or_default() += 1;
            });
        }
    });
    let statuses = statuses.into_inner().unwrap();
    assert!(statuses.contains_key(&429), "{statuses:?}");
    let known = |status: &u16| [200, 429, 504].contains(status);
    assert!(statuses.keys().all(known), "{statuses:?}");
    // It lives, and answers.
    let mut stream = TcpStream::connect(&server.address).unwrap();
    assert_eq!(ask(&mut stream, "a film").unwrap().0, 200);
    assert!(server.process.try_wait().unwrap().is_none());
}

#[test]
fn answers_are_those_of_the_command_line() {
    let text = "It is neither good nor bad, but long 😀.";
    let server = Server::start(&["--model", "sentiment"]);
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let (status, body) = ask(&mut stream, text).expect("a reply");
    assert_eq!(status, 200, "{body}");
    let reply: serde_json::Value = serde_json::from_str(&body).unwrap();
    let said = stdout(&["classify", "--model", "sentiment", "--json", text]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(reply["results"][0], said);
}

#[test]
fn a_hang_up_loads_models_anew() {
    let server = Server::start(&["--model", "sentiment"]);
    server.signal("-HUP");
    let began = Instant::now();
    loop {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let asked = "GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(asked.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        if reply.contains("albert_reloads_total 1") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{reply}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_cannot_be_served_is_said_before_it_listens() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("keys", "# none\n");
    write("short", "abc\n");
    write("limits.toml", "[limits]\nrows = 0\n");
    write("wrong.toml", "prot = 1\n");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let cases: [(&[&str], &str); 15] = [
        (&["--model", "x="], "--model x="),
        (&["--model", "=models"], "--model =models"),
        (&["--model", "x=no-such-folder"], "no-such-folder"),
        (&["--model", "no-such-model"], "no-such-model"),
        (
            &["--model", "sentiment", "--model", "sentiment"],
            "two models are called sentiment",
        ),
        (&["--model", "sentiment", "--port", &port], &port),
        (
            &["--model", "sentiment", "--api-keys", &path("keys")],
            "there is no key in it",
        ),
        (
            &["--model", "sentiment", "--api-keys", &path("short")],
            "line 1",
        ),
        (
            &["--model", "sentiment", "--config", &path("limits.toml")],
            "`rows` is 0",
        ),
        (
            &["--model", "sentiment", "--config", &path("wrong.toml")],
            "prot",
        ),
        (
            &["--model", "sentiment", "--cors-origin", "example.org"],
            "example.org",
        ),
        (
            &["--model", "sentiment", "--limit", "rows"],
            "--limit rows: a name",
        ),
        (&["--model", "sentiment", "--limit", "rowz=1"], "rowz"),
        (
            &["--model", "sentiment", "--limit", "rows=0"],
            "`rows` is 0",
        ),
        (
            &[
                "--model",
                "sentiment",
                "--limit",
                "body_seconds=99999999999",
            ],
            "`body_seconds` is longer than a year",
        ),
    ];
    for (flags, says) in cases {
        let mut all = vec!["serve", "--log", "off"];
        if !flags.contains(&"--port") {
            all.extend(["--port", "0"]);
        }
        all.extend(flags);
        let error = failure(&all, 1);
        assert!(error.contains(says), "{flags:?}: {error}");
    }
    failure(&["serve", "--tls-key", "key.pem"], 2);
    // Whoever sets the variable wants to be asked for keys: an empty one opens nothing.
    let output = Command::new(env!("CARGO_BIN_EXE_albert"))
        .args(["serve", "--port", "0", "--model", "sentiment"])
        .env("ALBERT_MODELS", root().join("models"))
        .env("ALBERT_API_KEYS", "")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("ALBERT_API_KEYS: there is no key in it"),
        "{error}"
    );
}

#[test]
fn flags_count_more_than_the_environment_and_that_more_than_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (of_file, of_environment) = ("key-of-the-file-", "key-of-the-environment");
    let keys = folder.path().join("keys");
    std::fs::write(&keys, of_file).unwrap();
    let config = folder.path().join("serve.toml");
    let configured = format!(
        "host = \"localhost\"\nmodels = [\"sentiment\"]\napi_keys = {keys:?}\nwarmup_seconds = 0\n\
         [limits]\nrows = 3\nlabels = 1\n"
    );
    std::fs::write(&config, configured).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_albert"));
    command
        .env("ALBERT_CONFIG", &config)
        .env("ALBERT_API_KEYS", of_environment)
        .env("ALBERT_LIMITS", "rows=2,labels=3")
        .env("ALBERT_NO_WARM_UP", "false");
    let server = Server::start_by(command, &["--limit", "labels=9", "--log-texts"]);
    let asks = |key: &str, text: &str| {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let body = format!("{{\"text\": {text}}}");
        let head = format!(
            "POST /v1/classify HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let status: u16 = reply.split(' ').nth(1).unwrap().parse().unwrap();
        status
    };
    assert_eq!(asks(of_file, "\"a\""), 401);
    assert_eq!(
        asks(of_environment, "[\"a\", \"a film to be logged\"]"),
        200
    );
    assert_eq!(asks(of_environment, "[\"a\", \"b\", \"c\"]"), 422);
    let log = std::fs::read_to_string(server.log.path()).unwrap();
    assert!(log.contains("a film to be logged"), "{log}");

    let failing = |configured: &str, says: &str| {
        std::fs::write(&config, configured).unwrap();
        let error = failure(&["serve", "--port", "0", "--config", text(&config)], 1);
        assert!(error.contains(says), "{error}");
    };
    failing(
        "threads = 60000\n",
        "`threads` must be 1 to 1024, not 60000",
    );
    failing("host = \"nowhere\"\n", "`nowhere` is no IP address");
}

#[test]
fn the_environment_says_what_flags_do() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_albert"));
    command
        .env("ALBERT_SERVE_MODELS", "sentiment,mine=mini")
        .env("ALBERT_LIMITS", "rows=1,labels=2")
        .env("ALBERT_NO_WARM_UP", "1")
        .env("ALBERT_PRECISION", "int8");
    let server = Server::start_by(command, &["--host", "localhost"]);
    let connect = || TcpStream::connect(&server.address).unwrap();
    let mut stream = connect();
    stream
        .write_all(b"GET /v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut models = String::new();
    stream.read_to_string(&mut models).unwrap();
    names(&models, &["\"sentiment\"", "\"mine\"", "int8"]);
    let (status, body) = send(&mut connect(), r#"{"text": ["a", "b"]}"#).unwrap();
    assert_eq!(status, 422, "{body}");
    assert_eq!(ask(&mut connect(), "a film to remember").unwrap().0, 200);
}
