//! The finished program carries its Python side inside and needs nothing beside itself: where it puts it, and where not.
//!
//! These tests need `target/release/serpentry` as `cargo xtask dist` builds it; without it they say so and do nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::context::{TestContext, is_root, python, skipped};
use crate::program::Program;

const FILES: [&str; 3] = ["boot.py", "serpentry_worker.abi3-py310.so", "serpentry_worker.abi3-py312.so"];

/// A copy of the finished program, alone in a folder.
struct Finished {
    ctx: TestContext,
    program: PathBuf,
}

impl Finished {
    fn copy() -> Option<Self> {
        let beside = Path::new(env!("CARGO_BIN_EXE_serpentry")).ancestors().nth(2)?;
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
        let Some(original) = [beside, &workspace]
            .iter()
            .map(|target| target.join("release/serpentry"))
            .find(|program| program.is_file())
        else {
            skipped("there is no target/release/serpentry: run `cargo xtask dist` first");
            return None;
        };
        let ctx = TestContext::new();
        let program = ctx.path("alone/serpentry");
        fs::create_dir(ctx.path("alone")).unwrap();
        fs::copy(original, &program).unwrap();
        let finished = Finished { ctx, program };
        let probe = finished.start(&[("XDG_CACHE_HOME", &finished.ctx.path("probe"))]);
        if probe.ready_or_ended().contains("this development build has no Python side") {
            skipped("target/release/serpentry was not built by `cargo xtask dist`");
            return None;
        }
        Some(finished)
    }

    /// Serve `hello` with nothing in the environment that names a folder but `folders`.
    fn start(&self, folders: &[(&str, &Path)]) -> Program {
        let arguments = ["serve", "hello:app", "--bind", "127.0.0.1:0", "--python"];
        let mut command = self.ctx.command_of(&self.program, &arguments);
        command.arg(python());
        for name in ["HOME", "XDG_CACHE_HOME", "TMPDIR"] {
            command.env_remove(name);
        }
        command.envs(folders.iter().copied());
        Program::start(command)
    }

    /// Serve until ready, ask for a page, stop.
    fn serves(&self, folders: &[(&str, &Path)]) {
        let program = self.start(folders);
        program.ready();
        assert_eq!(crate::http::get(&program.address(), "/").status, 200);
        assert_eq!(program.stop(), Some(0), "{}", program.stderr());
    }
}

/// The one folder with files in `cache`, which is named by their content.
fn installed(cache: &Path) -> PathBuf {
    let entries: Vec<PathBuf> = fs::read_dir(cache)
        .unwrap_or_else(|error| panic!("{}: {error}", cache.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    let name = entries[0].file_name().unwrap().to_str().unwrap();
    assert!(name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    entries[0].clone()
}

#[test]
fn the_program_alone_serves_and_keeps_its_files_in_a_private_folder() {
    let Some(finished) = Finished::copy() else { return };
    let cache = finished.ctx.path("cache");
    finished.serves(&[("XDG_CACHE_HOME", &cache)]);
    let folder = installed(&cache.join("serpentry/ext"));
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, FILES);
    let own = rustix::process::getuid().as_raw();
    let paths = FILES.map(|name| folder.join(name));
    for path in paths.iter().chain([&folder, &cache.join("serpentry/ext"), &cache.join("serpentry")]) {
        let metadata = path.metadata().unwrap();
        assert_eq!(metadata.mode() & 0o022, 0, "others can write to {}", path.display());
        assert_eq!(metadata.uid(), own, "{}", path.display());
    }
    let only = fs::read_dir(finished.program.parent().unwrap()).unwrap().count();
    assert_eq!(only, 1, "nothing was written beside the program");

    // A second start finds them.
    let before = paths.clone().map(|path| path.metadata().unwrap().mtime_nsec());
    finished.serves(&[("XDG_CACHE_HOME", &cache)]);
    assert_eq!(paths.map(|path| path.metadata().unwrap().mtime_nsec()), before);
}

#[test]
fn a_damaged_copy_is_repaired() {
    let Some(finished) = Finished::copy() else { return };
    let cache = finished.ctx.path("cache");
    let folders: [(&str, &Path); 1] = [("XDG_CACHE_HOME", &cache)];
    finished.serves(&folders);
    let folder = installed(&cache.join("serpentry/ext"));
    let good = FILES.map(|name| fs::read(folder.join(name)).unwrap());
    // Cut, changed, missing: one file each.
    for (index, (name, content)) in FILES.iter().zip(&good).enumerate() {
        let path = folder.join(name);
        fs::remove_file(&path).unwrap();
        let mut damaged = content.clone();
        match index {
            0 => damaged.truncate(100),
            _ => damaged[content.len() / 2] ^= 1,
        }
        if index < 2 {
            fs::write(&path, damaged).unwrap();
        }
        finished.serves(&folders);
        assert_eq!(installed(&cache.join("serpentry/ext")), folder);
        assert!(fs::read(&path).unwrap() == *content, "{name} was not repaired");
    }
    assert!(FILES.map(|name| fs::read(folder.join(name)).unwrap()) == good);
}

#[test]
fn several_first_starts_at_once_do_not_disturb_each_other() {
    let Some(finished) = Finished::copy() else { return };
    let cache = finished.ctx.path("cache");
    let folders: [(&str, &Path); 1] = [("XDG_CACHE_HOME", &cache)];
    for state in ["fresh", "damaged"] {
        if state == "damaged" {
            let boot = installed(&cache.join("serpentry/ext")).join("boot.py");
            fs::remove_file(boot).unwrap();
        }
        let programs: Vec<Program> = (0..4).map(|_| finished.start(&folders)).collect();
        for program in programs {
            program.ready();
            assert_eq!(program.stop(), Some(0), "{state}: {}", program.stderr());
        }
        installed(&cache.join("serpentry/ext"));
    }
}

/// What is wrong with the folder for the cache, and whether only the superuser can make it so.
type Unsafe = (&'static str, fn(&Path), bool);

const UNSAFE: &[Unsafe] = &[
    ("writable by everybody", |folder| mode(folder, 0o777), false),
    ("writable by the group", |folder| mode(folder, 0o775), false),
    ("writable by those outside the group", |folder| mode(folder, 0o757), false),
    ("its parent is writable by everybody", |folder| mode(folder.parent().unwrap(), 0o777), false),
    ("a link to another folder", link, false),
    ("a file", file, false),
    ("somebody else's", |folder| give_away(folder), true),
    ("in somebody else's folder", |folder| give_away(folder.parent().unwrap()), true),
];

fn mode(folder: &Path, mode: u32) {
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}

fn give_away(folder: &Path) {
    std::os::unix::fs::chown(folder, Some(65_534), Some(65_534)).unwrap();
}

fn link(folder: &Path) {
    let elsewhere = folder.with_extension("elsewhere");
    fs::rename(folder, &elsewhere).unwrap();
    std::os::unix::fs::symlink(elsewhere, folder).unwrap();
}

fn file(folder: &Path) {
    fs::remove_dir(folder).unwrap();
    fs::write(folder, "").unwrap();
}

#[test]
fn a_folder_that_others_control_is_not_used() {
    let Some(finished) = Finished::copy() else { return };
    for (index, (name, spoil, needs_root)) in UNSAFE.iter().enumerate() {
        if *needs_root && !is_root() {
            skipped(&format!("{name}: only the superuser can give a folder away"));
            continue;
        }
        let place = |kind: &str| finished.ctx.path(&format!("{kind}-{index}"));
        let (cache, home) = (place("cache"), place("home"));
        let folder = cache.join("serpentry/ext");
        fs::create_dir_all(&folder).unwrap();
        spoil(&folder);
        finished.serves(&[("XDG_CACHE_HOME", &cache), ("HOME", &home)]);
        installed(&home.join(".cache/serpentry/ext"));
        let used = fs::read_dir(&folder).map_or(0, Iterator::count);
        assert_eq!(used, 0, "{name}: something was written there");
    }
}

#[test]
fn without_a_folder_to_use_every_reason_is_named() {
    let Some(finished) = Finished::copy() else { return };
    let temporary = finished.ctx.path("tmp");
    let uid = rustix::process::getuid().as_raw();
    let folder = temporary.join(format!("serpentry-{uid}/ext"));
    fs::create_dir_all(&folder).unwrap();
    mode(&folder, 0o777);
    let state = finished.ctx.path("hello.py");
    let program = finished.start(&[("TMPDIR", &temporary), ("STATE_DIRECTORY", &state)]);
    let expected = format!(
        "exit 1
serpentry: error: cannot write the Python side of this program to a cache folder: no folder can be used \
         (DIR/hello.py/ext: Not a directory (os error 20); DIR/tmp/serpentry-{uid}/ext: it belongs to somebody else or \
         others can write to it)
"
    );
    assert_eq!(finished.ctx.masked(&program.transcript()), expected);
}
