//! Whether a block may be used. What was seen is given; nothing is measured here.

use serde::Serialize;

/// Limits beyond which a block is left out. They are fixed before anything is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limits {
    /// Share of the machine's time that the hypervisor gave to others.
    pub steal: f64,
    /// How far a loop of known work may be from the session's median, as a share.
    pub spin: f64,
    /// Cores that processes used which are neither the host's nor the laboratory's.
    pub foreign: f64,
    /// Share of requests that failed.
    pub errors: f64,
    /// Share of one core that the load generator used.
    pub generator: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { steal: 0.02, spin: 0.05, foreign: 0.05, errors: 0.01, generator: 0.3 }
    }
}

/// What was seen during a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Seen {
    pub steal: f64,
    /// None when there was nothing to compare with.
    pub spin: Option<f64>,
    pub foreign: f64,
    pub errors: f64,
    pub generator: f64,
    /// How late the generator was, and what was allowed, in milliseconds.
    pub lag_ms: f64,
    pub lag_allowed_ms: f64,
    /// The arm was still in place at the end.
    pub in_place: bool,
}

/// Why a block is left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum Fault {
    Steal { share: f64 },
    Spin { off: f64 },
    Foreign { cores: f64 },
    Errors { share: f64 },
    Generator { share: f64 },
    Lag { milliseconds: f64, allowed: f64 },
    Arm,
}

impl Fault {
    /// Whether the block says nothing. Requests that failed are a result, and stay in the distribution: a condition in which they
    /// fail must not look better by that (lab.md 1.8 marks such blocks and keeps them).
    #[must_use]
    pub fn spoils(&self) -> bool {
        !matches!(self, Fault::Errors { .. })
    }

    /// For people.
    #[must_use]
    pub fn sentence(&self) -> String {
        let percent = |share: &f64| format!("{:.1} %", share * 100.0);
        match self {
            Fault::Steal { share } => format!("other virtual machines took {} of the time", percent(share)),
            Fault::Spin { off } => {
                format!("a loop of known work took {} more or less than usual", percent(off))
            }
            Fault::Foreign { cores } => format!("other programs on this machine used {cores:.2} cores"),
            Fault::Errors { share } => format!("{} of the requests failed", percent(share)),
            Fault::Generator { share } => format!("the load generator used {} of a core", percent(share)),
            Fault::Lag { milliseconds, allowed } => {
                format!("the load generator was {milliseconds:.2} ms late, {allowed:.2} ms are allowed")
            }
            Fault::Arm => "a process was started outside of the arm".to_owned(),
        }
    }
}

/// Everything that is wrong with a block.
#[must_use]
pub fn faults(seen: &Seen, limits: &Limits) -> Vec<Fault> {
    let off = seen.spin.map_or(0.0, f64::abs);
    let checks = [
        (seen.steal > limits.steal, Fault::Steal { share: seen.steal }),
        (off > limits.spin, Fault::Spin { off }),
        (seen.foreign > limits.foreign, Fault::Foreign { cores: seen.foreign }),
        (seen.errors > limits.errors, Fault::Errors { share: seen.errors }),
        (seen.generator > limits.generator, Fault::Generator { share: seen.generator }),
        (
            seen.lag_ms > seen.lag_allowed_ms,
            Fault::Lag { milliseconds: seen.lag_ms, allowed: seen.lag_allowed_ms },
        ),
        (!seen.in_place, Fault::Arm),
    ];
    checks.into_iter().filter_map(|(is_wrong, fault)| is_wrong.then_some(fault)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Seen = Seen {
        steal: 0.01,
        spin: Some(-0.04),
        foreign: 0.04,
        errors: 0.0,
        generator: 0.1,
        lag_ms: 0.9,
        lag_allowed_ms: 1.0,
        in_place: true,
    };

    #[test]
    fn each_gate_closes() {
        let limits = Limits::default();
        assert_eq!(faults(&FINE, &limits), []);
        let only = |seen: Seen| match faults(&seen, &limits).as_slice() {
            [fault] => fault.sentence(),
            other => panic!("{other:?}"),
        };
        assert!(only(Seen { steal: 0.03, ..FINE }).contains("3.0 %"));
        assert!(only(Seen { spin: Some(-0.06), ..FINE }).contains("6.0 %"));
        assert!(only(Seen { foreign: 0.5, ..FINE }).contains("0.50 cores"));
        assert!(only(Seen { errors: 0.02, ..FINE }).contains("2.0 %"));
        assert!(only(Seen { generator: 0.4, ..FINE }).contains("40.0 %"));
        assert!(only(Seen { lag_ms: 1.1, ..FINE }).contains("1.10 ms late"));
        assert!(only(Seen { in_place: false, ..FINE }).contains("outside of the arm"));
        assert_eq!(faults(&Seen { steal: 1.0, foreign: 1.0, ..FINE }, &limits).len(), 2);
    }
}
