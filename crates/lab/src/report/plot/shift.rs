//! The shift function: how much slower or faster one arm is, at each place of the distribution.

use super::scale::{Kind, Scale};
use super::svg::Svg;
use super::{Area, Width, figure};
use crate::document::Shift;
use crate::report::format::quantile;

/// Difference of each quantile with its band. Empty when no difference is known.
pub(in crate::report) fn shift(shift: &Shift, number: usize) -> String {
    if shift.points.iter().all(|point| point.difference_ms.is_none()) {
        return String::new();
    }
    let description = format!(
        "Each quantile of {b} minus that of {a}, with its 95 % band. Above the zero line {b} is slower, below it is faster. Where the band holds zero, the quantile is not known to differ.",
        a = shift.a,
        b = shift.b
    );
    let title = format!("Shift function: {} against {}", shift.b, shift.a);
    figure(&format!("shift-{number}"), &title, &description, Width::Half, |width| draw(shift, width))
}

fn draw(shift: &Shift, width: f64) -> Svg {
    let area = Area { left: 56.0, right: width - 10.0, top: 34.0, bottom: 250.0 };
    let mut svg = Svg::new(width, 292.0);
    let known = || shift.points.iter().filter_map(|point| point.difference_ms);
    let edges = shift.points.iter().flat_map(|point| point.difference_ci).flatten();
    let y =
        Scale::around(known().chain(edges).chain([0.0]), Kind::Linear, false).between(area.bottom, area.top);
    let step = (area.right - area.left) / shift.points.len().max(1) as f64;
    let x = |i: usize| area.left + (i as f64 + 0.5) * step;
    for (value, label) in y.ticks(5) {
        let at = y.at(value);
        svg.line([(area.left, at), (area.right, at)], "grid");
        svg.text(area.left - 6.0, at + 4.0, "end", "tick", &label);
    }
    // A side without a limit goes to the edge of the plot.
    let edge = |side: usize, otherwise: f64| {
        move |(i, point): (usize, &crate::document::ShiftPoint)| {
            (i, point.difference_ci[side].unwrap_or(otherwise))
        }
    };
    let drawn = || shift.points.iter().enumerate().filter(|(_, point)| point.difference_ms.is_some());
    let upper = drawn().map(edge(1, f64::INFINITY));
    let lower: Vec<_> = drawn().map(edge(0, f64::NEG_INFINITY)).collect();
    let around = upper.chain(lower.into_iter().rev()).map(|(i, value)| (x(i), y.at(value)));
    svg.surface(around, "band s0");
    svg.line([(area.left, y.at(0.0)), (area.right, y.at(0.0))], "zero");
    svg.line(drawn().filter_map(|(i, point)| Some((x(i), y.at(point.difference_ms?)))), "line s0");
    for (i, point) in shift.points.iter().enumerate() {
        if let Some(value) = point.difference_ms {
            svg.mark(0, x(i), y.at(value));
        }
        // On a phone every second quantile is named, and always the last ones.
        if step > 34.0 || i % 2 == 0 || i + 2 >= shift.points.len() && step > 27.0 {
            svg.text(x(i), area.bottom + 18.0, "middle", "tick", &quantile(point.q));
        }
    }
    svg.line([(area.left, area.bottom), (area.right, area.bottom)], "axis");
    svg.text(
        area.left - 50.0,
        area.top - 16.0,
        "start",
        "label",
        &format!("ms, {} minus {}", shift.b, shift.a),
    );
    svg.text(area.right, area.bottom + 36.0, "end", "label", "quantile of the latency");
    svg
}
