//! Every constraint, the mechanism for it on this machine, and whether it holds.
//!
//! Found out by trying, as far as trying leaves nothing behind: a group is made, limited and removed again as a host would
//! do it, namespaces are entered by a thread that ends at once. What a file says is believed only where trying is not
//! possible.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Roots, groups, rooms};

/// The findings, in this order: as the configuration has its keys, then what surrounds an application, then what
/// incidents rest on.
const ORDER: [&str; 37] = [
    "cpu",
    "cpu_weight",
    "cores",
    "memory",
    "memory_guarantee",
    "disk_read",
    "disk_write",
    "disk_weight",
    "disk_space",
    "processes",
    "open_files",
    "connections",
    "queue",
    "request_timeout",
    "header_timeout",
    "body_timeout",
    "keepalive_timeout",
    "header_size",
    "body_size",
    "bandwidth_in",
    "bandwidth_out",
    "socket_buffers",
    "egress_host",
    "egress_none",
    "egress_nat",
    "pid_namespace",
    "mount_namespace",
    "ipc_namespace",
    "uts_namespace",
    "network_namespace",
    "user_ids",
    "capabilities",
    "seccomp",
    "landlock",
    "kill",
    "oom_proof",
    "pressure",
];

/// How far a constraint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Impossible,
    /// With an exception that `why` names.
    Partly,
    Enforced,
}

/// One constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The key under `[apps.NAME.limits]`, or what the `isolated` tenancy consists of, such as `pid_namespace`.
    pub constraint: String,
    pub level: Level,
    /// What enforces it; empty if nothing does.
    pub mechanism: String,
    /// Why it does not, or not fully, hold; empty if it does.
    pub why: String,
    /// What would change that; empty if nothing would or needs to.
    pub remedy: String,
}

impl Finding {
    pub(super) fn enforced(constraint: &str, mechanism: impl Into<String>) -> Self {
        Finding {
            constraint: constraint.to_owned(),
            level: Level::Enforced,
            mechanism: mechanism.into(),
            why: String::new(),
            remedy: String::new(),
        }
    }

    pub(super) fn partly(self, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { level: Level::Partly, why: why.into(), remedy: remedy.into(), ..self }
    }

    pub(super) fn impossible(constraint: &str, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding {
            level: Level::Impossible,
            mechanism: String::new(),
            why: why.into(),
            remedy: remedy.into(),
            ..Finding::enforced(constraint, "")
        }
    }
}

/// What was found on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// As `uname -r`.
    pub kernel: String,
    pub architecture: String,
    /// Effective user id of this process.
    pub user: u32,
    /// Each with its controllers and where this process is in it.
    pub hierarchies: Vec<String>,
    pub findings: Vec<Finding>,
}

impl Survey {
    /// Look at this machine, as this user. `volume`: where applications' files are, whose disk the disk limits are about.
    #[must_use]
    pub fn take(roots: &Roots, volume: &Path) -> Self {
        let (hierarchies, mut findings) = groups::survey(roots, volume);
        findings.extend(rooms::survey(roots));
        findings.extend(router(roots));
        findings.sort_by_key(|finding| ORDER.iter().position(|name| *name == finding.constraint));
        let name = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        Survey {
            kernel: text(name.release()),
            architecture: text(name.machine()),
            user: rustix::process::geteuid().as_raw(),
            hierarchies,
            findings,
        }
    }

    /// What was found out about a constraint.
    #[must_use]
    pub fn of(&self, constraint: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.constraint == constraint)
    }
}

/// What the router keeps by itself, everywhere.
fn router(roots: &Roots) -> Vec<Finding> {
    let always = [
        ("connections", "router: counted"),
        ("queue", "router: queue with a bound and a waiting time"),
        ("request_timeout", "router: deadline, then the worker is interrupted or killed"),
        ("header_timeout", "router: deadline"),
        ("body_timeout", "router: deadline"),
        ("keepalive_timeout", "router: deadline"),
        ("header_size", "router: counted"),
        ("body_size", "router: counted"),
        ("bandwidth_in", "router: token bucket"),
        ("bandwidth_out", "router: token bucket"),
    ];
    let mut findings: Vec<Finding> = always.map(|(name, how)| Finding::enforced(name, how)).into();
    findings.push(socket_buffers(roots));
    findings
}

fn socket_buffers(roots: &Roots) -> Finding {
    let most = |name: &str| {
        let text = std::fs::read_to_string(roots.proc.join("sys/net/core").join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let finding = Finding::enforced("socket_buffers", "SO_SNDBUF, SO_RCVBUF");
    match (most("wmem_max"), most("rmem_max")) {
        (Some(send), Some(receive)) => Finding {
            mechanism: format!("SO_SNDBUF up to {} KiB, SO_RCVBUF up to {} KiB", send / 1024, receive / 1024),
            ..finding
        },
        // In a network namespace of a container these are not shown; the kernel still caps what is asked for.
        _ => finding,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constraint_is_found_out_about_once_and_in_order() {
        let survey = Survey::take(&Roots::default(), Path::new("/"));
        let names: Vec<&str> = survey.findings.iter().map(|finding| finding.constraint.as_str()).collect();
        assert_eq!(names, ORDER);
        for finding in &survey.findings {
            let (by, why) = (!finding.mechanism.is_empty(), !finding.why.is_empty());
            let expected = match finding.level {
                Level::Enforced => (true, false),
                Level::Partly => (true, true),
                Level::Impossible => (false, true),
            };
            assert_eq!((by, why), expected, "{finding:?}");
        }
    }

    #[test]
    fn without_a_kernel_to_ask_the_router_still_holds() {
        let empty = tempfile::tempdir().unwrap();
        let roots = Roots { proc: empty.path().into(), sys: empty.path().into() };
        let survey = Survey::take(&roots, Path::new("/"));
        assert_eq!(survey.of("memory").map(|finding| finding.level), Some(Level::Impossible));
        assert_eq!(survey.of("request_timeout").map(|finding| finding.level), Some(Level::Enforced));
    }
}
