//! D: disks, volumes and logs.

use super::{last, sum};
use crate::code::{Cause, Code, Entry, Severity, Unit};

/// Logging is the usual reason.
const REMEDY: &str = "if it is a log, write it through `logging.handlers.QueueHandler` or to standard error, which this host stores without making the application wait; else collect several writes for one fsync, or do it outside of the request";

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        code: Code::D10,
        title: "disk throttled",
        status: None,
        severity: Severity::Warning,
        resource: Some("disk"),
        evidence: &[
            last("limit_bytes_per_second", Unit::BytesPerSecond, "its limit"),
            last("used_bytes_per_second", Unit::BytesPerSecond, "what it read or wrote"),
            last("limit_operations_per_second", Unit::PerSecond, "its limit, if that is one of operations"),
            last("used_operations_per_second", Unit::PerSecond, "how often it read or wrote"),
            last("waited_ms", Unit::Milliseconds, "time its threads waited for the disk"),
        ],
        causes: &[
            Cause {
                name: "limit",
                sentence: "{app} was held back by its disk limit of {limit_bytes_per_second}«; it waited {waited_ms}»",
                remedy: "raise `disk_read` or `disk_write` in [apps.{app}.limits]",
            },
            Cause {
                name: "operations",
                sentence: "{app} was held back by its disk limit of {limit_operations_per_second} operations«; it waited {waited_ms}»",
                remedy: "raise `disk_read` or `disk_write` in [apps.{app}.limits], or read and write more at a time",
            },
        ],
    },
    Entry {
        code: Code::D11,
        title: "slow durable writes on the request path",
        status: None,
        severity: Severity::Warning,
        resource: None,
        evidence: &[
            last("place", Unit::Text, "file and line that waited"),
            last("call", Unit::Text, "fsync, fdatasync, or the write of a log"),
            last("fsync_ms", Unit::Milliseconds, "how long one took, 95th percentile"),
            last(
                "share_percent",
                Unit::Percent,
                "share of the time of the requests that did it, or of the event loop's",
            ),
            last("stack", Unit::Block, "where one of them was"),
        ],
        causes: &[
            Cause {
                name: "stack",
                sentence: "requests to {app} wait for the disk« in {call}»« at {place}»«: {fsync_ms} each»«, {share_percent} of their time»",
                remedy: REMEDY,
            },
            Cause {
                name: "event_loop",
                sentence: "the event loop of {app} waits for the disk« in {call}»« at {place}»«: {fsync_ms} each»«, {share_percent} of its time», and every request of that worker waits with it",
                remedy: REMEDY,
            },
        ],
    },
    Entry {
        code: Code::D20,
        title: "volume full",
        status: Some(507),
        severity: Severity::Error,
        resource: Some("disk_space"),
        evidence: &[
            last("limit_bytes", Unit::Bytes, "size of the volume"),
            last("used_bytes", Unit::Bytes, "what is used of it"),
        ],
        causes: &[
            Cause {
                name: "volume",
                sentence: "the volume of {app} is full« ({used_bytes} of {limit_bytes})»",
                remedy: "free space on it, or raise `disk_space` in [apps.{app}.limits]",
            },
            Cause {
                name: "state",
                sentence: "the disk that {app} keeps logs, incidents and the data of applications on is full« ({used_bytes} of {limit_bytes})»",
                remedy: "free space on it: `df -h` and `du -x` show what fills it; `log_size` and `log_files` in [host] bound the logs",
            },
            Cause {
                name: "request_body",
                sentence: "{count|request} to {app} got 507 because no body could be stored in the host's temporary directory",
                remedy: "`df -h $TMPDIR /tmp` shows how full it is; a smaller `body_size` in [apps.{app}.limits] needs less",
            },
        ],
    },
    Entry {
        code: Code::D30,
        title: "log lines dropped",
        status: None,
        severity: Severity::Warning,
        resource: None,
        evidence: &[sum("dropped", Unit::Count, "lines that were not written")],
        causes: &[Cause {
            name: "backlog",
            sentence: "{dropped|line} that {app} printed did not get into its log: they came faster than the disk takes them, or the disk is full; {app} did not wait for that",
            remedy: "print less (a log level above debug), or see with `df -h` and `serpentry logs {app}` whether the disk is full",
        }],
    },
];
