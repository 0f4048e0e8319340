//! From figures to places: linear and logarithmic axes with readable ticks.

use crate::report::format::plain;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::report) enum Kind {
    Linear,
    Log,
}

/// An axis from `low` at `from` to `high` at `to`, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::report) struct Scale {
    kind: Kind,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

/// What can be drawn: beyond that, differences of floats get lost.
const LARGEST: f64 = 1e12;
const SMALLEST: f64 = 1e-9;

impl Scale {
    /// Around all values that can be drawn, with a little air. `zero` has the axis begin at 0.
    pub(super) fn around(values: impl IntoIterator<Item = f64>, kind: Kind, zero: bool) -> Self {
        let usable = |value: &f64| {
            value.is_finite() && value.abs() <= LARGEST && (kind == Kind::Linear || *value >= SMALLEST)
        };
        let (mut low, mut high) = values
            .into_iter()
            .filter(usable)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        if kind == Kind::Log {
            let air = (high / low).powf(0.06).max(1.1);
            return Scale { kind, low: low / air, high: high * air, from: 0.0, to: 1.0 };
        }
        if zero {
            (low, high) = (low.min(0.0), high.max(0.0));
        }
        let air = ((high - low) * 0.06).max(high.abs().max(low.abs()) * 0.02).max(SMALLEST);
        let low = if zero && low == 0.0 { 0.0 } else { low - air };
        let high = if zero && high == 0.0 { 0.0 } else { high + air };
        Scale { kind, low, high, from: 0.0, to: 1.0 }
    }

    /// From one value to another that is larger, as far as they can be drawn.
    pub(super) fn exactly(low: f64, high: f64) -> Self {
        let low = if low.is_nan() { 0.0 } else { low.clamp(-LARGEST, LARGEST) };
        let high = if high > low { high.min(2.0 * LARGEST) } else { low + 1.0 };
        Scale { kind: Kind::Linear, low, high, from: 0.0, to: 1.0 }
    }

    pub(super) fn between(self, from: f64, to: f64) -> Self {
        Scale { from, to, ..self }
    }

    /// In pixels; what lies beyond is put on the edge, what is no number at the beginning.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = match self.kind {
            Kind::Linear => (value - self.low) / (self.high - self.low),
            Kind::Log => (value.max(SMALLEST) / self.low).ln() / (self.high / self.low).ln(),
        };
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        self.from + share * (self.to - self.from)
    }

    pub(super) fn holds(&self, value: f64) -> bool {
        value >= self.low && value <= self.high
    }

    /// Values evenly spread on the axis, ends included.
    pub(super) fn steps(&self, count: usize) -> impl Iterator<Item = f64> + '_ {
        (0..=count).map(move |i| {
            let share = i as f64 / count as f64;
            match self.kind {
                Kind::Linear => self.low + share * (self.high - self.low),
                Kind::Log => self.low * (self.high / self.low).powf(share),
            }
        })
    }

    /// About `count` round values, and how they are written.
    pub(super) fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        let values = match self.kind {
            Kind::Linear => self.linear(count),
            Kind::Log => self.logarithmic(count),
        };
        values.into_iter().map(|value| (value, plain(Some(value)))).collect()
    }

    fn linear(&self, count: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / count.max(1) as f64;
        let magnitude = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * magnitude).find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(10.0 * magnitude);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        // Rounding may let in one more; never many.
        (first..=last.min(first.saturating_add(20))).map(|i| i as f64 * step).collect()
    }

    fn logarithmic(&self, count: usize) -> Vec<f64> {
        let decades = (self.low.log10().floor() as i32)..=(self.high.log10().ceil() as i32);
        let of = |digits: &[f64]| -> Vec<f64> {
            let all = decades.clone().flat_map(|e| digits.iter().map(move |digit| digit * 10_f64.powi(e)));
            all.filter(|value| self.holds(*value)).collect()
        };
        let choices: [&[f64]; 4] = [&[1.0, 1.5, 2.0, 3.0, 5.0, 7.0], &[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
        let chosen = choices.iter().map(|digits| of(digits)).find(|ticks| ticks.len() <= count.max(2));
        let ticks = chosen.unwrap_or_default();
        // Less than half a decade, or very many decades: as on a linear axis.
        if ticks.len() >= 2 {
            ticks
        } else {
            self.linear(count).into_iter().filter(|value| *value > 0.0).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, count: usize) -> Vec<String> {
        scale.ticks(count).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(labels(Scale::exactly(0.0, 100.0), 5), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(Scale::around([0.6, 2.9], Kind::Log, false), 6), ["0.7", "1", "1.5", "2", "3"]);
        assert_eq!(
            labels(Scale::around([3.0, 900.0], Kind::Log, false), 6),
            ["3", "10", "30", "100", "300", "1,000"]
        );
        for values in [[0.0, 0.0], [1e-300, 1e300], [f64::NAN, f64::INFINITY], [-5.0, 1e11], [1e12, 1e12]] {
            for kind in [Kind::Linear, Kind::Log] {
                let scale = Scale::around(values, kind, true).between(0.0, 100.0);
                let ticks = scale.ticks(6);
                assert!(
                    ticks.len() <= 21 && ticks.iter().all(|(value, _)| value.is_finite()),
                    "{values:?} {kind:?}"
                );
                for value in [0.0, -1.0, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                    assert!((0.0..=100.0).contains(&scale.at(value)), "{values:?} {kind:?} {value}");
                }
            }
        }
        for (low, high) in
            [(f64::MIN, f64::MAX), (f64::NAN, 1.0), (5.0, 5.0), (f64::MAX, f64::INFINITY), (2.0, f64::NAN)]
        {
            assert!(Scale::exactly(low, high).ticks(6).len() <= 21, "{low} {high}");
        }
    }

    #[test]
    fn places_are_in_order() {
        let scale = Scale::around([1.0, 100.0], Kind::Log, false).between(200.0, 0.0);
        assert!(scale.at(1.0) > scale.at(10.0) && scale.at(10.0) > scale.at(100.0));
        assert!((scale.at(10.0) - 100.0).abs() < 1e-6);
        let values: Vec<f64> = scale.steps(10).collect();
        assert!(values.is_sorted() && values.len() == 11);
    }
}
