//! What is known of a window's posts besides what a count of its rows shows: that one was refused, that the answer of one was
//! lost, and what the service noted of its failure. None of it is a proof; it says when another post makes sense, and why a
//! window failed. A count comes before every post all the same.

use super::limits::{Limits, WINDOW_ATTEMPTS};
use super::verification::Verdict;
use super::window::Window;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a post to ADX ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Post {
    /// The service has it.
    Taken {
        /// What it calls it, where it gives it a name.
        operation: Option<String>,
    },
    /// Its answer was lost: the service may have it.
    Unknown(String),
    /// The service has not taken it.
    Refused {
        /// Its words.
        reason: String,
        /// Whether it will refuse the next one too, until somebody changes something.
        permanent: bool,
    },
}

/// What the last post of a window may still come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It may land.
    #[default]
    Open,
    /// It was not taken.
    Refused,
    /// It came to nothing, and so will the next one until somebody changes something.
    Hopeless,
    /// An earlier run found it so: this one posts it once, to see whether somebody has.
    HopelessBefore,
}

/// What is known of the posts of a window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What the last one may still come to.
    #[serde(default)]
    pub standing: Standing,
    /// What the last one met that went wrong.
    #[serde(default)]
    pub error: Option<String>,
    /// When the newest of the failures happened that the service has noted and a verdict was made of.
    #[serde(default)]
    pub failed_at: Option<Timestamp>,
    /// What the service calls the last one, where it gives posts a name.
    #[serde(default)]
    pub operation: Option<String>,
}

impl Outcome {
    /// The same after the last post has ended.
    pub fn after(&self, post: &Post) -> Self {
        match post {
            Post::Taken { operation } => Self { operation: operation.clone(), ..self.clone() },
            Post::Unknown(error) => Self { error: Some(error.clone()), operation: None, ..self.clone() },
            Post::Refused { reason, permanent } => Self {
                standing: if *permanent { Standing::Hopeless } else { Standing::Refused },
                error: Some(reason.clone()),
                operation: None,
                ..self.clone()
            },
        }
    }

    /// The same with another post on record that is about to be made.
    pub fn reposted(&self) -> Self {
        let standing = if self.standing == Standing::HopelessBefore { self.standing } else { Standing::Open };
        Self { standing, ..self.clone() }
    }

    /// The same as the next run takes it up. `may_land`: the one post of the run before that followed on a hopeless one may still
    /// be on its way, so that it is waited for like any other.
    pub fn taken_up(&self, may_land: bool) -> Self {
        let standing = match self.standing {
            Standing::Hopeless => Standing::HopelessBefore,
            Standing::HopelessBefore if may_land => Standing::Open,
            other => other,
        };
        Self { standing, ..self.clone() }
    }
}

/// Whether a window of which a count shows nothing is due to be posted again.
pub fn is_due_again(window: &Window, now: Timestamp, limits: &Limits) -> bool {
    let age = now.since(window.last_post.unwrap_or(window.updated));
    let is_left = window.attempts + 1 < WINDOW_ATTEMPTS;
    match window.outcome.standing {
        Standing::Open => is_left && age > limits.resubmit_after,
        Standing::Refused => is_left && age > pause_after_refusal(window.attempts, limits),
        Standing::Hopeless => false,
        Standing::HopelessBefore => window.attempts == 0,
    }
}

/// Whether a window of which a count shows nothing has had the one post of this run that it gets after a hopeless one: what had
/// landed of that by now would be seen, but for a service that is slower than ever.
pub fn is_given_up(window: &Window, now: Timestamp, limits: &Limits) -> bool {
    let age = now.since(window.last_post.unwrap_or(window.updated));
    window.outcome.standing == Standing::HopelessBefore && window.attempts > 0 && age > limits.resubmit_after
}

/// The pause after a post that was not taken: nothing has to be waited for but the service, which each post asks several times.
fn pause_after_refusal(attempts: u32, limits: &Limits) -> Duration {
    let first = limits.resubmit_after / 10;
    (first * 2u32.saturating_pow(attempts.min(6))).min(limits.resubmit_after)
}

/// A failure that the service has noted of an ingestion of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// Whether the next one will fail too, until somebody changes something.
    pub permanent: bool,
    /// What happened, and what to do.
    pub words: String,
}

/// The window and its verdict once the service has been asked for the newest failure of it. `rows` are those that were found of it.
pub fn with_failure(
    window: Window,
    verdict: Verdict,
    failure: Option<&Failure>,
    rows: u64,
    limits: &Limits,
) -> (Window, Verdict) {
    let is_news = |failure: &&Failure| window.outcome.failed_at.is_none_or(|known| failure.at > known);
    let Some(failure) = failure.filter(is_news) else { return (window, verdict) };
    let told = |window: Window, standing| {
        let (error, failed_at) = (Some(failure.words.clone()), Some(failure.at));
        let outcome = Outcome { standing, error, failed_at, ..window.outcome };
        Window { outcome, ..window }
    };
    let of_last_post = window.last_post.is_none_or(|post| failure.at + limits.clock_margin >= post);
    let is_final = rows == 0 && failure.permanent && of_last_post;
    match verdict {
        Verdict::Failed(reason) => {
            let reason = format!("{reason}. ADX says: {}", failure.words);
            let standing = if is_final { Standing::Hopeless } else { window.outcome.standing };
            (told(window, standing), Verdict::Failed(reason))
        }
        Verdict::Repost if is_final => {
            let reason = format!("nothing of window {} has landed. ADX says: {}", window.id, failure.words);
            (told(window, Standing::Hopeless), Verdict::Failed(reason))
        }
        Verdict::Repost => {
            let standing = window.outcome.standing;
            (told(window, standing), Verdict::Repost)
        }
        other => (window, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{later, now, seen};
    use crate::orchestration::window::WindowState;

    fn limits() -> Limits {
        Limits::scaled(1.0)
    }

    fn posted(outcome: Outcome) -> Window {
        Window { last_post: Some(now()), posts: 1, outcome, ..seen(10, WindowState::Submitted).window }
    }

    fn refused(permanent: bool) -> Outcome {
        Outcome::default().after(&Post::Refused { reason: "no".into(), permanent })
    }

    fn failure(seconds: u64, permanent: bool) -> Failure {
        Failure { at: later(seconds), permanent, words: "why".into() }
    }

    fn due(window: &Window, seconds: u64) -> bool {
        is_due_again(window, later(seconds), &limits())
    }

    #[test]
    fn what_may_have_been_taken_is_posted_again_only_when_it_is_old() {
        let unknown = posted(Outcome::default().after(&Post::Unknown("504".into())));
        assert_eq!(unknown.outcome.error.as_deref(), Some("504"));
        assert!(!due(&unknown, 600) && due(&unknown, 601));
        assert!(!due(&Window { attempts: 4, ..unknown }, 601));
        let taken = |operation: Option<&str>| Post::Taken { operation: operation.map(str::to_owned) };
        let named = Outcome::default().after(&taken(Some("op")));
        assert_eq!(named, Outcome { operation: Some("op".into()), ..Outcome::default() });
        assert_eq!(named.after(&taken(None)), Outcome::default(), "a name is of one post");
    }

    #[test]
    fn what_was_refused_in_passing_is_posted_again_sooner_and_sooner_given_up() {
        let first = posted(refused(false));
        assert!(!due(&first, 60) && due(&first, 61));
        assert!(
            !due(&Window { attempts: 2, ..first.clone() }, 240) && due(&Window { attempts: 2, ..first.clone() }, 241)
        );
        assert!(!due(&Window { attempts: 4, ..first.clone() }, 10_000), "within its bounds");
        assert_eq!(first.outcome.reposted().standing, Standing::Open, "the next post may land");
    }

    #[test]
    fn what_is_refused_for_good_is_posted_once_in_the_next_run() {
        let hopeless = posted(refused(true));
        assert!(!due(&hopeless, 10_000));
        let next = Window { outcome: hopeless.outcome.taken_up(false), ..hopeless };
        assert!(due(&next, 1), "that one is over");
        let again = Window { attempts: 1, outcome: next.outcome.reposted(), ..next };
        assert!(!due(&again, 10_000));
        assert_eq!(again.outcome.taken_up(false).standing, Standing::HopelessBefore);
        assert_eq!(again.outcome.taken_up(true).standing, Standing::Open, "that post is not made beside another");
    }

    #[test]
    fn a_permanent_failure_of_the_last_post_ends_a_window_that_would_be_posted_again() {
        let judged = |window: Window, failure: &Failure, rows| {
            with_failure(window, Verdict::Repost, Some(failure), rows, &limits())
        };
        let (window, verdict) = judged(posted(Outcome::default()), &failure(5, true), 0);
        assert!(matches!(&verdict, Verdict::Failed(reason) if reason.ends_with("ADX says: why")), "{verdict:?}");
        assert_eq!((window.outcome.standing, window.outcome.failed_at), (Standing::Hopeless, Some(later(5))));
        let (again, verdict) = judged(window.clone(), &failure(5, true), 0);
        assert_eq!((again, verdict), (window, Verdict::Repost), "it is known");
        let (passing, verdict) = judged(posted(Outcome::default()), &failure(5, false), 0);
        assert_eq!((passing.outcome.error.as_deref(), verdict), (Some("why"), Verdict::Repost));
        let reposted = Window { last_post: Some(later(700)), ..posted(Outcome::default()) };
        assert_eq!(judged(reposted, &failure(5, true), 0).1, Verdict::Repost, "it was of an earlier post");
    }

    #[test]
    fn a_failure_is_told_with_the_failed_window_that_it_is_of() {
        let failed = || Verdict::Failed("missing".into());
        let asked = |rows| with_failure(posted(Outcome::default()), failed(), Some(&failure(5, true)), rows, &limits());
        let (none, verdict) = asked(0);
        assert_eq!(verdict, Verdict::Failed("missing. ADX says: why".into()));
        assert_eq!(none.outcome.standing, Standing::Hopeless);
        assert_eq!(asked(3).0.outcome.standing, Standing::Open, "some of it has landed");
        let (same, verdict) =
            with_failure(posted(Outcome::default()), Verdict::Renew, Some(&failure(5, true)), 0, &limits());
        assert_eq!((same, verdict), (posted(Outcome::default()), Verdict::Renew));
    }
}
