//! Which ends that a holder tells of are those of workers, when a template in the room forks them: pure bookkeeping.
//!
//! A fork shows itself on its birth socket, its end on the room's, and nothing orders the two: one that dies at once may be
//! dead before the host has read of its birth. So while a fork is ordered, an end of somebody unknown is kept.

use std::collections::{BTreeMap, BTreeSet};

use super::Ended;

/// The workers of one room that are not the host's children.
#[derive(Debug, Default)]
pub struct Wards {
    known: BTreeSet<u32>,
    /// Forks that were ordered and have not shown themselves.
    expected: usize,
    early: BTreeMap<u32, Ended>,
}

/// Whose end it was. All but what is kept must be reaped now ([`super::RoomSocket::reap`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A worker's.
    Ward,
    /// Nobody's: something that the application started and left.
    Orphan,
    /// Not known before what is expected has shown itself. It is kept.
    Unknown,
}

impl Wards {
    /// A fork is about to be ordered. [`Wards::born`] or [`Wards::not_born`] must follow.
    pub fn expect(&mut self) {
        self.expected += 1;
    }

    /// A fork has shown itself. If it has ended already, that is returned, to be treated as a [`Whose::Ward`]'s; and with it
    /// those whose ends were kept and who turn out to be orphans, to be reaped.
    #[must_use]
    pub fn born(&mut self, pid: u32) -> (Option<Ended>, Vec<Ended>) {
        let ended = self.early.remove(&pid);
        if ended.is_none() {
            self.known.insert(pid);
        }
        (ended, self.not_born())
    }

    /// A fork will not show itself any more. Returns those whose ends were kept and who turn out to be orphans.
    #[must_use]
    pub fn not_born(&mut self) -> Vec<Ended> {
        self.expected = self.expected.saturating_sub(1);
        if self.expected > 0 {
            return Vec::new();
        }
        std::mem::take(&mut self.early).into_values().collect()
    }

    /// Somebody has ended.
    pub fn ended(&mut self, ended: Ended) -> Whose {
        if self.known.remove(&ended.pid) {
            Whose::Ward
        } else if self.expected > 0 {
            self.early.insert(ended.pid, ended);
            Whose::Unknown
        } else {
            Whose::Orphan
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(pid: u32) -> Ended {
        Ended { pid, inside: pid, code: Some(0), signal: None }
    }

    #[test]
    fn a_worker_is_known_from_its_birth_to_its_end() {
        let mut wards = Wards::default();
        wards.expect();
        assert_eq!(wards.born(7), (None, vec![]));
        assert_eq!(wards.ended(end(8)), Whose::Orphan);
        assert_eq!(wards.ended(end(7)), Whose::Ward);
        assert_eq!(wards.ended(end(7)), Whose::Orphan, "the number may be used again");
    }

    #[test]
    fn an_end_before_the_birth_is_kept() {
        let mut wards = Wards::default();
        wards.expect();
        wards.expect();
        assert_eq!(wards.ended(end(7)), Whose::Unknown);
        assert_eq!(wards.ended(end(8)), Whose::Unknown);
        assert_eq!(wards.born(7), (Some(end(7)), vec![]), "8 may still be the other one");
        assert_eq!(wards.not_born(), vec![end(8)]);
        assert_eq!(wards.ended(end(7)), Whose::Orphan);
    }
}
