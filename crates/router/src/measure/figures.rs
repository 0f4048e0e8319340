//! What a request took, as far as a worker can be believed.

use std::time::Duration;

use wire::Spent;

/// Parts of a request's life that do not overlap; they add up to its whole stay with the application.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// From its arrival until its worker turned to it.
    pub(crate) queued: Duration,
    pub(crate) cpu: Duration,
    pub(crate) run_queue: Option<Duration>,
    pub(crate) gil: Option<Duration>,
    /// All the rest: the network, disks, locks, sleep. In an event loop also: other tasks.
    pub(crate) wait: Duration,
}

impl Figures {
    /// A worker says `spent`; the router saw that the request waited for `queued` and then was with the worker for `stay`, and
    /// that the worker has at most `room` of CPU time that no other request has accounted for. What is more than that is cut.
    pub(crate) fn believe(spent: Spent, queued: Duration, stay: Duration, room: Duration) -> Figures {
        let micros = |value: u32| Duration::from_micros(value.into());
        let wall = micros(spent.wall).min(stay);
        let cpu = micros(spent.cpu).min(wall).min(room);
        let mut rest = wall - cpu;
        let mut part = |value: Option<u32>| {
            let value = micros(value?).min(rest);
            rest -= value;
            Some(value)
        };
        let (run_queue, gil) = (part(spent.run_queue), part(spent.gil));
        Figures { queued: queued + (stay - wall), cpu, run_queue, gil, wait: rest }
    }

    /// Time with the worker.
    pub(crate) fn wall(&self) -> Duration {
        self.cpu + self.run_queue.unwrap_or_default() + self.gil.unwrap_or_default() + self.wait
    }

    /// The value of a `Server-Timing` field (W3C Server Timing): milliseconds.
    pub(crate) fn server_timing(&self) -> String {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let mut text = format!(
            "queue;dur={:.3}, cpu;dur={:.3}, wait;dur={:.3}",
            ms(self.queued),
            ms(self.cpu),
            ms(self.wait)
        );
        for (name, value) in [("runq", self.run_queue), ("gil", self.gil)] {
            if let Some(value) = value {
                text.push_str(&format!(", {name};dur={:.3}", ms(value)));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_worker_can_say_more_than_was_seen(
            values in prop::array::uniform4(prop_oneof![any::<u32>(), 0..10_000_000_u32]),
            known in any::<(bool, bool)>(),
            queued in 0..u64::MAX / 4, stay in 0..10_000_000_000_u64, room in 0..10_000_000_000_u64,
        ) {
            let [wall, cpu, run_queue, gil] = values;
            let spent = Spent { wall, cpu, run_queue: known.0.then_some(run_queue), gil: known.1.then_some(gil) };
            let [queued, stay, room] = [queued, stay, room].map(Duration::from_nanos);
            let figures = Figures::believe(spent, queued, stay, room);
            prop_assert!(figures.cpu <= room && figures.cpu <= stay);
            prop_assert_eq!(figures.queued + figures.wall(), queued + stay, "the parts are the whole");
            prop_assert_eq!((figures.run_queue.is_some(), figures.gil.is_some()), known);
        }
    }

    #[test]
    fn what_is_possible_is_believed() {
        let ms = Duration::from_millis;
        let spent = Spent { wall: 90_000, cpu: 20_000, run_queue: Some(5_000), gil: None };
        let figures = Figures::believe(spent, ms(3), ms(100), ms(1000));
        let expect = Figures { queued: ms(13), cpu: ms(20), run_queue: Some(ms(5)), gil: None, wait: ms(65) };
        assert_eq!(figures, expect);
        assert_eq!(
            figures.server_timing(),
            "queue;dur=13.000, cpu;dur=20.000, wait;dur=65.000, runq;dur=5.000"
        );
    }
}
