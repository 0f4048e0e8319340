//! What lies around the application: virtual environment, `pyproject.toml`, `.flaskenv`, files that are only mentioned.

use std::path::Path;

use super::project::{self, Project};

/// Folders of virtual environments, in the order in which they are looked for. The host finds the first two by itself.
const ENVIRONMENTS: &[&str] = &[".venv", "venv", "env"];

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// The interpreter, relative to the project, if there is a virtual environment.
    pub(super) python: Option<String>,
    /// `[project] name`
    pub(super) name: Option<String>,
    /// `[project] requires-python`
    pub(super) requires_python: Option<String>,
    /// `FLASK_APP` of `.flaskenv`
    pub(super) flask_app: Option<String>,
    /// Files that hold variables and are not read.
    pub(super) variables: Vec<&'static str>,
}

/// Look around.
pub(super) fn look(project: &Project) -> Surroundings {
    let text = project.text("pyproject.toml").unwrap_or_default();
    let known = |name: &&&str| project.has(name);
    Surroundings {
        python: environment(project.root()),
        name: project_value(&text, "name"),
        requires_python: project_value(&text, "requires-python"),
        flask_app: project.text(".flaskenv").and_then(|text| variable(&text, "FLASK_APP")),
        variables: [".env", ".env.local", ".env.production"].iter().filter(known).copied().collect(),
    }
}

fn environment(root: &Path) -> Option<String> {
    let interpreters = ENVIRONMENTS.iter().map(|folder| format!("{folder}/bin/python"));
    interpreters.into_iter().find(|path| root.join(path).exists())
}

/// What to write as `python` for an application in `directory`, if it is not found by itself. The path is relative to that
/// directory.
pub(super) fn interpreter(python: &str, directory: &str) -> Option<String> {
    if directory.starts_with('/') {
        return None;
    }
    let depth = directory.split('/').filter(|part| !part.is_empty()).count();
    let by_itself = depth == 0 && !python.starts_with("env/");
    (!by_itself).then(|| "../".repeat(depth) + python)
}

/// A string in the table `[project]`. Only the usual form on one line; whatever else is there is left alone.
fn project_value(text: &str, key: &str) -> Option<String> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[project]";
        } else if inside
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == key
        {
            let value = value.trim();
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            let (value, _) = value[1..].split_once(quote)?;
            return (!value.is_empty()).then(|| value.to_owned());
        }
    }
    None
}

/// A variable in a file of `NAME=VALUE` lines.
fn variable(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (known, value) = line.split_once('=')?;
        (known.trim() == name).then(|| value.trim())
    })?;
    let bare = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.split(*quote).next());
    let value = bare.unwrap_or_else(|| value.split(" #").next().unwrap_or_default().trim());
    (!value.is_empty()).then(|| value.to_owned())
}

/// A path as a person writes it, without what says nothing.
pub(super) fn tidy(directory: &str) -> String {
    if directory.starts_with('/') {
        return directory.to_owned();
    }
    let parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    project::join("", &parts.join("/"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn looks_around() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("venv/bin/python", "");
        write("env/bin/python", "");
        write(".env", "SECRET=1");
        write(".flaskenv", "# FLASK_APP=no\nFLASK_DEBUG=1\nexport FLASK_APP=\"shop:create_app('x')\" # y\n");
        write(
            "pyproject.toml",
            "[tool.x]\nname = 'no'\n[project]\nname = \"My Shop\"\nrequires-python = '>=3.11' # x\n",
        );
        let found = look(&Project::open(folder.path()).unwrap());
        let expected = Surroundings {
            python: Some("venv/bin/python".to_owned()),
            name: Some("My Shop".to_owned()),
            requires_python: Some(">=3.11".to_owned()),
            flask_app: Some("shop:create_app('x')".to_owned()),
            variables: vec![".env"],
        };
        assert_eq!(found, expected);
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(look(&Project::open(empty.path()).unwrap()), Surroundings::default());
    }

    #[test]
    fn an_interpreter_is_named_if_the_host_would_not_find_it() {
        let cases = [
            (".venv/bin/python", "", None),
            ("env/bin/python", "", Some("env/bin/python")),
            (".venv/bin/python", "a/b", Some("../../.venv/bin/python")),
            (".venv/bin/python", "/srv", None),
        ];
        for (python, directory, expected) in cases {
            assert_eq!(interpreter(python, directory).as_deref(), expected, "{python} {directory}");
        }
    }

    #[test]
    fn garbage_has_no_values() {
        for text in [
            "[project]\nname",
            "[project]\nname = 5",
            "[project]\nname = \"x",
            "name = 'x'",
            "[project]\nname=''",
        ] {
            assert_eq!(project_value(text, "name"), None, "{text}");
        }
        assert_eq!(variable("A=1", "FLASK_APP"), None);
        assert_eq!(variable("FLASK_APP=", "FLASK_APP"), None);
        assert_eq!(tidy("./a//b/"), "a/b");
        assert_eq!(tidy("."), "");
    }
}
