//! Plots as SVG, of our own: a few kinds, drawn for the width they are shown at, because text of a plot that is scaled down
//! to a phone cannot be read. Each is therefore drawn twice, and the style sheet shows one.
//!
//! Colours are classes of the style sheet (light and dark). Series differ by mark and dash too.

mod forest;
mod ladder;
mod latency;
mod memory;
mod scale;
mod scorecard;
mod shift;
mod svg;

use std::fmt::Write as _;

pub(super) use self::forest::forest;
pub(super) use self::ladder::ladders;
pub(super) use self::latency::latency;
pub(super) use self::memory::memory;
pub(super) use self::scorecard::scorecard;
pub(super) use self::shift::shift;
use self::svg::Svg;
use super::escape;

/// Series that can be told apart; more begin again.
const SERIES: usize = 4;

/// Widths in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Full,
    Half,
}

/// On a phone of 375 pixels.
const NARROW: f64 = 343.0;

/// Where data are drawn, inside the margins.
#[derive(Debug, Clone, Copy)]
struct Area {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Area {
    fn width(&self) -> f64 {
        self.right - self.left
    }
}

/// A plot drawn for a wide and a narrow page, with its title, description and caption.
fn figure(id: &str, title: &str, description: &str, width: Width, draw: impl Fn(f64) -> Svg) -> String {
    let wide = if width == Width::Full { 1040.0 } else { 500.0 };
    let mut text = format!("<figure class=\"{}\">\n", if width == Width::Full { "full" } else { "half" });
    text.push_str(&draw(wide).finish(&format!("{id}-wide"), "wide", title, description));
    text.push_str(&draw(NARROW).finish(&format!("{id}-narrow"), "narrow", title, description));
    let _ = writeln!(text, "<figcaption>{}</figcaption></figure>", escape::html(description));
    text
}

/// What mark and dash stand for which series.
fn legend(series: &[(usize, String)]) -> String {
    let mut text = "<ul class=\"legend\">".to_owned();
    for (number, name) in series {
        let mut swatch = Svg::new(28.0, 14.0);
        swatch.line([(1.0, 7.0), (27.0, 7.0)], &format!("line s{}", number % SERIES));
        swatch.mark(*number, 14.0, 7.0);
        let _ = write!(text, "<li>{}{}</li>", swatch.decoration(), escape::html(name));
    }
    text.push_str("</ul>\n");
    text
}

/// The frame of a plot with two axes: grid lines, ticks and what they are of.
fn axes(svg: &mut Svg, area: Area, x: (&scale::Scale, &str), y: (&scale::Scale, &str)) {
    let ((x, x_title), (y, y_title)) = (x, y);
    for (value, label) in y.ticks(5) {
        let at = y.at(value);
        svg.line([(area.left, at), (area.right, at)], "grid");
        svg.text(area.left - 6.0, at + 4.0, "end", "tick", &label);
    }
    for (value, label) in x.ticks((area.width() / 60.0) as usize) {
        let at = x.at(value);
        svg.line([(at, area.bottom), (at, area.bottom + 4.0)], "axis");
        svg.text(at, area.bottom + 18.0, "middle", "tick", &label);
    }
    svg.line([(area.left, area.bottom), (area.right, area.bottom)], "axis");
    svg.text(area.right, area.bottom + 36.0, "end", "label", x_title);
    svg.text(area.left - 44.0, area.top - 10.0, "start", "label", y_title);
}
