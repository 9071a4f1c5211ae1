//! Several subjects scored together: what each would get by itself, for less.
//!
//! In: rows of one call and moment. Out: an outcome for each, in their order, and the lines of the
//! decision log. A row that is refused, or that panics, touches no other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::inline_row;
use super::live::{Live, Moment};
use super::pb;
use super::scored::Scored;
use super::scoring_service::{Subject, as_of, finished, score_row};
use super::serving::Answering;
use super::status::ServeError;
use crate::domain::{AsOf, CustomerId};
use crate::history::History;
use crate::scoring::{Engine, Question};

/// A subject and where its fields lie in the request.
pub(super) type Row<'r> = (&'r pb::ScoreSubject, &'r str);

/// Scores rows, whatever happens to each of them.
pub(super) fn score_rows(
    live: &Live,
    moment: &Moment,
    rows: &[Row<'_>],
    view: pb::ScoreView,
) -> Scored {
    let together = || match moment.served.engine.table_inputs() {
        Some(_) => inline_row::score_all(live, moment, rows, view),
        None => score_all(live, moment, rows, view),
    };
    match catch_unwind(AssertUnwindSafe(together)) {
        Ok(scored) => scored,
        // Which one it was is found by asking each by itself.
        Err(_) => {
            let mut scored = Scored::with_room(rows.len());
            rows.iter().for_each(|row| score_row(live, moment, *row, (view, &mut scored)));
            scored
        }
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

fn score_all(live: &Live, moment: &Moment, rows: &[Row<'_>], view: pb::ScoreView) -> Scored {
    let known = |(subject, path): &Row<'_>| {
        let checked = Subject::check(live, moment, subject, path)?;
        let (history, digest) = checked.history(live)?;
        let as_of = as_of(checked.as_of, &history, moment);
        let answering = moment.answering(checked.customer.as_str());
        Ok((answering, Known { customer: checked.customer, history, digest, as_of }))
    };
    let known: Vec<Result<(Answering<'_>, Known), ServeError>> = rows.iter().map(known).collect();
    let asked: Vec<(Answering<'_>, Question<'_>)> =
        known.iter().flatten().map(|(by, known)| (*by, known.question())).collect();
    let answers = by_version(&asked, |engine, rows| engine.answer_all(rows));
    let mut answers = answers.iter();
    let mut scored = Scored::with_room(rows.len());
    for known in &known {
        let done = known.as_ref().map_err(Clone::clone).and_then(|(answering, known)| {
            // There is one answer for each question.
            let answer = answers.next().ok_or_else(|| ServeError::internal("a row is missing"))?;
            let asked = (answering, known.question(), known.digest);
            finished(live, moment, asked, answer, (view, &mut scored))
        });
        scored.refuse_if(done);
    }
    scored
}

/// Asks each version for all its customers together; the answers in the order of the questions.
pub(super) fn by_version<'m, Q: Copy, A>(
    asked: &[(Answering<'m>, Q)],
    answer: impl Fn(&'m Engine, &[Q]) -> Vec<A>,
) -> Vec<A> {
    let Some((first, _)) = asked.first() else { return Vec::new() };
    let is_of = |by: &Answering<'m>, other: &Answering<'m>| Arc::ptr_eq(by.served, other.served);
    // Nearly always one version answers for all; answers are large, so they are not moved again.
    if asked.iter().all(|(by, _)| is_of(by, first)) {
        let questions: Vec<Q> = asked.iter().map(|(_, question)| *question).collect();
        return answer(&first.served.engine, &questions);
    }
    let mut open: Vec<(usize, (Answering<'m>, Q))> = asked.iter().copied().enumerate().collect();
    let mut answers: Vec<(usize, A)> = Vec::with_capacity(asked.len());
    while let Some(&(_, (first, _))) = open.first() {
        let is_its = |(_, (by, _)): &(usize, (Answering<'m>, Q))| is_of(by, &first);
        let (own, others): (Vec<_>, Vec<_>) = open.into_iter().partition(is_its);
        let questions: Vec<Q> = own.iter().map(|(_, (_, question))| *question).collect();
        let places = own.into_iter().map(|(place, _)| place);
        answers.extend(places.zip(answer(&first.served.engine, &questions)));
        open = others;
    }
    answers.sort_unstable_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}
