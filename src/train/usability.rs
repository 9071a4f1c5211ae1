//! What a log cannot carry: the refusal of a log that says nothing, and warnings that stop nothing.
//!
//! In: the log and what was made of it. Out: an error with all findings, or sentences for
//! `metrics.json` and the summary. Findings with limits that decide whether models are learned are
//! [`DataVerdict`]'s.

use std::fmt::Write as _;

use super::backtest::Rows;
use super::error::TrainError;
use super::plan::{DataVerdict, TrainSpec};
use crate::domain::Day;
use crate::evaluate::{LEAK_AUC, leaks};
use crate::events::{EventKind, Log, Purchase};
use crate::features::{FeatureSchema, RhythmBase};
use crate::model::row_definitions;

/// A log of fewer days shows no customer coming back, whatever the horizon.
const HISTORY_DAYS_REFUSED: i32 = 7;
/// More purchases of nothing than this are worth a warning.
const FREE_SHARE_MAX: f64 = 0.2;
/// A fact that the log has of some purchases and lacks of more than this share is worth a warning.
const MISSING_SHARE_MAX: f64 = 0.2;
/// Beginnings of the names of features that more than purchases make. Purchases alone tell a base
/// full of customers who left long ago, and that is no leak.
const OF_OTHER_EVENTS: [&str; 11] = [
    "activities_",
    "activity_kinds",
    "devices",
    "contacts",
    "contact_age",
    "response_age",
    "open_share",
    "click_share",
    "complaints",
    "tickets",
    "nps_",
];

/// Refuses a log whose history says nothing, with everything that was found.
///
/// # Errors
/// [`TrainError::TooLittle`] unless the run may learn from little.
pub(super) fn check_history(
    spec: &TrainSpec,
    history_days: i32,
    data: &DataVerdict,
) -> Result<(), TrainError> {
    if history_days >= HISTORY_DAYS_REFUSED || spec.allow_small {
        return Ok(());
    }
    let report = data.findings.iter().fold(String::new(), |mut text, finding| {
        let mark = if finding.ok { "ok" } else { "TOO FEW" };
        let (what, found, needed) = (finding.what, finding.found, finding.needed);
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {what}: {found} found, {needed} needed: {mark}");
        text
    });
    let (days, wanted) = (history_days, HISTORY_DAYS_REFUSED);
    Err(TrainError::TooLittle { days, wanted, report })
}

/// What is worth knowing and stops nothing.
pub(super) fn warnings(log: &Log, rhythm: &RhythmBase, rows: &[(Day, Rows)]) -> Vec<String> {
    let mut warnings = Vec::new();
    if rhythm.history_short {
        let gap = rhythm.prior.b / rhythm.prior.a;
        warnings.push(format!(
            "the history is shorter than three mean gaps between orders ({gap:.0} days): long \
             gaps could not be seen yet, so silence will be called too early"
        ));
    }
    let amounts =
        log.customers.iter().flat_map(|customer| &customer.events).filter_map(|event| match &event
            .kind
        {
            EventKind::Purchase(purchase) => Some(purchase.amount),
            _ => None,
        });
    let (n, free) = amounts.fold((0_usize, 0_usize), |(n, free), amount| {
        (n + 1, free + usize::from(amount == crate::domain::Money::ZERO))
    });
    let share = free as f64 / n.max(1) as f64;
    if share > FREE_SHARE_MAX {
        warnings.push(format!(
            "{:.0} % of the purchases have the amount 0: check the amount column, values will be \
             low",
            100.0 * share
        ));
    }
    warnings.extend(half_told(log));
    warnings.extend(rows.last().into_iter().flat_map(|(_, judged)| too_good(judged)));
    warnings
}

/// Facts of purchases that the log has and often lacks: features of them then speak of what was
/// written down, not of customers.
fn half_told(log: &Log) -> Vec<String> {
    let is_missing =
        |purchase: &Purchase| [purchase.category.is_none(), purchase.sales_channel.is_none()];
    let (mut n, mut missing) = (0_usize, [0_usize; 2]);
    for event in log.customers.iter().flat_map(|customer| &customer.events) {
        let EventKind::Purchase(purchase) = &event.kind else { continue };
        n += 1;
        for (count, is_missing) in missing.iter_mut().zip(is_missing(purchase)) {
            *count += usize::from(is_missing);
        }
    }
    let told = ["category", "sales channel"].into_iter().zip(missing);
    let told = told.filter(|(_, missing)| *missing < n);
    let shares = told.map(|(name, missing)| (name, missing as f64 / n.max(1) as f64));
    shares
        .filter(|(_, share)| *share > MISSING_SHARE_MAX)
        .map(|(name, share)| {
            format!(
                "{:.0} % of the purchases have no {name}, the others have one: features of it \
                 speak of what was written down",
                100.0 * share
            )
        })
        .collect()
}

/// Features that alone tell who left, although purchases do not make them: in a log that is
/// written after the fact (a contact that marks the lost) they look ahead.
fn too_good(judged: &Rows) -> Vec<String> {
    let schema = FeatureSchema::new(&row_definitions());
    let columns = schema
        .features()
        .iter()
        .enumerate()
        .filter(|(_, feature)| OF_OTHER_EVENTS.iter().any(|start| feature.name.starts_with(start)))
        .map(|(at, feature)| (feature.name, judged.matrix.column(at)));
    let found = leaks(columns, &judged.churned, LEAK_AUC).unwrap_or_default();
    found
        .iter()
        .map(|leak| {
            format!(
                "{:?} alone tells who leaves (AUC {:.3}): check that the log holds no event that \
                 was written after the fact",
                leak.column, leak.auc
            )
        })
        .collect()
}
