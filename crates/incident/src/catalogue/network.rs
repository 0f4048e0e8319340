//! N: connections, queues, deadlines and sizes, all enforced by the router.

use super::{last, most, sum};
use crate::code::{Cause, Code, Entry, Severity, Unit};

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        code: Code::N10,
        title: "connection limit",
        status: Some(503),
        severity: Severity::Error,
        resource: Some("connections"),
        evidence: &[
            last("limit", Unit::Count, "connections that may be open"),
            last("used", Unit::Count, "connections that were open"),
        ],
        causes: &[
            Cause {
                name: "app",
                sentence: "{app} had {used} of {limit} connections open; {count} more were answered 503",
                remedy: "raise `connections` in [apps.{app}.limits], or close idle ones earlier with `keepalive_timeout` there",
            },
            Cause {
                name: "host",
                sentence: "the host had {used} of {limit} connections open; {count} more were answered 503 (of {app})",
                remedy: "raise `connections` in [host]; `ss -tn state established` shows who holds them",
            },
        ],
    },
    Entry {
        code: Code::N11,
        title: "queue full",
        status: Some(503),
        severity: Severity::Error,
        resource: Some("queue"),
        evidence: &[
            last("limit", Unit::Count, "requests that may wait"),
            most("used", Unit::Count, "requests that waited"),
            last("busy", Unit::Count, "slots in use"),
            last("slots", Unit::Count, "slots of all workers"),
        ],
        causes: &[Cause {
            name: "limit",
            sentence: "the queue of {app} was full ({limit|request} waited« for {slots|slot}, {busy} of them busy»); {count} more were answered 503",
            remedy: "`serpentry scale {app} N` adds workers; a longer `queue` in [apps.{app}.limits] helps only against bursts",
        }],
    },
    Entry {
        code: Code::N12,
        title: "waited too long in the queue",
        status: Some(503),
        severity: Severity::Error,
        resource: Some("queue"),
        evidence: &[
            last("limit_seconds", Unit::Seconds, "the longest wait for a worker"),
            most("waiting", Unit::Count, "requests that waited at that time"),
            last("busy", Unit::Count, "slots in use"),
            last("slots", Unit::Count, "slots of all workers"),
        ],
        causes: &[Cause {
            name: "limit",
            sentence: "{count|request} to {app} waited {limit_seconds} for a free worker and got 503«; {busy} of {slots} slots were busy»",
            remedy: "`serpentry scale {app} N` adds workers; `serpentry status {app}` shows whether they are slow or too few",
        }],
    },
    Entry {
        code: Code::N20,
        title: "request deadline",
        status: Some(504),
        severity: Severity::Error,
        resource: Some("time"),
        evidence: &[
            last("limit_seconds", Unit::Seconds, "the deadline"),
            last("served_seconds", Unit::Seconds, "how long the worker had served"),
            sum("in_flight", Unit::Count, "requests that were inside when the worker was killed"),
            sum("replayed", Unit::Count, "of these, how many were run again on another worker"),
            sum("failed", Unit::Count, "of these, how many were answered 502"),
            last("reason", Unit::Text, "what the supervisor said"),
            last("stack", Unit::Block, "where the code of the latest one was"),
        ],
        causes: &[
            Cause {
                name: "request_timeout",
                sentence: "{count|request} to {app} got 504 because no answer was complete within {limit_seconds}; the code was interrupted",
                remedy: "the stack shows where it was; if it may take that long, raise `request_timeout` in [apps.{app}.limits] or for one path in [[apps.{app}.overrides]]",
            },
            Cause {
                name: "first_byte_timeout",
                sentence: "{count|request} to {app} got 504 because no answer began within {limit_seconds}; the code was interrupted",
                remedy: "the stack shows where it was; the limit is `first_byte_timeout` in [apps.{app}.limits]",
            },
            Cause {
                name: "hung",
                sentence: "worker {worker}« (pid {pid})» of {app} did not come back from a request that was interrupted at its deadline, and was killed«; inside: {in_flight|other request}, {replayed} run again, {failed} answered 502»",
                remedy: "code that cannot be interrupted waits outside of Python: give its client library a timeout of its own, shorter than `request_timeout`",
            },
        ],
    },
    Entry {
        code: Code::N21,
        title: "slow client",
        status: Some(408),
        severity: Severity::Notice,
        resource: Some("time"),
        evidence: &[last("limit_seconds", Unit::Seconds, "the longest time, or pause, that is waited for")],
        causes: &[
            Cause {
                name: "head",
                sentence: "{count|client}« of {app}» got 408 for not sending a request head within {limit_seconds}",
                remedy: "nothing to do unless the clients are yours; the limit is `header_timeout` in [host]",
            },
            Cause {
                name: "body",
                sentence: "{count|client} of {app} got 408 for sending nothing of a request body for {limit_seconds}",
                remedy: "nothing to do unless the clients are yours; the limit is `body_timeout` in [apps.{app}.limits]",
            },
        ],
    },
    Entry {
        code: Code::N22,
        title: "too large",
        status: Some(413),
        severity: Severity::Notice,
        resource: Some("size"),
        evidence: &[last("limit_bytes", Unit::Bytes, "the largest size")],
        causes: &[
            Cause {
                name: "body",
                sentence: "{count|request} to {app} got 413 for a body larger than {limit_bytes}",
                remedy: "if they are meant to be, raise `body_size` in [apps.{app}.limits] or for one path in [[apps.{app}.overrides]]",
            },
            Cause {
                name: "head",
                sentence: "{count|request} to {app} got 431 for a head larger than {limit_bytes} or with too many fields",
                remedy: "often a cookie that grows; if they are meant to be, raise `header_size` in [apps.{app}.limits]",
            },
        ],
    },
    Entry {
        code: Code::N23,
        title: "clients left",
        status: None,
        severity: Severity::Warning,
        resource: None,
        evidence: &[
            sum("finished", Unit::Count, "requests that ended in the seconds in which clients left"),
            last("waiting", Unit::Count, "requests that waited for a worker"),
        ],
        causes: &[Cause {
            name: "before_answer",
            sentence: "{count} of {finished} clients of {app} left before they were answered",
            remedy: "they may have waited too long: `serpentry status {app}` shows the latency and the queue",
        }],
    },
    Entry {
        code: Code::N30,
        title: "bandwidth limit",
        status: None,
        severity: Severity::Warning,
        resource: Some("bandwidth"),
        evidence: &[
            last("limit_bytes_per_second", Unit::BytesPerSecond, "its limit"),
            last("used_bytes_per_second", Unit::BytesPerSecond, "what passed"),
        ],
        causes: &[Cause {
            name: "limit",
            sentence: "{app} reached its bandwidth of {limit_bytes_per_second}; transfers were slowed down",
            remedy: "raise `bandwidth_out` or `bandwidth_in` in [apps.{app}.limits]",
        }],
    },
];
