//! Writing SVG: shapes with classes, text escaped, places rounded to a tenth of a pixel.

use std::fmt::Write as _;

use super::SERIES;
use crate::report::escape;

pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Svg { width, height, body: String::new() }
    }

    /// A line through points.
    pub(super) fn line(&mut self, points: impl IntoIterator<Item = (f64, f64)>, class: &str) {
        let mut path = String::new();
        for (x, y) in points {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{x:.1} {y:.1}");
        }
        let _ = write!(self.body, "<path class=\"{class}\" d=\"{path}\"/>");
    }

    /// A closed surface.
    pub(super) fn surface(&mut self, points: impl IntoIterator<Item = (f64, f64)>, class: &str) {
        let mut path = String::new();
        for (x, y) in points {
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        let _ = write!(self.body, "<polygon class=\"{class}\" points=\"{}\"/>", path.trim_end());
    }

    pub(super) fn rectangle(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let (x, y) = (from.0.min(to.0), from.1.min(to.1));
        let (width, height) = ((from.0 - to.0).abs(), (from.1 - to.1).abs());
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        );
    }

    /// `anchor` is "start", "middle" or "end".
    pub(super) fn text(&mut self, x: f64, y: f64, anchor: &str, class: &str, text: &str) {
        let text = escape::html(text);
        let _ = write!(
            self.body,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    /// A point of a series: circle, diamond, triangle, square.
    pub(super) fn mark(&mut self, series: usize, x: f64, y: f64) {
        self.shape(series % SERIES, series, x, y);
    }

    /// The mark of one series in the colour of another.
    pub(super) fn shape(&mut self, shape: usize, series: usize, x: f64, y: f64) {
        let number = series % SERIES;
        let class = format!("mark s{number}");
        let around =
            |corners: &[(f64, f64)]| corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect::<Vec<_>>();
        match shape {
            0 => {
                let _ =
                    write!(self.body, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>");
            }
            1 => self.surface(around(&[(0.0, -6.0), (6.0, 0.0), (0.0, 6.0), (-6.0, 0.0)]), &class),
            2 => self.surface(around(&[(0.0, -5.5), (5.5, 4.5), (-5.5, 4.5)]), &class),
            _ => self.surface(around(&[(-4.5, -4.5), (4.5, -4.5), (4.5, 4.5), (-4.5, 4.5)]), &class),
        }
    }

    /// The element, with what it shows in words for those who do not see it.
    pub(super) fn finish(self, id: &str, class: &str, title: &str, description: &str) -> String {
        let (title, description) = (escape::html(title), escape::html(description));
        format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {:.0} {:.0}\" width=\"{:.0}\" height=\"{:.0}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\"><title id=\"{id}-title\">{title}</title><desc id=\"{id}-desc\">{description}</desc>{}</svg>\n",
            self.width, self.height, self.width, self.height, self.body
        )
    }

    /// The element where the text beside it says everything.
    pub(super) fn decoration(self) -> String {
        format!(
            "<svg width=\"{:.0}\" height=\"{:.0}\" aria-hidden=\"true\">{}</svg>",
            self.width, self.height, self.body
        )
    }
}

/// About so wide is a text of 13 pixels, cut to fit into `width`.
pub(super) fn fit(text: &str, width: f64) -> String {
    const CHARACTER: f64 = 6.9;
    let room = (width / CHARACTER).max(1.0) as usize;
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let cut: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// A text in lines that are no wider than `width`, at most `most`; what is left is cut.
pub(super) fn wrap(text: &str, width: f64, most: usize) -> Vec<String> {
    const CHARACTER: f64 = 6.9;
    let room = (width / CHARACTER).max(4.0) as usize;
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let used = lines[last].chars().count();
        if used > 0 && used + 1 + word.chars().count() > room {
            if lines.len() == most {
                lines[last].push('…');
                break;
            }
            lines.push(word.to_owned());
        } else {
            if used > 0 {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines.iter().map(|line| fit(line, width + CHARACTER)).collect()
}
