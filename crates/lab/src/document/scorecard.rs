//! The five dimensions on which hosting is compared.

use serde::{Deserialize, Serialize};

use super::answer::Bounds;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    Cost,
    PerformancePredictability,
    OperationalComplexity,
    FailureTransparency,
    ScalingControl,
    #[default]
    #[serde(other)]
    Unknown,
}

impl Dimension {
    pub const ALL: [Dimension; 5] = [
        Dimension::Cost,
        Dimension::PerformancePredictability,
        Dimension::OperationalComplexity,
        Dimension::FailureTransparency,
        Dimension::ScalingControl,
    ];

    /// For people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Dimension::Cost => "cost",
            Dimension::PerformancePredictability => "performance predictability",
            Dimension::OperationalComplexity => "operational complexity",
            Dimension::FailureTransparency => "failure transparency",
            Dimension::ScalingControl => "scaling control",
            Dimension::Unknown => "unknown",
        }
    }
}

/// What each dimension counts; they need not add up to anything.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Weights {
    pub cost: f64,
    pub performance_predictability: f64,
    pub operational_complexity: f64,
    pub failure_transparency: f64,
    pub scaling_control: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Weights {
            cost: 20.0,
            performance_predictability: 20.0,
            operational_complexity: 20.0,
            failure_transparency: 20.0,
            scaling_control: 20.0,
        }
    }
}

impl Weights {
    /// In the order of [`Dimension::ALL`].
    #[must_use]
    pub fn values(&self) -> [f64; 5] {
        [
            self.cost,
            self.performance_predictability,
            self.operational_complexity,
            self.failure_transparency,
            self.scaling_control,
        ]
    }
}

/// All options on all dimensions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Scorecard {
    pub weights: Weights,
    pub options: Vec<ScoredOption>,
    /// None: no clear winner.
    pub winner: Option<String>,
    /// Share of the draws (of weights and of measurements) in which the winner, or the best on average, wins.
    pub robustness: Option<f64>,
    pub draws: u32,
    pub sentence: Option<String>,
}

/// One option.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ScoredOption {
    /// "shared", "isolated", or an arm.
    pub name: String,
    pub scores: Vec<Score>,
    /// Weighted mean over the dimensions that are known of every option; none when there is no such dimension.
    pub total: Option<f64>,
    /// The option that is better on every dimension, beyond the intervals.
    pub dominated_by: Option<String>,
}

/// One option on one dimension: 0 to 100, more is better.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Score {
    pub dimension: Dimension,
    pub score: Option<f64>,
    pub ci: Bounds,
    /// What it is made of, in words with figures: "1.42 EUR per million requests".
    pub raw: String,
    /// Counted by rules, not measured.
    pub rule_based: bool,
    /// Each thing that was counted, or why there is no score.
    pub details: Vec<String>,
}
