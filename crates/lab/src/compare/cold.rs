//! From nothing to the first good answer, and what was imported on the way.

use std::time::{Duration, Instant};

use super::{CompareError, SUBJECT, Subject, fetch};
use crate::document::{ColdStart, Import};
use crate::experiment::Session;
use crate::host::{AppPlan, Host, HostPlan};

/// The copy that says how long imports took: CPython does with this in its environment (`-X importtime`).
const PROFILE: &str = "PYTHONPROFILEIMPORTTIME";
/// Imports that are shown.
const MOST: usize = 10;
const PATIENCE: Duration = Duration::from_secs(5);
/// Of a log that is read.
const MAX_LOG: u64 = 4 << 20;

pub(super) fn measure(session: &mut Session<'_>, subject: &Subject) -> Result<(), CompareError> {
    let mut cold = ColdStart::default();
    let plan = session.host()?.plan().clone();
    let starting = Instant::now();
    session.host()?.scale(SUBJECT, 2)?;
    cold.ready_ms = Some(starting.elapsed().as_secs_f64() * 1e3);
    session.host()?.scale(SUBJECT, 1)?;

    let target = session.document.method.mix.first().map_or("/".to_owned(), |(target, _)| target.clone());
    let only = |app: AppPlan| HostPlan { apps: [(SUBJECT.to_owned(), app)].into(), keys: plan.keys.clone() };
    session.host()?.apply(only(with_env(&super::copy(subject), PROFILE, "1")))?;
    let host = session.host()?;
    let first = fetch::get(host.address(), &HostPlan::authority(SUBJECT), &target, PATIENCE);
    cold.first_answer_ms = first.ok().map(|page| page.elapsed.as_secs_f64() * 1e3);
    cold.imports = imports(&log(host));

    let preloaded = super::copy(subject).set("preload", true);
    cold.forked_ms = match session.host()?.apply(only(preloaded)) {
        Ok(_) => {
            let starting = Instant::now();
            session.host()?.scale(SUBJECT, 2)?;
            Some(starting.elapsed().as_secs_f64() * 1e3)
        }
        Err(error) => {
            session.document.notes.push(format!("with `preload` it does not start: {error}"));
            None
        }
    };
    session.document.cold_start = Some(cold);
    Ok(())
}

fn with_env(app: &AppPlan, name: &str, value: &str) -> AppPlan {
    let mut app = app.clone();
    let env = app.keys.entry("env".to_owned()).or_insert_with(|| serde_json::json!({}));
    if let Some(env) = env.as_object_mut() {
        env.insert(name.to_owned(), value.into());
    }
    app
}

/// What the subject wrote to its standard error.
fn log(host: &Host) -> String {
    use std::io::Read as _;
    let path = host.directory().join("state/logs").join(format!("{SUBJECT}.log"));
    let mut bytes = Vec::new();
    // Without it there are no imports to show, which is all.
    let _ = std::fs::File::open(path).and_then(|file| file.take(MAX_LOG).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `import time: self [us] | cumulative | imported package`, after whatever the log puts in front. Slowest first, and of
/// nested ones the one that is imported by the others' time most of all: only those at the outermost level and one below.
fn imports(log: &str) -> Vec<Import> {
    let parse = |line: &str| {
        let (_, row) = line.split_once("import time:")?;
        let mut columns = row.splitn(3, '|');
        let (_, cumulative, name) = (columns.next()?, columns.next()?, columns.next()?);
        let microseconds: f64 = cumulative.trim().parse().ok()?;
        let depth = (name.len() - name.trim_start().len()).saturating_sub(1) / 2;
        (depth <= 1).then(|| Import { module: name.trim().to_owned(), milliseconds: microseconds / 1e3 })
    };
    let mut found: Vec<Import> = log.lines().filter_map(parse).collect();
    found.sort_by(|a, b| b.milliseconds.total_cmp(&a.milliseconds));
    found.dedup_by(|a, b| a.module == b.module);
    found.truncate(MOST);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_read_from_the_log() {
        let log = "2026 import time: self [us] | cumulative | imported package\n\
                   x import time:       100 |        300 |     deep.inside\n\
                   x import time:       100 |       5000 |   flask.app\n\
                   x import time:       200 |      90000 | flask\n\
                   something else\n";
        let found = imports(log);
        let shown: Vec<_> =
            found.iter().map(|import| (import.module.as_str(), import.milliseconds)).collect();
        assert_eq!(shown, [("flask", 90.0), ("flask.app", 5.0)]);
    }
}
