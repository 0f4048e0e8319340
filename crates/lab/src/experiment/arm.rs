//! The arms: what "shared" and "isolated" can mean, as configurations of the program.

use serde::Serialize;
use serde_json::Value;

use crate::host::{AppPlan, HostPlan};

/// How an application shares the processors with its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Arm {
    /// All tenants' processes in one control group: the kernel is fair to processes, not to tenants.
    #[serde(rename = "S0")]
    Unmanaged,
    /// A group for each tenant with equal weights: what `tenancy = "shared"` is.
    #[serde(rename = "S1")]
    FairShare,
    /// The same and a quota of one core for the application, as it is set everywhere: in periods of 100 ms, without burst.
    #[serde(rename = "I1")]
    Quota,
    /// The same with a burst of 100 ms: what a period leaves is saved for the next ones (Linux 5.14).
    #[serde(rename = "I1b")]
    QuotaBurst,
    /// The same, as the program itself sets it for `cpu = 1`: in short periods, with burst.
    #[serde(rename = "I1p")]
    OwnQuota,
    /// One core of its own: what `tenancy = "isolated"` is.
    #[serde(rename = "I2")]
    Pinned,
}

impl Arm {
    pub const ALL: [Arm; 6] =
        [Arm::Unmanaged, Arm::FairShare, Arm::Quota, Arm::QuotaBurst, Arm::OwnQuota, Arm::Pinned];

    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Arm::Unmanaged => "S0",
            Arm::FairShare => "S1",
            Arm::Quota => "I1",
            Arm::QuotaBurst => "I1b",
            Arm::OwnQuota => "I1p",
            Arm::Pinned => "I2",
        }
    }

    /// For people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Arm::Unmanaged => "shared, unmanaged (S0)",
            Arm::FairShare => "shared, fair shares (S1)",
            Arm::Quota => "shared, quota of one core in periods of 100 ms (I1)",
            Arm::QuotaBurst => "shared, quota of one core in periods of 100 ms, burst of 100 ms (I1b)",
            Arm::OwnQuota => "shared, quota of one core as the program sets it (I1p)",
            Arm::Pinned => "isolated, one core of its own (I2)",
        }
    }

    /// What must be enforced on this machine for it, as the program calls it.
    #[must_use]
    pub(super) fn needs(self) -> &'static [&'static str] {
        match self {
            Arm::Unmanaged => &[],
            Arm::FairShare => &["cpu_weight"],
            Arm::Quota | Arm::QuotaBurst | Arm::OwnQuota => &["cpu"],
            Arm::Pinned => &["cpu", "cores"],
        }
    }

    /// An application in this arm.
    #[must_use]
    pub fn apply(self, app: &AppPlan) -> AppPlan {
        let app = app.clone();
        match self {
            Arm::Unmanaged | Arm::FairShare => app.set("tenancy", "shared"),
            Arm::Quota | Arm::QuotaBurst | Arm::OwnQuota => app.set("tenancy", "shared").limit("cpu", 1.0),
            Arm::Pinned => {
                // A file system of its own would be made anew for each run, and is not what is compared.
                let space = app.limits.get("disk_space").cloned().unwrap_or_else(|| Value::from("none"));
                app.set("tenancy", "isolated").limit("cpu", 1).limit("disk_space", space)
            }
        }
    }

    /// A host in which one application is in this arm.
    #[must_use]
    pub fn within(self, host: &HostPlan, app: &str) -> HostPlan {
        let mut host = host.clone();
        if let Some(plan) = host.apps.get_mut(app) {
            *plan = self.apply(plan);
        }
        host
    }
}
