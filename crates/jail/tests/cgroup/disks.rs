//! Disks are found and throttled.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use jail::cgroup::{Controller, Group, Limits, Rate, disks};
use jail::machine::Roots;

use crate::sandbox::{Process, Sandbox, accepted};

/// Where the tests are built is a disk, if anything is; a machine without one there says where else.
fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        std::env::var_os("SERPENTRY_DISK").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from)
    })
}

#[test]
fn direct_io_is_as_fast_as_its_limit() {
    let Some(sandbox) = Sandbox::with(&[Controller::Io]) else { return };
    if let Err(refusal) = disks(&Roots::default(), directory()) {
        println!("skipped: {refusal}");
        return;
    }
    let file = tempfile::NamedTempFile::new_in(directory()).unwrap();
    std::fs::write(file.path(), vec![7; 8 << 20]).unwrap();
    let file = file.path().display().to_string();
    let limited = |read, write| Limits {
        disk_read: read,
        disk_write: write,
        disks: vec![directory().to_path_buf()],
        ..Limits::default()
    };
    let group = sandbox.group(&limited(Some(Rate::Bytes(2 << 20)), None));
    let read = format!("dd if='{file}' of=/dev/null bs=64k iflag=direct");
    let write = format!("dd if=/dev/zero of='{file}' bs=64k count=128 conv=notrunc oflag=direct");
    rate(&group, &read, 8.0, 2.0);
    // The other direction, in operations, and the first one is free again.
    accepted(&group.apply(&limited(None, Some(Rate::Operations(40)))));
    rate(&group, &write, 128.0, 40.0);
    let start = Instant::now();
    run(&group, &read);
    assert!(start.elapsed().as_secs_f64() < 3.0, "still throttled: {:?}", start.elapsed());
    accepted(&group.apply(&Limits::default()));
    let start = Instant::now();
    run(&group, &write);
    assert!(start.elapsed().as_secs_f64() < 2.5, "still throttled: {:?}", start.elapsed());
    let io = group.usage().io.unwrap();
    assert!(io.read >= 16 << 20 && io.written >= 16 << 20, "{io:?}");
}

/// So much work at this rate takes as long as it should, by the clock of whoever does it.
fn rate(group: &Group, script: &str, work: f64, rate: f64) {
    let text = run(group, &format!("start=$EPOCHREALTIME; {script} || exit; echo $start $EPOCHREALTIME"));
    let times: Vec<f64> = text.lines().next().unwrap().split(' ').map(|time| time.parse().unwrap()).collect();
    let measured = work / (times[1] - times[0]);
    println!("{rate} allowed, {measured:.2} measured: {script}");
    // It is a ceiling. Below it there is also what starting `dd` takes, on a machine that does other things.
    assert!((rate * 0.5..=rate * 1.05).contains(&measured), "{measured} instead of {rate}");
}

fn run(group: &Group, script: &str) -> String {
    let (status, text) = Process::shell(group, script).finish();
    assert_eq!(status, 0, "{text}");
    text
}

#[test]
fn the_disk_of_a_loop_device_is_found_behind_it() {
    let roots = Roots::default();
    let Ok(below) = disks(&roots, directory()) else {
        println!("skipped: {} is on no disk", directory().display());
        return;
    };
    let volume = tempfile::NamedTempFile::new_in(directory()).unwrap();
    volume.as_file().set_len(16 << 20).unwrap();
    let Some(mounted) = Loop::mount(volume.path()) else { return };
    let found = disks(&roots, mounted.point.path()).unwrap();
    assert!(found[0].name.starts_with("loop"), "{found:?}");
    assert_eq!(found[1..], below[..]);
    let error = disks(&roots, Path::new("/proc")).unwrap_err();
    assert!(error.why.contains("has no disk"), "{error}");
}

/// Unmounted when dropped.
struct Loop {
    point: tempfile::TempDir,
}

impl Loop {
    /// `None` when that is not possible here; says so.
    fn mount(file: &Path) -> Option<Self> {
        let point = tempfile::tempdir().unwrap();
        let make = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(file).output();
        if !make.as_ref().is_ok_and(|output| output.status.success()) {
            println!("skipped: mkfs.ext4: {make:?}");
            return None;
        }
        let mount = Command::new("mount").args(["-o", "loop"]).arg(file).arg(point.path()).output();
        if !mount.as_ref().is_ok_and(|output| output.status.success()) {
            println!("skipped: mount -o loop: {mount:?}");
            return None;
        }
        Some(Loop { point })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let result = Command::new("umount").arg(self.point.path()).status();
        assert!(std::thread::panicking() || result.is_ok_and(|status| status.success()));
    }
}
