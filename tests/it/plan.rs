//! `serpentry plan` from a profile, and what it says when there is nothing to plan with. Of a running host: `tests/host`.

use serde_json::Value;

use crate::context::TestContext;

/// 2 ms of work and 50 ms of waiting.
const PROFILE: &str = r#"{
  "classes": [{"name": "GET /", "share": 1, "samples": [{"cpu_us": 1500, "wait_us": 45000}, {"cpu_us": 2500, "wait_us": 55000}]}],
  "worker_bytes": 50000000, "cold_start_ms": 500
}"#;
const MACHINE: [&str; 6] = ["plan", "--profile", "profile.json", "--cores", "2", "--memory=8GiB"];

#[test]
fn a_profile_becomes_a_plan() {
    let ctx = TestContext::new();
    ctx.write("profile.json", PROFILE);
    let goal = ["--rps", "200", "--p95", "250ms", "--price-core", "0.03", "--price-gb", "0.004"];
    let text = ctx.run(ctx.command(&[&MACHINE[..], &goal[..]].concat()));
    for part in [
        "exit 0",
        "200 requests/s, 95 % of them within 250ms, on 2 cores and 8.0GiB",
        "a request computes 2.0ms and waits 50ms",
        "not compared with a measurement: a profile from a file",
        "PER MILLION",
        "<- cheapest",
        "in serpentry.toml:",
        "overload: ",
        "applications like this one on this machine: ",
        "twice the traffic",
        "a worker is killed",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let json = ctx.run(ctx.command(&[&MACHINE[..], &goal[..], &["--json"]].concat()));
    let answer: Value =
        serde_json::from_str(&json[json.find('{').unwrap()..=json.rfind('}').unwrap()]).unwrap();
    let proposals = answer["proposals"].as_array().unwrap();
    assert_eq!(proposals.len(), 6, "three models, two tenancies");
    let best = &proposals[answer["best"].as_u64().unwrap() as usize];
    assert_eq!((&best["meets_goal"], &best["workers"]), (&true.into(), &1.into()), "{best}");
    assert!(best["prediction"]["p95"]["value"].as_f64().unwrap() <= 0.25, "{best}");
    assert!(best["capacity"].as_f64().unwrap() >= 200.0, "{best}");
    assert!(
        proposals.iter().all(|proposal| proposal["cost_per_hour"].as_f64() >= best["cost_per_hour"].as_f64())
    );
}

#[test]
fn what_is_asked_for_is_assessed_and_may_not_do() {
    let ctx = TestContext::new();
    ctx.write("profile.json", PROFILE);
    let asked = ["--rps", "200", "--concurrency", "sync", "--workers", "4"];
    let text = ctx.run(ctx.command(&[&MACHINE[..], &asked[..]].concat()));
    assert!(text.contains("exit 1") && text.contains("misses the goal"), "{text}");
    assert!(text.contains("nothing that was considered meets the goal"), "{text}");
}

#[test]
fn nothing_to_plan_with_is_said() {
    let ctx = TestContext::new();
    ctx.write("profile.json", r#"{"classes": []}"#);
    ctx.write("other.json", r#"{"classes": [], "colour": "red"}"#);
    for (arguments, status, part) in [
        (&["plan", "shop", "--rps", "200", "--state", "nowhere"][..], "exit 69", "no host is running here"),
        (&["plan", "--rps", "200"], "exit 2", "which application?"),
        (&["plan", "--rps", "0", "shop"], "exit 2", "between 0.01 and 100,000"),
        (&["plan", "--profile", "profile.json", "--rps", "1"], "exit 2", "there is nothing to simulate"),
        (&["plan", "--profile", "other.json", "--rps", "1"], "exit 2", "colour"),
        (&["plan", "--profile", "none.json", "--rps", "1"], "exit 1", "cannot read the profile none.json"),
    ] {
        let text = ctx.run(ctx.command(arguments));
        assert!(text.contains(status) && text.contains(part), "{status}, {part:?} is not in {text}");
    }
}
