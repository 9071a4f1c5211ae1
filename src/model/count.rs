//! The purchase-count models as one closed type: fitted, stored by name, asked for predictions.
//!
//! In: a kind and rows of customers, or a stored name and parameters. Out: a model that says how
//! often customers come and whether they are gone. It deliberately does not choose a kind.

use thiserror::Error;

use super::btyd::{
    BgNbd, BgNbdParams, BgNbdSpec, BtydError, BtydRow, Cnbd, CnbdParams, CnbdSpec, FirstThrow,
    FitInfo, MbgNbd, MbgNbdParams, MbgNbdSpec, ParetoNbd, ParetoNbdParams, ParetoNbdSpec,
    PooledRows, Prediction, Prior,
};
use crate::features::PurchaseSummary;

/// Which purchase-count model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountKind {
    /// BG/NBD (Fader, Hardie and Lee 2005).
    BgNbd,
    /// MBG/NBD (Batislam, Denizel and Filiztekin 2007): dropout also before the first repeat.
    MbgNbd,
    /// Pareto/NBD (Schmittlein, Morrison and Colombo 1987).
    ParetoNbd,
    /// BG/CNBD-k or MBG/CNBD-k (Platzer and Reutterer 2016): regular buyers, k from 2 to 4.
    Cnbd {
        /// Whether the first purchase can be the last.
        first: FirstThrow,
        /// Regularity.
        k: u8,
    },
}

impl CountKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::BgNbd,
        Self::MbgNbd,
        Self::ParetoNbd,
        Self::Cnbd { first: FirstThrow::AfterRepeat, k: 2 },
        Self::Cnbd { first: FirstThrow::AfterRepeat, k: 3 },
        Self::Cnbd { first: FirstThrow::AfterRepeat, k: 4 },
        Self::Cnbd { first: FirstThrow::AfterFirst, k: 2 },
        Self::Cnbd { first: FirstThrow::AfterFirst, k: 3 },
        Self::Cnbd { first: FirstThrow::AfterFirst, k: 4 },
    ];

    /// Its name in metrics and bundles.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BgNbd => "bg_nbd",
            Self::MbgNbd => "mbg_nbd",
            Self::ParetoNbd => "pareto_nbd",
            Self::Cnbd { first: FirstThrow::AfterRepeat, k: 2 } => "bg_cnbd_2",
            Self::Cnbd { first: FirstThrow::AfterRepeat, k: 3 } => "bg_cnbd_3",
            Self::Cnbd { first: FirstThrow::AfterRepeat, .. } => "bg_cnbd_4",
            Self::Cnbd { first: FirstThrow::AfterFirst, k: 2 } => "mbg_cnbd_2",
            Self::Cnbd { first: FirstThrow::AfterFirst, k: 3 } => "mbg_cnbd_3",
            Self::Cnbd { first: FirstThrow::AfterFirst, .. } => "mbg_cnbd_4",
        }
    }

    /// The kind of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The names of its parameters, in order.
    #[must_use]
    pub const fn param_names(self) -> [&'static str; 4] {
        match self {
            Self::ParetoNbd => ParetoNbd::PARAM_NAMES,
            Self::BgNbd | Self::MbgNbd | Self::Cnbd { .. } => BgNbd::PARAM_NAMES,
        }
    }
}

/// What the purchase-count models are fitted on.
#[derive(Debug, Clone, PartialEq)]
pub struct CountRows {
    /// (x, `t_x`, T) of every customer.
    pub rows: PooledRows,
    /// Sum over all customers and their gaps of ln(gap in weeks).
    pub log_gap_sum: f64,
}

impl CountRows {
    /// From customers' purchases.
    ///
    /// # Errors
    /// [`BtydError`] for no customers or a row that contradicts itself.
    pub fn try_new(summaries: &[PurchaseSummary]) -> Result<Self, BtydError> {
        let rows: Vec<BtydRow> = summaries.iter().map(row_of).collect();
        let log_gap_sum = summaries.iter().map(|summary| summary.log_gap_sum).sum();
        Ok(Self { rows: PooledRows::try_from_rows(&rows)?, log_gap_sum })
    }
}

fn row_of(summary: &PurchaseSummary) -> BtydRow {
    BtydRow { x: summary.x, t_x: summary.t_x, t: summary.t }
}

/// A fitted purchase-count model. Closed: a bundle must list what it can hold.
#[derive(Debug, Clone)]
pub enum CountModel {
    /// BG/NBD.
    BgNbd(BgNbd),
    /// MBG/NBD.
    MbgNbd(MbgNbd),
    /// Pareto/NBD.
    ParetoNbd(ParetoNbd),
    /// BG/CNBD-k or MBG/CNBD-k.
    Cnbd(Cnbd),
}

impl CountModel {
    /// Fits a model.
    ///
    /// # Errors
    /// [`BtydError`] where the data and the prior give no optimum.
    pub fn fit(kind: CountKind, prior: Prior, data: &CountRows) -> Result<Self, BtydError> {
        let rows = &data.rows;
        Ok(match kind {
            CountKind::BgNbd => Self::BgNbd(BgNbd::fit(&BgNbdSpec { prior }, rows)?),
            CountKind::MbgNbd => Self::MbgNbd(MbgNbd::fit(&MbgNbdSpec { prior }, rows)?),
            CountKind::ParetoNbd => {
                Self::ParetoNbd(ParetoNbd::fit(&ParetoNbdSpec { prior }, rows)?)
            }
            CountKind::Cnbd { first, k } => {
                Self::Cnbd(Cnbd::fit(&CnbdSpec { first, k, prior }, rows, data.log_gap_sum)?)
            }
        })
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> CountKind {
        match self {
            Self::BgNbd(_) => CountKind::BgNbd,
            Self::MbgNbd(_) => CountKind::MbgNbd,
            Self::ParetoNbd(_) => CountKind::ParetoNbd,
            Self::Cnbd(model) => {
                let CnbdParams { first, k, .. } = *model.params();
                CountKind::Cnbd { first, k }
            }
        }
    }

    /// Its name in metrics and bundles.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// From a stored name and parameters.
    ///
    /// # Errors
    /// [`CountModelError`] for an unknown name or a parameter out of range.
    pub fn try_from_params(name: &str, params: [f64; 4]) -> Result<Self, CountModelError> {
        let [r, alpha, third, fourth] = params;
        let (a, b) = (third, fourth);
        let kind = CountKind::parse(name)
            .ok_or_else(|| CountModelError::Unknown { name: name.to_owned() })?;
        Ok(match kind {
            CountKind::BgNbd => {
                Self::BgNbd(BgNbd::try_from_params(BgNbdParams { r, alpha, a, b })?)
            }
            CountKind::MbgNbd => {
                Self::MbgNbd(MbgNbd::try_from_params(MbgNbdParams { r, alpha, a, b })?)
            }
            CountKind::ParetoNbd => {
                let params = ParetoNbdParams { r, alpha, s: third, beta: fourth };
                Self::ParetoNbd(ParetoNbd::try_from_params(params)?)
            }
            CountKind::Cnbd { first, k } => {
                Self::Cnbd(Cnbd::try_from_params(CnbdParams { first, k, r, alpha, a, b })?)
            }
        })
    }

    /// Its parameters in the order of the papers: r, alpha, then a, b or s, beta.
    #[must_use]
    pub const fn params(&self) -> [f64; 4] {
        match self {
            Self::BgNbd(model) => {
                let BgNbdParams { r, alpha, a, b } = *model.params();
                [r, alpha, a, b]
            }
            Self::MbgNbd(model) => {
                let MbgNbdParams { r, alpha, a, b } = *model.params();
                [r, alpha, a, b]
            }
            Self::ParetoNbd(model) => {
                let ParetoNbdParams { r, alpha, s, beta } = *model.params();
                [r, alpha, s, beta]
            }
            Self::Cnbd(model) => {
                let CnbdParams { r, alpha, a, b, .. } = *model.params();
                [r, alpha, a, b]
            }
        }
    }

    /// How it was fitted; none if it was made from stored parameters.
    #[must_use]
    pub const fn info(&self) -> Option<&FitInfo> {
        match self {
            Self::BgNbd(model) => model.info(),
            Self::MbgNbd(model) => model.info(),
            Self::ParetoNbd(model) => model.info(),
            Self::Cnbd(model) => model.info(),
        }
    }

    fn predict_one(&self, row: &BtydRow, weeks: f64) -> Prediction {
        match self {
            Self::BgNbd(m) => m.predict(row, weeks),
            Self::MbgNbd(m) => m.predict(row, weeks),
            Self::ParetoNbd(m) => m.predict(row, weeks),
            Self::Cnbd(m) => m.predict(row, weeks),
        }
    }

    /// P(alive), P(no purchase) in the first of `weeks`, and expected purchases in each of them.
    #[must_use]
    pub fn predict(&self, summary: &PurchaseSummary, weeks: [f64; 2]) -> [f64; 4] {
        let row = row_of(summary);
        let (near, far) = match self {
            Self::BgNbd(m) => m.predict_two(&row, weeks),
            Self::MbgNbd(m) => m.predict_two(&row, weeks),
            Self::ParetoNbd(m) => m.predict_two(&row, weeks),
            Self::Cnbd(m) => m.predict_two(&row, weeks),
        };
        [near.p_alive, near.p_no_purchase, near.expected_purchases, far]
    }

    /// Expected purchases within each of two horizons.
    #[must_use]
    pub fn expected_two(&self, summary: &PurchaseSummary, weeks: [f64; 2]) -> [f64; 2] {
        let row = row_of(summary);
        match self {
            Self::BgNbd(m) => m.expected_two(&row, weeks),
            Self::MbgNbd(m) => m.expected_two(&row, weeks),
            Self::ParetoNbd(m) => m.expected_two(&row, weeks),
            Self::Cnbd(m) => m.expected_two(&row, weeks),
        }
    }

    /// Expected purchases within `weeks`.
    #[must_use]
    pub fn expected_purchases(&self, row: &BtydRow, weeks: f64) -> f64 {
        self.predict_one(row, weeks).expected_purchases
    }

    /// P(no purchase) within `weeks`.
    #[must_use]
    pub fn p_no_purchase(&self, summary: &PurchaseSummary, weeks: f64) -> f64 {
        let PurchaseSummary { x, t_x, t, .. } = *summary;
        match self {
            Self::BgNbd(m) => m.p_no_purchase(x, t_x, t, weeks),
            Self::MbgNbd(m) => m.p_no_purchase(x, t_x, t, weeks),
            Self::ParetoNbd(m) => m.p_no_purchase(x, t_x, t, weeks),
            Self::Cnbd(m) => m.p_no_purchase(x, t_x, t, weeks),
        }
    }

    /// The predictive quantile of the number of purchases within `weeks`: the smallest n such that
    /// at most n have at least the probability `level`.
    #[must_use]
    pub fn purchase_quantile(&self, row: &BtydRow, weeks: f64, level: f64) -> u32 {
        match self {
            Self::BgNbd(m) => m.purchase_quantile(row, weeks, level),
            Self::MbgNbd(m) => m.purchase_quantile(row, weeks, level),
            Self::ParetoNbd(m) => m.purchase_quantile(row, weeks, level),
            Self::Cnbd(m) => m.purchase_quantile(row, weeks, level),
        }
    }
}

/// Why a stored purchase-count model cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CountModelError {
    /// A name that no model has.
    #[error("unknown purchase-count model {name:?}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A parameter out of range.
    #[error(transparent)]
    Params(#[from] BtydError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_horizons_at_once_are_the_same_bits_as_one_by_one() {
        for kind in CountKind::ALL {
            let model = CountModel::try_from_params(kind.name(), [0.5, 6.0, 0.9, 2.0]).unwrap();
            for (x, t_x, t) in [(0, 0.0, 0.0), (0, 0.0, 52.0), (3, 20.0, 39.0), (40, 5.0, 2000.0)] {
                let summary =
                    PurchaseSummary { x, t_x, t, spend_repeat_mean: 0.0, log_gap_sum: 0.0 };
                let row = row_of(&summary);
                let one_by_one = [13.0, 39.0].map(|weeks| model.predict_one(&row, weeks));
                let [near, far] = one_by_one;
                let wanted = [
                    near.p_alive,
                    near.p_no_purchase,
                    near.expected_purchases,
                    far.expected_purchases,
                ];
                let found = model.predict(&summary, [13.0, 39.0]);
                assert_eq!(found.map(f64::to_bits), wanted.map(f64::to_bits), "{kind:?} {row:?}");
                let found = model.expected_two(&summary, [13.0, 39.0]);
                assert_eq!(found.map(f64::to_bits), [wanted[2], wanted[3]].map(f64::to_bits));
            }
        }
    }

    #[test]
    fn names_lead_back_to_their_kinds() {
        for kind in CountKind::ALL {
            assert_eq!(CountKind::parse(kind.name()), Some(kind));
            let model = CountModel::try_from_params(kind.name(), [0.5, 6.0, 0.9, 2.0]).unwrap();
            assert_eq!(model.kind(), kind);
            assert!(
                model.params().iter().zip([0.5, 6.0, 0.9, 2.0]).all(|(p, q)| (p - q).abs() < 1e-12)
            );
        }
        let found = CountModel::try_from_params("bg_cnbd_5", [1.0; 4]);
        assert!(matches!(found, Err(CountModelError::Unknown { .. })));
    }
}
