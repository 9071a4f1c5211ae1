//! Whether the champion's log-odds are recalibrated, decided over the origins.
//!
//! In: what the champion said at each origin, and who left. Out: a line on the log-odds and why it
//! was kept or left out. Each origin after the first is predicted with the line fitted on those
//! before it; the line is kept only if that lowers the mean log loss, and then fitted again on all
//! of them. It deliberately sees out-of-time predictions only.

use crate::domain::Day;
use crate::evaluate::log_loss;
use crate::model::{ChurnKind, LogitLine, sigmoid};

use super::backtest::Rows;
use super::origins::OriginResult;

/// A recalibration and what became of it.
pub(super) struct Recalibrated {
    /// For use: fitted on all out-of-time predictions.
    pub(super) line: LogitLine,
    /// For judging: fitted before the newest window.
    pub(super) judged_by: LogitLine,
    /// Why it was kept or left out.
    pub(super) note: String,
}

/// What a candidate said, and who left.
struct Said<'o> {
    logits: &'o [f64],
    churned: &'o [bool],
}

/// Tries the recalibration of a candidate.
pub(super) fn recalibrate(
    origins: &[OriginResult],
    rows: &[(Day, Rows)],
    champion: ChurnKind,
) -> Recalibrated {
    let none = |why: &str| Recalibrated {
        line: LogitLine::IDENTITY,
        judged_by: LogitLine::IDENTITY,
        note: why.to_owned(),
    };
    if champion == ChurnKind::BaseRate {
        return none("not tried: the base rate has nothing to recalibrate");
    }
    let said: Vec<Said<'_>> = origins
        .iter()
        .filter(|origin| is_evidence(origin, origins, champion))
        .filter_map(|origin| {
            let logits = origin.logits(champion)?;
            Some(Said { logits, churned: &rows[origin.at].1.churned })
        })
        .collect();
    if said.len() < 2 {
        return none("skipped: the log is too short for a second window to judge it on");
    }
    let mut lines = Vec::new();
    let (mut plain, mut recalibrated) = (0.0, 0.0);
    for at in 1..said.len() {
        let Some(line) = line(&said[..at]) else {
            return none("left out: it could not be fitted on the earlier windows");
        };
        plain += loss(&said[at], LogitLine::IDENTITY);
        recalibrated += loss(&said[at], line);
        lines.push(line);
    }
    let n = lines.len();
    let (plain, recalibrated) = (plain / n as f64, recalibrated / n as f64);
    let windows =
        if n == 1 { "the newest window".to_owned() } else { format!("{n} later windows") };
    if recalibrated >= plain || !recalibrated.is_finite() {
        return none(&format!(
            "left out: fitted on the windows before, it gives log loss {recalibrated:.4} on \
             {windows}, without it {plain:.4}"
        ));
    }
    let judged_by = lines.pop().unwrap_or(LogitLine::IDENTITY);
    let note = format!(
        "kept: fitted on the windows before, it lowers the log loss of {windows} from {plain:.4} \
         to {recalibrated:.4}"
    );
    Recalibrated { line: line(&said).unwrap_or(judged_by), judged_by, note }
}

/// Whether what a candidate said at an origin tells of the one in use: learned models need windows
/// enough there; the newest origin is what there is.
fn is_evidence(origin: &OriginResult, origins: &[OriginResult], champion: ChurnKind) -> bool {
    let is_newest = origins.last().is_some_and(|newest| newest.cutoff == origin.cutoff);
    let is_closed_form = champion == ChurnKind::Btyd && origin.n_windows > 0;
    origin.mature || is_newest || is_closed_form
}

/// The line fitted on all rows of some origins.
fn line(said: &[Said<'_>]) -> Option<LogitLine> {
    let logits: Vec<f64> = said.iter().flat_map(|s| s.logits.iter().copied()).collect();
    let churned: Vec<bool> = said.iter().flat_map(|s| s.churned.iter().copied()).collect();
    LogitLine::fit(&logits, &churned).ok()
}

fn loss(said: &Said<'_>, line: LogitLine) -> f64 {
    let probs: Vec<f64> = said.logits.iter().map(|&z| sigmoid(line.apply(z))).collect();
    log_loss(&probs, said.churned).unwrap_or(f64::INFINITY)
}
