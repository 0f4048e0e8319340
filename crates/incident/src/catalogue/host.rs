//! H: the host itself. 99 is our own fault.

use super::last;
use crate::code::{Cause, Code, Entry, Severity, Unit};

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        code: Code::H10,
        title: "incident history not written",
        status: None,
        severity: Severity::Warning,
        resource: None,
        evidence: &[
            last("reason", Unit::Text, "what the database or the operating system said"),
            last("file", Unit::Text, "the history"),
            last("moved_to", Unit::Text, "where the old file is"),
        ],
        causes: &[
            Cause {
                name: "write",
                sentence: "incidents cannot be written to {file}: {reason}; they are kept in memory, and requests are served as before",
                remedy: "`df -h` shows whether the disk is full; writing is tried again by itself",
            },
            Cause {
                name: "set_aside",
                sentence: "the history of incidents was set aside«: {reason}»; a new one was begun",
                remedy: "nothing is lost: `sqlite3 {moved_to} .recover` shows what the old file holds",
            },
        ],
    },
    Entry {
        code: Code::H99,
        title: "a defect of this program",
        status: Some(500),
        severity: Severity::Error,
        resource: None,
        evidence: &[last("reason", Unit::Text, "what was found")],
        causes: &[Cause {
            name: "defect",
            sentence: "this program made a mistake: {reason}",
            remedy: "nothing in your application is wrong; please report it with what `serpentry why --json` prints",
        }],
    },
];
