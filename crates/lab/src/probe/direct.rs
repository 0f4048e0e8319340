//! A server of the standard library without a router in front: what connections are compared with.

use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

/// How it treats connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// So many processes, each with one connection at a time.
    Sync(u32),
    /// So many threads in one process.
    Threads(u32),
    Async,
}

/// It runs, and is killed when dropped.
#[derive(Debug)]
pub struct Direct {
    child: Child,
    address: SocketAddr,
}

impl Direct {
    /// Start it in the directory of the probe applications. `send_buffer` is that of each connection, in bytes, as asked of
    /// the kernel (which doubles it). It ends with the thread that starts it.
    ///
    /// # Errors
    /// `python3` cannot be started, or says no port.
    pub fn start(directory: &Path, model: Model, send_buffer: Option<u32>) -> io::Result<Direct> {
        use std::os::unix::process::CommandExt as _;
        let (name, size) = match model {
            Model::Sync(processes) => ("sync", processes),
            Model::Threads(threads) => ("threads", threads),
            Model::Async => ("async", 1),
        };
        let mut child = Command::new("python3")
            .args(["-B", "probe_direct.py", name, &size.to_string()])
            .args(send_buffer.map(|bytes| bytes.to_string()))
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // One signal reaches its processes too.
            .process_group(0)
            .spawn()?;
        let mut line = String::new();
        let read = child.stdout.take().map(|output| BufReader::new(output).read_line(&mut line));
        let mut direct = Direct { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        read.transpose()?;
        let port = line.trim().parse().map_err(|_| io::Error::other("the direct server did not start"))?;
        direct.address.set_port(port);
        Ok(direct)
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// To all its processes.
    pub fn signal(&self, signal: Signal) {
        // Not yet waited for, so the number is still its own.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}
