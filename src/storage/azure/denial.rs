//! Why a storage account lets a request in not: what its codes mean for a key, a shared access signature and an identity, and
//! what to do (rest-api-ref `Common-REST-API-Error-Codes`, azure-docs `storage-error-codes`). Makes text only, without any
//! secret.

use super::authorize::Grant;
use super::clock::TOLERATED;
use super::connection::Sas;
use super::error::Refusal;
use crate::timestamp::Timestamp;
use std::time::Duration;

/// A refusal and what is known about it.
pub(super) struct Case<'a> {
    pub(super) grant: &'a Grant,
    pub(super) account: &'a str,
    /// `Table`, `Queue` or `Blob`.
    pub(super) service: &'static str,
    pub(super) refusal: &'a Refusal,
    /// The service's time.
    pub(super) now: Timestamp,
    /// The time of this machine.
    pub(super) local: Timestamp,
}

/// What happened, and what to do.
pub(super) fn explain(case: &Case<'_>) -> String {
    let Case { account, service, refusal, .. } = case;
    let service = service.to_ascii_lowercase();
    format!("the {service} service of storage account {account} does not let this app in: {} ({refusal})", reason(case))
}

fn reason(case: &Case<'_>) -> String {
    // Of no use to a reader are the codes for "wrong" before the time is looked at: emulators have other ones.
    let ended = match case.grant {
        Grant::Sas(sas) => out_of_time(sas, case.now),
        _ => None,
    };
    if let Some(ended) = ended {
        return ended;
    }
    match case.refusal.code.as_str() {
        "AccountIsDisabled" => "the account is disabled; enable it in its subscription".to_owned(),
        "KeyBasedAuthenticationNotPermitted" => "the account allows no keys and no signatures made with them; use an \
             identity: AzureWebJobsStorage__accountName in place of AzureWebJobsStorage"
            .to_owned(),
        "AuthorizationFailure" if !is_about_a_signature(case.refusal) => {
            "the account's network rules keep this app out; allow its network, or reach the account through its private \
             endpoint (Networking of the storage account)"
                .to_owned()
        }
        "AuthorizationSourceIPMismatch" => {
            "the shared access signature is for other addresses (`sip`); make one without them".to_owned()
        }
        "AuthorizationProtocolMismatch" => {
            "the shared access signature is for https only (`spr`); use https endpoints".to_owned()
        }
        "AuthorizationServiceMismatch" => {
            "the shared access signature is for other services; make one for tables, queues and blobs (`ss=bqt`)"
                .to_owned()
        }
        "AuthorizationResourceTypeMismatch" => {
            "the shared access signature is for other resource types; make one for services, containers and objects \
             (`srt=sco`)"
                .to_owned()
        }
        _ => match case.grant {
            Grant::Key(_) => wrong_key(case),
            Grant::Sas(_) => sas(case),
            Grant::Token(_) => token(case),
        },
    }
}

/// An emulator says `AuthorizationFailure` to a wrong signature; its text tells them apart.
fn is_about_a_signature(refusal: &Refusal) -> bool {
    refusal.message.contains("failed to authenticate")
}

fn wrong_key(case: &Case<'_>) -> String {
    let account = case.account;
    let clock = clock_is_off(case)
        .map(|off| format!("the clock of this machine is {off}, set it; if it stays so, "))
        .unwrap_or_default();
    format!("{clock}the AccountKey in AzureWebJobsStorage is none of account {account}; copy one from its Access keys")
}

fn sas(case: &Case<'_>) -> String {
    if matches!(case.refusal.code.as_str(), "AuthorizationPermissionMismatch" | "InsufficientAccountPermissions") {
        return "the shared access signature lacks a permission; make one with `sp=rwdlacup`".to_owned();
    }
    format!(
        "the shared access signature in AzureWebJobsStorage is not signed with a key of account {}: it was changed or cut, or \
         the key was renewed; make a new one",
        case.account
    )
}

fn token(case: &Case<'_>) -> String {
    let Case { account, service, .. } = case;
    if case.refusal.status == 401 {
        return format!(
            "the identity's token was refused twice; check that the identity is of the tenant of account {account} \
             (AzureWebJobsStorage__clientId, AZURE_TENANT_ID)"
        );
    }
    format!(
        "the identity lacks the role Storage {service} Data Contributor on account {account}; assign it (it may take ten \
         minutes to work)"
    )
}

/// Whether the signature's time is over or has not come.
fn out_of_time(sas: &Sas, now: Timestamp) -> Option<String> {
    if let Some(until) = sas.until().filter(|until| *until <= now) {
        return Some(format!(
            "the shared access signature in AzureWebJobsStorage ended at {}, and the service's time is {}; make a new one",
            until.to_seconds(),
            now.to_seconds()
        ));
    }
    let from = sas.from().filter(|from| *from > now)?;
    Some(format!(
        "the shared access signature in AzureWebJobsStorage begins at {}, and the service's time is {}; wait, or make one \
         without a start",
        from.to_seconds(),
        now.to_seconds()
    ))
}

/// How far this machine's clock is off, if it is more than the service would tolerate.
fn clock_is_off(case: &Case<'_>) -> Option<String> {
    let words = |off: Duration, way| (off > TOLERATED).then(|| format!("{} min {way}", off.as_secs() / 60));
    words(case.local.since(case.now), "fast").or_else(|| words(case.now.since(case.local), "slow"))
}
