//! What a confined process may not do, each tried by a real one; and that what it may do works.

use std::path::Path;

use jail::{Access, Landlock, Plan};

use crate::support::{Process, Room, as_root, confined, plan, run_plan};

fn confined_plan(script: &str) -> Plan {
    Plan { confinement: Some(confined(&[])), ..plan(script) }
}

/// Prints the name of the error of each system call, or what it returned.
const CALLS: &str = "
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    return errno.errorcode[ctypes.get_errno()] if result == -1 else result
buffer = ctypes.create_string_buffer(256)
";

#[test]
fn forbidden_calls_fail_as_they_should() {
    if !as_root() {
        return;
    }
    let room = Room::usual();
    // Numbers of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl); on others the table's own tests have to do.
    if cfg!(not(target_arch = "x86_64")) {
        eprintln!("skipped: the numbers are those of x86-64");
        return;
    }
    let calls: [(&str, &str, &str); 27] = [
        ("mount", "165, b'none', b'/tmp', b'tmpfs', 0, 0", "EPERM"),
        ("umount2", "166, b'/tmp', 2", "EPERM"),
        ("pivot_root", "155, b'/', b'/tmp'", "EPERM"),
        ("chroot", "161, b'/tmp'", "EPERM"),
        ("open_tree", "428, -100, b'/', 1", "EPERM"),
        ("fsopen", "430, b'tmpfs', 0", "EPERM"),
        ("unshare of a user namespace", "272, 0x10000000", "EPERM"),
        ("setns", "308, 0, 0", "EPERM"),
        ("clone with a user namespace", "56, 0x10000000 | 17, 0, 0, 0, 0", "EPERM"),
        ("clone3", "435, buffer, 64", "ENOSYS"),
        ("io_uring_setup", "425, 1, buffer", "ENOSYS"),
        ("io_uring_enter", "426, 0, 0, 0, 0, 0", "ENOSYS"),
        ("x32 getpid", "0x40000000 + 39", "ENOSYS"),
        ("keyctl", "250, 0, -3, 0", "EPERM"),
        ("add_key", "248, b'user', b'a', b'b', 1, -3", "EPERM"),
        ("bpf", "321, 0, buffer, 48", "EPERM"),
        ("perf_event_open", "298, buffer, 0, -1, -1, 0", "EPERM"),
        ("userfaultfd", "323, 1", "EPERM"),
        ("ptrace traceme", "101, 0, 0, 0, 0", "EPERM"),
        ("process_vm_readv of itself", "310, os.getpid(), 0, 0, 0, 0, 0", "EPERM"),
        ("pidfd_getfd", "438, 0, 0, 0", "EPERM"),
        ("kexec_load", "246, 0, 0, 0, 0", "EPERM"),
        ("init_module", "175, 0, 0, b''", "EPERM"),
        ("reboot", "169, 0, 0, 0", "EPERM"),
        ("swapon", "167, b'/tmp/x', 0", "EPERM"),
        ("personality without randomisation", "135, 0x0040000", "EPERM"),
        ("a packet socket", "41, 17, 3, 0", "EAFNOSUPPORT"),
    ];
    let mut script = CALLS.to_owned();
    let mut expected = String::new();
    for (name, arguments, outcome) in calls {
        script.push_str(&format!("print({name:?}, call({arguments}))\n"));
        expected.push_str(&format!("{name} {outcome}\n"));
    }
    assert_eq!(run_plan(&room, &confined_plan(&script)), expected);
}

#[test]
fn no_identity_can_be_gained() {
    if !as_root() {
        return;
    }
    let room = Room::usual();
    let script = "
import os
def attempt(what):
    try: print(what())
    except OSError as e: print(e.strerror)
attempt(lambda: os.setuid(0)); attempt(lambda: os.setgid(0)); attempt(lambda: os.setgroups([0]))
attempt(lambda: os.setresuid(0, 0, 0)); attempt(lambda: os.chown('/tmp', 0, 0)); attempt(lambda: os.nice(-5))
print(os.getresuid(), os.getresgid(), os.getgroups())
status = dict(l.split(':\\t') for l in open('/proc/self/status').read().splitlines() if ':\\t' in l)
print({status[s].strip('0') for s in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')}, status['NoNewPrivs'], status['Seccomp'])
";
    let expected = "Operation not permitted\n".repeat(5)
        + "Operation not permitted\n(61200, 61200, 61200) (61200, 61200, 61200) [61201]\n{''} 1 2\n";
    let mut plan = confined_plan(script);
    plan.identity.as_mut().unwrap().groups = vec![61_201];
    let text = run_plan(&room, &plan);
    assert_eq!(text.replace("Permission denied", "Operation not permitted"), expected);
}

#[test]
fn landlock_holds_where_the_view_would_not() {
    if !as_root() {
        return;
    }
    let here = Landlock::here();
    if !here.scopes {
        println!(
            "skipped: landlock of this kernel is version {}, signals are restricted from 6 on",
            here.version
        );
        return;
    }
    let room = Room::usual();
    let access = Access { writable: vec!["/tmp".into(), "/no/such".into()], no_tcp: true, scoped: true };
    let mut plan = plan(
        "
import errno, os, signal, socket
def attempt(what):
    try: what(); print('done')
    except OSError as e: print(errno.errorcode[e.errno])
attempt(lambda: open('/tmp/a', 'w'))
attempt(lambda: (os.mkdir('/tmp/d'), os.rename('/tmp/a', '/tmp/d/a')))
attempt(lambda: open('/var/tmp/a', 'w'))
attempt(lambda: open('/etc/passwd'))
attempt(lambda: socket.socket().bind(('127.0.0.1', 0)))
attempt(lambda: socket.socket().connect(('127.0.0.1', 9)))
attempt(lambda: socket.socket(socket.AF_UNIX).connect('\\0outside'))
attempt(lambda: os.kill(int(os.environ['OTHER']), signal.SIGTERM))
attempt(lambda: os.kill(os.getpid(), 0))
",
    );
    // Somebody else of the same user in the same room, with an abstract socket.
    let mut other = Process::start(
        &room,
        &crate::support::plan(
            "import os, socket, time
s = socket.socket(socket.AF_UNIX); s.bind('\\0outside'); s.listen()
print(os.getpid(), flush=True); time.sleep(600)",
        ),
    )
    .unwrap();
    plan.environment.push(("OTHER".to_owned(), other.line()));
    let free = "done\ndone\ndone\ndone\ndone\nECONNREFUSED\ndone\ndone\ndone\n";
    plan.confinement.as_mut().unwrap().access = Some(access);
    assert_eq!(
        run_plan(&room, &plan),
        "done\ndone\nEACCES\ndone\nEACCES\nEACCES\nEPERM\nEPERM\ndone\n",
        "with landlock"
    );
    assert!(other.adopted.try_wait().unwrap().is_none(), "the other one lives");
    // The same without: so it was landlock.
    plan.confinement.as_mut().unwrap().access = None;
    plan.arguments[1] = plan.arguments[1].replace("/tmp/a", "/tmp/b").replace("/tmp/d", "/tmp/e");
    assert_eq!(run_plan(&room, &plan), free, "without");
    assert_eq!(other.end().signal, Some(15));
}

/// What applications do, with every Python there is.
const WORK: &str = r"
import asyncio, multiprocessing, os, select, sqlite3, socket, subprocess, sys, tempfile, threading, time, mmap
import concurrent.futures, ctypes, hashlib, ssl, uuid, secrets, signal, pty, fcntl, shutil
def square(x): return x * x
def threads():
    with concurrent.futures.ThreadPoolExecutor(8) as pool: return sum(pool.map(square, range(100)))
def processes(method):
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool: return sum(pool.map(square, range(10)))
def shell(): return subprocess.run('echo hello | tr a-z A-Z', shell=True, capture_output=True, text=True, check=True).stdout.strip()
def database():
    with tempfile.TemporaryDirectory() as d:
        c = sqlite3.connect(d + '/db'); c.execute('pragma journal_mode=wal'); c.execute('create table t(x)')
        c.executemany('insert into t values (?)', [(n,) for n in range(100)]); c.commit()
        return c.execute('select sum(x) from t').fetchone()[0]
async def loop():
    server = await asyncio.start_server(lambda r, w: (w.write(b'hello'), w.close()), '127.0.0.1', 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    data = await reader.read(); writer.close()
    child = await asyncio.create_subprocess_exec('/bin/echo', 'child', stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate()
    return data + out + str(await asyncio.get_running_loop().run_in_executor(None, square, 3)).encode()
def terminal():
    if not os.path.exists('/dev/ptmx'): return b'x'
    m, s = pty.openpty(); os.write(s, b'x'); return os.read(m, 1)
def files():
    with tempfile.TemporaryDirectory() as d:
        with open(d + '/a', 'w+') as f:
            f.write('x' * 8192); f.flush(); os.fsync(f.fileno()); fcntl.flock(f, fcntl.LOCK_EX); m = mmap.mmap(f.fileno(), 8192); m[0:1] = b'y'; m.flush()
        os.mkdir(d + '/b'); os.replace(d + '/a', d + '/b/a'); shutil.copy2(d + '/b/a', d + '/c'); os.symlink('c', d + '/l'); os.mkfifo(d + '/f'); os.chmod(d + '/c', 0o600)
        return sorted(os.listdir(d))
def random(): return len(uuid.uuid4().bytes + secrets.token_bytes(4) + open('/dev/urandom', 'rb').read(4))
def timer():
    signal.signal(signal.SIGALRM, lambda *a: None); signal.setitimer(signal.ITIMER_REAL, 0.001); signal.pause(); return True
def names(): return socket.getaddrinfo('localhost', 80)[0][4][0] in ('127.0.0.1', '::1')
def host(): return (socket.gethostname(), os.cpu_count() > 0, os.sched_getaffinity(0) != set(), len(open('/proc/cpuinfo').read()) > 0)
if __name__ == '__main__':
    for what in (threads, shell, database, terminal, files, random, timer, names, host): print(what.__name__, what())
    for method in ('fork', 'spawn', 'forkserver'): print(method, processes(method))
    print(asyncio.run(loop()))
    try:
        import uvloop
        uvloop.install(); print('uvloop', asyncio.run(loop()))
    except ImportError: pass
    try:
        import numpy
        print('numpy', (numpy.ones((300, 300)) @ numpy.ones((300, 300))).sum() == 300.0 ** 3)
    except ImportError: pass
    sys.stdout.flush()
";

#[test]
fn what_applications_do_works() {
    if !as_root() {
        return;
    }
    let volume = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(volume.path(), Some(crate::support::USER), None).unwrap();
    // A file, because multiprocessing wants to import it again.
    std::fs::write(volume.path().join("work.py"), WORK).unwrap();
    let mut tried = 0;
    for prefix in crate::support::prefixes() {
        let mut room = crate::support::room_plan();
        room.view.visible.push(prefix.clone());
        room.view.writable.push(volume.path().to_owned());
        let room = Room::start(&room).unwrap();
        let mut plan = plan("");
        plan.program = prefix.join("bin/python3");
        plan.arguments = vec!["work.py".to_owned()];
        plan.directory = volume.path().to_owned();
        plan.confinement = Some(confined(&[Path::new(volume.path())]));
        let text = run_plan(&room, &plan);
        let expected = "threads 328350\nshell HELLO\ndatabase 4950\nterminal b'x'\nfiles ['b', 'c', 'f', 'l']\n\
                        random 24\ntimer True\nnames True\nhost ('app', True, True, True)\nfork 285\nspawn 285\n\
                        forkserver 285\nb'hellochild\\n9'\n";
        assert!(text.starts_with(expected), "{}: {text}", prefix.display());
        for further in text[expected.len()..].lines() {
            assert!(["uvloop b'hellochild\\n9'", "numpy True"].contains(&further), "{further}");
        }
        println!("{}: {}", prefix.display(), text.lines().skip(13).collect::<Vec<_>>().join(", "));
        tried += 1;
    }
    assert!(tried > 0);
}
