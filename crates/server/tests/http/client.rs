//! A server of a test's own, and a client that sends what it is told, well-formed or not.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use albert_server::{Error, Limits, ModelSource, Order, ServeOptions, serve};
use serde_json::Value;
use tokio::sync::mpsc::Sender;

pub fn shipped(name: &str) -> PathBuf {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");
    PathBuf::from(models).join(name)
}

pub fn source(name: &str) -> ModelSource {
    ModelSource {
        name: name.to_owned(),
        dir: shipped(name),
        precision: None,
    }
}

/// Options for some of the models that ship, on a free port.
pub fn options(models: &[&str]) -> ServeOptions {
    ServeOptions {
        address: ([127, 0, 0, 1], 0).into(),
        models: models.iter().map(|name| source(name)).collect(),
        threads: Some(1),
        warmup: Duration::ZERO,
        ..ServeOptions::default()
    }
}

/// The same with bounds of the test's own, running.
pub fn limited(models: &[&str], limits: Limits) -> Running {
    Running::start(ServeOptions {
        limits,
        ..options(models)
    })
}

pub struct Running {
    pub address: SocketAddr,
    pub orders: Sender<Order>,
    thread: Option<JoinHandle<Result<bool, Error>>>,
}

impl Running {
    pub fn start(options: ServeOptions) -> Self {
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            serve(options, move |address, orders| {
                tell.send((address, orders)).unwrap();
            })
        });
        let (address, orders) = told.recv().expect("the server starts");
        Self {
            address,
            orders,
            thread: Some(thread),
        }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        // No test waits for ever.
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_with(path, &[], body)
    }

    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.send("POST", path, &all, body.to_string().as_bytes())
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut stream = self.connect();
        stream
            .write_all(&request(method, path, headers, body))
            .unwrap();
        Reply::read(&mut BufReader::new(stream)).expect("a reply")
    }

    /// Ends it; whether everything was answered.
    pub fn end(mut self) -> bool {
        self.stop()
    }

    fn stop(&mut self) -> bool {
        self.orders.blocking_send(Order::End).ok();
        let thread = self.thread.take();
        thread.is_none_or(|thread| thread.join().unwrap().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.thread.is_some() && !std::thread::panicking() {
            self.stop();
        }
    }
}

/// A request's bytes.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("content-length: {}\r\n\r\n", body.len());
    [text.as_bytes(), body].concat()
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// None if the connection ended before a whole reply had come.
    pub fn read(stream: &mut impl BufRead) -> Option<Self> {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        let mut reply = Self {
            status,
            headers,
            body: Vec::new(),
        };
        let length = reply.header("content-length").unwrap_or("0");
        reply.body = vec![0; length.parse().ok()?];
        stream.read_exact(&mut reply.body).ok()?;
        Some(reply)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error}: {:?}", String::from_utf8_lossy(&self.body));
        })
    }

    /// The answer, of a request that was answered.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// The problem, of a request that was refused with a status.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(
            problem["request_id"].as_str(),
            self.header("x-request-id"),
            "{problem}"
        );
        for field in ["title", "detail"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()));
        }
        problem
    }
}
