//! The scaling ladder: throughput against concurrency, with the law that was fitted.

use super::scale::{Kind, Scale};
use super::svg::Svg;
use super::{Area, SERIES, Width, axes, figure, legend};
use crate::document::Ladder;

/// Empty when no rung has a throughput.
pub(in crate::report) fn ladders(ladders: &[Ladder]) -> String {
    let ladders: Vec<&Ladder> = ladders
        .iter()
        .filter(|ladder| ladder.rungs.iter().any(|rung| rung.throughput.is_some()))
        .take(SERIES)
        .collect();
    if ladders.is_empty() {
        return String::new();
    }
    let description = "Good answers per second in a closed loop against the number of requests at a time. Marks are measured, lines are the universal scalability law fitted to them; a hollow mark is a rung that is not valid.";
    let names: Vec<(usize, String)> = ladders.iter().map(|ladder| ladder.arm.clone()).enumerate().collect();
    let mut text = legend(&names);
    text.push_str(&figure("ladder", "Throughput against concurrency", description, Width::Half, |width| {
        draw(&ladders, width)
    }));
    text
}

fn draw(ladders: &[&Ladder], width: f64) -> Svg {
    let area = Area { left: 56.0, right: width - 10.0, top: 34.0, bottom: 250.0 };
    let mut svg = Svg::new(width, 292.0);
    let rungs = || ladders.iter().flat_map(|ladder| &ladder.rungs);
    let x = Scale::around(rungs().map(|rung| f64::from(rung.concurrency)), Kind::Log, false)
        .between(area.left, area.right);
    let y = Scale::around(rungs().filter_map(|rung| rung.throughput), Kind::Linear, true)
        .between(area.bottom, area.top);
    axes(
        &mut svg,
        Area { left: 50.0, top: 30.0, ..area },
        (&x, "requests at a time"),
        (&y, "answers per second"),
    );
    for (number, ladder) in ladders.iter().enumerate() {
        if let Some(fit) = &ladder.fit {
            let measured = ladder.rungs.iter().map(|rung| f64::from(rung.concurrency));
            let (low, high) =
                measured.fold((f64::INFINITY, 0.0_f64), |(low, high), n| (low.min(n), high.max(n)));
            let curve = x.steps(60).filter(|n| (low..=high).contains(n)).map(|n| (n, fit.throughput(n)));
            svg.line(curve.map(|(n, value)| (x.at(n), y.at(value))), &format!("line s{number}"));
            if let Some(best) = fit.best_concurrency.filter(|best| x.holds(*best) && fit.retrograde) {
                svg.line(
                    [(x.at(best), y.at(fit.throughput(best))), (x.at(best), area.bottom)],
                    &format!("thin s{number}"),
                );
            }
        }
        for rung in &ladder.rungs {
            if let Some(throughput) = rung.throughput {
                let at = (x.at(f64::from(rung.concurrency)), y.at(throughput));
                if rung.valid {
                    svg.mark(number, at.0, at.1);
                } else {
                    svg.rectangle((at.0 - 4.0, at.1 - 4.0), (at.0 + 4.0, at.1 + 4.0), "hollow");
                }
            }
        }
    }
    svg
}
