//! The generator's thread before all others, where the kernel allows it.
//!
//! On a machine that is busy, an ordinary thread is given a processor milliseconds after its timer fired, however high its
//! nice value. With SCHED_FIFO it is tenths of one (sched(7)). It needs CAP_SYS_NICE, or RLIMIT_RTPRIO; and a
//! generator that never sleeps would then starve what it measures, which the kernel limits to 95 per cent of the time.

use thread_priority::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id, thread_schedule_policy,
};

const FIFO: ThreadSchedulePolicy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
const ORDINARY: ThreadSchedulePolicy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);

/// While it lives, this thread has real-time priority.
pub(super) struct Realtime {
    /// It had it before, and keeps it.
    inherited: bool,
}

impl Realtime {
    /// The lowest real-time priority for this thread; None when the kernel refuses.
    pub(super) fn ask() -> Option<Realtime> {
        let inherited = matches!(thread_schedule_policy(), Ok(ThreadSchedulePolicy::Realtime(_)));
        if !inherited {
            set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, FIFO).ok()?;
        }
        Some(Realtime { inherited })
    }
}

impl Drop for Realtime {
    fn drop(&mut self) {
        if !self.inherited {
            // Always allowed: it gives something up.
            let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, ORDINARY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_given_back() {
        let before = thread_schedule_policy().unwrap();
        match Realtime::ask() {
            Some(realtime) => {
                assert_eq!(thread_schedule_policy(), Ok(FIFO));
                drop(realtime);
            }
            None => eprintln!("skipped: real-time priority is not allowed here"),
        }
        assert_eq!(thread_schedule_policy(), Ok(before));
    }
}
