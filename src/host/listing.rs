//! The list of functions that the host shows at its start, as Core Tools does.

use super::function_json::{Function, Trigger};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// The lines of the list; `local` is where the host listens.
pub(crate) fn lines(functions: &[Arc<Function>], local: SocketAddr) -> Vec<String> {
    if functions.is_empty() {
        return vec!["No functions found: each is a folder with a function.json below the app root.".to_owned()];
    }
    let mut lines = vec![String::new(), "Functions:".to_owned()];
    let host = host_name(local);
    for function in functions {
        lines.push(String::new());
        lines.push(match &function.trigger {
            Trigger::Http(trigger) => {
                let methods = trigger.methods.as_ref().map(|methods| format!("[{}] ", methods.join(",")));
                let methods = methods.unwrap_or_default();
                format!("\t{}: {methods}http://{host}/{}", function.name, trigger.route)
            }
            Trigger::Queue { .. } | Trigger::Timer(_) => format!("\t{}: {}", function.name, function.trigger_type()),
        });
    }
    lines.push(String::new());
    lines
}

/// The name under which people of this machine reach `local`.
pub(crate) fn host_name(local: SocketAddr) -> String {
    let is_localhost = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].contains(&local.ip());
    if is_localhost || local.ip().is_unspecified() { format!("localhost:{}", local.port()) } else { local.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_localhost_stands_for_is_called_so() {
        let name = |address: &str| host_name(address.parse().unwrap());
        for address in ["127.0.0.1:7071", "[::1]:7071", "0.0.0.0:7071", "[::]:7071"] {
            assert_eq!(name(address), "localhost:7071", "{address}");
        }
        assert_eq!((name("127.0.0.2:7071").as_str(), name("10.0.0.4:80").as_str()), ("127.0.0.2:7071", "10.0.0.4:80"));
    }
}
