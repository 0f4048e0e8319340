//! What is kept of each request.

use serde::Serialize;

/// Raw records of one run at most: 192 MiB. What comes after is in the histograms only, and counted.
pub const MAX_RECORDS: usize = 4 << 20;

/// One planned request. Times are nanoseconds from the start of the run; 0 where it did not come to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Record {
    /// When it should have been sent.
    pub planned: u64,
    /// When the generator took it up. Later than planned: the generator's own fault.
    pub begun: u64,
    /// When the kernel took its first byte. Later than begun: no connection was open and one had to be made.
    pub sent: u64,
    /// First byte of the answer.
    pub first: u64,
    /// Last byte of the answer, or when it was clear that there will be none.
    pub done: u64,
    /// 0 without an answer.
    pub status: u16,
    pub outcome: Outcome,
    pub arm: u8,
    pub block: u16,
    /// Position of the request in the mix.
    pub class: u16,
}

const _: () = assert!(size_of::<Record>() == 48);

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Outcome {
    /// With a status from 200 to 399.
    Answered,
    /// Complete, with any other status.
    ErrorStatus,
    /// No connection could be made.
    ConnectFailed,
    /// The connection ended before the answer did.
    Disconnected,
    /// What came was not HTTP, or more than a client accepts.
    Malformed,
    TimedOut,
    /// The run was stopped before the answer came.
    Unfinished,
    /// Too many were under way: never sent.
    Dropped,
}

impl Outcome {
    pub const ALL: [Outcome; 8] = [
        Outcome::Answered,
        Outcome::ErrorStatus,
        Outcome::ConnectFailed,
        Outcome::Disconnected,
        Outcome::Malformed,
        Outcome::TimedOut,
        Outcome::Unfinished,
        Outcome::Dropped,
    ];

    /// As in a table of results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::ErrorStatus => "error status",
            Outcome::ConnectFailed => "connect failed",
            Outcome::Disconnected => "disconnected",
            Outcome::Malformed => "malformed answer",
            Outcome::TimedOut => "timed out",
            Outcome::Unfinished => "unfinished",
            Outcome::Dropped => "dropped",
        }
    }
}

impl Record {
    /// From the planned time to the last byte, in nanoseconds. None when it failed: longer than any that has one.
    #[must_use]
    pub fn latency(&self) -> Option<u64> {
        (self.outcome == Outcome::Answered).then(|| self.done.saturating_sub(self.planned))
    }

    /// From the first byte sent to the last one received: what a generator sees that does not keep to a plan.
    #[must_use]
    pub fn service_time(&self) -> Option<u64> {
        (self.outcome == Outcome::Answered).then(|| self.done.saturating_sub(self.sent))
    }

    /// How late the generator was.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.begun.saturating_sub(self.planned)
    }
}

/// Where records go. Called on the generator's thread between two requests: must neither wait nor allocate much.
pub trait Recorder {
    fn record(&mut self, record: &Record);
}

/// Every record, in the order in which they ended.
#[derive(Debug, Default)]
pub struct RawRecords {
    records: Vec<Record>,
    overflow: u64,
}

impl RawRecords {
    /// Room for so many without growing.
    #[must_use]
    pub fn with_capacity(expected: usize) -> Self {
        RawRecords { records: Vec::with_capacity(expected.min(MAX_RECORDS)), overflow: 0 }
    }

    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// How many did not fit.
    #[must_use]
    pub fn overflow(&self) -> u64 {
        self.overflow
    }
}

impl Recorder for RawRecords {
    fn record(&mut self, record: &Record) {
        if self.records.len() < MAX_RECORDS {
            self.records.push(*record);
        } else {
            self.overflow += 1;
        }
    }
}

/// To both.
impl<A: Recorder, B: Recorder> Recorder for (A, B) {
    fn record(&mut self, record: &Record) {
        self.0.record(record);
        self.1.record(record);
    }
}
