//! `baseline.json` and `personas.json`: what the base looked like when the models were fitted.
//!
//! In: histograms of features and scores, a typical customer, the personas. Out: the same from
//! disk. Monitoring holds a later base against it; explanations and outputs read the rest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::evaluate::Histogram;
use crate::features::FeatureSchema;
use crate::model::{Persona, PersonaTrait, Personas, TypicalCustomer};

/// `baseline.json`: the base on the last day that training looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselineV1 {
    /// The last day seen.
    pub as_of: String,
    /// Customers who had bought by then.
    pub customers: u64,
    /// The customer that the purchase-count model is explained against.
    pub typical: TypicalV1,
    /// Each feature's distribution, by name.
    pub features: BTreeMap<String, HistogramV1>,
    /// Distribution of the probability of churn.
    pub churn_prob: HistogramV1,
    /// Mean probability of churn.
    pub churn_prob_mean: f64,
    /// Distribution of the expected value; none without a value model.
    pub value: Option<HistogramV1>,
}

/// `baseline.json` of a table bundle: the rows that were learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableBaselineV1 {
    /// Rows learned from.
    pub rows: u64,
    /// Each column's distribution, by name: of a category that of its levels by their places.
    pub columns: BTreeMap<String, HistogramV1>,
    /// Distribution of the probability of churn; none without a churn model.
    pub churn_prob: Option<HistogramV1>,
    /// Mean probability of churn.
    pub churn_prob_mean: Option<f64>,
    /// Distribution of the expected value; none without a value model.
    pub value: Option<HistogramV1>,
}

impl TableBaselineV1 {
    /// What is wrong with it, if anything is.
    pub(super) fn problem(&self) -> Option<String> {
        let named = self.columns.iter().map(|(name, held)| (name.as_str(), held));
        let scores = [("churn_prob", self.churn_prob.as_ref()), ("value", self.value.as_ref())];
        let scores = scores.into_iter().filter_map(|(name, held)| Some((name, held?)));
        unsound(named.chain(scores))
    }
}

/// The first histogram that is none, in words.
fn unsound<'h>(mut all: impl Iterator<Item = (&'h str, &'h HistogramV1)>) -> Option<String> {
    let bad = all.find(|(_, held)| !Histogram::from((*held).clone()).is_sound());
    bad.map(|(name, _)| format!("the histogram of {name} has no ascending bins"))
}

/// Medians of the inputs of the purchase-count model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypicalV1 {
    /// Repeat purchase days.
    pub repeats: u32,
    /// Days from the first to the last purchase day.
    pub active_days: f64,
    /// Days since the last purchase day.
    pub silent_days: f64,
}

/// A histogram with fixed bins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistogramV1 {
    /// Upper ends of all bins but the last.
    pub edges: Vec<f64>,
    /// Numbers in each bin.
    pub counts: Vec<u64>,
    /// Missing numbers.
    pub missing: u64,
}

/// `personas.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PersonasV1 {
    traits: Vec<TraitV1>,
    personas: Vec<PersonaV1>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TraitV1 {
    column: String,
    /// Whether ln(1 + value) is looked at.
    log: bool,
    mean: f64,
    sd: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonaV1 {
    name: String,
    /// In standard deviations, one number a trait.
    centroid: Vec<f64>,
    share: f64,
}

impl BaselineV1 {
    /// The typical customer.
    #[must_use]
    pub const fn typical(&self) -> TypicalCustomer {
        let TypicalV1 { repeats, active_days, silent_days } = self.typical;
        TypicalCustomer { repeats, active_days, silent_days }
    }

    /// What is wrong with it, if anything is.
    pub(super) fn problem(&self) -> Option<String> {
        let TypicalV1 { repeats: _, active_days, silent_days } = self.typical;
        if !(active_days.is_finite() && silent_days.is_finite()) {
            return Some("the typical customer's days are no numbers".to_owned());
        }
        let named = self.features.iter().map(|(name, held)| (name.as_str(), held));
        let scores = [("churn_prob", Some(&self.churn_prob)), ("value", self.value.as_ref())];
        let scores = scores.into_iter().filter_map(|(name, held)| Some((name, held?)));
        unsound(named.chain(scores))
    }
}

impl From<TypicalCustomer> for TypicalV1 {
    fn from(typical: TypicalCustomer) -> Self {
        let TypicalCustomer { repeats, active_days, silent_days } = typical;
        Self { repeats, active_days, silent_days }
    }
}

impl From<Histogram> for HistogramV1 {
    fn from(held: Histogram) -> Self {
        let Histogram { edges, counts, missing } = held;
        Self { edges, counts, missing }
    }
}

impl From<HistogramV1> for Histogram {
    fn from(held: HistogramV1) -> Self {
        let HistogramV1 { edges, counts, missing } = held;
        Self { edges, counts, missing }
    }
}

impl PersonasV1 {
    pub(super) fn new(personas: &Personas) -> Self {
        let traits = personas.traits().iter().map(|one| {
            let PersonaTrait { column, log, mean, sd } = one.clone();
            TraitV1 { column, log, mean, sd }
        });
        let groups = personas.personas().iter().map(|one| {
            let Persona { name, centroid, share } = one.clone();
            PersonaV1 { name, centroid, share }
        });
        Self { traits: traits.collect(), personas: groups.collect() }
    }

    /// # Errors
    /// What is out of range or unknown.
    pub(super) fn into_personas(self, schema: &FeatureSchema) -> Result<Personas, String> {
        let traits = self
            .traits
            .into_iter()
            .map(|TraitV1 { column, log, mean, sd }| PersonaTrait { column, log, mean, sd });
        let personas = self
            .personas
            .into_iter()
            .map(|PersonaV1 { name, centroid, share }| Persona { name, centroid, share });
        Personas::try_new(schema, traits.collect(), personas.collect())
            .map_err(|error| error.to_string())
    }
}
