//! Where the columns that the models name lie in a row.

use thiserror::Error;

use crate::features::FeatureSchema;

/// A column that a model needs and the schema lacks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the feature schema has no column {column:?}")]
pub struct MissingColumn {
    /// Its name.
    pub column: &'static str,
}

/// Inputs of the logistic regression and how they enter. None of them is a clock: a base that is
/// older than any of training must not be an extrapolation.
const DESIGN: [(&str, Scale); 8] = [
    ("btyd_churn_prob", Scale::Logit),
    ("frequency", Scale::Log),
    ("recency_share", Scale::Plain),
    ("spend_per_day_mean", Scale::Log),
    ("silence_prob", Scale::Plain),
    ("purchase_days_13w", Scale::Log),
    ("purchase_days_4w", Scale::Log),
    ("recency_gap_ratio", Scale::Log),
];

/// Inputs of the Tweedie regression of spend.
const VALUE_DESIGN: [(&str, Scale); 9] = [
    ("btyd_purchases_churn", Scale::LogRate),
    ("spend_per_day_mean", Scale::Log),
    ("spend_first", Scale::Log),
    ("frequency", Scale::Log),
    ("recency_share", Scale::Plain),
    ("spend_13w", Scale::Log),
    ("purchase_days_13w", Scale::Log),
    ("silence_prob", Scale::Plain),
    ("items_per_order", Scale::Log),
];

/// Rates below this count as this much where a logarithm is taken.
pub(super) const RATE_MIN: f64 = 1e-6;

/// How an input enters a regression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Plain,
    /// ln(1 + max(value, 0)).
    Log,
    /// ln(value), bounded below.
    LogRate,
    /// Log-odds, clamped.
    Logit,
}

impl Scale {
    fn apply(self, value: f64) -> f64 {
        if value.is_nan() {
            return 0.0;
        }
        match self {
            Self::Plain => value,
            Self::Log => value.max(0.0).ln_1p(),
            Self::LogRate => value.max(RATE_MIN).ln(),
            Self::Logit => super::link::logit(super::link::clamp_prob(value)),
        }
    }
}

/// How an input is made of its column, for those who write the model down elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Input {
    /// As it is.
    Plain,
    /// ln(1 + max(value, 0)).
    LogPlusOne,
    /// ln(max(value, least)).
    LogFrom(f64),
    /// Log-odds of the clamped probability.
    Logit,
}

/// Positions of the columns that the models name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    design: [usize; DESIGN.len()],
    value_design: [usize; VALUE_DESIGN.len()],
    pub(super) btyd_alive: usize,
    pub(super) btyd_churn: usize,
    pub(super) btyd_purchases_churn: usize,
    pub(super) btyd_purchases_value: usize,
    pub(super) btyd_spend: usize,
    pub(super) frequency: usize,
    pub(super) active_span: usize,
    pub(super) tenure: usize,
    pub(super) recency: usize,
    pub(super) spend_total: usize,
}

impl Columns {
    /// Finds them in a schema.
    ///
    /// # Errors
    /// [`MissingColumn`] names the first one that is not there.
    pub fn try_new(schema: &FeatureSchema) -> Result<Self, MissingColumn> {
        let at = |column| schema.position(column).ok_or(MissingColumn { column });
        let mut design = [0; DESIGN.len()];
        for (slot, (column, _)) in design.iter_mut().zip(DESIGN) {
            *slot = at(column)?;
        }
        let mut value_design = [0; VALUE_DESIGN.len()];
        for (slot, (column, _)) in value_design.iter_mut().zip(VALUE_DESIGN) {
            *slot = at(column)?;
        }
        Ok(Self {
            design,
            value_design,
            btyd_alive: at("btyd_alive_prob")?,
            btyd_churn: at("btyd_churn_prob")?,
            btyd_purchases_churn: at("btyd_purchases_churn")?,
            btyd_purchases_value: at("btyd_purchases_value")?,
            btyd_spend: at("btyd_spend_mean")?,
            frequency: at("frequency")?,
            active_span: at("active_span_days")?,
            tenure: at("tenure_days")?,
            recency: at("recency_days")?,
            spend_total: at("spend_total")?,
        })
    }

    /// The inputs of the logistic regression for one row: log-RFM and buy-till-you-die terms.
    #[must_use]
    pub fn design(&self, row: &[f64]) -> [f64; DESIGN.len()] {
        let mut inputs = [0.0; DESIGN.len()];
        for ((input, &at), (_, scale)) in inputs.iter_mut().zip(&self.design).zip(DESIGN) {
            *input = scale.apply(row[at]);
        }
        inputs
    }

    /// The inputs of the Tweedie regression of spend for one row.
    #[must_use]
    pub fn value_design(&self, row: &[f64]) -> [f64; VALUE_DESIGN.len()] {
        let mut inputs = [0.0; VALUE_DESIGN.len()];
        let rules = self.value_design.iter().zip(VALUE_DESIGN);
        for (input, (&at, (_, scale))) in inputs.iter_mut().zip(rules) {
            *input = scale.apply(row[at]);
        }
        inputs
    }

    /// Where the inputs of the logistic regression lie in a row.
    pub(super) const fn design_positions(&self) -> &[usize] {
        &self.design
    }

    /// The same, with how each input is made of its column.
    pub(super) fn design_inputs(&self) -> impl Iterator<Item = (usize, Input)> + '_ {
        self.design.iter().zip(DESIGN).map(|(&position, (_, scale))| {
            let input = match scale {
                Scale::Plain => Input::Plain,
                Scale::Log => Input::LogPlusOne,
                Scale::LogRate => Input::LogFrom(RATE_MIN),
                Scale::Logit => Input::Logit,
            };
            (position, input)
        })
    }

    /// Where the inputs of the Tweedie regression lie in a row.
    pub(super) const fn value_design_positions(&self) -> &[usize] {
        &self.value_design
    }

    /// Number of inputs of the Tweedie regression.
    #[must_use]
    pub const fn n_value_design() -> usize {
        VALUE_DESIGN.len()
    }

    /// Number of inputs of the logistic regression.
    #[must_use]
    pub const fn n_design() -> usize {
        DESIGN.len()
    }

    /// Position of the days since the last purchase: the plain rule of thumb.
    #[must_use]
    pub const fn recency(&self) -> usize {
        self.recency
    }

    /// Positions of the purchases expected within the churn and within the value horizon.
    #[must_use]
    pub const fn purchases(&self) -> [usize; 2] {
        [self.btyd_purchases_churn, self.btyd_purchases_value]
    }

    /// Position of the expected spend a purchase.
    #[must_use]
    pub const fn spend_mean(&self) -> usize {
        self.btyd_spend
    }

    /// Position of the spend so far: the plain rule of thumb for value.
    #[must_use]
    pub const fn spend_total(&self) -> usize {
        self.spend_total
    }
}
