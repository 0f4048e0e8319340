//! Which state of a worker follows which: one pure function.
//!
//! It says nothing about why or when; the test compares all of it with the table in the crate's documentation.

use crate::worker::WorkerState;

/// What can move a worker from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    Spawned,
    SpawnFailed,
    Ready,
    BootFailed,
    Retire,
    Hung,
    Misbehaved,
    Drain,
    Drained,
    Kill,
    Exited,
}

impl WorkerState {
    /// The state after `input`, or `None` when the input means nothing in this state and is to be ignored.
    pub(crate) fn after(self, input: Input) -> Option<Self> {
        use WorkerState::{Booting, Draining, Dying, Finishing, Gone, Ready, Retiring, Spawning};
        match (self, input) {
            (Gone, _) => None,
            (_, Input::Exited) => Some(Gone),
            (Dying, Input::Kill) => None,
            (_, Input::Kill) => Some(Dying),

            (Spawning, Input::Spawned) => Some(Booting),
            (Dying, Input::Spawned) => Some(Dying),
            (Spawning | Dying, Input::SpawnFailed) => Some(Gone),

            (Booting, Input::Ready) => Some(Ready),
            (Booting, Input::BootFailed) => Some(Dying),
            (Ready, Input::Retire) => Some(Retiring),
            (Ready | Retiring | Draining, Input::Hung) => Some(Draining),
            (Ready | Retiring, Input::Drain) => Some(Draining),
            (Draining, Input::Drained) => Some(Finishing),
            (Booting | Ready | Retiring | Draining | Finishing, Input::Misbehaved) => Some(Dying),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUTS: [(&str, Input); 11] = [
        ("spawned", Input::Spawned),
        ("spawn-failed", Input::SpawnFailed),
        ("ready", Input::Ready),
        ("boot-failed", Input::BootFailed),
        ("retire", Input::Retire),
        ("hung", Input::Hung),
        ("misbehaved", Input::Misbehaved),
        ("drain", Input::Drain),
        ("drained", Input::Drained),
        ("kill", Input::Kill),
        ("exited", Input::Exited),
    ];
    const STATES: [WorkerState; 7] = [
        WorkerState::Spawning,
        WorkerState::Booting,
        WorkerState::Ready,
        WorkerState::Retiring,
        WorkerState::Draining,
        WorkerState::Finishing,
        WorkerState::Dying,
    ];

    /// The rows of the table in `lib.rs`, header first, without the ruler.
    fn documented_table() -> Vec<Vec<&'static str>> {
        include_str!("lib.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | "))
            .map(|line| line.trim_end_matches('|').split('|').map(str::trim).collect())
            .collect()
    }

    #[test]
    fn every_transition_is_as_documented() {
        let table = documented_table();
        let header: Vec<&str> = INPUTS.iter().map(|(name, _)| *name).collect();
        assert_eq!(table[0][1..], header[..], "columns");
        assert_eq!(table.len(), STATES.len() + 1, "rows");
        for (state, row) in STATES.iter().zip(&table[1..]) {
            assert_eq!(row[0], format!("{state:?}"));
            for ((name, input), expected) in INPUTS.iter().zip(&row[1..]) {
                let actual = state.after(*input).map_or_else(|| ".".to_owned(), |next| format!("{next:?}"));
                assert_eq!(&actual, expected, "{state:?} on {name}");
            }
        }
    }

    #[test]
    fn the_end_is_final() {
        for (name, input) in INPUTS {
            assert_eq!(WorkerState::Gone.after(input), None, "{name}");
        }
    }
}
