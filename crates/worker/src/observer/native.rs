//! A thread of this process as the kernel sees it: no interpreter is asked.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

/// One thread. What is read often is kept open: reading it again costs a few microseconds.
#[derive(Debug)]
pub(crate) struct NativeThread {
    id: i32,
    syscall: Option<File>,
}

/// What the scheduler gave it so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) ran: Duration,
    /// It was ready to run and did not. A wait counts only when it is over.
    pub(crate) waited: Duration,
}

const DURABLE: [i64; 6] = [
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_sync,
    libc::SYS_msync,
];

const WRITES: [i64; 5] =
    [libc::SYS_write, libc::SYS_pwrite64, libc::SYS_writev, libc::SYS_pwritev, libc::SYS_pwritev2];

/// What it is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Doing {
    /// As in proc(5): R runs or would like to, S sleeps, D waits for a disk.
    pub(crate) state: char,
    /// The system call it is in, if it sleeps in one.
    pub(crate) call: Option<i64>,
}

impl NativeThread {
    /// By the kernel's number of the thread. What cannot be read is not known; a jail may hide it.
    pub(crate) fn open(id: i32) -> Self {
        let mut thread = NativeThread { id, syscall: None };
        thread.syscall = thread.file("syscall");
        thread
    }

    fn file(&self, name: &str) -> Option<File> {
        File::open(format!("/proc/self/task/{}/{name}", self.id)).ok()
    }

    pub(crate) fn doing(&self) -> Doing {
        Doing { state: self.state(), call: self.call() }
    }

    fn state(&self) -> char {
        let mut buffer = [0; 512];
        let stat = read(self.file("stat").as_ref(), &mut buffer);
        // The name in parentheses may hold anything.
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?')
    }

    fn call(&self) -> Option<i64> {
        let mut buffer = [0; 512];
        let call = read(self.syscall.as_ref(), &mut buffer).split_whitespace().next()?;
        // "running", or -1 outside of any.
        call.parse().ok().filter(|number| *number >= 0)
    }

    /// It sleeps in a call that makes data durable, or in a write that the kernel holds back. One read if it does not.
    pub(crate) fn waits_for_disk(&self) -> bool {
        match self.call() {
            Some(call) if DURABLE.contains(&call) => true,
            Some(call) if WRITES.contains(&call) => self.state() == 'D',
            _ => false,
        }
    }

    /// It runs, or would if it had a processor.
    pub(crate) fn is_ready(&self) -> bool {
        self.state() == 'R'
    }

    /// Documentation/scheduler/sched-stats.rst
    pub(crate) fn schedule(&self) -> Option<Schedule> {
        let mut buffer = [0; 128];
        let mut fields = read(self.file("schedstat").as_ref(), &mut buffer).split_whitespace();
        let mut next = || fields.next()?.parse().ok().map(Duration::from_nanos);
        Some(Schedule { ran: next()?, waited: next()? })
    }
}

fn read<'a>(file: Option<&File>, buffer: &'a mut [u8]) -> &'a str {
    let count = file.and_then(|file| file.read_at(buffer, 0).ok()).unwrap_or(0);
    std::str::from_utf8(&buffer[..count]).unwrap_or_default()
}

/// The kernel's number of the calling thread.
pub(crate) fn this_thread() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

impl Doing {
    /// For people.
    pub(crate) fn text(self) -> String {
        let call = self.call.map(|number| match name(number) {
            Some(name) => name.to_owned(),
            None => format!("system call {number}"),
        });
        match (self.state, call) {
            ('R', _) => "computing".to_owned(),
            ('D', Some(call)) => format!("waiting for a disk in {call}"),
            ('D', None) => "waiting for a disk".to_owned(),
            (_, Some(call)) => format!("asleep in {call}"),
            ('S', None) => "asleep".to_owned(),
            _ => String::new(),
        }
    }
}

/// The names of system calls in which a thread is likely to be found.
fn name(number: i64) -> Option<&'static str> {
    Some(match number {
        libc::SYS_read => "read",
        libc::SYS_write => "write",
        libc::SYS_pread64 => "pread64",
        libc::SYS_pwrite64 => "pwrite64",
        libc::SYS_readv => "readv",
        libc::SYS_writev => "writev",
        libc::SYS_recvfrom => "recvfrom",
        libc::SYS_recvmsg => "recvmsg",
        libc::SYS_sendto => "sendto",
        libc::SYS_sendmsg => "sendmsg",
        libc::SYS_connect => "connect",
        libc::SYS_accept4 => "accept4",
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => "poll",
        libc::SYS_ppoll => "ppoll",
        #[cfg(target_arch = "x86_64")]
        libc::SYS_select => "select",
        libc::SYS_pselect6 => "pselect6",
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait => "epoll_wait",
        libc::SYS_epoll_pwait => "epoll_pwait",
        libc::SYS_futex => "futex",
        libc::SYS_nanosleep => "nanosleep",
        libc::SYS_clock_nanosleep => "clock_nanosleep",
        libc::SYS_wait4 => "wait4",
        libc::SYS_waitid => "waitid",
        libc::SYS_fsync => "fsync",
        libc::SYS_fdatasync => "fdatasync",
        libc::SYS_sync_file_range => "sync_file_range",
        libc::SYS_syncfs => "syncfs",
        libc::SYS_msync => "msync",
        libc::SYS_openat => "openat",
        libc::SYS_flock => "flock",
        libc::SYS_fcntl => "fcntl",
        libc::SYS_sendfile => "sendfile",
        libc::SYS_ftruncate => "ftruncate",
        libc::SYS_fallocate => "fallocate",
        libc::SYS_renameat2 => "rename",
        libc::SYS_unlinkat => "unlink",
        _ => return None,
    })
}
