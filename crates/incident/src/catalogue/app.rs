//! A: the application's own doing, as far as that is known.

use super::{last, most, sum};
use crate::code::{Cause, Code, Entry, Severity, Unit};

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        code: Code::A10,
        title: "did not boot",
        status: Some(503),
        severity: Severity::Error,
        resource: None,
        evidence: &[
            last("generation", Unit::Count, "the version of the code and configuration that did not boot"),
            last("reason", Unit::Text, "what the worker, the jail or the operating system said"),
            last("exit_status", Unit::Count, "exit status of the process, if it exited by itself"),
            last("signal", Unit::Signal, "the signal that ended the process, if one did"),
            last("traceback", Unit::Block, "Python's own words"),
        ],
        causes: &[
            Cause {
                name: "application",
                sentence: "{app} did not boot«: {reason}»« (worker {worker}, generation {generation})»«; tried {times} times»",
                remedy: "read the traceback (`serpentry why {app}`), mend the code, then `serpentry restart {app}`; what serves already serves on",
            },
            Cause {
                name: "ended",
                sentence: "a process of {app} ended before it was ready« ({reason})»« with status {exit_status}»« by {signal}»; what it printed last is in its log",
                remedy: "`serpentry logs {app}` shows what it printed; `serpentry restart {app}` tries again at once",
            },
            Cause {
                name: "start",
                sentence: "a process of {app} could not be started: {reason}",
                remedy: "the sentence names what was in the way: mend it, then `serpentry restart {app}` (or `serpentry move` again); what serves already serves on",
            },
        ],
    },
    Entry {
        code: Code::A11,
        title: "not ready in time",
        status: Some(503),
        severity: Severity::Error,
        resource: None,
        evidence: &[
            last(
                "limit_seconds",
                Unit::Seconds,
                "how long a worker may take to become ready, or a request may wait for that",
            ),
            last("generation", Unit::Count, "the version of the code and configuration"),
            last("reason", Unit::Text, "what the supervisor said"),
        ],
        causes: &[
            Cause {
                name: "worker",
                sentence: "worker {worker}« (pid {pid})» of {app} was not ready within {limit_seconds} and was killed; what it was doing is not known",
                remedy: "if it needs longer, set `start_timeout` in [apps.{app}]; `serpentry logs {app}` shows what it printed meanwhile",
            },
            Cause {
                name: "visitor",
                sentence: "no worker of {app} became ready while requests waited« for {limit_seconds}»: {count} answered 503",
                remedy: "`serpentry why {app}` says why no worker is ready; `min = 1` in `workers` of [apps.{app}] keeps one ready",
            },
        ],
    },
    Entry {
        code: Code::A20,
        title: "crashed",
        status: Some(502),
        severity: Severity::Error,
        resource: None,
        evidence: &[
            last("signal", Unit::Signal, "the signal that ended the worker, from its wait status"),
            last("route", Unit::Text, "the only route with a request inside of each of the latest crashes"),
            last("route_crashes", Unit::Count, "how many those were"),
            last("served_seconds", Unit::Seconds, "how long it had served"),
            last("workers", Unit::Count, "workers that were wanted at that time"),
            sum("in_flight", Unit::Count, "requests that were inside"),
            sum("replayed", Unit::Count, "of these, how many were run again on another worker"),
            sum("failed", Unit::Count, "of these, how many were answered 502"),
        ],
        causes: &[
            Cause {
                name: "signal",
                sentence: "worker {worker}« (pid {pid})» of {app} was ended by {signal}« after {served_seconds} of service»«; inside: {in_flight|request}, {replayed} run again, {failed} answered 502»«; this has happened {times} times»«; {route} was inside of each of the last {route_crashes} that crashed»",
                remedy: "`env.PYTHONFAULTHANDLER = \"1\"` in [apps.{app}] makes the next crash print its Python stack to `serpentry logs {app}`",
            },
            Cause {
                name: "sigkill",
                sentence: "worker {worker}« (pid {pid})» of {app} was ended by {signal}, which this host did not send; cause unknown: no limit is known to have been reached«; it had served for {served_seconds}»«; inside: {in_flight|request}, {replayed} run again, {failed} answered 502»«; this has happened {times} times»",
                remedy: "`dmesg -T | grep -i 'killed process'` tells whether the kernel ran out of memory; otherwise another program or person sent the signal",
            },
            Cause {
                name: "unexplained",
                sentence: "a worker of {app} closed its connection to the router; {count|request} answered 502; how it ended is not known",
                remedy: "`serpentry logs {app}` shows what it printed last, and `serpentry status {app}` whether it is still there",
            },
        ],
    },
    Entry {
        code: Code::A21,
        title: "exited",
        status: Some(502),
        severity: Severity::Error,
        resource: None,
        evidence: &[
            last("exit_status", Unit::Count, "exit status of the worker"),
            last("limit_seconds", Unit::Seconds, "the graceful timeout"),
            last("reason", Unit::Text, "why this host ended it"),
            last("served_seconds", Unit::Seconds, "how long it had served"),
            sum("in_flight", Unit::Count, "requests that were inside"),
            sum("replayed", Unit::Count, "of these, how many were run again on another worker"),
            sum("failed", Unit::Count, "of these, how many were answered 502"),
        ],
        causes: &[
            Cause {
                name: "exit",
                sentence: "worker {worker}« (pid {pid})» of {app} exited by itself« with status {exit_status}»« after {served_seconds} of service»«; inside: {in_flight|request}, {replayed} run again, {failed} answered 502»«; this has happened {times} times»",
                remedy: "look for os._exit, sys.exit in a thread, or a library that ends the process: `serpentry logs {app}` shows what it printed last",
            },
            Cause {
                name: "killed_at_graceful_timeout",
                sentence: "worker {worker}« (pid {pid})» of {app} was told to finish« and still ran {in_flight|request} after {limit_seconds}»; it was killed«: {replayed} run again, {failed} answered 502»",
                remedy: "if requests may take that long, raise `graceful_timeout` in [apps.{app}]; a `request_timeout` below it makes them end earlier",
            },
            Cause {
                name: "ended_by_host",
                sentence: "worker {worker}« (pid {pid})» of {app} was ended by this host ({reason})«; inside: {in_flight|request}, {replayed} run again, {failed} answered 502»",
                remedy: "this follows from what the host was asked to do; `serpentry logs {app}` shows what came before",
            },
        ],
    },
    Entry {
        code: Code::A22,
        title: "crash loop",
        status: Some(503),
        severity: Severity::Error,
        resource: None,
        evidence: &[
            most("round", Unit::Count, "pauses in a row"),
            last("delay_seconds", Unit::Seconds, "the pause before the next worker is started"),
            last("reason", Unit::Text, "how the latest worker failed"),
        ],
        causes: &[Cause {
            name: "backed_off",
            sentence: "workers of {app} fail again and again: {round} pauses in a row, the next worker is started in {delay_seconds}«; the latest failed so: {reason}»",
            remedy: "the incidents before this one say why; when it is mended, `serpentry restart {app}` does not wait for the pause",
        }],
    },
    Entry {
        code: Code::A30,
        title: "broken response",
        status: Some(500),
        severity: Severity::Error,
        resource: None,
        evidence: &[
            last("fault", Unit::Text, "the rule that the response breaks"),
            last("served_seconds", Unit::Seconds, "how long the worker had served"),
            sum("in_flight", Unit::Count, "requests that were inside when its link was cut"),
            sum("replayed", Unit::Count, "of these, how many were run again on another worker"),
            sum("failed", Unit::Count, "of these, how many were answered 502"),
        ],
        causes: &[
            Cause {
                name: "response",
                sentence: "{app} sent {count|response} with invalid HTTP«: {fault}»",
                remedy: "the requests name the view: mend the header or length it sends; `serpentry logs {app}` has the lines around it",
            },
            Cause {
                name: "protocol",
                sentence: "worker {worker}« (pid {pid})» of {app} broke the protocol between worker and host and was killed«: {fault}»«; inside: {in_flight|request}, {replayed} run again, {failed} answered 502»",
                remedy: "something in the process wrote to or closed descriptors that are not its own (`os.closerange`, a careless fork); if not, please report it",
            },
        ],
    },
    Entry {
        code: Code::A31,
        title: "failed to answer",
        status: Some(500),
        severity: Severity::Error,
        resource: None,
        evidence: &[],
        causes: &[Cause {
            name: "exception",
            sentence: "{app} raised an exception, or ended without an answer, for {count|request}, which got 500 or an answer that was cut off",
            remedy: "`serpentry logs {app}` has the traceback, with the id of the request where the application logs it",
        }],
    },
];
