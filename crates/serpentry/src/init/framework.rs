//! Frameworks and servers' names: which dotted name makes which kind of application.

/// What kind of application something is, as far as its source says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A framework by name.
    Framework(&'static str),
    /// A callable with the parameters of that interface.
    Wsgi,
    Asgi,
    /// Something with a usual name.
    Unknown,
    /// Of a framework whose applications are neither WSGI nor ASGI.
    Foreign(&'static str),
}

use Kind::{Foreign, Framework};

/// What calls return an application.
const MAKERS: &[(&str, Kind)] = &[
    ("fastapi.FastAPI", Framework("FastAPI")),
    ("fastapi.applications.FastAPI", Framework("FastAPI")),
    ("starlette.applications.Starlette", Framework("Starlette")),
    ("flask.Flask", Framework("Flask")),
    ("flask.app.Flask", Framework("Flask")),
    ("quart.Quart", Framework("Quart")),
    ("django.core.wsgi.get_wsgi_application", Framework("Django")),
    ("django.core.asgi.get_asgi_application", Framework("Django")),
    ("channels.routing.ProtocolTypeRouter", Framework("Django Channels")),
    ("litestar.Litestar", Framework("Litestar")),
    ("falcon.App", Framework("Falcon")),
    ("falcon.API", Framework("Falcon")),
    ("falcon.asgi.App", Framework("Falcon")),
    ("bottle.Bottle", Framework("Bottle")),
    ("bottle.default_app", Framework("Bottle")),
    ("sanic.Sanic", Framework("Sanic")),
    ("connexion.FlaskApp", Framework("Connexion")),
    ("connexion.AsyncApp", Framework("Connexion")),
    ("blacksheep.Application", Framework("BlackSheep")),
    ("robyn.Robyn", Foreign("Robyn")),
    ("aiohttp.web.Application", Foreign("aiohttp")),
    ("tornado.web.Application", Foreign("Tornado")),
];

/// Modules whose mere import says what a factory makes, in this order.
const IMPORTS: &[(&str, &str)] = &[
    ("flask", "Flask"),
    ("fastapi", "FastAPI"),
    ("starlette", "Starlette"),
    ("quart", "Quart"),
    ("litestar", "Litestar"),
];

/// What `dotted(...)` makes.
pub(super) fn made_by(dotted: &str) -> Option<Kind> {
    MAKERS.iter().find(|(name, _)| *name == dotted).map(|(_, kind)| *kind)
}

/// What a factory makes in a module with these imports (dotted names).
pub(super) fn suggested_by<'a>(imports: &(impl Iterator<Item = &'a str> + Clone)) -> Kind {
    let imported = |module: &str| imports.clone().any(|name| name.split('.').next() == Some(module));
    IMPORTS.iter().find(|(module, _)| imported(module)).map_or(Kind::Unknown, |(_, name)| Framework(name))
}

impl Kind {
    /// For people: "FastAPI application".
    pub(super) fn describe(self) -> String {
        match self {
            Framework(name) => format!("{name} application"),
            Kind::Wsgi => "WSGI callable".to_owned(),
            Kind::Asgi => "ASGI callable".to_owned(),
            Kind::Unknown => "application by its name".to_owned(),
            Foreign(name) => format!("{name} application"),
        }
    }
}
