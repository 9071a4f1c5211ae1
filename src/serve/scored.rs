//! What became of rows: scores as bytes or refusals, and the lines of the decision log.
//!
//! In: answers, one by one. Out: outcomes in their order, whose scores are parts of one buffer,
//! and the lines as one text. All is written by the thread that worked the answers out, so what
//! later threads send and free is a few buffers and no tree of messages.

use prost::bytes::Bytes;

use super::answers::{Outcome, ScoreOutcome};
use super::convert;
use super::live::{Live, Moment, room_for_line};
use super::serving::Answering;
use super::status::ServeError;
use crate::scoring::{Answer, Reasons, append_decision_line};

/// Room for a score, as a rule: of households they have 500 to 800 bytes.
const SCORE_BYTES: usize = 768;
/// Room for a line of the decision log, as a rule.
const LINE_BYTES: usize = 1_280;

/// Who asks and who answers.
type By<'a> = (&'a Moment, &'a Answering<'a>);

/// Rows that were scored.
#[derive(Debug)]
pub(super) struct Scored {
    /// The scores, one after another.
    scores: Vec<u8>,
    rows: Vec<Row>,
    lines: Lines,
    /// Bytes of scores and of lines that belong to whole rows.
    whole: (usize, usize),
}

#[derive(Debug)]
enum Row {
    /// A score that ends here.
    Score(usize),
    Refused(Box<tonic_types::pb::Status>),
}

/// Lines of the decision log.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The lines.
    pub(super) bytes: Vec<u8>,
    /// How many.
    pub(super) n: usize,
}

impl Lines {
    /// Those of several blocks, in order; a single one stays as it is.
    pub(super) fn joined(mut blocks: Vec<Self>) -> Self {
        if blocks.len() == 1
            && let Some(only) = blocks.pop()
        {
            return only;
        }
        let mut bytes = Vec::with_capacity(blocks.iter().map(|lines| lines.bytes.len()).sum());
        blocks.iter().for_each(|lines| bytes.extend_from_slice(&lines.bytes));
        Self { bytes, n: blocks.iter().map(|lines| lines.n).sum() }
    }
}

impl Scored {
    /// None, with room for so many.
    pub(super) fn with_room(n_rows: usize) -> Self {
        let scores = Vec::with_capacity(n_rows * SCORE_BYTES);
        let bytes = if n_rows == 1 { room_for_line() } else { Vec::new() };
        let (rows, lines) = (Vec::with_capacity(n_rows), Lines { bytes, n: 0 });
        Self { scores, rows, lines, whole: (0, 0) }
    }

    /// Adds a score, and its line where decisions are logged.
    pub(super) fn add(
        &mut self,
        live: &Live,
        (moment, answering): By<'_>,
        (answer, digest): (&Answer<'_>, u128),
        reasons: Option<&Reasons>,
    ) {
        if live.decisions.is_some() {
            let by = (&*answering.served.engine, answering.arm);
            if self.lines.bytes.is_empty() {
                // Once for all rows.
                self.lines.bytes.reserve(self.rows.capacity() * LINE_BYTES);
            }
            append_decision_line(&mut self.lines.bytes, by, answer, (digest, moment.now));
        }
        write_score(&mut self.scores, (moment, answering), (answer, digest), reasons);
        self.lines.n += usize::from(live.decisions.is_some());
        self.rows.push(Row::Score(self.scores.len()));
        self.whole = (self.scores.len(), self.lines.bytes.len());
    }

    /// Adds a refusal where a row was not added, of which nothing stays.
    pub(super) fn refuse_if(&mut self, done: Result<(), ServeError>) {
        if let Err(error) = done {
            self.scores.truncate(self.whole.0);
            self.lines.bytes.truncate(self.whole.1);
            self.rows.push(Row::Refused(Box::new(error.to_row_status())));
        }
    }

    /// The outcomes and the lines.
    pub(super) fn into_parts(self) -> (Vec<ScoreOutcome>, Lines) {
        let (scores, mut begin) = (Bytes::from(self.scores), 0);
        let outcome = |row| match row {
            Row::Score(end) => {
                Outcome::Score(scores.slice(std::mem::replace(&mut begin, end)..end))
            }
            Row::Refused(status) => Outcome::Error(*status),
        };
        let outcomes = self.rows.into_iter().map(outcome);
        (outcomes.map(|outcome| ScoreOutcome { outcome: Some(outcome) }).collect(), self.lines)
    }

    /// The bytes of the only score, and its line.
    pub(super) fn into_score(self) -> (Bytes, Lines) {
        (self.scores.into(), self.lines)
    }
}

/// An answer as a message that is written already.
pub(super) fn score_bytes(by: By<'_>, answer: (&Answer<'_>, u128)) -> Bytes {
    let mut bytes = Vec::with_capacity(SCORE_BYTES);
    write_score(&mut bytes, by, answer, None);
    bytes.into()
}

fn write_score(
    bytes: &mut Vec<u8>,
    (moment, answering): By<'_>,
    (answer, digest): (&Answer<'_>, u128),
    reasons: Option<&Reasons>,
) {
    moment.metrics.decided(&answer.decision);
    if let Some(answers) = answering.answers {
        answers.add(1);
    }
    let made = convert::Made {
        served: answering.served,
        arm: answering.arm,
        snapshot: &moment.snapshot,
        score_time: moment.now,
        history_digest: digest,
        reasons,
    };
    convert::score(bytes, answer, made);
}
