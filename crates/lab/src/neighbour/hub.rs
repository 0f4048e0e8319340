//! The laboratory's side: who has connected, and orders to them.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Done, LONGEST, Order, Work};

/// Until a neighbour that was started has connected.
const ARRIVAL: Duration = Duration::from_secs(20);
/// An order is answered at once; on a machine that is as busy as neighbours make it, that can take a while.
const ANSWER: Duration = Duration::from_secs(5);
/// Neighbours, at most.
const MOST: usize = 64;
/// Longest line.
const LINE: u64 = 1_024;

#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("neighbours cannot connect: {0}")]
    Socket(#[from] io::Error),
    #[error("the neighbour {0} has not started; its log in the host's state directory says why")]
    Absent(String),
    #[error("the neighbour {name} does not answer: {why}")]
    Silent { name: String, why: String },
}

/// Where neighbours connect.
#[derive(Debug)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    connected: Mutex<BTreeMap<String, BufReader<UnixStream>>>,
    changed: Condvar,
}

impl Shared {
    fn connected(&self) -> MutexGuard<'_, BTreeMap<String, BufReader<UnixStream>>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// Listen. The thread that accepts ends with the process.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn listen(socket: &Path) -> Result<Hub, HubError> {
        let listener = UnixListener::bind(socket)?;
        let shared = Arc::new(Shared::default());
        let hub = Hub { shared: Arc::clone(&shared) };
        thread::Builder::new().name("hub".into()).spawn(move || {
            for stream in listener.incoming() {
                let Some((name, stream)) = stream.ok().and_then(welcome) else { continue };
                let mut connected = shared.connected();
                // A worker that was replaced has a new child: the latest counts.
                if connected.len() < MOST || connected.contains_key(&name) {
                    connected.insert(name, stream);
                    shared.changed.notify_all();
                }
            }
        })?;
        Ok(hub)
    }

    /// Forget who is connected: their workers are about to be replaced.
    pub fn forget(&self, name: &str) {
        self.shared.connected().remove(name);
    }

    /// Wait until a neighbour has connected.
    ///
    /// # Errors
    /// It does not.
    pub fn await_arrival(&self, name: &str) -> Result<(), HubError> {
        let connected = self.shared.connected();
        let absent = |connected: &mut BTreeMap<String, _>| !connected.contains_key(name);
        let (connected, _) = self
            .shared
            .changed
            .wait_timeout_while(connected, ARRIVAL, absent)
            .unwrap_or_else(PoisonError::into_inner);
        if connected.contains_key(name) { Ok(()) } else { Err(HubError::Absent(name.to_owned())) }
    }

    /// Let a neighbour work for a share of the time, until it is told to stop or the limit is over.
    ///
    /// # Errors
    /// It is not there.
    pub fn start(&self, name: &str, work: Work, duty: f64, limit: Duration) -> Result<(), HubError> {
        let milliseconds = u64::try_from(limit.min(LONGEST).as_millis()).unwrap_or(u64::MAX);
        self.await_arrival(name)?;
        self.order(name, Order::Work { work, duty: duty.clamp(0.0, 1.0), milliseconds }).map(drop)
    }

    /// Let it stop. What it did since it began.
    ///
    /// # Errors
    /// It is not there.
    pub fn stop(&self, name: &str) -> Result<Done, HubError> {
        self.order(name, Order::Stop)
    }

    fn order(&self, name: &str, order: Order) -> Result<Done, HubError> {
        let mut connected = self.shared.connected();
        let stream = connected.get_mut(name).ok_or_else(|| HubError::Absent(name.to_owned()))?;
        let result = exchange(stream, order);
        if result.is_err() {
            connected.remove(name);
        }
        result.map_err(|error| HubError::Silent { name: name.to_owned(), why: error.to_string() })
    }
}

/// Its first line is its name.
fn welcome(stream: UnixStream) -> Option<(String, BufReader<UnixStream>)> {
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    stream.set_write_timeout(Some(ANSWER)).ok()?;
    let mut stream = BufReader::new(stream);
    let name = line(&mut stream).ok()?;
    Some((name, stream))
}

fn line(stream: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut text = String::new();
    let start = Instant::now();
    stream.by_ref().take(LINE).read_line(&mut text)?;
    match text.strip_suffix('\n') {
        Some(text) => Ok(text.to_owned()),
        None if start.elapsed() >= ANSWER => Err(io::ErrorKind::TimedOut.into()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn exchange(stream: &mut BufReader<UnixStream>, order: Order) -> io::Result<Done> {
    let text = serde_json::to_string(&order)? + "\n";
    stream.get_mut().write_all(text.as_bytes())?;
    Ok(serde_json::from_str(&line(stream)?)?)
}
