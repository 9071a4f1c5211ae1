//! Many answers at once: the same bits as one by one, for less.
//!
//! In: questions, or rows of numbers. Out: an answer to each, in their order; one that cannot be
//! answered stops no other. What is saved is in the trees, which look at many rows in the same
//! instructions, so rows are made before they are scored together. It deliberately uses no threads:
//! whoever has many blocks spreads them.

use super::{Answer, Engine, Question, ScoringError};
use super::{check_as_of, log_predictor, realised};
use crate::bundle::BundleModels;
use crate::decision::Tier;
use crate::domain::{AsOf, CustomerId};
use crate::history::History;
use crate::model::{Predictor, Score};

/// Rows that are made before they are scored together: few enough to stay in the cache. Whoever
/// hands over blocks does well to hand over as many.
pub const ROWS_AT_ONCE: usize = 64;

/// What the models say of a row of numbers, and the tier of the model alone.
pub type NumbersScored = (Score, Option<Tier>);

impl Engine {
    /// What is said of many customers as of one instant: the same bits as [`Engine::answer`].
    ///
    /// # Errors
    /// Of each customer as [`Engine::answer`].
    pub fn answer_many(
        &self,
        customers: &[(&CustomerId, &History)],
        as_of: AsOf,
        trace: bool,
    ) -> Vec<Result<Answer<'_>, ScoringError>> {
        let asked: Vec<Question<'_>> = customers
            .iter()
            .map(|&(customer, history)| Question { customer, history, as_of, trace })
            .collect();
        self.answer_all(&asked)
    }

    /// The answer to each question: the same bits as [`Engine::answer`].
    ///
    /// # Errors
    /// Of each question as [`Engine::answer`].
    pub fn answer_all(&self, questions: &[Question<'_>]) -> Vec<Result<Answer<'_>, ScoringError>> {
        let mut answers = Vec::with_capacity(questions.len());
        let Ok(predictor) = log_predictor(&self.bundle) else {
            let refused = |asked: &Question<'_>| self.one_of(asked);
            answers.extend(questions.iter().map(refused));
            return answers;
        };
        let mut rows = Vec::new();
        for questions in questions.chunks(ROWS_AT_ONCE) {
            self.answer_chunk(predictor, questions, &mut rows, &mut answers);
        }
        answers
    }

    fn one_of(&self, asked: &Question<'_>) -> Result<Answer<'_>, ScoringError> {
        self.answer(asked.customer, asked.history, asked.as_of, asked.trace)
    }

    fn answer_chunk<'e>(
        &'e self,
        predictor: &Predictor,
        questions: &[Question<'_>],
        rows: &mut Vec<f64>,
        answers: &mut Vec<Result<Answer<'e>, ScoringError>>,
    ) {
        let width = predictor.schema().features().len();
        rows.clear();
        rows.reserve(width * questions.len());
        let mut historic = Vec::with_capacity(questions.len());
        let mut known = Vec::with_capacity(questions.len());
        // All of a history is read while it is at hand.
        for asked in questions {
            known.push(check_as_of(asked.history, asked.as_of).map(|()| {
                predictor.append_row(asked.history, asked.as_of, rows);
                historic.push(realised(asked.history));
                self.facts(predictor, asked)
            }));
        }
        let scores = predictor.score_many(rows, &historic);
        let mut scored = rows.chunks(width.max(1)).zip(scores);
        for (asked, known) in questions.iter().zip(known) {
            // There is one row for each question that was checked.
            answers.push(match known {
                Ok(mut facts) => match scored.next() {
                    Some((row, score)) => {
                        let decision = self.decision(asked, row, &mut facts, &score);
                        Ok(asked.answered(facts, score, decision))
                    }
                    None => self.one_of(asked),
                },
                Err(error) => Err(error),
            });
        }
    }

    /// Appends what the models say of each of many rows of numbers that lie one after another, the
    /// same bits as [`Engine::score_numbers`].
    ///
    /// # Errors
    /// [`ScoringError::RowLength`] where the numbers are no whole number of rows.
    pub fn score_numbers_many(
        &self,
        rows: &[f64],
        scored: &mut Vec<Result<NumbersScored, ScoringError>>,
    ) -> Result<(), ScoringError> {
        let width = self.n_matrix_columns().max(1);
        let found = rows.len() % width;
        if found != 0 {
            return Err(ScoringError::RowLength { expected: width, found });
        }
        scored.reserve(rows.len() / width);
        for rows in rows.chunks(ROWS_AT_ONCE * width) {
            self.score_numbers_chunk(rows, width, scored);
        }
        Ok(())
    }

    fn score_numbers_chunk(
        &self,
        rows: &[f64],
        width: usize,
        scored: &mut Vec<Result<NumbersScored, ScoringError>>,
    ) {
        // Without a way out in between, and without it nearly every number is looked at.
        let is_plain = !rows.iter().fold(false, |any, number| any | number.is_infinite());
        let found = match (&self.bundle.models, is_plain) {
            (_, false) => None,
            (BundleModels::Log { predictor, .. }, true) => {
                let historic = [f64::NAN; ROWS_AT_ONCE];
                Some(predictor.score_many(rows, &historic[..rows.len() / width]))
            }
            (BundleModels::Table { predictor, .. }, true) => {
                let schema = predictor.schema();
                let n_slots = schema.slots().len();
                let mut encoded = vec![f64::NAN; rows.len() / width * n_slots];
                let cells = rows.chunks(width).zip(encoded.chunks_mut(n_slots.max(1)));
                let is_good = cells.fold(true, |good, (row, slots)| {
                    let mut cells = row.iter().enumerate();
                    good && cells.all(|(at, &cell)| schema.encode_number(at, cell, slots).is_ok())
                });
                (is_good && n_slots > 0).then(|| predictor.score_many(&encoded))
            }
        };
        match found {
            Some(scores) => {
                scored.extend(scores.into_iter().map(|score| Ok(self.with_model_tier(score))));
            }
            // Somewhere is a cell that no column holds: each row is told by itself.
            None => {
                let mut scratch = Vec::new();
                scored.extend(rows.chunks(width).map(|row| self.score_numbers(row, &mut scratch)));
            }
        }
    }
}
