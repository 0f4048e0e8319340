//! The laboratory drives the program as its object.

use std::path::Path;

use lab::host::{AppPlan, Host, HostPlan};

use crate::context::{PROGRAM, TestContext, python};

fn hello(ctx: &TestContext) -> AppPlan {
    AppPlan::new("hello:app", ctx.directory()).set("python", python().to_string_lossy())
}

#[test]
fn a_host_is_started_changed_and_stopped() {
    let ctx = TestContext::new();
    let plan = HostPlan::default().with("a", hello(&ctx)).with("b", hello(&ctx));
    let directory = ctx.path("host");
    std::fs::create_dir(&directory).unwrap();
    let mut host = Host::start(Path::new(PROGRAM), plan.clone(), &directory).unwrap();
    assert_ne!(host.address().port(), 0);
    let before = host.workers("a").unwrap();
    assert_eq!(before.len(), 1);
    host.scale("a", 2).unwrap();
    assert_eq!(host.workers("a").unwrap().len(), 2);
    let plan = HostPlan::default().with("a", hello(&ctx).set("env", serde_json::json!({"X": "y"})));
    host.apply(plan).unwrap();
    let after = host.workers("a").unwrap();
    assert!(after.len() == 2 && !after.contains(&before[0]), "{before:?} {after:?}");
    assert!(host.workers("b").is_err());
    let broken = HostPlan::default().with("a", hello(&ctx).limit("nonsense", 1));
    let refused = host.apply(broken).unwrap_err().to_string();
    assert!(refused.contains("nonsense"), "{refused}");
    assert_eq!(host.workers("a").unwrap(), after);
    host.stop().unwrap();
    assert!(!Path::new(&format!("/proc/{}", after[0])).exists());
}
