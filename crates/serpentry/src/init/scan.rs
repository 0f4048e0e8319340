//! Entry points in a project's Python files, best first.
//!
//! Which module name a file has, from which directory it is imported, and how likely it is what is meant to be served. What a
//! single file says is [`super::module`]'s task.

use std::collections::BTreeMap;

use super::framework::Kind;
use super::module::{self, Callable, Module};
use super::project::{Project, folder_of, name_of};

/// Something that could be served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Candidate {
    /// `module:attribute`
    pub(super) target: String,
    pub(super) factory: bool,
    /// Relative to the project, "" for the project itself.
    pub(super) directory: String,
    /// "Flask application: app in wsgi.py:3"
    pub(super) reason: String,
    /// What the application could be called, if its files say so.
    pub(super) name: Option<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) notes: Vec<String>,
}

/// Every Python file of a project that could be read.
pub(super) struct Scan {
    modules: BTreeMap<String, Module>,
}

/// Where a module is imported from.
struct Place {
    directory: String,
    /// A folder below it that must be on the search path.
    search: Option<&'static str>,
    /// "" for the project's own `__init__.py`, which has no name.
    module: String,
}

/// File names that hold entry points, by how sure that is. Others count only for what a framework's name proves.
const FILES: &[(&str, u8)] = &[
    ("wsgi.py", 0),
    ("asgi.py", 0),
    ("app.py", 1),
    ("main.py", 1),
    ("application.py", 1),
    ("__init__.py", 2),
    ("api.py", 2),
    ("server.py", 2),
    ("run.py", 2),
    ("web.py", 2),
    ("index.py", 2),
    ("factory.py", 2),
];

/// The folder of projects whose packages are not importable from the project itself.
const SOURCES: &str = "src";

impl Scan {
    pub(super) fn new(project: &Project) -> Self {
        let files = project.files().filter(|path| path.ends_with(".py"));
        let read = |path: &str| Some((path.to_owned(), module::read(&project.text(path)?)));
        Scan { modules: files.filter_map(read).collect() }
    }

    pub(super) fn module(&self, path: &str) -> Option<&Module> {
        self.modules.get(path)
    }

    /// Entry points, the most likely first, and what was recognised but cannot be hosted.
    pub(super) fn candidates(&self) -> (Vec<Candidate>, Vec<String>) {
        let mut ranked = Vec::new();
        let mut foreign = Vec::new();
        for (path, module) in &self.modules {
            let Some(place) = self.place(path, module) else { continue };
            for callable in &module.callables {
                let kind = self.kind(callable, &place.module, name_of(path) == "__init__.py");
                if let Kind::Foreign(name) = kind {
                    foreign.push(format!(
                        "{name} application: {} in {path}:{}: it is neither WSGI nor ASGI and cannot be hosted",
                        callable.name, callable.line
                    ));
                } else if let Some(rank) = rank(path, callable, kind) {
                    ranked.push((
                        (rank, path.matches('/').count(), path),
                        candidate(path, callable, kind, &place),
                    ));
                }
            }
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        (ranked.into_iter().map(|(_, candidate)| candidate).collect(), foreign)
    }

    /// The entry point in one file, for `FLASK_APP=shop/app.py` and the like.
    pub(super) fn entry(&self, path: &str, name: Option<&str>) -> Option<Candidate> {
        let module = self.modules.get(path)?;
        let place = self.place(path, module)?;
        // The order of Flask: app, application, the factories, any other.
        let order = ["app", "application", "create_app", "make_app"];
        let callable = match name {
            Some(name) => module.callable(name),
            None => order.iter().find_map(|name| module.callable(name)).or(module.callables.first()),
        }?;
        Some(candidate(path, callable, self.kind(callable, &place.module, false), &place))
    }

    /// The file of a module that is imported from `directory`.
    pub(super) fn file_of(&self, directory: &str, module: &str) -> Option<&str> {
        let path = super::project::join(directory, &module.replace('.', "/"));
        let files = [format!("{path}.py"), format!("{path}/__init__.py")];
        let found = files.iter().find_map(|file| self.modules.get_key_value(file));
        found.map(|(path, _)| path.as_str())
    }

    /// Kinds that another file of the project knows better.
    fn kind(&self, callable: &Callable, module: &str, is_package: bool) -> Kind {
        let Some(origin) = callable.origin.as_deref().filter(|_| callable.kind == Kind::Unknown) else {
            return callable.kind;
        };
        let absolute = absolute(origin, module, is_package);
        let Some((module, name)) = absolute.rsplit_once('.') else { return callable.kind };
        let file = ["", SOURCES].iter().find_map(|root| self.file_of(root, module));
        let known = file.and_then(|path| self.modules[path].callable(name));
        known.map_or(callable.kind, |known| known.kind)
    }

    fn place(&self, path: &str, module: &Module) -> Option<Place> {
        let has = |path: String| self.modules.contains_key(&path);
        if path.starts_with("src/") && !has(format!("{SOURCES}/__init__.py")) && !imports(module, SOURCES) {
            let module = module_name(path, SOURCES)?;
            return Some(Place { directory: String::new(), search: Some(SOURCES), module });
        }
        let mut root = folder_of(path);
        while !root.is_empty() && has(format!("{root}/__init__.py")) {
            root = folder_of(root);
        }
        // Without a package's file the folder is either one all the same, or where the application is run.
        let sibling = |name: &str| self.file_of(root, name).is_some() && self.file_of("", name).is_none();
        let runs_here = module.imports.values().filter_map(|name| name.split('.').next()).any(sibling);
        let root = if runs_here { root } else { "" };
        Some(Place { directory: root.to_owned(), search: None, module: module_name(path, root)? })
    }
}

fn imports(module: &Module, package: &str) -> bool {
    module.imports.values().any(|name| name.split('.').next() == Some(package))
}

/// `a.b` of `root/a/b.py` and of `root/a/b/__init__.py`; `None` if it cannot be imported.
fn module_name(path: &str, root: &str) -> Option<String> {
    let inner = path.strip_prefix(root)?.trim_start_matches('/').strip_suffix(".py")?;
    let inner = if inner == "__init__" { "" } else { inner.strip_suffix("/__init__").unwrap_or(inner) };
    let name = inner.replace('/', ".");
    super::target::is_target(&name).then_some(name)
}

/// A relative import's dotted name as an absolute one.
fn absolute(origin: &str, module: &str, is_package: bool) -> String {
    let inner = origin.trim_start_matches('.');
    let dots = origin.len() - inner.len();
    if dots == 0 {
        return origin.to_owned();
    }
    let parts: Vec<&str> = module.split('.').collect();
    let up = if is_package { dots - 1 } else { dots };
    let package = &parts[..parts.len().saturating_sub(up)];
    [package, &[inner]].concat().join(".")
}

/// How likely it is; smaller is likelier. `None`: nothing speaks for it.
fn rank(path: &str, callable: &Callable, kind: Kind) -> Option<(u8, u8, u8)> {
    let file = FILES.iter().find(|(name, _)| *name == name_of(path)).map(|(_, rank)| *rank);
    let usual = matches!(callable.name.as_str(), "app" | "application");
    let class = match (kind, callable.factory) {
        (Kind::Unknown, false) if file == Some(0) => 0,
        (Kind::Unknown, false) => 1,
        (Kind::Wsgi | Kind::Asgi, _) if !usual => 2,
        (_, false) => 0,
        (Kind::Unknown, true) => 3,
        (_, true) => 2,
    };
    let proven = matches!(kind, Kind::Framework(_)) || (usual && matches!(kind, Kind::Wsgi | Kind::Asgi));
    (proven || file.is_some()).then(|| (class, file.unwrap_or(3), u8::from(!usual)))
}

fn candidate(path: &str, callable: &Callable, kind: Kind, place: &Place) -> Candidate {
    let Callable { name, line, factory, .. } = callable;
    let what = if *factory && kind == Kind::Unknown {
        "Application factory".to_owned()
    } else if *factory {
        format!("{} factory", kind.describe().trim_end_matches(" application"))
    } else {
        let what = kind.describe();
        what[..1].to_uppercase() + &what[1..]
    };
    let search = place.search.map(|folder| ("PYTHONPATH".to_owned(), folder.to_owned()));
    // A package's name says more than that of its folder; "app" and "main" say nothing.
    let package = place.module.split('.').next().unwrap_or_default();
    let telling =
        !matches!(package, "app" | "main" | "wsgi" | "asgi" | "application" | "src" | "api" | "server");
    Candidate {
        target: format!("{}:{name}", place.module),
        factory: *factory,
        directory: place.directory.clone(),
        reason: format!("{what}: {name} in {path}:{line}"),
        name: (telling && place.module.contains('.')).then(|| package.to_owned()),
        env: search.into_iter().collect(),
        notes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(files: &[(&str, &str)]) -> Scan {
        let read = |(path, text): &(&str, &str)| ((*path).to_owned(), module::read(text));
        Scan { modules: files.iter().map(read).collect() }
    }

    /// `target [in directory]` of each, best first.
    fn shown(files: &[(&str, &str)]) -> Vec<String> {
        let show = |candidate: &Candidate| {
            let directory = if candidate.directory.is_empty() {
                String::new()
            } else {
                format!(" in {}", candidate.directory)
            };
            let search = if candidate.env.is_empty() { "" } else { " with src" };
            format!("{}{directory}{search}", candidate.target)
        };
        scan(files).candidates().0.iter().map(show).collect()
    }

    const FLASK: &str = "from flask import Flask\napp = Flask(__name__)\n";
    const FASTAPI: &str = "from fastapi import FastAPI\napp = FastAPI()\n";
    const FACTORY: &str = "from flask import Flask\ndef create_app(): return Flask(__name__)\n";

    #[test]
    fn the_likeliest_comes_first() {
        let files = [
            ("tools/gui.py", FLASK),
            ("main.py", FLASK),
            ("wsgi.py", "from shop import create_app\napp = create_app()"),
            ("shop/__init__.py", FACTORY),
        ];
        assert_eq!(shown(&files), ["wsgi:app", "main:app", "tools.gui:app", "shop:create_app"]);
        assert_eq!(shown(&[("helper.py", "app = make()")]), [""; 0]);
        assert_eq!(shown(&[("run.py", "app = make()")]), ["run:app"]);
        assert_eq!(shown(&[("hello.py", "def app(environ, start_response): pass")]), ["hello:app"]);
        assert_eq!(shown(&[("hello.py", "def other(environ, start_response): pass")]), [""; 0]);
    }

    #[test]
    fn a_module_has_the_name_it_is_imported_by() {
        assert_eq!(shown(&[("app/main.py", FASTAPI), ("app/__init__.py", "")]), ["app.main:app"]);
        assert_eq!(shown(&[("app/main.py", FASTAPI)]), ["app.main:app"]);
        assert_eq!(shown(&[("src/shop/main.py", FASTAPI)]), ["shop.main:app with src"]);
        assert_eq!(shown(&[("src/main.py", FASTAPI), ("src/__init__.py", "")]), ["src.main:app"]);
        let imports_itself = "from fastapi import FastAPI\nfrom src.db import x\napp = FastAPI()";
        assert_eq!(shown(&[("src/main.py", imports_itself)]), ["src.main:app"]);
        let imports_sibling = "from fastapi import FastAPI\nimport db\napp = FastAPI()";
        assert_eq!(
            shown(&[("backend/main.py", imports_sibling), ("backend/db.py", "")]),
            ["main:app in backend"]
        );
        assert_eq!(shown(&[("my-app/main.py", FASTAPI)]), [""; 0]);
        assert_eq!(shown(&[("__init__.py", FASTAPI)]), [""; 0]);
    }

    #[test]
    fn other_files_say_what_a_name_is() {
        let files =
            [("shop/wsgi.py", "from . import create_app\napp = create_app()"), ("shop/__init__.py", FACTORY)];
        let (candidates, _) = scan(&files).candidates();
        assert_eq!(candidates[0].reason, "Flask application: app in shop/wsgi.py:2");
        assert_eq!(candidates[1].reason, "Flask factory: create_app in shop/__init__.py:2");
        assert_eq!(candidates[0].name.as_deref(), Some("shop"));
        assert_eq!(absolute("..a.b", "x.y.z", false), "x.a.b");
        assert_eq!(absolute(".a", "x.y", true), "x.y.a");
        assert_eq!(absolute(".....a", "x", false), "a");
    }

    #[test]
    fn what_cannot_be_hosted_is_said() {
        let (candidates, foreign) =
            scan(&[("main.py", "from aiohttp import web\napp = web.Application()")]).candidates();
        assert_eq!(candidates, []);
        let said = "aiohttp application: app in main.py:2: it is neither WSGI nor ASGI and cannot be hosted";
        assert_eq!(foreign, [said]);
    }

    #[test]
    fn one_file_is_asked_in_the_order_of_flask() {
        let scan = scan(&[("a.py", "from flask import Flask\nother = Flask('x')\ndef create_app(): pass\n")]);
        assert_eq!(scan.entry("a.py", None).unwrap().target, "a:create_app");
        assert_eq!(scan.entry("a.py", Some("other")).unwrap().target, "a:other");
        assert_eq!(scan.entry("a.py", Some("none")), None);
        assert_eq!(scan.entry("b.py", None), None);
    }
}
