//! The forest plot: every question with its effect, its interval, and the two bands it has to leave to count.

use super::scale::{Kind, Scale};
use super::svg::{Svg, wrap};
use super::{Area, Width, figure};
use crate::document::Answer;
use crate::report::format;

/// Height of a row with its question beside it, and above it.
const BESIDE: f64 = 50.0;
const ABOVE: f64 = 90.0;
/// Rows of one plot; the table has all.
const MOST: usize = 40;

/// Empty when no answer has a ratio.
pub(in crate::report) fn forest(answers: &[Answer]) -> String {
    let answers: Vec<&Answer> = answers.iter().filter(|answer| answer.ratio.is_some()).take(MOST).collect();
    if answers.is_empty() {
        return String::new();
    }
    let description = "Ratio with its 95 % interval for each question. To the right of 1 it speaks for the statement, to the left against it. Grey: too small to matter, fixed before measuring. Hatched: what the same arm compared with itself showed in this session.";
    figure("verdicts", "Verdicts: effect and interval of each question", description, Width::Full, |width| {
        draw(&answers, width)
    })
}

fn draw(answers: &[&Answer], width: f64) -> Svg {
    let beside = width > 700.0;
    let row = if beside { BESIDE } else { ABOVE };
    let (left, right) = if beside { (400.0, width - 170.0) } else { (10.0, width - 10.0) };
    let bottom = 34.0 + row * answers.len() as f64;
    let area = Area { left, right, top: 34.0, bottom };
    let mut svg = Svg::new(width, bottom + 44.0);
    let inverse = |value: Option<f64>| value.map(|value| 1.0 / value);
    let values = answers.iter().flat_map(|answer| {
        [
            answer.ratio,
            answer.ci[0],
            answer.ci[1],
            answer.delta,
            inverse(answer.delta),
            answer.delta_aa,
            inverse(answer.delta_aa),
        ]
    });
    // What is 20 times as much or more is on the edge: the bands must stay visible.
    let values = values.flatten().map(|value| value.clamp(0.05, 20.0));
    let x = Scale::around(values.chain([0.7, 1.5]), Kind::Log, false).between(area.left, area.right);
    let ticks = x.ticks((area.width() / 60.0) as usize);
    for (value, label) in &ticks {
        svg.text(x.at(*value), area.bottom + 18.0, "middle", "tick", &format!("{label}×"));
    }
    for (i, answer) in answers.iter().enumerate() {
        let top = area.top + row * i as f64;
        let center = if beside { top + row / 2.0 } else { top + row - 18.0 };
        // Lines stay out of the words where these are above.
        let (from, to) = if beside { (top, top + row) } else { (center - 16.0, center + 16.0) };
        for (value, _) in &ticks {
            svg.line([(x.at(*value), from), (x.at(*value), to)], "grid");
        }
        bands(&mut svg, answer, &x, center);
        svg.line([(x.at(1.0), from), (x.at(1.0), to)], "zero");
        interval(&mut svg, answer, &x, center);
        words(&mut svg, answer, top, center, if beside { None } else { Some(width) });
        if i > 0 {
            svg.line([(0.0, top), (width, top)], "row");
        }
    }
    svg.line([(area.left, area.bottom), (area.right, area.bottom)], "axis");
    svg.text(area.right, 18.0, "end", "label", "speaks for it →");
    svg.text(area.left, 18.0, "start", "label", "← against it");
    svg.text(area.right, area.bottom + 38.0, "end", "label", "ratio");
    svg
}

fn bands(svg: &mut Svg, answer: &Answer, x: &Scale, center: f64) {
    for (limit, half, class) in [(answer.delta, 15.0, "immaterial"), (answer.delta_aa, 8.0, "noise")] {
        if let Some(limit) = limit.filter(|limit| *limit > 1.0) {
            svg.rectangle((x.at(1.0 / limit), center - half), (x.at(limit), center + half), class);
        }
    }
}

fn interval(svg: &mut Svg, answer: &Answer, x: &Scale, center: f64) {
    let low = answer.ci[0].unwrap_or(0.0);
    let high = answer.ci[1].unwrap_or(f64::INFINITY);
    // Where all of it is beyond the plot there is only the mark at the edge; the words say where it is.
    if x.at(high) - x.at(low) > 0.0 {
        svg.line([(x.at(low), center), (x.at(high), center)], "line solid s0");
        // An end that is known has a stop, one without a limit or beyond the plot an arrow.
        for (value, side) in [(low, -1.0), (high, 1.0)] {
            let at = x.at(value);
            if x.holds(value) {
                svg.line([(at, center - 6.0), (at, center + 6.0)], "line solid s0");
            } else {
                let tip = at - side * 7.0;
                svg.line([(tip, center - 5.0), (at, center), (tip, center + 5.0)], "line solid s0");
            }
        }
    }
    if let Some(ratio) = answer.ratio {
        svg.shape(1, 0, x.at(ratio), center);
    }
}

/// The question and the verdict; above the interval when `narrow` has the width.
fn words(svg: &mut Svg, answer: &Answer, top: f64, center: f64, narrow: Option<f64>) {
    let (word, sign) = format::verdict(answer.verdict);
    let question =
        if answer.primary { answer.question.clone() } else { format!("{} (exploratory)", answer.question) };
    if let Some(width) = narrow {
        for (i, line) in wrap(&question, width - 10.0, 2).iter().enumerate() {
            svg.text(0.0, top + 16.0 + 16.0 * i as f64, "start", "name", line);
        }
        svg.text(
            0.0,
            top + 48.0,
            "start",
            "verdict",
            &format!("{sign} {word}, {}", format::ratio(answer.ratio)),
        );
    } else {
        let lines = wrap(&question, 380.0, 2);
        let first = center + 5.0 - 8.0 * (lines.len() as f64 - 1.0);
        for (i, line) in lines.iter().enumerate() {
            svg.text(0.0, first + 16.0 * i as f64, "start", "name", line);
        }
        svg.text(880.0, center - 3.0, "start", "verdict", &format!("{sign} {word}"));
        svg.text(
            880.0,
            center + 14.0,
            "start",
            "tick",
            &format!("{} {}", format::ratio(answer.ratio), format::interval(&answer.ci)),
        );
    }
}
