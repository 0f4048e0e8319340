//! What a jailed process becomes, as data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything [`crate::enter`] needs to know. Can be printed and compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The interpreter, as an absolute path.
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Set on top of the inherited environment.
    pub environment: Vec<(String, String)>,
    /// Removed from the inherited environment.
    pub without: Vec<String>,
    /// Working directory.
    pub directory: PathBuf,
    /// The supervisor's process id: if it is gone, so are we.
    pub parent: u32,
    /// How many descriptors travel with the plan.
    pub descriptors: usize,
}

/// The steps in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Receive the plan.
    Receive,
    /// Be killed when the supervisor dies (`PR_SET_PDEATHSIG`).
    DieWithParent,
    /// A session of its own, so that a terminal's Ctrl-C reaches the supervisor only.
    Session,
    /// Put the passed descriptors in place.
    Descriptors,
    /// Change to the application's directory.
    Directory,
    /// Replace this program by the interpreter.
    Exec,
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {error}", self.doing())]
pub struct Failure {
    pub step: Step,
    /// The operating system's words.
    pub error: String,
    /// The path concerned, or empty.
    pub path: String,
}

impl Failure {
    fn doing(&self) -> String {
        let path = &self.path;
        match self.step {
            Step::Receive => "cannot receive the worker's plan".to_owned(),
            Step::DieWithParent => "cannot tie the worker to its supervisor".to_owned(),
            Step::Session => "cannot start a session".to_owned(),
            Step::Descriptors => "cannot pass the worker its sockets".to_owned(),
            Step::Directory => format!("cannot enter the application's directory {path}"),
            Step::Exec => format!("cannot run the interpreter {path}"),
        }
    }
}
