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

use super::file::{self, Writer};
use super::group::{Place, report};
use super::hierarchy::Version;
use super::limits::{Constraint, Limits, Outcome, Refusal};

pub(super) fn apply(place: &Result<Place, Refusal>, limits: &Limits, outcomes: &mut Vec<Outcome>) {
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

const NO_SWAP_ACCOUNTING: &str = "swap is in use and not accounted: the group can swap out what is above its limit; boot with swapaccount=1 or `swapoff -a`";

fn swap_is_on() -> bool {
    // One line of titles, then one for each area.
    file::read("/proc/swaps".as_ref()).is_ok_and(|text| text.lines().count() > 1)
}
