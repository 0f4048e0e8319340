//! What a file means: layers, defaults by tenancy, the environment, paths, and where every value came from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{
    Concurrency, Egress, Environment, Hook, HostPattern, Move, Origin, Place, Rate, Resolved, Route,
    RouteOverride, Severity, Tenancy, Workers, load,
};

fn environment() -> Environment {
    Environment { directory: "/srv/sites".into(), ..Environment::default() }
}

fn with(text: &str, environment: &Environment) -> Resolved {
    load(text.as_bytes(), "serpentry.toml", environment).unwrap_or_else(|all| panic!("{}", all.render(false)))
}

fn read(text: &str) -> Resolved {
    with(text, &environment())
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_smallest_file_has_the_documented_defaults() {
    let resolved = read("[apps.shop]\napp = \"shop:app\"\n");
    let (host, shop) = (&resolved.plan.host, resolved.plan.app("shop").unwrap());
    assert_eq!(host.listen, ["127.0.0.1:8000"]);
    assert_eq!(host.state, Path::new("/srv/sites/.serpentry"));
    assert_eq!((host.connections, host.log_size, host.log_files), (10_000, 10 << 20, 5));
    assert_eq!(host.forwarded_allow_ips, "127.0.0.1,::1");
    assert_eq!(host.default_app.as_deref(), Some("shop"), "the only one, and without routes");
    assert_eq!(
        (host.header_timeout, host.keepalive_timeout, host.header_size),
        (10 * SECOND, 75 * SECOND, 64 << 10)
    );
    assert_eq!(shop.directory, Path::new("/srv/sites"));
    assert_eq!(shop.python, None);
    assert_eq!(shop.workers, Workers { min: 1, max: 1, idle: 300 * SECOND });
    assert_eq!((shop.tenancy, shop.concurrency, shop.threads), (Tenancy::Shared, Concurrency::Auto, 1));
    assert_eq!((shop.start_timeout, shop.graceful_timeout), (60 * SECOND, 30 * SECOND));
    assert!((shop.retry_budget - 0.1).abs() < 1e-12);
    let limits = &shop.limits;
    assert_eq!(
        (limits.cpu, limits.memory, limits.disk_space, limits.egress),
        (None, None, None, Egress::Host)
    );
    assert_eq!(
        (limits.processes, limits.open_files, limits.connections, limits.queue),
        (256, 1024, 1024, 100)
    );
    assert_eq!((limits.queue_timeout, limits.request_timeout), (10 * SECOND, Some(30 * SECOND)));
    assert_eq!((limits.first_byte_timeout, limits.body_timeout), (None, 30 * SECOND));
    assert_eq!((limits.header_size, limits.body_size, limits.message_size), (64 << 10, 16 << 20, 16 << 20));
    assert!(resolved.warnings.is_empty());
}

#[test]
fn an_isolated_application_has_other_defaults() {
    let resolved = read("[apps.shop]\napp = \"shop:app\"\ntenancy = \"isolated\"\n");
    let limits = &resolved.plan.apps[0].limits;
    assert_eq!((limits.cpu, limits.memory), (Some(1.0), Some(512 << 20)));
    assert_eq!((limits.disk_space, limits.egress), (Some(1 << 30), Egress::None));
    let place = Place::App("shop");
    assert_eq!(resolved.origins.origin(place, "limits.memory"), Origin::Tenancy(Tenancy::Isolated));
    assert_eq!(resolved.origins.origin(place, "limits.queue"), Origin::BuiltIn);
}

#[test]
fn every_form_of_value_is_read() {
    let resolved = read(
        r#"
[host]
listen = [":80", "::1", "unix:run/http.sock", "fd://3"]
access_log = "-"
default_app = "shop"

[apps.shop]
app = "shop:create()"
python = "python3.12"
routes = ["*", "Example.com/shop/", "*.example.com"]
workers = { min = 0, max = 4, idle = "90s" }
max_requests = 0
recycle_memory = "1.5GiB"
env = { B = "2", A = "1" }

[apps.shop.limits]
cpu = 2
memory = "2GB"
disk_read = "20MiB/s"
disk_write = "500ops/s"
request_timeout = "0"
first_byte_timeout = "250ms"
bandwidth_out = "8Mbit/s"

[[apps.shop.overrides]]
prefix = "/a"
request_timeout = "none"

[[apps.shop.overrides]]
prefix = "/a/long"
body_size = "0"
"#,
    );
    let (host, shop) = (&resolved.plan.host, &resolved.plan.apps[0]);
    assert_eq!(host.listen, ["0.0.0.0:80", "[::1]:8000", "unix:/srv/sites/run/http.sock", "fd://3"]);
    assert_eq!(host.access_log.as_deref(), Some(Path::new("-")));
    assert_eq!(shop.python.as_deref(), Some(Path::new("python3.12")), "a command, not a path");
    let route = |host, prefix: &str| Route { host, prefix: prefix.to_owned() };
    let routes = [
        route(HostPattern::Any, ""),
        route(HostPattern::Exact("example.com".to_owned()), "/shop"),
        route(HostPattern::Wildcard("example.com".to_owned()), ""),
    ];
    assert_eq!(shop.routes, routes);
    assert_eq!(shop.workers, Workers { min: 0, max: 4, idle: 90 * SECOND });
    assert_eq!((shop.max_requests, shop.recycle_memory), (None, Some(3 << 29)));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(shop.env, [pair("A", "1"), pair("B", "2")]);
    let limits = &shop.limits;
    assert_eq!((limits.cpu, limits.memory), (Some(2.0), Some(2_000_000_000)));
    assert_eq!(
        (limits.disk_read, limits.disk_write),
        (Some(Rate::Bytes(20 << 20)), Some(Rate::Operations(500)))
    );
    assert_eq!((limits.request_timeout, limits.first_byte_timeout), (None, Some(SECOND / 4)));
    assert_eq!(limits.bandwidth_out, Some(1_000_000));
    let over = |prefix: &str, request_timeout, body_size| RouteOverride {
        prefix: prefix.to_owned(),
        request_timeout,
        first_byte_timeout: None,
        body_size,
    };
    assert_eq!(shop.overrides, [over("/a/long", None, Some(0)), over("/a", Some(None), None)]);
}

const LAYERS: &str = r#"[host]
default_app = "shop"
[defaults]
app = "common:app"
threads = 4
env = { A = "default", B = "default" }
limits = { memory = "1GiB", queue = 7 }
[apps.shop]
threads = 2
env = { B = "own", C = "own" }
[apps.shop.limits]
queue = 9
[apps.blog]
app = "blog:app"
routes = ["blog.example"]
directory = "blog"
python = "bin/python"
"#;

#[test]
fn defaults_apply_key_by_key_and_say_so() {
    let resolved = read(LAYERS);
    let (shop, blog) = (resolved.plan.app("shop").unwrap(), resolved.plan.app("blog").unwrap());
    assert_eq!((shop.app.as_str(), blog.app.as_str()), ("common:app", "blog:app"));
    assert_eq!((shop.threads, blog.threads), (2, 4));
    assert_eq!((shop.limits.memory, shop.limits.queue), (Some(1 << 30), 9));
    assert_eq!((blog.limits.memory, blog.limits.queue), (Some(1 << 30), 7));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(shop.env, [pair("A", "default"), pair("B", "own"), pair("C", "own")]);
    assert_eq!(blog.directory, Path::new("/srv/sites/blog"));
    assert_eq!(blog.python.as_deref(), Some(Path::new("/srv/sites/blog/bin/python")));

    let shown = |app, key| resolved.origins.origin(Place::App(app), key).to_string();
    assert_eq!(shown("shop", "app"), "[defaults] line 4");
    assert_eq!(shown("shop", "threads"), "from line 9");
    assert_eq!(shown("blog", "threads"), "[defaults] line 5");
    assert_eq!(shown("shop", "limits.memory"), "[defaults] line 7");
    assert_eq!(shown("shop", "limits.queue"), "from line 12");
    assert_eq!(shown("shop", "env"), "from the application and [defaults]");
    assert_eq!(shown("blog", "preload"), "default");
    assert_eq!(shown("blog", "limits.cpu"), "default (shared)");
    assert_eq!(resolved.origins.line("blog"), Some(13));
}

#[test]
fn what_was_moved_has_the_other_tenancy_and_its_defaults() {
    let text = "[apps.shop]\napp = \"x:y\"\ntenancy = \"shared\"\n[apps.shop.limits]\nmemory = \"300MiB\"\n";
    let file = with(text, &environment()).plan;
    assert_eq!((file.apps[0].tenancy, file.apps[0].limits.cpu), (Tenancy::Shared, None));
    let moved = Move { from: Tenancy::Shared, to: Tenancy::Isolated };
    let environment = Environment { moved: [("shop".to_owned(), moved)].into(), ..environment() };
    let moved = with(text, &environment);
    let shop = &moved.plan.apps[0];
    assert_eq!(
        (shop.tenancy, shop.limits.cpu, shop.limits.memory),
        (Tenancy::Isolated, Some(1.0), Some(300 << 20))
    );
    let origin = moved.origins.origin(Place::App("shop"), "tenancy");
    assert_eq!(origin, Origin::Derived("moved while the host runs"));
    // The file says something else now: it counts.
    let edited = with(&text.replace("\"shared\"", "\"isolated\""), &environment);
    assert_eq!(edited.plan.apps[0].tenancy, Tenancy::Isolated);
    assert_ne!(edited.origins.origin(Place::App("shop"), "tenancy"), origin);
}

#[test]
fn the_lines_of_values_can_be_asked_for() {
    let text = "[defaults]\nworkers = 2\n[apps.shop]\napp = \"x:y\"\n[apps.shop.limits]\ncpu = 2\n";
    let lines = with(text, &environment()).origins.lines("shop");
    let line = |key: &str| lines.get(key).map(String::as_str);
    assert_eq!(line("limits.cpu"), Some("serpentry.toml:6"));
    assert_eq!(line("workers"), Some("serpentry.toml:2"));
    assert_eq!(line("limits.memory"), None);
    assert!(with(text, &environment()).origins.lines("blog").is_empty());
}

#[test]
fn a_user_is_a_name_or_a_number() {
    for (said, meant) in [("\"www-data\"", "www-data"), ("1000", "1000"), ("\"0\"", "0")] {
        let plan = with(&format!("[apps.shop]\napp = \"x:y\"\nuser = {said}\n"), &environment()).plan;
        assert_eq!(plan.apps[0].user.as_deref(), Some(meant));
    }
    for wrong in ["\"-u\"", "\"a b\"", "4294967295", "-1", "true", "\"\""] {
        let text = format!("[apps.shop]\napp = \"x:y\"\nuser = {wrong}\n");
        let all = load(text.as_bytes(), "serpentry.toml", &environment()).unwrap_err();
        assert!(all.render(false).contains("user"), "{wrong}");
    }
}

#[test]
fn the_environment_counts_where_the_file_is_silent() {
    let environment = Environment {
        state_directory: Some("/var/lib/serpentry:/var/lib/other".to_owned()),
        port: Some("5000".to_owned()),
        forwarded_allow_ips: Some("*".to_owned()),
        ..environment()
    };
    let silent = with("[apps.shop]\napp = \"x:y\"\n", &environment);
    assert_eq!(silent.plan.host.listen, ["0.0.0.0:5000"]);
    assert_eq!(silent.plan.host.state, Path::new("/var/lib/serpentry"));
    assert_eq!(silent.plan.host.forwarded_allow_ips, "*");
    assert_eq!(silent.origins.origin(Place::Host, "listen"), Origin::Environment("PORT"));
    let said =
        "[host]\nlisten = [\":80\"]\nstate = \"s\"\nforwarded_allow_ips = \"\"\n[apps.shop]\napp = \"x:y\"\n";
    let said = with(said, &environment).plan.host;
    assert_eq!((said.listen, said.state), (vec!["0.0.0.0:80".to_owned()], PathBuf::from("/srv/sites/s")));
    assert_eq!(said.forwarded_allow_ips, "");

    let wrong = Environment { port: Some("http".to_owned()), ..environment };
    let all = load(b"[apps.shop]\napp = \"x:y\"\n", "serpentry.toml", &wrong).unwrap_err();
    assert_eq!(all.shown().len(), 1);
    assert_eq!(all.shown()[0].location, None);
}

#[test]
fn plans_are_equal_when_they_mean_the_same() {
    let short = read("[apps.a]\napp = \"x:y\"\nenv = { A = \"1\", B = \"2\" }\nroutes = [\"A.example/\"]\n");
    let long = read(
        "# another\n\n[apps.a.limits]\nrequest_timeout = \"0.5m\"\n[apps.a]\nroutes = [\"a.example\"]\n\
         env.B = \"2\"\nenv.A = \"1\"\nworkers = { max = 1 }\napp = \"x:y\"\n",
    );
    assert_eq!(short.plan, long.plan);
    let other = read("[apps.a]\napp = \"x:y\"\nenv = { A = \"1\", B = \"3\" }\nroutes = [\"A.example/\"]\n");
    assert_ne!(short.plan, other.plan);
    assert_eq!(short.plan.host, other.plan.host);
}

#[test]
fn the_host_takes_the_largest_of_the_applications() {
    let text = "[defaults.limits]\nheader_timeout = \"3s\"\n[apps.a]\napp = \"x:y\"\nroutes = [\"a\"]\n\
                [apps.b]\napp = \"x:y\"\nroutes = [\"b\"]\nlimits = { header_size = \"100KiB\", keepalive_timeout = \"2m\" }\n";
    let host = read(text).plan.host;
    assert_eq!(
        (host.header_timeout, host.header_size, host.keepalive_timeout),
        (3 * SECOND, 100 << 10, 120 * SECOND)
    );
    assert_eq!(host.default_app, None, "two applications, each with routes");
}

#[test]
fn the_caller_can_complain_about_a_value() {
    let resolved = read(LAYERS);
    let complain = |app: &str, key: &str| {
        let place = Place::App(app);
        resolved.origins.diagnostic(place, key, Severity::Error, "it does not exist", "create it")
    };
    let line = |diagnostic: &config::Diagnostic| diagnostic.location.as_ref().map(|location| location.line);
    assert_eq!(line(&complain("blog", "directory")), Some(16), "the value");
    assert_eq!(line(&complain("shop", "directory")), Some(8), "the application, for what is not in the file");
    let default = complain("blog", "threads");
    assert_eq!(line(&default), Some(5));
    assert_eq!(default.related[0].location.line, 13, "and for whom");
    let place = Place::App("blog");
    let route = resolved.origins.item_diagnostic(place, 0, Severity::Warning, "not in the DNS", "add it");
    assert_eq!(line(&route), Some(15));
    let listen =
        resolved.origins.diagnostic(Place::Host, "listen", Severity::Error, "in use", "choose another");
    assert_eq!(line(&listen), None);

    let mut all = resolved.origins.diagnostics();
    all.push(complain("blog", "directory"));
    assert!(
        all.has_errors() && all.render(false).contains("16 | directory = \"blog\""),
        "{}",
        all.render(false)
    );
}

#[test]
fn who_is_told_about_incidents_is_a_program_or_a_url() {
    let file = |hook: &str| format!("[host]\non_incident = \"{hook}\"\n[apps.shop]\napp = \"x:y\"\n");
    let hook = |text: &str| read(&file(text)).plan.host.on_incident;
    let url = |address: &str, host: &str, path: &str| {
        Some(Hook::Url { address: address.to_owned(), host: host.to_owned(), path: path.to_owned() })
    };
    assert_eq!(hook("none"), None);
    assert_eq!(hook("hooks/page"), Some(Hook::Program("/srv/sites/hooks/page".into())));
    assert_eq!(hook("/bin/page"), Some(Hook::Program("/bin/page".into())));
    assert_eq!(hook("http://pager"), url("pager:80", "pager", "/"));
    assert_eq!(hook("http://pager:81/a/b?c"), url("pager:81", "pager:81", "/a/b?c"));
    assert_eq!(hook("http://[::1]?x"), url("[::1]:80", "[::1]", "/?x"));
    assert_eq!(hook("http://[::1]:8/"), url("[::1]:8", "[::1]:8", "/"));
    for bad in [
        "https://pager/",
        "ftp://pager/",
        "http://",
        "http:///x",
        "http://:80/",
        "http://a:b/",
        "http://a:99999/",
        "http://me@pager/",
        "http://pager/a b",
        "http://pager/\\r\\nHost: x",
        "http://a:1:2/",
        "",
    ] {
        let environment = Environment { directory: "/srv/sites".into(), ..Environment::default() };
        let text = file(bad);
        let refused = load(text.as_bytes(), "serpentry.toml", &environment);
        assert!(refused.is_err(), "{bad} was taken");
    }
}
