//! A certificate for the emulator, of an authority that lives as long as its test.

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::fs;
use std::path::{Path, PathBuf};

/// A name in the certificate that no resolver knows.
pub const ELSEWHERE: &str = "login.example";

/// The files of a certificate for 127.0.0.1, localhost and [`ELSEWHERE`], as PEM.
pub struct Certificate {
    /// Whom a client has to trust.
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Makes a certificate in `directory`.
pub fn certificate(directory: &Path) -> Certificate {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);

    // A client refuses an authority's certificate as a server's.
    let mut server = CertificateParams::new(["127.0.0.1", "localhost", ELSEWHERE].map(str::to_owned)).unwrap();
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server_key = KeyPair::generate().unwrap();
    let server_pem = server.signed_by(&server_key, &issuer).unwrap().pem();

    let file = |name: &str, content: String| {
        let path = directory.join(name);
        fs::write(&path, content).unwrap();
        path
    };
    Certificate {
        authority: file("ca.pem", authority_pem),
        certificate: file("server.pem", server_pem),
        key: file("server.key", server_key.serialize_pem()),
    }
}
