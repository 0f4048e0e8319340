//! Exit statuses (sysexits where they exist): 0, 1 failed, 2 usage, 69 no host is running, 70 our bug, 77 permission,
//! 78 configuration.

use std::io;
use std::process::ExitCode;

use serpentry::state::StateError;

use crate::load::Report;

pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
const UNAVAILABLE: u8 = 69;
const PERMISSION: u8 = 77;
pub(crate) const CONFIGURATION: u8 = 78;

/// The user asked for something that makes no sense; nothing was started.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// There is no host to talk to.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unavailable(pub(crate) String);

/// Somebody else's: the message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Denied(pub(crate) String);

/// The status for an error that ended the program.
pub(crate) fn of(error: &anyhow::Error) -> ExitCode {
    if error.is::<Usage>() {
        USAGE.into()
    } else if error.is::<Report>() {
        CONFIGURATION.into()
    } else if error.is::<Unavailable>() {
        UNAVAILABLE.into()
    } else if is_denied(error) {
        PERMISSION.into()
    } else {
        FAILED.into()
    }
}

/// Whether another user, or other file modes, would help.
fn is_denied(error: &anyhow::Error) -> bool {
    error.is::<Denied>()
        || matches!(error.downcast_ref(), Some(StateError::Denied { .. }))
        || error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|cause| cause.kind() == io::ErrorKind::PermissionDenied)
}

/// An exit status as the operating system has them.
pub(crate) fn code(status: i32) -> ExitCode {
    u8::try_from(status).unwrap_or(FAILED).into()
}
