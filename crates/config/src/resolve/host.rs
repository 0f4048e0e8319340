//! The host: `[host]`, the environment, and what follows from the applications.

use std::path::PathBuf;
use std::time::Duration;

use super::absolute;
use super::layers::Layers;
use crate::Environment;
use crate::diagnostic::Draft;
use crate::document::Document;
use crate::origin::{Origin, Places};
use crate::plan::{App, Hook, Host, Tenancy};
use crate::read::{self, Reader};
use crate::source::Span;
use crate::suggest;
use crate::table::HOST;

/// Where state is kept if nothing is said.
const STATE: &str = ".serpentry";

const LISTEN: &str = "127.0.0.1:8000";
const PROXIES: &str = "127.0.0.1,::1";

/// Longest path of a Unix socket: unix(7), `sun_path` without its final zero.
const LONGEST_SOCKET: usize = 107;

pub(super) fn resolve(
    document: &Document,
    apps: &[App],
    environment: &Environment,
    reader: &mut Reader<'_>,
) -> (Host, Places) {
    let mut places = Places::default();
    let mut layers = Layers {
        section: &HOST,
        prefix: "",
        own: Some(&document.host),
        defaults: None,
        tenancy: Tenancy::Shared,
        source: reader.source,
        places: &mut places,
    };
    let listen = listen(&mut layers, environment, reader);
    let host = Host {
        listen: listen.iter().map(|(address, _)| address.clone()).collect(),
        state: state(&mut layers, environment),
        connections: layers.get("connections"),
        forwarded_allow_ips: proxies(&mut layers, environment, reader),
        access_log: layers.get::<Option<String>>("access_log").map(|path| match path.as_str() {
            "-" => PathBuf::from(path),
            path => absolute(&environment.directory, path),
        }),
        access_log_format: layers.word("access_log_format"),
        default_app: default_app(&mut layers, document, apps, reader),
        graceful_timeout: layers.get("graceful_timeout"),
        header_timeout: largest(apps, |app| app.limits.header_timeout, Duration::from_secs(10)),
        keepalive_timeout: largest(apps, |app| app.limits.keepalive_timeout, Duration::from_secs(75)),
        header_size: largest(apps, |app| app.limits.header_size, 64 << 10),
        log_level: layers.word("log_level"),
        log_size: layers.get("log_size"),
        log_files: layers.get("log_files"),
        pool_cpu: layers.get("pool_cpu"),
        pool_memory: layers.get("pool_memory"),
        on_incident: layers.get::<Option<String>>("on_incident").map(|text| {
            Hook::url(&text).unwrap_or_else(|| Hook::Program(absolute(&environment.directory, &text)))
        }),
    };
    places.items = listen.into_iter().map(|(_, span)| span).collect();
    (host, places)
}

/// The largest of the applications'; `none` counts only if there are no applications, which is an error.
fn largest<T: Ord>(apps: &[App], of: impl Fn(&App) -> T, none: T) -> T {
    apps.iter().map(of).max().unwrap_or(none)
}

fn listen(
    layers: &mut Layers<'_>,
    environment: &Environment,
    reader: &mut Reader<'_>,
) -> Vec<(String, Span)> {
    if let Some(addresses) = layers.said::<Vec<(String, Span)>>("listen") {
        let full = |(address, span): (String, Span)| match address.strip_prefix("unix:") {
            Some(path) => {
                let path = absolute(&environment.directory, path);
                if path.as_os_str().len() > LONGEST_SOCKET {
                    let message = format!("the path of this socket is too long: {}", path.display());
                    let hint =
                        format!("at most {LONGEST_SOCKET} bytes, together with the directory of this file");
                    reader.report(Draft::error(span.clone(), message).hint(hint));
                }
                (format!("unix:{}", path.display()), span)
            }
            None => (address, span),
        };
        return addresses.into_iter().map(full).collect();
    }
    let wrong =
        layers.own.is_some_and(|own| own.entries.contains_key("listen") || own.misspelt.contains(&"listen"));
    let port = environment.port.as_deref().filter(|port| !port.is_empty() && !wrong);
    let Some(port) = port else { return vec![(LISTEN.to_owned(), 0..0)] };
    layers.note("listen", Origin::Environment("PORT"), None);
    if port.parse::<u16>().is_err() {
        let draft = Draft::general(format!(
            "the environment's PORT is `{}`, which is not a port",
            port.escape_debug()
        ));
        reader.report(draft.hint("set `listen` in [host], or PORT to a number"));
    }
    vec![(format!("0.0.0.0:{port}"), 0..0)]
}

fn state(layers: &mut Layers<'_>, environment: &Environment) -> PathBuf {
    if let Some(path) = layers.said::<String>("state") {
        return absolute(&environment.directory, &path);
    }
    // systemd gives several directories separated by colons; the first is ours.
    let given = environment.state_directory.as_deref().and_then(|paths| paths.split(':').next());
    match given.filter(|path| !path.is_empty()) {
        Some(path) => {
            layers.note("state", Origin::Environment("STATE_DIRECTORY"), None);
            absolute(&environment.directory, path)
        }
        None => absolute(&environment.directory, STATE),
    }
}

fn proxies(layers: &mut Layers<'_>, environment: &Environment, reader: &mut Reader<'_>) -> String {
    if let Some(said) = layers.said::<String>("forwarded_allow_ips") {
        return said;
    }
    let Some(given) = &environment.forwarded_allow_ips else { return PROXIES.to_owned() };
    layers.note("forwarded_allow_ips", Origin::Environment("FORWARDED_ALLOW_IPS"), None);
    if let Some(part) = read::wrong_proxy(given) {
        let message = format!(
            "the environment's FORWARDED_ALLOW_IPS has `{}`, which is no address",
            part.escape_debug()
        );
        reader.report(Draft::general(message).hint("use addresses and networks separated by commas, or *"));
    }
    given.clone()
}

fn default_app(
    layers: &mut Layers<'_>,
    document: &Document,
    apps: &[App],
    reader: &mut Reader<'_>,
) -> Option<String> {
    if let Some(name) = layers.said::<String>("default_app") {
        if !document.names.contains_key(&name) {
            let span = layers.places.values.get("default_app").and_then(|(_, span)| span.clone());
            let hint = match suggest::nearest(&name, document.names.keys().map(String::as_str)) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("the applications are {}", listed(document)),
            };
            let message = format!("there is no application `{}`", name.escape_debug());
            reader.report_missing(Draft::error(span.unwrap_or(0..0), message).hint(hint));
        }
        return Some(name);
    }
    match apps {
        [only] if only.routes.is_empty() && document.names.len() == 1 => {
            layers.note("default_app", Origin::Derived("the only application"), None);
            Some(only.name.clone())
        }
        _ => None,
    }
}

/// The names of the applications, the first few of them.
fn listed(document: &Document) -> String {
    const FEW: usize = 8;
    let mut names: Vec<&str> = document.names.keys().take(FEW).map(String::as_str).collect();
    if document.names.len() > FEW {
        names.push("...");
    }
    names.join(", ")
}
