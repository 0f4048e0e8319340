//! The result of a laboratory run, as it is written to a file, kept in the history and read again: the one thing that the
//! runner, the reports and `--against` have in common. Only data: nothing here measures, decides or draws.
//!
//! The terms are those of [`crate::statistics`] and [`crate::load`]. What is not known is absent or `null`, never 0; a quantile
//! that fell among failed requests is `"failed"`; an interval without a limit on a side has `null` there. Texts that came
//! from applications, URLs and clients are kept as they were: whoever shows them must make them harmless.
//!
//! [`VERSION`] grows when a reader of the version before would misunderstand a document. New fields do not make a new
//! version: readers ignore what they do not know, and take the default for what is missing.

mod answer;
mod block;
mod compare;
mod limits;
mod machine;
mod recommendation;
mod scorecard;

use serde::{Deserialize, Serialize};

pub use self::answer::{Answer, Bounds, Claim, Decomposition, Part, Shift, ShiftPoint, Verdict, bounds};
pub use self::block::{Arm, Block, BlockKind, Latency, Moment, Neighbour, Pressure};
pub use self::compare::{
    Class, ColdStart, Endpoint, Fit, Growth, Import, Ladder, MemoryGrowth, Quantiles, Rung,
};
pub use self::limits::{LimitTrial, LimitsTogether};
pub use self::machine::{Machine, Mechanism, Method};
pub use self::recommendation::{
    Change, Confidence, NotTestable, Reason, Recommendation, Resource, ResourceChoice,
};
pub use self::scorecard::{Dimension, Score, Scorecard, ScoredOption, Weights};

/// Of the documents this program writes.
pub const VERSION: u32 = 1;

/// A document is at most this long: a thorough comparison has about 1 MB.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Moments of a timeline that are kept: more cannot be seen in a plot.
pub const MAX_MOMENTS: usize = 5_000;

/// What a run was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `serpentry compare APP`.
    Compare,
    /// `serpentry claims`.
    Claims,
    /// Of a later version.
    #[default]
    #[serde(other)]
    Unknown,
}

/// One run of the laboratory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Document {
    pub version: u32,
    pub kind: Kind,
    /// What was examined: the application's name, or "claims".
    pub subject: String,
    /// The data come from a generator of random numbers, not from a machine: for tests and examples. Every report says so.
    pub simulated: bool,
    /// Of everything that was fixed before measuring; the same plan has the same hash.
    pub plan_hash: String,
    pub seed: u64,
    /// RFC 3339.
    pub started: String,
    pub seconds: Option<f64>,
    /// Why the run ended before its plan did: what follows is partial.
    pub interrupted: Option<String>,
    pub machine: Machine,
    pub method: Method,
    pub arms: Vec<Arm>,
    pub blocks: Vec<Block>,
    /// Latency over time, in windows of some tenths of a second.
    pub timeline: Vec<Moment>,
    /// One for each question, primaries first.
    pub verdicts: Vec<Answer>,
    pub shifts: Vec<Shift>,
    pub decompositions: Vec<Decomposition>,
    /// Only of `claims`.
    pub claims: Vec<Claim>,
    pub endpoints: Vec<Endpoint>,
    pub ladders: Vec<Ladder>,
    pub memory: Vec<MemoryGrowth>,
    pub cold_start: Option<ColdStart>,
    /// Only of `compare`, and not of a quick one.
    pub limits: Option<LimitsTogether>,
    pub scorecard: Option<Scorecard>,
    pub recommendation: Option<Recommendation>,
    pub notes: Vec<String>,
    pub not_testable: Vec<NotTestable>,
}

/// Why something is no document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("it has {have} bytes, a result of the laboratory has at most {MAX_BYTES}")]
    TooLong { have: usize },
    #[error("it is not the JSON of a laboratory result: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it has no version: it is not a result of the laboratory")]
    NoVersion,
    #[error("its version is {found}, this program reads up to version {VERSION}: use a newer serpentry")]
    Newer { found: u32 },
}

impl Document {
    /// An empty document of this version.
    #[must_use]
    pub fn new(kind: Kind, subject: impl Into<String>) -> Self {
        Document { version: VERSION, kind, subject: subject.into(), ..Document::default() }
    }

    /// From JSON, also of older versions.
    ///
    /// # Errors
    /// It is too long, no JSON, no document, or of a newer version.
    pub fn read(json: &[u8]) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        struct Header {
            version: Option<u32>,
        }
        if json.len() > MAX_BYTES {
            return Err(DocumentError::TooLong { have: json.len() });
        }
        let header: Header = serde_json::from_slice(json)?;
        match header.version {
            None | Some(0) => Err(DocumentError::NoVersion),
            Some(found) if found > VERSION => Err(DocumentError::Newer { found }),
            Some(_) => Ok(serde_json::from_slice(json)?),
        }
    }

    /// As JSON that [`Document::read`] makes the same document of.
    ///
    /// # Errors
    /// None in practice: there is no map with other keys than texts.
    pub fn write(&self) -> Result<String, DocumentError> {
        Ok(serde_json::to_string(self)?)
    }

    /// The arm of this name.
    #[must_use]
    pub fn arm(&self, name: &str) -> Option<&Arm> {
        self.arms.iter().find(|arm| arm.name == name)
    }

    /// The answer with this id.
    #[must_use]
    pub fn answer(&self, id: &str) -> Option<&Answer> {
        self.verdicts.iter().find(|answer| answer.id == id)
    }
}

/// For figures that may be unknown: what is not finite is not known.
#[must_use]
pub fn known(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// A short name for a plan, such that the same plan has the same one (FNV-1a, 64 bits): a name, not a proof.
#[must_use]
pub fn fingerprint(plan: &str) -> String {
    let hash = plan.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests;
