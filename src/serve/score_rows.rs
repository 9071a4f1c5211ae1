//! Several subjects scored together: what each would get by itself, for less.
//!
//! In: rows of one call and moment. Out: an outcome for each, in their order, and its line of the
//! decision log. A row that is refused, or that panics, touches no other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::inline_row;
use super::live::{Live, Moment};
use super::pb;
use super::scoring_service::{Subject, as_of, finished, outcome, score_row};
use super::status::ServeError;
use crate::domain::{AsOf, CustomerId};
use crate::history::History;
use crate::scoring::Question;

/// A subject and where its fields lie in the request.
pub(super) type Row<'r> = (&'r pb::ScoreSubject, &'r str);

/// A score and its line of the decision log, empty where none is kept.
pub(super) type RowScored = Result<(pb::Score, Vec<u8>), ServeError>;

/// Scores rows, whatever happens to each of them.
pub(super) fn score_rows(
    live: &Live,
    moment: &Moment,
    rows: &[Row<'_>],
    view: pb::ScoreView,
) -> Vec<(pb::ScoreOutcome, Vec<u8>)> {
    let together = || match moment.served.engine.table_inputs() {
        Some(_) => inline_row::score_all(live, moment, rows, view),
        None => score_all(live, moment, rows, view),
    };
    match catch_unwind(AssertUnwindSafe(together)) {
        Ok(scored) => scored.into_iter().map(outcome).collect(),
        // Which one it was is found by asking each by itself.
        Err(_) => rows.iter().map(|row| score_row(live, moment, *row, view)).collect(),
    }
}

/// What a row is scored by.
struct Known {
    customer: CustomerId,
    history: History,
    digest: u128,
    as_of: AsOf,
}

impl Known {
    const fn question(&self) -> Question<'_> {
        let Self { customer, history, as_of, digest: _ } = self;
        Question { customer, history, as_of: *as_of, trace: false }
    }
}

fn score_all(
    live: &Live,
    moment: &Moment,
    rows: &[Row<'_>],
    view: pb::ScoreView,
) -> Vec<RowScored> {
    let known = |(subject, path): &Row<'_>| {
        let checked = Subject::check(live, moment, subject, path)?;
        let (history, digest) = checked.history(live)?;
        let as_of = as_of(checked.as_of, &history, moment);
        Ok(Known { customer: checked.customer, history, digest, as_of })
    };
    let known: Vec<Result<Known, ServeError>> = rows.iter().map(known).collect();
    let asked: Vec<Question<'_>> = known.iter().flatten().map(Known::question).collect();
    let mut answers = moment.served.engine.answer_all(&asked).into_iter();
    known
        .into_iter()
        .map(|known| {
            let known = known?;
            // There is one answer for each question.
            let answer = answers.next().ok_or_else(|| ServeError::internal("a row is missing"))?;
            finished(live, moment, (known.question(), known.digest), answer, view)
        })
        .collect()
}
