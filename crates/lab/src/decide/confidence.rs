//! How sure a recommendation is, and why not surer.

use super::inputs::Inputs;
use crate::document::Confidence;
use crate::statistics::verdict::FEWEST_PAIRS;

/// Unknown figures that leave little to stand on.
const MANY: usize = 3;

pub(super) fn judge(inputs: &Inputs, unknown: &[&str], contested: bool) -> (Confidence, String) {
    let quality = inputs.quality;
    let mut against: Vec<String> = Vec::new();
    let mut low = unknown.len() >= MANY;
    if !unknown.is_empty() {
        against.push(format!("not known: {}", unknown.join(", ")));
    }
    match quality.valid_pairs {
        Some(pairs) if (pairs as usize) < FEWEST_PAIRS => {
            low = true;
            against.push(format!(
                "{pairs} valid pairs of blocks, {FEWEST_PAIRS} are the fewest that can conclude anything"
            ));
        }
        Some(pairs) => {
            if let Some(planned) = quality.planned_pairs.filter(|planned| *planned > pairs) {
                against.push(format!("{} of {planned} pairs of blocks were not valid", planned - pairs));
            }
        }
        None => {
            low = true;
            against.push("nothing was compared in pairs".into());
        }
    }
    if let (Some(noise), Some(material)) = (quality.noise, quality.material)
        && noise > material
    {
        low = true;
        against.push(format!("this machine is noisy: an arm compared with itself showed {noise:.2} times as much, {material:.2} is what matters"));
    }
    if contested {
        against.push("two rules disagree, or the figure is near its threshold".into());
    }
    match (low, against.is_empty()) {
        (true, _) => (Confidence::Low, against.join("; ")),
        (false, false) => (Confidence::Medium, against.join("; ")),
        (false, true) => {
            (Confidence::High, "all figures are known, all pairs valid, and the noise is small".into())
        }
    }
}
