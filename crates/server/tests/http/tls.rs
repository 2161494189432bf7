//! TLS, from a certificate in files.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use albert_server::{Order, ServeOptions, TlsFiles};
use serde_json::json;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::client::*;

/// A server's options with a certificate, and a caller that trusts it.
fn trusted(folder: &Path) -> (ServeOptions, ClientConnection) {
    let files = TlsFiles {
        certificate: folder.join("certificate.pem"),
        key: folder.join("key.pem"),
    };
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&files.certificate, own.cert.pem()).unwrap();
    fs::write(&files.key, own.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut options = options(&["sentiment"]);
    options.tls = Some(files);
    (options, connection)
}

/// Whoever has connected in time is answered, though it agrees on keys when the server ends already.
#[test]
fn a_slow_handshake_at_the_end_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (mut options, connection) = trusted(folder.path());
    options.limits.notice_ms = 50;
    let server = Running::start(options);
    let socket = server.connect();
    server.orders.blocking_send(Order::End).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let mut stream = BufReader::new(StreamOwned::new(connection, socket));
    let asked = request("GET", "/health", &[], b"");
    stream.get_mut().write_all(&asked).unwrap();
    Reply::read(&mut stream).unwrap().ok();
}

#[test]
fn a_certificate_makes_it_tls_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (options, connection) = trusted(folder.path());
    let server = Running::start(options);
    let mut stream = BufReader::new(StreamOwned::new(connection, server.connect()));
    let body = json!({"text": "a film"}).to_string();
    let json_type = [("content-type", "application/json")];
    let asked = request("POST", "/v1/classify", &json_type, body.as_bytes());
    stream.get_mut().write_all(&asked).unwrap();
    Reply::read(&mut stream).unwrap().ok();

    // Whoever speaks plainly is not answered, and a silent caller holds up nobody.
    let _silent = server.connect();
    let mut plain = server.connect();
    plain.write_all(&asked).unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    stream.get_mut().write_all(&asked).unwrap();
    Reply::read(&mut stream).unwrap().ok();
}

#[test]
fn files_that_are_no_certificate_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles {
        certificate: folder.path().join("certificate.pem"),
        key: folder.path().join("key.pem"),
    };
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let start = || {
        let mut options = options(&["sentiment"]);
        options.tls = Some(files.clone());
        let started = albert_server::serve(options, |_, orders| {
            orders.blocking_send(Order::End).ok();
        });
        started.unwrap_err().to_string()
    };
    assert!(start().contains("certificate.pem"));
    fs::write(&files.certificate, "hello").unwrap();
    assert!(start().contains("certificate.pem: there is no certificate in it"));
    fs::write(&files.certificate, own.cert.pem()).unwrap();
    assert!(start().contains("key.pem"));
    fs::write(&files.key, other.signing_key.serialize_pem()).unwrap();
    assert!(start().contains("key.pem"));
    fs::write(&files.key, own.signing_key.serialize_pem()).unwrap();
    fs::write(&files.certificate, other.cert.pem()).unwrap();
    assert!(start().contains("key.pem"));
}
