//! Latency over time: what happened in which block, so that a drift, a pause or a bad block is seen.

use super::scale::{Kind, Scale};
use super::svg::Svg;
use super::{Area, SERIES, Width, axes, figure, legend};
use crate::document::{Block, Document, Moment};

/// Blocks in order, median as a line with marks and p95 as a thin one. Empty when there is no timeline.
pub(in crate::report) fn latency(document: &Document) -> String {
    let blocks: Vec<(&Block, Vec<&Moment>)> = document
        .blocks
        .iter()
        .map(|block| (block, document.timeline.iter().filter(|moment| moment.block == block.index).collect()))
        .filter(|(_, moments): &(_, Vec<_>)| !moments.is_empty())
        .collect();
    if blocks.is_empty() {
        return String::new();
    }
    let mut arms: Vec<&str> = Vec::new();
    for (block, _) in &blocks {
        if !arms.contains(&block.arm.as_str()) {
            arms.push(&block.arm);
        }
    }
    let number = |arm: &str| arms.iter().position(|known| *known == arm).unwrap_or(0);
    let invalid = blocks.iter().filter(|(block, _)| !block.valid).count();
    let description = format!(
        "Latency in short windows, from the planned time. Thick: median. Thin: 95th percentile. Each column is a block, its arm is named above it; {}.",
        if invalid == 0 {
            "all blocks are valid".to_owned()
        } else {
            format!("{invalid} hatched blocks are not valid and not counted")
        }
    );
    let draw = |width: f64| draw(&blocks, &number, width);
    let mut text = legend(&names(document, &arms));
    text.push_str(&figure("latency", "Latency over time", &description, Width::Full, draw));
    text
}

/// Arms with their titles.
fn names(document: &Document, arms: &[&str]) -> Vec<(usize, String)> {
    let title =
        |name: &str| document.arm(name).map(|arm| arm.title.clone()).filter(|title| !title.is_empty());
    let named = |name: &&str| title(name).map_or((*name).to_owned(), |title| format!("{name}: {title}"));
    arms.iter().map(named).enumerate().collect()
}

fn draw(blocks: &[(&Block, Vec<&Moment>)], number: &dyn Fn(&str) -> usize, width: f64) -> Svg {
    let area = Area { left: 50.0, right: width - 8.0, top: 44.0, bottom: 260.0 };
    let mut svg = Svg::new(width, 300.0);
    let moments = || blocks.iter().flat_map(|(_, moments)| moments.iter());
    let values = moments().flat_map(|moment| [moment.p50_ms, moment.p95_ms]).flatten();
    let y = Scale::around(values, Kind::Log, false).between(area.bottom, area.top);
    let ends = blocks.iter().flat_map(|(block, _)| [block.at_seconds, block.at_seconds + block.seconds]);
    let (first, last) = ends
        .filter(|end| end.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), end| (low.min(end), high.max(end)));
    let x = Scale::exactly(first, last).between(area.left, area.right);
    for (block, _) in blocks {
        let (from, to) = (x.at(block.at_seconds), x.at(block.at_seconds + block.seconds));
        let class = if block.valid {
            format!("block s{}", number(&block.arm) % SERIES)
        } else {
            "invalid".to_owned()
        };
        svg.rectangle((from, area.top), (to, area.bottom), &class);
        if to - from > 6.0 * block.arm.chars().count() as f64 + 4.0 {
            svg.text(f64::midpoint(from, to), area.top - 6.0, "middle", "tick", &block.arm);
        } else {
            svg.rectangle(
                (from, area.top - 7.0),
                (to, area.top - 2.0),
                &format!("key s{}", number(&block.arm) % SERIES),
            );
        }
    }
    axes(&mut svg, Area { top: 24.0, ..area }, (&x, "seconds since the start"), (&y, "ms"));
    for (block, moments) in blocks {
        let series = number(&block.arm) % SERIES;
        let line = |value: fn(&Moment) -> Option<f64>| {
            let place = |moment: &&Moment| value(moment).map(|ms| (x.at(moment.at_seconds), y.at(ms)));
            moments.iter().filter_map(place).collect::<Vec<_>>()
        };
        svg.line(line(|moment| moment.p95_ms), &format!("thin s{series}"));
        svg.line(line(|moment| moment.p50_ms), &format!("line solid s{series}"));
    }
    svg
}
