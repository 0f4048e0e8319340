//! Queueing formulas. `servers` are slots or cores, `load` is offered work (arrival rate times service time, "erlangs"), times are seconds.
//!
//! Sources: Kleinrock, "Queueing Systems" I and II; Allen, "Probability, Statistics and Queueing Theory" (Allen and
//! Cunneen); Sakasegawa 1977; Halfin and Whitt 1981.

/// Requests under way at a rate and a mean latency (Little).
#[must_use]
pub fn under_way(rate: f64, latency: f64) -> f64 {
    rate * latency
}

/// Slots for a rate of requests that hold one for `service` seconds, if no more than the share `target` of them shall be in use.
#[must_use]
pub fn slots(rate: f64, service: f64, target: f64) -> f64 {
    rate * service / target
}

/// Slots so that few wait, by the square-root rule: work plus `spare` times its root. 1 makes about 22 % wait, 2 about 3 %.
#[must_use]
pub fn square_root_staffing(work: f64, spare: f64) -> f64 {
    work + spare * work.sqrt()
}

/// Probability that a request is lost when none can wait (Erlang B).
#[must_use]
pub fn erlang_b(servers: u32, load: f64) -> f64 {
    (1..=servers).fold(1.0, |blocked, n| load * blocked / (f64::from(n) + load * blocked))
}

/// Probability that a request must wait (Erlang C); 1 when there is more work than servers.
#[must_use]
pub fn erlang_c(servers: u32, load: f64) -> f64 {
    let count = f64::from(servers);
    if load >= count {
        return 1.0;
    }
    let blocked = erlang_b(servers, load);
    blocked / (1.0 - load / count * (1.0 - blocked))
}

/// Mean wait for one of several servers with exponential service (M/M/c).
#[must_use]
pub fn wait_exponential(servers: u32, load: f64, service: f64) -> f64 {
    let spare = f64::from(servers) - load;
    if spare <= 0.0 { f64::INFINITY } else { erlang_c(servers, load) * service / spare }
}

/// Mean wait for one server from the first two moments of the service time (Pollaczek and Khinchine).
#[must_use]
pub fn wait_general(rate: f64, service: f64, service_square: f64) -> f64 {
    let load = rate * service;
    if load >= 1.0 { f64::INFINITY } else { rate * service_square / (2.0 * (1.0 - load)) }
}

/// Mean wait in general (Allen and Cunneen with Sakasegawa's approximation). `variability` is half the sum of the squared
/// coefficients of variation of the gaps between arrivals and of the service times: 1 for Poisson and exponential.
/// Good above 70 % load, too high by milliseconds below, where it does not matter.
#[must_use]
pub fn wait_approximate(servers: u32, load: f64, service: f64, variability: f64) -> f64 {
    let count = f64::from(servers);
    let used = load / count;
    if used >= 1.0 {
        return f64::INFINITY;
    }
    service * variability * used.powf((2.0 * (count + 1.0)).sqrt() - 1.0) / (count * (1.0 - used))
}

/// The wait that the share `q` of requests does not exceed: exponential beyond the probability to wait at all.
#[must_use]
pub fn wait_quantile(servers: u32, load: f64, service: f64, variability: f64, q: f64) -> f64 {
    let waits = erlang_c(servers, load);
    let spare = (f64::from(servers) - load) / service;
    if spare <= 0.0 {
        return f64::INFINITY;
    }
    (waits / (1.0 - q)).ln().max(0.0) * variability / spare
}

/// What limits the throughput of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    Slots,
    Cores,
}

/// Highest throughput of `processes` with so many `slots` each, when a request needs `cpu` and `wait` seconds and there are
/// so many `cores`. `locked`: only one thread of a process runs at a time.
#[must_use]
pub fn highest_throughput(
    processes: u32,
    slots: u32,
    cpu: f64,
    wait: f64,
    cores: f64,
    locked: bool,
) -> (f64, Bound) {
    let all = f64::from(processes) * f64::from(slots);
    let usable = if locked { cores.min(f64::from(processes)) } else { cores.min(all) };
    let (by_slots, by_cores) = (all / (cpu + wait), usable / cpu);
    if by_slots <= by_cores { (by_slots, Bound::Slots) } else { (by_cores, Bound::Cores) }
}

/// The load from which an overload keeps itself alive when clients send so many more attempts for each that timed out.
#[must_use]
pub fn metastable_from(retries: f64) -> f64 {
    1.0 / (1.0 + retries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(value: f64, exact: f64, within: f64) {
        assert!((value - exact).abs() <= within, "{value} is not {exact}");
    }

    /// Erlang's own tables: 1 % blocking at 4.46 erlangs on 10 lines, 5 % at 17.13 on 22; 3 erlangs on 5 lines lose 11 %.
    #[test]
    fn erlang_b_is_the_table() {
        close(erlang_b(10, 4.46), 0.01, 5e-5);
        close(erlang_b(22, 17.13), 0.05, 5e-5);
        close(erlang_b(5, 3.0), 0.110_05, 5e-6);
        close(erlang_b(1, 1.0), 0.5, 1e-15);
    }

    /// For one server it is the load, for two 2 rho^2 / (1 + rho), and 1/3 at one erlang on two.
    #[test]
    fn erlang_c_is_exact() {
        close(erlang_c(1, 0.7), 0.7, 1e-15);
        close(erlang_c(2, 1.0), 1.0 / 3.0, 1e-15);
        close(erlang_c(2, 1.4), 2.0 * 0.49 / 1.7, 1e-15);
        close(erlang_c(4, 3.2), 0.596_432, 1e-6);
        close(erlang_c(3, 3.0), 1.0, 0.0);
        // Thousands of servers do not overflow.
        assert!(erlang_c(10_000, 9_900.0) > 0.0 && erlang_c(10_000, 9_900.0) < 1.0);
    }

    /// Waits in service times at the loads of the literature, exact and approximate.
    #[test]
    fn waits() {
        for (servers, used, exact, approximate) in
            [(2, 0.7, 0.961, 0.994), (4, 0.9, 1.969, 1.991), (8, 0.5, 0.015, 0.026)]
        {
            let load = used * f64::from(servers);
            close(wait_exponential(servers, load, 1.0), exact, 6e-4);
            close(wait_approximate(servers, load, 1.0, 1.0), approximate, 6e-4);
        }
        // With one server it is Kingman's and exact for Poisson and exponential.
        close(wait_approximate(1, 0.8, 1.0, 1.0), 4.0, 1e-12);
        // M/D/1 waits half of M/M/1.
        close(wait_general(0.8, 1.0, 1.0), wait_general(0.8, 1.0, 2.0) / 2.0, 1e-12);
        close(wait_general(0.8, 1.0, 2.0), wait_exponential(1, 0.8, 1.0), 1e-12);
        // 200/s, 1 ms, of which 2 % block an event loop for 50 ms more: 70 times the wait at the same load of 40 %.
        let square = 0.98 * 1e-6 + 0.02 * 0.051_f64.powi(2);
        close(wait_general(200.0, 0.002, square), 0.0088, 2e-4);
        assert!(wait_exponential(2, 2.0, 1.0).is_infinite() && wait_general(1.0, 1.0, 1.0).is_infinite());
        assert!(wait_approximate(1, 1.0, 1.0, 1.0).is_infinite());
    }

    /// The tail of M/M/1's wait: P(W > t) = rho exp(-(mu - lambda) t).
    #[test]
    fn quantiles_of_the_wait() {
        let wait = wait_quantile(1, 0.8, 1.0, 1.0, 0.99);
        close(0.8 * (-0.2 * wait).exp(), 0.01, 1e-12);
        close(wait_quantile(1, 0.5, 1.0, 1.0, 0.5), 0.0, 0.0);
    }

    /// Halfin and Whitt: with the root of the work to spare about 22 % wait, with twice that 2.7 %.
    #[test]
    fn square_roots() {
        for (spare, waits) in [(1.0, 0.223), (2.0, 0.027)] {
            let servers = square_root_staffing(10_000.0, spare) as u32;
            close(erlang_c(servers, 10_000.0), waits, 0.005);
        }
    }

    /// 2 ms of work and 50 ms of waiting on two cores.
    #[test]
    fn caps() {
        let cap = |processes, slots, locked| highest_throughput(processes, slots, 0.002, 0.05, 2.0, locked);
        let (sync, bound) = cap(5, 1, true);
        assert!(bound == Bound::Slots && (sync - 96.15).abs() < 0.01, "{sync}");
        let (threads, bound) = cap(5, 8, true);
        assert!(bound == Bound::Slots && (threads - 769.2).abs() < 0.1, "{threads}");
        assert_eq!(cap(1, 1_000, true), (500.0, Bound::Cores));
        assert_eq!(cap(2, 1_000, true), (1_000.0, Bound::Cores));
        assert_eq!(cap(1, 1_000, false), (1_000.0, Bound::Cores));
        close(under_way(100.0, 0.05), 5.0, 1e-12);
        close(slots(100.0, 0.052, 0.65), 8.0, 1e-12);
    }

    #[test]
    fn retries_move_the_boundary() {
        for (retries, from) in [(0.0, 1.0), (1.0, 0.5), (2.0, 1.0 / 3.0), (0.1, 0.909)] {
            close(metastable_from(retries), from, 1e-3);
        }
    }
}
