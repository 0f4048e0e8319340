//! One Python file: the applications and factories that it binds at its top level.
//!
//! From the text alone: assignments, imports and definitions. What a name is in truth is known only when the module runs.

use std::collections::BTreeMap;

use super::framework::{self, Kind};
use super::python::{self, Statement, Token};

/// A name that can be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Callable {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) kind: Kind,
    /// It is called to get the application.
    pub(super) factory: bool,
    /// Where it was imported from or which function made it, as a dotted name.
    pub(super) origin: Option<String>,
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Module {
    pub(super) callables: Vec<Callable>,
    /// Local name and the dotted name behind it; relative imports begin with dots.
    pub(super) imports: BTreeMap<String, String>,
    /// Strings assigned at the top level.
    pub(super) texts: BTreeMap<String, String>,
    /// Module named by `os.environ.setdefault("DJANGO_SETTINGS_MODULE", ...)`, wherever that stands.
    pub(super) settings_module: Option<String>,
}

/// Names that are served by convention.
const USUAL: &[&str] = &["app", "application", "api", "asgi", "wsgi", "server"];

/// Names of factories, as in Flask and our own loader.
const FACTORIES: &[&str] =
    &["create_app", "make_app", "create_application", "get_app", "get_application", "app_factory"];

/// Look through a file.
pub(super) fn read(source: &str) -> Module {
    let mut module = Module::default();
    for statement in python::statements(source) {
        module.find_settings_module(&statement);
        if statement.indented {
            continue;
        }
        match statement.tokens.as_slice() {
            [Token::Name("from"), rest @ ..] => module.import_from(rest, statement.line),
            [Token::Name("import"), rest @ ..] => module.import(rest),
            [Token::Name("def"), Token::Name(name), rest @ ..] => {
                module.function(name, rest, false, statement.line);
            }
            [Token::Name("async"), Token::Name("def"), Token::Name(name), rest @ ..] => {
                module.function(name, rest, true, statement.line);
            }
            _ => {
                if let Some((names, value)) = statement.assignments() {
                    module.assign(&names, value, statement.line);
                }
            }
        }
    }
    let suggested = framework::suggested_by(&module.imports.values().map(String::as_str));
    for factory in module.callables.iter_mut().filter(|callable| callable.factory) {
        if factory.kind == Kind::Unknown {
            factory.kind = suggested;
        }
    }
    module
}

impl Module {
    /// The callable of that name.
    pub(super) fn callable(&self, name: &str) -> Option<&Callable> {
        self.callables.iter().find(|callable| callable.name == name)
    }

    fn find_settings_module(&mut self, statement: &Statement<'_>) {
        let name = Token::Text(Some("DJANGO_SETTINGS_MODULE".to_owned()));
        let Some(at) = statement.find(std::slice::from_ref(&name)) else { return };
        // `setdefault("...", "x")`, `environ["..."] = "x"`
        let after = statement.tokens[at + 1..].iter().take(3);
        let value = after.into_iter().find_map(|token| match token {
            Token::Text(Some(text)) => Some(text.clone()),
            _ => None,
        });
        self.settings_module = self.settings_module.take().or(value);
    }

    /// Behind `import`: `a.b, c as d`.
    fn import(&mut self, tokens: &[Token<'_>]) {
        for item in tokens.split(|token| *token == Token::Symbol(",")) {
            let (dotted, rest) = dotted_name(item);
            match rest {
                [Token::Name("as"), Token::Name(alias)] => {
                    self.imports.insert((*alias).to_owned(), dotted);
                }
                _ => {
                    let first = dotted.split('.').next().unwrap_or_default().to_owned();
                    self.imports.insert(first.clone(), first);
                }
            }
        }
    }

    /// Behind `from`: `.a import (b, c as d)`. What is imported can be served like what is assigned.
    fn import_from(&mut self, tokens: &[Token<'_>], line: usize) {
        let Some(at) = tokens.iter().position(|token| *token == Token::Name("import")) else { return };
        let module = text_of(&tokens[..at]);
        let names =
            tokens[at + 1..].iter().filter(|token| !matches!(token, Token::Symbol("(" | ")"))).cloned();
        let names: Vec<Token<'_>> = names.collect();
        for item in names.split(|token| *token == Token::Symbol(",")) {
            let (name, alias) = match item {
                [Token::Name(name), Token::Name("as"), Token::Name(alias)] => (*name, *alias),
                [Token::Name(name)] => (*name, *name),
                _ => continue,
            };
            let dot = if module.ends_with('.') { "" } else { "." };
            let origin = format!("{module}{dot}{name}");
            self.imports.insert(alias.to_owned(), origin.clone());
            if USUAL[..2].contains(&alias) && framework::made_by(&origin).is_none() {
                self.bind(Callable {
                    name: alias.to_owned(),
                    line,
                    kind: Kind::Unknown,
                    factory: false,
                    origin: Some(origin),
                });
            }
        }
    }

    /// Behind the name of a function: is it an application itself, or a factory?
    fn function(&mut self, name: &str, tokens: &[Token<'_>], is_async: bool, line: usize) {
        let Some(parameters) = parameters(tokens) else { return };
        let names: Vec<&str> = parameters.iter().map(|(name, _)| *name).collect();
        let required = parameters.iter().filter(|(_, optional)| !optional).count();
        let kind = match (names.as_slice(), is_async) {
            ([first, second], false) if first.contains("environ") && second.contains("start") => Kind::Wsgi,
            (["scope", "receive", "send"], true) => Kind::Asgi,
            _ => Kind::Unknown,
        };
        if kind != Kind::Unknown {
            self.bind(Callable { name: name.to_owned(), line, kind, factory: false, origin: None });
        } else if FACTORIES.contains(&name) && !is_async && required == 0 {
            self.bind(Callable { name: name.to_owned(), line, kind, factory: true, origin: None });
        }
    }

    fn assign(&mut self, names: &[&str], value: &[Token<'_>], line: usize) {
        if let [Token::Text(Some(text))] = value {
            for name in names {
                self.texts.insert((*name).to_owned(), text.clone());
            }
            return;
        }
        let (dotted, rest) = dotted_name(value);
        let called = rest.first() == Some(&Token::Symbol("("));
        let resolved = self.resolve(&dotted);
        let made = framework::made_by(&resolved).filter(|_| called);
        for name in names {
            // What wraps an application is one of the same kind.
            let before = self.callable(name).map(|callable| callable.kind);
            let kind = made.or(before).unwrap_or(Kind::Unknown);
            let usual = USUAL[..2].contains(name) && (called || self.callable(&dotted).is_some());
            if made.is_some() || before.is_some() || usual {
                let alias = self.callable(&dotted).filter(|_| !called).map(|callable| callable.kind);
                let kind = if kind == Kind::Unknown { alias.unwrap_or(kind) } else { kind };
                let origin = (kind == Kind::Unknown).then(|| resolved.clone());
                self.bind(Callable { name: (*name).to_owned(), line, kind, factory: false, origin });
            }
        }
    }

    /// A later binding of a name replaces an earlier one.
    fn bind(&mut self, callable: Callable) {
        self.callables.retain(|known| known.name != callable.name);
        self.callables.push(callable);
    }

    /// A dotted name with its first part replaced by what was imported under it.
    fn resolve(&self, dotted: &str) -> String {
        let (first, rest) = dotted.split_once('.').map_or((dotted, ""), |(first, rest)| (first, rest));
        match self.imports.get(first) {
            Some(origin) if rest.is_empty() => origin.clone(),
            Some(origin) => format!("{origin}.{rest}"),
            None => dotted.to_owned(),
        }
    }
}

/// `a.b.c` at the beginning of the tokens, and the rest.
fn dotted_name<'t, 's>(tokens: &'t [Token<'s>]) -> (String, &'t [Token<'s>]) {
    let mut name = String::new();
    let mut rest = tokens;
    while let [Token::Name(part), after @ ..] = rest {
        name.push_str(part);
        rest = after;
        match after {
            [Token::Symbol("."), Token::Name(_), ..] => {
                name.push('.');
                rest = &after[1..];
            }
            _ => break,
        }
    }
    (name, rest)
}

/// Names and dots as written: `.a.b`, `...`.
fn text_of(tokens: &[Token<'_>]) -> String {
    let part = |token: &Token<'_>| match token {
        Token::Name(text) | Token::Symbol(text) => (*text).to_owned(),
        _ => String::new(),
    };
    tokens.iter().map(part).collect()
}

/// The parameters of a function and whether each may be left out, from its opening parenthesis.
fn parameters<'s>(tokens: &[Token<'s>]) -> Option<Vec<(&'s str, bool)>> {
    let [Token::Symbol("("), rest @ ..] = tokens else { return None };
    let mut depth = 0_usize;
    let mut parameters = Vec::new();
    let mut current: &[Token<'s>] = rest;
    let mut length = 0;
    for token in rest {
        match token {
            Token::Symbol("(" | "[" | "{") => depth += 1,
            Token::Symbol(")") if depth == 0 => {
                parameters.extend(parameter(&current[..length]));
                return Some(parameters);
            }
            Token::Symbol(")" | "]" | "}") => depth = depth.saturating_sub(1),
            Token::Symbol(",") if depth == 0 => {
                parameters.extend(parameter(&current[..length]));
                current = &current[length + 1..];
                length = 0;
                continue;
            }
            _ => {}
        }
        length += 1;
    }
    None
}

fn parameter<'s>(tokens: &[Token<'s>]) -> Option<(&'s str, bool)> {
    match tokens {
        // `*args` and `**kwargs` may be empty; a lone `*` or `/` is no parameter.
        [Token::Symbol("*" | "**"), Token::Name(name), ..] => Some((name, true)),
        [Token::Name(name), rest @ ..] => Some((name, rest.contains(&Token::Symbol("=")))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name kind [factory] [from origin]` of each.
    fn shown(source: &str) -> Vec<String> {
        let show = |callable: &Callable| {
            let factory = if callable.factory { ", factory" } else { "" };
            let origin = callable.origin.as_ref().map_or(String::new(), |origin| format!(", from {origin}"));
            format!("{}:{}: {}{factory}{origin}", callable.line, callable.name, callable.kind.describe())
        };
        read(source).callables.iter().map(show).collect()
    }

    #[test]
    fn frameworks_are_recognised_by_their_imports() {
        let cases = [
            ("from fastapi import FastAPI\napp = FastAPI(title='x')", "2:app: FastAPI application"),
            ("import fastapi\napp = fastapi.FastAPI()", "2:app: FastAPI application"),
            ("from flask import (\n  Flask as F,\n)\nweb: F = F(__name__)", "4:web: Flask application"),
            (
                "from starlette.applications import Starlette\napp = Starlette(\n)",
                "2:app: Starlette application",
            ),
            ("import falcon.asgi\napp = falcon.asgi.App()", "2:app: Falcon application"),
            (
                "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()",
                "2:application: Django application",
            ),
            ("from aiohttp import web\napp = web.Application()", "2:app: aiohttp application"),
        ];
        for (source, expected) in cases {
            assert_eq!(shown(source), [expected], "{source}");
        }
    }

    #[test]
    fn wrapping_and_renaming_keep_the_kind() {
        let source = "from flask import Flask\napp = Flask('x')\napp = Middleware(app)\napplication = app\n";
        assert_eq!(shown(source), ["3:app: Flask application", "4:application: Flask application"]);
    }

    #[test]
    fn callables_and_factories_by_their_parameters() {
        let source = "
def application(environ, start_response): return []
async def app(scope, receive, send): pass
def simple_app(environ, start_response) -> list: return []
def handler(a, b): pass
def create_app(config=None, *args, debug: bool = False, **kwargs): pass
";
        assert_eq!(
            shown(source),
            [
                "2:application: WSGI callable",
                "3:app: ASGI callable",
                "4:simple_app: WSGI callable",
                "6:create_app: application by its name, factory",
            ]
        );
        for refused in
            ["def create_app(config): pass", "async def create_app(): pass", "def create_app(a, *, b): pass"]
        {
            assert_eq!(shown(refused), [""; 0], "{refused}");
        }
        assert_eq!(
            shown("import flask\ndef create_app(): pass"),
            ["2:create_app: Flask application, factory"]
        );
    }

    #[test]
    fn what_comes_from_elsewhere_says_from_where() {
        assert_eq!(
            shown("from shop import app as application"),
            ["1:application: application by its name, from shop.app"]
        );
        assert_eq!(
            shown("from . import create_app\napp = create_app()"),
            ["2:app: application by its name, from .create_app"]
        );
        assert_eq!(shown("from .web import app"), ["1:app: application by its name, from .web.app"]);
    }

    #[test]
    fn what_is_no_application_is_left_alone() {
        let source = "
'''
app = Flask(__name__)
'''
# app = Flask(__name__)
app = 'text'
app_name = Flask('x')
if x:
    app = Flask(__name__)
def f():
    app = Flask(__name__)
server = 5
Flask(__name__).app = 3
";
        assert_eq!(shown(source), [""; 0]);
    }

    #[test]
    fn django_settings_modules_are_found() {
        let manage = "def main():\n    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n";
        assert_eq!(read(manage).settings_module.as_deref(), Some("shop.settings"));
        let environ = "os.environ['DJANGO_SETTINGS_MODULE'] = 'shop.settings'";
        assert_eq!(read(environ).settings_module.as_deref(), Some("shop.settings"));
        assert_eq!(read("# os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'x')").settings_module, None);
        assert_eq!(read("WSGI_APPLICATION = 'a.b'").texts["WSGI_APPLICATION"], "a.b");
    }
}
