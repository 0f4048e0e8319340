//! M: memory, its limits, and how it grows.

use super::{last, sum};
use crate::code::{Cause, Code, Entry, Evidence, Severity, Unit};

const LIMIT: Evidence = last("limit_bytes", Unit::Bytes, "what it may use");
const USED: Evidence = last("used_bytes", Unit::Bytes, "what it used");
const GROWTH: Evidence =
    last("growth_bytes", Unit::Bytes, "growth per request, by regression over the requests before");
const IN_FLIGHT: Evidence = sum("in_flight", Unit::Count, "requests that were inside");
const REPLAYED: Evidence =
    sum("replayed", Unit::Count, "of these, how many were run again on another worker");
const FAILED: Evidence = sum("failed", Unit::Count, "of these, how many were answered 502");
const SERVED: Evidence = last("served_seconds", Unit::Seconds, "how long the worker had served");

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        code: Code::M10,
        title: "killed at its memory limit",
        status: Some(502),
        severity: Severity::Error,
        resource: Some("memory"),
        evidence: &[
            LIMIT,
            USED,
            GROWTH,
            SERVED,
            IN_FLIGHT,
            REPLAYED,
            FAILED,
            last("workers", Unit::Count, "workers that were wanted at that time"),
            last("oom_kills", Unit::Count, "the control group's counter moved by this much"),
        ],
        causes: &[
            Cause {
                name: "own_limit",
                sentence: "worker {worker}« (pid {pid})» of {app}« (1 of {workers})» was killed by the kernel at the memory limit of {limit_bytes} ({used_bytes} used)«; it grew by {growth_bytes} per request»«; inside: {in_flight|request}, {replayed} run again, {failed} answered 502»",
                remedy: "raise `memory` in [apps.{app}.limits], lower `workers`, or set `recycle_memory` in [apps.{app}] below the limit so that workers are replaced before",
            },
            Cause {
                name: "pool",
                sentence: "worker {worker}« (pid {pid})» of {app} was killed by the kernel because the shared pool reached {limit_bytes}, and no other application used as much of it as this one ({used_bytes})«; inside: {in_flight|request}, {replayed} run again, {failed} answered 502»",
                remedy: "set `memory` in [apps.{app}.limits] so that it is limited before it fills the pool, or raise `pool_memory` in [host]",
            },
        ],
    },
    Entry {
        code: Code::M11,
        title: "killed although innocent",
        status: Some(502),
        severity: Severity::Error,
        resource: Some("memory"),
        evidence: &[
            LIMIT,
            USED,
            SERVED,
            IN_FLIGHT,
            REPLAYED,
            FAILED,
            last("culprit", Unit::Text, "the application that used most of the pool"),
            last("culprit_bytes", Unit::Bytes, "what that used"),
            last("own_bytes", Unit::Bytes, "what this application used"),
        ],
        causes: &[Cause {
            name: "pool",
            sentence: "worker {worker}« (pid {pid})» of {app} was killed because the shared pool reached {limit_bytes}«; {culprit} used {culprit_bytes} of it»«, {app} only {own_bytes}»«; inside: {in_flight|request}, {replayed} run again, {failed} answered 502»",
            remedy: "limit the one that fills the pool: `memory` in its [apps.NAME.limits]; or `tenancy = \"isolated\"` in [apps.{app}] for memory of its own",
        }],
    },
    Entry {
        code: Code::M20,
        title: "near its memory limit",
        status: None,
        severity: Severity::Warning,
        resource: Some("memory"),
        evidence: &[
            LIMIT,
            USED,
            GROWTH,
            last("left_seconds", Unit::Seconds, "until the limit, at this rate"),
            last("own_bytes", Unit::Bytes, "what this application uses of the shared pool"),
        ],
        causes: &[
            Cause {
                name: "usage",
                sentence: "{app} uses {used_bytes} of {limit_bytes}«; it grows by {growth_bytes} per request»«, which leaves about {left_seconds}»",
                remedy: "`serpentry restart {app}` frees it now; then raise `memory` in [apps.{app}.limits] or set `recycle_memory` in [apps.{app}]",
            },
            Cause {
                name: "pool",
                sentence: "the shared applications together use {used_bytes} of {limit_bytes}, and none of them uses more than {app}« ({own_bytes})»: at the limit the kernel kills the largest process, whoever it belongs to",
                remedy: "`serpentry restart {app}` frees its part now; then set `memory` in [apps.{app}.limits] so that it cannot fill the pool, or raise `pool_memory` in [host]; who must not be hit by it gets `tenancy = \"isolated\"`",
            },
        ],
    },
    Entry {
        code: Code::M30,
        title: "memory grows with every request",
        status: None,
        severity: Severity::Warning,
        resource: None,
        evidence: &[
            GROWTH,
            USED,
            last("requests_seen", Unit::Count, "requests of the regression"),
            last("top", Unit::Block, "lines that allocated most"),
        ],
        causes: &[Cause {
            name: "regression",
            sentence: "every request to {app} leaves {growth_bytes} behind« (over {requests_seen} requests)»",
            remedy: "until it is mended, `max_requests` in [apps.{app}] replaces workers before it hurts; `serpentry memory {app}` lists the lines that allocate, now and in `serpentry why {app}`",
        }],
    },
    Entry {
        code: Code::M31,
        title: "memory grows with distinct inputs",
        status: None,
        severity: Severity::Warning,
        resource: None,
        evidence: &[
            last("growth_bytes", Unit::Bytes, "growth per input that it had not seen before, by regression"),
            USED,
            last("requests_seen", Unit::Count, "requests of the regression"),
            last("top", Unit::Block, "lines that allocated most"),
        ],
        causes: &[Cause {
            name: "regression",
            sentence: "{app} keeps {growth_bytes} for every input that it has not seen before«, and nothing for the others» (an unbounded cache)",
            remedy: "give the cache a bound, for example `functools.lru_cache(maxsize=1024)`; `serpentry memory {app}` lists the lines that allocate, now and in `serpentry why {app}`",
        }],
    },
];
