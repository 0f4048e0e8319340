//! The part of `serpentry.toml` that puts a recommendation in place. The keys of the application that are not here stay as
//! they are.

use std::fmt::Write as _;

use crate::document::Recommendation;

const MIB: u64 = 1_048_576;

/// As text. Without what is not known.
#[must_use]
pub fn fragment(
    app: &str,
    recommendation: &Recommendation,
    memory_limit: Option<u64>,
    own_cores: Option<u32>,
) -> String {
    let app = key(app);
    let mut text = format!("[apps.{app}]\n");
    if let Some(tenancy) = &recommendation.tenancy {
        let _ = writeln!(text, "tenancy = \"{tenancy}\"");
    }
    if let Some(concurrency) = &recommendation.concurrency {
        let _ = writeln!(text, "concurrency = \"{concurrency}\"");
    }
    if let Some(workers) = recommendation.workers {
        let _ = writeln!(text, "workers = {workers}");
    }
    if let Some(threads) = recommendation.threads {
        let _ = writeln!(text, "threads = {threads}");
    }
    if memory_limit.is_some() || own_cores.is_some() {
        let _ = writeln!(text, "\n[apps.{app}.limits]");
    }
    if let Some(cores) = own_cores {
        let _ = writeln!(text, "cpu = {cores}");
    }
    if let Some(bytes) = memory_limit {
        let _ = writeln!(text, "memory = \"{}MiB\"", bytes.div_ceil(MIB).max(1));
    }
    text
}

/// A key of TOML: bare if it may be, else a basic string.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(bare) {
        return name.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in name.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
