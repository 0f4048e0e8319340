//! Who holds what of the machine: an isolated application is admitted only if its share is free.
//!
//! Pure: what the machine has is told once, and every claim is answered by sums alone. What the shared applications use is
//! not counted: they have what the isolated ones leave, but never nothing.

use std::collections::BTreeMap;
use std::fmt;

/// Cores that can never be pinned: the shared applications, the host and the rest of the machine live there.
const LEAST_CORES: usize = 1;

/// Cores that fractions of isolated applications leave to the others on the cores that are not pinned.
const LEAST_FRACTION: f64 = 0.1;

/// Share of the machine's memory that no isolated application gets, and its least: for the kernel, the host and the pool.
const MEMORY_SHARE: u64 = 10;
const LEAST_MEMORY: u64 = 192 << 20;

/// What there is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Processors that this host may use, ascending.
    pub(crate) cores: Vec<u32>,
    /// Bytes.
    pub(crate) memory: u64,
}

impl Machine {
    /// Memory that isolated applications can hold together.
    fn holdable(&self) -> u64 {
        self.memory.saturating_sub((self.memory / MEMORY_SHARE).max(LEAST_MEMORY))
    }
}

/// What an isolated application asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wish {
    /// Whole numbers are cores of its own, fractions are a quota on the cores that are nobody's own.
    pub(crate) cores: Option<f64>,
    pub(crate) memory: Option<u64>,
}

impl Wish {
    fn whole(&self) -> usize {
        self.cores.filter(|cores| cores.fract() == 0.0).map_or(0, |cores| cores as usize)
    }

    fn fraction(&self) -> f64 {
        self.cores.filter(|cores| cores.fract() != 0.0).unwrap_or(0.0)
    }
}

/// What an application holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Share {
    /// Cores of its own; empty if it has none.
    pub(crate) cores: Vec<u32>,
    wish: Wish,
}

/// Why an application is not admitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) struct Refusal {
    what: What,
    /// Whole cores or bytes of each, the largest first.
    holders: Vec<(String, f64)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    Cores { asked: f64, free: f64, there: usize },
    Memory { asked: u64, free: u64 },
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Cores { asked, free, there } => {
                write!(
                    to,
                    "not admitted: it asks for {asked} of its own of {there} cores, {} free",
                    are(free, "core")
                )?;
                self.holders(to, |held| are_held(held, "core"))?;
                write!(to, "; one core is always left to the shared applications and the host; ")?;
                if free >= 1.0 {
                    write!(to, "set limits.cpu to {free} or less, or tenancy = \"shared\"")
                } else {
                    write!(
                        to,
                        "set limits.cpu to a fraction such as 0.5 (a quota), or tenancy = \"shared\", or stop another application"
                    )
                }
            }
            What::Memory { asked, free } => {
                write!(to, "not admitted: it asks for {} of memory, {} is free", mib(asked), mib(free))?;
                self.holders(to, |held| mib(held as u64))?;
                write!(to, "; set limits.memory to {} or less, or tenancy = \"shared\"", mib(free))
            }
        }
    }
}

impl Refusal {
    /// The key of the configuration that asks for too much.
    pub(crate) fn key(&self) -> &'static str {
        match self.what {
            What::Cores { .. } => "limits.cpu",
            What::Memory { .. } => "limits.memory",
        }
    }

    fn holders(&self, to: &mut fmt::Formatter<'_>, amount: impl Fn(f64) -> String) -> fmt::Result {
        /// More than that are no help.
        const SHOWN: usize = 5;
        if self.holders.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> = self
            .holders
            .iter()
            .take(SHOWN)
            .map(|(name, held)| format!("{name} holds {}", amount(*held)))
            .collect();
        write!(to, " ({}", shown.join(", "))?;
        if self.holders.len() > SHOWN {
            write!(to, ", {} others hold the rest", self.holders.len() - SHOWN)?;
        }
        write!(to, ")")
    }
}

fn are(count: f64, what: &str) -> String {
    if count == 1.0 { format!("1 {what} is") } else { format!("{} {what}s are", round(count)) }
}

fn are_held(count: f64, what: &str) -> String {
    if count == 1.0 { format!("1 {what}") } else { format!("{} {what}s", round(count)) }
}

fn round(count: f64) -> f64 {
    (count * 100.0).floor() / 100.0
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// The shares of the isolated applications, by name.
#[derive(Debug)]
pub(crate) struct Ledger {
    machine: Machine,
    shares: BTreeMap<String, Share>,
}

impl Ledger {
    pub(crate) fn new(machine: Machine) -> Self {
        Ledger { machine, shares: BTreeMap::new() }
    }

    /// Give an application what it asks for, in place of what it holds. Cores that it has it keeps.
    ///
    /// # Errors
    /// When that is not free; then it holds what it held before.
    pub(crate) fn claim(&mut self, name: &str, wish: Wish) -> Result<Share, Refusal> {
        let before = self.shares.remove(name);
        match self.find(&wish, before.as_ref()) {
            Ok(share) => {
                self.shares.insert(name.to_owned(), share.clone());
                Ok(share)
            }
            Err(what) => {
                let refusal = Refusal { holders: self.holders(what), what };
                if let Some(before) = before {
                    self.shares.insert(name.to_owned(), before);
                }
                Err(refusal)
            }
        }
    }

    pub(crate) fn release(&mut self, name: &str) {
        self.shares.remove(name);
    }

    /// Cores that are nobody's own.
    pub(crate) fn common_cores(&self) -> Vec<u32> {
        let pinned = |core: &u32| self.shares.values().any(|share| share.cores.contains(core));
        self.machine.cores.iter().copied().filter(|core| !pinned(core)).collect()
    }

    /// Memory that isolated applications do not hold, in bytes, but for what is always left to the host: for the pool.
    pub(crate) fn common_memory(&self) -> u64 {
        self.machine.memory.saturating_sub(self.held_memory()).max(LEAST_MEMORY) - LEAST_MEMORY / 2
    }

    fn held_memory(&self) -> u64 {
        self.shares.values().filter_map(|share| share.wish.memory).sum()
    }

    fn find(&self, wish: &Wish, before: Option<&Share>) -> Result<Share, What> {
        let common = self.common_cores();
        let fractions: f64 = self.shares.values().map(|share| share.wish.fraction()).sum();
        let there = self.machine.cores.len();
        let pinnable =
            common.len().saturating_sub(LEAST_CORES.max((fractions + LEAST_FRACTION).ceil() as usize));
        let whole = wish.whole();
        if whole > pinnable {
            return Err(What::Cores { asked: whole as f64, free: pinnable as f64, there });
        }
        let free = (common.len() - whole) as f64 - fractions - LEAST_FRACTION;
        if wish.fraction() > free {
            return Err(What::Cores { asked: wish.fraction(), free: free.max(0.0), there });
        }
        let free = self.machine.holdable().saturating_sub(self.held_memory());
        if let Some(asked) = wish.memory.filter(|asked| *asked > free) {
            return Err(What::Memory { asked, free });
        }
        // Those it has, then from the last on: interrupts and the rest of the machine prefer the first.
        let kept = before.map_or(&[][..], |before| &before.cores).iter().copied();
        let mut cores: Vec<u32> = kept.filter(|core| common.contains(core)).take(whole).collect();
        let further = common.iter().rev().copied().filter(|core| !cores.contains(core));
        let further: Vec<u32> = further.take(whole - cores.len()).collect();
        cores.extend(further);
        cores.sort_unstable();
        Ok(Share { cores, wish: *wish })
    }

    fn holders(&self, what: What) -> Vec<(String, f64)> {
        let amount = |share: &Share| match what {
            What::Cores { .. } => share.wish.cores.unwrap_or(0.0),
            What::Memory { .. } => share.wish.memory.unwrap_or(0) as f64,
        };
        let mut holders: Vec<(String, f64)> =
            self.shares.iter().map(|(name, share)| (name.clone(), amount(share))).collect();
        holders.retain(|(_, amount)| *amount > 0.0);
        holders.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        holders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(cores: u32, gib: u64) -> Ledger {
        Ledger::new(Machine { cores: (0..cores).collect(), memory: gib << 30 })
    }

    fn wish(cores: f64, mib: u64) -> Wish {
        Wish { cores: Some(cores), memory: Some(mib << 20) }
    }

    #[test]
    fn one_core_is_never_pinned() {
        let mut ledger = ledger(2, 24);
        assert_eq!(ledger.claim("shop", wish(1.0, 512)).unwrap().cores, [1]);
        assert_eq!(ledger.common_cores(), [0]);
        let refusal = ledger.claim("blog", wish(1.0, 512)).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "not admitted: it asks for 1 of its own of 2 cores, 0 cores are free (shop holds 1 core); one core is always left \
             to the shared applications and the host; set limits.cpu to a fraction such as 0.5 (a quota), or tenancy = \
             \"shared\", or stop another application"
        );
        ledger.release("shop");
        assert_eq!(ledger.claim("blog", wish(1.0, 512)).unwrap().cores, [1]);
    }

    #[test]
    fn fractions_share_what_is_not_pinned() {
        let mut ledger = ledger(2, 24);
        assert!(ledger.claim("one", wish(0.5, 64)).unwrap().cores.is_empty());
        assert_eq!(ledger.claim("two", wish(1.0, 64)).unwrap().cores, [1]);
        // 1 core is left for 0.5 and the pool's least.
        assert!(ledger.claim("three", wish(0.5, 64)).is_err());
        assert!(ledger.claim("three", wish(0.4, 64)).is_ok());
        // What is held by fractions cannot be pinned away.
        ledger.release("two");
        assert!(ledger.claim("four", wish(1.5, 64)).is_err());
        assert!(ledger.claim("four", wish(2.0, 64)).is_err());
    }

    #[test]
    fn a_change_keeps_cores_and_a_refused_one_changes_nothing() {
        let mut ledger = ledger(6, 24);
        assert_eq!(ledger.claim("a", wish(2.0, 64)).unwrap().cores, [4, 5]);
        assert_eq!(ledger.claim("b", wish(1.0, 64)).unwrap().cores, [3]);
        assert_eq!(ledger.claim("a", wish(4.0, 64)).unwrap().cores, [1, 2, 4, 5]);
        assert!(ledger.claim("a", wish(5.0, 64)).is_err());
        assert_eq!(ledger.common_cores(), [0]);
        assert_eq!(ledger.claim("a", wish(1.0, 64)).unwrap().cores, [1]);
    }

    #[test]
    fn memory_is_for_those_who_hold_it() {
        let mut ledger = ledger(8, 2);
        // A tenth of 2 GiB is kept.
        assert!(ledger.claim("a", wish(0.1, 1500)).is_ok());
        let refusal = ledger.claim("b", wish(0.1, 400)).unwrap_err().to_string();
        let free = ((2 << 30) - (2_u64 << 30) / 10 - (1500 << 20)) >> 20;
        assert_eq!(
            refusal,
            format!(
                "not admitted: it asks for 400 MiB of memory, {free} MiB is free (a holds 1500 MiB); set limits.memory to {free} \
                 MiB or less, or tenancy = \"shared\""
            )
        );
        assert!(ledger.claim("b", Wish { cores: None, memory: None }).is_ok());
        assert!(ledger.common_memory() < 548 << 20);
        assert!(ledger.common_memory() >= LEAST_MEMORY / 2);
    }

    #[test]
    fn nothing_is_promised_twice() {
        use proptest::prelude::*;
        let steps = prop::collection::vec((0..6_usize, 0..40_u32, 0..3_000_u64, any::<bool>()), 1..60);
        proptest!(|(steps in steps, count in 1..9_u32)| {
            let mut ledger = ledger(count, 8);
            for (who, tenths, mib, leaves) in steps {
                let name = format!("app{who}");
                if leaves {
                    ledger.release(&name);
                    continue;
                }
                let asked = f64::from(tenths.max(1)) / 10.0;
                if let Ok(share) = ledger.claim(&name, wish(asked, mib)) {
                    let whole = if asked.fract() == 0.0 { asked as usize } else { 0 };
                    prop_assert_eq!(share.cores.len(), whole);
                }
                let mut held: Vec<u32> = ledger.shares.values().flat_map(|share| share.cores.clone()).collect();
                held.extend(ledger.common_cores());
                held.sort_unstable();
                prop_assert_eq!(held, (0..count).collect::<Vec<_>>(), "every core is somebody's once");
                let fractions: f64 = ledger.shares.values().map(|share| share.wish.fraction()).sum();
                prop_assert!(ledger.shares.is_empty() || fractions < ledger.common_cores().len() as f64);
                prop_assert!(!ledger.common_cores().is_empty());
                prop_assert!(ledger.held_memory() <= ledger.machine.holdable());
            }
        });
    }
}
