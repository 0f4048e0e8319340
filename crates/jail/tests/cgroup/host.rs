//! A host in miniature: makes its groups, limits them, runs something in them and removes them.

use std::error::Error;
use std::process::{Command, Stdio};

use jail::cgroup::{Hierarchies, Limits, Tree};
use jail::machine::Roots;

use crate::sandbox::{PATIENCE, Sandbox};

/// The name of the host to be, for ever: set for the process that is to be killed.
pub(crate) const NAME: &str = "SERPENTRY_TEST_HOST";

/// What it says when it begins.
pub(crate) const BEGIN: &str = "the host begins";

/// Round after round if it is to be killed, else one, of which nothing is left.
#[test]
fn a_round_of_a_host_leaves_nothing_behind() {
    if let Ok(name) = std::env::var(NAME) {
        println!("{BEGIN}");
        loop {
            round(&name).unwrap();
        }
    }
    let Some(sandbox) = Sandbox::with(&[]) else { return };
    let name = format!("{}-round", sandbox.name);
    round(&name).unwrap();
    assert_eq!(sandbox.left(&name), Vec::<std::path::PathBuf>::new());
}

fn round(name: &str) -> Result<(), Box<dyn Error>> {
    let tree = Tree::create(&Hierarchies::find(&Roots::default())?, name)?;
    for path in ["shared/a", "isolated/b"] {
        let group = tree.group(path)?;
        let limits = Limits {
            cpu: Some(0.5),
            cores: Some(vec![0]),
            memory: Some(64 << 20),
            processes: Some(16),
            ..Limits::default()
        };
        let _ = group.apply(&limits);
        let joins: Vec<String> =
            group.entries().iter().map(|entry| format!("echo 0 > '{}'", entry.display())).collect();
        // Without a jail nothing else ties it to this process.
        let script = format!("{} || exit; sleep 20 & sleep 20", joins.join(" && "));
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(script)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let _ = group.apply(&Limits::default());
        group.kill(PATIENCE)?;
        // It may not have joined yet.
        child.kill()?;
        child.wait()?;
        group.kill(PATIENCE)?;
        group.remove(PATIENCE)?;
    }
    Ok(tree.remove()?)
}
