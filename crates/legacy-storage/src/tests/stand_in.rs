//! A service that gives the answers it is told to, and keeps what it was asked.

use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// The headers that the crates want in every answer.
const HEADERS: &str = "x-ms-request-id: 00000000-0000-0000-0000-000000000001\r\nx-ms-version: 2022-11-02\r\n\
    Date: Tue, 14 Apr 2026 07:00:00 GMT\r\nServer: stand-in\r\n";

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Which connection it came on.
    pub(super) connection: usize,
    /// The request line and the headers, as sent.
    pub(super) head: String,
    pub(super) body: String,
}

pub(super) struct StandIn {
    pub(super) url: Url,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// An answer as the service writes it.
pub(super) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{HEADERS}{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

impl StandIn {
    /// Gives `answers` in turn, and the last one for ever. An empty one is never given: the caller waits.
    pub(super) async fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/account/", listener.local_addr().unwrap()).parse().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, answers) = (Arc::clone(&asked), Arc::new(answers));
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, connection, Arc::clone(&kept), Arc::clone(&answers)));
            }
        });
        Self { url, asked }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, connection: usize, kept: Arc<Mutex<Vec<Asked>>>, answers: Arc<Vec<String>>) {
    let mut bytes = Vec::new();
    loop {
        let (head, length) = loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
                });
                break (head.to_owned(), length.unwrap_or(0));
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let end = head.len() + 4 + length;
        while bytes.len() < end {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body = String::from_utf8_lossy(&bytes[head.len() + 4..end]).into_owned();
        bytes.drain(..end);
        let number = {
            let mut kept = kept.lock().unwrap();
            kept.push(Asked { connection, head, body });
            kept.len() - 1
        };
        let answer = &answers[number.min(answers.len() - 1)];
        if answer.is_empty() {
            std::future::pending::<()>().await;
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        if answer.contains("Connection: close") {
            return;
        }
    }
}
