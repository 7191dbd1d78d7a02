//! The query of a list or a purge, as the clients of Durable Functions spell it. What cannot be read is left out of a
//! list, as in the contract (azure-functions-durable-extension `HttpApiHandler`), and refused in a purge: a filter that
//! is left out silently would purge more than was asked for.

use crate::functions::http::Call;
use crate::orchestration::instance::RuntimeStatus;
use crate::orchestration::run::listed::Filter;
use crate::timestamp::Timestamp;

/// What becomes of a value that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// The call is refused.
    Refused,
    /// The call goes on without it.
    LeftOut,
}

impl Unread {
    fn settle<T>(self, value: Result<T, String>) -> Result<Option<T>, String> {
        match (value, self) {
            (Ok(value), _) => Ok(Some(value)),
            (Err(message), Self::Refused) => Err(message),
            (Err(message), Self::LeftOut) => {
                tracing::info!(reason = message, "a part of a query is left out");
                Ok(None)
            }
        }
    }
}

/// Which runs a call is about.
///
/// # Errors
/// The parameter that cannot be read, and an accepted form.
pub fn filter(call: &Call, unread: Unread) -> Result<Filter, String> {
    Ok(Filter {
        created_from: unread.settle(time(call, "createdTimeFrom"))?.flatten(),
        created_to: unread.settle(time(call, "createdTimeTo"))?.flatten(),
        statuses: statuses(call, unread)?,
        id_prefix: call.query("instanceidprefix").unwrap_or_default().to_owned(),
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

/// A date, or a date and a time; without an offset it is UTC. A plus that the client did not encode came as a blank, and
/// `strftime` of C does not fill a year up with zeros: the `datetime.min` of Python is in the year `1`.
fn instant(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_once(['T', 't', ' ']).unwrap_or((text, ""));
    let (year, day) = date.split_once('-').filter(|(year, _)| !year.is_empty())?;
    let date = format!("{year:0>4}-{day}");
    let rest = rest.trim_start().replace(' ', "+");
    if rest.is_empty() {
        return format!("{date}T00:00:00Z").parse().ok();
    }
    let (time, offset) = match rest.find(['Z', 'z', '+', '-']) {
        Some(end) => rest.split_at(end),
        None => (rest.as_str(), "Z"),
    };
    let seconds = if time.matches(':').count() == 1 { ":00" } else { "" };
    format!("{date}T{time}{seconds}{}", offset_of(offset)).parse().ok()
}

/// An offset as RFC 3339 has it: `-0500` and `-05` are `-05:00`.
fn offset_of(text: &str) -> String {
    match (text.len(), text.split_at_checked(3)) {
        (3, _) => format!("{text}:00"),
        (5, Some((hours, minutes))) => format!("{hours}:{minutes}"),
        _ => text.to_owned(),
    }
}

/// `runtimeStatus` may be given more than once, and each may be a list.
fn statuses(call: &Call, unread: Unread) -> Result<Option<Vec<RuntimeStatus>>, String> {
    let values = call.query_all("runtimestatus");
    let names = values.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|n| !n.is_empty());
    let mut wanted = None;
    for name in names {
        if let Some(status) = unread.settle(status(name))? {
            wanted.get_or_insert_with(Vec::new).extend(status);
        }
    }
    Ok(wanted)
}

/// A status by its name or, as .NET takes it too, its number (`OrchestrationRuntimeStatus`). `None`: no run of this app
/// is ever in it.
fn status(name: &str) -> Result<Option<RuntimeStatus>, String> {
    const ALL: [(&str, &str, Option<RuntimeStatus>); 9] = [
        ("-1", "Unknown", None),
        ("0", "Running", Some(RuntimeStatus::Running)),
        ("1", "Completed", Some(RuntimeStatus::Completed)),
        ("2", "ContinuedAsNew", None),
        ("3", "Failed", Some(RuntimeStatus::Failed)),
        ("4", "Canceled", None),
        ("5", "Terminated", Some(RuntimeStatus::Terminated)),
        ("6", "Pending", Some(RuntimeStatus::Pending)),
        ("7", "Suspended", Some(RuntimeStatus::Suspended)),
    ];
    ALL.into_iter()
        .find(|(number, known, _)| *number == name || known.eq_ignore_ascii_case(name))
        .map(|(_, _, status)| status)
        .ok_or_else(|| format!("runtimeStatus: `{}` is not a status such as Completed", cut(name)))
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

    fn filter(call: &Call) -> Result<Filter, String> {
        super::filter(call, Unread::Refused)
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
            "2026-05-01T10:20:00.0000000Z",
            "2026-05-01T10:20:00.0000000+00:00",
            "2026-05-01T10:20:00.0000000%2B00:00",
            "2026-05-01T10%3A20%3A00.0000000%2B00%3A00",
            "2026-05-01T12:20:00.0000000+02:00",
            "2026-05-01T12:20:00%2B02:00",
            "2026-05-01T12:20:00+02:00",
            "2026-05-01T08:20:00-02:00",
            "2026-05-01T08:20:00-0200",
            "2026-05-01T12:20:00.000+02",
            "2026-05-01 12:20 0200",
        ] {
            let read = filter(&call(&format!("createdTimeFrom={text}"))).unwrap();
            assert_eq!(read.created_from, Some(expected), "{text}");
        }
        let day = filter(&call("createdTimeTo=2026-05-01")).unwrap();
        assert_eq!(day.created_to, "2026-05-01T00:00:00Z".parse().ok());
        for text in ["0001-01-01T00:00:00Z", "1-01-01T00:00:00.000000Z", "1-01-01", "0001-01-01T00:00:00+05:00"] {
            let read = filter(&call(&format!("createdTimeFrom={text}"))).unwrap();
            assert_eq!(read.created_from, Some(Timestamp::MIN), "{text}");
        }
        for text in ["yesterday", "2026-13-01", "2026-05-01T25:00:00Z", "äääääääääää", "-01-01", "12026-05-01", "T"]
        {
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
        assert_eq!(read("runtimeStatus=3,1"), read("runtimeStatus=Failed,Completed"));
        assert!(filter(&call("runtimeStatus=Done")).unwrap_err().contains("`Done`"));
    }

    #[test]
    fn what_a_list_cannot_read_is_left_out_and_the_rest_counts() {
        let read = |query: &str| super::filter(&call(query), Unread::LeftOut).unwrap();
        assert_eq!(read("createdTimeFrom=x&createdTimeTo=y&runtimeStatus=Done"), Filter::default());
        assert_eq!(read("runtimeStatus=Done,Failed").statuses, Some(vec![RuntimeStatus::Failed]));
        assert!(read("createdTimeFrom=x&createdTimeTo=2026-05-01").created_to.is_some());
    }
}
