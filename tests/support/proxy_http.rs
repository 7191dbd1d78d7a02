//! As much HTTP/1.1 as a proxy of known clients and one known service needs: whole requests and answers whose length
//! was said.

use std::io;
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request, whole.
pub struct Request {
    pub method: String,
    /// Path and query as sent.
    pub path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// The next request of a connection, `None` at its end.
    pub async fn read(client: &mut TcpStream, unread: &mut Vec<u8>) -> io::Result<Option<Self>> {
        let end = loop {
            if let Some(end) = find_end(unread) {
                break end;
            }
            if client.read_buf(unread).await? == 0 {
                return Ok(None);
            }
        };
        let head = head_lines(&unread[..end]);
        let mut words = head[0].split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers = headers(&head[1..]);
        assert!(value(&headers, "transfer-encoding").is_none(), "{method} {path}: a body without its length");
        let length: usize = value(&headers, "content-length").map_or(0, |length| length.parse().unwrap());
        while unread.len() < end + length {
            if client.read_buf(unread).await? == 0 {
                return Ok(None);
            }
        }
        let rest = unread.split_off(end + length);
        let body = std::mem::replace(unread, rest).split_off(end);
        Ok(Some(Self { method, path, headers, body }))
    }

    /// The service's answer. Asked in HTTP/1.0, it ends its answer by closing the connection.
    pub async fn pass_on(&self, target: u16) -> io::Result<Answer> {
        let mut service = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await?;
        let mut bytes = format!("{} {} HTTP/1.0\r\n", self.method, self.path).into_bytes();
        for (name, value) in self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("connection")) {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        service.write_all(&bytes).await?;
        let mut answer = Vec::new();
        service.read_to_end(&mut answer).await?;
        let end = find_end(&answer).ok_or(io::ErrorKind::UnexpectedEof)?;
        let body = answer.split_off(end);
        let head = head_lines(&answer);
        let status = head[0].split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Ok(Answer { status, head, body })
    }
}

/// An answer of the service, whole.
pub struct Answer {
    pub status: u16,
    head: Vec<String>,
    pub body: Vec<u8>,
}

impl Answer {
    /// As HTTP/1.1 with a length, on a connection that is kept.
    pub fn to_bytes(&self, method: &str) -> Vec<u8> {
        let is_bodiless = method == "HEAD" || self.status == 204 || self.status == 304;
        let own = |line: &&String| {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            let framing = name == "content-length" && !is_bodiless;
            !(framing || name == "connection" || name == "keep-alive" || name == "transfer-encoding")
        };
        let mut text: String = self.head.iter().filter(own).flat_map(|line| [line.as_str(), "\r\n"]).collect();
        if !is_bodiless {
            text += &format!("Content-Length: {}\r\n", self.body.len());
        }
        [text.as_bytes(), b"\r\n", &self.body].concat()
    }
}

/// Where the head ends, its empty line included.
fn find_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn head_lines(head: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(head).trim_end().split("\r\n").map(str::to_owned).collect()
}

fn headers(lines: &[String]) -> Vec<(String, String)> {
    lines.iter().filter_map(|line| line.split_once(':')).map(|(n, v)| (n.to_owned(), v.trim().to_owned())).collect()
}

fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}
