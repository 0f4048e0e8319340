//! Django projects: from `manage.py` over the settings to the entry point.
//!
//! Source: docs.djangoproject.com, "How to deploy with WSGI" and "How to deploy with ASGI".

use super::project::{self, folder_of, name_of};
use super::scan::{Candidate, Scan};

/// Settings whose values are the entry points, and the files that hold them by convention.
const ENTRIES: [(&str, &str); 2] = [("ASGI_APPLICATION", "asgi"), ("WSGI_APPLICATION", "wsgi")];

/// The entry points of every Django project below `files`, the best of each first.
pub(super) fn candidates<'a>(scan: &Scan, files: impl Iterator<Item = &'a str>) -> Vec<Candidate> {
    let manage = files.filter(|path| name_of(path) == "manage.py");
    let projects = manage.filter_map(|path| Some((path, scan.module(path)?.settings_module.clone()?)));
    projects.flat_map(|(path, settings)| of_project(scan, path, &settings)).collect()
}

fn of_project(scan: &Scan, manage: &str, settings: &str) -> Vec<Candidate> {
    let directory = folder_of(manage);
    let named = ENTRIES.map(|(setting, _)| setting_of(scan, directory, settings, setting));
    let mut found = Vec::new();
    // startproject writes WSGI_APPLICATION; somebody who adds ASGI_APPLICATION wants that.
    for ((setting, _), value) in ENTRIES.iter().zip(&named) {
        if let Some((value, place)) = value
            && let Some((module, attribute)) = value.rsplit_once('.')
        {
            let reason =
                format!("Django project: {manage} names {settings}; {setting} in {place} is {value}");
            found.push(candidate(scan, directory, settings, format!("{module}:{attribute}"), reason));
        }
    }
    // WSGI first: that is what a project without a word about either is served with.
    let package = settings.split('.').next().unwrap_or_default();
    for (_, stem) in ENTRIES.iter().rev() {
        let module = format!("{package}.{stem}");
        let Some(path) = scan.file_of(directory, &module) else { continue };
        let target = format!("{module}:application");
        let has_it = scan.module(path).is_some_and(|module| module.callable("application").is_some());
        if has_it && !found.iter().any(|known| known.target == target) {
            let reason = format!("Django project: {manage} names {settings}; application in {path}");
            found.push(candidate(scan, directory, settings, target, reason));
        }
    }
    found
}

/// A setting's text and the file it is in: the settings' own, or one beside it in a package of settings.
fn setting_of(scan: &Scan, directory: &str, settings: &str, setting: &str) -> Option<(String, String)> {
    let own = scan.file_of(directory, settings);
    let of_file = |path: &str| Some((scan.module(path)?.texts.get(setting)?.clone(), path.to_owned()));
    let package = settings.rsplit_once('.').map(|(package, _)| package);
    let beside = package.and_then(|package| {
        let shared = ["base", "common", "defaults", "production", "prod", "settings"];
        shared.iter().find_map(|name| of_file(scan.file_of(directory, &format!("{package}.{name}"))?))
    });
    own.and_then(of_file).or(beside)
}

fn candidate(scan: &Scan, directory: &str, settings: &str, target: String, reason: String) -> Candidate {
    let module = target.split(':').next().unwrap_or_default();
    let entry = scan.file_of(directory, module).and_then(|path| scan.module(path));
    let mut notes = Vec::new();
    let mut env = Vec::new();
    match entry.and_then(|entry| entry.settings_module.as_deref()) {
        // The entry point sets it, unless the environment has it.
        Some(own) if own == settings => {}
        Some(own) => notes.push(format!(
            "the entry point uses {own}, manage.py {settings}: set DJANGO_SETTINGS_MODULE in env for another than {own}"
        )),
        None => env.push(("DJANGO_SETTINGS_MODULE".to_owned(), settings.to_owned())),
    }
    notes.push("static files are not served by the host: let WhiteNoise or a proxy do it".to_owned());
    let package = settings.split('.').next().unwrap_or_default();
    let telling = !matches!(package, "config" | "core" | "settings" | "project" | "conf" | "backend" | "src");
    let name = telling.then(|| package.to_owned());
    Candidate { target, factory: false, directory: project::join("", directory), reason, name, env, notes }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::project::Project;
    use super::*;

    const MANAGE: &str =
        "def main():\n    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n";
    const WSGI: &str = "import os\nfrom django.core.wsgi import get_wsgi_application\n\
                        os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n\
                        application = get_wsgi_application()\n";

    fn found(files: &[(&str, &str)]) -> Vec<Candidate> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let project = Project::open(folder.path()).unwrap();
        candidates(&Scan::new(&project), project.files())
    }

    fn targets(files: &[(&str, &str)]) -> Vec<String> {
        found(files).into_iter().map(|candidate| candidate.target).collect()
    }

    #[test]
    fn settings_name_the_entry_point() {
        let settings = "WSGI_APPLICATION = 'shop.wsgi.application'\n";
        let files = [
            ("manage.py", MANAGE),
            ("shop/settings.py", settings),
            ("shop/wsgi.py", WSGI),
            ("shop/asgi.py", WSGI),
        ];
        let found = found(&files);
        assert_eq!(found[0].target, "shop.wsgi:application");
        let reason = "Django project: manage.py names shop.settings; WSGI_APPLICATION in shop/settings.py is \
                      shop.wsgi.application";
        assert_eq!(found[0].reason, reason);
        assert_eq!(found[0].name.as_deref(), Some("shop"));
        assert_eq!(found[0].env, []);
        assert_eq!(found[1].target, "shop.asgi:application");
    }

    #[test]
    fn asgi_comes_first_if_the_settings_name_it() {
        let settings =
            "WSGI_APPLICATION = 'shop.wsgi.application'\nASGI_APPLICATION = 'shop.asgi.application'\n";
        let files = [("manage.py", MANAGE), ("shop/settings.py", settings)];
        assert_eq!(targets(&files), ["shop.asgi:application", "shop.wsgi:application"]);
    }

    #[test]
    fn without_a_word_in_the_settings_the_usual_files_are_taken() {
        let files = [("back/manage.py", MANAGE), ("back/shop/settings.py", ""), ("back/shop/wsgi.py", WSGI)];
        let found = found(&files);
        assert_eq!(
            (found[0].target.as_str(), found[0].directory.as_str()),
            ("shop.wsgi:application", "back")
        );
    }

    #[test]
    fn settings_may_be_a_package_and_differ() {
        let manage = MANAGE.replace("shop.settings", "shop.settings.local");
        let base = "WSGI_APPLICATION = 'shop.wsgi.application'\n";
        let files = [("manage.py", manage.as_str()), ("shop/settings/base.py", base), ("shop/wsgi.py", WSGI)];
        let found = found(&files);
        assert!(
            found[0].reason.ends_with("WSGI_APPLICATION in shop/settings/base.py is shop.wsgi.application")
        );
        assert!(
            found[0].notes[0].contains("the entry point uses shop.settings, manage.py shop.settings.local")
        );
    }

    #[test]
    fn what_the_entry_point_does_not_set_goes_into_the_environment() {
        let wsgi =
            "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n";
        let found = found(&[("manage.py", MANAGE), ("shop/wsgi.py", wsgi)]);
        assert_eq!(found[0].env, [("DJANGO_SETTINGS_MODULE".to_owned(), "shop.settings".to_owned())]);
        assert_eq!(targets(&[("manage.py", "print('no Django')")]), [""; 0]);
    }
}
