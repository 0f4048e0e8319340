//! Every value that was found is tried, one by one, on the rules of the configuration itself.
//!
//! What they refuse becomes a note with their reason, so that what is written is accepted, and the rules stand in one place
//! (crate `config`). Of what must fit together only the routes are looked at.

use super::draft::{App, Draft, Setting, Table, Value, key, quoted};
use super::render;

/// Where a setting stands, with an application around it that is as small as can be.
#[derive(Clone, Copy)]
enum Place {
    Host,
    App,
    Limits,
}

/// Take out of a draft what would be refused.
pub(super) fn draft(draft: &mut Draft) {
    table(&mut draft.host, Place::Host);
    table(&mut draft.default_limits, Place::Limits);
    for app in &mut draft.apps {
        application(app);
    }
    if draft.apps.len() > 1 {
        fill_in_routes(&mut draft.apps);
    }
}

/// Several applications need a route each. What ends in `.localhost` reaches nobody by accident (RFC 6761, 6.3).
fn fill_in_routes(apps: &mut [App]) {
    let names = render::names(apps);
    let mut taken: Vec<String> =
        apps.iter().flat_map(|app| &app.routes).map(|(route, _)| route.clone()).collect();
    for (app, name) in apps.iter_mut().zip(names).filter(|(app, _)| app.routes.is_empty()) {
        let mut route = format!("{}.localhost", name.replace('_', "-").trim_matches('-'));
        while taken.contains(&route) {
            route.insert(0, 'x');
        }
        taken.push(route.clone());
        app.routes.push((route, "change this: no route of its own could be carried over".to_owned()));
    }
}

fn application(app: &mut App) {
    table(&mut app.table, Place::App);
    table(&mut app.limits, Place::Limits);
    let directory = format!("directory = {}", quoted(&app.directory));
    if !app.directory.is_empty()
        && let Some(why) = refused(Place::App, &directory)
    {
        app.table.note(format!("{directory} was left out: {why}"));
        app.directory.clear();
    }
    let mut routes: Vec<(String, String)> = Vec::new();
    for (route, remark) in std::mem::take(&mut app.routes) {
        let all = routes.iter().map(|(route, _)| route.clone()).chain([route.clone()]).collect();
        match refused(Place::App, &format!("routes = {}", Value::Texts(all).toml())) {
            None => routes.push((route, remark)),
            Some(why) => app.table.note(format!("the route {} was left out: {why}", quoted(&route))),
        }
    }
    app.routes = routes;
    for (name, value) in std::mem::take(&mut app.env) {
        let pair = format!("{} = {}", key(&name), quoted(&value));
        match refused(Place::App, &format!("env = {{ {pair} }}")) {
            None => app.env.push((name, value)),
            Some(why) => app.table.note(format!("env {pair} was left out: {why}")),
        }
    }
}

fn table(table: &mut Table, place: Place) {
    for mut setting in std::mem::take(&mut table.settings) {
        if let Value::Texts(texts) = &setting.value {
            setting.value = Value::Texts(members(texts, setting.key, place, &mut table.notes));
            if setting.value == Value::Texts(Vec::new()) {
                continue;
            }
        }
        let Setting { key, value, remark } = &setting;
        let line = format!("{key} = {}", value.toml());
        match refused(place, &line) {
            None => table.settings.push(setting),
            Some(why) => table.note(format!("{remark}: {line} was left out: {why}")),
        }
    }
}

/// The members of a list that are accepted beside those before them.
fn members(texts: &[String], key: &str, place: Place, notes: &mut Vec<String>) -> Vec<String> {
    let mut accepted: Vec<String> = Vec::new();
    for text in texts {
        accepted.push(text.clone());
        if let Some(why) = refused(place, &format!("{key} = {}", Value::Texts(accepted.clone()).toml())) {
            accepted.pop();
            notes.push(format!("{key} {} was left out: {why}", quoted(text)));
        }
    }
    accepted
}

/// Why a line is no part of a configuration, if it is none.
fn refused(place: Place, line: &str) -> Option<String> {
    let text = match place {
        Place::Host => format!("[host]\n{line}\n[apps.a]\napp = \"a:b\"\n"),
        Place::App => format!("[apps.a]\napp = \"a:b\"\n{line}\n"),
        Place::Limits => format!("[apps.a]\napp = \"a:b\"\n[apps.a.limits]\n{line}\n"),
    };
    let first = super::problems(&text)?.shown().first().map(|diagnostic| diagnostic.message.clone());
    Some(first.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_configuration_refuses_becomes_a_note() {
        let mut app = App { directory: "a\0b".to_owned(), ..App::default() };
        app.table.set("workers", Value::Integer(3), "here");
        app.table.set("threads", Value::Integer(5_000), "there");
        app.limits.set("keepalive_timeout", Value::Text("soon".to_owned()), "there");
        app.routes = vec![("x.org".to_owned(), String::new()), ("a b".to_owned(), String::new())];
        app.env = vec![("A".to_owned(), "1".to_owned()), ("=".to_owned(), "1".to_owned())];
        let mut draft = Draft { apps: vec![app], ..Draft::default() };
        draft.host.add("listen", ":80".to_owned(), "");
        draft.host.add("listen", "0:80".to_owned(), "");
        super::draft(&mut draft);
        let app = &draft.apps[0];
        assert_eq!(draft.host.get("listen"), Some(&Value::Texts(vec![":80".to_owned()])));
        assert_eq!(app.table.settings.len(), 1);
        assert_eq!(app.limits.settings, []);
        assert_eq!((app.directory.as_str(), app.routes.len(), app.env.len()), ("", 1, 1));
        let noted = |table: &Table, part: &str| table.notes.iter().any(|note| note.contains(part));
        for part in
            ["there: threads = 5000 was left out: ", "directory = ", "the route \"a b\"", "env \"=\" = "]
        {
            assert!(noted(&app.table, part), "{part} in {:?}", app.table.notes);
        }
        assert!(noted(&app.limits, "keepalive_timeout = \"soon\" was left out: "), "{:?}", app.limits.notes);
        assert!(noted(&draft.host, "listen \"0:80\" was left out: "), "{:?}", draft.host.notes);
    }
}
