//! The query of a list or a purge, as the clients of Durable Functions spell it. A value that cannot be read is refused:
//! a filter that is left out silently would purge more than was asked for.

use crate::functions::http::Call;
use crate::orchestration::instance::RuntimeStatus;
use crate::orchestration::run::listed::Filter;
use crate::timestamp::Timestamp;

/// Which runs a call is about.
///
/// # Errors
/// The parameter that cannot be read, and an accepted form.
pub fn filter(call: &Call) -> Result<Filter, String> {
    Ok(Filter {
        created_from: time(call, "createdTimeFrom")?,
        created_to: time(call, "createdTimeTo")?,
        statuses: statuses(call)?,
        id_prefix: call.query("instanceidprefix").unwrap_or_default().to_ascii_lowercase(),
    })
}

fn time(call: &Call, name: &str) -> Result<Option<Timestamp>, String> {
    let text = call.query(&name.to_ascii_lowercase()).unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(None);
    }
    let unread = || format!("{name}: `{}` is not a time such as 2026-05-01T00:00:00Z", cut(text));
    instant(text).map(Some).ok_or_else(unread)
}

/// A date, or a date and a time; without an offset it is UTC. A plus that the client did not encode came as a blank.
fn instant(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.trim_start_matches(['T', 't', ' ']).replace(' ', "+");
    if rest.is_empty() {
        return format!("{date}T00:00:00Z").parse().ok();
    }
    let (time, offset) = match rest.find(['Z', 'z', '+', '-']) {
        Some(end) => rest.split_at(end),
        None => (rest.as_str(), "Z"),
    };
    let seconds = if time.matches(':').count() == 1 { ":00" } else { "" };
    format!("{date}T{time}{seconds}{offset}").parse().ok()
}

/// `runtimeStatus` may be given more than once, and each may be a list.
fn statuses(call: &Call) -> Result<Option<Vec<RuntimeStatus>>, String> {
    let values = call.query_all("runtimestatus");
    let mut names =
        values.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|n| !n.is_empty()).peekable();
    if names.peek().is_none() {
        return Ok(None);
    }
    let mut statuses = Vec::new();
    for name in names {
        statuses.extend(status(name)?);
    }
    Ok(Some(statuses))
}

fn status(name: &str) -> Result<Option<RuntimeStatus>, String> {
    let ours = [
        RuntimeStatus::Pending,
        RuntimeStatus::Running,
        RuntimeStatus::Suspended,
        RuntimeStatus::Completed,
        RuntimeStatus::Failed,
        RuntimeStatus::Terminated,
    ];
    // States of the contract that no run of this app is ever in.
    let others = ["ContinuedAsNew", "Canceled", "Unknown"];
    match ours.into_iter().find(|status| status.name().eq_ignore_ascii_case(name)) {
        Some(status) => Ok(Some(status)),
        None if others.iter().any(|other| other.eq_ignore_ascii_case(name)) => Ok(None),
        None => Err(format!("runtimeStatus: `{}` is not a status such as Completed", cut(name))),
    }
}

/// The beginning of a text, for a message.
pub fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(query: &str) -> Call {
        Call::of("GET", &format!("http://app/api/instances?{query}"))
    }

    #[test]
    fn times_are_read_as_clients_send_them() {
        let expected: Timestamp = "2026-05-01T10:20:00Z".parse().unwrap();
        for text in [
            "2026-05-01T10:20:00Z",
            "2026-05-01T10:20:00.000000Z",
            "2026-05-01T10:20",
            "2026-05-01 10:20:00",
            "2026-05-01T10:20:00.0000000",
            "2026-05-01T12:20:00%2B02:00",
            "2026-05-01T12:20:00+02:00",
            "2026-05-01T08:20:00-02:00",
        ] {
            let read = filter(&call(&format!("createdTimeFrom={text}"))).unwrap();
            assert_eq!(read.created_from, Some(expected), "{text}");
        }
        let day = filter(&call("createdTimeTo=2026-05-01")).unwrap();
        assert_eq!(day.created_to, "2026-05-01T00:00:00Z".parse().ok());
        for text in ["yesterday", "2026-13-01", "2026-05-01T25:00:00Z", "äääääääääää"] {
            assert!(filter(&call(&format!("createdTimeTo={text}"))).unwrap_err().contains("createdTimeTo"), "{text}");
        }
    }

    #[test]
    fn states_are_a_list_given_once_or_more() {
        let read = |query: &str| filter(&call(query)).unwrap().statuses;
        assert_eq!(read("runtimeStatus="), None);
        assert_eq!(
            read("runtimeStatus=Failed,completed&runtimeStatus=Pending"),
            Some(vec![RuntimeStatus::Failed, RuntimeStatus::Completed, RuntimeStatus::Pending])
        );
        assert_eq!(read("runtimeStatus=Canceled"), Some(vec![]), "no run is, so none is wanted");
        assert!(filter(&call("runtimeStatus=Done")).unwrap_err().contains("`Done`"));
    }

    #[test]
    fn an_id_prefix_is_compared_in_lower_case() {
        assert_eq!(filter(&call("instanceIdPrefix=AB0")).unwrap().id_prefix, "ab0");
    }
}
