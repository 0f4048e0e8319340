//! Exit statuses (sysexits where they exist): 0, 1 failed, 2 usage, 70 our bug, 77 permission, 78 configuration.

use std::io;
use std::process::ExitCode;

use crate::load::Report;

pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
const PERMISSION: u8 = 77;
pub(crate) const CONFIGURATION: u8 = 78;

/// The user asked for something that makes no sense; nothing was started.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// The status for an error that ended the program.
pub(crate) fn of(error: &anyhow::Error) -> ExitCode {
    let denied = |cause: &io::Error| cause.kind() == io::ErrorKind::PermissionDenied;
    if error.is::<Usage>() {
        USAGE.into()
    } else if error.is::<Report>() {
        CONFIGURATION.into()
    } else if error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(denied)) {
        PERMISSION.into()
    } else {
        FAILED.into()
    }
}

/// An exit status as the operating system has them.
pub(crate) fn code(status: i32) -> ExitCode {
    u8::try_from(status).unwrap_or(FAILED).into()
}
