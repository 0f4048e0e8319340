//! The configuration of NGINX Unit, as settings of ours.
//!
//! Applications and settings are here, listeners and routes in [`routes`]. Whatever has no counterpart becomes a note. Source:
//! unit.nginx.org/configuration, version 1.35.

mod routes;

use serde_json::{Map, Value as Json};

use super::draft::{App, Draft, Value};
use super::meaning::{self, Found, Meaning};
use super::project::join;
use super::target;

type Object = Map<String, Json>;

/// Applications and targets that are carried over from one file.
const APPS: usize = 1000;

/// Longest value shown in a note.
const SHOWN: usize = 120;

/// An application of Unit, or one target of it.
pub(super) struct Known {
    /// `app`, or `app/target`: what comes after `applications/` in `pass`.
    path: String,
    /// Below which path Unit says it lives.
    prefix: String,
    app: App,
}

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("it is not JSON: {0}")]
    Json(serde_json::Error),
    #[error("it is not a configuration of NGINX Unit: there are no \"applications\" in it")]
    NotUnit,
    #[error("none of its applications is a Python application")]
    NoPython,
}

/// The whole file as a draft. `name` is what the file is called in notes.
///
/// # Errors
/// When the file is not one of Unit, or holds no Python application.
pub(super) fn read(source: &str, name: &str) -> Result<Draft, Problem> {
    let mut json: Json = serde_json::from_str(source).map_err(Problem::Json)?;
    // What `GET /` of its control socket answers has the configuration inside.
    if let Some(inner) = json.get_mut("config") {
        json = inner.take();
    }
    let applications = json.get("applications").and_then(Json::as_object).ok_or(Problem::NotUnit)?;
    let mut draft = Draft::default();
    let mut known = Vec::new();
    for (app, options) in applications.iter().take(APPS) {
        let place = format!("{name}: {app}");
        match options.as_object() {
            Some(options) if is_python(options) => application(app, options, &place, &mut known),
            _ => {
                let kind = options.get("type").map_or("unknown", |kind| kind.as_str().unwrap_or("unknown"));
                draft.host.note(format!(
                    "{place}: only Python applications can be hosted, this one is of type {kind}"
                ));
            }
        }
    }
    known.truncate(APPS);
    if known.is_empty() {
        return Err(Problem::NoPython);
    }
    routes::carry_over(&json, name, &mut draft, &mut known);
    settings(&json, name, &mut draft);
    for (key, value) in json.as_object().into_iter().flatten() {
        if !["applications", "listeners", "routes", "settings", "access_log"].contains(&key.as_str()) {
            draft.host.note(format!("{name}: {key}: {}", no_counterpart(value)));
        }
    }
    let names: Vec<String> = known.iter().map(|known| known.path.clone()).collect();
    draft.findings.push(format!("NGINX Unit configuration {name} with {}", super::listed(&names)));
    draft.apps = known.into_iter().map(|known| known.app).collect();
    Ok(draft)
}

fn is_python(options: &Object) -> bool {
    let kind = options.get("type").and_then(Json::as_str).unwrap_or_default();
    kind.strip_prefix("python")
        .is_some_and(|version| version.trim().chars().all(|c| c == '.' || c.is_ascii_digit()))
}

/// One application, or one of ours for each of its targets.
fn application(name: &str, options: &Object, place: &str, known: &mut Vec<Known>) {
    let Some(targets) = options.get("targets").and_then(Json::as_object) else {
        known.push(one(name, name, options, place));
        return;
    };
    for (target, own) in targets {
        // What a target says goes before what the application says.
        let mut merged = options.clone();
        merged.remove("targets");
        merged.extend(own.as_object().cloned().unwrap_or_default());
        known.push(one(&format!("{name}/{target}"), &format!("{name}-{target}"), &merged, place));
    }
}

fn one(path: &str, name: &str, options: &Object, place: &str) -> Known {
    let mut app = App { name: name.to_owned(), reason: place.to_owned(), ..App::default() };
    let text = |key: &str| options.get(key).and_then(Json::as_str).unwrap_or_default();
    let callable = if text("callable").is_empty() { "application" } else { text("callable") };
    app.target = format!("{}:{callable}", text("module"));
    if !target::is_target(&app.target) {
        app.table
            .note(format!("{place}: module {:?} and callable {callable:?} are no names", text("module")));
        app.target = "unknown:application".to_owned();
    }
    directories(options, &mut app);
    for (key, value) in options {
        option(key, value, place, &mut app);
    }
    let (host, port) = ("", "");
    meaning::finish(&mut Draft::default(), &mut app, host, port);
    Known { path: path.to_owned(), prefix: text("prefix").trim_end_matches('/').to_owned(), app }
}

/// `path` is where modules are looked for, `working_directory` where the processes run; here both are `directory`.
fn directories(options: &Object, app: &mut App) {
    let mut paths: Vec<&str> = match options.get("path") {
        Some(Json::Array(paths)) => paths.iter().filter_map(Json::as_str).collect(),
        Some(Json::String(path)) => vec![path],
        _ => Vec::new(),
    };
    match options.get("working_directory").and_then(Json::as_str) {
        Some(directory) => directory.clone_into(&mut app.directory),
        None if !paths.is_empty() => paths.remove(0).clone_into(&mut app.directory),
        None => {}
    }
    paths.retain(|path| *path != app.directory);
    if !paths.is_empty() {
        app.set_env("PYTHONPATH", &paths.join(":"));
    }
    if let Some(home) = options.get("home").and_then(Json::as_str) {
        let python = join(home.trim_end_matches('/'), "bin/python");
        app.table.set("python", Value::Text(python), "home");
    }
}

fn option(key: &str, value: &Json, place: &str, app: &mut App) {
    match (key, value) {
        // Done already, or with the routes.
        ("type" | "module" | "callable" | "path" | "working_directory" | "home" | "prefix", _) => {}
        ("processes", Json::Object(processes)) => workers(processes, app),
        ("environment", Json::Object(variables)) => {
            for (name, value) in variables {
                app.set_env(name, value.as_str().unwrap_or_default());
            }
        }
        ("limits", Json::Object(limits)) => {
            for (key, value) in limits {
                match key.as_str() {
                    "timeout" => carry(Meaning::RequestTimeout, "limits.timeout", value, place, app),
                    "requests" => carry(Meaning::MaxRequests, "limits.requests", value, place, app),
                    _ => app.table.note(format!("{place}: limits.{key}: {}", no_counterpart(value))),
                }
            }
        }
        ("processes", _) => carry(Meaning::Workers, key, value, place, app),
        ("threads", _) => carry(Meaning::Threads, key, value, place, app),
        ("protocol", _) => carry(Meaning::Interface, key, value, place, app),
        ("factory", _) => carry(Meaning::Factory, key, value, place, app),
        ("user" | "group", _) => {
            app.table.note(format!("{place}: {key} {}: {}", shown(value), super::servers::USER));
        }
        ("isolation", _) => app.table.note(format!(
            "{place}: isolation: tenancy = \"isolated\" gives an application its own resources and namespaces; it had {}",
            shown(value)
        )),
        ("stdout" | "stderr", _) => {
            app.table.note(format!("{place}: {key} {}: {}", shown(value), super::servers::LOG_FILES));
        }
        _ => app.table.note(format!("{place}: {key}: {}", no_counterpart(value))),
    }
}

/// `{"max": 5, "spare": 1, "idle_timeout": 20}`; what is left out is 1, 0 and 15 s.
fn workers(processes: &Object, app: &mut App) {
    let number = |key: &str, default: u64| processes.get(key).and_then(Json::as_u64).unwrap_or(default);
    let max = number("max", 1).clamp(1, 1024);
    let idle = number("idle_timeout", 15).clamp(1, 604_800);
    let workers = vec![
        ("min", Value::Integer(number("spare", 0).min(max))),
        ("max", Value::Integer(max)),
        ("idle", Value::Text(format!("{idle}s"))),
    ];
    app.table.set(
        "workers",
        Value::Table(workers),
        "processes: spare is min; with 0 the first request starts one",
    );
}

/// Carry one value over with what it means for a command line.
fn carry(meaning: Meaning, name: &str, value: &Json, place: &str, app: &mut App) {
    let text = match value {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        Json::Bool(truth) => truth.to_string(),
        _ => String::new(),
    };
    let found = Found { name, text: &text, place, remark: name };
    if !meaning::apply(meaning, &found, &mut Draft::default(), app) {
        app.table.note(format!("{place}: {name} {}: the value was not understood", shown(value)));
    }
}

/// `settings.http` for all applications, and the access log.
fn settings(json: &Json, name: &str, draft: &mut Draft) {
    let mut app = App::default();
    for (key, value) in json["settings"]["http"].as_object().into_iter().flatten() {
        let meaning = match key.as_str() {
            "header_read_timeout" => Meaning::HeaderTimeout,
            "idle_timeout" => Meaning::KeepAlive,
            "max_body_size" => Meaning::BodySize,
            "body_read_timeout" | "send_timeout" => {
                if let Some(text) = meaning::seconds(&value.to_string()).filter(|text| text != "0s") {
                    app.limits.set("body_timeout", Value::Text(text), format!("{name}: {key}"));
                }
                continue;
            }
            _ => Meaning::Not("it has no counterpart here"),
        };
        carry(meaning, &format!("settings.http.{key}"), value, name, &mut app);
    }
    draft.default_limits.settings.append(&mut app.limits.settings);
    draft.host.notes.append(&mut app.table.notes);
    let log = &json["access_log"];
    if let Some(path) = log.as_str().or(log["path"].as_str()) {
        let found = Found { name: "access_log", text: path, place: name, remark: "access_log" };
        if !meaning::apply(Meaning::AccessLog, &found, draft, &mut app) {
            draft.host.note(format!("{name}: access_log {path}: the path was not understood"));
        }
    }
    for key in ["format", "if"] {
        if !log[key].is_null() {
            draft.host.note(format!("{name}: access_log.{key}: {}", super::servers::LOG_FORM));
        }
    }
}

fn no_counterpart(value: &Json) -> String {
    format!("there is no counterpart here for {}", shown(value))
}

/// A value in a note: on one line and not too long.
fn shown(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_carried_over() {
        let source = r#"{"config": {"listeners": {"*:8080": {"pass": "applications/shop"}}, "applications": {"shop": {
            "type": "python 3.11", "path": ["/srv/shop", "/srv/lib"], "module": "shop.wsgi", "callable": "app",
            "home": "/srv/venv", "processes": {"max": 4, "idle_timeout": 20}, "threads": 2, "user": "www", "factory": true,
            "environment": {"A": "1"}, "limits": {"timeout": 10, "requests": 100, "shm": 5}, "protocol": "wsgi",
            "isolation": {"namespaces": {"pid": true}}, "stderr": "/x"}},
            "settings": {"http": {"max_body_size": 8388608, "idle_timeout": 60, "server_version": false}},
            "access_log": {"path": "/var/log/a.log", "format": "x"}, "certificates": {}}}"#;
        let draft = read(source, "unit.json").unwrap();
        let [app] = draft.apps.as_slice() else { panic!("{draft:?}") };
        assert_eq!((app.name.as_str(), app.target.as_str()), ("shop", "shop.wsgi:app"));
        assert_eq!((app.directory.as_str(), app.factory), ("/srv/shop", true));
        let values: Vec<String> = [&app.table, &app.limits, &draft.default_limits, &draft.host]
            .iter()
            .flat_map(|table| &table.settings)
            .map(|setting| format!("{} = {}", setting.key, setting.value.toml()))
            .collect();
        assert_eq!(
            values,
            [
                "python = \"/srv/venv/bin/python\"",
                "max_requests = 100",
                "workers = { min = 0, max = 4, idle = \"20s\" }",
                "interface = \"wsgi\"",
                "threads = 2",
                "request_timeout = \"10s\"",
                "keepalive_timeout = \"60s\"",
                "body_size = \"8MiB\"",
                "listen = [\"0.0.0.0:8080\"]",
                "access_log = \"/var/log/a.log\"",
            ]
        );
        let env = [("PYTHONPATH", "/srv/lib"), ("A", "1")];
        assert_eq!(app.env, env.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let notes = [&app.table.notes[..], &draft.host.notes[..]].concat().join("\n");
        for part in [
            "isolation: tenancy",
            "limits.shm",
            "stderr",
            "user \"www\"",
            "server_version",
            "access_log.format",
            "certificates",
        ] {
            assert!(notes.contains(part), "{part} in {notes}");
        }
    }

    #[test]
    fn every_target_is_an_application() {
        let source = r#"{"applications": {"a": {"type": "python", "path": "/srv", "targets": {
            "x": {"module": "x"}, "y": {"module": "y", "callable": "run", "prefix": "/y"}}}},
            "listeners": {"*:80": {"pass": "applications/a/x"}}}"#;
        let draft = read(source, "unit.json").unwrap();
        let shown: Vec<_> = draft.apps.iter().map(|app| (app.name.as_str(), app.target.as_str())).collect();
        assert_eq!(shown, [("a-x", "x:application"), ("a-y", "y:run")]);
        assert!(draft.apps.iter().all(|app| app.directory == "/srv"));
    }

    #[test]
    fn other_files_are_refused() {
        let cases = [
            ("{", "it is not JSON"),
            ("{}", "there are no \"applications\""),
            ("[]", "there are no \"applications\""),
            (r#"{"applications": {}}"#, "none of its applications"),
            (r#"{"applications": {"a": {"type": "php"}}}"#, "none of its applications"),
            (r#"{"applications": {"a": 5}}"#, "none of its applications"),
        ];
        for (source, expected) in cases {
            let error = read(source, "x").unwrap_err().to_string();
            assert!(error.contains(expected), "{source}: {error}");
        }
        assert!(read(&"[".repeat(100_000), "x").is_err());
    }
}
