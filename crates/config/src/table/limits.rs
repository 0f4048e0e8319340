//! `[apps.NAME.limits]`: what an application may use, and what it is given if nothing is said.

use super::{Fallback, KIB, Kind, MIB, Section, Setting, TIB, Unlimited, count, optional_time, time};
use crate::names::Named;
use crate::plan::Egress;

/// A size that may be unlimited.
const fn optional_size(min: u64) -> Kind {
    Kind::Size { min, max: 1024 * TIB, none: Unlimited::Word }
}

pub const LIMITS: Section = Section {
    title: "[apps.NAME.limits]",
    about: "What an application may use. Connections, queue, times, header and body sizes are enforced by the router on every \
            machine; the others need the kernel.",
    settings: &[
        Setting {
            name: "cpu",
            kind: Kind::Number { min: 0.01, max: 4_096.0, none: Unlimited::Word },
            default: Fallback::ByTenancy { shared: r#""none""#, isolated: "1" },
            about: "Cores. Whole numbers are whole cores if the application is isolated; a fraction is a quota.",
            example: "0.5",
        },
        Setting {
            name: "cpu_weight",
            kind: count(1, 10_000),
            default: Fallback::Is("100"),
            about: "Share of the processors among shared applications when all are busy, in proportion.",
            example: "200",
        },
        Setting {
            name: "memory",
            kind: optional_size(MIB),
            default: Fallback::ByTenancy { shared: r#""none""#, isolated: r#""512MiB""# },
            about: "Memory of all workers together. A worker is killed at the limit and replaced.",
            example: r#""256MiB""#,
        },
        Setting {
            name: "disk_read",
            kind: Kind::Rate,
            default: Fallback::Is(r#""none""#),
            about: "How fast disks are read: bytes or operations per second.",
            example: r#""20MiB/s""#,
        },
        Setting {
            name: "disk_write",
            kind: Kind::Rate,
            default: Fallback::Is(r#""none""#),
            about: "How fast disks are written: bytes or operations per second.",
            example: r#""500ops/s""#,
        },
        Setting {
            name: "disk_space",
            kind: optional_size(MIB),
            default: Fallback::ByTenancy { shared: r#""none""#, isolated: r#""1GiB""# },
            about: "Space on the application's own volume.",
            example: r#""5GiB""#,
        },
        Setting {
            name: "processes",
            kind: count(1, 4_194_304),
            default: Fallback::Is("256"),
            about: "Processes and threads of all workers together.",
            example: "64",
        },
        Setting {
            name: "open_files",
            kind: count(64, 1_048_576),
            default: Fallback::Is("1024"),
            about: "Open files of each process.",
            example: "4096",
        },
        Setting {
            name: "connections",
            kind: count(1, 1_000_000),
            default: Fallback::Is("1024"),
            about: "Open client connections whose latest request was for this application; one more is answered 503.",
            example: "200",
        },
        Setting {
            name: "queue",
            kind: count(0, 100_000),
            default: Fallback::Is("100"),
            about: "Requests that may wait for a worker; one more is answered 503.",
            example: "500",
        },
        Setting {
            name: "queue_timeout",
            kind: time(),
            default: Fallback::Is(r#""10s""#),
            about: "Longest wait for a worker; then the answer is 503.",
            example: r#""3s""#,
        },
        Setting {
            name: "request_timeout",
            kind: optional_time(),
            default: Fallback::Is(r#""30s""#),
            about: "Longest time for a request, from its arrival to the last byte of the answer; then the answer is 504 and the \
                    request is stopped. WebSockets are exempt.",
            example: r#""20s""#,
        },
        Setting {
            name: "first_byte_timeout",
            kind: optional_time(),
            default: Fallback::Is(r#""none""#),
            about: "Longest time from handing a request to a worker to the first byte of the answer; then the answer is 504 and the \
                    request is stopped.",
            example: r#""10s""#,
        },
        Setting {
            name: "header_timeout",
            kind: time(),
            default: Fallback::Is(r#""10s""#),
            about: "Longest time for a request head to arrive. Before the application is known the largest of all applications \
                    counts.",
            example: r#""5s""#,
        },
        Setting {
            name: "body_timeout",
            kind: time(),
            default: Fallback::Is(r#""30s""#),
            about: "Longest pause while a request body arrives or a response is read.",
            example: r#""10s""#,
        },
        Setting {
            name: "keepalive_timeout",
            kind: time(),
            default: Fallback::Is(r#""75s""#),
            about: "How long an idle connection is kept. Before the first request the largest of all applications counts.",
            example: r#""15s""#,
        },
        Setting {
            name: "header_size",
            kind: Kind::Size { min: KIB, max: 128 * KIB, none: Unlimited::Never },
            default: Fallback::Is(r#""64KiB""#),
            about: "Largest request head; more is answered 431.",
            example: r#""16KiB""#,
        },
        Setting {
            name: "body_size",
            kind: Kind::Size { min: 0, max: TIB, none: Unlimited::Never },
            default: Fallback::Is(r#""16MiB""#),
            about: "Largest request body; more is answered 413. Above 1 MiB it waits on disk, not in memory.",
            example: r#""100MiB""#,
        },
        Setting {
            name: "bandwidth_in",
            kind: Kind::Bandwidth,
            default: Fallback::Is(r#""none""#),
            about: "What all clients together may send to the application, per second: heads and bodies as they come, WebSocket frames included. After a pause, 50 ms worth (at least 16 KiB) may come at once.",
            example: r#""10MiB/s""#,
        },
        Setting {
            name: "bandwidth_out",
            kind: Kind::Bandwidth,
            default: Fallback::Is(r#""none""#),
            about: "What the application may send to all clients together, per second; those who want more share it equally. After a pause, 50 ms worth (at least 16 KiB) may go at once.",
            example: r#""100Mbit/s""#,
        },
        Setting {
            name: "socket_buffers",
            kind: Kind::Size { min: 4 * KIB, max: 64 * MIB, none: Unlimited::Word },
            default: Fallback::Is(r#""none""#),
            about: "Send and receive buffer of each client connection, from its first request on; `none` leaves it to the system, which tunes them. The kernel allows at most `net.core.wmem_max` and `net.core.rmem_max`, and doubles the size for its own bookkeeping.",
            example: r#""256KiB""#,
        },
        Setting {
            name: "egress",
            kind: Kind::Choice(Egress::NAMES),
            default: Fallback::ByTenancy { shared: r#""host""#, isolated: r#""none""# },
            about: "Where the application may connect to.",
            example: r#""nat""#,
        },
        Setting {
            name: "message_size",
            kind: Kind::Size { min: KIB, max: 256 * MIB, none: Unlimited::Never },
            default: Fallback::Is(r#""16MiB""#),
            about: "Largest WebSocket message.",
            example: r#""1MiB""#,
        },
    ],
};
