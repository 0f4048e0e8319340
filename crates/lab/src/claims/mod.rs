//! What is commonly said about hosting Python, put to the test on this machine.
//!
//! A claim is a module with an implementation of [`Claim`], listed in [`all`]: what is expected and why is fixed there, before
//! anything is measured. It runs on a [`Session`], starts a host with the applications that it needs, and gives a [`Finding`].
//! Primaries (one for each claim) are corrected for their number (Holm); everything else is exploratory.

mod aa;
mod c1;
mod c10;
mod c11;
mod c12;
mod c2;
mod c3;
mod c4;
mod c5;
mod c6;
mod c7;
mod c8;
mod c9;
mod pairing;
mod requests;
mod rounds;
mod run;

use crate::document::{Answer, Decomposition, Ladder, MemoryGrowth, Shift, Verdict};
use crate::experiment::{Session, SessionError};
use crate::statistics::verdict::Judgement;

pub use aa::AgainstItself;
pub use run::{Outcome, run};

/// One of C1 to C12.
pub trait Claim: Sync {
    /// `C1`.
    fn id(&self) -> &'static str;

    /// As it is commonly said.
    fn title(&self) -> &'static str;

    /// What is expected before measuring, and why.
    fn expectation(&self) -> &'static str;

    /// What must exist on this machine, besides what arms need.
    fn requirements(&self) -> &'static [Requirement];

    /// Test it.
    ///
    /// # Errors
    /// It could not be tested; [`SessionError::Missing`] if that is the machine's doing.
    fn run(&self, session: &mut Session<'_>) -> Result<Finding, SessionError>;
}

/// Something of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// At least so many.
    Cores(usize),
    /// Control groups can be made and set.
    Root,
    /// A control group controller, of either version.
    Controller(&'static str),
    /// Free memory, in MiB.
    Memory(u64),
    /// Free space for the session's directory, in MiB, on a disk.
    Disk(u64),
}

/// What a claim came to.
#[derive(Debug, Clone, Default)]
pub struct Finding {
    pub verdict: Verdict,
    /// With figures.
    pub sentence: String,
    /// The condition under which it would be another.
    pub flips_when: Option<String>,
    /// The primary first.
    pub answers: Vec<Answer>,
    /// Of the primary.
    pub primary: Option<Judgement>,
    pub shifts: Vec<Shift>,
    pub decompositions: Vec<Decomposition>,
    pub ladders: Vec<Ladder>,
    pub memory: Vec<MemoryGrowth>,
    pub notes: Vec<String>,
}

/// Every claim, in order.
#[must_use]
pub fn all() -> Vec<&'static dyn Claim> {
    vec![
        &c1::C1,
        &c2::C2,
        &c3::C3,
        &c4::C4,
        &c5::C5,
        &c6::C6,
        &c7::C7,
        &c8::C8,
        &c9::C9,
        &c10::C10,
        &c11::C11,
        &c12::C12,
    ]
}

/// Those with these ids, in order; the first that is unknown otherwise.
///
/// # Errors
/// There is no claim of that id.
pub fn named(ids: &[String]) -> Result<Vec<&'static dyn Claim>, String> {
    let known = all();
    let is = |claim: &&dyn Claim, id: &str| claim.id().eq_ignore_ascii_case(id);
    if let Some(unknown) = ids.iter().find(|id| !known.iter().any(|claim| is(claim, id))) {
        return Err(unknown.clone());
    }
    Ok(known.into_iter().filter(|claim| ids.iter().any(|id| is(claim, id))).collect())
}

/// A ratio for a sentence: `1.32`, `24`.
#[must_use]
pub(crate) fn ratio(value: f64) -> String {
    match value {
        value if !value.is_finite() => "unknown".to_owned(),
        value if value.abs() < 10.0 => format!("{value:.2}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_found_by_their_ids() {
        let ids = |ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(|&id| id.to_owned()).collect();
            named(&ids).map(|claims| claims.iter().map(|claim| claim.id()).collect::<Vec<_>>())
        };
        assert_eq!(ids(&["c2", "C1"]), Ok(vec!["C1", "C2"]));
        assert_eq!(ids(&["C1", "C99"]), Err("C99".to_owned()));
        for claim in all() {
            assert!(
                claim.id().starts_with('C') && !claim.expectation().is_empty() && !claim.title().is_empty()
            );
        }
    }
}
