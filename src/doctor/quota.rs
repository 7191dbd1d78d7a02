//! The tenant's hunting calls: what the settings allow beside what the service does, and whether a pause is kept now.

use super::settings::quoted;
use super::{Area, Finding};
use crate::config::Settings;
use crate::defender::Dialect;
use crate::state::State;
use crate::timestamp::Timestamp;

const SETTINGS: &str = "quota.settings";
const NOW: &str = "quota.now";
/// Calls a minute and an hour that the services document (learn.microsoft.com "Advanced hunting API" of Defender for
/// Endpoint; the other two give at least as many a minute, by the size of the tenant).
const MINUTE: u32 = 45;
const HOUR: u32 = 1_500;

/// What the settings allow.
pub(super) fn of_settings(settings: &Settings) -> Finding {
    let quota = settings.limits.quota;
    let hour = quota.per_hour.map(|calls| format!(" and {calls} an hour")).unwrap_or_default();
    let what = format!("{} calls a minute{hour} are allowed by the settings", quota.per_minute);
    let is_mde = Dialect::of(&settings.hunting) == Dialect::Mde;
    let over_the_hour = is_mde && quota.per_hour.is_some_and(|calls| calls > HOUR);
    if quota.per_minute > MINUTE || over_the_hour {
        let documented =
            if is_mde { format!("{MINUTE} a minute and {HOUR} an hour") } else { format!("{MINUTE} a minute") };
        return Finding::warn(
            Area::Quota,
            SETTINGS,
            format!("{what}, and the service documents {documented}: it may answer 429, and then all calls pause"),
            format!(
                "set HUNTING_CALLS_PER_MINUTE={MINUTE} (and HUNTING_CALLS_PER_HOUR={HOUR} for Defender for Endpoint), unless \
                 Microsoft has given this tenant more"
            ),
        );
    }
    Finding::pass(Area::Quota, SETTINGS, what)
}

/// Whether calls can be made now. `budget` is where they are counted, if there is a store yet, or the check because of which that
/// is not known; `calls` were made by this look, and `throttled` is what the service said to it.
pub(super) async fn now(
    budget: Result<Option<&State>, &str>,
    at: Timestamp,
    calls: u32,
    throttled: Option<&str>,
) -> Finding {
    let made = format!("{calls} hunting call{} made by this check", if calls == 1 { "" } else { "s" });
    if let Some(said) = throttled {
        let remedy =
            "wait, and see who else of the tenant hunts: HUNTING_QUOTA_SHARE leaves a part of the calls to others";
        return Finding::warn(
            Area::Quota,
            NOW,
            format!("the service throttles this tenant now ({said}); {made}"),
            remedy,
        );
    }
    let state = match budget {
        Ok(state) => state,
        Err(cause) => return Finding::skip(Area::Quota, NOW, &format!("{cause}; {made}")),
    };
    let Some(state) = state else {
        return Finding::pass(Area::Quota, NOW, format!("{made}, not counted in a budget: there is no state yet"));
    };
    match tokio::time::timeout(super::STEP, state.calls()).await {
        Ok(Ok(known)) if known.paused_until > at => Finding::warn(
            Area::Quota,
            NOW,
            format!("no call is sent until {}: the service asked for a pause (429); {made}", known.paused_until),
            "wait until then: runs go on by themselves. HUNTING_QUOTA_SHARE leaves a part of the calls to others of the tenant",
        ),
        Ok(Ok(known)) => {
            let last = match known.paused_until == Timestamp::MIN {
                true => "no pause on record".to_owned(),
                false => format!("the last pause (429) ended at {}", known.paused_until),
            };
            Finding::pass(Area::Quota, NOW, format!("{last}; {made}"))
        }
        Ok(Err(error)) => {
            let remedy = format!("see {}", quoted(super::state_store::STORE));
            Finding::warn(Area::Quota, NOW, format!("the tenant's budget cannot be read: {error}; {made}"), remedy)
        }
        Err(_) => Finding::warn(Area::Quota, NOW, format!("the tenant's budget could not be read in time; {made}"), ""),
    }
}
