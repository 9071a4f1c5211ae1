//! Why a score: contributions, reasons in words, and the rules that were tried.
//!
//! In: an engine, a history and an instant. Out: the answer that the engine gives anyhow, and what
//! it is made of. Nothing of this is worked out unless somebody asks; the tables of the trees are
//! made at the first question.

use super::error::ScoringError;
use super::reasons::{Reason, ReasonGroup, Spoken, by_group, reasons};
use super::{Answer, Engine};
use crate::domain::{AsOf, CustomerId};
use crate::history::History;
use crate::model::{Explainer, Explanation, Predictor};

/// What explanations need beside the bundle: tables of the trees, and the group of each term.
#[derive(Debug)]
pub(super) struct Whys {
    explainer: Explainer,
    groups: Vec<ReasonGroup>,
}

/// One number, taken apart.
#[derive(Debug, Clone)]
pub struct Explained {
    /// Its base value, contributions and total.
    pub explanation: Explanation,
    /// The same by meaning, in words, the weightiest first: groups of features for a log, columns
    /// for a table. Together they are all contributions.
    pub reasons: Vec<Reason>,
}

/// What a contribution is of.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedTerm<'e> {
    /// The feature, the input of a purchase model, or the column of a table.
    pub name: &'e str,
    /// The code of the reason that it belongs to.
    pub code: &'e str,
    /// The customer's number; none where it is missing or no number.
    pub value: Option<f64>,
    /// The cell as it was given, of a table; none where it is missing.
    pub cell: Option<String>,
}

/// An answer with all that led to it.
#[derive(Debug, Clone)]
pub struct ExplainedAnswer<'e> {
    /// The answer, with the rules that were tried.
    pub answer: Answer<'e>,
    /// The calibrated log-odds of churn; none for a customer who has not bought, and for a table
    /// without a churn label.
    pub churn: Option<Explained>,
    /// The log of the expected value; none without a value model.
    pub value: Option<Explained>,
    /// What the contributions are of.
    pub terms: Vec<ExplainedTerm<'e>>,
}

/// The weightiest reasons of both numbers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reasons {
    /// Of churn; a positive contribution raises the risk.
    pub churn: Vec<Reason>,
    /// Of value; a positive contribution raises the value.
    pub value: Vec<Reason>,
}

impl Engine {
    /// Answers and says why, in full.
    ///
    /// # Errors
    /// As [`Engine::answer`], and [`ScoringError::Explain`] for a bundle whose trees carry no
    /// training weights.
    pub fn explain(
        &self,
        customer: &CustomerId,
        history: &History,
        as_of: AsOf,
    ) -> Result<ExplainedAnswer<'_>, ScoringError> {
        let Whys { explainer, groups } = self.whys()?;
        let answer = self.answer(customer, history, as_of, true)?;
        let predictor = super::log_predictor(self.bundle())?;
        let mut row = Vec::new();
        predictor.row(history, as_of, &mut row);
        let explained = |found: Option<Explanation>| {
            found.map(|explanation| {
                let groups = by_group(groups, &explanation);
                let reasons =
                    reasons(&groups, ReasonGroup::ALL.len(), self.spoken(predictor, &row));
                Explained { explanation, reasons }
            })
        };
        let (churn, value) = explainer.both(predictor, &row);
        let (churn, value) = (explained(churn), explained(value));
        let terms = explainer.terms().iter().zip(groups).map(|(term, group)| ExplainedTerm {
            name: term.name,
            code: group.code(),
            value: Some(row[term.column]).filter(|value| !value.is_nan()),
            cell: None,
        });
        Ok(ExplainedAnswer { answer, churn, value, terms: terms.collect() })
    }

    /// The weightiest `most` reasons in each direction.
    ///
    /// # Errors
    /// [`ScoringError::AsOfTooEarly`] and [`ScoringError::Explain`].
    pub fn reasons(
        &self,
        history: &History,
        as_of: AsOf,
        most: usize,
    ) -> Result<Reasons, ScoringError> {
        super::check_as_of(history, as_of)?;
        let Whys { explainer, groups } = self.whys()?;
        let predictor = super::log_predictor(self.bundle())?;
        let mut row = Vec::new();
        predictor.row(history, as_of, &mut row);
        let told = |found: Option<Explanation>| {
            found.map_or_else(Vec::new, |explanation| {
                let groups = by_group(groups, &explanation);
                reasons(&groups, most, self.spoken(predictor, &row))
            })
        };
        let (churn, value) = explainer.both(predictor, &row);
        Ok(Reasons { churn: told(churn), value: told(value) })
    }

    /// Made at the first question.
    fn whys(&self) -> Result<&Whys, ScoringError> {
        let predictor = super::log_predictor(self.bundle())?;
        let Some(baseline) = self.bundle().baseline() else {
            let version = self.bundle().version.clone();
            return Err(ScoringError::TableBundle { version });
        };
        let made = self.whys.get_or_init(|| {
            let explainer = Explainer::try_new(predictor, baseline.typical())?;
            let groups = explainer.terms().iter().map(|term| ReasonGroup::of(term.name)).collect();
            Ok(Whys { explainer, groups })
        });
        made.as_ref().map_err(|error| ScoringError::Explain(*error))
    }

    fn spoken<'a>(&self, predictor: &'a Predictor, row: &'a [f64]) -> Spoken<'a> {
        Spoken {
            schema: predictor.schema(),
            row,
            currency: self.currency(),
            horizon_days: predictor.fitted().churn_days,
        }
    }
}
