//! The table of settings against everything made from it: the committed documents, the schema, the reader, the printer.

use std::fs;
use std::path::Path;

use config::table::{APP, Fallback, HOST, Kind, LIMITS, OVERRIDES, Section, Setting};
use config::{Environment, Resolved, Tenancy, load};

fn read(text: &str) -> Resolved {
    let environment = Environment { directory: "/srv/sites".into(), ..Environment::default() };
    load(text.as_bytes(), "serpentry.toml", &environment)
        .unwrap_or_else(|all| panic!("{text}\n{}", all.render(false)))
}

/// A file in which a setting has this value, and that is right otherwise.
fn file_with(section: &Section, setting: &Setting, value: &str) -> String {
    let line = format!("{} = {value}", setting.name);
    let app = if setting.name == "app" { "" } else { "app = \"x:y\"\n" };
    if section.title == HOST.title {
        format!("[host]\n{line}\n[apps.shop]\n{app}")
    } else if section.title == LIMITS.title {
        format!("[apps.shop]\n{app}[apps.shop.limits]\n{line}\n")
    } else if section.title == OVERRIDES.title {
        let prefix = if setting.name == "prefix" { "" } else { "prefix = \"/other\"\n" };
        format!("[apps.shop]\n{app}[[apps.shop.overrides]]\n{prefix}{line}\n")
    } else {
        format!("[apps.shop]\n{app}{line}\n")
    }
}

fn every() -> impl Iterator<Item = (&'static Section, &'static Setting)> {
    let sections: [&'static Section; 4] = [&HOST, &APP, &LIMITS, &OVERRIDES];
    sections.into_iter().flat_map(|section| section.settings.iter().map(move |setting| (section, setting)))
}

#[test]
fn committed_documents_are_those_of_the_table() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    for (name, made) in
        [("configuration.md", config::reference::page()), ("serpentry.schema.json", config::schema::text())]
    {
        let committed = fs::read_to_string(docs.join(name)).unwrap_or_default();
        assert!(committed == made, "docs/{name} is out of date: cargo run -p config --example reference");
    }
}

#[test]
fn every_example_is_right_and_changes_something() {
    let plain = read("[apps.shop]\napp = \"x:y\"\n");
    for (section, setting) in every() {
        let resolved = read(&file_with(section, setting, setting.example));
        let same = resolved.plan == plain.plan;
        // The only application is the default anyway.
        let idle = matches!((section.title, setting.name), ("[host]", "default_app"));
        // Example and default are the same by their nature.
        let natural = matches!(setting.name, "state");
        assert!(!same || idle || natural, "{} {} has no effect", section.title, setting.name);
    }
}

#[test]
fn every_default_is_right() {
    for tenancy in [Tenancy::Shared, Tenancy::Isolated] {
        let head = format!("[apps.shop]\napp = \"x:y\"\ntenancy = \"{tenancy}\"\n");
        let plain = read(&head);
        for (section, setting) in every() {
            let Some(text) = setting.default.text(tenancy) else { continue };
            let file = file_with(section, setting, text);
            let said = read(&if setting.name == "tenancy" {
                file
            } else {
                file.replace("app = \"x:y\"\n", &format!("app = \"x:y\"\ntenancy = \"{tenancy}\"\n"))
            });
            if setting.name != "tenancy" {
                assert_eq!(said.plan, plain.plan, "{} {}", section.title, setting.name);
            }
        }
    }
}

#[test]
fn every_setting_is_printed() {
    let resolved = read("[apps.shop]\napp = \"x:y\"\n");
    let printed = config::print(&resolved.plan, &resolved.origins);
    for (section, setting) in every().filter(|(section, _)| section.title != OVERRIDES.title) {
        let (begin, remark) = (format!("{} = ", setting.name), format!("# {}:", setting.name));
        let there = printed.lines().any(|line| line.starts_with(&begin) || line.starts_with(&remark));
        assert!(there || setting.name == "limits", "{} {} is not printed", section.title, setting.name);
    }
}

#[test]
fn names_are_unique_and_texts_are_sentences() {
    for (section, setting) in every() {
        let same = section.settings.iter().filter(|other| other.name == setting.name).count();
        assert_eq!(same, 1, "{}", setting.name);
        assert!(setting.about.ends_with('.') && setting.about.len() > 15, "{}", setting.name);
        if let Kind::Choice(words) = setting.kind
            && let Fallback::Is(default) = setting.default
        {
            assert!(words.iter().any(|(word, _)| format!("\"{word}\"") == default), "{}", setting.name);
        }
    }
}

#[test]
fn the_schema_has_every_setting() {
    let schema: serde_json::Value = serde_json::from_str(&config::schema::text()).unwrap();
    let apps = &schema["properties"]["apps"]["patternProperties"];
    let app = apps.as_object().unwrap().values().next().unwrap();
    for (section, setting) in every() {
        let table = match section.title {
            title if title == HOST.title => &schema["properties"]["host"],
            title if title == LIMITS.title => &app["properties"]["limits"],
            title if title == OVERRIDES.title => &app["properties"]["overrides"]["items"],
            _ => app,
        };
        let property = &table["properties"][setting.name];
        assert!(property["description"].is_string(), "{} {}", section.title, setting.name);
        assert_eq!(table["additionalProperties"], false, "{}", section.title);
    }
    assert!(schema["properties"]["defaults"]["properties"].get("routes").is_none());
}
