//! The list, by purpose. It began as what container engines allow by default; what only privileged processes can use, and
//! what has a history of holes and no use for an application, is forbidden below.
//!
//! A call that is in no group does not exist. The newest have no name in every C library, so they are numbers: from 424 on
//! (Linux 5.1) those are the same on all processors.

mod allowed;
mod forbidden;

use libc::c_long;

pub(super) use allowed::ALLOWED;
pub(super) use forbidden::FORBIDDEN;

/// System calls that serve one purpose.
pub(super) struct Group {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for whoever reads the table; a test wants one of each")
    )]
    pub(super) why: &'static str,
    pub(super) calls: &'static [c_long],
}

/// A call whose arguments decide.
pub(super) struct Conditional {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for whoever reads the table; a test wants one of each")
    )]
    pub(super) why: &'static str,
    pub(super) call: c_long,
    /// Which argument, from 0. Its lower 32 bits are all that the kernel uses of it.
    pub(super) argument: u32,
    pub(super) condition: Condition,
    pub(super) otherwise: i32,
}

pub(super) enum Condition {
    OneOf(&'static [u32]),
    NoneOf(&'static [u32]),
    WithoutBits(u32),
}

/// All flags of clone(2) that make namespaces: mount, cgroup, UTS, IPC, user, PID, network.
const NEW_NAMESPACES: u32 =
    0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;

pub(super) const CONDITIONAL: &[Conditional] = &[
    Conditional {
        why: "processes and threads, but no namespaces; clone3 hides its flags from filters and does not exist",
        call: libc::SYS_clone,
        argument: 0,
        condition: Condition::WithoutBits(NEW_NAMESPACES),
        otherwise: libc::EPERM,
    },
    Conditional {
        why: "Unix, IPv4, IPv6, and netlink, with which the C library lists addresses; the other families are kernel \
              code that no web application needs (packet, vsock, alg, bluetooth, ...)",
        call: libc::SYS_socket,
        argument: 0,
        condition: Condition::OneOf(&[1, 2, 10, 16]),
        otherwise: libc::EAFNOSUPPORT,
    },
    Conditional {
        why: "asking for the personality, and the usual one; others switch off protections of memory",
        call: libc::SYS_personality,
        argument: 0,
        condition: Condition::OneOf(&[0, u32::MAX]),
        otherwise: libc::EPERM,
    },
    Conditional {
        why: "anything but typing into a terminal for somebody else (TIOCSTI, TIOCLINUX)",
        call: libc::SYS_ioctl,
        argument: 1,
        condition: Condition::NoneOf(&[0x5412, 0x541C]),
        otherwise: libc::EPERM,
    },
];
