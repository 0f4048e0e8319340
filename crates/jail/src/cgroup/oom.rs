//! The moment at which a group runs out of memory.
//!
//! | version 1 | version 2 |
//! |---|---|
//! | an eventfd, registered for `memory.oom_control` in `cgroup.event_control` | an inotify watch on `memory.events` |
//!
//! The descriptor becomes readable; what happened is in [`super::MemoryUsage::oom_kills`]. Version 1 tells when it *begins* to look
//! for a victim, version 2 also when only the limit was met: so the counter decides, looked at again when a process has
//! ended. It also becomes readable when the group is removed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;

use super::file;
use super::group::Place;
use super::hierarchy::Version;

/// Enough for all that is read at once; what is left makes it readable again.
const EVENTS: usize = 4096;

/// Readable when the group's memory ran out. Does not block.
#[derive(Debug)]
pub struct OomWatch(OwnedFd);

impl OomWatch {
    pub(super) fn new(Place { version, dir }: &Place) -> io::Result<Self> {
        match version {
            Version::V1 => {
                let notice = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
                let control = File::open(dir.join("memory.oom_control"))?;
                let registration = format!("{} {}", notice.as_raw_fd(), control.as_raw_fd());
                file::write(&dir.join("cgroup.event_control"), &registration)?;
                Ok(OomWatch(notice))
            }
            Version::V2 => {
                let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
                inotify::add_watch(&watch, dir.join("memory.events"), inotify::WatchFlags::MODIFY)?;
                Ok(OomWatch(watch))
            }
        }
    }

    /// Make it unreadable until the next time. Says whether it was readable.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn drain(&self) -> io::Result<bool> {
        let mut events = [0_u8; EVENTS];
        match rustix::io::read(&self.0, &mut events) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for OomWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<OomWatch> for OwnedFd {
    fn from(watch: OomWatch) -> Self {
        watch.0
    }
}
