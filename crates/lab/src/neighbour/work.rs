//! The child's side: do what the laboratory says.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::{Done, LONGEST, Order, Work};

/// Work and rest are counted in slices of this.
const SLICE: Duration = Duration::from_millis(10);
/// Loops of one unit of spinning: some tenths of a millisecond.
const LOOP: u64 = 100_000;
/// Distance of two touches: one cache line.
const LINE: usize = 64;
const MIB: usize = 1 << 20;
/// Of the file that is read past the page cache.
const CHURN_MIB: usize = 256;
/// A file that only grows is emptied at this size.
const LONG: u64 = 64 << 20;
/// Threads of one neighbour, at most.
const MOST_THREADS: u8 = 64;
/// Longest line of an order.
const MAX_ORDER: u64 = 1_024;

/// Connect, say the name, obey until the laboratory closes.
///
/// # Errors
/// The laboratory is not there, or what was ordered cannot be done.
pub fn serve(socket: &Path, name: &str) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut stream = UnixStream::connect(socket)?;
    writeln!(stream, "{name}")?;
    let mut orders = BufReader::new(stream.try_clone()?);
    let mut team: Option<Team> = None;
    loop {
        let mut text = String::new();
        if orders.by_ref().take(MAX_ORDER).read_line(&mut text)? == 0 {
            return Ok(());
        }
        let done = team.take().map(Team::dismiss).unwrap_or_default();
        if let Order::Work { work, duty, milliseconds } = serde_json::from_str(&text)? {
            team = Some(Team::engage(work, duty, Duration::from_millis(milliseconds).min(LONGEST))?);
        }
        writeln!(stream, "{}", serde_json::to_string(&done)?)?;
    }
}

/// Threads that work.
struct Team {
    start: Instant,
    shift: Arc<Shift>,
    threads: Vec<JoinHandle<()>>,
}

/// What they share.
struct Shift {
    over: AtomicBool,
    until: Instant,
    duty: f64,
    units: AtomicU64,
    written: AtomicU64,
    /// Bytes that may be written.
    allowance: u64,
    directory: PathBuf,
}

impl Shift {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || Instant::now() >= self.until
    }

    /// Do a piece again and again for its share of the time.
    fn work(&self, mut piece: impl FnMut() -> io::Result<u64>) {
        while !self.is_over() {
            let (start, busy) = (Instant::now(), SLICE.mul_f64(self.duty));
            while start.elapsed() < busy && !self.is_over() {
                match piece() {
                    Ok(units) => self.units.fetch_add(units, Ordering::Relaxed),
                    // The disk is full or the limit of memory is reached: nothing more to do here.
                    Err(_) => return,
                };
            }
            if self.duty < 1.0 {
                sleep(SLICE.saturating_sub(start.elapsed()));
            }
        }
    }

    /// Whether so much more may be written.
    fn may_write(&self, bytes: u64) -> io::Result<()> {
        if self.written.fetch_add(bytes, Ordering::Relaxed) + bytes > self.allowance {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(())
    }
}

impl Team {
    fn engage(work: Work, duty: f64, limit: Duration) -> io::Result<Team> {
        let start = Instant::now();
        let allowance = match work {
            Work::Storm { mib } => u64::from(mib) << 20,
            Work::Spin { .. } | Work::Sweep { .. } => 0,
        };
        let shift = Arc::new(Shift {
            over: AtomicBool::new(false),
            until: start + limit,
            duty,
            units: AtomicU64::new(0),
            written: AtomicU64::new(0),
            allowance,
            // Its data directory if the host gave it one.
            directory: std::env::var_os("SERPENTRY_DATA").map_or_else(|| ".".into(), PathBuf::from),
        });
        let mut team = Team { start, shift, threads: Vec::new() };
        match work {
            Work::Spin { threads } => {
                for _ in 0..threads.min(MOST_THREADS) {
                    team.add(|shift| shift.work(|| Ok(spin())))?;
                }
            }
            Work::Sweep { mib } => {
                team.add(move |shift| sweep(shift, usize::from(mib)))?;
                let file = churn_file(&team.shift.directory)?;
                team.add(move |shift| churn(shift, file))?;
            }
            Work::Storm { .. } => {
                for number in 0..2 {
                    team.add(move |shift| append(shift, &format!("storm-{number}")))?;
                }
                team.add(|shift| pour(shift, "storm-buffered"))?;
            }
        }
        Ok(team)
    }

    fn add(&mut self, body: impl FnOnce(&Shift) + Send + 'static) -> io::Result<()> {
        let shift = Arc::clone(&self.shift);
        self.threads.push(thread::Builder::new().spawn(move || body(&shift))?);
        Ok(())
    }

    fn dismiss(self) -> Done {
        self.shift.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
        Done {
            units: self.shift.units.load(Ordering::Relaxed),
            milliseconds: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            written_bytes: self.shift.written.load(Ordering::Relaxed),
        }
    }
}

fn spin() -> u64 {
    let mut state = black_box(1_u64);
    for _ in 0..LOOP {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    black_box(state);
    1
}

fn sweep(shift: &Shift, mib: usize) {
    let mut memory = vec![0_u8; mib * MIB];
    let mut at = 0;
    shift.work(|| {
        for byte in memory[at..at + MIB].iter_mut().step_by(LINE) {
            *byte = byte.wrapping_add(1);
        }
        at = (at + MIB) % (mib * MIB);
        Ok(1)
    });
    black_box(&memory);
}

/// A file without content is read as any other, and takes no space.
fn churn_file(directory: &Path) -> io::Result<File> {
    let path = directory.join("churn");
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
    file.set_len((CHURN_MIB * MIB) as u64)?;
    Ok(file)
}

fn churn(shift: &Shift, mut file: File) {
    let mut buffer = vec![0; MIB];
    shift.work(|| {
        if file.read(&mut buffer)? == 0 {
            file.rewind()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
        Ok(1)
    });
}

fn create(shift: &Shift, name: &str) -> io::Result<File> {
    File::create(shift.directory.join(name))
}

fn append(shift: &Shift, name: &str) {
    let Ok(mut file) = create(shift, name) else { return };
    let page = [b'x'; 4096];
    shift.work(|| {
        shift.may_write(page.len() as u64)?;
        file.write_all(&page)?;
        file.sync_all()?;
        start_over(&mut file)?;
        Ok(1)
    });
    let _ = file.set_len(0);
}

fn pour(shift: &Shift, name: &str) {
    let Ok(mut file) = create(shift, name) else { return };
    let block = vec![b'x'; MIB];
    let mut since = 0;
    shift.work(|| {
        shift.may_write(block.len() as u64)?;
        file.write_all(&block)?;
        since += 1;
        if since == 64 {
            file.sync_data()?;
            since = 0;
        }
        start_over(&mut file)?;
        sleep(SLICE / 2);
        Ok(0)
    });
    let _ = file.set_len(0);
}

fn start_over(file: &mut File) -> io::Result<()> {
    if file.stream_position()? >= LONG {
        file.set_len(0)?;
        file.rewind()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_works_for_its_share_of_the_time_and_no_longer_than_it_may() {
        let team = Team::engage(Work::Spin { threads: 1 }, 0.2, Duration::from_millis(120)).unwrap();
        for thread in &team.threads {
            while !thread.is_finished() {
                sleep(Duration::from_millis(1));
            }
        }
        let elapsed = team.start.elapsed();
        assert!(elapsed >= Duration::from_millis(120), "{elapsed:?}");
        let some = team.dismiss().units;
        let team = Team::engage(Work::Spin { threads: 2 }, 1.0, LONGEST).unwrap();
        sleep(Duration::from_millis(20));
        assert!(some > 0 && team.dismiss().units > 0);
    }

    #[test]
    fn it_writes_no_more_than_it_may() {
        let home = tempfile::tempdir().unwrap();
        let shift = Shift {
            over: AtomicBool::new(false),
            until: Instant::now() + LONGEST,
            duty: 1.0,
            units: AtomicU64::new(0),
            written: AtomicU64::new(0),
            allowance: 3 * 4096 + 1,
            directory: home.path().to_owned(),
        };
        append(&shift, "a");
        assert_eq!(shift.units.load(Ordering::Relaxed), 3);
    }
}
