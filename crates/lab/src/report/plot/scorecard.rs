//! The five dimensions: every option on each, from 0 to 100.

use super::scale::Scale;
use super::svg::Svg;
use super::{Area, SERIES, Width, figure, legend};
use crate::document::{Dimension, Scorecard};

const ROW: f64 = 56.0;

/// Empty when no option has a score.
pub(in crate::report) fn scorecard(card: &Scorecard) -> String {
    if card.options.iter().all(|option| option.scores.iter().all(|score| score.score.is_none())) {
        return String::new();
    }
    let names: Vec<(usize, String)> =
        card.options.iter().take(SERIES).map(|option| option.name.clone()).enumerate().collect();
    let mut text = legend(&names);
    text.push_str(&figure(
        "scorecard",
        "Five dimensions",
        "Scores from 0 to 100 with their intervals; more is better, also for operational complexity, where it means less of it.",
        Width::Full,
        |width| draw(card, width),
    ));
    text
}

fn draw(card: &Scorecard, width: f64) -> Svg {
    let beside = width > 700.0;
    let left = if beside { 250.0 } else { 10.0 };
    let bottom = 10.0 + ROW * Dimension::ALL.len() as f64;
    let area = Area { left, right: width - 20.0, top: 10.0, bottom };
    let mut svg = Svg::new(width, bottom + 26.0);
    let x = Scale::exactly(0.0, 100.0).between(area.left, area.right);
    for (value, label) in x.ticks(5) {
        svg.line([(x.at(value), area.top), (x.at(value), area.bottom)], "grid");
        svg.text(x.at(value), area.bottom + 18.0, "middle", "tick", &label);
    }
    for (i, dimension) in Dimension::ALL.into_iter().enumerate() {
        let top = area.top + ROW * i as f64;
        if i > 0 {
            svg.line([(0.0, top), (width, top)], "row");
        }
        let (y, first) =
            if beside { (top + ROW / 2.0 + 5.0, top + ROW / 2.0) } else { (top + 16.0, top + 36.0) };
        svg.text(0.0, y, "start", "name", dimension.title());
        let spread = if beside { 13.0 } else { 10.0 };
        let options = card.options.iter().take(SERIES).enumerate();
        let middle = (card.options.len().min(SERIES) as f64 - 1.0) / 2.0;
        for (number, option) in options {
            let at = first + spread * (number as f64 - middle);
            let Some(score) = option.scores.iter().find(|score| score.dimension == dimension) else {
                continue;
            };
            let Some(value) = score.score else { continue };
            if let [Some(low), Some(high)] = score.ci {
                svg.line([(x.at(low), at), (x.at(high), at)], &format!("line solid s{number}"));
            }
            svg.mark(number, x.at(value), at);
        }
    }
    svg
}
