//! `tenure-ops bundle drift`: is the base still the one that the models learned from, and were
//! they right?
//!
//! In: a bundle, a log and a day to which the log is complete. Out: how far every feature and the
//! scores moved since training (population stability index against a limit that knows the sample
//! sizes), and, for windows that have ended by now, what was foretold against what came.
//! It deliberately retrains nothing and names no cause.

use std::fmt::Write;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::ops::{OpsError, OpsOutcome, line};
use super::run::read_log;
use crate::bundle::{BaselineV1, Bundle, HistogramV1};
use crate::config::{DriftConfig, LogDefaults};
use crate::domain::{AsOf, Currency, Day, Days, Zone};
use crate::evaluate::{Histogram, Stability, auc, ece, log_loss, stability};
use crate::events::{CustomerLog, Log};
use crate::features::purchase_summary;
use crate::history::History;
use crate::labels::{Label, StayRule, label};
use crate::model::{Predictor, ValueHorizon};
use crate::scoring::ScoringError;

/// Exit code of an alarm, where an alarm is to be a failure.
const ALARM: u8 = 3;
/// Ended windows that are looked at, one horizon apart, the newest first.
const WINDOWS_MAX: i32 = 4;
/// The mean score may be off the realised rate by so much before it is worth an alarm...
const RATE_GAP_MIN: f64 = 0.03;
/// ... and by so many standard errors: 1 in 100 by chance.
const RATE_GAP_ERRORS: f64 = 2.576;

/// Features that count time or add up for ever: they move as the base grows older, whatever its
/// customers do, and give no alarm.
const CLOCKS: [&str; 15] = [
    "recency_days",
    "tenure_days",
    "recency_share",
    "active_span_days",
    "known_days",
    "inactive_days",
    "contact_age_days",
    "response_age_days",
    "frequency",
    "orders",
    "spend_total",
    "contacts",
    "categories",
    "gap_days_max",
    "recency_gap_max_ratio",
];

/// How far one distribution moved.
struct Moved {
    name: String,
    found: Stability,
    /// Whether it may give an alarm.
    counts: bool,
}

impl Moved {
    fn is_alarm(&self) -> bool {
        self.counts && self.found.is_alarm()
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name, "psi": self.found.psi, "limit": self.found.limit,
            "alarm": self.is_alarm(), "clock": !self.counts,
        })
    }
}

/// A window that has ended: what was foretold and what came.
struct Ended {
    cutoff: Day,
    /// Whether training had seen it.
    seen: bool,
    probs: Vec<f64>,
    churned: Vec<bool>,
}

impl Ended {
    fn prob_mean(&self) -> f64 {
        self.probs.iter().sum::<f64>() / self.probs.len().max(1) as f64
    }

    fn churn_share(&self) -> f64 {
        let left = self.churned.iter().filter(|&&yes| yes).count();
        left as f64 / self.churned.len().max(1) as f64
    }

    /// Whether the mean score is off the rate by more than chance explains.
    fn is_alarm(&self) -> bool {
        let variance: f64 = self.probs.iter().map(|p| p * (1.0 - p)).sum();
        let error = variance.sqrt() / self.probs.len().max(1) as f64;
        let gap = (self.prob_mean() - self.churn_share()).abs();
        !self.seen && gap > RATE_GAP_MIN.max(RATE_GAP_ERRORS * error)
    }

    fn to_json(&self) -> Value {
        json!({
            "cutoff": self.cutoff.to_string(),
            "seen_in_training": self.seen,
            "customers": self.probs.len(),
            "churn_probability_mean": self.prob_mean(),
            "churn_share": self.churn_share(),
            "auc": auc(&self.probs, &self.churned).ok(),
            "log_loss": log_loss(&self.probs, &self.churned).ok(),
            "ece": ece(&self.probs, &self.churned).ok(),
            "alarm": self.is_alarm(),
        })
    }
}

/// The bundle of a log with what is held against the base.
struct Held<'b> {
    bundle: &'b Bundle,
    predictor: &'b Predictor,
    baseline: &'b BaselineV1,
}

impl<'b> Held<'b> {
    fn of(bundle: &'b Bundle) -> Result<Self, ScoringError> {
        match (bundle.predictor(), bundle.baseline()) {
            (Some(predictor), Some(baseline)) => Ok(Self { bundle, predictor, baseline }),
            _ => Err(ScoringError::TableBundle { version: bundle.version.clone() }),
        }
    }
}

/// Holds the base of a day against the bundle's.
///
/// # Errors
/// [`OpsError`] for a bundle or log that cannot be read.
pub(super) fn drift(
    config: &DriftConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<OpsOutcome, OpsError> {
    let bundle = Bundle::find(&config.models, &config.model)?;
    let held = Held::of(&bundle)?;
    let manifest = &bundle.manifest;
    let zone = Zone::try_new(&manifest.timezone).map_err(ScoringError::from)?;
    let currency = Currency::try_new(&manifest.currency).map_err(ScoringError::from)?;
    let as_of = AsOf::end_of(config.as_of, &zone);
    let business = LogDefaults { zone: zone.clone(), currency };
    let log = read_log(&config.log, &business, as_of, progress)?;
    progress("holding the base against the bundle's");
    let rows = rows(held.predictor, &log, as_of);
    let (moved, prob_mean) = moved(&held, &rows);
    progress("looking at windows that have ended");
    let ended = ended(&held, &log, config.as_of, &zone);
    let base = Today { config, customers: rows.len(), prob_mean };
    Ok(outcome(&base, &held, &moved, &ended))
}

/// A customer's history before an instant.
fn history(customer: &CustomerLog, as_of: AsOf) -> History {
    let mut history = History::default();
    for event in customer.events.iter().take_while(|event| event.time < as_of.instant()) {
        history.apply(event);
    }
    history
}

/// The rows of all who had bought before an instant.
fn rows(predictor: &Predictor, log: &Log, as_of: AsOf) -> Vec<Vec<f64>> {
    log.customers
        .par_iter()
        .filter_map(|customer| {
            let history = history(customer, as_of);
            purchase_summary(&history, as_of)?;
            let mut row = Vec::new();
            predictor.row(&history, as_of, &mut row);
            Some(row)
        })
        .collect()
}

/// How features and scores moved, those with the most movement first; and the mean score.
fn moved(held: &Held<'_>, rows: &[Vec<f64>]) -> (Vec<Moved>, f64) {
    let &Held { predictor, baseline, .. } = held;
    let (columns, fitted) = (predictor.columns(), predictor.fitted());
    let against = |held: &HistogramV1, numbers: &[f64]| {
        let held = Histogram::from(held.clone());
        stability(&held, &Histogram::count(&held.edges, numbers))
    };
    let mut moved = Vec::new();
    for (at, feature) in predictor.schema().features().iter().enumerate() {
        let numbers: Vec<f64> = rows.iter().map(|row| row[at]).collect();
        let held = baseline.features.get(feature.name);
        let Some(found) = held.and_then(|held| against(held, &numbers)) else { continue };
        let counts = !CLOCKS.contains(&feature.name);
        moved.push(Moved { name: feature.name.to_owned(), found, counts });
    }
    moved.sort_by(|a, b| b.found.psi.total_cmp(&a.found.psi).then(a.name.cmp(&b.name)));
    let probs: Vec<f64> = rows.iter().map(|row| fitted.churn.prob(columns, row)).collect();
    let values = fitted.value.as_ref().map(|value| {
        rows.iter().map(|row| value.mean(columns, row, ValueHorizon::Full)).collect::<Vec<f64>>()
    });
    let scores = [
        ("churn_probability", against(&baseline.churn_prob, &probs)),
        ("value", baseline.value.as_ref().zip(values).and_then(|(held, now)| against(held, &now))),
    ];
    for (at, (name, found)) in scores.into_iter().enumerate() {
        if let Some(found) = found {
            moved.insert(at, Moved { name: name.to_owned(), found, counts: true });
        }
    }
    (moved, probs.iter().sum::<f64>() / probs.len().max(1) as f64)
}

/// Windows of the churn horizon that have ended by a day, the newest first.
fn ended(held: &Held<'_>, log: &Log, last: Day, zone: &Zone) -> Vec<Ended> {
    let &Held { bundle, predictor, .. } = held;
    let Ok(horizon) = Days::try_new(i64::from(bundle.manifest.churn_horizon_days)) else {
        return Vec::new();
    };
    let until = Day::parse(&bundle.manifest.data_until).ok();
    let days = horizon.as_i32();
    let model = &predictor.fitted().churn;
    let mut found = Vec::new();
    for back in 1..=WINDOWS_MAX {
        let cutoff = last.plus(-back * days);
        let as_of = AsOf::end_of(cutoff, zone);
        let rows: Vec<(f64, bool)> = log
            .customers
            .par_iter()
            .filter_map(|customer| {
                let history = history(customer, as_of);
                purchase_summary(&history, as_of)?;
                let mut row = Vec::new();
                predictor.row(&history, as_of, &mut row);
                let prob = model.prob(predictor.columns(), &row);
                match label(&customer.events, as_of, horizon, last, StayRule::Purchase) {
                    Label::Complete(outcome) => Some((prob, outcome.churned)),
                    Label::Censored => None,
                }
            })
            .collect();
        if rows.is_empty() {
            break;
        }
        let (probs, churned) = rows.into_iter().unzip();
        let seen = until.is_some_and(|until| cutoff < until);
        found.push(Ended { cutoff, seen, probs, churned });
    }
    found
}

/// The base of the day.
struct Today<'a> {
    config: &'a DriftConfig,
    customers: usize,
    prob_mean: f64,
}

fn outcome(base: &Today<'_>, held: &Held<'_>, moved: &[Moved], ended: &[Ended]) -> OpsOutcome {
    let &Held { bundle, baseline, .. } = held;
    let mut alarms: Vec<String> =
        moved.iter().filter(|one| one.is_alarm()).map(|one| one.name.clone()).collect();
    alarms.extend(
        ended.iter().filter(|one| one.is_alarm()).map(|one| format!("rate from {}", one.cutoff)),
    );
    let json = json!({
        "model_version": bundle.version,
        "as_of": base.config.as_of.to_string(),
        "baseline_as_of": baseline.as_of,
        "customers": base.customers,
        "baseline_customers": baseline.customers,
        "churn_probability_mean": base.prob_mean,
        "baseline_churn_probability_mean": baseline.churn_prob_mean,
        "moved": moved.iter().map(Moved::to_json).collect::<Vec<_>>(),
        "windows": ended.iter().map(Ended::to_json).collect::<Vec<_>>(),
        "alarms": alarms,
    });
    let failed = base.config.fail_on_alarm && !alarms.is_empty();
    let text = page(base, held, (moved, ended), &alarms);
    OpsOutcome { text, json, exit_code: if failed { ALARM } else { 0 } }
}

fn page(
    base: &Today<'_>,
    held: &Held<'_>,
    (moved, ended): (&[Moved], &[Ended]),
    alarms: &[String],
) -> String {
    let mut text = String::new();
    let &Held { bundle, baseline: then, .. } = held;
    line(&mut text, "model", format_args!("{}@{}", bundle.manifest.name, bundle.version));
    line(&mut text, "base then", format_args!("{} customers on {}", then.customers, then.as_of));
    line(&mut text, "base now", format_args!("{} on {}", base.customers, base.config.as_of));
    let (before, now) = (then.churn_prob_mean, base.prob_mean);
    line(&mut text, "mean score", format_args!("{before:.4} then, {now:.4} now"));
    let _ = writeln!(text, "\nwhat moved (population stability index, its limit)");
    for one in moved {
        let mark = match (one.is_alarm(), one.counts) {
            (true, _) => "ALARM",
            (false, true) => "",
            (false, false) => "counts time: no alarm",
        };
        let Stability { psi, limit } = one.found;
        let _ = writeln!(text, "  {:<28}{psi:>8.3}{limit:>8.3}  {mark}", one.name);
    }
    let _ = writeln!(text, "\nwindows that have ended");
    if ended.is_empty() {
        let _ = writeln!(text, "  none: the log is shorter than the horizon");
    }
    for one in ended {
        let number = |found: Option<f64>| found.map_or("-".to_owned(), |n| format!("{n:.4}"));
        let mark = match (one.is_alarm(), one.seen) {
            (true, _) => "  ALARM",
            (false, true) => "  seen in training",
            (false, false) => "",
        };
        let _ = writeln!(
            text,
            "  from {}: {} customers, foretold {:.4}, came {:.4}, AUC {}, log loss {}, ECE {}{mark}",
            one.cutoff,
            one.probs.len(),
            one.prob_mean(),
            one.churn_share(),
            number(auc(&one.probs, &one.churned).ok()),
            number(log_loss(&one.probs, &one.churned).ok()),
            number(ece(&one.probs, &one.churned).ok()),
        );
    }
    let said = if alarms.is_empty() { "none".to_owned() } else { alarms.join(", ") };
    let _ = writeln!(text, "\nalarms: {said}");
    text
}
