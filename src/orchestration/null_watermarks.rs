//! When the source is asked how many rows of windows have a null watermark. One call counts them for many windows, so windows that
//! landed wait for others that may have to ask as well.

use super::ids::Part;
use super::ledger::Head;
use super::limits::{ASKED_AT_ONCE, Limits};
use super::verification::waited;
use super::window::{Window, WindowState};
use crate::timestamp::Timestamp;

/// A window that landed, and waits for what the source says.
#[derive(Debug, Clone, Copy)]
pub struct Waiting<'a> {
    /// It.
    pub window: &'a Window,
    /// Its rows that landed with a null watermark.
    pub landed: u64,
}

/// How many windows of this run are still on their way to a count. Repairs are not among them: they may wait for windows to be proved.
pub fn to_come<'a>(head: &Head, windows: impl IntoIterator<Item = &'a Window>) -> usize {
    let comes = |window: &&Window| match window.state {
        WindowState::Planned => !head.stop && !window.id.is_repair(),
        WindowState::Claimed | WindowState::Sealed => !window.id.is_repair(),
        _ => false,
    };
    windows.into_iter().filter(comes).count()
}

/// Whether the source is asked about the windows that wait for it, or later about more of them: not before all others have come, as
/// many wait as are asked for in one call, or one has waited for half of the time that it has. As long as no window of the destination
/// is proved few are handed out, and none waits for another.
pub fn is_asked(head: &Head, waiting: &[Waiting<'_>], to_come: usize, now: Timestamp, limits: &Limits) -> bool {
    let longest = waiting.iter().map(|waiting| waited(waiting.window, now)).max();
    longest.is_some_and(|longest| {
        to_come == 0
            || waiting.len() >= ASKED_AT_ONCE
            || head.counts.verified == 0
            || longest >= limits.verify_deadline / 2
    })
}

/// Whether a call may count other windows with this one: ranges of the cut axis can be told apart in one query.
pub fn is_a_range(window: &Window) -> bool {
    !window.id.is_null_axis() && window.asked_part() == Part::WHOLE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{due, later, now, seen};
    use std::time::Duration;

    fn limits() -> Limits {
        Limits { verify_deadline: Duration::from_secs(1_800), ..Limits::scaled(1.0) }
    }

    fn window() -> Window {
        Window { counting_since: Some(now()), ..seen(10, WindowState::Submitted).window }
    }

    fn asks(head: &Head, windows: usize, to_come: usize, seconds: u64) -> bool {
        let window = window();
        let waiting = vec![Waiting { window: &window, landed: 1 }; windows];
        is_asked(head, &waiting, to_come, later(seconds), &limits())
    }

    fn proved() -> Head {
        let mut head = due(4);
        head.counts.verified = 1;
        head
    }

    #[test]
    fn the_source_is_asked_once_nothing_else_is_to_come() {
        assert!(asks(&proved(), 1, 0, 1) && !asks(&proved(), 1, 1, 1));
        assert!(!asks(&proved(), 0, 0, 1), "no window waits");
        assert!(asks(&due(4), 1, 1, 1), "nothing more is handed out before one is proved");
    }

    #[test]
    fn the_source_is_asked_when_as_many_wait_as_one_call_counts() {
        assert!(asks(&proved(), ASKED_AT_ONCE, 1, 1) && !asks(&proved(), ASKED_AT_ONCE - 1, 1, 1));
    }

    #[test]
    fn a_window_waits_no_longer_for_others_than_half_of_its_time() {
        assert!(asks(&proved(), 1, 1, 900) && !asks(&proved(), 1, 1, 899));
    }

    #[test]
    fn what_may_wait_for_these_windows_is_not_waited_for() {
        let window = |state| seen(10, state).window;
        let states = [WindowState::Planned, WindowState::Claimed, WindowState::Sealed];
        let of = |head: &Head, change: fn(&mut Window)| {
            let mut windows = states.map(window);
            windows.iter_mut().for_each(change);
            to_come(head, &windows)
        };
        assert_eq!(of(&proved(), |_| {}), 3);
        assert_eq!(of(&proved(), |window| window.id.repair = 1), 0);
        assert_eq!(of(&Head { stop: true, ..proved() }, |_| {}), 2, "a run that stops hands out none");
        assert_eq!(to_come(&proved(), &[window(WindowState::Submitted), window(WindowState::Failed)]), 0);
    }
}
