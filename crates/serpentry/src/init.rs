//! `serpentry init`: look at a project and write a commented `serpentry.toml`.
//!
//! Nothing of the project is run: files are read within bounds ([`project`]), Python is looked at token by token ([`python`]).
//! What other servers were told is carried over ([`procfile`], [`gunicorn`], [`unit`]); what cannot be becomes a comment. The
//! choice between several candidates is in [`choose`], the text in [`render`].

mod address;
mod choose;
mod command;
mod django;
mod draft;
mod framework;
mod gunicorn;
mod literal;
mod meaning;
mod module;
mod procfile;
mod project;
mod python;
mod render;
mod scan;
mod servers;
mod shell;
mod surroundings;
mod target;
mod unit;
mod vet;

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use self::draft::Draft;
use self::project::Project;
use crate::cli::InitArguments;
use crate::say;

/// What the file is called.
const FILE: &str = "serpentry.toml";

/// Names shown in a list before it says how many more there are.
const LISTED: usize = 5;

const NOTHING: &str = "looked for: Procfile, gunicorn.conf.py, unit.json or conf.json (NGINX Unit), manage.py (Django), \
    FLASK_APP in .flaskenv,
and Python files with `app = Flask(...)`, `app = FastAPI(...)`, `application = ...`, `def create_app()` and the like.
Write serpentry.toml by hand instead, for example:

[apps.shop]
app = \"shop.wsgi:application\"
directory = \"/srv/shop\"";

pub(crate) fn run(arguments: &InitArguments) -> anyhow::Result<ExitCode> {
    let shown = arguments.directory.display();
    let root = std::path::absolute(&arguments.directory).with_context(|| format!("{shown}"))?;
    let project = Project::open(&root).with_context(|| format!("cannot look at {shown}"))?;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut draft = match &arguments.from {
        Some(path) => from_file(path)?,
        None => match choose::draft(&project, processors) {
            Ok(draft) => draft,
            Err(seen) => {
                let seen: String = seen.iter().map(|line| render::one_line(line) + "\n").collect();
                bail!("no application was found in {shown}\n{seen}{NOTHING}");
            }
        },
    };
    vet::draft(&mut draft);
    let target = arguments.output.clone().unwrap_or_else(|| arguments.directory.join(FILE));
    let text = render::file(&draft, &directories(&draft, &root, &target)?);
    if let Some(problems) = problems(&text) {
        say::warning(format_args!("this must be corrected by hand:\n{}", problems.render(false).trim_end()));
    }
    for finding in draft.findings.iter().chain(&project.omitted()) {
        say::info(format_args!("{}", render::one_line(finding)));
    }
    if arguments.print {
        io::stdout().lock().write_all(text.as_bytes()).context("cannot write to standard output")?;
        return Ok(ExitCode::SUCCESS);
    }
    write(&target, &text, arguments.force)?;
    say::info(format_args!("wrote {}", target.display()));
    let file = if target == Path::new(FILE) || target == Path::new("./serpentry.toml") {
        String::new()
    } else {
        format!(" {}", target.display())
    };
    say::info(format_args!("next: look it over, then serpentry check{file}, then serpentry host{file}"));
    Ok(ExitCode::SUCCESS)
}

/// A configuration of NGINX Unit that was named.
fn from_file(path: &Path) -> anyhow::Result<Draft> {
    let shown = path.display();
    let text = project::read_bounded(path).with_context(|| format!("cannot read {shown}"))?;
    let limit = project::FILE_SIZE >> 20;
    let text = text.with_context(|| format!("{shown} is larger than {limit} MiB"))?;
    let name = path.file_name().map_or_else(|| shown.to_string(), |name| name.to_string_lossy().into_owned());
    unit::read(&text, &name).with_context(|| format!("{shown} was not understood"))
}

/// What to write as each application's directory: relative to the file if the project is below it, else absolute.
fn directories(draft: &Draft, root: &Path, target: &Path) -> anyhow::Result<Vec<String>> {
    let target = std::path::absolute(target).with_context(|| format!("{}", target.display()))?;
    let folder = target.parent().unwrap_or(Path::new("/"));
    let plain = |path: &Path| path.components().collect::<PathBuf>();
    let below = plain(root).strip_prefix(plain(folder)).map(Path::to_owned);
    let base = below.unwrap_or_else(|_| plain(root));
    let of_app = |app: &draft::App| {
        let directory = base.join(surroundings::tidy(&app.directory));
        let text = directory.to_str().context("the directory's name is not UTF-8")?;
        let text = text.trim_end_matches('/');
        Ok(match text {
            "" if directory.is_absolute() => "/".to_owned(),
            "" => ".".to_owned(),
            _ => text.to_owned(),
        })
    };
    draft.apps.iter().map(of_app).collect()
}

fn write(target: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    let shown = target.display();
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    match options.open(target) {
        Ok(mut file) => file.write_all(text.as_bytes()).with_context(|| format!("cannot write {shown}")),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!(
                "{shown} exists: --print shows what would be written, --force overwrites it, -o FILE writes another"
            )
        }
        Err(error) => Err(error).with_context(|| format!("cannot write {shown}")),
    }
}

/// What the configuration's own rules say against a text, if anything.
fn problems(text: &str) -> Option<config::Diagnostics> {
    let environment = config::Environment {
        directory: PathBuf::from("/"),
        state_directory: None,
        port: None,
        ..config::Environment::default()
    };
    config::load(text.as_bytes(), FILE, &environment).err()
}

/// "a, b and c", shortened if there are many.
fn listed(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [name] => name.clone(),
        [names @ .., last] if names.len() < LISTED => format!("{} and {last}", names.join(", ")),
        _ => format!("{} and {} more", names[..LISTED].join(", "), names.len() - LISTED),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_short() {
        let names: Vec<String> = ('a'..='h').map(String::from).collect();
        assert_eq!(listed(&names[..1]), "a");
        assert_eq!(listed(&names[..3]), "a, b and c");
        assert_eq!(listed(&names), "a, b, c, d, e and 3 more");
    }

    /// What is written for a project with these files.
    fn written(files: &[(&str, &str)]) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            std::fs::write(folder.path().join(path), text).unwrap();
        }
        let project = Project::open(folder.path()).unwrap();
        let mut draft = choose::draft(&project, 2).ok()?;
        vet::draft(&mut draft);
        let target = folder.path().join(FILE);
        Some(render::file(&draft, &directories(&draft, folder.path(), &target).unwrap()))
    }

    fn accepted(text: &str) -> Result<(), TestCaseError> {
        match problems(text) {
            None => Ok(()),
            Some(problems) => Err(TestCaseError::fail(format!("{}\n{text}", problems.render(false)))),
        }
    }

    /// Values that flags and settings of other servers may have, sensible and not.
    fn value() -> impl Strategy<Value = String> {
        let known = [
            "0",
            "1",
            "4",
            "-1",
            "9999999",
            "0.5",
            "1e3",
            "True",
            "none",
            "auto",
            "uvloop",
            "gthread",
            "info",
            "asgi",
            "127.0.0.1:80",
            ":80",
            "[::1]:80",
            "unix:",
            "unix:/a b",
            "fd://3",
            "a_b:80",
            "*",
            "10.0.0.0/8",
            "/",
            "/a/",
            "/a//b?",
            "A=b",
            "=b",
            "a b=\u{e9}\\\"",
            "src",
            "..",
            "a:b",
            "a.b:c()",
            "-",
            "",
            "$PORT",
            "$X",
            "\u{202e}#",
            "a..b:80",
            "-a:80",
            "256.1.1.1:80",
            "fd://99999",
            "/../x",
            "/%zz",
            "/a b",
        ];
        proptest::sample::select(known.to_vec()).prop_map(str::to_owned)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn whatever_a_command_line_says_is_accepted(
            server in 0..servers::SERVERS.len(),
            flags in proptest::collection::vec((any::<proptest::sample::Index>(), value()), 0..8),
        ) {
            let server = &servers::SERVERS[server];
            let names: Vec<&str> = server.flags.iter().flat_map(|flag| flag.names).copied().collect();
            let mut line = format!("web: {} a:b", server.name);
            for (index, value) in &flags {
                let quoted = value.replace('\'', "'\\''");
                let quoted = if value == "$PORT" { format!("\"{quoted}\"") } else { format!("'{quoted}'") };
                line += &format!(" {} {quoted}", index.get(&names));
            }
            accepted(&written(&[("Procfile", &line)]).unwrap())?;
        }

        #[test]
        fn whatever_gunicorn_is_told_is_accepted(
            settings in proptest::collection::vec((any::<proptest::sample::Index>(), value()), 0..8),
        ) {
            let flags = servers::GUNICORN.flags;
            let mut source = "wsgi_app = 'a:b'\n".to_owned();
            for (index, value) in &settings {
                let name = index.get(flags).names[0].trim_start_matches('-').replace('-', "_");
                source += &format!("{name} = [{value:?}, 5]\n{name} = {value:?}\n");
            }
            if let Some(text) = written(&[("gunicorn.conf.py", &source)]) {
                accepted(&text)?;
            }
        }

        #[test]
        fn whatever_unit_is_told_is_accepted(
            values in proptest::collection::vec(value(), 12),
            number in 0..3_000_u64,
            prefix in any::<bool>(),
        ) {
            let json = serde_json::json!({
                "listeners": {&values[0]: {"pass": "routes"}, &values[1]: {"pass": "applications/b", "client_ip": {"source": values[2]}}},
                "routes": [
                    {"match": {"host": values[3], "uri": values[4]}, "action": {"pass": "applications/a"}},
                    {"match": {"uri": [values[5], values[6]]}, "action": {"pass": "applications/B"}},
                ],
                "applications": {
                    "a": {"type": "python", "module": values[7], "processes": {"max": number, "spare": number / 2, "idle_timeout": number},
                          "threads": number, "limits": {"timeout": number, "requests": number}, "prefix": if prefix { "/x" } else { "" }},
                    "b": {"type": "python 3", "module": "m", "path": values[8], "home": values[9], "environment": {&values[10]: values[11]}},
                    "B": {"type": "python", "module": "m", "processes": number, "working_directory": values[11]},
                },
                "settings": {"http": {"max_body_size": number, "idle_timeout": number, "body_read_timeout": number}},
                "access_log": values[10],
            });
            accepted(&written(&[("unit.json", &json.to_string())]).unwrap())?;
        }

        #[test]
        fn garbage_does_no_harm(text in r#"([a-z(){}=:.,'"\[\]\\ \n]|app = Flask\(|web: gunicorn |from |import |\PC){0,200}"#) {
            for name in ["Procfile", "gunicorn.conf.py", "unit.json", "app.py", "manage.py", ".flaskenv", "pyproject.toml"] {
                if let Some(text) = written(&[(name, &text), ("main.py", "from flask import Flask\napp = Flask(__name__)\n")]) {
                    accepted(&text)?;
                }
            }
        }
    }

    #[test]
    fn directories_are_relative_to_the_file_if_they_can_be() {
        let app = |directory: &str| draft::App { directory: directory.to_owned(), ..draft::App::default() };
        let draft = Draft { apps: vec![app(""), app("back/"), app("/srv")], ..Draft::default() };
        let of = |target: &str| directories(&draft, Path::new("/a/b/."), Path::new(target)).unwrap();
        assert_eq!(of("/a/b/serpentry.toml"), [".", "back", "/srv"]);
        assert_eq!(of("/a/serpentry.toml"), ["b", "b/back", "/srv"]);
        assert_eq!(of("/etc/serpentry.toml"), ["/a/b", "/a/b/back", "/srv"]);
        let root = directories(&draft, Path::new("/"), Path::new("/etc/x")).unwrap();
        assert_eq!(root, ["/", "/back", "/srv"]);
    }
}
