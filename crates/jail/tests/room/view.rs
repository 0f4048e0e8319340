//! What a process in a room sees, and what it does not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use jail::{RoomPlan, Step, View};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;

use crate::support::{Process, Room, as_root, plan, room_plan, run};

#[test]
fn nobody_else_is_there() {
    if !as_root() {
        return;
    }
    let room = Room::usual();
    let script = "import os; print(os.getpid() > 1, os.getppid(), sorted(p for p in os.listdir('/proc') if p.isdigit()) == [str(os.getpid())])";
    assert_eq!(run(&room, script), "True 0 True\n");
    // Neither by number: the test itself, and the first process of the machine and of the room.
    let script = format!(
        "import os\nfor pid in (1, {}):\n try: os.kill(pid, 9); print('killed')\n except OSError as e: print(e.strerror)",
        std::process::id()
    );
    assert_eq!(run(&room, &script), "Operation not permitted\nNo such process\n");
}

/// The host listens where every process of the machine could connect, and has shared memory that every process could attach.
#[test]
fn network_and_shared_memory_are_its_own() {
    if !as_root() {
        return;
    }
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!("serpentry-test-{}", std::process::id());
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name);
    let _abstract = std::os::unix::net::UnixListener::bind_addr(&address.unwrap()).unwrap();
    let key = i32::try_from(std::process::id()).unwrap();
    // SAFETY: makes a segment, which is not attached, with a key of this test's process.
    let segment = unsafe { libc::shmget(key, 4096, libc::IPC_CREAT | 0o666) };
    assert!(segment >= 0);
    let script = format!(
        "import ctypes, errno, os, socket
def attempt(family, address):
    s = socket.socket(family); s.settimeout(5)
    try: s.connect(address); print('connected')
    except OSError as e: print(errno.errorcode[e.errno])
attempt(socket.AF_INET, ('127.0.0.1', {port}))
attempt(socket.AF_INET, ('192.0.2.1', 80))
attempt(socket.AF_UNIX, '\\0{name}')
print(sorted(name for _, name in socket.if_nameindex()))
libc = ctypes.CDLL(None, use_errno=True)
print(errno.errorcode[ctypes.get_errno()] if libc.shmget({key}, 4096, 0) < 0 else 'attached')
server = socket.create_server(('127.0.0.1', 0)); attempt(socket.AF_INET, server.getsockname())",
        port = tcp.local_addr().unwrap().port(),
    );
    let room = Room::usual();
    let inside = run(&room, &script);
    // SAFETY: removes the segment again.
    unsafe { libc::shmctl(segment, libc::IPC_RMID, std::ptr::null_mut()) };
    assert_eq!(inside, "ECONNREFUSED\nENETUNREACH\nECONNREFUSED\n['lo']\nENOENT\nconnected\n");
}

#[test]
fn files_of_the_machine_are_read_only_or_not_there() {
    if !as_root() {
        return;
    }
    let ours = tempfile::tempdir().unwrap();
    fs::set_permissions(ours.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let place = |name: &str| {
        let path = ours.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(path.join("file"), name).unwrap();
        path
    };
    // Writable for everybody, so that nothing but the mount decides.
    let open = |path: &std::path::Path| fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    let (app, volume, secret) = (place("app"), place("volume"), place("app/secret"));
    open(&volume.join("file"));
    open(&app.join("file"));
    let view = View {
        hidden: vec!["/root".into(), secret.clone(), "/no/such/path".into()],
        visible: vec![crate::support::prefix(), app.clone()],
        writable: vec![volume.clone()],
        ..room_plan().view
    };
    let room = Room::start(&RoomPlan { view, ..room_plan() }).unwrap();
    let mine = ours.path().file_name().unwrap().to_str().unwrap();
    let script = format!(
        "import os
def attempt(path, mode='w'):
    try:
        with open(path, mode) as f: print(f.read() if mode == 'r' else f.write('x'))
    except OSError as e: print(e.strerror)
attempt('{app}/file', 'r')
attempt('{app}/file')
attempt('{secret}/file', 'r')
print(os.listdir('{secret}'))
attempt('{volume}/file', 'r')
attempt('{volume}/file')
attempt('/etc/hostname')
attempt('/tmp/{mine}-x'); attempt('/var/tmp/x'); attempt('/dev/shm/x'); attempt('/dev/x'); attempt('/run/x')
attempt('/dev/null'); attempt('/proc/sys/kernel/hostname'); attempt('/proc/self/oom_score_adj')
print(sorted(os.listdir('/tmp')))
print(os.listdir('/sys/fs/cgroup') if os.path.exists('/sys/fs/cgroup') else [])
attempt('/etc/resolv.conf', 'r')
print(os.uname().nodename, os.listdir('/root') if '{prefix}'.startswith('/usr') else sorted(os.listdir('/root')))
",
        app = app.display(),
        secret = secret.display(),
        volume = volume.display(),
        prefix = crate::support::prefix().display(),
    );
    let root = if crate::support::prefix().starts_with("/root") { "['.pyenv']" } else { "[]" };
    let expected = format!(
        "app\nRead-only file system\nNo such file or directory\n[]\nvolume\n1\nRead-only file system\n1\n1\n1\n\
         Read-only file system\nPermission denied\n1\nRead-only file system\nRead-only file system\n\
         ['{mine}', '{mine}-x']\n[]\nnameserver 192.0.2.1\n\napp {root}\n"
    );
    assert_eq!(run(&room, &script), expected);
    assert_eq!(fs::read_to_string(volume.join("file")).unwrap(), "x", "written to the real one");
    let outside = std::path::Path::new("/tmp").join(format!("{mine}-x"));
    assert!(!outside.exists(), "not the machine's own");
}

#[test]
fn a_step_that_fails_is_named() {
    if !as_root() {
        return;
    }
    let missing = View { writable: vec!["/no/such/volume".into()], ..room_plan().view };
    let failure = Room::start(&RoomPlan { view: missing, ..room_plan() }).err().unwrap();
    assert_eq!((failure.step, failure.errno), (Step::View, Some(2)));
    assert_eq!(
        failure.to_string(),
        "cannot make the application's view of the file system: /no/such/volume: No such file or directory (os error 2)"
    );
    let room = Room::usual();
    let mut away = plan("");
    away.program = "/no/such/python".into();
    let failure = Process::start(&room, &away).err().unwrap();
    assert_eq!((failure.step, failure.errno), (Step::Exec, Some(2)));
    away.cgroups = vec!["/no/such/cgroup.procs".into()];
    let failure = Process::start(&room, &away).err().unwrap();
    assert_eq!((failure.step, failure.errno), (Step::Cgroups, Some(2)));
}

/// Mounts of the host and of a room do not meet, even where the host shares its own with everybody, as systemd does.
#[test]
fn a_room_neither_gives_nor_takes_mounts() {
    if !as_root() {
        return;
    }
    let list = |of: &str| fs::read_to_string(format!("/proc/{of}/mountinfo")).unwrap();
    // The test's mounts are its thread's own, and end with it.
    // SAFETY: the only thing that this thread stops sharing is what it changes below.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.unwrap();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC).unwrap();
    let ours = tempfile::tempdir().unwrap();
    let closed = ours.path().join("closed");
    let other = closed.join("volume of another");
    fs::create_dir_all(&other).unwrap();
    mount(c"none", &other, c"tmpfs", MountFlags::empty(), c"size=64k").unwrap();
    let before = list("thread-self");
    assert!(before.contains("volume\\040of\\040another"), "{before}");
    let visible = View { visible: vec![ours.path().to_owned()], ..room_plan().view };
    let shown = Room::start(&RoomPlan { view: visible, ..room_plan() }).unwrap();
    let hiding = View { visible: vec![ours.path().to_owned()], hidden: vec![closed], ..room_plan().view };
    let room = Room::start(&RoomPlan { view: hiding, ..room_plan() }).unwrap();
    assert_eq!(list("thread-self"), before, "nothing came back");
    let holder = |room: &Room| list(&room.holder.pid().to_string());
    assert!(holder(&shown).contains("volume"), "what is visible is with everything below it");
    assert!(!holder(&room).contains("volume"), "it could not be unmounted otherwise: {}", holder(&room));
    assert!(holder(&room).lines().all(|line| !line.contains("shared:") && !line.contains("master:")));
    let seen = holder(&shown);
    mount(c"none", ours.path(), c"tmpfs", MountFlags::empty(), c"size=64k").unwrap();
    assert_eq!(holder(&shown), seen, "what is mounted later does not appear");
    assert_sealed(&holder(&room));
}

/// Nothing in a room can be written to, run as somebody else or used as a device, but the private places.
fn assert_sealed(mounts: &str) {
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let (place, options) = (fields[4], fields[5]);
        assert!(options.contains("nosuid"), "{line}");
        let devices = ["/dev", "/dev/pts"].contains(&place) || fields[3] == "/null";
        assert!(options.contains("nodev") || devices, "{line}");
        let private = ["/tmp", "/var/tmp", "/run", "/dev/shm", "/dev/pts"].contains(&place);
        assert_eq!(options.split(',').any(|option| option == "rw"), private, "{line}");
    }
}

/// On a kernel without `mount_setattr`, `close_range` and landlock, and from an initial RAM disk, whose root cannot be left:
/// a filter says so.
#[test]
fn an_older_kernel_gives_the_same_view() {
    if !as_root() {
        return;
    }
    let failing = [
        (libc::SYS_mount_setattr, libc::ENOSYS),
        (libc::SYS_close_range, libc::ENOSYS),
        (libc::SYS_landlock_create_ruleset, libc::ENOSYS),
        (libc::SYS_pivot_root, libc::EINVAL),
    ];
    let statement =
        |code: u32, k: u32| libc::sock_filter { code: u16::try_from(code).unwrap(), jt: 0, jf: 0, k };
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    for (call, error) in failing {
        let code = u16::try_from(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K).unwrap();
        program.push(libc::sock_filter { code, jt: 0, jf: 1, k: u32::try_from(call).unwrap() });
        program.push(statement(libc::BPF_RET, libc::SECCOMP_RET_ERRNO | error.unsigned_abs()));
    }
    program.push(statement(libc::BPF_RET, libc::SECCOMP_RET_ALLOW));
    let whole = libc::sock_fprog { len: u16::try_from(program.len()).unwrap(), filter: program.as_mut_ptr() };
    // SAFETY: the program outlives the call. Of this process, only this thread and what it starts is concerned.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const whole) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    assert_eq!(jail::Landlock::here(), jail::Landlock::default());
    let volume = tempfile::tempdir().unwrap();
    fs::set_permissions(volume.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut made = room_plan();
    made.view.hidden.push(volume.path().parent().unwrap().to_owned());
    let room = Room::start(&made).unwrap();
    assert_sealed(&fs::read_to_string(format!("/proc/{}/mountinfo", room.holder.pid())).unwrap());
    made.view.writable.push(volume.path().to_owned());
    let room = Room::start(&made).unwrap();
    let mut plan = plan("import sys; open(sys.argv[1] + '/x', 'w'); print('written')");
    plan.arguments.push(volume.path().display().to_string());
    plan.confinement = Some(crate::support::confined(&[]));
    assert_eq!(crate::support::run_plan(&room, &plan), "written\n");
    assert!(volume.path().join("x").exists());
}
