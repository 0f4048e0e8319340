//! Memory: how much at most, and how much is kept for the group.
//!
//! | | version 1 | version 2 |
//! |---|---|---|
//! | limit | `memory.limit_in_bytes` | `memory.max` |
//! | no way out by swapping | `memory.memsw.limit_in_bytes`, the same value | `memory.swap.max` 0 |
//! | who is killed | the largest process of the group | the same: `memory.oom.group` 0 |
//! | guarantee | there is none | `memory.min`, in the group and its ancestors |
//!
//! `memory.high` is not used: it slows a group down instead of ending one of its processes. A web application that is only
//! slow is found by nobody; one whose worker is killed is reported and replaced, and its requests are run again.

use std::io;
use std::path::Path;

use super::file::{self, Writer};
use super::group::{Place, report};
use super::hierarchy::Version;
use super::limits::{Constraint, Limits, Outcome, Refusal};

pub(super) fn apply(
    place: &Result<Place, Refusal>,
    limits: &Limits,
    tree: &Path,
    outcomes: &mut Vec<Outcome>,
) {
    report(outcomes, Constraint::Memory, limits.memory.is_some(), place, |writer, version| {
        match (version, limits.memory) {
            (Version::V1, Some(bytes)) => limit_v1(writer, bytes),
            (Version::V1, None) => no_limit_v1(writer).map(|()| None),
            (Version::V2, Some(bytes)) => limit_v2(writer, bytes),
            (Version::V2, None) => {
                writer.reset("memory.swap.max", "max")?;
                writer.reset("memory.max", "max").map(|()| None)
            }
        }
    });
    let guarantee = limits.memory_guarantee;
    report(
        outcomes,
        Constraint::MemoryGuarantee,
        guarantee.is_some(),
        place,
        |writer, version| match version {
            Version::V1 if guarantee.is_some() => Err(no_guarantee()),
            Version::V1 => Ok(None),
            Version::V2 => guarantee_v2(writer, guarantee, tree),
        },
    );
}

fn limit_v2(writer: &mut Writer<'_>, bytes: u64) -> Result<Option<String>, Refusal> {
    // One worker dies, its siblings go on.
    writer.reset("memory.oom.group", "0")?;
    let swap = writer.has("memory.swap.max");
    if swap {
        writer.write("memory.swap.max", "0")?;
    }
    writer.write("memory.max", &bytes.to_string())?;
    Ok((!swap && swap_is_on()).then(|| NO_SWAP_ACCOUNTING.to_owned()))
}

fn limit_v1(writer: &mut Writer<'_>, bytes: u64) -> Result<Option<String>, Refusal> {
    const LIMIT: &str = "memory.limit_in_bytes";
    const WITH_SWAP: &str = "memory.memsw.limit_in_bytes";
    let value = bytes.to_string();
    if !writer.has(WITH_SWAP) {
        write_v1(writer, LIMIT, &value)?;
        return Ok(swap_is_on().then(|| NO_SWAP_ACCOUNTING.to_owned()));
    }
    // The limit with swap is never below the one without: growing starts with it, shrinking ends with it.
    let grows = file::number(&writer.dir.join(WITH_SWAP)).is_some_and(|now| now < bytes);
    let order = if grows { [WITH_SWAP, LIMIT] } else { [LIMIT, WITH_SWAP] };
    for name in order {
        write_v1(writer, name, &value)?;
    }
    Ok(None)
}

/// The kernel first tries to reclaim what is above a lower limit, and leaves the old one if it cannot.
fn write_v1(writer: &mut Writer<'_>, name: &str, value: &str) -> Result<(), Refusal> {
    writer.write(name, value).map_err(|refusal| match refusal.errno.map(io::Error::from_raw_os_error) {
        Some(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            let usage = file::number(&writer.dir.join("memory.usage_in_bytes")).unwrap_or_default();
            Refusal {
                why: format!("{}: {usage} bytes are in use and cannot be reclaimed", refusal.why),
                remedy: "replace the group's processes first, then lower the limit".to_owned(),
                ..refusal
            }
        }
        _ => refusal,
    })
}

fn no_limit_v1(writer: &Writer<'_>) -> Result<(), Refusal> {
    for name in ["memory.memsw.limit_in_bytes", "memory.limit_in_bytes"] {
        // "No limit" reads as a huge number that depends on the page size, and so is only written if it is not there.
        if file::number(&writer.dir.join(name)).is_some_and(|limit| limit < NO_LIMIT_V1) {
            writer.reset(name, "-1")?;
        }
    }
    Ok(())
}

/// `PAGE_COUNTER_MAX` in bytes is `i64::MAX` rounded down to a page, of at most 64 KiB.
pub(super) const NO_LIMIT_V1: u64 = i64::MAX as u64 - 65_536;

/// Version 1 has `memory.soft_limit_in_bytes`, which says whom to reclaim from first, and keeps nothing for anyone.
fn no_guarantee() -> Refusal {
    Refusal {
        why: "version 1 of the memory controller keeps no memory for a group".to_owned(),
        errno: None,
        remedy: "boot with `cgroup_no_v1=memory` (systemd: `systemd.unified_cgroup_hierarchy=1`), and limit the others' memory".to_owned(),
    }
}

/// A guarantee counts only as far as all groups above have one: those of this tree get the sum of their children's.
fn guarantee_v2(writer: &mut Writer<'_>, bytes: Option<u64>, tree: &Path) -> Result<Option<String>, Refusal> {
    const MIN: &str = "memory.min";
    match bytes {
        Some(bytes) => writer.write(MIN, &bytes.to_string())?,
        None if file::number(&writer.dir.join(MIN)).is_none_or(|now| now == 0) => return Ok(None),
        None => writer.reset(MIN, "0")?,
    }
    let mut needed = 0;
    for above in writer.dir.ancestors().skip(1).take_while(|dir| dir.starts_with(tree)) {
        let theirs = file::children(above);
        needed =
            theirs.iter().filter_map(|child| file::number(&child.join(MIN))).fold(0, u64::saturating_add);
        let group = Writer::new(above);
        group.reset(MIN, &needed.to_string())?;
    }
    let base = tree.parent().map(|base| (base, file::number(&base.join(MIN))));
    // The hierarchy's root has no such file and needs none.
    Ok(match base {
        Some((base, Some(has))) if has < needed => Some(format!(
            "the group {} above has a guarantee of {has} bytes, this host's groups need {needed}: until then it counts only among them (`MemoryMin=` of the service)",
            base.display()
        )),
        _ => None,
    })
}

const NO_SWAP_ACCOUNTING: &str = "swap is in use and not accounted: the group can swap out what is above its limit; boot with swapaccount=1 or `swapoff -a`";

fn swap_is_on() -> bool {
    // One line of titles, then one for each area.
    file::read("/proc/swaps".as_ref()).is_ok_and(|text| text.lines().count() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::fake::{Fake, written};

    fn applied(fake: &Fake, limits: &Limits) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        apply(&fake.place(), limits, fake.dir.path(), &mut outcomes);
        outcomes
    }

    fn limit(bytes: u64) -> Limits {
        Limits { memory: Some(bytes), ..Limits::default() }
    }

    #[test]
    fn the_limit_with_swap_is_never_below_the_one_without() {
        let names = [("memory.limit_in_bytes", "1000\n"), ("memory.memsw.limit_in_bytes", "1000\n")];
        let fake = Fake::new(Version::V1, &names);
        let grown = written(&applied(&fake, &limit(2000))[0]);
        assert_eq!(grown, ["memory.memsw.limit_in_bytes=2000", "memory.limit_in_bytes=2000"]);
        let shrunk = written(&applied(&fake, &limit(500))[0]);
        assert_eq!(shrunk, ["memory.limit_in_bytes=500", "memory.memsw.limit_in_bytes=500"]);
        assert_eq!(applied(&fake, &Limits::default()), []);
        assert_eq!(fake.text("memory.memsw.limit_in_bytes"), "-1");
    }

    #[test]
    fn version_1_without_swap_accounting_is_fine_without_swap() {
        let fake = Fake::new(Version::V1, &[("memory.limit_in_bytes", "9223372036854771712\n")]);
        let outcomes = applied(&fake, &limit(4096));
        assert_eq!(written(&outcomes[0]), ["memory.limit_in_bytes=4096"]);
        assert_eq!(outcomes[0].caveat.is_some(), swap_is_on());
    }

    #[test]
    fn version_2_kills_one_process_and_has_no_way_out() {
        let files = [("memory.max", "max\n"), ("memory.swap.max", "max\n"), ("memory.oom.group", "1\n")];
        let fake = Fake::new(Version::V2, &files);
        let outcomes = applied(&fake, &limit(4096));
        assert_eq!(written(&outcomes[0]), ["memory.swap.max=0", "memory.max=4096"]);
        assert_eq!(fake.text("memory.oom.group"), "0");
        assert_eq!(applied(&fake, &Limits::default()), []);
        assert_eq!([fake.text("memory.max"), fake.text("memory.swap.max")], ["max", "max"]);
    }

    #[test]
    fn a_guarantee_is_added_up_above() {
        let names = ["", "isolated/", "isolated/a/", "isolated/b/", "shared/"]
            .map(|dir| format!("tree/{dir}memory.min"));
        let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "0\n")).collect();
        files.push(("memory.min", "1500\n"));
        let fake = Fake::new(Version::V2, &files);
        let tree = fake.path("tree");
        let set = |app: &str, bytes: Option<u64>| {
            let place = Ok(Place { version: Version::V2, dir: tree.join("isolated").join(app) });
            let mut outcomes = Vec::new();
            apply(&place, &Limits { memory_guarantee: bytes, ..Limits::default() }, &tree, &mut outcomes);
            outcomes
        };
        assert_eq!(set("a", Some(1000))[0].caveat, None);
        let caveat = set("b", Some(2000))[0].caveat.clone().unwrap();
        assert!(caveat.contains("need 3000"), "{caveat}");
        assert_eq!([fake.text("tree/isolated/memory.min"), fake.text("tree/memory.min")], ["3000", "3000"]);
        assert_eq!(set("a", None), []);
        assert_eq!([fake.text("tree/isolated/memory.min"), fake.text("tree/memory.min")], ["2000", "2000"]);
        assert_eq!(fake.text("memory.min"), "1500", "not ours");
        assert!(
            applied(&Fake::new(Version::V1, &[]), &Limits { memory_guarantee: Some(1), ..Limits::default() })
                [0]
            .refusal
            .is_some()
        );
    }
}
