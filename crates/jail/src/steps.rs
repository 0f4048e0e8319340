//! The steps that a process takes by itself: control groups, limits, capabilities, identity. Each is one function of the
//! plan's data; the order is `enter.rs`'s. Nothing here undoes anything: a process whose step fails ends.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Gid, Rlimit, Uid, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::plan::{Failure, Identity, Limit, Resource, Step};

/// Capabilities that a kernel may know: they are bits of 64.
const MOST_CAPABILITIES: u64 = 64;

/// Join the control groups with these `cgroup.procs` files. "0" means who writes (kernel: admin-guide/cgroup-v2, 2.4).
pub(crate) fn join_cgroups<P: AsRef<Path>>(files: &[P]) -> Result<(), Failure> {
    for file in files.iter().map(AsRef::as_ref) {
        let join = || OpenOptions::new().write(true).open(file)?.write_all(b"0");
        join().map_err(|error| Failure::new(Step::Cgroups, &error, file.display().to_string()))?;
    }
    Ok(())
}

pub(crate) fn set_limits(limits: &[Limit]) -> Result<(), Failure> {
    for limit in limits {
        let both = Rlimit { current: limit.most, maximum: limit.most };
        setrlimit(resource(limit.resource), both).map_err(|error| {
            let most = limit.most.map_or("unlimited".to_owned(), |most| most.to_string());
            Failure::new(Step::Limits, &error.into(), format!("{:?} to {most}", limit.resource))
        })?;
    }
    Ok(())
}

fn resource(resource: Resource) -> rustix::process::Resource {
    use rustix::process::Resource as Kernel;
    match resource {
        Resource::OpenFiles => Kernel::Nofile,
        Resource::CoreSize => Kernel::Core,
        Resource::Processes => Kernel::Nproc,
        Resource::FileSize => Kernel::Fsize,
        Resource::LockedMemory => Kernel::Memlock,
        Resource::MessageQueues => Kernel::Msgqueue,
        Resource::PendingSignals => Kernel::Sigpending,
    }
}

/// Whether namespaces can be made and joined as they are. Otherwise only together with a user namespace, in which a process
/// has all capabilities over what belongs to that (user_namespaces(7)).
pub(crate) fn may_administer() -> io::Result<bool> {
    Ok(capabilities(None)?.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Empty the bounding and the ambient set, so that no file with capabilities and no set-user-id program gives any back.
/// Without the right to do so there is nothing to give back either, once privileges cannot be gained.
pub(crate) fn empty_bounding_set() -> io::Result<()> {
    if !capabilities(None)?.effective.contains(CapabilitySet::SETPCAP) {
        return Ok(());
    }
    clear_ambient_capability_set()?;
    for number in 0..MOST_CAPABILITIES {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // The kernel knows fewer.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Keep these capabilities and no others, in a process that has them.
pub(crate) fn keep_capabilities(kept: CapabilitySet) -> io::Result<()> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: none })?;
    Ok(())
}

/// Become this user for good: real, effective and saved ids, and only these groups. Of this thread, which is the only one.
pub(crate) fn become_user(identity: &Identity) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}
