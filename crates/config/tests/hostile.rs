//! Files that nobody writes by hand: too large, not text, too deep, too many. Each gets a clear answer, in bounded time.

use config::{Diagnostics, Environment, LARGEST_FILE, load};

fn refused(bytes: &[u8]) -> Diagnostics {
    let environment = Environment { directory: "/srv".into(), ..Environment::default() };
    let Err(all) = load(bytes, "serpentry.toml", &environment) else { panic!("it was accepted") };
    assert!(all.has_errors());
    // What is shown is bounded too, however long the lines are.
    assert!(all.render(true).len() < 2_000_000);
    all
}

fn first(bytes: &[u8]) -> String {
    refused(bytes).shown()[0].message.clone()
}

/// Bytes without a pattern.
fn noise(count: usize, alphabet: &[u8]) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        alphabet[(state % alphabet.len() as u64) as usize]
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let bytes: Vec<u8> = (0..=255).collect();
    let garbage = noise(5_000_000, &bytes);
    assert_eq!(first(&garbage), "the file is larger than 4 MiB, the most that is read");
    assert_eq!(refused(&garbage).shown().len(), 1);
}

#[test]
fn what_is_not_text_is_said_once() {
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(first(&noise(LARGEST_FILE, &bytes)), "this is not UTF-8");
    let all = refused(b"[apps.a]\napp = \"x:y\"\n# \xc3\x28\n");
    let location = all.shown()[0].location.clone().unwrap();
    assert_eq!((all.shown().len(), location.line, location.column), (1, 3, 3));
    let all = refused(b"[apps.a]\nap\0p = \"x:y\"\n");
    assert_eq!(all.shown()[0].message, "there is a zero byte here, so this is not a text file");
    let location = all.shown()[0].location.clone().unwrap();
    assert_eq!((all.shown().len(), location.line, location.column), (1, 2, 3));
}

#[test]
fn garbage_in_ascii_is_answered() {
    refused(&noise(LARGEST_FILE, b"abc=[]{}\"'\n .#,"));
    refused(&noise(200_000, b"abc=[]{}\"'\n .#,"));
    refused(&"a\n".repeat(100_000).into_bytes());
    refused(&"a = 1\n".repeat(40_000).into_bytes());
    refused(&"[a]\n".repeat(60_000).into_bytes());
}

#[test]
fn deep_nesting_is_refused() {
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{ a = ".repeat(40_000)),
        format!("[{}a]\n", "a.".repeat(100_000)),
        format!("{}a = 1\n", "a.".repeat(100_000)),
        format!("a = {}", "[".repeat(LARGEST_FILE - 10)),
    ] {
        let said = first(text.as_bytes());
        assert!(said.contains("recur"), "{said}");
    }
}

#[test]
fn very_many_of_something_is_refused() {
    let apps = |count: usize| -> String {
        (0..count).map(|number| format!("[apps.a{number}]\napp=\"a:b\"\nroutes=[\"a{number}\"]\n")).collect()
    };
    assert_eq!(first(apps(20_000).as_bytes()), "20000 applications are too many for one host: at most 10000");
    let routes: Vec<String> = (0..50_000).map(|number| format!("\"h{number}\"")).collect();
    let text = format!("[apps.a]\napp = \"x:y\"\nroutes = [{}]\n", routes.join(","));
    assert_eq!(first(text.as_bytes()), "an application has at most 1000 routes; here are 50000");
    let text =
        format!("[apps.a]\napp = \"x:y\"\n{}", "[[apps.a.overrides]]\nprefix = \"/a\"\n".repeat(10_000));
    assert_eq!(first(text.as_bytes()), "an application has at most 100 overrides; here are 10000");
    let unknown: String = (0..100_000).map(|number| format!("worker{number} = 1\n")).collect();
    let all = refused(format!("[apps.a]\napp = \"x:y\"\n{unknown}").as_bytes());
    assert_eq!(all.counts(), (100_000, 0));
}

#[test]
fn ten_thousand_applications_are_one_plan() {
    let text: String = (0..10_000)
        .map(|number| format!("[apps.a{number}]\napp = \"a:b\"\nroutes = [\"a{number}.example\"]\n"))
        .collect();
    let environment = Environment { directory: "/srv".into(), ..Environment::default() };
    let resolved = load(text.as_bytes(), "serpentry.toml", &environment).unwrap();
    assert_eq!(resolved.plan.apps.len(), 10_000);
    assert_eq!(resolved.plan.apps[9_999].name, "a9999", "in the order of the file");
}

#[test]
fn line_ends_and_marks_of_other_systems_are_read() {
    let environment = Environment { directory: "/srv".into(), ..Environment::default() };
    for text in
        ["[apps.a]\r\napp = \"x:y\"\r\n", "\u{feff}[apps.a]\napp = \"x:y\"\n", "[apps.a]\napp = \"x:y\""]
    {
        assert!(load(text.as_bytes(), "serpentry.toml", &environment).is_ok(), "{text:?}");
    }
}
