//! The list of functions that the host shows at its start, as Core Tools does.

use super::function_json::{Function, Trigger};
use std::net::SocketAddr;
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
    if local.ip().is_loopback() || local.ip().is_unspecified() {
        format!("localhost:{}", local.port())
    } else {
        local.to_string()
    }
}
