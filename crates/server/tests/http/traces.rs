//! What a collector of traces is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;

use super::client::*;

/// Takes what is sent to it.
fn collector() -> (SocketAddr, Receiver<Vec<Span>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                head.push(line.to_lowercase());
            }
            assert!(head[0].starts_with("post /v1/traces"), "{head:?}");
            let length = head
                .iter()
                .find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.unwrap().trim().parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
            stream
                .get_mut()
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
            let said = ExportTraceServiceRequest::decode(&*body).unwrap();
            let resources = said.resource_spans.into_iter();
            let scopes = resources.flat_map(|resource| resource.scope_spans);
            tell.send(scopes.flat_map(|scope| scope.spans).collect())
                .unwrap();
        }
    });
    (address, told)
}

fn attributes(span: &Span) -> BTreeMap<&str, Any> {
    let pairs = span.attributes.iter();
    let pair = |pair: &'_ opentelemetry_proto::tonic::common::v1::KeyValue| {
        pair.value.clone().and_then(|value| value.value)
    };
    pairs
        .filter_map(|known| Some((known.key.as_str(), pair(known)?)))
        .collect()
}

#[test]
fn a_request_is_a_span_in_its_callers_and_has_parts() {
    let (address, told) = collector();
    let mut options = options(&["sentiment"]);
    options.traces = Some(format!("http://{address}/v1/traces"));
    let server = Running::start(options);
    let (trace, caller) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let parent = format!("00-{trace}-{caller}-01");
    let headers = [("traceparent", parent.as_str()), ("x-request-id", "ours")];
    let body = json!({"text": "a secret film"});
    server.post_with("/v1/classify", &headers, &body).ok();
    server
        .post("/v1/classify", &json!({"text": ""}))
        .problem(422);
    assert!(server.end());
    let mut spans = Vec::new();
    while let Ok(more) = told.recv_timeout(Duration::from_millis(200)) {
        spans.extend(more);
    }
    assert!(!format!("{spans:?}").contains("secret"));

    let (known, other): (Vec<&Span>, Vec<&Span>) =
        spans.iter().partition(|span| hex(&span.trace_id) == trace);
    let request = known
        .iter()
        .find(|span| span.name == "POST /v1/classify")
        .unwrap();
    assert_eq!(hex(&request.parent_span_id), caller);
    let said = attributes(request);
    assert_eq!(said["http.response.status_code"], Any::IntValue(200));
    assert_eq!(
        said["albert.request_id"],
        Any::StringValue("ours".to_owned())
    );
    for name in ["receive", "prepare", "compute"] {
        let part = known.iter().find(|span| span.name == name).unwrap();
        assert_eq!(part.parent_span_id, request.span_id, "{name}");
        assert!(part.start_time_unix_nano >= request.start_time_unix_nano);
        assert!(part.end_time_unix_nano <= request.end_time_unix_nano);
    }
    let computed = known.iter().find(|span| span.name == "compute").unwrap();
    assert_eq!(attributes(computed)["albert.rows"], Any::DoubleValue(1.0));

    // Whoever names no trace begins one.
    let refused = other
        .iter()
        .find(|span| span.name == "POST /v1/classify")
        .unwrap();
    assert!(refused.parent_span_id.is_empty());
    let status = &attributes(refused)["http.response.status_code"];
    assert_eq!(*status, Any::IntValue(422));
    assert!(other.iter().all(|span| span.name != "compute"));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_collector_that_is_not_there_holds_nothing_up() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let mut with = options(&["sentiment"]);
    with.traces = Some(format!("http://{address}/v1/traces"));
    let server = Running::start(with);
    server.post("/v1/classify", &json!({"text": "a"})).ok();
    assert!(server.end());
    let mut wrong = options(&["sentiment"]);
    wrong.traces = Some("localhost:4318".to_owned());
    let error = albert_server::serve(wrong, |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("localhost:4318"), "{error}");
}
