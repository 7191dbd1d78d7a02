//! A sealed window whose blob is gone. It cannot be posted again; and as long as one of its posts may still land,
//! its rows must not be pulled again either, or they would be there twice.
//!
//! What the service reports of a post (`adx/ingestion`) explains, and proves nothing. What can be known: a
//! post is over when its message has outlived the queue, and an ingestion that has read the blob before it went does
//! not outlive the longest command. Only after both, and with a count made after both that shows nothing, is
//! the window planned again, as another generation: under another id, tag and blob. Until then it fails, and says when.
//!
//! The other way to another generation: rows of the window had landed, and a person has removed them as a failure of it asked, or
//! the app where it may (`repair`).
//! Their tag stays, so a post of the old generation brings nothing (docs/decisions/0005-removed-rows-are-pulled-again.md).

use super::IllegalTransition;
use super::difference::Difference;
use super::limits::Limits;
use super::verification::Verdict;
use super::window::{Window, WindowState};
use crate::timestamp::Timestamp;

/// Whether the content of a sealed window can be posted again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blob {
    /// It is where the seal says.
    There,
    /// Storage says that there is none, or another content.
    Gone,
    /// Storage did not say. Posting it again does no harm.
    Unknown(String),
}

/// From when on no post of a window whose blob is gone can land; `None` while the blob is not known to be gone.
pub fn final_at(window: &Window, limits: &Limits) -> Option<Timestamp> {
    let last_post = window.last_post.unwrap_or(window.updated);
    Some((last_post + limits.post_lifetime).max(window.gone_since? + limits.ingestion_longest))
}

/// What becomes of a window that is due to be posted again. `counted_at` is an instant before the count that found
/// nothing of it. Gives the window with what is known of its blob now, and the verdict.
pub fn before_repost(window: &Window, blob: &Blob, counted_at: Timestamp, limits: &Limits) -> (Window, Verdict) {
    match blob {
        Blob::There => (Window { gone_since: None, ..window.clone() }, Verdict::Repost),
        Blob::Unknown(_) => (window.clone(), Verdict::Repost),
        Blob::Gone => {
            let window = Window { gone_since: Some(window.gone_since.unwrap_or(counted_at)), ..window.clone() };
            let verdict = match final_at(&window, limits) {
                _ if mutated!(NewGenerationTooEarly) => Verdict::Renew,
                Some(at) if counted_at > at + limits.clock_margin => Verdict::Renew,
                at => Verdict::Failed(format!(
                    "the blob of window {} is gone or holds another content, and until {} rows of its {} posts may still land: it is neither posted nor pulled \
                     again before that. The first run after it pulls the window again",
                    window.id,
                    at.unwrap_or(counted_at) + limits.clock_margin,
                    window.posts
                )),
            };
            (window, verdict)
        }
    }
}

/// The window as its next generation, to be pulled again.
///
/// # Errors
/// [`IllegalTransition`] unless the window is submitted, its blob is known to be gone or its rows had landed, and a generation
/// is left.
pub fn renewed(window: &Window, now: Timestamp) -> Result<Window, IllegalTransition> {
    window.expect(WindowState::Submitted, "be pulled again")?;
    let refused = |state: &str| IllegalTransition {
        what: format!("window {}", window.id),
        event: "be pulled again",
        state: state.to_owned(),
    };
    if window.gone_since.is_none() && window.landed_rows == 0 {
        return Err(refused("sealed in a blob that is not known to be gone, and nothing of it had landed"));
    }
    let generation = window.id.generation.checked_add(1).ok_or_else(|| refused("in its last generation"))?;
    let id = super::ids::WindowId { generation, ..window.id };
    // Rows that came later may have been copied by a repair meanwhile.
    let difference =
        Difference { compared: None, ..window.difference.clone().unwrap_or(Difference::of(window.planned_rows)) };
    Ok(Window {
        difference: Some(difference),
        failures: window.failures,
        run: window.run.clone(),
        tenure: window.tenure,
        calls: window.calls,
        parting: window.parting,
        removal: window.removal.clone(),
        ..Window::planned(id, &window.plan, window.handover, window.planned_rows, now)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{later, now, seen};
    use std::time::Duration;

    fn limits() -> Limits {
        Limits::scaled(1.0)
    }

    fn submitted() -> Window {
        seen(10, WindowState::Submitted).window
    }

    fn week() -> Duration {
        Duration::from_secs(7 * 86_400 + 61)
    }

    #[test]
    fn a_window_whose_blob_is_there_is_posted_again() {
        assert_eq!(before_repost(&submitted(), &Blob::There, later(700), &limits()).1, Verdict::Repost);
    }

    #[test]
    fn a_blob_of_which_storage_says_nothing_is_not_taken_for_gone() {
        let unknown = Blob::Unknown("503".into());
        let known = Window { gone_since: Some(now()), ..submitted() };
        assert_eq!(before_repost(&known, &unknown, now() + week() * 2, &limits()).1, Verdict::Repost);
    }

    #[test]
    fn a_window_without_a_blob_is_not_pulled_again_while_a_post_may_still_land() {
        let (known, verdict) = before_repost(&submitted(), &Blob::Gone, later(700), &limits());
        assert_eq!(known.gone_since, Some(later(700)));
        let Verdict::Failed(reason) = verdict else { panic!("{verdict:?}") };
        assert!(reason.contains("2026-05-08T00:01:00"), "{reason}");
        assert_eq!((known.posts, known.last_post), (1, Some(now())), "nothing is posted");
    }

    #[test]
    fn once_no_post_can_land_any_more_it_is_planned_again_as_another_generation() {
        let (known, _) = before_repost(&submitted(), &Blob::Gone, later(700), &limits());
        let (known, verdict) = before_repost(&known, &Blob::Gone, now() + week(), &limits());
        assert_eq!(verdict, Verdict::Renew);
        let renewed = renewed(&known, later(9)).unwrap();
        assert_eq!((renewed.state, renewed.id.generation), (WindowState::Planned, 1));
        assert_eq!(renewed.difference, Some(Difference::of(3)), "a repair may have brought some of its rows");
        assert_eq!((renewed.seal, renewed.posts, renewed.last_post), (None, 0, None));
        assert_ne!(renewed.id.to_string(), known.id.to_string());
    }

    #[test]
    fn an_ingestion_that_read_the_blob_just_before_it_went_is_waited_for() {
        let late = now() + week() * 2;
        let (known, verdict) = before_repost(&submitted(), &Blob::Gone, late, &limits());
        assert!(matches!(verdict, Verdict::Failed(_)));
        let next = late + Duration::from_secs(3661);
        assert_eq!(before_repost(&known, &Blob::Gone, next, &limits()).1, Verdict::Renew);
    }

    #[test]
    fn nothing_but_a_submitted_window_without_a_blob_is_renewed() {
        assert!(renewed(&submitted(), now()).is_err());
        let sealed = Window { gone_since: Some(now()), ..seen(10, WindowState::Sealed).window };
        assert!(renewed(&sealed, now()).is_err());
        let mut last = Window { gone_since: Some(now()), ..submitted() };
        last.id.generation = u16::MAX;
        assert!(renewed(&last, now()).is_err());
    }
}
