//! What the identity services' errors mean, in words that say what to do.

use azure_core::error::ErrorKind;

/// A message longer than this is cut: an identity endpoint may answer with a page.
const MESSAGE_CHARS: usize = 600;

/// What failed, with its causes, and what to do about it.
pub(in crate::outbound) fn explain(error: &azure_core::Error) -> String {
    let message = without_links(&causes(error));
    let advice = ADVICE
        .iter()
        .find(|(signs, _)| signs.iter().any(|sign| message.contains(sign)))
        .map_or(if is_transient(error) { NOT_REACHED } else { OTHERWISE }, |(_, advice)| advice);
    format!("{message}; {advice}")
}

/// A message of [`explain`] in its two parts: what happened, and what to do about it.
pub(in crate::outbound) fn parted(message: &str) -> (&str, &'static str) {
    let known = ADVICE.iter().map(|(_, advice)| *advice).chain([NOT_REACHED, OTHERWISE]);
    let mut parts = known.filter_map(|advice| Some((message.strip_suffix(advice)?.strip_suffix("; ")?, advice)));
    parts.next().unwrap_or((message, ""))
}

const NOT_REACHED: &str =
    "trying again later; if it stays, check the network, AZURE_AUTHORITY_HOST and IDENTITY_ENDPOINT";
const OTHERWISE: &str = "check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or which managed identity the app has (for the state store AzureWebJobsStorage__clientId)";

/// The SDK's pointers to its troubleshooting pages are left out: what to do stands behind the message.
fn without_links(message: &str) -> String {
    let mut parts = message.split("To troubleshoot, visit ");
    let mut text = parts.next().unwrap_or_default().trim_end().to_owned();
    for part in parts {
        // The link ends at a blank, or at the colon before the next cause.
        let behind = part.split_once(' ').map_or("", |(_, behind)| behind);
        if !behind.is_empty() {
            text.push_str(if part.split(' ').next().is_some_and(|link| link.ends_with(':')) { ": " } else { " " });
            text.push_str(behind.trim_end());
        }
    }
    text
}

/// What the codes of Entra that need a person mean here.
const ADVICE: [(&[&str], &str); 9] = [
    (&["AADSTS7000215:"], "set AZURE_CLIENT_SECRET to the value of a client secret of this app (not the secret's id)"),
    (&["AADSTS7000222:"], "the client secret has expired: make a new one and set AZURE_CLIENT_SECRET"),
    (&["AADSTS700016:"], "AZURE_CLIENT_ID is not an app of the tenant AZURE_TENANT_ID"),
    (&["AADSTS90002:", "AADSTS900023:"], "AZURE_TENANT_ID is not a tenant of this cloud (see AZURE_AUTHORITY_HOST)"),
    (
        &["AADSTS500011:", "AADSTS70011:", "AADSTS1002012:"],
        "the resource is not known in this tenant: check DEFENDER_RESOURCE_URI and ADX_CLUSTER_URI",
    ),
    (&["AADSTS53003:"], "a conditional access policy of the tenant blocks this app"),
    (
        &["AADSTS700027:", "AADSTS700211:", "AADSTS700213:"],
        "the federated credential of the app does not match this workload",
    ),
    (&["invalid peer certificate"], "if the authority is yours, name its root certificate in SSL_CERT_FILE"),
    (
        &["AzureCliCredential", "AzureDeveloperCliCredential"],
        "run `az login`, or describe an identity with AZURE_CLIENT_ID (and AZURE_TENANT_ID, AZURE_CLIENT_SECRET)",
    ),
];

/// Whether the identity service may answer later: it was not reached, or was busy or broken.
pub(in crate::outbound) fn is_transient(error: &azure_core::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<azure_core::Error>().map(azure_core::Error::kind) {
            Some(ErrorKind::Connection | ErrorKind::Io) => return true,
            Some(ErrorKind::HttpResponse { status, .. }) => {
                let status = u16::from(*status);
                return status == 408 || status == 429 || status >= 500;
            }
            _ => next = error.source(),
        }
    }
    false
}

/// An error with those of its causes that it does not itself repeat, on one line.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(MESSAGE_CHARS).collect()
}
