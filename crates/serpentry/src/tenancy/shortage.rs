//! Whether a process was killed for want of memory, and whose limit it was: from the counters of control groups. Pure.
//!
//! The kernel counts every process of a group that its out-of-memory killer ends, and for each limit how often it was met
//! (v2: `memory.events`, `oom_kill` and `max`; v1: `memory.oom_control`, and the highest usage since it was last forgotten,
//! `memory.max_usage_in_bytes`, because `memory.failcnt` does not move in every kernel). A SIGKILL that no counter answers for
//! has another cause, or an unknown one.

use jail::cgroup::MemoryUsage;

/// Part of a limit below which usage stays when the limit is met: charges come in batches of up to 64 pages and more.
const NEAR: u64 = 64;

/// For how many looks the end of a killed worker is waited for: a large one takes long.
const PATIENCE: u8 = 10;

/// What proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// Bytes of the limit that was met.
    pub(crate) limit: u64,
    /// Most that was used at a time below that limit.
    pub(crate) used: u64,
    pub(crate) whose: Whose,
}

/// Whose limit it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whose {
    Own,
    /// Of all shared applications together. The most that the application used itself, and who uses more than that now;
    /// nobody: it has filled the pool itself.
    Pool {
        own: u64,
        culprit: Option<(String, u64)>,
    },
}

/// What was seen of one group's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Kills that somebody was told about.
    claimed: u64,
    /// How often the limit had been met when nothing was wrong.
    hits: u64,
    /// The peak is that of the last seconds.
    fresh_peak: bool,
    /// For how many looks there has been a kill that nobody was told about.
    unclaimed: u8,
}

impl Seen {
    pub(super) fn new(memory: &MemoryUsage) -> Self {
        Seen { claimed: memory.oom_kills, hits: memory.limit_hits, ..Seen::default() }
    }

    /// If nothing is wrong now: reclaim alone meets limits too. `forget` forgets the peak, if the kernel can. False: there was
    /// a kill that nobody was told about.
    pub(super) fn settle(&mut self, memory: &MemoryUsage, forget: impl FnOnce() -> bool) -> bool {
        if memory.oom_kills > self.claimed {
            self.unclaimed += 1;
            if self.unclaimed >= PATIENCE {
                // It was no worker, but a process that one had started.
                self.claimed = memory.oom_kills;
            }
        }
        let calm = memory.oom_kills <= self.claimed;
        if calm {
            self.unclaimed = 0;
            self.hits = memory.limit_hits;
            self.fresh_peak = forget();
        }
        calm
    }

    /// A process of the group was ended by SIGKILL: whether the kernel did that for want of memory. Each kill is claimed
    /// once.
    pub(super) fn claim(&mut self, memory: &MemoryUsage) -> bool {
        let killed = memory.oom_kills > self.claimed;
        self.claimed += u64::from(killed);
        killed
    }

    /// The limit was met since nothing was wrong.
    pub(super) fn is_met(self, memory: &MemoryUsage) -> bool {
        let Some(limit) = memory.limit else { return false };
        // A charge that would pass the limit fails as a whole, so usage stays a little below.
        let nearly = limit - limit / NEAR;
        memory.limit_hits > self.hits || self.fresh_peak && memory.peak.is_some_and(|peak| peak >= nearly)
    }
}

/// Name the limit that a claimed kill was for: the group's own, else the pool's. `None`: the whole machine had no memory, or
/// the counters do not tell.
pub(super) fn blame(
    own: (&MemoryUsage, Seen),
    pool: Option<(&MemoryUsage, Seen)>,
    culprit: Option<(String, u64)>,
) -> Option<Shortage> {
    let found = |memory: &MemoryUsage, whose| {
        let limit = memory.limit?;
        Some(Shortage { limit, used: memory.peak.unwrap_or(limit).min(limit), whose })
    };
    let (memory, seen) = own;
    if seen.is_met(memory) {
        return found(memory, Whose::Own);
    }
    let (pool, seen) = pool?;
    if !seen.is_met(pool) {
        return None;
    }
    // What it used when it was killed; by now that is given back.
    let own = memory.peak.unwrap_or(0).max(memory.current);
    found(pool, Whose::Pool { own, culprit: culprit.filter(|(_, bytes)| *bytes > own) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(kills: u64, hits: u64, limit: Option<u64>) -> MemoryUsage {
        MemoryUsage { current: 40, peak: Some(100), limit, oom_kills: kills, limit_hits: hits }
    }

    #[test]
    fn each_kill_is_claimed_once() {
        let mut seen = Seen::new(&memory(3, 0, Some(100)));
        assert!(!seen.claim(&memory(3, 9, Some(100))), "a limit that was met killed nobody");
        let after = memory(5, 9, Some(100));
        assert!(seen.claim(&after));
        assert!(seen.claim(&after));
        assert!(!seen.claim(&after), "the third SIGKILL was somebody else's");
    }

    #[test]
    fn the_limit_that_was_met_is_named() {
        let own = Seen::new(&memory(0, 5, Some(100)));
        let met = memory(1, 6, Some(100));
        let shortage = blame((&met, own), None, None).unwrap();
        assert_eq!((shortage.limit, shortage.used, shortage.whose), (100, 100, Whose::Own));
        // Its own limit was not met, that of the pool was.
        let unmet = memory(1, 5, Some(100));
        let pool = (Seen::new(&memory(0, 1, Some(900))), memory(1, 2, Some(900)));
        let culprit = Some(("hog".to_owned(), 800));
        let shortage = blame((&unmet, own), Some((&pool.1, pool.0)), culprit.clone()).unwrap();
        assert_eq!((shortage.limit, shortage.whose), (900, Whose::Pool { own: 100, culprit }));
        // Whoever uses less than the one that was killed has not filled the pool.
        let other = Some(("other".to_owned(), 90));
        let shortage = blame((&unmet, own), Some((&pool.1, pool.0)), other).unwrap();
        assert_eq!(shortage.whose, Whose::Pool { own: 100, culprit: None });
        // Neither: never guess.
        assert_eq!(blame((&unmet, own), Some((&pool.1, Seen::new(&pool.1))), None), None);
        assert_eq!(blame((&memory(1, 6, None), own), None, None), None);
    }

    #[test]
    fn where_hits_are_not_counted_a_fresh_peak_tells() {
        let mut seen = Seen::new(&memory(0, 0, Some(100)));
        let met = memory(1, 0, Some(100));
        assert!(!seen.is_met(&met), "that peak may be old");
        seen.settle(&memory(0, 0, Some(100)), || true);
        assert!(seen.is_met(&met));
        assert!(!seen.is_met(&MemoryUsage { peak: Some(90), ..met }));
    }

    #[test]
    fn what_reclaim_meets_is_no_evidence_later() {
        let mut seen = Seen::new(&memory(0, 5, Some(100)));
        let quiet = memory(0, 50, Some(100));
        seen.settle(&quiet, || false);
        assert!(!seen.is_met(&quiet));
        // While a kill is unclaimed, the hits that led to it are kept.
        let killed = memory(1, 60, Some(100));
        assert!(!seen.settle(&killed, || false));
        assert!(seen.is_met(&killed) && seen.claim(&killed));
        assert!(seen.settle(&killed, || false));
    }

    #[test]
    fn a_kill_that_nobody_is_told_about_was_no_worker() {
        let killed = memory(1, 60, Some(100));
        let mut seen = Seen::new(&memory(0, 0, Some(100)));
        for _ in 1..PATIENCE {
            assert!(!seen.settle(&killed, || false));
        }
        assert!(seen.settle(&killed, || false));
        assert!(!seen.claim(&killed), "a SIGKILL long after it has another cause");
    }
}
