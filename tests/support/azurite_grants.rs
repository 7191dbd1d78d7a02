//! What lets a caller into the emulator beside its key: shared access signatures, and tokens that it believes.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use sha2::Sha256;

/// An account signature for all three services, without its question mark (rest-api-ref `Create-an-account-SAS`).
/// Permissions are letters in the order `rwdlacup`; times are like `2026-04-14T07:00:00Z`, the start may be empty.
pub fn account_sas(account: &str, key: &str, permissions: &str, start: &str, expiry: &str) -> String {
    let (version, services, kinds, protocols) = ("2022-11-02", "bqt", "sco", "https,http");
    // Neither addresses nor an encryption scope.
    let text =
        format!("{account}\n{permissions}\n{services}\n{kinds}\n{start}\n{expiry}\n\n{protocols}\n{version}\n\n");
    let mut hmac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(key).unwrap()).unwrap();
    hmac.update(text.as_bytes());
    let signature = STANDARD.encode(hmac.finalize().into_bytes());
    let pairs = [
        ("sv", version),
        ("ss", services),
        ("srt", kinds),
        ("sp", permissions),
        ("st", start),
        ("se", expiry),
        ("spr", protocols),
        ("sig", &signature),
    ];
    let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    pairs
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect::<Vec<_>>()
        .join("&")
}

/// A bearer token as `--oauth basic` takes it: of a known issuer and in its time, in seconds since 1970; nobody asks
/// for its signature (azure-docs `storage-use-azurite`).
pub fn bearer_token(from: u64, until: u64) -> String {
    let claims = json!({
        "aud": "https://storage.azure.com", "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/",
        "iat": from, "nbf": from, "exp": until,
    });
    let part = |part: serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}.", part(json!({"alg": "none", "typ": "JWT"})), part(claims))
}
