//! What fails with EPERM rather than ENOSYS: forbidden on purpose.

use libc::c_long;

use super::Group;

/// With EPERM, as for any user without privileges.
pub(in crate::seccomp) const FORBIDDEN: &[Group] = &[
    Group {
        why: "the view of the file system was made for it",
        calls: &[
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_fsopen,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fspick,
            libc::SYS_mount_setattr,
            libc::SYS_open_by_handle_at,
            libc::SYS_fanotify_init,
            libc::SYS_quotactl,
            libc::SYS_quotactl_fd,
            libc::SYS_swapon,
            libc::SYS_swapoff,
        ],
    },
    Group {
        why: "so were its namespaces: new ones give capabilities in them, which is where kernels break",
        calls: &[libc::SYS_unshare, libc::SYS_setns, libc::SYS_sethostname, libc::SYS_setdomainname],
    },
    Group {
        why: "other processes, of the same application too: what one worker holds is not another's",
        calls: &[
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_process_madvise,
            libc::SYS_process_mrelease,
            libc::SYS_pidfd_getfd,
            libc::SYS_kcmp,
        ],
    },
    Group {
        why: "keys are not kept apart by namespaces",
        calls: &[libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl],
    },
    Group {
        why: "programs in the kernel, its events, and page faults handled by a process: tools of attacks on it",
        calls: &[libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd],
    },
    Group {
        why: "the machine",
        calls: &[
            libc::SYS_reboot,
            libc::SYS_kexec_load,
            libc::SYS_kexec_file_load,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_acct,
            libc::SYS_syslog,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_adjtimex,
            libc::SYS_clock_adjtime,
            libc::SYS_vhangup,
        ],
    },
    Group {
        why: "where its memory is, is the control group's matter",
        calls: &[
            libc::SYS_mbind,
            libc::SYS_set_mempolicy,
            libc::SYS_migrate_pages,
            libc::SYS_move_pages,
            libc::SYS_set_mempolicy_home_node,
        ],
    },
    Group { why: "the processor's ports and segments", calls: MACHINE },
];

#[cfg(target_arch = "x86_64")]
const MACHINE: &[c_long] = &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt];
#[cfg(target_arch = "aarch64")]
const MACHINE: &[c_long] = &[];
