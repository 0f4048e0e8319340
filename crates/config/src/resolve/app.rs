//! One application.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::absolute;
use super::layers::Layers;
use crate::Environment;
use crate::diagnostic::Draft;
use crate::document::RawApp;
use crate::origin::{Origin, Places};
use crate::plan::{App, Limits, Rate, Route, Tenancy};
use crate::read::Reader;
use crate::section::Layer;
use crate::source::Span;
use crate::table::{APP, LIMITS};

pub(super) fn resolve(
    raw: &RawApp,
    defaults: &Layer,
    environment: &Environment,
    reader: &mut Reader<'_>,
) -> (App, Places) {
    let mut places = Places { header: Some(raw.span.clone()), ..Places::default() };
    let mut layers = Layers {
        section: &APP,
        prefix: "",
        own: Some(&raw.layer),
        defaults: Some(defaults),
        tenancy: Tenancy::Shared,
        source: reader.source,
        places: &mut places,
    };
    let mut tenancy = layers.word("tenancy");
    if let Some(moved) = environment.moved.get(&raw.name).filter(|moved| moved.from == tenancy) {
        layers.note("tenancy", Origin::Derived("moved while the host runs"), None);
        tenancy = moved.to;
    }
    layers.tenancy = tenancy;
    let directory = match layers.said::<String>("directory") {
        Some(path) => absolute(&environment.directory, &path),
        None => {
            layers.note("directory", Origin::Derived("the directory of the file"), None);
            environment.directory.clone()
        }
    };
    let routes: Vec<(Route, Span)> = layers.said("routes").unwrap_or_default();
    let app = App {
        name: raw.name.clone(),
        app: layers.said("app").unwrap_or_default(),
        factory: layers.get("factory"),
        python: layers.said::<String>("python").map(|path| interpreter(&directory, &path)),
        directory,
        routes: routes.iter().map(|(route, _)| route.clone()).collect(),
        tenancy,
        user: layers.said("user"),
        enforce: layers.word("enforce"),
        interface: layers.word("interface"),
        concurrency: layers.word("concurrency"),
        threads: layers.get("threads"),
        lifespan: layers.word("lifespan"),
        event_loop: layers.word("loop"),
        workers: layers.get("workers"),
        preload: layers.get("preload"),
        env: variables(&mut layers, &raw.layer, defaults),
        max_requests: layers.get("max_requests"),
        max_requests_jitter: layers.get("max_requests_jitter"),
        recycle_memory: layers.get("recycle_memory"),
        start_timeout: layers.get("start_timeout"),
        graceful_timeout: layers.get("graceful_timeout"),
        retry_budget: layers.get("retry_budget"),
        server_timing: layers.get("server_timing"),
        overrides: layers.get("overrides"),
        limits: limits(&mut layers, &raw.layer, defaults),
    };
    places.items = routes.into_iter().map(|(_, span)| span).collect();
    let said = raw.layer.entries.contains_key("app") || defaults.entries.contains_key("app");
    if !said && !raw.layer.misspelt.contains(&"app") && !defaults.misspelt.contains(&"app") {
        let draft = Draft::error(
            raw.span.clone(),
            format!("the application `{}` has no `app`", raw.name.escape_debug()),
        );
        reader.report_missing(draft.hint("say where it is: app = \"module:attribute\""));
    }
    (app, places)
}

/// Variables of `[defaults]` and the application's own.
fn variables(layers: &mut Layers<'_>, own: &Layer, defaults: &Layer) -> Vec<(String, String)> {
    // Only for the note where they come from.
    let _: Vec<(String, String)> = layers.get("env");
    let of = |layer: &Layer| layer.said::<Vec<(String, String)>>("env").unwrap_or_default();
    if own.entries.contains_key("env") && defaults.entries.contains_key("env") {
        let span = own.entries.get("env").map(|entry| entry.span.clone());
        layers.note("env", Origin::Derived("from the application and [defaults]"), span);
    }
    let merged: BTreeMap<String, String> = of(defaults).into_iter().chain(of(own)).collect();
    merged.into_iter().collect()
}

/// A bare name is a command; everything else is a path, relative to the application's directory.
fn interpreter(directory: &Path, path: &str) -> PathBuf {
    if path.contains('/') { absolute(directory, path) } else { PathBuf::from(path) }
}

fn limits(outer: &mut Layers<'_>, own: &Layer, defaults: &Layer) -> Limits {
    let mut layers = Layers {
        section: &LIMITS,
        prefix: "limits.",
        own: own.inner("limits"),
        defaults: defaults.inner("limits"),
        tenancy: outer.tenancy,
        source: outer.source,
        places: outer.places,
    };
    Limits {
        cpu: layers.get("cpu"),
        cpu_weight: layers.get("cpu_weight"),
        memory: layers.get("memory"),
        disk_read: layers.get::<Option<Rate>>("disk_read"),
        disk_write: layers.get::<Option<Rate>>("disk_write"),
        disk_space: layers.get("disk_space"),
        processes: layers.get("processes"),
        open_files: layers.get("open_files"),
        connections: layers.get("connections"),
        queue: layers.get("queue"),
        queue_timeout: layers.get("queue_timeout"),
        request_timeout: layers.get("request_timeout"),
        first_byte_timeout: layers.get("first_byte_timeout"),
        header_timeout: layers.get("header_timeout"),
        body_timeout: layers.get("body_timeout"),
        keepalive_timeout: layers.get("keepalive_timeout"),
        header_size: layers.get("header_size"),
        body_size: layers.get("body_size"),
        bandwidth_in: layers.get("bandwidth_in"),
        bandwidth_out: layers.get("bandwidth_out"),
        socket_buffers: layers.get("socket_buffers"),
        egress: layers.word("egress"),
        message_size: layers.get("message_size"),
    }
}
