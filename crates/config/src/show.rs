//! Routes as they are written in the file.

use std::fmt;

use crate::plan::{HostPattern, Route};

impl fmt::Display for Route {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostPattern::Any if self.prefix.is_empty() => return to.write_str("*"),
            HostPattern::Any => {}
            HostPattern::Exact(host) => to.write_str(host)?,
            HostPattern::Wildcard(below) => write!(to, "*.{below}")?,
        }
        to.write_str(&self.prefix)
    }
}
