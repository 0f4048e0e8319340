//! P: processes, threads and open files.

use super::last;
use crate::code::{Cause, Code, Entry, Severity, Unit};

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        code: Code::P10,
        title: "process limit",
        status: None,
        severity: Severity::Error,
        resource: Some("processes"),
        evidence: &[
            last("limit", Unit::Count, "processes and threads that there may be"),
            last("used", Unit::Count, "how many there were"),
            last("refused", Unit::Count, "attempts that failed with EAGAIN"),
        ],
        causes: &[Cause {
            name: "limit",
            sentence: "{app} reached its limit of {limit} processes and threads«; {refused} more could not be started»",
            remedy: "if it is meant to have that many, raise `processes` in [apps.{app}.limits]; threads count too",
        }],
    },
    Entry {
        code: Code::P11,
        title: "open files",
        status: None,
        severity: Severity::Error,
        resource: Some("open_files"),
        evidence: &[
            last("limit", Unit::Count, "files, sockets and pipes that a process may have open"),
            last("used", Unit::Count, "how many were open"),
        ],
        causes: &[Cause {
            name: "limit",
            sentence: "worker {worker}« (pid {pid})» of {app} had {used} of {limit} files, sockets and pipes open",
            remedy: "`ls -l /proc/{pid}/fd` shows which; if it needs that many, raise `open_files` in [apps.{app}.limits]",
        }],
    },
];
