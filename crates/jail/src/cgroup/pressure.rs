//! How long the tasks of a group waited for processors, memory and disks (Documentation/accounting/psi.rst).
//!
//! The files are in every version 2 group, with or without controllers, if the kernel keeps the figures at all.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::file;

/// `None`: not kept here.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Pressures {
    pub cpu: Option<Pressure>,
    pub memory: Option<Pressure>,
    pub io: Option<Pressure>,
}

/// Of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Pressure {
    /// At least one task waited.
    pub some: Stall,
    /// All tasks that were not idle waited.
    pub full: Stall,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Stall {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Microseconds since the group was made.
    pub total_us: u64,
}

impl Pressures {
    pub(super) fn read(dir: &Path) -> Self {
        let of = |name: &str| parse(&file::read(&dir.join(name)).ok()?);
        Pressures { cpu: of("cpu.pressure"), memory: of("memory.pressure"), io: of("io.pressure") }
    }
}

/// Lines such as `some avg10=0.12 avg60=0.05 avg300=0.01 total=123456`. `None` without a line for `some`.
#[must_use]
pub fn parse(text: &str) -> Option<Pressure> {
    let stall = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))?;
        let field = |key: &str| line.split(' ').find_map(|field| field.strip_prefix(key)?.strip_prefix('='));
        Some(Stall { avg10: field("avg10")?.parse().ok()?, total_us: field("total")?.parse().ok()? })
    };
    // Before Linux 5.13 there is no `full` for processors.
    Some(Pressure { some: stall("some")?, full: stall("full").unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_the_kernel_prints() {
        let text = "some avg10=1.50 avg60=0.05 avg300=0.01 total=123456\nfull avg10=0.25 avg60=0.00 avg300=0.00 total=99\n";
        let expected = Pressure {
            some: Stall { avg10: 1.5, total_us: 123_456 },
            full: Stall { avg10: 0.25, total_us: 99 },
        };
        assert_eq!(parse(text), Some(expected));
        let some = text.lines().next().unwrap();
        assert_eq!(parse(some), Some(Pressure { full: Stall::default(), ..expected }));
        for bad in
            ["", "full avg10=0.25 total=99", "some avg10=x total=1", "some", "somewhat avg10=1.0 total=1"]
        {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "(some |full |avg10=|total=|[0-9.]{1,4}|\n| ){0,30}") {
            let _ = parse(&text);
        }
    }
}
