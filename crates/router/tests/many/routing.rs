//! Requests find their application, and see where it is mounted.

use router::Command;

use crate::harness::{Host, routes, settings};

#[test]
fn every_request_of_a_connection_is_routed_by_itself() {
    let mut host = Host::start(&[("shop.example", 0), ("/feed", 1)], &settings());
    let (mut shop, mut feed) = (host.worker(0, 1), host.worker(1, 1));
    let mut client = host.client();
    for _ in 0..3 {
        client.get("Shop.Example:8000", "/cart?x=/feed");
        shop.serve("shop");
        assert_eq!(client.response().body, "shop");
        client.get("other.example", "/feed/latest");
        feed.serve("feed");
        assert_eq!(client.response().body, "feed");
    }
}

#[test]
fn the_application_sees_its_mount_point() {
    let mounted = router::Settings { root_path: "/outer".to_owned(), ..settings() };
    let mut host = Host::start(&[("/shop", 0), ("/", 1)], &settings());
    host.send(Command::SetApp { app: 1, name: "root".to_owned(), settings: Box::new(mounted) });
    let (mut shop, mut root) = (host.worker(0, 1), host.worker(1, 1));
    for (sent, root_path, path) in [
        ("/shop", "/shop", ""),
        ("/shop/", "/shop", "/"),
        ("/%73hop/a%2Fb%20c", "/shop", "/a/b c"),
        ("/shop//x/./y/..", "/shop", "//x/./y/.."),
    ] {
        let mut client = host.get("a", sent);
        let seen = shop.serve("");
        assert_eq!((&*seen.root_path, &*seen.path, &*seen.raw_path), (root_path, path, sent));
        assert_eq!(client.response().status, 200);
    }
    // Behind a front proxy that strips its prefix, and one that does not.
    for (sent, path) in
        [("/outer/x", "/x"), ("/x", "/x"), ("/shopping", "/shopping"), ("/shop%2Fx", "/shop/x")]
    {
        let mut client = host.get("a", sent);
        let seen = root.serve("");
        assert_eq!((&*seen.root_path, &*seen.path), ("/outer", path), "{sent}");
        assert_eq!(client.response().status, 200);
    }
    let mounted = router::Settings { root_path: "/outer".to_owned(), ..settings() };
    host.send(Command::SetApp { app: 0, name: "shop".to_owned(), settings: Box::new(mounted) });
    let mut client = host.get("a", "/shop/x");
    assert_eq!(shop.serve("").root_path, "/outer/shop");
    assert_eq!(client.response().status, 200);
}

#[test]
fn what_has_no_route_is_answered_by_the_host() {
    let mut host = Host::start(&[("shop.example/shop", 0)], &settings());
    let mut shop = host.worker(0, 1);
    let mut client = host.client();
    for (name, path, status, code) in [
        ("evil.example", "/shop", 421, "unknown-host"),
        ("shop.example", "/", 404, "no-route"),
        ("shop.example", "/shopping", 404, "no-route"),
        ("shop.example", "/shop/../admin", 400, "no-route"),
        ("shop.example", "/shop/%2e%2e/admin", 400, "no-route"),
    ] {
        client.get(name, path);
        let answer = client.response();
        assert_eq!(answer.status, status, "{name}{path}");
        assert_eq!(answer.field("server"), Some("serpentry"));
        assert!(answer.body.contains("server's own answer") && answer.body.contains(code), "{}", answer.body);
        assert!(!answer.body.contains("app0") && !answer.body.contains("shop"), "it tells: {}", answer.body);
    }
    // The connection is as good as before, and a following request is not taken for part of the last.
    client.get("shop.example", "/shop");
    shop.serve("here");
    assert_eq!(client.response().body, "here");
    // HTTP/1.0 needs no host, and nobody waits for a body that goes nowhere.
    let mut old = host.client();
    old.send("GET /shop HTTP/1.0\r\n\r\n");
    assert_eq!(old.response().status, 421);
    old.closed();
    let mut upload = host.client();
    upload.send(
        "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\n\r\nhelloGET /shop HTTP/1.1\r\n",
    );
    let answer = upload.response();
    assert_eq!((answer.status, answer.field("connection")), (404, Some("close")));
    upload.closed();
    let snapshot =
        host.snapshot_when(|snapshot| snapshot.refused.iter().map(|(_, count)| count).sum::<u64>() == 7);
    let refused: Vec<_> = snapshot.refused.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    assert_eq!(refused, [("unknown_host", 2), ("no_route", 5)]);
    assert_eq!(snapshot.apps[0].requests, 1);
}

#[test]
fn the_default_application_gets_what_fits_nothing() {
    let mut host = Host::start(&[("shop.example", 0), ("/feed", 1)], &settings());
    let mut feed = host.worker(1, 1);
    host.send(Command::SetRoutes(router::RouteTable::new(
        [router::Route {
            host: router::HostPattern::Exact("shop.example".to_owned()),
            prefix: String::new(),
            app: 0,
        }],
        Some(1),
    )));
    // The command is carried out before the answer to this one.
    host.snapshot();
    let mut client = host.get("anything", "/feed/x");
    let seen = feed.serve("default");
    assert_eq!((&*seen.root_path, &*seen.path), ("", "/feed/x"));
    assert_eq!(client.response().body, "default");
}

#[test]
fn only_trusted_proxies_name_the_host() {
    let mut host = Host::start(&[("shop.example", 0), ("inner", 1)], &settings());
    let (mut shop, mut inner) = (host.worker(0, 1), host.worker(1, 1));
    for field in ["X-Forwarded-Host: shop.example", "Forwarded: for=1.1.1.1;host=\"shop.example:443\""] {
        let ask = format!("GET / HTTP/1.1\r\nHost: inner\r\n{field}\r\n\r\n");
        // Whoever may open the Unix socket is trusted.
        let mut proxy = host.client();
        proxy.send(&ask);
        shop.serve("shop");
        assert_eq!(proxy.response().body, "shop");
        let mut stranger = host.stranger();
        stranger.send(&ask);
        inner.serve("inner");
        assert_eq!(stranger.response().body, "inner");
    }
}

#[test]
fn routes_change_between_two_requests() {
    let mut host = Host::start(&[("/", 0), ("/unused", 1)], &settings());
    let (mut old, mut new) = (host.worker(0, 1), host.worker(1, 1));
    let mut waiting = host.get("a", "/");
    let held = old.request();
    let mut client = host.client();
    host.send(Command::SetRoutes(routes(&[("/", 1)])));
    host.snapshot();
    client.get("a", "/");
    new.serve("new");
    assert_eq!(client.response().body, "new");
    old.answer(held.id, 200, "old");
    assert_eq!(waiting.response().body, "old", "what was under way stays where it is");
    // A route to an application that is not there is no route.
    host.send(Command::SetRoutes(routes(&[("/", 99)])));
    host.snapshot();
    client.get("a", "/");
    assert_eq!(client.response().status, 404);
}
