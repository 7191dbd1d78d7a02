//! The endpoints: a request's path, headers and body in, one operation on blobs, queues or the status table, its
//! answer out. Those on blobs are here.

use super::blobs::{About, Among, Properties};
use super::piece::{Piece, Unread};
use super::refusal::Refusal;
use super::{Storage, container_of, xml};
use crate::cloud::read_body;
use crate::faults::{Area, Fault};
use crate::source::ticks;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use md5::{Digest as _, Md5};
use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use time::macros::format_description;
use url::form_urlencoded;
use uuid::Uuid;

/// The most bytes of one upload.
const UPLOAD_CAP: u64 = 256 * 1024 * 1024;
/// The most bytes of a block list: 50,000 of them.
const LIST_CAP: usize = 8 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);
const VERSION: HeaderValue = HeaderValue::from_static("2021-12-02");

/// The routes.
pub fn router(storage: Arc<Storage>) -> Router {
    Router::new()
        .route("/storage/{container}/{*blob}", any(blob))
        .route("/queue/{*messages}", any(message))
        .route("/table/{*entities}", any(entity))
        .with_state(storage)
}

async fn blob(State(storage): State<Arc<Storage>>, request: Request) -> Response {
    answer(&storage, Area::Blobs, request).await
}

async fn message(State(storage): State<Arc<Storage>>, request: Request) -> Response {
    answer(&storage, Area::Queues, request).await
}

async fn entity(State(storage): State<Arc<Storage>>, request: Request) -> Response {
    answer(&storage, Area::Tables, request).await
}

async fn answer(storage: &Storage, area: Area, request: Request) -> Response {
    let fault = storage.faults.roll(area);
    let (head, body) = request.into_parts();
    let call = Call {
        storage,
        method: head.method,
        path: head.uri.path(),
        query: head.uri.query().unwrap_or(""),
        headers: &head.headers,
    };
    let mut body = Some(if fault == Some(Fault::Garbled) { garbled(body) } else { body });
    let refused = match fault {
        Some(Fault::Throttled | Fault::ThrottledWithoutRetryAfter | Fault::Unavailable) => Some(Refusal::BUSY),
        Some(Fault::Internal) => Some(Refusal::INTERNAL),
        Some(Fault::Preempted) => Some(Refusal::authentication_failed("Signature did not match.")),
        Some(Fault::CutBody) => {
            drain(&mut body, call.length().unwrap_or(0) / 2).await;
            return cut();
        }
        _ => None,
    };
    let done = match refused {
        Some(refusal) => Err(refusal),
        None if fault == Some(Fault::BadGateway) => Ok(bad_gateway()),
        None if area == Area::Blobs => call.blob(&mut body).await,
        None if area == Area::Tables => call.entity(&mut body).await,
        None => call.message(&mut body).await,
    };
    // A refusal that comes before the body has been read would reach the client as a broken connection.
    drain(&mut body, UPLOAD_CAP).await;
    let done = match fault {
        Some(Fault::TruncatedBody) => return cut(),
        Some(Fault::GatewayTimeout) => Err(Refusal::TIMED_OUT),
        _ => done,
    };
    let refused = |refusal: Refusal| match area {
        Area::Tables => refusal.into_json_response(),
        _ => refusal.into_response(),
    };
    let mut response = done.unwrap_or_else(refused);
    let headers = response.headers_mut();
    if fault == Some(Fault::Throttled) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    headers.insert("x-ms-version", VERSION);
    put_header(headers, HeaderName::from_static("x-ms-request-id"), &Uuid::new_v4().to_string());
    if let Some(id) = head.headers.get("x-ms-client-request-id") {
        headers.insert("x-ms-client-request-id", id.clone());
    }
    response
}

/// A request without its body.
pub(super) struct Call<'a> {
    pub(super) storage: &'a Storage,
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    headers: &'a HeaderMap,
}

impl Call<'_> {
    async fn blob(&self, body: &mut Option<Body>) -> Result<Response, Refusal> {
        let inside = self.path.strip_prefix("/storage/").and_then(|path| path.split_once('/'));
        let (container, name) = inside.ok_or(Refusal::CONTAINER_NOT_FOUND)?;
        let permission = match self.method {
            Method::PUT => 'w',
            Method::GET | Method::HEAD => 'r',
            Method::DELETE => 'd',
            _ => return Err(Refusal::UNSUPPORTED_VERB),
        };
        self.storage.check(&container_of(container), self.query, permission)?;
        if !self.storage.has_container(container) {
            return Err(Refusal::CONTAINER_NOT_FOUND);
        }
        let key = (container.to_owned(), decoded(name).ok_or(Refusal::INVALID_QUERY)?);
        let blobs = &self.storage.blobs;
        match (&self.method, self.given("comp").as_deref()) {
            (&Method::PUT, None) => {
                match self.header("x-ms-blob-type") {
                    Some("BlockBlob") => {}
                    Some(_) => return Err(Refusal::INVALID_HEADER),
                    None => return Err(Refusal::NO_BLOB_TYPE),
                }
                let piece = self.receive(body).await?;
                Ok(created(Some(blobs.put(key, piece, self.only_new(), self.about()?)?)))
            }
            (&Method::PUT, Some("block")) => {
                let id = self.given("blockid").ok_or(Refusal::INVALID_QUERY)?;
                if !(1..=64).contains(&BASE64.decode(&id).map_err(|_| Refusal::INVALID_QUERY)?.len()) {
                    return Err(Refusal::INVALID_QUERY);
                }
                if self.length()? == 0 {
                    return Err(Refusal::INVALID_HEADER);
                }
                blobs.put_block(key, id, self.receive(body).await?)?;
                Ok(created(None))
            }
            (&Method::PUT, Some("blocklist")) => {
                let text = self.text(body, LIST_CAP).await?;
                self.check_md5(Md5::digest(&text).into())?;
                let mut list = Vec::new();
                for (kind, id) in xml::children(&text, "BlockList").ok_or(Refusal::INVALID_XML)? {
                    let among = match kind.as_str() {
                        "Latest" => Among::Latest,
                        "Committed" => Among::Committed,
                        "Uncommitted" => Among::Uncommitted,
                        _ => return Err(Refusal::INVALID_XML),
                    };
                    list.push((among, id));
                }
                Ok(created(Some(blobs.commit(&key, &list, self.only_new(), self.about()?)?)))
            }
            (&Method::GET | &Method::HEAD, None) => {
                let opened = blobs.open(&key.0, &key.1).map_err(|_| Refusal::BLOB_NOT_FOUND)?;
                let content = if self.method == Method::HEAD { Body::empty() } else { streamed(opened.content) };
                let mut response = Response::new(content);
                described(response.headers_mut(), &opened.properties);
                let headers = response.headers_mut();
                put_header(headers, header::CONTENT_LENGTH, &opened.length.to_string());
                put_header(headers, header::CONTENT_TYPE, &opened.properties.content_type);
                headers.insert("x-ms-blob-type", HeaderValue::from_static("BlockBlob"));
                Ok(response)
            }
            (&Method::DELETE, None) => {
                if !blobs.remove(&key.0, &key.1) {
                    return Err(Refusal::BLOB_NOT_FOUND);
                }
                Ok(status(StatusCode::ACCEPTED, Body::empty()))
            }
            _ => Err(Refusal::INVALID_QUERY),
        }
    }

    /// The body as a piece of a blob, written as it comes.
    async fn receive(&self, body: &mut Option<Body>) -> Result<Piece, Refusal> {
        if self.length()? > UPLOAD_CAP {
            return Err(Refusal::TOO_LARGE);
        }
        let mut piece = self.storage.blobs.new_piece();
        let mut chunks = body.take().unwrap_or_default().into_data_stream();
        loop {
            let chunk = tokio::time::timeout(PATIENCE, chunks.next()).await.map_err(|_| Refusal::TIMED_OUT)?;
            let Some(chunk) = chunk else {
                let piece = piece.finish();
                self.check_md5(piece.md5)?;
                return Ok(piece);
            };
            let chunk = chunk.map_err(|_| Refusal::INVALID_INPUT)?;
            if piece.length() + chunk.len() as u64 > UPLOAD_CAP {
                return Err(Refusal::TOO_LARGE);
            }
            piece.push(&chunk).map_err(|_| Refusal::INTERNAL)?;
        }
    }

    pub(super) async fn text(&self, body: &mut Option<Body>, cap: usize) -> Result<Bytes, Refusal> {
        if self.length()? > cap as u64 {
            return Err(Refusal::TOO_LARGE);
        }
        read_body(body.take().unwrap_or_default(), cap).await.map_err(|_| Refusal::INVALID_INPUT)
    }

    fn length(&self) -> Result<u64, Refusal> {
        let length = self.header("content-length").ok_or(Refusal::NO_LENGTH)?;
        length.parse().map_err(|_| Refusal::INVALID_HEADER)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn given(&self, wanted: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    }

    fn only_new(&self) -> bool {
        self.header("if-none-match") == Some("*")
    }

    /// Whether a body has the hash that its request says, if it says one (Azure Storage REST: Put Block, Put Blob).
    fn check_md5(&self, md5: [u8; 16]) -> Result<(), Refusal> {
        match self.hash("content-md5")? {
            Some(said) if said != md5 => Err(Refusal::MD5_MISMATCH),
            _ => Ok(()),
        }
    }

    fn hash(&self, name: &str) -> Result<Option<[u8; 16]>, Refusal> {
        let read = |said: &str| BASE64.decode(said).ok().and_then(|bytes| bytes.try_into().ok());
        self.header(name).map(|said| read(said).ok_or(Refusal::INVALID_MD5)).transpose()
    }

    fn about(&self) -> Result<About, Refusal> {
        let named = self.header("x-ms-blob-content-type");
        let own = self.header("content-type").filter(|_| self.given("comp").is_none());
        let content_type = named.or(own).unwrap_or("application/octet-stream").to_owned();
        let md5 = self.hash("x-ms-blob-content-md5")?.map(|md5| BASE64.encode(md5));
        Ok(About { content_type, now: self.storage.clock.now(), md5 })
    }
}

/// Reads at most `most` bytes of what is left of a body, for nothing.
async fn drain(body: &mut Option<Body>, most: u64) {
    let Some(body) = body.take() else { return };
    let mut chunks = body.into_data_stream();
    let mut read = 0;
    while read < most {
        match tokio::time::timeout(PATIENCE, chunks.next()).await {
            Ok(Some(Ok(chunk))) => read += chunk.len() as u64,
            _ => return,
        }
    }
}

/// A body whose first bit has turned on the way.
fn garbled(body: Body) -> Body {
    let mut first = true;
    Body::from_stream(body.into_data_stream().map(move |chunk| {
        let mut bytes = chunk?.to_vec();
        if let Some(byte) = bytes.first_mut().filter(|_| first) {
            *byte ^= 0x80;
            first = false;
        }
        Ok::<_, axum::Error>(Bytes::from(bytes))
    }))
}

/// No answer: the connection ends.
fn cut() -> Response {
    let error = io::Error::new(io::ErrorKind::ConnectionReset, "the connection is cut on purpose");
    // The body fails before the head has been sent, so nothing at all is.
    Response::new(Body::from_stream(stream::iter([Err::<Bytes, _>(error)])))
}

fn bad_gateway() -> Response {
    let page = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>";
    let mut response = status(StatusCode::BAD_GATEWAY, Body::from(page));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

pub(super) fn status(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn created(properties: Option<Properties>) -> Response {
    let mut response = status(StatusCode::CREATED, Body::empty());
    response.headers_mut().insert("x-ms-request-server-encrypted", HeaderValue::from_static("true"));
    if let Some(properties) = properties {
        described(response.headers_mut(), &properties);
    }
    response
}

fn described(headers: &mut HeaderMap, properties: &Properties) {
    put_header(headers, header::ETAG, &properties.etag);
    put_header(headers, header::LAST_MODIFIED, &http_date(properties.modified));
    if let Some(md5) = &properties.md5 {
        put_header(headers, HeaderName::from_static("content-md5"), md5);
    }
}

pub(super) fn put_header(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn streamed(content: Unread) -> Body {
    Body::from_stream(stream::try_unfold(content, |mut content| async move {
        let mut buffer = vec![0; 64 * 1024];
        let count = content.read(&mut buffer)?;
        buffer.truncate(count);
        Ok::<_, io::Error>((count > 0).then(|| (Bytes::from(buffer), content)))
    }))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
pub(super) fn http_date(at: i64) -> String {
    let format =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let seconds = (at - ticks::UNIX_EPOCH).div_euclid(ticks::SECOND);
    let date = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    date.format(&format).unwrap_or_default()
}

/// A part of a path without percent signs.
pub(super) fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok())?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}
