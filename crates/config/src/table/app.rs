//! `[apps.NAME]`, and `[defaults]`, which has the same keys but `routes`: one application.

use super::{Fallback, Kind, MIB, Section, Setting, TIB, Unlimited, count, time};
use crate::names::Named;
use crate::plan::{Concurrency, Enforcement, EventLoop, Interface, Lifespan, Tenancy};

pub const APP: Section = Section {
    title: "[apps.NAME]",
    about: "One application. The name has lower-case letters, digits, `_` and `-`, begins with a letter or digit, and is at most \
            63 characters long. What stands in `[defaults]` applies to every application that does not say otherwise.",
    settings: &[
        Setting {
            name: "app",
            kind: Kind::Callable,
            default: Fallback::Required,
            about: "The application: `module:attribute`, or `module` alone, or a factory as `module:function()`.",
            example: r#""shop.wsgi:application""#,
        },
        Setting {
            name: "factory",
            kind: Kind::Flag,
            default: Fallback::Is("false"),
            about: "Call the attribute to get the application.",
            example: "true",
        },
        Setting {
            name: "directory",
            kind: Kind::Directory,
            default: Fallback::Found("the directory of this file"),
            about: "The application's directory: where its modules are looked for and where its workers run. A relative path is \
                    relative to the directory of this file.",
            example: r#""/srv/shop""#,
        },
        Setting {
            name: "python",
            kind: Kind::Interpreter,
            default: Fallback::Found(".venv or venv in the application's directory, else python3 of PATH"),
            about: "The application's interpreter, CPython 3.10 or newer: a path, relative to the application's directory, or the \
                    name of a command.",
            example: r#"".venv/bin/python""#,
        },
        Setting {
            name: "routes",
            kind: Kind::Routes,
            default: Fallback::Found(
                "everything, if it is the only application or the `default_app`; else required",
            ),
            about: "Which requests the application gets: a list of `host`, `host/prefix`, `*.host`, `*.host/prefix`, `/prefix` \
                    (any host) and `*` (everything). The exact host comes before a wildcard, a wildcard before any host; then \
                    the longest prefix wins. Two applications cannot have the same route.",
            example: r#"["shop.example.com", "example.com/shop"]"#,
        },
        Setting {
            name: "tenancy",
            kind: Kind::Choice(Tenancy::NAMES),
            default: Fallback::Is(r#""shared""#),
            about: "How the application shares the machine. The defaults of some limits depend on it.",
            example: r#""isolated""#,
        },
        Setting {
            name: "user",
            kind: Kind::User,
            default: Fallback::Found(
                "the host's own user if shared, a user without a name of its own if isolated",
            ),
            about: "Name or number of the user its workers run as. The host must run as root for any other than its own.",
            example: r#""www-data""#,
        },
        Setting {
            name: "enforce",
            kind: Kind::Choice(Enforcement::NAMES),
            default: Fallback::Is(r#""available""#),
            about: "What to do when this machine cannot enforce one of its limits. `serpentry doctor` says which it can.",
            example: r#""strict""#,
        },
        Setting {
            name: "interface",
            kind: Kind::Choice(Interface::NAMES),
            default: Fallback::Is(r#""auto""#),
            about: "Kind of application.",
            example: r#""asgi""#,
        },
        Setting {
            name: "concurrency",
            kind: Kind::Choice(Concurrency::NAMES),
            default: Fallback::Is(r#""auto""#),
            about: "How a worker runs requests.",
            example: r#""threads""#,
        },
        Setting {
            name: "threads",
            kind: count(1, 1_024),
            default: Fallback::Is("1"),
            about: "Requests at a time in each worker of a WSGI application. Above 1 with `concurrency` `auto` or `threads` only.",
            example: "4",
        },
        Setting {
            name: "lifespan",
            kind: Kind::Choice(Lifespan::NAMES),
            default: Fallback::Is(r#""auto""#),
            about: "Startup and shutdown of an ASGI application.",
            example: r#""on""#,
        },
        Setting {
            name: "loop",
            kind: Kind::Choice(EventLoop::NAMES),
            default: Fallback::Is(r#""auto""#),
            about: "Event loop of async workers.",
            example: r#""uvloop""#,
        },
        Setting {
            name: "workers",
            kind: Kind::Workers,
            default: Fallback::Is("1"),
            about: "Worker processes: a number, or `{ min, max, idle }`. With a table there are more workers (up to `max`) while \
                    requests wait, and fewer (down to `min`, by default 1) when they were idle for `idle`, by default 5 minutes. \
                    With `min = 0` the first request starts one.",
            example: r#"{ min = 1, max = 4, idle = "5m" }"#,
        },
        Setting {
            name: "preload",
            kind: Kind::Flag,
            default: Fallback::Is("false"),
            about: "Import the application once in a template process and fork workers from it: they start in milliseconds and share \
                    memory. Not for applications that open connections or start threads when they are imported.",
            example: "true",
        },
        Setting {
            name: "env",
            kind: Kind::Environment,
            default: Fallback::Is("{}"),
            about: "Environment variables of the workers, all strings. Those in `[defaults.env]` are there too, unless the \
                    application has one of the same name.",
            example: r#"{ DJANGO_SETTINGS_MODULE = "shop.settings" }"#,
        },
        Setting {
            name: "max_requests",
            kind: Kind::Integer { min: 1, max: 1 << 53, none: Unlimited::WordOrZero },
            default: Fallback::Is(r#""none""#),
            about: "Replace a worker after this many requests.",
            example: "10000",
        },
        Setting {
            name: "max_requests_jitter",
            kind: count(0, 1 << 53),
            default: Fallback::Is("0"),
            about: "Add up to this many to `max_requests`, at random, so that workers are not replaced together.",
            example: "1000",
        },
        Setting {
            name: "recycle_memory",
            kind: Kind::Size { min: MIB, max: TIB, none: Unlimited::Word },
            default: Fallback::Is(r#""none""#),
            about: "Replace a worker that has more memory than this, between requests.",
            example: r#""300MiB""#,
        },
        Setting {
            name: "start_timeout",
            kind: time(),
            default: Fallback::Is(r#""60s""#),
            about: "Longest time for a worker to become ready.",
            example: r#""2m""#,
        },
        Setting {
            name: "graceful_timeout",
            kind: time(),
            default: Fallback::Is(r#""30s""#),
            about: "Longest time for requests to finish when a worker is stopped or replaced.",
            example: r#""10s""#,
        },
        Setting {
            name: "retry_budget",
            kind: Kind::Number { min: 0.0, max: 1.0, none: Unlimited::Never },
            default: Fallback::Is("0.1"),
            about: "Share of requests that may be run again on another worker after theirs died: 0 to 1. A few per 10 s are \
                    always allowed, unless it is 0, and those that waited inside the worker for their turn do not count. No \
                    request is run again more than once.",
            example: "0.2",
        },
        Setting {
            name: "server_timing",
            kind: Kind::Flag,
            default: Fallback::Is("false"),
            about: "Tell clients in a `Server-Timing` field what each request took: time in the queue, CPU time, waiting. \
                    Whoever can send requests can read it.",
            example: "true",
        },
        Setting {
            name: "limits",
            kind: Kind::Limits,
            default: Fallback::Is("{}"),
            about: "What the application may use: `[apps.NAME.limits]`, below.",
            example: r#"{ memory = "256MiB" }"#,
        },
        Setting {
            name: "overrides",
            kind: Kind::Overrides,
            default: Fallback::Is("[]"),
            about: "Other limits for some paths: `[[apps.NAME.overrides]]`, below. Those of an application replace those of \
                    `[defaults]`.",
            example: r#"[{ prefix = "/export", request_timeout = "5m" }]"#,
        },
    ],
};
