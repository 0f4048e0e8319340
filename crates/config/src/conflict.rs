//! Values that are right by themselves and fight each other: errors where it cannot work, warnings where it will not work well.

use std::collections::HashSet;
use std::time::Duration;

use crate::diagnostic::{Draft, Severity};
use crate::document::{Document, RawApp};
use crate::origin::{Origins, Places};
use crate::plan::{App, Concurrency, Host, Interface, Plan, Tenancy};
use crate::read::Reader;
use crate::section::Layer;
use crate::source::Span;
use crate::units::{show_duration, show_size};

/// Memory of a worker that has loaded a small application. Measured: 10 MiB bare, 24 MiB with a framework.
const BASE: u64 = 24 << 20;

/// Threads of a worker besides those that run the application: its main thread and the steward.
const OWN_THREADS: u64 = 2;

pub(crate) fn check(plan: &Plan, origins: &Origins, document: &Document, reader: &mut Reader<'_>) {
    let mut said = HashSet::new();
    for (app, raw) in plan.apps.iter().zip(&document.apps) {
        let Some(places) = origins.apps.get(&app.name) else { continue };
        let mut conflicts = Conflicts { raw, defaults: &document.defaults, places, reader, said: &mut said };
        concurrency(app, &mut conflicts);
        memory(app, &mut conflicts);
        processors(app, &mut conflicts);
        times(app, &plan.host, &mut conflicts);
        counts(app, &plan.host, &mut conflicts);
    }
}

fn concurrency(app: &App, conflicts: &mut Conflicts<'_, '_>) {
    let chosen = app.concurrency;
    if app.threads > 1 && matches!(chosen, Concurrency::Sync | Concurrency::Async) {
        let message = format!("`threads` is {}, but `concurrency` is \"{chosen}\"", app.threads);
        let hint = "remove `threads`, or write concurrency = \"threads\"";
        conflicts.report(Severity::Error, &["threads", "concurrency"], message, hint);
    }
    let impossible = match app.interface {
        Interface::Wsgi => chosen == Concurrency::Async,
        Interface::Asgi => matches!(chosen, Concurrency::Sync | Concurrency::Threads),
        Interface::Auto => false,
    };
    if impossible {
        let message = format!("`concurrency` cannot be \"{chosen}\" if `interface` is \"{}\"", app.interface);
        let hint = "ASGI applications run as \"async\", WSGI applications as \"sync\" or \"threads\"; or leave it out";
        conflicts.report(Severity::Error, &["concurrency", "interface"], message, hint);
    }
}

fn memory(app: &App, conflicts: &mut Conflicts<'_, '_>) {
    let Some(memory) = app.limits.memory else { return };
    let most = app.workers.max;
    let needed = BASE * u64::from(most);
    if memory < needed {
        let workers = if most == 1 { "a worker needs".to_owned() } else { format!("{most} workers need") };
        let message = format!("`memory` is {}, but {workers} about {}", show_size(memory), show_size(needed));
        let hint = format!("raise `memory` to {} or more, or have fewer workers", show_size(needed));
        conflicts.report(Severity::Warning, &["limits.memory", "workers"], message, &hint);
    }
    if let Some(recycle) = app.recycle_memory.filter(|recycle| *recycle > memory) {
        let message = format!(
            "`recycle_memory` is {}, above `memory`, which is {}",
            show_size(recycle),
            show_size(memory)
        );
        let hint = "workers are killed at `memory` before they are replaced: set `recycle_memory` below it";
        conflicts.report(Severity::Warning, &["recycle_memory", "limits.memory"], message, hint);
    }
    if app.limits.body_size > memory {
        let message = format!(
            "`body_size` is {}, above `memory`, which is {}",
            show_size(app.limits.body_size),
            show_size(memory)
        );
        let hint =
            "an application that reads such a body at once is killed: lower `body_size` or raise `memory`";
        conflicts.report(Severity::Warning, &["limits.body_size", "limits.memory"], message, hint);
    }
}

fn processors(app: &App, conflicts: &mut Conflicts<'_, '_>) {
    let threads = threads(app);
    let needed = u64::from(app.workers.max) * (OWN_THREADS + threads) + 2;
    if u64::from(app.limits.processes) < needed {
        let message = format!(
            "`processes` is {}, but {} with {} need {needed}",
            app.limits.processes,
            counted(app.workers.max.into(), "worker"),
            counted(threads.max(1), "thread"),
        );
        let hint = format!("it counts processes and threads: raise `processes` to {needed} or more");
        let keys = ["limits.processes", "workers", "threads"];
        conflicts.report(Severity::Warning, &keys, message, &hint);
    }
    if let Some(cpu) = app.limits.cpu {
        // Whole cores of its own are no quota.
        let quota = app.tenancy == Tenancy::Shared || cpu.fract() != 0.0;
        if quota && threads > 1 && cpu < f64::from(app.threads) {
            let message = format!("`cpu` is {cpu}, but {} may be busy at once", counted(threads, "thread"));
            let hint = "when all are busy they use up the quota early in each period, and all wait for the next: fewer threads, or more `cpu`";
            conflicts.report(Severity::Warning, &["limits.cpu", "threads"], message, hint);
        }
    }
}

/// Threads of a worker that run the application beside the main thread.
fn threads(app: &App) -> u64 {
    match app.concurrency {
        Concurrency::Threads => app.threads.into(),
        Concurrency::Auto if app.threads > 1 => app.threads.into(),
        Concurrency::Auto | Concurrency::Sync | Concurrency::Async => 0,
    }
}

fn times(app: &App, host: &Host, conflicts: &mut Conflicts<'_, '_>) {
    let limits = &app.limits;
    if let Some(whole) = limits.request_timeout {
        if whole < limits.queue_timeout {
            let message = format!(
                "`request_timeout` is {}, shorter than `queue_timeout`, which is {}",
                show_duration(whole),
                show_duration(limits.queue_timeout)
            );
            let hint = "waiting counts for the request: set `queue_timeout` below `request_timeout`";
            let keys = ["limits.request_timeout", "limits.queue_timeout"];
            conflicts.report(Severity::Warning, &keys, message, hint);
        }
        if let Some(first) = limits.first_byte_timeout.filter(|first| *first > whole) {
            let keys = ["limits.first_byte_timeout", "limits.request_timeout"];
            conflicts.report(Severity::Warning, &keys, too_late(first, whole), NEVER_COUNTS);
        }
    }
    for over in &app.overrides {
        let whole = over.request_timeout.unwrap_or(limits.request_timeout);
        if let (Some(Some(first)), Some(whole)) = (over.first_byte_timeout, whole)
            && first > whole
        {
            let message = format!("{} in the override for {}", too_late(first, whole), over.prefix);
            conflicts.report(Severity::Warning, &["overrides"], message, NEVER_COUNTS);
        }
    }
    if app.graceful_timeout > host.graceful_timeout {
        let message = format!(
            "`graceful_timeout` is {}, longer than that of the host, which is {}",
            show_duration(app.graceful_timeout),
            show_duration(host.graceful_timeout)
        );
        let hint = "when the host stops, the host's counts: raise it in [host]";
        conflicts.report(Severity::Warning, &["graceful_timeout"], message, hint);
    }
}

const NEVER_COUNTS: &str = "it never counts: set it below `request_timeout`, or leave it out";

fn too_late(first: Duration, whole: Duration) -> String {
    format!(
        "`first_byte_timeout` is {}, longer than `request_timeout`, which is {}",
        show_duration(first),
        show_duration(whole)
    )
}

fn counts(app: &App, host: &Host, conflicts: &mut Conflicts<'_, '_>) {
    let limits = &app.limits;
    if limits.queue == 0 && app.workers.min == 0 {
        let message =
            "`queue` is 0 and `workers.min` is 0, so no request could ever start a worker".to_owned();
        let hint = "the request that starts a worker waits in the queue: set `queue` to 1 or more";
        conflicts.report(Severity::Error, &["limits.queue", "workers"], message, hint);
    } else if limits.queue == 0 {
        let message = "`queue` is 0: whenever all workers are busy, requests are refused".to_owned();
        conflicts.report(
            Severity::Warning,
            &["limits.queue"],
            message,
            "a short queue, such as 10, evens out bursts",
        );
    }
    if limits.connections > host.connections && conflicts.in_file("limits.connections") {
        let message = format!(
            "`connections` is {}, more than the whole host has, which is {}",
            limits.connections, host.connections
        );
        conflicts.report(
            Severity::Warning,
            &["limits.connections"],
            message,
            "raise `connections` in [host]",
        );
    }
    if app.max_requests_jitter > 0 && app.max_requests.is_none() {
        let message = "`max_requests_jitter` does nothing without `max_requests`".to_owned();
        conflicts.report(
            Severity::Warning,
            &["max_requests_jitter", "max_requests"],
            message,
            "set `max_requests` too",
        );
    }
    if app.tenancy == Tenancy::Isolated && conflicts.in_file("limits.cpu_weight") {
        let message = "`cpu_weight` does nothing for an isolated application".to_owned();
        conflicts.report(
            Severity::Warning,
            &["limits.cpu_weight"],
            message,
            "say with `cpu` how many cores it has",
        );
    }
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Reports about one application.
struct Conflicts<'a, 'r> {
    raw: &'a RawApp,
    defaults: &'a Layer,
    places: &'a Places,
    reader: &'a mut Reader<'r>,
    /// A conflict inside `[defaults]` is reported once, not for every application.
    said: &'a mut HashSet<(usize, String)>,
}

impl Conflicts<'_, '_> {
    /// Report a conflict of these values, at the first one that is in the file, unless one of them is wrong by itself.
    fn report(&mut self, severity: Severity, keys: &[&str], message: String, hint: &str) {
        if keys.iter().any(|key| self.wrong(key)) {
            return;
        }
        let mut spans: Vec<(&str, Span)> = Vec::new();
        for key in keys {
            if let Some((_, Some(span))) = self.places.values.get(*key) {
                spans.push((*key, span.clone()));
            }
        }
        let mut spans = spans.into_iter();
        let main = spans.next().map_or_else(|| self.raw.span.clone(), |(_, span)| span);
        if !self.said.insert((main.start, message.clone())) {
            return;
        }
        let mut draft = Draft::new(severity, Some(main.clone()), message).hint(hint);
        for (key, span) in spans.filter(|(_, span)| *span != main) {
            let name = key.rsplit('.').next().unwrap_or(key);
            draft = draft.related(span, format!("`{name}`"));
        }
        match severity {
            Severity::Error => self.reader.report(draft),
            Severity::Warning => self.reader.report_missing(draft),
        }
    }

    fn in_file(&self, key: &str) -> bool {
        self.places.values.get(key).is_some_and(|(_, span)| span.is_some())
    }

    /// Whether a value is in the file but was refused, so that the plan has another one; or perhaps misspelt.
    fn wrong(&self, key: &str) -> bool {
        let refused = |layer: &Layer| {
            let (outer, inner) =
                key.split_once('.').map_or((key, None), |(outer, inner)| (outer, Some(inner)));
            let wrong = |layer: &Layer, name: &str| {
                layer.misspelt.contains(&name)
                    || layer.entries.get(name).is_some_and(|entry| entry.value.is_none())
            };
            wrong(layer, outer)
                || inner.is_some_and(|inner| layer.inner("limits").is_some_and(|limits| wrong(limits, inner)))
        };
        refused(&self.raw.layer) || (!self.raw.layer.entries.contains_key(key) && refused(self.defaults))
    }
}
