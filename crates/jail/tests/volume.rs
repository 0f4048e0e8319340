//! Volumes on this machine's own kernel: each test in a mount namespace of its own, which takes every mount with it, also
//! when the test fails. Loop devices follow by autoclear.

#![expect(clippy::unwrap_used, reason = "the whole binary is a test")]

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jail::volume::{self, Error, Owners, Request, Step, Volume, copy_tree};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

const SIZE: u64 = 32 << 20;
const OWNER: (u32, u32) = (54_321, 54_322);

/// Why there can be no test here, if so.
fn impossible() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("mounting needs root".to_owned());
    }
    volume::survey().err().map(|error| error.to_string())
}

/// Run the test where its mounts are nobody else's.
fn privately(test: impl FnOnce(&Path) + Send) {
    if let Some(why) = impossible() {
        println!("skipped: {why}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    let outcome = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                // SAFETY: only this thread gets its own view of mounts and working directory; it shares no descriptors
                // table and ends with the test.
                unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.unwrap();
                mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
                test(&path);
            })
            .join()
    });
    // After the namespace is gone no loop device may hold a file of this test.
    eventually("loop devices of this test are given up", || loops(&path).is_empty());
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Loop devices on files below `directory`.
fn loops(directory: &Path) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").unwrap().flatten();
    devices
        .filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok())
        .filter(|file| Path::new(file).starts_with(directory))
        .collect()
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn prepare(directory: &Path, size: u64) -> Result<Volume, Error> {
    Volume::prepare(&directory.join("shop.img"), size, &directory.join("shop.data"), OWNER)
}

/// Write until the kernel says no; what was written, and what it said.
fn fill(path: &Path) -> (u64, std::io::Error) {
    let mut file = File::create(path).unwrap();
    let block = vec![b'x'; 1 << 20];
    let mut written = 0;
    loop {
        assert!(written < 100 * SIZE, "nothing stopped us");
        match file.write(&block) {
            Ok(count) => written += count as u64,
            Err(error) => return (written, error),
        }
    }
}

#[test]
fn a_new_volume_is_the_applications_and_holds_what_it_promises() {
    privately(|directory| {
        let volume = prepare(directory, SIZE).unwrap();
        assert!(volume.report().created && volume.report().set_aside.is_none());
        let root = fs::metadata(volume.mount_point()).unwrap();
        assert_eq!((root.uid(), root.gid(), root.mode() & 0o7777), (OWNER.0, OWNER.1, 0o700));
        assert_eq!(fs::read_dir(volume.mount_point()).unwrap().count(), 0, "it is empty");
        let image = fs::metadata(directory.join("shop.img")).unwrap();
        assert_eq!((image.mode() & 0o7777, image.len()), (0o600, SIZE));
        assert!(image.blocks() * 512 >= SIZE, "all of it is reserved: {} blocks", image.blocks());
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains("shop.data")).unwrap();
        assert!(line.contains("nosuid") && line.contains("nodev"), "{line}");

        let (written, error) = fill(&volume.mount_point().join("big"));
        assert_eq!(error.raw_os_error(), Some(28), "{error}");
        assert!(written > SIZE * 3 / 4 && written < SIZE, "{written}");
        let usage = volume.usage().unwrap();
        assert!(usage.used >= written && usage.total < SIZE && !usage.read_only, "{usage:?}");
        assert!(usage.files_used > 0 && usage.files_total < 5000, "{usage:?}");
        let released = volume.release().unwrap();
        assert!(!released.lazily && released.detached, "{released:?}");
    });
}

#[test]
fn what_was_written_is_there_again_and_growing_keeps_it() {
    privately(|directory| {
        let volume = prepare(directory, SIZE).unwrap();
        fs::write(volume.mount_point().join("kept"), "kept").unwrap();
        let before = volume.usage().unwrap().total;
        volume.release().unwrap();

        let volume = prepare(directory, 2 * SIZE).unwrap();
        assert!(!volume.report().created);
        assert_eq!(volume.report().grown_from, Some(SIZE));
        assert_eq!(fs::read(volume.mount_point().join("kept")).unwrap(), b"kept");
        let after = volume.usage().unwrap();
        assert!(after.total > before + SIZE * 9 / 10, "{before} {after:?}");
        assert_eq!(after.unreserved, 0);
        volume.release().unwrap();

        let refused = prepare(directory, SIZE).unwrap_err();
        assert!(
            matches!(refused, Error::Smaller { has, asked, .. } if (has, asked) == (2 * SIZE, SIZE)),
            "{refused}"
        );
        assert!(loops(directory).is_empty() || loops_end(directory), "a refused volume is not left attached");
    });
}

fn loops_end(directory: &Path) -> bool {
    eventually("the device is given up", || loops(directory).is_empty());
    true
}

#[test]
fn a_mounted_volume_is_taken_over_and_grows_where_it_is() {
    privately(|directory| {
        let volume = prepare(directory, SIZE).unwrap();
        let mut open = File::create(volume.mount_point().join("open")).unwrap();
        // As if the host had died: its lock is gone, the mount is not.
        drop(volume);
        let volume = prepare(directory, 2 * SIZE).unwrap();
        assert!(volume.report().taken_over);
        // The kernel grows it in use, unless this root is not allowed to.
        let report = volume.report();
        assert!(report.grown_from == Some(SIZE) || report.behind == Some(SIZE), "{report:?}");
        open.write_all(b"still writable").unwrap();
        assert_eq!(loops(directory).len(), 1, "never attached twice");
        // Somebody still has a file open: it goes all the same, and says so.
        let released = volume.release().unwrap();
        assert!(released.lazily && !released.detached, "{released:?}");
        let again = prepare(directory, 2 * SIZE).unwrap();
        assert_eq!(loops(directory).len(), 1, "the file system that is still in use is used");
        drop(open);
        assert_eq!(fs::read(again.mount_point().join("open")).unwrap(), b"still writable");
        assert!(again.release().unwrap().detached);
        let volume = prepare(directory, 2 * SIZE).unwrap();
        assert!(volume.usage().unwrap().total > 2 * SIZE * 8 / 10, "{:?}", volume.report());
        volume.release().unwrap();
    });
}

#[test]
fn two_hosts_cannot_use_one_volume() {
    privately(|directory| {
        let volume = prepare(directory, SIZE).unwrap();
        let error = prepare(directory, SIZE).unwrap_err();
        assert!(matches!(error, Error::InUse { .. }), "{error}");
        volume.release().unwrap();
    });
}

#[test]
fn foreign_and_damaged_images_are_set_aside_and_never_deleted() {
    privately(|directory| {
        let image = directory.join("shop.img");
        fs::write(&image, "somebody's notes").unwrap();
        let volume = prepare(directory, SIZE).unwrap();
        let (aside, why) = volume.report().set_aside.clone().unwrap();
        assert_eq!(fs::read(&aside).unwrap(), b"somebody's notes", "{why}");
        volume.release().unwrap();

        // Shorter than its file system.
        OpenOptions::new().write(true).open(&image).unwrap().set_len(SIZE / 2).unwrap();
        let volume = prepare(directory, SIZE).unwrap();
        let (second, why) = volume.report().set_aside.clone().unwrap();
        assert!(why.contains("shorter"), "{why}");
        assert!(aside != second && second.exists());
        volume.release().unwrap();

        // Damage beyond the superblock: group descriptors and inode tables, with their copies.
        let file = OpenOptions::new().write(true).open(&image).unwrap();
        file.write_all_at(&vec![0xa5; (SIZE - 4096) as usize], 4096).unwrap();
        drop(file);
        let volume = prepare(directory, SIZE).unwrap();
        let (third, why) = volume.report().set_aside.clone().unwrap();
        assert!(third.exists() && why.contains("e2fsck"), "{why}");
        volume.release().unwrap();
    });
}

#[test]
fn an_image_that_was_not_taken_away_in_order_is_repaired() {
    privately(|directory| {
        let volume = prepare(directory, SIZE).unwrap();
        fs::write(volume.mount_point().join("kept"), "kept").unwrap();
        File::open(volume.mount_point()).unwrap().sync_all().unwrap();
        rustix::fs::syncfs(File::open(volume.mount_point()).unwrap()).unwrap();
        // As after a loss of power: a copy of the image while it is mounted.
        fs::copy(directory.join("shop.img"), directory.join("copy.img")).unwrap();
        volume.release().unwrap();
        fs::rename(directory.join("copy.img"), directory.join("shop.img")).unwrap();
        let volume = prepare(directory, SIZE).unwrap();
        assert!(volume.report().repaired, "{:?}", volume.report());
        assert_eq!(fs::read(volume.mount_point().join("kept")).unwrap(), b"kept");
        assert_eq!(volume.usage().unwrap().unreserved, 0, "a copied image gets its space back");
        volume.release().unwrap();
    });
}

#[test]
fn what_does_not_fit_on_the_disk_is_refused_with_what_is_free() {
    privately(|directory| {
        let disk = directory.join("disk");
        fs::create_dir(&disk).unwrap();
        mount_tmpfs(&disk, 48 << 20);
        let refused =
            |size| Volume::prepare(&disk.join("a.img"), size, &directory.join("a"), OWNER).unwrap_err();
        let error = refused(64 << 20);
        assert!(matches!(error, Error::NoSpace { free, .. } if free == 48 << 20), "{error}");
        assert_eq!(fs::read_dir(&disk).unwrap().count(), 0, "nothing is left");
        assert!(error.to_string().contains("48 MiB are free"), "{error}");
        assert!(matches!(refused(1 << 20), Error::TooSmall { .. }));
    });
}

fn mount_tmpfs(at: &Path, size: u64) {
    let context = rustix::mount::fsopen("tmpfs", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    rustix::mount::fsconfig_set_string(&context, "size", size.to_string()).unwrap();
    rustix::mount::fsconfig_create(&context).unwrap();
    let tree = rustix::mount::fsmount(
        &context,
        rustix::mount::FsMountFlags::FSMOUNT_CLOEXEC,
        rustix::mount::MountAttrFlags::empty(),
    )
    .unwrap();
    let flags = rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&tree, "", rustix::fs::CWD, at, flags).unwrap();
}

#[test]
fn somebody_elses_mount_is_left_alone() {
    privately(|directory| {
        let place = directory.join("shop.data");
        fs::create_dir(&place).unwrap();
        mount_tmpfs(&place, 1 << 20);
        fs::write(place.join("theirs"), "").unwrap();
        let error = prepare(directory, SIZE).unwrap_err();
        assert!(matches!(error, Error::Occupied { .. }), "{error}");
        assert!(place.join("theirs").exists());
        assert!(!directory.join("shop.img").exists());
    });
}

#[test]
fn nothing_is_lost_wherever_the_host_is_killed() {
    const VARIABLE: &str = "VOLUME_TEST_DIES_AFTER";
    if let Ok(value) = std::env::var(VARIABLE) {
        // The child: in its parent's mount namespace, killed after one step.
        let (directory, step) = value.rsplit_once(' ').unwrap();
        let directory = PathBuf::from(directory);
        let request = Request {
            image: &directory.join("shop.img"),
            size: SIZE,
            mount_point: &directory.join("shop.data"),
            owner: OWNER,
            fill: Some((&directory.join("data"), Owners::Kept)),
        };
        let _ = Volume::prepare_with(&request, &mut |done| {
            if format!("{done:?}") == step {
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                    .unwrap();
            }
        });
        std::process::exit(3);
    }
    privately(|directory| {
        let steps =
            [Step::Reserved, Step::Formatted, Step::Attached, Step::Mounted, Step::Filled, Step::Named];
        for step in steps {
            let directory = directory.join(format!("{step:?}"));
            fs::create_dir_all(directory.join("data/inner")).unwrap();
            fs::write(directory.join("data/inner/file"), "contents").unwrap();
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "nothing_is_lost_wherever_the_host_is_killed"])
                .env(VARIABLE, format!("{} {step:?}", directory.display()))
                .stdout(Stdio::null())
                .status()
                .unwrap();
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{step:?}: {status}");
            let request = Request {
                image: &directory.join("shop.img"),
                size: SIZE,
                mount_point: &directory.join("shop.data"),
                owner: OWNER,
                fill: Some((&directory.join("data"), Owners::Kept)),
            };
            let volume = Volume::prepare_with(&request, &mut |_| {}).unwrap();
            assert_eq!(volume.report().created, step != Step::Named, "{step:?}: {:?}", volume.report());
            assert_eq!(fs::read(volume.mount_point().join("inner/file")).unwrap(), b"contents", "{step:?}");
            assert_eq!(loops(&directory).len(), 1, "{step:?}");
            assert!(!directory.join("shop.img.new").exists(), "{step:?}");
            let released = volume.release().unwrap();
            assert!(released.detached && !released.lazily, "{step:?}: {released:?}");
            assert_eq!(loops(&directory).len(), 0, "{step:?}");
        }
    });
}

#[test]
fn data_is_copied_whole_and_no_link_is_followed_out_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("source"), directory.path().join("target"));
    fs::create_dir_all(source.join("a/b")).unwrap();
    fs::create_dir(&target).unwrap();
    fs::write(directory.path().join("secret"), "secret").unwrap();
    fs::write(source.join("a/file"), "contents").unwrap();
    fs::set_permissions(source.join("a/file"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(source.join("a/file"), source.join("a/b/same")).unwrap();
    symlink(directory.path().join("secret"), source.join("a/out")).unwrap();
    symlink("/etc", source.join("directory-out")).unwrap();
    let sparse = File::create(source.join("sparse")).unwrap();
    sparse.write_all_at(b"end", 64 << 20).unwrap();
    sparse.set_len(128 << 20).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    let time = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_007);
    File::open(source.join("a/file")).unwrap().set_modified(time).unwrap();
    File::open(source.join("a/b")).unwrap().set_modified(time).unwrap();

    let copied = copy_tree(&source, &target, Owners::Kept).unwrap();
    assert_eq!((copied.files, copied.directories, copied.links, copied.skipped), (2, 2, 2, 1), "{copied:?}");
    assert!(copied.bytes < 1 << 20, "holes are not copied: {copied:?}");
    let file = fs::metadata(target.join("a/file")).unwrap();
    assert_eq!(fs::read(target.join("a/file")).unwrap(), b"contents");
    assert_eq!(file.mode() & 0o7777, 0o4751);
    assert_eq!(file.modified().unwrap(), time);
    assert_eq!(fs::metadata(target.join("a/b")).unwrap().modified().unwrap(), time);
    assert_eq!(file.ino(), fs::metadata(target.join("a/b/same")).unwrap().ino());
    assert_eq!(fs::read_link(target.join("a/out")).unwrap(), directory.path().join("secret"));
    assert!(fs::symlink_metadata(target.join("directory-out")).unwrap().is_symlink());
    let sparse = fs::metadata(target.join("sparse")).unwrap();
    assert!(sparse.len() == 128 << 20 && sparse.blocks() * 512 < 1 << 20, "{sparse:?}");

    let error = copy_tree(&source, &target, Owners::Kept).unwrap_err();
    assert!(matches!(error, Error::NotEmpty { .. }), "{error}");
}

#[test]
fn endless_directories_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("s"), directory.path().join("t"));
    fs::create_dir_all(&target).unwrap();
    fs::create_dir_all(source.join("d/".repeat(300))).unwrap();
    let error = copy_tree(&source, &target, Owners::Kept).unwrap_err();
    assert!(matches!(error, Error::TooDeep { .. }), "{error}");
}

#[test]
fn data_that_does_not_fit_is_refused_before_anything_is_kept() {
    privately(|directory| {
        let data = directory.join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("big"), vec![b'x'; SIZE as usize]).unwrap();
        let (image, mount_point) = (directory.join("shop.img"), directory.join("shop.data"));
        let request = Request {
            image: &image,
            size: SIZE,
            mount_point: &mount_point,
            owner: OWNER,
            fill: Some((&data, Owners::Kept)),
        };
        let error = Volume::prepare_with(&request, &mut |_| {}).unwrap_err();
        assert!(matches!(error, Error::DoesNotFit { needed, .. } if needed >= SIZE), "{error}");
        assert!(!image.exists() && !directory.join("shop.img.new").exists());
        loops_end(directory);
        let request = Request { size: 2 * SIZE, fill: Some((&data, Owners::All(7, 8))), ..request };
        let volume = Volume::prepare_with(&request, &mut |_| {}).unwrap();
        let copy = fs::metadata(mount_point.join("big")).unwrap();
        assert_eq!((copy.uid(), copy.gid(), copy.len()), (7, 8, SIZE));
        volume.release().unwrap();
    });
}

#[test]
fn eroded_space_is_seen_and_taken_back() {
    privately(|directory| {
        let volume = prepare(directory, SIZE).unwrap();
        let image = OpenOptions::new().write(true).open(directory.join("shop.img")).unwrap();
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        // The last blocks of an empty file system are unused.
        rustix::fs::fallocate(&image, flags, SIZE - (4 << 20), 4 << 20).unwrap();
        let unreserved = volume.usage().unwrap().unreserved;
        assert!((3 << 20..=4 << 20).contains(&unreserved), "{unreserved}");
        volume.reserve().unwrap();
        assert_eq!(volume.usage().unwrap().unreserved, 0);
        volume.release().unwrap();
    });
}
