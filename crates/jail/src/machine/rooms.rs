//! What surrounds an isolated application: namespaces, a user, a volume, filters. Found out without any of it staying.

use std::fs;
use std::io;

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities, unshare_unsafe};

use super::Roots;
use super::survey::Finding;

const ROOT: &str = "run as root, or give the service the capability (`AmbientCapabilities=`)";
const NAMESPACES: &str = "run as root outside a container, or allow it there (Docker: `--cap-add SYS_ADMIN --security-opt seccomp=unconfined`)";

pub(super) fn survey(roots: &Roots) -> Vec<Finding> {
    let mut findings = vec![open_files(), disk_space()];
    findings.push(Finding::enforced("egress_host", "nothing to keep: it connects wherever the host can"));
    let spaces = spaces(roots);
    findings.extend(egress(&spaces));
    findings.extend(spaces);
    findings.extend([user_ids(roots), dropping(), seccomp(roots), landlock()]);
    findings
}

fn open_files() -> Finding {
    let most = getrlimit(Resource::Nofile).maximum;
    let most = most.map_or("no more than the kernel has".to_owned(), |most| format!("up to {most}"));
    Finding::enforced("open_files", format!("RLIMIT_NOFILE, {most} for each process"))
}

/// Effective capabilities of this thread, which is to say process.
fn has(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// The first of these directories that has the program.
fn program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // An unprivileged user's PATH often lacks the administrator's programs.
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into(), "/usr/bin".into()]);
    dirs.map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// A filesystem of its own in a preallocated file.
fn disk_space() -> Finding {
    const NAME: &str = "disk_space";
    if !has(CapabilitySet::SYS_ADMIN) {
        return Finding::impossible(NAME, "mounting a volume needs CAP_SYS_ADMIN", ROOT);
    }
    if program("mkfs.ext4").is_none() {
        return Finding::impossible(NAME, "there is no mkfs.ext4", "install e2fsprogs");
    }
    // Opening it changes nothing.
    let control = fs::OpenOptions::new().read(true).write(true).open("/dev/loop-control");
    match control {
        Err(error) => Finding::impossible(
            NAME,
            format!("there are no loop devices: /dev/loop-control: {error}"),
            "`modprobe loop`; in a container: `--device /dev/loop-control --device-cgroup-rule 'b 7:* rmw'`",
        ),
        Ok(_) => match fs::read_to_string("/proc/filesystems") {
            Ok(kinds) if !kinds.lines().any(|line| line.trim() == "ext4") => Finding::enforced(NAME, VOLUME)
                .partly("the kernel does not list ext4 yet; it may be a module", "`modprobe ext4`"),
            _ => Finding::enforced(NAME, VOLUME),
        },
    }
}

const VOLUME: &str = "ext4 in a preallocated file on a loop device";

/// One finding for each kind of namespace: entered by a thread that then ends, and the namespace with it.
fn spaces(roots: &Roots) -> Vec<Finding> {
    [
        ("pid_namespace", UnshareFlags::NEWPID, "sees and signals only its own processes"),
        ("mount_namespace", UnshareFlags::NEWNS, "own /tmp and volume, the rest read-only (pivot_root)"),
        ("ipc_namespace", UnshareFlags::NEWIPC, "own shared memory and message queues"),
        ("uts_namespace", UnshareFlags::NEWUTS, "own host name"),
        ("network_namespace", UnshareFlags::NEWNET, "own network devices and ports"),
    ]
    .map(|(name, flag, what)| match enter(flag) {
        Ok(()) => Finding::enforced(name, what),
        // A process with several threads cannot try that (unshare(2), CLONE_NEWUSER).
        Err(_) if allows_user_namespaces(roots) => Finding::enforced(name, what).partly(
            "without privileges it is made in a user namespace, and whether that is allowed is known only when an application starts",
            NAMESPACES,
        ),
        Err(error) => Finding::impossible(name, format!("namespaces cannot be made: {error}"), NAMESPACES),
    })
    .into()
}

/// What the machine's switches say; a security module may still refuse.
fn allows_user_namespaces(roots: &Roots) -> bool {
    let number = |path: &str| fs::read_to_string(roots.proc.join(path)).ok()?.trim().parse::<u64>().ok();
    // The second is Debian's own.
    number("sys/user/max_user_namespaces").is_some_and(|most| most > 0)
        && number("sys/kernel/unprivileged_userns_clone") != Some(0)
}

fn enter(flag: UnshareFlags) -> io::Result<()> {
    let attempt = move || {
        // SAFETY: each of these flags concerns the calling thread alone; `NEWNS` also gives it a working directory of its
        // own (CLONE_FS). No descriptor table is unshared (CLONE_FILES), which is what makes the call unsafe. The thread ends
        // right after it.
        unsafe { unshare_unsafe(flag) }
    };
    let thread = std::thread::Builder::new().name("probe".to_owned()).spawn(attempt)?;
    thread.join().map_err(|_| io::Error::other("the probing thread panicked"))?.map_err(Into::into)
}

fn egress(spaces: &[Finding]) -> Vec<Finding> {
    let network = spaces.iter().find(|finding| finding.constraint == "network_namespace");
    let Some(network) = network.cloned() else { return Vec::new() };
    let of = |name: &str, mechanism: &str| Finding {
        constraint: name.to_owned(),
        mechanism: if network.mechanism.is_empty() { String::new() } else { mechanism.to_owned() },
        ..network.clone()
    };
    let none = of("egress_none", "network namespace with nothing but loopback");
    let nat = of("egress_nat", "network namespace, veth pair, nftables");
    let nat = if !has(CapabilitySet::NET_ADMIN) {
        Finding::impossible("egress_nat", "making network devices and rules needs CAP_NET_ADMIN", ROOT)
    } else {
        match crate::network::survey() {
            Ok(()) => nat,
            Err(error @ crate::network::Error::NoWayOut) => {
                Finding::impossible("egress_nat", error.to_string(), "`ip route add default via ADDRESS`")
            }
            Err(error) => Finding::impossible("egress_nat", error.to_string(), ROOT),
        }
    };
    vec![none, nat]
}

fn user_ids(roots: &Roots) -> Finding {
    const NAME: &str = "user_ids";
    if !(has(CapabilitySet::SETUID) && has(CapabilitySet::SETGID)) {
        return Finding::impossible(
            NAME,
            "changing the user needs CAP_SETUID and CAP_SETGID: all applications run as this one",
            ROOT,
        );
    }
    let map = fs::read_to_string(roots.proc.join("self/uid_map")).unwrap_or_default();
    let ids: u64 = map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum();
    let found = Finding::enforced(NAME, "setresuid, setresgid, setgroups");
    // A user namespace with one id has no other users to become.
    if ids < 2 {
        found.partly("this user namespace has one user", "map more (newuidmap, /etc/subuid)")
    } else {
        found
    }
}

fn dropping() -> Finding {
    const NAME: &str = "capabilities";
    let none = capabilities(None).is_ok_and(|sets| sets.permitted.is_empty());
    match (none, has(CapabilitySet::SETPCAP)) {
        (true, _) => Finding::enforced(NAME, "none to drop; no_new_privs"),
        (false, true) => Finding::enforced(NAME, "all dropped, bounding set too; no_new_privs"),
        (false, false) => Finding::enforced(NAME, "all dropped; no_new_privs")
            .partly("the bounding set stays: CAP_SETPCAP is missing, no_new_privs makes it harmless", ""),
    }
}

fn seccomp(roots: &Roots) -> Finding {
    const NAME: &str = "seccomp";
    let actions = fs::read_to_string(roots.proc.join("sys/kernel/seccomp/actions_avail")).unwrap_or_default();
    let known = cfg!(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"));
    match (actions.split_whitespace().any(|action| action == "errno"), known) {
        (true, true) => Finding::enforced(NAME, "filter of system calls, kept by the kernel"),
        (true, false) => {
            Finding::impossible(NAME, "there is no list of system calls for this architecture", "")
        }
        (false, _) => Finding::impossible(
            NAME,
            "the kernel has no seccomp filters",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

fn landlock() -> Finding {
    const NAME: &str = "landlock";
    /// Without these it is there, but leaves something open (landlock(7)).
    const ABIS: [(u32, &str); 4] = [
        (3, "files can be truncated (ABI 3)"),
        (4, "TCP is not covered (ABI 4)"),
        (5, "device ioctls are not covered (ABI 5)"),
        (6, "signals and abstract sockets are not covered (ABI 6)"),
    ];
    match landlock_abi() {
        None => Finding::impossible(
            NAME,
            "the kernel has it not, or not switched on",
            "use Linux 5.13 with CONFIG_SECURITY_LANDLOCK, and `landlock` in the boot option lsm=",
        ),
        Some(abi) => {
            let found = Finding::enforced(NAME, format!("ABI {abi}"));
            let lacks: Vec<&str> =
                ABIS.iter().filter(|(since, _)| *since > abi).map(|(_, lack)| *lack).collect();
            if lacks.is_empty() { found } else { found.partly(lacks.join(", "), "use a newer kernel") }
        }
    }
}

/// The version of landlock's interface that the kernel has; `None` without it (landlock_create_ruleset(2)).
#[must_use]
pub fn landlock_abi() -> Option<u32> {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag no memory is read and nothing is made: the kernel answers with a number.
    let abi = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION)
    };
    u32::try_from(abi).ok().filter(|abi| *abi > 0)
}
