//! `[host]`: what belongs to no single application.

use super::{Fallback, KIB, Kind, MIB, Section, Setting, TIB, Unlimited, count, time};
use crate::names::Named;
use crate::plan::{AccessLogFormat, LogLevel};

pub const HOST: Section = Section {
    title: "[host]",
    about: "What belongs to no single application. The whole table may be left out.",
    settings: &[
        Setting {
            name: "listen",
            kind: Kind::Addresses,
            default: Fallback::Found("127.0.0.1:8000, or 0.0.0.0:$PORT if the environment has PORT"),
            about: "Where clients connect: `HOST:PORT`, `[IPv6]:PORT`, `:PORT` (all interfaces), `unix:PATH` or `fd://N`. \
                    A relative path is relative to the directory of this file.",
            example: r#"["127.0.0.1:8000", "unix:run/http.sock"]"#,
        },
        Setting {
            name: "state",
            kind: Kind::Directory,
            default: Fallback::Found("$STATE_DIRECTORY if the environment has it, else .serpentry"),
            about: "State directory: control socket, logs, incidents, history. One host at a time owns it. A relative path is \
                    relative to the directory of this file.",
            example: r#"".serpentry""#,
        },
        Setting {
            name: "connections",
            kind: count(1, 1_000_000),
            default: Fallback::Is("10000"),
            about: "Open client connections of the whole host; one more is answered 503.",
            example: "20000",
        },
        Setting {
            name: "forwarded_allow_ips",
            kind: Kind::Proxies,
            default: Fallback::Found("127.0.0.1,::1, or $FORWARDED_ALLOW_IPS if the environment has it"),
            about: "Proxies whose `X-Forwarded-*` and `Forwarded` fields are believed: addresses and networks separated by \
                    commas, or `*` for any.",
            example: r#""10.0.0.0/8,::1""#,
        },
        Setting {
            name: "access_log",
            kind: Kind::Log,
            default: Fallback::Is(r#""none""#),
            about: "File that gets one line per request; `-` for standard output. A relative path is relative to the directory \
                    of this file.",
            example: r#""logs/access.log""#,
        },
        Setting {
            name: "access_log_format",
            kind: Kind::Choice(AccessLogFormat::NAMES),
            default: Fallback::Is(r#""combined""#),
            about: "Form of the access log.",
            example: r#""json""#,
        },
        Setting {
            name: "default_app",
            kind: Kind::Application,
            default: Fallback::Found("the only application if it has no routes, else none"),
            about: "The application that gets requests which no route matches. Without one, a request for an unknown host is \
                    answered 421, for an unknown path 404.",
            example: r#""shop""#,
        },
        Setting {
            name: "graceful_timeout",
            kind: time(),
            default: Fallback::Is(r#""30s""#),
            about: "When the host stops: how long running requests may take to finish before everything is killed.",
            example: r#""1m""#,
        },
        Setting {
            name: "log_level",
            kind: Kind::Choice(LogLevel::NAMES),
            default: Fallback::Is(r#""info""#),
            about: "What the host says on standard error.",
            example: r#""warning""#,
        },
        Setting {
            name: "log_size",
            kind: Kind::Size { min: 64 * KIB, max: TIB, none: Unlimited::Never },
            default: Fallback::Is(r#""10MiB""#),
            about: "Size at which the log of an application (its output, in the state directory) is rotated.",
            example: r#""50MiB""#,
        },
        Setting {
            name: "log_files",
            kind: count(1, 1_000),
            default: Fallback::Is("5"),
            about: "How many rotated logs are kept for each application.",
            example: "10",
        },
        Setting {
            name: "pool_cpu",
            kind: Kind::Number { min: 0.01, max: 4_096.0, none: Unlimited::Word },
            default: Fallback::Is(r#""none""#),
            about: "Cores that all shared applications together may use. Without it: all that isolated applications leave.",
            example: "1.5",
        },
        Setting {
            name: "pool_memory",
            kind: Kind::Size { min: 16 * MIB, max: 1024 * TIB, none: Unlimited::Word },
            default: Fallback::Is(r#""none""#),
            about: "Memory that all shared applications together may use. Without it: all that isolated applications leave, but a \
                    reserve for the host.",
            example: r#""2GiB""#,
        },
        Setting {
            name: "on_incident",
            kind: Kind::Hook,
            default: Fallback::Is(r#""none""#),
            about: "Who is told when an incident opens or closes that is more than a notice: a program, which gets it as one \
                    line of JSON on its standard input (as `serpentry events --json` prints it), or an `http://` URL, to which \
                    it is posted. At most 10 calls at once and then 10 in a minute, each for at most 10 s; nothing waits for \
                    them. A relative path is relative to the directory of this file.",
            example: r#""/usr/local/bin/page-me""#,
        },
    ],
};
