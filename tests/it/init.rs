//! `serpentry init`: what it writes for a project, word for word, and that `serpentry check` accepts it.

use std::fs;
use std::os::unix::fs::symlink;

use crate::context::{self, TestContext};

/// What every file ends with that says nothing about limits.
const LIMIT_HINTS: &str = "# memory = \"512MiB\"  # of all workers together
# request_timeout = \"30s\"  # the default: a request that takes longer is answered 504; \"none\" for no limit
";

const HOST: &str = "[host]
# listen = [\"127.0.0.1:8000\"]  # the default; with PORT in the environment 0.0.0.0:$PORT
";

const NEXT: &str = "# Every setting: docs/configuration.md. Next: serpentry check, then serpentry host.\n";

const ROUTES: &str = "# routes = [\"www.example.com\"]  # without: every request, as the only application\n";

const WORKERS: &str =
    "# workers = 2  # processes, or { min = 0, max = 4, idle = \"5m\" }: as many as are needed\n";

const TENANCY: &str = "# tenancy = \"isolated\"  # its own share of the machine; \"shared\" is the default\n";

const FLASK: &str = "from flask import Flask\n\napp = Flask(__name__)\n";

/// A project in the folder `project` of the test's own, with a virtual environment.
fn project(files: &[(&str, &str)]) -> TestContext {
    let ctx = TestContext::new();
    for (path, text) in files {
        ctx.write(&format!("project/{path}"), text);
    }
    fs::create_dir_all(ctx.path("project/.venv/bin")).unwrap();
    symlink(context::python(), ctx.path("project/.venv/bin/python")).unwrap();
    ctx
}

/// What `serpentry init project` writes, after `serpentry check` has accepted it.
fn written(ctx: &TestContext) -> String {
    let transcript = ctx.run(ctx.command(&["init", "project"]));
    let next = "serpentry: next: look it over, then serpentry check project/serpentry.toml, then serpentry host \
                project/serpentry.toml\n";
    assert!(transcript.starts_with("exit 0\n"), "{transcript}");
    assert!(
        transcript.ends_with(&format!("serpentry: wrote project/serpentry.toml\n{next}")),
        "{transcript}"
    );
    let checked = ctx.run(ctx.command(&["check", "project/serpentry.toml"]));
    let text = fs::read_to_string(ctx.path("project/serpentry.toml")).unwrap();
    assert!(checked.starts_with("exit 0\n"), "{checked}\n{text}");
    text
}

#[test]
fn a_django_project() {
    let ctx = project(&[
        ("manage.py", "def main():\n    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"),
        ("shop/__init__.py", ""),
        ("shop/settings.py", "# WSGI_APPLICATION = 'no.no'\nWSGI_APPLICATION = 'shop.wsgi.application'\n"),
        (
            "shop/wsgi.py",
            "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
        ),
        (".env", "SECRET=never shown"),
        ("pyproject.toml", "[project]\nname = 'my-shop'\nrequires-python = '>=3.11'\n"),
    ]);
    let found = "Django project: manage.py names shop.settings; WSGI_APPLICATION in shop/settings.py is \
                 shop.wsgi.application";
    let expected = format!(
        "# Written by `serpentry init`; look it over. What it found:
#   {found}
#   virtual environment: .venv/bin/python
#   pyproject.toml: requires-python is >=3.11
#   .env: not read; put the variables that are needed into env
{NEXT}
{HOST}
[apps.shop]
# {found}
app = \"shop.wsgi:application\"
directory = \".\"
{ROUTES}{WORKERS}{TENANCY}env = {{ DJANGO_SETTINGS_MODULE = \"shop.settings\" }}
# static files are not served by the host: let WhiteNoise or a proxy do it

[apps.shop.limits]
{LIMIT_HINTS}"
    );
    assert_eq!(written(&ctx), expected);
}

#[test]
fn a_procfile_beside_a_flask_application() {
    let ctx = project(&[
        (
            "Procfile",
            "web: gunicorn -w 3 --timeout 60 -b 0.0.0.0:$PORT wsgi\nworker: celery -A shop worker\n",
        ),
        ("wsgi.py", "from shop import app as application\n"),
        ("shop/__init__.py", FLASK),
    ]);
    let expected = format!(
        "# Written by `serpentry init`; look it over. What it found:
#   Procfile:1: web: gunicorn -w 3 --timeout 60 -b 0.0.0.0:$PORT wsgi
#   Flask application: application in wsgi.py:1
#   virtual environment: .venv/bin/python
{NEXT}
{HOST}# Procfile:1: listens on $PORT; here too, if the environment has PORT

[apps.project]
# Procfile:1; Flask application: application in wsgi.py:1
app = \"wsgi:application\"
# app = \"shop:app\"  # or: Flask application: app in shop/__init__.py:3
directory = \".\"
{ROUTES}workers = 3  # Procfile:1
{TENANCY}# Procfile:2: worker: not hosted, run it as a service: celery -A shop worker

[apps.project.limits]
request_timeout = \"60s\"  # Procfile:1, here for the whole request
# memory = \"512MiB\"  # of all workers together
"
    );
    assert_eq!(written(&ctx), expected);
}

#[test]
fn a_gunicorn_file_beside_a_fastapi_application() {
    let ctx = project(&[
        (
            "gunicorn.conf.py",
            "import multiprocessing\nworkers = multiprocessing.cpu_count() * 2 + 1\nbind = '127.0.0.1:9000'\n\
             worker_class = 'uvicorn.workers.UvicornWorker'\ntimeout = limit()\n",
        ),
        ("src/feed/__init__.py", ""),
        ("src/feed/main.py", "from fastapi import FastAPI\n\napp = FastAPI()\n"),
    ]);
    let workers = std::thread::available_parallelism().unwrap().get() * 2 + 1;
    let expected = format!(
        "# Written by `serpentry init`; look it over. What it found:
#   gunicorn.conf.py: settings of gunicorn
#   FastAPI application: app in src/feed/main.py:3
#   virtual environment: .venv/bin/python
{NEXT}
[host]
listen = [\"127.0.0.1:9000\"]  # gunicorn.conf.py:3

[apps.feed]
# FastAPI application: app in src/feed/main.py:3
app = \"feed.main:app\"
directory = \".\"
{ROUTES}workers = {workers}  # gunicorn.conf.py:2: for the processors of this machine
concurrency = \"async\"  # gunicorn.conf.py:4: worker_class uvicorn.workers.UvicornWorker
{TENANCY}env = {{ PYTHONPATH = \"src\" }}
# gunicorn.conf.py:5: timeout = limit(): known only when the file is run

[apps.feed.limits]
{LIMIT_HINTS}"
    );
    assert_eq!(written(&ctx), expected);
}

#[test]
fn a_configuration_of_nginx_unit() {
    let json = r#"{
        "listeners": {"*:8080": {"pass": "routes"}},
        "routes": [
            {"match": {"host": "api.example.com"}, "action": {"pass": "applications/api"}},
            {"match": {"uri": "/static/*"}, "action": {"share": "/www$uri"}},
            {"action": {"pass": "applications/shop"}}
        ],
        "applications": {
            "api": {"type": "python 3.11", "module": "api", "callable": "app", "user": "www",
                    "path": "api", "processes": {"max": 4, "spare": 1, "idle_timeout": 20}},
            "shop": {"type": "python", "module": "shop", "threads": 4, "limits": {"timeout": 10}},
            "old": {"type": "php", "root": "/www"}
        }
    }"#;
    let ctx = project(&[("unit.json", json), ("api/api.py", ""), ("main.py", FLASK)]);
    let expected = format!(
        "# Written by `serpentry init`; look it over. What it found:
#   NGINX Unit configuration unit.json with api and shop
#   not used besides: main:app (Flask application: app in main.py:3)
{NEXT}
[host]
listen = [\"0.0.0.0:8080\"]  # unit.json: listeners
# unit.json: old: only Python applications can be hosted, this one is of type php
# unit.json: routes step 2: share: there is no counterpart here for \"/www$uri\"

[apps.api]
# unit.json: api
app = \"api:app\"
directory = \"api\"
routes = [\"api.example.com\"]
workers = {{ min = 1, max = 4, idle = \"20s\" }}  # processes: spare is min; with 0 the first request starts one
{TENANCY}# unit.json: api: user \"www\": all applications run as the user of the host for now

[apps.api.limits]
{LIMIT_HINTS}
[apps.shop]
# unit.json: shop
app = \"shop:application\"
directory = \".\"
routes = [\"*\"]
threads = 4  # unit.json: shop: threads
{WORKERS}{TENANCY}
[apps.shop.limits]
request_timeout = \"10s\"  # unit.json: shop: limits.timeout, here for the whole request
# memory = \"512MiB\"  # of all workers together
"
    );
    assert_eq!(written(&ctx), expected);
    // The same from a file of any name, on standard output.
    ctx.write("project/other.json", json);
    let transcript = ctx.run(ctx.command(&["init", "project", "--from", "project/other.json", "--print"]));
    let same = expected
        .replace("unit.json", "other.json")
        .replace("#   not used besides: main:app (Flask application: app in main.py:3)\n", "");
    let said = "serpentry: NGINX Unit configuration other.json with api and shop\n";
    assert_eq!(transcript, format!("exit 0\n{same}{said}"));
}

#[test]
fn the_usual_projects_are_recognised() {
    let fastapi = "from fastapi import FastAPI\napp = FastAPI()\n";
    let starlette = "from starlette.applications import Starlette\napp = Starlette()\n";
    let factory = "from flask import Flask\ndef create_app(config=None):\n    return Flask(__name__)\n";
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("app.py", FLASK)], "app = \"app:app\"\n"),
        (&[("wsgi.py", "from x import make\napplication = make()\n")], "app = \"wsgi:application\"\n"),
        (&[("application.py", FLASK)], "app = \"application:app\"\n"),
        (&[("shop/__init__.py", factory)], "app = \"shop:create_app\"\nfactory = true\n"),
        (&[("main.py", fastapi)], "app = \"main:app\"\n"),
        (&[("app/main.py", fastapi), ("app/__init__.py", "")], "app = \"app.main:app\"\n"),
        (&[("main.py", starlette)], "app = \"main:app\"\n"),
        (&[("main.py", "async def app(scope, receive, send):\n    pass\n")], "app = \"main:app\"\n"),
        (
            &[
                ("back/main.py", "import db\nfrom fastapi import FastAPI\napp = FastAPI()\n"),
                ("back/db.py", ""),
            ],
            "app = \"main:app\"\ndirectory = \"back\"\n",
        ),
        (
            &[(".flaskenv", "FLASK_APP=tool.py:create_app('x')\n"), ("tool.py", factory), ("app.py", FLASK)],
            "app = \"tool:create_app('x')\"\n# app = \"app:app\"  # or: Flask application: app in app.py:3\n",
        ),
        (
            &[("Procfile", "web: uvicorn --factory shop:create_app\n"), ("shop.py", factory)],
            "app = \"shop:create_app\"\nfactory = true\n",
        ),
    ];
    for (files, expected) in cases {
        let ctx = project(files);
        let text = written(&ctx);
        assert!(text.contains(expected), "{files:?}: no {expected:?} in\n{text}");
        let python = text.contains("python = \"../.venv/bin/python\"\n");
        assert_eq!(python, text.contains("directory = \"back\""), "{text}");
    }
}

#[test]
fn a_file_is_not_overwritten_unasked() {
    let ctx = project(&[("app.py", FLASK), ("serpentry.toml", "mine")]);
    let said =
        "serpentry: Flask application: app in app.py:3\nserpentry: virtual environment: .venv/bin/python\n";
    let refused = "serpentry: error: project/serpentry.toml exists: --print shows what would be written, --force \
                   overwrites it, -o FILE writes another\n";
    assert_eq!(ctx.run(ctx.command(&["init", "project"])), format!("exit 1\n{said}{refused}"));
    assert_eq!(fs::read_to_string(ctx.path("project/serpentry.toml")).unwrap(), "mine");
    let printed = ctx.run(ctx.command(&["init", "project", "--print"]));
    let forced = ctx.run(ctx.command(&["init", "project", "--force"]));
    assert!(forced.starts_with("exit 0\n"), "{forced}");
    let text = fs::read_to_string(ctx.path("project/serpentry.toml")).unwrap();
    assert_eq!(printed, format!("exit 0\n{text}{said}"));
    // Elsewhere the directory is said from there.
    let other = ctx.run(ctx.command(&["init", "project", "-o", "other.toml"]));
    assert!(other.starts_with("exit 0\n"), "{other}");
    let text = fs::read_to_string(ctx.path("other.toml")).unwrap();
    assert!(text.contains("\ndirectory = \"project\"\n"), "{text}");
}

#[test]
fn without_a_name_the_current_folder_is_meant() {
    let ctx = TestContext::new();
    let transcript = ctx.run(ctx.command(&["init"]));
    let next = "serpentry: wrote ./serpentry.toml\nserpentry: next: look it over, then serpentry check, then serpentry host\n";
    assert!(transcript.starts_with("exit 0\n") && transcript.ends_with(next), "{transcript}");
}

#[test]
fn where_nothing_is_found_it_says_what_was_looked_for() {
    let ctx = project(&[
        ("main.py", "from aiohttp import web\napp = web.Application()\n"),
        ("helper.py", "'''\nfrom flask import Flask\napp = Flask('x')\n'''\n# app = Flask('x')\n"),
    ]);
    let expected = "exit 1
serpentry: error: no application was found in project
aiohttp application: app in main.py:2: it is neither WSGI nor ASGI and cannot be hosted
looked for: Procfile, gunicorn.conf.py, unit.json or conf.json (NGINX Unit), manage.py (Django), FLASK_APP in .flaskenv,
and Python files with `app = Flask(...)`, `app = FastAPI(...)`, `application = ...`, `def create_app()` and the like.
Write serpentry.toml by hand instead, for example:

[apps.shop]
app = \"shop.wsgi:application\"
directory = \"/srv/shop\"
";
    assert_eq!(ctx.run(ctx.command(&["init", "project"])), expected);
    assert!(!ctx.path("project/serpentry.toml").exists());
    let missing = ctx.run(ctx.command(&["init", "nowhere"]));
    let expected =
        "exit 1\nserpentry: error: cannot look at nowhere: No such file or directory (os error 2)\n";
    assert_eq!(missing, expected);
}

#[test]
fn a_bad_configuration_of_unit_is_refused() {
    let ctx = project(&[("a.json", "{"), ("b.json", "{}")]);
    for (name, why) in [
        ("a.json", "it is not JSON: EOF while parsing an object at line 1 column 1"),
        ("b.json", "it is not a configuration of NGINX Unit: there are no \"applications\" in it"),
    ] {
        let path = format!("project/{name}");
        let expected = format!("exit 1\nserpentry: error: {path} was not understood: {why}\n");
        assert_eq!(ctx.run(ctx.command(&["init", "--from", &path])), expected);
    }
}

/// Names and texts of a project cannot get out of the strings and comments that they are written into.
#[test]
fn hostile_projects_do_no_harm() {
    let ctx = project(&[
        ("Procfile", "web: A='x\" # y' gunicorn --pythonpath 'a\"\\\n' --frob\u{1b}[31m a:b\u{0}\n"),
        (
            "gunicorn.conf.py",
            "raw_env = ['B=\"\"\"\\n[apps.evil]\\n']\nchdir = 'a\\n[host]'\nbind = '\\x00'\n",
        ),
        ("pyproject.toml", "[project]\nname = \"\"\"x\"\n"),
        ("app.py", FLASK),
    ]);
    symlink(ctx.path("project"), ctx.path("project/again")).unwrap();
    let transcript = ctx.run(ctx.command(&["init", "project", "--print"]));
    assert!(transcript.starts_with("exit 0\n"), "{transcript}");
    let tables: Vec<&str> = transcript.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(tables, ["[host]", "[apps.project]", "[apps.project.limits]"], "{transcript}");
    assert!(!transcript.contains('\u{1b}') && !transcript.contains('\u{0}'), "{transcript:?}");
}
