//! C: time on a processor, and who took it.

use super::{last, most, sum};
use crate::code::{Cause, Code, Entry, Severity, Unit};

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        code: Code::C10,
        title: "throttled by its own quota",
        status: None,
        severity: Severity::Warning,
        resource: Some("cpu"),
        evidence: &[
            last("limit_cores", Unit::Cores, "its quota"),
            last("used_cores", Unit::Cores, "what it used over the interval"),
            last("throttled_percent", Unit::Percent, "periods in which it was held back"),
            sum("throttled_ms", Unit::Milliseconds, "time held back, over all its workers"),
            last("interval_seconds", Unit::Seconds, "how long that was measured"),
        ],
        causes: &[Cause {
            name: "quota",
            sentence: "{app} was held back by its own CPU limit of {limit_cores} in {throttled_percent} of all periods« for {throttled_ms}»« (it used {used_cores})»",
            remedy: "raise `cpu` in [apps.{app}.limits], or give it whole cores, which are pinned and not throttled; `serpentry status {app}` shows the rest",
        }],
    },
    Entry {
        code: Code::C11,
        title: "starved by neighbours",
        status: None,
        severity: Severity::Warning,
        resource: None,
        evidence: &[
            last("waited_ms", Unit::Milliseconds, "time its threads were ready to run and did not"),
            last("interval_seconds", Unit::Seconds, "how long that was measured"),
            last("neighbour", Unit::Text, "the application that used most"),
            last("neighbour_cores", Unit::Cores, "what that used"),
            last("neighbour_percent", Unit::Percent, "its share of all that was used"),
        ],
        causes: &[Cause {
            name: "neighbours",
            sentence: "{app} was ready to run and waited {waited_ms}« in {interval_seconds}» while its own limit did not hold it back«; {neighbour} used {neighbour_cores}»« ({neighbour_percent})»",
            remedy: "give {app} a larger `cpu_weight` in [apps.{app}.limits], its neighbour a `cpu` limit, or {app} cores of its own with `tenancy = \"isolated\"`",
        }],
    },
    Entry {
        code: Code::C20,
        title: "CPU-heavy requests",
        status: None,
        severity: Severity::Notice,
        resource: None,
        evidence: &[
            last("route", Unit::Text, "method and path of the requests"),
            last("cpu_ms", Unit::Milliseconds, "CPU time of one of them"),
            last("cpu_percent", Unit::Percent, "CPU time in the time they ran"),
        ],
        causes: &[Cause {
            name: "thread_clock",
            sentence: "requests to {route} of {app} use {cpu_ms} of CPU each«, {cpu_percent} of the time they run»",
            remedy: "more threads do not help with this: `serpentry scale {app} N` up to the number of cores, or move the work out of the request",
        }],
    },
    Entry {
        code: Code::C21,
        title: "event loop blocked",
        status: None,
        severity: Severity::Warning,
        resource: None,
        evidence: &[
            most("blocked_ms", Unit::Milliseconds, "how long the loop did nothing else"),
            last("place", Unit::Text, "file and line that blocked it"),
            last("call", Unit::Text, "the function that is called there"),
            last("inner", Unit::Text, "where that was at the innermost, and what the thread did"),
            sum("waited", Unit::Count, "other requests that were inside of the worker meanwhile"),
            last("stack", Unit::Block, "where the loop's thread was"),
        ],
        causes: &[
            Cause {
                name: "heartbeat",
                sentence: "the event loop of worker {worker}« (pid {pid})» of {app} was blocked for {blocked_ms}« in {call}»« at {place}»« ({inner})»«; {waited|request} waited»",
                remedy: "run that call elsewhere: `await asyncio.to_thread(...)`, or use an async library for it",
            },
            Cause {
                name: "native",
                sentence: "the event loop of worker {worker}« (pid {pid})» of {app} was blocked for {blocked_ms} because native code kept the interpreter lock« in {call}»« at {place}»«; its thread was {inner}»«; {waited|request} waited»",
                remedy: "run that call in another process, for example with `concurrent.futures.ProcessPoolExecutor`: in a thread it would keep the lock as well",
            },
        ],
    },
    Entry {
        code: Code::C22,
        title: "GIL held",
        status: None,
        severity: Severity::Notice,
        resource: None,
        evidence: &[
            last("route", Unit::Text, "method and path of the request that held it"),
            last("held_ms", Unit::Milliseconds, "CPU time of that request"),
            sum("delayed", Unit::Count, "other requests in the same worker that waited"),
        ],
        causes: &[Cause {
            name: "residual",
            sentence: "{route} of {app} computed for {held_ms} and kept {delayed} other requests in its worker waiting for the interpreter lock",
            remedy: "use more workers with fewer threads: `threads = 1` and a larger `workers` in [apps.{app}]",
        }],
    },
];
