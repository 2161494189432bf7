//! A connection that is kept: one request at a time.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The most headers of an answer.
const HEADERS: usize = 64;

/// Of an answer, what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether it says when to ask again.
    pub(crate) retry_after: bool,
    /// Whether the connection ends with it.
    pub(crate) closes: bool,
}

/// A connection to a server that speaks HTTP/1.1.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let buffer = Vec::with_capacity(4096);
        Ok(Self { stream, buffer })
    }

    /// Whether any of an answer to the last request has come.
    pub(crate) fn has_said_something(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Sends a request and reads the answer to its end.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Some((answer, whole)) = parse(&self.buffer)?
                && self.buffer.len() >= whole
            {
                return Ok(answer);
            }
        }
    }
}

/// An answer and how many bytes it has; nothing while its head is not whole.
fn parse(bytes: &[u8]) -> Result<Option<(Answer, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let wrong = |said: String| Error::new(ErrorKind::InvalidData, said);
    let parsed = response.parse(bytes).map_err(|e| wrong(e.to_string()))?;
    let httparse::Status::Complete(head) = parsed else {
        return Ok(None);
    };
    let header = |name: &str| {
        let named = response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        named.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let length = header("content-length").and_then(|length| length.trim().parse::<usize>().ok());
    let length = length.ok_or_else(|| wrong("an answer without a length".to_owned()))?;
    let answer = Answer {
        status: response.code.unwrap_or_default(),
        retry_after: header("retry-after").is_some(),
        closes: header("connection").is_some_and(|said| said.eq_ignore_ascii_case("close")),
    };
    Ok(Some((answer, head + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_end_and_not_before() {
        let said = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\ncontent-length: 2\r\n\r\n{}";
        let head = said.len() - 2;
        let wanted = Answer {
            status: 429,
            retry_after: true,
            closes: true,
        };
        assert_eq!(parse(&said[..head - 1]).unwrap(), None);
        assert_eq!(parse(&said[..head]).unwrap(), Some((wanted, said.len())));
        assert_eq!(parse(said).unwrap(), Some((wanted, said.len())));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        assert!(parse(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
