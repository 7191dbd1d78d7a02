//! A directory speaks TLS: a door with a certificate of the test's own before the simulated one. One request per connection.

use crate::support::azurite::tls::certificate;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

pub struct Front {
    pub url: String,
    /// Whom a client has to trust.
    pub authority: PathBuf,
}

impl Front {
    /// A door before the service at `behind`. Its thread ends with the test.
    pub fn before(behind: &str, folder: &Path) -> Self {
        let files = certificate(folder);
        let chain = CertificateDer::pem_file_iter(&files.certificate).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(versions.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let behind = behind.trim_start_matches("http://").to_owned();
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (config, behind) = (Arc::clone(&config), behind.clone());
                // A client that goes away is not this door's concern.
                std::thread::spawn(move || drop(pass(connection, config, &behind)));
            }
        });
        Self { url, authority: files.authority }
    }
}

/// A proxy that opens a tunnel to one door, whatever host is asked for.
pub struct Tunnels {
    pub url: String,
    /// The heads of the requests that it got.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnels {
    /// A proxy that leads to the service at `door`. Its thread ends with the test.
    pub fn to(door: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let door = door.trim_start_matches("https://").to_owned();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heads = Arc::clone(&asked);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (heads, door) = (Arc::clone(&heads), door.clone());
                std::thread::spawn(move || drop(tunnel(connection, &door, &heads)));
            }
        });
        Self { url, asked }
    }
}

fn tunnel(mut client: TcpStream, door: &str, heads: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !is_whole(&head) {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    heads.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
    let mut service = TcpStream::connect(door)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut up, mut down) = (client.try_clone()?, service.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut up, &mut down));
    std::io::copy(&mut service, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)
}

fn pass(connection: TcpStream, config: Arc<ServerConfig>, behind: &str) -> std::io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let session = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut client = StreamOwned::new(session, connection);
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while !is_whole(&request) {
        let read = client.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&piece[..read]);
    }
    let mut service = TcpStream::connect(behind)?;
    service.set_read_timeout(Some(PATIENCE))?;
    let text = String::from_utf8_lossy(&request).into_owned();
    let (line, rest) = text.split_once("\r\n").unwrap_or((&text, ""));
    service.write_all(format!("{line}\r\nconnection: close\r\n{rest}").as_bytes())?;
    let mut answer = Vec::new();
    service.read_to_end(&mut answer)?;
    client.write_all(&answer)?;
    client.conn.send_close_notify();
    client.flush()
}

/// Whether head and body of a request are there.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    body.len() >= length.unwrap_or(0)
}
