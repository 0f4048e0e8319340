//! Memory against what it may grow with, and the slope.

use super::scale::{Kind, Scale};
use super::svg::Svg;
use super::{Area, Width, axes, figure};
use crate::document::MemoryGrowth;
use crate::report::format;

const MIB: f64 = 1_048_576.0;
/// Points that are drawn.
const MOST: usize = 1_000;

/// Empty when there are no points.
pub(in crate::report) fn memory(growth: &MemoryGrowth, number: usize) -> String {
    if growth.points.is_empty() {
        return String::new();
    }
    let slope = format!(
        "{} for each, 95 % interval {} to {}",
        format::bytes(growth.slope),
        format::bytes(growth.slope_ci[0]),
        format::bytes(growth.slope_ci[1])
    );
    let description = format!(
        "Memory of {} against {}: {slope}; it {}. The line is the Theil-Sen slope.",
        growth.arm,
        growth.against,
        verb(growth)
    );
    let title = format!("Memory against {}", growth.against);
    figure(&format!("memory-{number}"), &title, &description, Width::Half, |width| draw(growth, width))
}

fn verb(growth: &MemoryGrowth) -> String {
    use crate::document::Growth;
    match growth.growth {
        Growth::PerConcurrentRequest => "is what each concurrent request needs".to_owned(),
        Growth::Unknown => "is not known whether it ends".to_owned(),
        other => format::growth(other).to_owned(),
    }
}

fn draw(growth: &MemoryGrowth, width: f64) -> Svg {
    let area = Area { left: 56.0, right: width - 10.0, top: 34.0, bottom: 250.0 };
    let mut svg = Svg::new(width, 292.0);
    let every = growth.points.len().div_ceil(MOST);
    let points = || growth.points.iter().step_by(every).map(|(x, bytes)| (*x, bytes / MIB));
    let x = Scale::around(points().map(|(x, _)| x), Kind::Linear, true).between(area.left, area.right);
    let highest = points().map(|(_, y)| y).fold(0.0_f64, f64::max);
    // A limit far above would press everything flat; then it is only in the text.
    let limit = growth.limit_bytes.map(|limit| limit as f64 / MIB).filter(|limit| *limit < highest * 1.6);
    let y = Scale::around(points().map(|(_, y)| y).chain(limit), Kind::Linear, false)
        .between(area.bottom, area.top);
    axes(&mut svg, Area { left: 50.0, top: 30.0, ..area }, (&x, &growth.against), (&y, "MiB"));
    if let Some(limit) = limit {
        svg.line([(area.left, y.at(limit)), (area.right, y.at(limit))], "limit");
        svg.text(area.right, y.at(limit) - 5.0, "end", "label", "limit");
    }
    for (at, mib) in points() {
        svg.mark(0, x.at(at), y.at(mib));
    }
    if let (Some(slope), Some(intercept)) = (growth.slope, growth.intercept) {
        let ends = points()
            .map(|(at, _)| at)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| (low.min(at), high.max(at)));
        let place = |at: f64| (x.at(at), y.at((intercept + slope * at) / MIB));
        svg.line([place(ends.0), place(ends.1)], "line s1");
    }
    svg
}
