//! `cargo xtask TASK`: what cargo alone does not do.
//!
//! - `worker`: build the Python side, one extension module per stable ABI, into `target/ext`.
//! - `dist`: the same, and then the finished program with it inside, `target/release/serpentry`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

/// Cargo features of the worker crate, one build each. Names of stable ABIs: the first Python that has them.
const ABIS: [&str; 2] = ["abi3-py310", "abi3-py312"];

fn main() -> ExitCode {
    let task = env::args().nth(1).unwrap_or_default();
    let result = match task.as_str() {
        "worker" => worker(),
        "dist" => dist(),
        _ => {
            eprintln!("usage: cargo xtask worker|dist");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Each ABI has a target folder of its own: a change of features would otherwise rebuild PyO3 every time.
fn worker() -> anyhow::Result<()> {
    let ext = target().join("ext");
    fs::create_dir_all(&ext).with_context(|| format!("cannot create {}", ext.display()))?;
    for abi in ABIS {
        let build = target().join("worker").join(abi);
        cargo(
            &["build", "--release", "--package", "worker", "--features", abi],
            &[
                ("CARGO_TARGET_DIR", build.as_os_str()),
                // No interpreter is needed to build against the stable ABI, and libpython must not be linked.
                ("PYO3_NO_PYTHON", "1".as_ref()),
                ("PYO3_BUILD_EXTENSION_MODULE", "1".as_ref()),
                // It travels inside the program, which reads it whole at every start: no line tables.
                ("CARGO_PROFILE_RELEASE_DEBUG", "none".as_ref()),
                ("CARGO_PROFILE_RELEASE_STRIP", "symbols".as_ref()),
            ],
        )?;
        install(
            &build.join("release/libserpentry_worker.so"),
            &ext.join(format!("serpentry_worker.{abi}.so")),
        )?;
    }
    install(&root().join("crates/worker/python/boot.py"), &ext.join("boot.py"))
}

fn dist() -> anyhow::Result<()> {
    worker()?;
    let ext = target().join("ext");
    cargo(&["build", "--release", "--package", "serpentry"], &[("SERPENTRY_EXT_DIR", ext.as_os_str())])
}

/// Copy unless the target is the same already, so that nothing is rebuilt for a new time stamp; by renaming, because a
/// running program may have the old file open.
fn install(from: &Path, to: &Path) -> anyhow::Result<()> {
    let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let fresh = to.with_extension("new");
    fs::write(&fresh, content)
        .and_then(|()| fs::rename(&fresh, to))
        .with_context(|| format!("cannot write {}", to.display()))
}

fn cargo(arguments: &[&str], environment: &[(&str, &std::ffi::OsStr)]) -> anyhow::Result<()> {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .envs(environment.iter().copied())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}
