//! Every route: what it answers, and what it says to what it cannot.

use std::time::{Duration, Instant};

use albert_server::{Error, Keys, Order, ServeOptions, serve};
use albert_tasks::engine::EarlyExit;
use albert_tasks::{
    AnswerOptions, Answerer, Classifier, Embedder, FillMask, Model, Tagger, TextInput, ZeroShot,
};
use serde_json::{Value, json};

use super::client::*;

const ALL: [&str; 7] = [
    "mini",
    "sentiment",
    "nli",
    "qa",
    "slots",
    "sentences",
    "intents",
];

fn model(name: &str) -> Model {
    Model::open(&shipped(name), None, Some(2)).unwrap()
}

/// As the command line prints it.
fn printed(value: &impl serde::Serialize) -> Value {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

const TEXTS: [&str; 3] = [
    "A warm and funny film 😀.",
    "Two hours of my life that I will never get back.",
    "play Blue Moon by Billie Holiday",
];

#[test]
fn a_patience_needs_a_model_with_early_exits() {
    let options = ServeOptions {
        early_exit: Some(EarlyExit::after(1)),
        ..options(&["mini", "sentiment"])
    };
    let error = serve(options, |_, _| panic!("it started")).unwrap_err();
    assert!(matches!(error, Error::NoExits), "{error}");
    assert!(error.to_string().contains("--early-exit"), "{error}");
}

#[test]
fn answers_have_the_bits_of_the_tasks() {
    let server = Running::start(options(&ALL));
    let results = |path: &str, body: Value| server.post(path, &body).ok()["results"].clone();

    let Model {
        engine,
        tokenizer,
        settings,
    } = model("sentiment");
    let task = Classifier::new(engine, tokenizer)
        .unwrap()
        .with_settings(settings);
    let inputs = TEXTS.map(|text| TextInput { text, pair: None });
    let expected = printed(&task.classify(&inputs).unwrap());
    assert_eq!(results("/v1/classify", json!({"text": TEXTS})), expected);
    // A text alone is a list of one.
    let one = results("/v1/classify", json!({"text": TEXTS[1]}));
    assert_eq!(one, json!([expected[1]]));
    let top = results("/v1/classify", json!({"text": TEXTS[1], "top": 1}));
    assert_eq!(top[0]["labels"].as_array().unwrap().len(), 1);

    let Model {
        engine,
        tokenizer,
        settings,
    } = model("nli");
    let classifier = Classifier::new(engine, tokenizer)
        .unwrap()
        .with_settings(settings);
    let pair = TextInput {
        text: TEXTS[0],
        pair: Some(TEXTS[1]),
    };
    let body = json!({"model": "nli", "text": [TEXTS[0]], "text_pair": [TEXTS[1]]});
    let expected = printed(&classifier.classify(&[pair]).unwrap());
    assert_eq!(results("/v1/classify", body), expected);
    let task = ZeroShot::new(classifier).unwrap();
    let expected = printed(&task.classify(TEXTS[0], &["film", "food"], true).unwrap());
    let body = json!({"text": TEXTS[0], "labels": ["film", "food"], "multi_label": true});
    assert_eq!(results("/v1/zero-shot", body), json!([expected]));

    let Model {
        engine, tokenizer, ..
    } = model("mini");
    let task = FillMask::new(engine, tokenizer).unwrap();
    let text = "The ship sailed across the [MASK] to [MASK].";
    let expected = printed(&task.fill(&[text], 3).unwrap());
    let body = json!({"text": text, "top": 3});
    assert_eq!(results("/v1/fill-mask", body), expected);

    let Model {
        engine,
        tokenizer,
        settings,
    } = model("qa");
    let task = Answerer::new(engine, tokenizer)
        .unwrap()
        .with_settings(settings);
    // Many windows, whose rows are mixed with those of the other question.
    let context = format!(
        "{}The café opened in 1911. {}",
        "It rained. ".repeat(200),
        "It snowed. ".repeat(200)
    );
    let options = AnswerOptions {
        top: 2,
        ..AnswerOptions::default()
    };
    let questions = ["When did the café open?", "Did it rain?"];
    let expected = questions.map(|q| printed(&task.answer(q, &context, &options).unwrap()));
    let body = json!({"question": questions, "context": context, "top": 2});
    let said = results("/v1/answer", body);
    assert_eq!(said, json!(expected));
    assert!(said[0]["windows"].as_u64().unwrap() > 1);

    let Model {
        engine,
        tokenizer,
        settings,
    } = model("slots");
    let task = Tagger::new(engine, tokenizer)
        .unwrap()
        .with_settings(settings);
    let expected = printed(&task.tag(&TEXTS).unwrap());
    assert_eq!(results("/v1/tag", json!({"text": TEXTS})), expected);

    let Model {
        engine,
        tokenizer,
        settings,
    } = model("sentences");
    let task = Embedder::new(engine, tokenizer).with_settings(settings);
    let vectors: Vec<Vec<f32>> = task
        .embed(&TEXTS)
        .unwrap()
        .into_iter()
        .map(|e| e.vector)
        .collect();
    let alike = task.similarity(TEXTS[0], TEXTS[1]).unwrap();
    let square = results("/v1/similarity", json!({"text": TEXTS}));
    assert_eq!(square[0][1], printed(&alike));
    assert_eq!(square[1][0], printed(&alike));
    let body = json!({"text": TEXTS[0], "text_pair": TEXTS[1]});
    let pairs = results("/v1/similarity", body);
    assert_eq!(pairs, json!([{"similarity": printed(&alike)}]));
    for route in ["/embed", "/"] {
        let embedded = server.post(route, &json!({"inputs": TEXTS})).ok();
        assert_eq!(embedded, printed(&vectors), "{route}");
    }
    let openai = server.post("/v1/embeddings", &json!({"input": TEXTS})).ok();
    for (row, vector) in vectors.iter().enumerate() {
        assert_eq!(openai["data"][row]["embedding"], printed(vector));
        assert_eq!(openai["data"][row]["index"], row);
    }
    assert!(server.end());
}

#[test]
fn openai_and_tei_are_answered_in_their_own_shapes() {
    let server = Running::start(options(&["sentences", "sentiment"]));
    let body = json!({"input": "a ship", "encoding_format": "base64", "dimensions": 8});
    let said = server.post("/v1/embeddings", &body).ok();
    // 8 numbers of 4 bytes, in base64.
    assert_eq!(said["data"][0]["embedding"].as_str().unwrap().len(), 44);
    assert_eq!(
        said["usage"]["prompt_tokens"],
        said["usage"]["total_tokens"]
    );
    assert!(said["usage"]["prompt_tokens"].as_u64().unwrap() >= 4);

    let said = server.post("/predict", &json!({"inputs": TEXTS[1]})).ok();
    assert_eq!(said[0]["label"], "negative");
    let many = json!({"inputs": [[TEXTS[1]], [TEXTS[0]]]});
    let many = server.post("/predict", &many).ok();
    assert_eq!(many[0], said);
    assert_eq!(many.as_array().unwrap().len(), 2);

    let texts = [
        "The stock market fell.",
        "A ship at sea.",
        "Boats sail the ocean.",
    ];
    let body = json!({"query": "A boat on the sea", "texts": texts, "return_text": true});
    let ranks = server.post("/rerank", &body).ok();
    assert_eq!(ranks[2]["index"], 0);
    assert_eq!(ranks[2]["text"], texts[0]);
    let scores: Vec<f64> = (0..3)
        .map(|i| ranks[i]["score"].as_f64().unwrap())
        .collect();
    assert!(scores.is_sorted_by(|a, b| a >= b));
    let body = json!({"inputs": {"source_sentence": "A boat on the sea", "sentences": texts}});
    let alike = server.post("/similarity", &body).ok();
    let index = ranks[0]["index"].as_u64().unwrap() as usize;
    assert_eq!(alike[index], ranks[0]["score"]);

    let said = server.post("/tokenize", &json!({"inputs": "a ship"})).ok();
    assert_eq!(said[0][0]["special"], true);
    assert_eq!(said[0][0]["start"], Value::Null);
    assert_eq!(said[0][1]["start"], 0);
    // A token's text is what stands in the input.
    let said = server
        .post("/tokenize", &json!({"inputs": "Dvořák plays"}))
        .ok();
    let texts: Vec<&str> = said[0]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["text"].as_str().unwrap())
        .collect();
    assert_eq!(
        texts[1..texts.len() - 1].concat().replace(' ', ""),
        "Dvořákplays"
    );
    // Their clients may post to the address itself.
    let inputs = json!({"inputs": "a ship"});
    assert_eq!(
        server.post("/", &inputs).ok(),
        server.post("/embed", &inputs).ok()
    );
    assert_eq!(server.get("/v1/models/sentences").ok()["id"], "sentences");
    let problem = server.get("/v1/models/ada").problem(404);
    assert_eq!(problem["error"]["param"], "model");
    let body = json!({"input": "a", "model": "text-embedding-3-small"});
    server.post("/v1/embeddings", &body).problem(404);
    // A model that is no name is another mistake than one that is not there.
    let body = json!({"input": "a", "model": 5});
    server.post("/v1/embeddings", &body).problem(422);
    server.get("/v1/models/%ff").problem(400);
    // What would change the vectors is refused where it cannot be had.
    let body = json!({"inputs": "a", "dimensions": 8});
    assert_eq!(
        server.post("/embed", &body).problem(422)["field"],
        "dimensions"
    );
    let body = json!({"inputs": "a", "truncation_direction": "Left"});
    assert_eq!(
        server.post("/embed", &body).problem(422)["field"],
        "truncation_direction"
    );
    let body = json!({"inputs": "a", "truncation_direction": "Right"});
    server.post("/embed", &body).ok();
    let body = json!({"inputs": "a", "prompt_name": "query"});
    assert_eq!(
        server.post("/embed", &body).problem(422)["field"],
        "prompt_name"
    );
    let body = json!({"inputs": "a", "truncate": null});
    server.post("/embed", &body).ok();
    let info = server.get("/info").ok();
    assert_eq!(info["model_id"], "sentences");

    // Their errors stand where their clients look, and ours as well.
    let wrong = server.post("/v1/embeddings", &json!({"input": [1, 2]}));
    let problem = wrong.problem(422);
    assert_eq!(problem["error"]["param"], "input");
    assert_eq!(problem["error"]["message"], problem["detail"]);
    let wrong = server.post("/embed", &json!({"inputs": ["a", ""]}));
    let problem = wrong.problem(422);
    assert_eq!(
        (&problem["row"], &problem["error_type"]),
        (&json!(1), &json!("validation"))
    );
    let long = "word ".repeat(1000);
    let problem = server.post("/embed", &json!({"inputs": long})).problem(422);
    assert!(
        problem["error"]
            .as_str()
            .unwrap()
            .contains("the model reads")
    );
    let similar = json!({"source_sentence": "a", "sentences": ["b", long]});
    for (route, body, cut) in [
        ("/", json!({"inputs": long, "truncate": true}), 1),
        (
            "/embed",
            json!({"inputs": [long, "a", long], "truncate": true}),
            2,
        ),
        ("/embed", json!({"inputs": "a"}), 0),
        ("/predict", json!({"inputs": long, "truncate": true}), 1),
        (
            "/rerank",
            json!({"query": long, "texts": ["a", long], "truncate": true}),
            2,
        ),
        (
            "/similarity",
            json!({"inputs": similar, "parameters": {"truncate": true}}),
            1,
        ),
    ] {
        let reply = server.post(route, &body);
        assert_eq!(reply.status, 200, "{route}: {}", reply.text());
        let said = reply.header("x-truncated-texts").map(str::to_owned);
        assert_eq!(said, Some(cut.to_string()), "{route}");
    }
}

#[test]
fn a_model_without_the_head_is_named_and_not_where_it_lies() {
    let server = Running::start(options(&["mini", "sentiment"]));
    let body = json!({"text": "a", "model": "mini"});
    let problem = server.post("/v1/classify", &body).problem(422);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("mini: classify needs a"), "{detail}");
}

#[test]
fn every_refusal_names_what_is_wrong() {
    let server = Running::start(options(&["mini", "sentiment", "nli", "qa"]));
    let long = "word ".repeat(2000);
    let cases = [
        (
            "/v1/classify",
            json!({"text": 3}),
            422,
            json!("text"),
            Value::Null,
        ),
        (
            "/v1/classify",
            json!({"text": ["a", 3]}),
            422,
            json!("text"),
            json!(1),
        ),
        (
            "/v1/classify",
            json!({"text": []}),
            422,
            json!("text"),
            Value::Null,
        ),
        (
            "/v1/classify",
            json!({"text": ["a", "\t"]}),
            422,
            json!("text"),
            json!(1),
        ),
        ("/v1/classify", json!({}), 422, json!("text"), Value::Null),
        (
            "/v1/classify",
            json!({"text": "a", "truncate": true}),
            422,
            json!("truncate"),
            Value::Null,
        ),
        (
            "/v1/classify",
            json!({"text": "a", "truncate": {"end": null}}),
            422,
            json!("truncate"),
            Value::Null,
        ),
        (
            "/v1/classify",
            json!({"text": "a", "truncate": "start"}),
            422,
            json!("truncate"),
            Value::Null,
        ),
        (
            "/v1/zero-shot",
            json!({"text": "a"}),
            422,
            json!("labels"),
            Value::Null,
        ),
        ("/v1/classify", json!([]), 422, json!("body"), Value::Null),
        (
            "/v1/classify",
            json!({"text": "a", "tops": 1}),
            422,
            json!("tops"),
            Value::Null,
        ),
        (
            "/v1/classify",
            json!({"text": "a", "top": 0}),
            422,
            json!("top"),
            Value::Null,
        ),
        (
            "/v1/classify",
            json!({"text": "a", "top": 101}),
            422,
            json!("top"),
            Value::Null,
        ),
        (
            "/v1/classify",
            json!({"text": "a", "top": -1}),
            422,
            json!("top"),
            Value::Null,
        ),
        (
            "/v1/classify",
            json!({"text": "a", "model": "x"}),
            422,
            json!("model"),
            Value::Null,
        ),
        (
            "/v1/classify",
            json!({"text": "a", "model": "qa"}),
            422,
            json!("model"),
            Value::Null,
        ),
        (
            "/v1/classify",
            json!({"text": ["a", "b"], "text_pair": "c"}),
            422,
            json!("text_pair"),
            Value::Null,
        ),
        (
            "/v1/classify",
            json!({"text": "a", "truncate": "no"}),
            422,
            json!("truncate"),
            Value::Null,
        ),
        (
            "/v1/classify",
            json!({"text": ["a", long], "truncate": "error"}),
            422,
            json!("text"),
            json!(1),
        ),
        (
            "/v1/classify",
            json!({"text": long, "text_pair": "a", "model": "nli", "truncate": "windows"}),
            422,
            json!("truncate"),
            Value::Null,
        ),
        (
            "/v1/fill-mask",
            json!({"text": ["a [MASK]", "none"]}),
            422,
            json!("text"),
            json!(1),
        ),
        (
            "/v1/zero-shot",
            json!({"text": "a", "labels": []}),
            422,
            json!("labels"),
            Value::Null,
        ),
        (
            "/v1/zero-shot",
            json!({"text": "a", "labels": ["x", ""]}),
            422,
            json!("labels"),
            json!(1),
        ),
        (
            "/v1/zero-shot",
            json!({"text": "a", "labels": ["x"], "hypothesis": "no"}),
            422,
            json!("hypothesis"),
            Value::Null,
        ),
        (
            "/v1/answer",
            json!({"question": "a", "context": ["b", "c"]}),
            422,
            json!("context"),
            Value::Null,
        ),
        (
            "/v1/answer",
            json!({"question": long, "context": "b"}),
            422,
            json!("question"),
            Value::Null,
        ),
        (
            "/v1/tag",
            json!({"text": "a"}),
            422,
            json!("model"),
            Value::Null,
        ),
        (
            "/v1/tag",
            json!({"text": "a", "model": "mini"}),
            422,
            json!("model"),
            Value::Null,
        ),
        (
            "/v1/embeddings",
            json!({"input": "a", "model": "mini", "dimensions": 4000}),
            422,
            json!("dimensions"),
            Value::Null,
        ),
        (
            "/predict",
            json!({"inputs": [["a", "b", "c"]]}),
            422,
            json!("inputs"),
            json!(0),
        ),
        (
            "/rerank",
            json!({"query": "", "texts": ["a"]}),
            422,
            json!("query"),
            Value::Null,
        ),
    ];
    for (path, body, status, field, row) in cases {
        let problem = server.post(path, &body).problem(status);
        let short: String = body.to_string().chars().take(100).collect();
        assert_eq!(problem["field"], field, "{path} {short}: {problem}");
        assert_eq!(problem["row"], row, "{path} {short}: {problem}");
    }
    // A list is no object, even if its values would fit.
    for list in [json!([]), json!(["a", null, null, null, null])] {
        let problem = server.post("/v1/classify", &list).problem(422);
        assert_eq!(problem["field"], "body");
    }
    // No word of the program's own language.
    let problem = server.post("/v1/classify", &json!({"text": "a", "top": -1}));
    let detail = problem.problem(422)["detail"].to_string();
    assert!(detail.contains("a whole number, 0 or more"), "{detail}");
    // What is missing says how to get it.
    let problem = server.post("/v1/tag", &json!({"text": "a"})).problem(422);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("albert finetune tag")
    );

    let json_type = ("content-type", "application/json");
    for body in ["", "{", "nul", "{\"text\": \"a\"} x", "\u{0}"] {
        let reply = server.send("POST", "/v1/classify", &[json_type], body.as_bytes());
        reply.problem(400);
    }
    let latin = server.send(
        "POST",
        "/v1/classify",
        &[json_type],
        b"{\"text\": \"\xe9\"}",
    );
    latin.problem(400);
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
    ] {
        let headers = [("content-type", kind)];
        server
            .send("POST", "/v1/classify", &headers, b"{}")
            .problem(415);
    }
    server.send("POST", "/v1/classify", &[], b"{}").problem(415);
    let headers = [("content-type", "application/json; charset=utf-8")];
    let reply = server.send("POST", "/v1/classify", &headers, b"{\"text\": \"a\"}");
    assert_eq!(reply.status, 200);
    server.get("/v1/classify").problem(405);
    server.get("/v1/nothing").problem(404);
    server.get("/../Cargo.toml").problem(404);
    server.send("DELETE", "/", &[], b"").problem(405);
}

#[test]
fn a_text_that_is_too_long_is_read_as_the_caller_likes() {
    let server = Running::start(options(&["sentiment", "mini"]));
    let long = "a good film ".repeat(300);
    let said = |how: Value| {
        let body = json!({"text": long, "truncate": how});
        server.post("/v1/classify", &body)
    };
    assert!(said(json!("end")).ok()["results"][0]["truncated"].as_u64() > Some(0));
    assert_eq!(
        said(Value::Null).ok()["results"],
        said(json!("end")).ok()["results"]
    );
    assert_eq!(said(json!("windows")).ok()["results"][0]["truncated"], 0);
    said(json!("error")).problem(422);
    let masks = "word ".repeat(600) + "[MASK]";
    let body = json!({"text": masks, "truncate": "end"});
    let problem = server.post("/v1/fill-mask", &body).problem(422);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("behind the first 510 pieces"), "{detail}");
    let body = json!({"text": masks});
    let filled = server.post("/v1/fill-mask", &body).ok();
    assert_eq!(filled["results"][0]["windowed"], true);
}

#[test]
fn what_was_left_out_is_told_on_every_route() {
    let server = Running::start(options(&["sentences", "slots", "qa", "nli", "mini"]));
    let long = "a good film ".repeat(300);
    let asked = |path: &str, mut body: Value| {
        body["truncate"] = json!("end");
        server.post(path, &body).ok()
    };
    let mut rows = vec![
        asked("/v1/tag", json!({"text": long}))["results"][0].clone(),
        asked("/v1/answer", json!({"question": "who?", "context": long}))["results"][0].clone(),
        asked("/v1/zero-shot", json!({"text": long, "labels": ["a"]}))["results"][0].clone(),
        asked("/v1/embeddings", json!({"input": long}))["data"][0].clone(),
        asked("/v1/fill-mask", json!({"text": format!("[MASK] {long}")}))["results"][0].clone(),
    ];
    let alike = asked("/v1/similarity", json!({"text": ["short", long]}));
    assert_eq!(alike["truncated"][0], 0);
    rows.push(json!({"truncated": alike["truncated"][1]}));
    for row in &rows {
        assert!(row["truncated"].as_u64() > Some(0), "{row}");
    }
    let text = server.get("/metrics").text().to_owned();
    let line = format!("albert_truncated_rows_total {}", rows.len());
    assert!(text.contains(&line), "{text}");
}

#[test]
fn a_context_that_is_too_long_is_named_by_its_own_row() {
    let server = Running::start(options(&["qa"]));
    let long = "word ".repeat(600);
    let refused = |question: Value, context: Value| {
        let body = json!({"question": question, "context": context, "truncate": "error"});
        let problem = server.post("/v1/answer", &body).problem(422);
        assert_eq!(problem["field"], "context");
        problem["row"].as_u64()
    };
    assert_eq!(refused(json!(["who?", "why?"]), json!(long)), None);
    assert_eq!(refused(json!("who?"), json!([long])), Some(0));
    let contexts = json!(["Ann did.", long]);
    assert_eq!(refused(json!(["who?", "why?"]), contexts), Some(1));
}

#[test]
fn the_document_describes_every_route() {
    let server = Running::start(options(&["mini"]));
    let document = server.get("/openapi.json").ok();
    let paths = document["paths"].as_object().unwrap();
    let mut posts = 0;
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            let reply = match method.as_str() {
                "post" => {
                    posts += 1;
                    assert!(operation["requestBody"].is_object(), "{path}");
                    assert!(operation["responses"]["422"].is_object(), "{path}");
                    assert!(operation["security"][0]["key"].is_array(), "{path}");
                    server.post(path, &json!(null))
                }
                _ => server.get(&path.replace("{name}", "mini")),
            };
            assert_ne!(reply.status, 404, "{path}");
            assert_ne!(reply.status, 405, "{path}");
            assert!(operation["responses"]["200"].is_object(), "{path}");
            // A key may be missing wherever one is needed, and nowhere else.
            let key = operation["security"].is_array();
            assert_eq!(operation["responses"]["401"].is_object(), key, "{path}");
        }
    }
    assert_eq!((paths.len(), posts), (20, 14));
    // No reference leads nowhere.
    let text = document.to_string();
    for part in text.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"][name].is_object(),
            "{name}"
        );
    }
}

#[test]
fn keys_open_what_is_computed_and_nothing_else_needs_one() {
    let key = "abcdefghijklmnop";
    let mut options = options(&["sentiment"]);
    options.keys = Keys::parse(&format!("{key}\nqrstuvwxyz012345 1")).unwrap();
    let server = Running::start(options);
    let body = json!({"text": "a"});
    let with = |key: &str| {
        let value = format!("Bearer {key}");
        server.post_with("/v1/classify", &[("authorization", &value)], &body)
    };
    assert_eq!(with(key).status, 200);
    let refused = server.post("/v1/classify", &body);
    refused.problem(401);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    with("abcdefghijklmnoq").problem(401);
    server.get("/v1/models").problem(401);
    for open in [
        "/",
        "/app.js",
        "/health",
        "/ready",
        "/metrics",
        "/openapi.json",
    ] {
        assert_eq!(server.get(open).status, 200, "{open}");
    }
    // One a second, and one that was saved up.
    let statuses: Vec<u16> = (0..4).map(|_| with("qrstuvwxyz012345").status).collect();
    assert!(
        statuses.contains(&200) && statuses.contains(&429),
        "{statuses:?}"
    );
    let wait = with("qrstuvwxyz012345");
    assert!(wait.header("retry-after").is_some(), "{wait:?}");
    let title = wait.problem(429)["title"].clone();
    assert_eq!(title, "This key asks too often");
}

#[test]
fn keys_are_read_anew_with_the_models() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, "abcdefghijklmnop").unwrap();
    let mut options = options(&["sentiment"]);
    options.keys = Keys::from_file(&file).unwrap();
    options.key_file = Some(file.clone());
    let server = Running::start(options);
    let asks = |key: &str| {
        let value = format!("Bearer {key}");
        let body = json!({"text": "a"});
        server
            .post_with("/v1/classify", &[("authorization", &value)], &body)
            .status
    };
    assert_eq!(asks("abcdefghijklmnop"), 200);
    let reloaded = |count: u32| {
        server.orders.blocking_send(Order::Reload).unwrap();
        let began = Instant::now();
        let wanted = format!("albert_reloads_total {count}");
        while !server.get("/metrics").text().contains(&wanted) {
            assert!(began.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    std::fs::write(&file, "qrstuvwxyz012345").unwrap();
    reloaded(1);
    assert_eq!(
        (asks("abcdefghijklmnop"), asks("qrstuvwxyz012345")),
        (401, 200)
    );
    // A file that is no good any more, and one that is again.
    std::fs::write(&file, "short").unwrap();
    server.orders.blocking_send(Order::Reload).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(asks("qrstuvwxyz012345"), 200);
    std::fs::write(&file, "abcdefghijklmnop").unwrap();
    reloaded(2);
    assert_eq!(
        (asks("abcdefghijklmnop"), asks("qrstuvwxyz012345")),
        (200, 401)
    );
}

#[test]
fn pages_of_other_origins_may_ask_only_if_they_are_named() {
    let origin = ("origin", "https://example.org");
    let body = json!({"text": "a"});
    let closed = Running::start(options(&["sentiment"]));
    let reply = closed.post_with("/v1/classify", &[origin], &body);
    assert_eq!(reply.header("access-control-allow-origin"), None);

    let mut named = options(&["sentiment"]);
    named.cors_origins = vec!["https://example.org".to_owned()];
    let open = Running::start(named);
    let reply = open.post_with("/v1/classify", &[origin], &body);
    assert_eq!(
        reply.header("access-control-allow-origin"),
        Some("https://example.org")
    );
    let other = [("origin", "https://example.com")];
    let reply = open.post_with("/v1/classify", &other, &body);
    assert_eq!(reply.header("access-control-allow-origin"), None);
    let asks = [
        origin,
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization, content-type, x-stainless-os",
        ),
    ];
    let reply = open.send("OPTIONS", "/v1/classify", &asks, b"");
    assert_eq!(reply.status, 200);
    let allowed = reply.header("access-control-allow-headers").unwrap();
    for header in ["authorization", "content-type", "x-stainless-os"] {
        assert!(allowed.contains(header), "{allowed}");
    }

    for origin in [
        "example.org",
        "https://example.org/page",
        "https://",
        "https://*.example.org",
    ] {
        let mut wrong = options(&["sentiment"]);
        wrong.cors_origins = vec![origin.to_owned()];
        let error = albert_server::serve(wrong, |_, orders| {
            orders.blocking_send(Order::End).ok();
        });
        assert!(error.unwrap_err().to_string().contains(origin));
    }
}

#[test]
fn routes_that_name_no_model_say_which_could_answer() {
    let server = Running::start(options(&["sentiment", "mini"]));
    for (route, body) in [
        ("/embed", json!({"inputs": "a"})),
        ("/rerank", json!({"query": "a", "texts": ["b"]})),
        ("/tokenize", json!({"inputs": "a"})),
    ] {
        let said = server.post(route, &body).problem(422);
        let detail = said.to_string();
        assert!(
            detail.contains("`sentences`") && !detail.contains("as `model`"),
            "{detail}"
        );
    }
    server.get("/info").problem(422);
}

#[test]
fn packed_bodies_are_refused_as_such() {
    let server = Running::start(options(&["sentiment"]));
    let packed = ("content-encoding", "gzip");
    let said = server
        .post_with("/v1/classify", &[packed], &json!({"text": "a"}))
        .problem(415);
    assert!(said["detail"].as_str().unwrap().contains("gzip"), "{said}");
    let plain = ("content-encoding", "identity");
    server
        .post_with("/v1/classify", &[plain], &json!({"text": "a"}))
        .ok();
}

#[test]
fn numbers_and_states_are_told() {
    let server = Running::start(options(&["sentiment"]));
    assert_eq!(server.get("/health").ok()["status"], "alive");
    assert_eq!(server.get("/ready").ok()["status"], "ready");
    server.post("/v1/classify", &json!({"text": TEXTS})).ok();
    server
        .post("/v1/classify", &json!({"text": ""}))
        .problem(422);
    server.get("/made/up/path").problem(404);
    let metrics = server.get("/metrics");
    let text = metrics.text();
    for line in [
        r#"albert_requests_total{route="/v1/classify",status="200"} 1"#,
        r#"albert_requests_total{route="/v1/classify",status="422"} 1"#,
        r#"albert_requests_total{route="other",status="404"} 1"#,
        "albert_queue_seconds_count 3",
        "albert_queue_tokens 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("made"));
    let id = [("x-request-id", "mine-1")];
    let reply = server.post_with("/v1/classify", &id, &json!({"text": ""}));
    assert_eq!(reply.problem(422)["request_id"], "mine-1");
    let models = server.get("/v1/models").ok();
    assert_eq!(
        models["models"][0]["labels"],
        json!(["negative", "positive"])
    );
    assert_eq!(models["data"][0]["id"], "sentiment");
    // The only one with vectors and pieces answers for them, too.
    let routes = models["models"][0]["default_for"].to_string();
    assert!(
        routes.contains("classify") && routes.contains("tokenize"),
        "{routes}"
    );
    let missing = models["missing"].as_array().unwrap();
    assert!(
        missing.iter().any(|task| task["task"] == "answer"),
        "{missing:?}"
    );
}
