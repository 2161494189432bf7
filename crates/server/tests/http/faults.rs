//! Callers that are slow, rude or gone, and orders that come at bad times.

use std::io::{BufReader, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use albert_server::{Limits, Order};
use serde_json::json;

use super::client::*;

fn with(limits: Limits) -> Running {
    limited(&["sentiment"], limits)
}

fn classify(text: &str) -> Vec<u8> {
    let body = json!({"text": text}).to_string();
    let json = [("content-type", "application/json")];
    request("POST", "/v1/classify", &json, body.as_bytes())
}

#[test]
fn a_slow_head_or_body_loses_its_connection_and_stalls_nobody() {
    let server = with(Limits {
        header_seconds: 1,
        body_seconds: 1,
        ..Limits::default()
    });
    let whole = classify("a film");
    let head = whole.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    // A byte now and then, each in time for a clock that starts anew with every byte.
    let mut slow: Vec<_> = (0..50).map(|_| server.connect()).collect();
    let mut half: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for stream in &mut half {
        stream.write_all(&whole[..head + 3]).unwrap();
    }
    let began = Instant::now();
    for byte in whole[..head].iter().take(8) {
        for stream in &mut slow {
            let _ = stream.write_all(&[*byte]);
        }
        std::thread::sleep(Duration::from_millis(200));
        // Others are answered meanwhile.
        let asked = Instant::now();
        server.post("/v1/classify", &json!({"text": "a film"})).ok();
        assert!(asked.elapsed() < Duration::from_secs(1));
    }
    assert!(began.elapsed() > Duration::from_secs(1));
    for stream in slow {
        // 408 or nothing, but an end.
        let mut rest = Vec::new();
        let _ = BufReader::new(stream).read_to_end(&mut rest);
        let text = String::from_utf8_lossy(&rest);
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 408"),
            "{text}"
        );
    }
    for stream in half {
        let reply = Reply::read(&mut BufReader::new(stream)).expect("a reply");
        reply.problem(408);
    }
}

#[test]
fn who_asks_for_much_and_reads_nothing_is_left() {
    let limits = Limits {
        body_seconds: 1,
        tokenize_characters: 1_000_000,
        ..Limits::default()
    };
    let server = limited(&["mini"], limits);
    let body = json!({"text": "!".repeat(1_000_000)}).to_string();
    let json = [("content-type", "application/json")];
    let mut stream = server.connect();
    let whole = request("POST", "/v1/tokenize", &json, body.as_bytes());
    stream.write_all(&whole).unwrap();
    let answered = || {
        let text = server.get("/metrics").text().to_owned();
        let line = |line: &&str| line.starts_with("albert_requests_total{route=\"/v1/tokenize\"");
        text.lines().any(|one| line(&one))
    };
    let began = Instant::now();
    while !answered() {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(50));
    }
    // More than sockets buffer; the rest was given up.
    std::thread::sleep(Duration::from_secs(3));
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    let head = String::from_utf8_lossy(&rest[..rest.len().min(4096)]).to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
    assert!(rest.len() < length, "{} of {length}", rest.len());
    assert!(server.end());
}

#[test]
fn an_idle_connection_is_closed() {
    let server = with(Limits {
        header_seconds: 1,
        ..Limits::default()
    });
    let mut reader = BufReader::new(server.connect());
    for _ in 0..2 {
        reader.get_mut().write_all(&classify("a film")).unwrap();
        assert_eq!(Reply::read(&mut reader).unwrap().status, 200);
    }
    let began = Instant::now();
    let mut rest = Vec::new();
    let _ = reader.read_to_end(&mut rest);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_half_closed_socket_is_taken_for_gone_and_holds_nothing_up() {
    let server = Running::start(options(&["sentiment"]));
    let mut stream = server.connect();
    stream.write_all(&classify("a film")).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let reply = Reply::read(&mut BufReader::new(stream));
    // A caller that has closed its side may be taken for gone, but never leaves the server hanging.
    assert!(reply.is_none_or(|reply| reply.status == 200));
    server.post("/v1/classify", &json!({"text": "a film"})).ok();
}

#[test]
fn what_is_no_http_ends_its_connection_alone() {
    let server = Running::start(options(&["sentiment"]));
    for nonsense in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
    ] {
        let mut stream = server.connect();
        stream.write_all(nonsense).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let text = String::from_utf8_lossy(&rest);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(200_000));
    let mut stream = server.connect();
    let _ = stream.write_all(long.as_bytes());
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    server.post("/v1/classify", &json!({"text": "a film"})).ok();
}

#[test]
fn ten_thousand_callers_that_leave_cost_nobody_an_answer() {
    let server = Running::start(options(&["sentiment"]));
    let text = "a good film ".repeat(20);
    let gone = classify(&text);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2500 {
                    let mut stream = server.connect();
                    stream.write_all(&gone).unwrap();
                    drop(stream);
                }
            });
        }
        for _ in 0..20 {
            let reply = server.post("/v1/classify", &json!({"text": "a film"}));
            assert!(
                reply.status == 200 || reply.status == 429,
                "{}",
                reply.text()
            );
        }
    });
    // All that was left behind goes, too.
    let began = Instant::now();
    loop {
        let metrics = server.get("/metrics").text().to_owned();
        // The request for the metrics itself is in flight.
        let quiet = metrics.contains("albert_queue_tokens 0\n")
            && metrics.contains("albert_requests_in_flight 1\n");
        if quiet {
            assert!(metrics.contains("status=\"499\""), "{metrics}");
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{metrics}");
        std::thread::sleep(Duration::from_millis(100));
    }
    server.post("/v1/classify", &json!({"text": "a film"})).ok();
}

/// What became of requests.
struct Outcome {
    answered: usize,
    /// Told that the server was ending.
    told: usize,
    lost: Vec<String>,
}

/// Callers that ask without pause, each over connections of its own.
fn under_load(server: &Running, order: impl Fn() + Sync) -> Outcome {
    let stop = AtomicBool::new(false);
    let (answered, told) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let lost: Vec<String> = std::thread::scope(|scope| {
        let ask = || {
            let mut lost = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                // Nobody accepts any more: nothing is lost.
                let Ok(mut stream) = std::net::TcpStream::connect(server.address) else {
                    break;
                };
                if stream.write_all(&classify("a film")).is_err() {
                    lost.push("sending failed".to_owned());
                    continue;
                }
                match Reply::read(&mut BufReader::new(stream)) {
                    Some(reply) if reply.status == 200 => {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(reply) if reply.status == 503 => {
                        reply.problem(503);
                        told.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(reply) => lost.push(format!("{}: {}", reply.status, reply.text())),
                    None => lost.push("no reply".to_owned()),
                }
            }
            lost
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        order();
        stop.store(true, Ordering::Relaxed);
        let all = threads.into_iter().map(|thread| thread.join().unwrap());
        all.flatten().collect()
    });
    Outcome {
        answered: answered.into_inner(),
        told: told.into_inner(),
        lost,
    }
}

#[test]
fn models_are_loaded_anew_under_load() {
    let server = Running::start(options(&["sentiment"]));
    let outcome = under_load(&server, || {
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(300));
            server.orders.blocking_send(Order::Reload).unwrap();
        }
        let began = Instant::now();
        while !server
            .get("/metrics")
            .text()
            .contains("albert_reloads_total 3")
        {
            assert!(began.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert!(outcome.answered > 0);
    assert_eq!(outcome.told, 0);
    assert_eq!(outcome.lost, Vec::<String>::new());
}

#[test]
fn an_end_under_load_loses_nothing_that_was_accepted() {
    let server = Running::start(options(&["sentiment"]));
    let outcome = under_load(&server, || {
        std::thread::sleep(Duration::from_millis(200));
        server.orders.blocking_send(Order::End).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        server.get("/ready").problem(503);
        // Still answered, for those who have not noticed yet.
        let reply = server.post("/v1/classify", &json!({"text": "a film"}));
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("connection"), Some("close"));
        std::thread::sleep(Duration::from_millis(500));
    });
    assert!(outcome.answered > 0);
    assert_eq!(outcome.lost, Vec::<String>::new());
    assert!(server.end());
}

#[test]
fn whoever_comes_while_others_are_answered_is_told_to_go_elsewhere() {
    let server = with(Limits {
        notice_ms: 1,
        ..Limits::default()
    });
    let long = vec!["a good film ".repeat(40); 500];
    let body = json!({"text": long}).to_string();
    let json_type = [("content-type", "application/json")];
    let mut stream = server.connect();
    let whole = request("POST", "/v1/classify", &json_type, body.as_bytes());
    stream.write_all(&whole).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    server.orders.blocking_send(Order::End).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let late = server.post("/v1/classify", &json!({"text": "a film"}));
    late.problem(503);
    assert_eq!(late.header("retry-after"), Some("1"));
    assert_eq!(late.header("connection"), Some("close"));
    // Nobody is cut off while sending, or the answer might not be seen.
    let large = server.post("/v1/classify", &json!({"text": "a film ".repeat(1 << 20)}));
    large.problem(503);
    let openai = server.post("/v1/embeddings", &json!({"input": "a film"}));
    assert_eq!(openai.status, 503);
    assert!(openai.json()["error"]["message"].is_string());
    assert_eq!(server.get("/v1/models").status, 503);
    server.get("/ready").problem(503);
    assert_eq!(server.get("/health").status, 200);
    // The one that was in time is answered whole.
    let reply = Reply::read(&mut BufReader::new(stream)).expect("a reply");
    assert_eq!(reply.ok()["results"].as_array().unwrap().len(), 500);
    assert!(server.end());
}

#[test]
fn a_long_request_ends_within_its_bound_when_the_server_ends() {
    let server = with(Limits {
        drain_seconds: 1,
        ..Limits::default()
    });
    let text = "a good film ".repeat(160);
    let body = json!({"text": vec![text; 4096]}).to_string();
    let json_type = [("content-type", "application/json")];
    let mut stream = server.connect();
    let whole = request("POST", "/v1/classify", &json_type, body.as_bytes());
    stream.write_all(&whole).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    assert!(!server.end(), "it says that something was cut off");
    assert!(began.elapsed() < Duration::from_secs(10));
}
