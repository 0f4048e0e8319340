//! A host in miniature: makes its groups, limits them, runs something in them, and removes them, again and again.
//!
//! `cargo run -p jail --example groups NAME` (as root; stop it with Ctrl-C: the next one with the same name clears away).

use std::error::Error;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use jail::cgroup::{Hierarchies, Limits, Tree};
use jail::machine::Roots;

const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("the name of the host is missing")?;
    let mut out = std::io::stdout();
    writeln!(out, "begin")?;
    loop {
        round(&name)?;
    }
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
        let refused = group.apply(&limits).into_iter().filter_map(|outcome| outcome.refusal).count();
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
        if refused > 0 {
            eprintln!("{path}: {refused} limits are not enforced");
        }
    }
    Ok(tree.remove()?)
}
