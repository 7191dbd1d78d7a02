//! A certificate for the emulator, of an authority that lives as long as its directory. Made by the `openssl` program:
//! a key kept with the sources would be one more secret to explain.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The files of a certificate for 127.0.0.1 and localhost, as PEM.
pub struct Certificate {
    /// Whom a client has to trust.
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Whether certificates can be made here.
pub fn is_possible() -> bool {
    let version = Command::new("openssl").arg("version").stdin(Stdio::null()).output();
    version.is_ok_and(|output| output.status.success())
}

/// Makes a certificate in `directory`.
pub fn certificate(directory: &Path) -> Certificate {
    let file = |name: &str| directory.join(name);
    // A client refuses an authority's certificate as a server's.
    let extensions =
        "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n";
    fs::write(file("extensions.cnf"), extensions).unwrap();
    for arguments in [
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority-of-a-test -keyout ca.key -out ca.pem",
        "req -new -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions.cnf -out server.pem",
    ] {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(directory)
            .stdin(Stdio::null())
            .output()
            .expect("openssl starts");
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Certificate { authority: file("ca.pem"), certificate: file("server.pem"), key: file("server.key") }
}
