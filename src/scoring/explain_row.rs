//! Why a row of a table got its score: contributions by column, in words.
//!
//! In: an engine of a table bundle and the cells of a row. Out: the answer that the engine gives
//! anyhow, and what each column added to it, told with the row's own cell. Nothing of this is
//! worked out unless somebody asks. A text says what stands in the row; it deliberately never says
//! what to change.

use std::borrow::Cow;

use super::error::ScoringError;
use super::explain::{Explained, ExplainedAnswer, ExplainedTerm, Reasons};
use super::reasons::{Reason, weightiest};
use super::table::RowRead;
use super::{Engine, TableInput};
use crate::domain::{AsOf, CustomerId};
use crate::events::RawValue;
use crate::model::{Explanation, TableExplainer, is_missing_text};

/// Most characters of a cell that are told.
const CELL_CHARS_MAX: usize = 80;

/// The answer to a row with all that led to it.
#[derive(Debug, Clone)]
pub struct ExplainedRow<'e> {
    /// The answer, taken apart.
    pub explained: ExplainedAnswer<'e>,
    /// Digest of what it rests on.
    pub digest: u128,
}

impl Engine {
    /// Answers a row and says why, in full.
    ///
    /// # Errors
    /// As [`Engine::answer_row`], and [`ScoringError::Explain`] for a bundle whose trees carry no
    /// training weights.
    pub fn explain_row(
        &self,
        customer: &CustomerId,
        cells: &[RawValue<'_>],
        as_of: AsOf,
    ) -> Result<ExplainedRow<'_>, ScoringError> {
        let (predictor, explainer) = (self.table_predictor()?, self.row_explainer()?);
        let read = self.read_row(predictor, cells)?;
        let columns = self.told(cells, &read);
        let explained = |found: Option<Explanation>| {
            found.map(|explanation| {
                let reasons = columns.reasons(&explanation, usize::MAX);
                Explained { explanation, reasons }
            })
        };
        let churn = explained(explainer.churn(predictor, &read.row));
        let value = explained(explainer.value(predictor, &read.row));
        let terms = columns.terms(predictor.schema().slots(), &read.row);
        let score = predictor.score(&read.row);
        let found = self.answer_read((customer, read), score, as_of, true);
        let explained = ExplainedAnswer { answer: found.answer, churn, value, terms };
        Ok(ExplainedRow { explained, digest: found.digest })
    }

    /// The weightiest `most` columns in each direction.
    ///
    /// # Errors
    /// As [`Engine::explain_row`].
    pub fn row_reasons(
        &self,
        cells: &[RawValue<'_>],
        most: usize,
    ) -> Result<Reasons, ScoringError> {
        let (predictor, explainer) = (self.table_predictor()?, self.row_explainer()?);
        let read = self.read_row(predictor, cells)?;
        let columns = self.told(cells, &read);
        let told = |found: Option<Explanation>| {
            found.map_or_else(Vec::new, |explanation| columns.reasons(&explanation, most))
        };
        Ok(Reasons {
            churn: told(explainer.churn(predictor, &read.row)),
            value: told(explainer.value(predictor, &read.row)),
        })
    }

    /// Made at the first question.
    fn row_explainer(&self) -> Result<&TableExplainer, ScoringError> {
        let predictor = self.table_predictor()?;
        let made = self.row_whys.get_or_init(|| TableExplainer::try_new(predictor));
        made.as_ref().map_err(|error| ScoringError::Explain(*error))
    }

    /// The columns of the models with what stands in them.
    fn told<'e>(&'e self, cells: &[RawValue<'_>], read: &RowRead) -> Told<'e> {
        let inputs = self.table_inputs().unwrap_or_default();
        // The inputs of the models come first, in the order of the schema's columns.
        let of_models = inputs.iter().zip(cells).enumerate();
        let columns = of_models.filter(|(_, (input, _))| input.feature.is_some()).map(
            |(at, (input, cell))| {
                let is_new = read.unknown_levels.contains(&at);
                let in_number = input.kind != "categorical";
                (input, shown(cell, in_number).map(|text| Shown { text, is_new }))
            },
        );
        Told(columns.collect())
    }
}

/// A cell that is not missing.
struct Shown {
    text: String,
    /// Whether it is a level that counted as `other`.
    is_new: bool,
}

/// The columns of the models, each with its cell.
struct Told<'e>(Vec<(&'e TableInput, Option<Shown>)>);

impl<'e> Told<'e> {
    /// The weightiest columns in each direction, by weight.
    fn reasons(&self, explanation: &Explanation, most: usize) -> Vec<Reason> {
        let parts = self.0.iter().zip(explanation.contributions.iter().copied());
        let mut parts: Vec<_> = parts.filter(|(_, part)| part.abs() > 0.0).collect();
        // A stable sort: equal ones stay in the order of the columns.
        parts.sort_by(|(_, a), (_, b)| b.abs().total_cmp(&a.abs()));
        let told = weightiest(&parts, most).into_iter().map(|((input, cell), contribution)| {
            let name = &input.name;
            let text = match cell {
                None => format!("{name}: not known"),
                Some(Shown { text, is_new: false }) => format!("{name}: {text}"),
                Some(Shown { text, is_new: true }) => format!("{name}: {text} (counted as other)"),
            };
            Reason { code: Cow::Owned(name.clone()), contribution, text }
        });
        told.collect()
    }

    fn terms(&self, slots: &[crate::model::Slot], row: &[f64]) -> Vec<ExplainedTerm<'e>> {
        let terms = self.0.iter().enumerate().map(|(column, (input, cell))| {
            let number = || {
                let place = slots.iter().position(|slot| slot.column == column)?;
                row.get(place).copied().filter(|number| !number.is_nan())
            };
            ExplainedTerm {
                name: &input.name,
                code: &input.name,
                value: if input.kind == "categorical" { None } else { number() },
                cell: cell.as_ref().map(|cell| cell.text.clone()),
            }
        });
        terms.collect()
    }
}

/// A cell as its reader knows it; none where nothing is known.
fn shown(cell: &RawValue<'_>, in_number: bool) -> Option<String> {
    let text = match cell {
        RawValue::Missing => return None,
        RawValue::Text(text) if is_missing_text(text, in_number) => return None,
        RawValue::Number(number) if number.is_nan() => return None,
        RawValue::Text(text) => text.trim().to_owned(),
        RawValue::Number(number) => number.to_string(),
        RawValue::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        RawValue::Day(day) => day.to_string(),
        other => other.kind().to_owned(),
    };
    Some(match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    })
}
