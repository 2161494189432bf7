//! Bounds hold whatever comes in.

use std::io::{BufReader, Write};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use albert_server::{Keys, Limits};
use serde_json::{Value, json};

use super::client::*;

fn with(limits: Limits) -> Running {
    limited(&["sentiment", "nli"], limits)
}

#[test]
fn a_body_has_a_size() {
    let server = with(Limits {
        body_bytes: 1000,
        ..Limits::default()
    });
    let text = "a ".repeat(600);
    server
        .post("/v1/classify", &json!({"text": text}))
        .problem(413);
    // Whoever sends a little too much is not cut off before the answer.
    let whole = Running::start(options(&["sentiment"]));
    let text = "a ".repeat(6 << 20);
    whole
        .post("/v1/classify", &json!({"text": text}))
        .problem(413);
    // One that does not say how long it is.
    let mut stream = server.connect();
    stream
        .write_all(
            b"POST /v1/classify HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
              transfer-encoding: chunked\r\n\r\n",
        )
        .unwrap();
    for _ in 0..20 {
        // It may be refused before all was sent.
        let _ = stream.write_all(format!("64\r\n{}\r\n", " ".repeat(100)).as_bytes());
    }
    let reply = Reply::read(&mut BufReader::new(stream)).unwrap();
    reply.problem(413);
    let short = "a ".repeat(400);
    server.post("/v1/classify", &json!({"text": short})).ok();
}

#[test]
fn bodies_share_a_memory_and_wait_for_nobody_s() {
    let server = with(Limits {
        requests: 1,
        bodies_bytes: 1 << 20,
        ..Limits::default()
    });
    let small = json!({"text": "a"});
    // Callers that send slowly take no place, and no memory that they have not filled; of this they
    // fill all but a little.
    let slow: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = server.connect();
            let body = vec![b' '; 300 << 10];
            let request = request(
                "POST",
                "/v1/classify",
                &[("content-type", "application/json")],
                &[b' '; 1 << 20],
            );
            let head = request.len() - (1 << 20);
            stream.write_all(&request[..head]).unwrap();
            stream.write_all(&body).unwrap();
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    server.post("/v1/classify", &small).ok();
    // What would fill more than there is.
    let text = " ".repeat(200 << 10) + "a";
    let refused = server.post("/v1/classify", &json!({"text": text}));
    refused.problem(429);
    assert!(refused.header("retry-after").is_some());
    drop(slow);
    std::thread::sleep(Duration::from_millis(300));
    server.post("/v1/classify", &json!({"text": text})).ok();
}

#[test]
fn refusals_before_a_route_speak_its_dialect() {
    let mut options = options(&["sentences"]);
    options.keys = Keys::parse("abcdefghijklmnop").unwrap();
    let server = Running::start(options);
    let body = json!({"input": "a"});
    let openai = server.post("/v1/embeddings", &body).problem(401);
    assert_eq!(openai["error"]["type"], "authentication_error");
    let tei = server.post("/embed", &json!({"inputs": "a"})).problem(401);
    assert_eq!(tei["error_type"], "validation");
    assert_eq!(tei["error"], tei["detail"]);
    let ours = server.post("/v1/similarity", &json!({"text": "a"}));
    assert_eq!(ours.problem(401)["error"], Value::Null);
}

#[test]
fn texts_have_a_number_and_a_length() {
    let server = with(Limits {
        rows: 3,
        characters: 10,
        labels: 2,
        ..Limits::default()
    });
    let classify = |texts: &[&str]| server.post("/v1/classify", &json!({"text": texts}));
    classify(&["a", "b", "éééééééééé"]).ok();
    assert_eq!(classify(&["a"; 4]).problem(422)["field"], "text");
    assert_eq!(classify(&["a", "ééééééééééé"]).problem(422)["row"], 1);
    let zero = |texts: &[&str], labels: &[&str]| {
        let body = json!({"text": texts, "labels": labels});
        server.post("/v1/zero-shot", &body)
    };
    zero(&["a"], &["x", "y"]).ok();
    assert_eq!(
        zero(&["a"], &["x", "y", "z"]).problem(422)["field"],
        "labels"
    );
    // Two texts of two classes are four rows.
    assert_eq!(zero(&["a", "b"], &["x", "y"]).problem(422)["field"], "text");
}

#[test]
fn requests_beyond_what_can_be_done_are_refused_at_once() {
    let server = with(Limits {
        requests: 2,
        ..Limits::default()
    });
    let text = "a good film ".repeat(40);
    let body = json!({"text": vec![text; 200]});
    let (count, together) = (8, Barrier::new(8));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || {
            together.wait();
            let began = Instant::now();
            let reply = server.post("/v1/classify", &body);
            if reply.status == 429 {
                assert!(reply.header("retry-after").is_some());
                // Soon, but not so soon that asking again and again would pay.
                let refused = Duration::from_millis(Limits::default().refusal_ms);
                assert!((refused..Duration::from_secs(5)).contains(&began.elapsed()));
                reply.problem(429);
            }
            reply.status
        };
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let answered = statuses.iter().filter(|&&status| status == 200).count();
    let refused = statuses.iter().filter(|&&status| status == 429).count();
    assert!(answered >= 2 && refused >= 1, "{statuses:?}");
    assert_eq!(answered + refused, count);
    let text = server.get("/metrics").text().to_owned();
    let line = format!(r#"albert_rejected_total{{route="/v1/classify"}} {refused}"#);
    assert!(text.contains(&line), "{text}");
}

#[test]
fn a_full_queue_refuses_and_recovers() {
    let server = with(Limits {
        queue_tokens: 64,
        batch_tokens: 64,
        ..Limits::default()
    });
    let text = "a good film ".repeat(30);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || {
            let body = json!({"text": vec![text.as_str(); 20]});
            server.post("/v1/classify", &body).status
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    // A request larger than the queue is split, not refused for ever.
    assert!(
        statuses.contains(&200) && statuses.contains(&429),
        "{statuses:?}"
    );
    server.post("/v1/classify", &json!({"text": "a"})).ok();
}

#[test]
fn what_was_let_in_before_an_overload_was_seen_is_given_up() {
    let server = with(Limits {
        overload_ms: 1,
        batch_ms: 5,
        refusal_ms: 0,
        ..Limits::default()
    });
    let body = json!({"text": "a good film ".repeat(30)});
    // How fast the model is must be known.
    for _ in 0..3 {
        server.post("/v1/classify", &body).ok();
    }
    let (callers, together) = (64, Barrier::new(64));
    let (answered, refused, given_up) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    std::thread::scope(|scope| {
        let ask = || {
            let began = Instant::now();
            together.wait();
            while began.elapsed() < Duration::from_secs(1) {
                let reply = server.post("/v1/classify", &body);
                if reply.status == 200 {
                    answered.fetch_add(1, Relaxed);
                    continue;
                }
                assert!(reply.header("retry-after").is_some());
                let problem = reply.problem(429);
                let detail = problem["detail"].as_str().unwrap();
                match detail.contains("had waited") {
                    true => given_up.fetch_add(1, Relaxed),
                    false => refused.fetch_add(1, Relaxed),
                };
            }
        };
        for _ in 0..callers {
            scope.spawn(ask);
        }
    });
    let [answered, refused, given_up] = [answered, refused, given_up].map(AtomicUsize::into_inner);
    assert!(answered > 0 && refused > 0 && given_up > 0);
    server.post("/v1/classify", &body).ok();
    let text = server.get("/metrics").text().to_owned();
    let all = refused + given_up;
    for line in [
        format!(r#"albert_rejected_total{{route="/v1/classify"}} {all}"#),
        format!("albert_given_up_rows_total {given_up}"),
        "albert_queue_tokens 0".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} in {text}");
    }
}

#[test]
fn beside_a_large_request_small_ones_are_answered_at_once() {
    let server = Running::start(options(&["sentiment"]));
    let text = "a good film ".repeat(40);
    let small = json!({"text": "a film"});
    server.post("/v1/classify", &small).ok();
    std::thread::scope(|scope| {
        let large = scope.spawn(|| {
            let body = json!({"text": vec![text.as_str(); 400]});
            server.post("/v1/classify", &body).ok();
        });
        std::thread::sleep(Duration::from_millis(300));
        let mut beside = 0;
        while !large.is_finished() {
            let asked = Instant::now();
            server.post("/v1/classify", &small).ok();
            // A batch that runs, and one that it is in.
            assert!(asked.elapsed() < Duration::from_secs(2));
            beside += 1;
        }
        assert!(beside > 3, "{beside}");
    });
}

#[test]
fn texts_that_take_long_to_cut_make_no_others_wait() {
    let server = limited(&["sentiment", "mini", "sentences"], Limits::default());
    // Words that nobody has seen, each of which is cut anew.
    let word = |at: usize| format!("{:x} ", at.wrapping_mul(2_654_435_761) & 0xff_ffff);
    let long: String = (0..60_000).map(word).collect();
    let body = json!({"text": vec![long; 8], "truncate": "end"});
    let paragraph = "a good film ".repeat(50);
    std::thread::scope(|scope| {
        let large: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| server.post("/v1/classify", &body).ok().clone()))
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        for (path, body) in [
            ("/v1/tokenize", json!({"text": "a"})),
            ("/v1/similarity", json!({"text": ["a", "b"]})),
            ("/v1/classify", json!({"text": paragraph})),
        ] {
            let began = Instant::now();
            server.post(path, &body).ok();
            let took = began.elapsed();
            let working = large.iter().filter(|large| !large.is_finished()).count();
            assert_eq!(working, 4, "{path} after {took:?}");
        }
    });
}

#[test]
fn answers_are_not_monstrous() {
    let limits = Limits {
        tokenize_characters: 100,
        candidates: 10,
        ..Limits::default()
    };
    let server = limited(&["mini"], limits);
    let tokenize = |texts: &[&str]| server.post("/v1/tokenize", &json!({"text": texts}));
    let fifty = "é".repeat(50);
    tokenize(&[&fifty, &fifty]).ok();
    assert_eq!(
        tokenize(&[&fifty, &fifty, "a"]).problem(422)["field"],
        "text"
    );
    let body = json!({"inputs": [fifty, fifty, "a"]});
    server.post("/tokenize", &body).problem(422);
    let fill = |masks: usize, top: usize| {
        let body = json!({"text": "[MASK] ".repeat(masks), "top": top});
        server.post("/v1/fill-mask", &body)
    };
    fill(2, 5).ok();
    assert_eq!(fill(2, 6).problem(422)["field"], "text");
}

#[test]
fn what_a_request_has_read_again_and_again_is_bounded() {
    let server = limited(&["mini", "nli", "qa", "slots"], Limits::default());
    let refused = |path: &str, body: &Value, field: &str| {
        let began = Instant::now();
        assert_eq!(server.post(path, body).problem(422)["field"], field);
        assert!(began.elapsed() < Duration::from_secs(5));
    };
    // Ten thousand places for a class of a million characters.
    let (class, places) = ("x".repeat(1_000_000), "{}".repeat(10_000));
    let body = json!({"text": "a", "labels": [class], "hypothesis": places});
    refused("/v1/zero-shot", &body, "labels");
    let long = format!("{{}}{}", "x".repeat(1_000_000));
    let body = json!({"text": "a", "labels": ["b"], "hypothesis": long});
    refused("/v1/zero-shot", &body, "hypothesis");
    let texts = vec!["a ".repeat(70_000); 64];
    let labels: Vec<String> = (0..64).map(|label| label.to_string()).collect();
    let body = json!({"text": texts, "labels": labels});
    refused("/v1/zero-shot", &body, "labels");
    // A context is read anew for each question.
    let context = "a ".repeat(500_000);
    let body = json!({"question": vec!["who?"; 4096], "context": context});
    refused("/v1/answer", &body, "context");
    // Every mark is a word of the answer.
    let marks = "!".repeat(200_001);
    let body = json!({"text": marks, "truncate": "end"});
    refused("/v1/tag", &body, "text");
}

#[test]
fn an_answer_has_a_time() {
    let server = with(Limits {
        request_seconds: 1,
        body_seconds: 1,
        ..Limits::default()
    });
    // Minutes of work on one thread.
    let text = "a good film ".repeat(160);
    let body = json!({"text": vec![text; 4096]});
    server.post("/v1/classify", &body).problem(504);
    // Its rows are out of the queue: the next is answered within its own time.
    server.post("/v1/classify", &json!({"text": "a"})).ok();
}

#[test]
fn limits_of_nothing_are_refused_by_name() {
    let mut options = options(&["sentiment"]);
    options.limits.rows = 0;
    let error = albert_server::serve(options, |_, _| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the limit `rows` is 0: nothing could be answered"
    );
}
