//! The first model stage: buy-till-you-die columns, appended to a row of features.
//!
//! In: a customer's purchase summary. Out: six columns that training and scoring both append
//! through this one function. Fitted on data before the cutoff only.

use crate::features::{FeatureDef, PurchaseSummary};

use super::btyd::GammaGamma;
use super::count::CountModel;

/// The columns, in order.
pub const BTYD_COLUMNS: &[FeatureDef] = &[
    FeatureDef {
        name: "btyd_alive_prob",
        unit: "probability",
        doc: "probability of still being a customer by the purchase-count model (a diagnostic)",
    },
    FeatureDef {
        name: "btyd_churn_prob",
        unit: "probability",
        doc: "probability of no purchase within the churn horizon by the purchase-count model",
    },
    FeatureDef {
        name: "btyd_purchases_churn",
        unit: "count",
        doc: "expected purchases within the churn horizon",
    },
    FeatureDef {
        name: "btyd_purchases_value",
        unit: "count",
        doc: "expected purchases within the value horizon",
    },
    FeatureDef {
        name: "btyd_spend_mean",
        unit: "money",
        doc: "expected spend a purchase by the Gamma-Gamma model",
    },
    FeatureDef {
        name: "btyd_value",
        unit: "money",
        doc: "expected spend within the value horizon: purchases times spend",
    },
];

/// The fitted stage.
#[derive(Debug, Clone)]
pub struct BtydStage {
    /// When and how often.
    pub counts: CountModel,
    /// How much; none where no repeat purchase had a price.
    pub spend: Option<GammaGamma>,
    /// Churn horizon, weeks.
    pub churn_weeks: f64,
    /// Value horizon, weeks.
    pub value_weeks: f64,
}

impl BtydStage {
    /// Appends the columns; NaN for a customer who has not bought.
    pub fn append(&self, summary: Option<&PurchaseSummary>, row: &mut Vec<f64>) {
        let Some(summary) = summary else {
            row.resize(row.len() + BTYD_COLUMNS.len(), f64::NAN);
            return;
        };
        let [alive, churn, near, far] =
            self.counts.predict(summary, [self.churn_weeks, self.value_weeks]);
        let spend = self
            .spend
            .as_ref()
            .map_or(0.0, |model| model.expected_spend(summary.x, summary.spend_repeat_mean));
        row.extend_from_slice(&[alive, churn, near, far, spend, far * spend]);
    }
}
