//! The event *restart* with its own id: a run that is over begins anew with the same input. Before it does, it lets go of
//! the tables that its former life still holds, as if another run had taken them; so nothing of that life is mistaken
//! for this one's.
//!
//! Order of the writes: the place, the heads, the run, the start message. Until the run is swapped it is over, and its
//! place is free again some time later.

use super::listed::Listed;
use super::place::Active;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::{Instance, StartInput};
use crate::orchestration::ledger::{Head, TableState};
use crate::timestamp::Timestamp;
use serde_json::Value;
use std::time::Duration;

/// A run that is to begin again under its own id.
#[derive(Debug, Clone, PartialEq)]
pub struct Again {
    /// The run as it begins.
    pub run: Instance,
    /// The place that it takes, unless another run is active.
    pub place: Active,
    /// Its entry in the list, where it needs a new one.
    pub listed: Option<Listed>,
}

impl Again {
    pub(super) fn new(old: &Instance, run: Instance, now: Timestamp) -> Self {
        let run = Instance { lives: old.lives + 1, holds: old.holds + 1, ..run };
        let place = Active { instance: run.id.clone(), since: now, life: run.lives };
        let listed = (run.created != old.created).then(|| Listed::of(&run));
        Self { run, place, listed }
    }
}

/// The run as it begins anew; `None` while it goes on.
pub fn request(run: &Instance, now: Timestamp) -> Option<Again> {
    replace(run, run.input.clone(), run.raw_input.clone(), now)
}

/// The run as it begins anew with another input, for a start under an id that was used before; `None` while it goes on.
pub fn replace(run: &Instance, input: StartInput, raw_input: Value, now: Timestamp) -> Option<Again> {
    // A new life has a new time of birth, or its entry in the list would be the old one's.
    let born = now.max(run.created + Duration::from_nanos(100));
    let fresh = Instance::pending(run.id.clone(), input, raw_input, born);
    run.status.is_final().then(|| Again::new(run, fresh, now))
}

/// The head once the lives of `id` before `life`, which are over, let go of it; `None` when they do not hold it. What is
/// left in it is for the next plan to take up. Whoever asks has read the run before: that it is as it was is told by a swap
/// that comes after this, so a life that began meanwhile keeps what it has taken.
pub fn let_go(head: &Head, id: &InstanceId, life: u32, now: Timestamp) -> Option<Head> {
    (head.run.as_ref() == Some(id) && head.life < life).then(|| Head {
        run: None,
        state: TableState::Idle,
        stop: false,
        draft: None,
        ended: None,
        verify: None,
        verify_number: head.verify_number + 1,
        plan_due: None,
        updated: now,
        ..head.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::head::testing::{head, id, later, now};
    use crate::orchestration::instance::RuntimeStatus;
    use serde_json::json;

    fn terminated() -> Instance {
        let input = StartInput { tables: Some(vec!["A".into()]), ..StartInput::default() };
        let run = Instance::pending(id(1), input, json!({"tables": ["A"]}), now());
        Instance { tables_total: 3, tables_done: 1, ..run }.terminated("enough", later(5)).unwrap()
    }

    #[test]
    fn a_run_that_is_over_begins_anew_with_its_input_and_nothing_else() {
        let again = request(&terminated(), later(9)).unwrap();
        assert_eq!((again.run.status, again.run.tables_total, again.run.reason), (RuntimeStatus::Pending, 0, None));
        assert_eq!((again.run.input, again.run.created), (terminated().input, later(9)));
        assert_eq!(again.listed.unwrap().created, later(9));
        assert_eq!(request(&Instance { status: RuntimeStatus::Suspended, ..terminated() }, later(9)), None);
    }

    #[test]
    fn a_start_under_an_id_that_was_used_before_brings_its_own_input() {
        let other = StartInput { force: true, ..StartInput::default() };
        let again = replace(&terminated(), other.clone(), json!({"force": true}), later(9)).unwrap();
        assert_eq!((again.run.input, again.run.raw_input), (other, json!({"force": true})));
        let goes_on = Instance { status: RuntimeStatus::Pending, ..terminated() };
        assert_eq!(replace(&goes_on, StartInput::default(), json!({}), later(9)), None);
    }

    #[test]
    fn its_place_is_of_its_new_life_and_its_birth_always_later_than_the_last_one() {
        let again = request(&terminated(), now()).unwrap();
        assert_eq!((again.place.life, again.run.lives), (terminated().lives + 1, terminated().lives + 1));
        assert!(again.run.created > terminated().created);
    }

    #[test]
    fn messages_of_its_former_life_find_neither_its_number_nor_its_tables() {
        let again = request(&terminated(), later(9)).unwrap().run;
        assert!(again.holds > terminated().holds && again.lives > terminated().lives);
        let held = Head { stop: true, verify_number: 4, ..head(TableState::Running) };
        let free = let_go(&held, &id(1), again.lives, later(1)).unwrap();
        assert_eq!((free.run.clone(), free.state, free.stop), (None, TableState::Idle, false));
        assert!(free.verify_number > held.verify_number);
        assert_eq!(let_go(&held, &id(2), again.lives, later(1)), None);
    }

    #[test]
    fn a_restart_that_comes_late_leaves_the_tables_of_the_new_life_alone() {
        let (first, second) = (request(&terminated(), later(9)).unwrap(), request(&terminated(), later(9)).unwrap());
        let taken = Head { life: first.run.lives, ..head(TableState::Planning) };
        assert_eq!(let_go(&taken, &id(1), second.run.lives, later(10)), None);
    }
}
