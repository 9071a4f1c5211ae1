//! `tenure-ops bundle drift`: is the base still the one that the models learned from, and were
//! they right?
//!
//! In: a bundle, a log and a day to which the log is complete. Out: how far every feature and the
//! scores moved since training (population stability index against a limit that knows the sample
//! sizes), and, for windows that have ended by now, what was foretold against what came. The log is
//! gathered in bounded memory; of each ended window sixteen bytes a customer are held. Tables are
//! looked at by `drift_table`. It deliberately retrains nothing and names no cause.

use std::fmt::Write;

use serde_json::{Value, json};

use super::drift_table;
use super::error::BatchError;
use super::ops::{OpsError, OpsOutcome, line};
use super::tried::{LogSource, Room, Sum};
use crate::bundle::{BaselineV1, Bundle, HistogramV1};
use crate::config::{DriftConfig, LogDefaults};
use crate::domain::{AsOf, Currency, Day, Days, Zone};
use crate::evaluate::{Histogram, Stability, auc, ece, log_loss, stability};
use crate::events::Event;
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
pub(super) struct Moved {
    pub(super) name: String,
    pub(super) found: Stability,
    /// Whether it may give an alarm.
    pub(super) counts: bool,
}

impl Moved {
    /// A distribution against the one that a bundle keeps; none where they cannot be compared.
    pub(super) fn new(name: &str, held: &HistogramV1, now: &Histogram) -> Option<Self> {
        let found = stability(&Histogram::from(held.clone()), now)?;
        Some(Self { name: name.to_owned(), found, counts: true })
    }

    /// Those with the most movement first.
    pub(super) fn sort(moved: &mut [Self]) {
        moved.sort_by(|a, b| b.found.psi.total_cmp(&a.found.psi).then(a.name.cmp(&b.name)));
    }

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
pub(super) struct Ended {
    /// None for rows of a table, whose labels say what came.
    cutoff: Option<Day>,
    /// Whether training had seen it.
    seen: bool,
    probs: Vec<f64>,
    churned: Vec<bool>,
}

impl Ended {
    /// What was foretold of customers and what came, in whatever order.
    pub(super) fn new(cutoff: Option<Day>, seen: bool, mut rows: Vec<(f64, bool)>) -> Self {
        // Sums of floats depend on the order, and that of the customers on the memory allowed.
        rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let (probs, churned) = rows.into_iter().unzip();
        Self { cutoff, seen, probs, churned }
    }

    fn name(&self) -> String {
        self.cutoff.map_or_else(|| "rate".to_owned(), |day| format!("rate from {day}"))
    }

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
            "cutoff": self.cutoff.map(|day| day.to_string()),
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
/// [`OpsError`] for a bundle, log or table that cannot be read.
pub(super) fn drift(
    config: &DriftConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<OpsOutcome, OpsError> {
    if let Some(path) = &config.table {
        return drift_table::drift(config, path, progress);
    }
    let bundle = Bundle::find(&config.models, &config.model)?;
    let held = Held::of(&bundle)?;
    let manifest = &bundle.manifest;
    let zone = Zone::try_new(&manifest.timezone).map_err(ScoringError::from)?;
    let currency = Currency::try_new(&manifest.currency).map_err(ScoringError::from)?;
    // Without a table there is a day.
    let day = config.as_of.unwrap_or(Day::from_number(0));
    let as_of = AsOf::end_of(day, &zone);
    let business = LogDefaults { zone: zone.clone(), currency };
    let work_dir = config.work_dir.as_deref();
    let room = Room { memory_mb: config.memory_mb, work_dir, only: None };
    let log = LogSource::read((&config.log, &business), as_of, room, progress)?;
    progress("holding the base against the bundle's");
    let look = Look { held: &held, as_of, last: day, windows: windows(&bundle, day, &zone) };
    let seen = log.each_customer(progress, &|| look.nothing(), &|seen, (_, events)| {
        look.see(events, seen);
        Ok(())
    })?;
    let mut all = look.nothing();
    seen.into_iter().for_each(|seen| all.join(seen));
    if all.customers == 0 {
        let n_after = log.parts.n_before_and_after().1;
        return Err(BatchError::NothingBefore { as_of: day, n_after }.into());
    }
    let (baseline, customers) = (held.baseline, all.customers);
    let now = Then {
        customers,
        as_of: Some(day.to_string()),
        prob_mean: Some(all.probs.get() / customers as f64),
    };
    let then = Then {
        customers: baseline.customers,
        as_of: Some(baseline.as_of.clone()),
        prob_mean: Some(baseline.churn_prob_mean),
    };
    let ended = look.ended(std::mem::take(&mut all.windows));
    Ok(outcome(config, &bundle, [then, now], (&moved(&held, &all), &ended)))
}

/// Windows of the churn horizon that have ended by a day, the newest first.
fn windows(bundle: &Bundle, last: Day, zone: &Zone) -> Vec<(Day, AsOf)> {
    let days = i32::from(bundle.manifest.churn_horizon_days);
    if days == 0 {
        return Vec::new();
    }
    let cutoffs = (1..=WINDOWS_MAX).map(|back| last.plus(-back * days));
    cutoffs.map(|cutoff| (cutoff, AsOf::end_of(cutoff, zone))).collect()
}

/// What is looked at of every customer.
struct Look<'b> {
    held: &'b Held<'b>,
    as_of: AsOf,
    last: Day,
    /// The newest first.
    windows: Vec<(Day, AsOf)>,
}

/// What was seen of some customers.
struct Seen {
    customers: u64,
    features: Vec<Option<Histogram>>,
    churn_prob: Histogram,
    value: Option<Histogram>,
    probs: Sum,
    /// Probability and outcome in each window.
    windows: Vec<Vec<(f64, bool)>>,
}

impl Seen {
    fn join(&mut self, other: Self) {
        self.customers += other.customers;
        let features = self.features.iter_mut().zip(&other.features);
        features.for_each(|pair| {
            if let (Some(own), Some(more)) = pair {
                own.join(more);
            }
        });
        self.churn_prob.join(&other.churn_prob);
        if let (Some(own), Some(more)) = (&mut self.value, &other.value) {
            own.join(more);
        }
        self.probs.join(other.probs);
        for (own, more) in self.windows.iter_mut().zip(other.windows) {
            own.extend(more);
        }
    }
}

impl Look<'_> {
    fn nothing(&self) -> Seen {
        let Held { predictor, baseline, .. } = self.held;
        let features = predictor.schema().features().iter();
        let of = |held: &HistogramV1| Histogram::empty(&held.edges);
        Seen {
            customers: 0,
            features: features.map(|one| baseline.features.get(one.name).map(of)).collect(),
            churn_prob: of(&baseline.churn_prob),
            value: baseline.value.as_ref().map(of),
            probs: Sum::default(),
            windows: vec![Vec::new(); self.windows.len()],
        }
    }

    /// Looks at one customer, whose events come by time: at the end of each window, then today.
    fn see(&self, events: &[Event], seen: &mut Seen) {
        let predictor = self.held.predictor;
        let (columns, fitted) = (predictor.columns(), predictor.fitted());
        let horizon = Days::try_new(i64::from(self.held.bundle.manifest.churn_horizon_days)).ok();
        let (mut history, mut rest, mut row) = (History::default(), events, Vec::new());
        for (at, (_, cutoff)) in self.windows.iter().enumerate().rev() {
            rest = fold_until(&mut history, rest, *cutoff);
            let Some(horizon) = horizon else { continue };
            if purchase_summary(&history, *cutoff).is_none() {
                continue;
            }
            predictor.row(&history, *cutoff, &mut row);
            let prob = fitted.churn.prob(columns, &row);
            match label(events, *cutoff, horizon, self.last, StayRule::Purchase) {
                Label::Complete(outcome) => seen.windows[at].push((prob, outcome.churned)),
                Label::Censored => {}
            }
        }
        fold_until(&mut history, rest, self.as_of);
        if purchase_summary(&history, self.as_of).is_none() {
            return;
        }
        predictor.row(&history, self.as_of, &mut row);
        seen.customers += 1;
        for (held, number) in seen.features.iter_mut().zip(&row) {
            held.iter_mut().for_each(|held| held.add(*number));
        }
        let prob = fitted.churn.prob(columns, &row);
        seen.churn_prob.add(prob);
        seen.probs.add(prob);
        if let (Some(held), Some(value)) = (&mut seen.value, &fitted.value) {
            held.add(value.mean(columns, &row, ValueHorizon::Full));
        }
    }

    /// The windows that have ended, up to the first of which nobody was a customer.
    fn ended(&self, rows: Vec<Vec<(f64, bool)>>) -> Vec<Ended> {
        let until = Day::parse(&self.held.bundle.manifest.data_until).ok();
        let found = self.windows.iter().zip(rows).take_while(|(_, rows)| !rows.is_empty());
        found
            .map(|((cutoff, _), rows)| {
                let seen = until.is_some_and(|until| *cutoff < until);
                Ended::new(Some(*cutoff), seen, rows)
            })
            .collect()
    }
}

/// Folds the events before an instant; those that are left.
fn fold_until<'e>(history: &mut History, events: &'e [Event], as_of: AsOf) -> &'e [Event] {
    let n = events.iter().take_while(|event| event.time < as_of.instant()).count();
    let (before, rest) = events.split_at(n);
    before.iter().for_each(|event| {
        history.apply(event);
    });
    rest
}

/// How features and scores moved, those with the most movement first.
fn moved(held: &Held<'_>, seen: &Seen) -> Vec<Moved> {
    let &Held { predictor, baseline, .. } = held;
    let mut moved = Vec::new();
    for (feature, now) in predictor.schema().features().iter().zip(&seen.features) {
        let pair = baseline.features.get(feature.name).zip(now.as_ref());
        let found = pair.and_then(|(held, now)| Moved::new(feature.name, held, now));
        let counts = !CLOCKS.contains(&feature.name);
        moved.extend(found.map(|found| Moved { counts, ..found }));
    }
    Moved::sort(&mut moved);
    let value = baseline.value.as_ref().zip(seen.value.as_ref());
    let scores = [
        Moved::new("churn_probability", &baseline.churn_prob, &seen.churn_prob),
        value.and_then(|(held, now)| Moved::new("value", held, now)),
    ];
    moved.splice(0..0, scores.into_iter().flatten());
    moved
}

/// A base: that of training, or today's.
pub(super) struct Then {
    pub(super) customers: u64,
    /// Its day; none of a training table.
    pub(super) as_of: Option<String>,
    pub(super) prob_mean: Option<f64>,
}

/// What is said of a base then and now.
pub(super) fn outcome(
    config: &DriftConfig,
    bundle: &Bundle,
    [then, now]: [Then; 2],
    (moved, ended): (&[Moved], &[Ended]),
) -> OpsOutcome {
    let mut alarms: Vec<String> =
        moved.iter().filter(|one| one.is_alarm()).map(|one| one.name.clone()).collect();
    alarms.extend(ended.iter().filter(|one| one.is_alarm()).map(Ended::name));
    let json = json!({
        "model_version": bundle.version,
        "as_of": now.as_of,
        "baseline_as_of": then.as_of,
        "customers": now.customers,
        "baseline_customers": then.customers,
        "churn_probability_mean": now.prob_mean,
        "baseline_churn_probability_mean": then.prob_mean,
        "moved": moved.iter().map(Moved::to_json).collect::<Vec<_>>(),
        "windows": ended.iter().map(Ended::to_json).collect::<Vec<_>>(),
        "alarms": alarms,
    });
    let failed = config.fail_on_alarm && !alarms.is_empty();
    let text = page(bundle, [&then, &now], (moved, ended), &alarms);
    OpsOutcome { text, json, exit_code: if failed { ALARM } else { 0 } }
}

fn page(
    bundle: &Bundle,
    bases: [&Then; 2],
    (moved, ended): (&[Moved], &[Ended]),
    alarms: &[String],
) -> String {
    let mut text = String::new();
    line(&mut text, "model", format_args!("{}@{}", bundle.manifest.name, bundle.version));
    for (label, base) in ["base then", "base now"].into_iter().zip(bases) {
        let day = base.as_of.as_ref().map_or_else(String::new, |day| format!(" on {day}"));
        line(&mut text, label, format_args!("{} customers{day}", base.customers));
    }
    if let (Some(before), Some(now)) = (bases[0].prob_mean, bases[1].prob_mean) {
        line(&mut text, "mean score", format_args!("{before:.4} then, {now:.4} now"));
    }
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
        let why = match bundle.predictor() {
            Some(_) => "the log is shorter than the horizon",
            None => "no row of the table has a label",
        };
        let _ = writeln!(text, "  none: {why}");
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
            "  {}: {} customers, foretold {:.4}, came {:.4}, AUC {}, log loss {}, ECE {}{mark}",
            one.cutoff.map_or_else(|| "labels".to_owned(), |day| format!("from {day}")),
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
