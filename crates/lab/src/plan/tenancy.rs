//! Shared or own cores, in closed form: when sharing is faster, and how many like this one fit.

use super::formulas::erlang_c;
use crate::simulate::Profile;

/// Windows over which the use of processors is looked at, in seconds: shorter peaks are what queues are for.
const WINDOW: f64 = 0.1;
/// Of a normal distribution: the demand is higher in one window of a hundred.
const ONE_IN_HUNDRED: f64 = 2.326;

/// Mean time in a system of so many cores with Poisson arrivals, in times of service, when `load` cores are needed in all.
#[must_use]
pub fn stretch(cores: u32, load: f64) -> f64 {
    let spare = f64::from(cores) - load;
    if spare <= 0.0 { f64::INFINITY } else { 1.0 + erlang_c(cores, load) / spare }
}

/// Cores that neighbours may use on two shared cores until one own core is faster for a tenant that needs `load` of one.
#[must_use]
pub fn crossover_of_two(load: f64) -> f64 {
    2.0 * load.sqrt() - load
}

/// The same in general: neighbours' use of `shared` cores at which `own` cores are as fast.
#[must_use]
pub fn crossover(shared: u32, own: u32, load: f64) -> f64 {
    let alone = stretch(own, load);
    let (mut low, mut high) = (0.0, (f64::from(shared) - load).max(0.0));
    if alone.is_infinite() {
        return high;
    }
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if stretch(shared, load + middle) < alone { low = middle } else { high = middle }
    }
    low
}

/// What a tenant needs of the processors, in cores: the mean, and the deviation over windows of 100 ms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    pub mean: f64,
    pub deviation: f64,
}

impl Demand {
    /// Of Poisson arrivals at a rate.
    #[must_use]
    pub fn of(profile: &Profile, rate: f64) -> Demand {
        let square = profile.mean(|sample| (f64::from(sample.cpu_us) / 1e6).powi(2));
        Demand::of_moments(profile.cpu(), square, rate)
    }

    /// The same from the mean of a request's CPU seconds and the mean of their squares.
    #[must_use]
    pub fn of_moments(mean: f64, square: f64, rate: f64) -> Demand {
        Demand { mean: rate * mean, deviation: (rate * square / WINDOW).sqrt() }
    }

    /// Cores that suffice for so many of them together in 99 of 100 windows.
    #[must_use]
    pub fn together(&self, tenants: f64) -> f64 {
        tenants * self.mean + ONE_IN_HUNDRED * tenants.sqrt() * self.deviation
    }
}

/// How many tenants fit, and what is full first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    pub tenants: u32,
    pub full: Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    Cores,
    Memory,
}

/// More than this are not counted.
pub const MOST_TENANTS: u32 = 10_000;

/// Tenants on shared cores: peaks of one meet quiet moments of another.
#[must_use]
pub fn fit_shared(demand: Demand, bytes: u64, cores: f64, memory: u64) -> Fit {
    let by_memory = memory.checked_div(bytes).unwrap_or(u64::from(MOST_TENANTS));
    let (mut low, mut high) = (0, MOST_TENANTS);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if demand.together(f64::from(middle)) <= cores { low = middle } else { high = middle - 1 }
    }
    smaller(low, by_memory)
}

/// Tenants that own cores and memory.
#[must_use]
pub fn fit_isolated(own: f64, bytes: u64, cores: f64, memory: u64) -> Fit {
    let by_memory = memory.checked_div(bytes).unwrap_or(u64::from(MOST_TENANTS));
    smaller((cores / own).floor().clamp(0.0, f64::from(MOST_TENANTS)) as u32, by_memory)
}

fn smaller(by_cores: u32, by_memory: u64) -> Fit {
    match u32::try_from(by_memory) {
        Ok(by_memory) if by_memory < by_cores => Fit { tenants: by_memory, full: Full::Memory },
        _ => Fit { tenants: by_cores, full: Full::Cores },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// b* = 2 sqrt(a) - a, and the general search finds the same on two cores.
    #[test]
    fn the_crossover() {
        for (load, exact) in [(0.1, 0.53), (0.2, 0.69), (0.3, 0.80), (0.5, 0.91), (0.7, 0.97), (0.9, 1.00)] {
            assert!((crossover_of_two(load) - exact).abs() < 0.006, "{load}");
            assert!((crossover(2, 1, load) - crossover_of_two(load)).abs() < 1e-9, "{load}");
        }
        assert!(crossover(8, 1, 0.5) > 6.0, "seven cores more forgive much");
        assert!((crossover(2, 1, 1.5) - 0.5).abs() < 1e-9, "one core is not enough at all");
        assert!((stretch(1, 0.5) - 2.0).abs() < 1e-12 && (stretch(2, 1.0) - 4.0 / 3.0).abs() < 1e-12);
    }

    /// Ten tenants with mean and deviation of 0.2 cores need 3.47 cores together and 6.66 apart.
    #[test]
    fn pooling() {
        let demand = Demand { mean: 0.2, deviation: 0.2 };
        assert!(
            (demand.together(10.0) - 3.47).abs() < 0.01 && (10.0 * demand.together(1.0) - 6.65).abs() < 0.01
        );
        let fit = fit_shared(demand, 100, 3.48, 10_000);
        assert_eq!(fit, Fit { tenants: 10, full: Full::Cores });
        assert_eq!(fit_shared(demand, 1_000, 3.48, 3_500), Fit { tenants: 3, full: Full::Memory });
        assert_eq!(fit_isolated(1.0, 100, 3.48, 10_000), Fit { tenants: 3, full: Full::Cores });
        assert_eq!(fit_isolated(1.0, 100, 3.48, 250), Fit { tenants: 2, full: Full::Memory });
    }
}
