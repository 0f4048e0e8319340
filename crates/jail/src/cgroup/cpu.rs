//! Processor time: how much at most, and whose share when all want some.
//!
//! | | version 1 | version 2 |
//! |---|---|---|
//! | quota | `cpu.cfs_quota_us` per `cpu.cfs_period_us` | `cpu.max` "quota period" |
//! | burst | `cpu.cfs_burst_us` | `cpu.max.burst` (both Linux 5.14) |
//! | share | `cpu.shares`, 1024 is ordinary | `cpu.weight`, 100 is ordinary |
//!
//! **Period.** A group that used up its quota waits for the next period: with k busy threads up to P - Q/k. So the period is
//! short, 20 ms, not the kernel's 100. It is longer only for small quotas: the kernel hands out quota to each processor in slices
//! of 5 ms (`sched_cfs_bandwidth_slice_us`), and a quota below one slice starves one processor while another holds it.
//!
//! **Burst.** One period's quota may be saved up: a request after an idle period runs twice as long before it is stopped. In the
//! long run the group still gets no more than its quota (Documentation/scheduler/sched-bwc.rst).

use super::file::Writer;
use super::group::{Place, report};
use super::hierarchy::Version;
use super::limits::{Constraint, Limits, Outcome, Refusal};

/// Microseconds.
const SHORTEST_PERIOD: u64 = 20_000;
/// Microseconds; the kernel's default, and longer ones mean longer waits.
const LONGEST_PERIOD: u64 = 100_000;
/// Microseconds; `sched_cfs_bandwidth_slice_us`.
const SLICE: f64 = 5_000.0;
/// Microseconds; the kernel takes no less.
const LEAST_QUOTA: u64 = 1_000;
/// More cores than any machine has; above it the numbers would overflow in the kernel.
const MOST_CORES: f64 = 65_536.0;

pub(super) fn apply(place: &Result<Place, Refusal>, limits: &Limits, outcomes: &mut Vec<Outcome>) {
    report(outcomes, Constraint::Cpu, limits.cpu.is_some(), place, |writer, version| match limits.cpu {
        Some(cores) => quota(writer, version, cores),
        None => no_quota(writer, version).map(|()| None),
    });
    report(outcomes, Constraint::CpuWeight, limits.cpu_weight.is_some(), place, |writer, version| {
        weight(writer, version, limits.cpu_weight)
    });
}

/// Quota and period in microseconds for so many cores.
#[must_use]
pub fn bandwidth(cores: f64) -> (u64, u64) {
    let cores = cores.clamp(0.0, MOST_CORES);
    // Not a number, and nothing at all, become the least there is.
    let period = ((SLICE / cores.max(f64::MIN_POSITIVE)) as u64).clamp(SHORTEST_PERIOD, LONGEST_PERIOD);
    let quota = ((cores * period as f64).round() as u64).max(LEAST_QUOTA);
    (quota, period)
}

/// `cpu.shares` with the same effect as a `cpu.weight`: the kernel itself scales weights by 1024 / 100 (`cpu_weight_write_u64`).
#[must_use]
pub fn shares(weight: u32) -> u64 {
    (u64::from(weight.clamp(1, 10_000)) * 1024 / 100).max(2)
}

fn quota(writer: &mut Writer<'_>, version: Version, cores: f64) -> Result<Option<String>, Refusal> {
    let (quota, period) = bandwidth(cores);
    let (burst_file, quota_file) = match version {
        Version::V1 => ("cpu.cfs_burst_us", "cpu.cfs_quota_us"),
        Version::V2 => ("cpu.max.burst", "cpu.max"),
    };
    // A burst must not be larger than its quota: the old one could be in the way of a smaller quota.
    writer.reset(burst_file, "0")?;
    let result = match version {
        Version::V1 => set_quota_v1(writer, quota, period),
        Version::V2 => writer.write(quota_file, &format!("{quota} {period}")),
    };
    result.map_err(|refusal| Refusal { remedy: parents(&refusal, version), ..refusal })?;
    if !writer.has(burst_file) {
        return Ok(Some(
            "this kernel has no burst (Linux 5.14 has): short peaks wait for the next period".to_owned(),
        ));
    }
    writer.write(burst_file, &quota.to_string())?;
    Ok(None)
}

/// Two files for one thing: whatever is in between, a ratio above the parent's is refused.
fn set_quota_v1(writer: &mut Writer<'_>, quota: u64, period: u64) -> Result<(), Refusal> {
    let file = |name: &str| super::file::read(&writer.dir.join(name)).unwrap_or_default().trim().to_owned();
    let (old_quota, old_period) = (file("cpu.cfs_quota_us"), file("cpu.cfs_period_us"));
    if old_period != period.to_string() {
        writer.reset("cpu.cfs_quota_us", "-1")?;
    }
    let result = writer
        .write("cpu.cfs_period_us", &period.to_string())
        .and_then(|()| writer.write("cpu.cfs_quota_us", &quota.to_string()));
    if result.is_err() {
        writer.written.clear();
        let _ = writer.reset("cpu.cfs_period_us", &old_period);
        let _ = writer.reset("cpu.cfs_quota_us", &old_quota);
    }
    result
}

fn parents(refusal: &Refusal, version: Version) -> String {
    let invalid = refusal.errno == Some(rustix::io::Errno::INVAL.raw_os_error());
    if version == Version::V1 && invalid {
        "with version 1 a group cannot have more than its parent or less than its children: change those first".to_owned()
    } else {
        refusal.remedy.clone()
    }
}

fn no_quota(writer: &Writer<'_>, version: Version) -> Result<(), Refusal> {
    match version {
        Version::V1 => {
            writer.reset("cpu.cfs_burst_us", "0").and_then(|()| writer.reset("cpu.cfs_quota_us", "-1"))
        }
        Version::V2 => {
            writer.reset("cpu.max.burst", "0")?;
            writer.reset("cpu.max", "max 100000")
        }
    }
}

fn weight(writer: &mut Writer<'_>, version: Version, weight: Option<u32>) -> Result<Option<String>, Refusal> {
    let (name, value) = match version {
        Version::V1 => ("cpu.shares", weight.map_or(1024, shares)),
        Version::V2 => ("cpu.weight", u64::from(weight.unwrap_or(100).clamp(1, 10_000))),
    };
    match weight {
        Some(_) => writer.write(name, &value.to_string())?,
        None => writer.reset(name, &value.to_string())?,
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cgroup::fake::{Fake, written};

    fn applied(fake: &Fake, limits: &Limits) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        apply(&fake.place(), limits, &mut outcomes);
        outcomes
    }

    #[test]
    fn version_1_and_2_get_the_same_limits() {
        let limits = Limits { cpu: Some(1.5), cpu_weight: Some(250), ..Limits::default() };
        let v1 = Fake::new(
            Version::V1,
            &[
                ("cpu.cfs_quota_us", "-1\n"),
                ("cpu.cfs_period_us", "100000\n"),
                ("cpu.cfs_burst_us", "0\n"),
                ("cpu.shares", "1024\n"),
            ],
        );
        let outcomes = applied(&v1, &limits);
        assert_eq!(
            written(&outcomes[0]),
            ["cpu.cfs_period_us=20000", "cpu.cfs_quota_us=30000", "cpu.cfs_burst_us=30000"]
        );
        assert_eq!(written(&outcomes[1]), ["cpu.shares=2560"]);
        let v2 = Fake::new(
            Version::V2,
            &[("cpu.max", "max 100000\n"), ("cpu.max.burst", "0\n"), ("cpu.weight", "100\n")],
        );
        let outcomes = applied(&v2, &limits);
        assert_eq!(written(&outcomes[0]), ["cpu.max=30000 20000", "cpu.max.burst=30000"]);
        assert_eq!(written(&outcomes[1]), ["cpu.weight=250"]);
        // And without limits both are as they were, without a word.
        for fake in [&v1, &v2] {
            assert_eq!(applied(fake, &Limits::default()), []);
        }
        assert_eq!(
            [v1.text("cpu.cfs_quota_us"), v1.text("cpu.cfs_burst_us"), v1.text("cpu.shares")],
            ["-1", "0", "1024"]
        );
        assert_eq!(
            [v2.text("cpu.max"), v2.text("cpu.max.burst"), v2.text("cpu.weight")],
            ["max 100000", "0", "100"]
        );
    }

    #[test]
    fn a_kernel_without_burst_is_good_enough_and_says_so() {
        let old = Fake::new(Version::V2, &[("cpu.max", "max 100000\n"), ("cpu.weight", "100\n")]);
        let outcomes = applied(&old, &Limits { cpu: Some(0.25), ..Limits::default() });
        assert_eq!(written(&outcomes[0]), ["cpu.max=5000 20000"]);
        assert!(outcomes[0].caveat.as_ref().unwrap().contains("no burst"), "{outcomes:?}");
    }

    #[test]
    fn without_the_file_it_is_refused() {
        let none = Fake::new(Version::V2, &[]);
        let outcomes = applied(&none, &Limits { cpu: Some(1.0), ..Limits::default() });
        let refusal = outcomes[0].refusal.clone().unwrap();
        assert!(refusal.why.contains("cpu.max"), "{refusal}");
        assert_eq!(refusal.errno, Some(rustix::io::Errno::NOENT.raw_os_error()));
    }

    #[test]
    fn periods_are_short_unless_a_slice_would_not_fit() {
        let of = |cores| bandwidth(cores);
        assert_eq!([of(1.0), of(0.25), of(8.0)], [(20_000, 20_000), (5_000, 20_000), (160_000, 20_000)]);
        assert_eq!([of(0.1), of(0.05), of(0.02)], [(5_000, 50_000), (5_000, 100_000), (2_000, 100_000)]);
        assert_eq!([of(0.0), of(-1.0), of(f64::NAN)], [(1_000, 100_000); 3]);
    }

    #[test]
    fn shares_are_as_the_kernel_scales_weights() {
        assert_eq!([1, 100, 300, 10_000, 0, u32::MAX].map(shares), [10, 1024, 3072, 102_400, 10, 102_400]);
    }

    proptest! {
        #[test]
        fn quota_over_period_is_what_was_asked_for(cores in 0.01_f64..1024.0) {
            let (quota, period) = bandwidth(cores);
            let got = quota as f64 / period as f64;
            prop_assert!((got - cores).abs() <= cores * 0.001 + 0.00002, "{} instead of {}", got, cores);
        }
    }
}
