//! `[[apps.NAME.overrides]]`: other limits for some paths of an application.

use super::{Fallback, Kind, Section, Setting, TIB, Unlimited, optional_time};

/// What an override has when it does not say.
const SAME: Fallback = Fallback::Found("the application's");

pub const OVERRIDES: Section = Section {
    title: "[[apps.NAME.overrides]]",
    about: "Other limits for some paths of an application; the longest prefix wins.",
    settings: &[
        Setting {
            name: "prefix",
            kind: Kind::Prefix,
            default: Fallback::Required,
            about: "Path inside the application, without the prefix of its route; whole segments: `/export` is for `/export` and \
                    `/export/all`, not for `/exports`.",
            example: r#""/export""#,
        },
        Setting {
            name: "request_timeout",
            kind: optional_time(),
            default: SAME,
            about: "Longest time for a request there.",
            example: r#""5m""#,
        },
        Setting {
            name: "first_byte_timeout",
            kind: optional_time(),
            default: SAME,
            about: "Longest time to the first byte of the answer there.",
            example: r#""none""#,
        },
        Setting {
            name: "body_size",
            kind: Kind::Size { min: 0, max: TIB, none: Unlimited::Never },
            default: SAME,
            about: "Largest request body there.",
            example: r#""1GiB""#,
        },
    ],
};
