//! What campaigns brought: a decision log and the events since, in; lifts with intervals, out.
//!
//! A customer counts once in an experiment, by the first decision in it, in the arm drawn then,
//! whatever happened later (intention to treat). What counts is what the customer did in the days
//! from the decision's instant on; who was decided about so lately that those days are not over is
//! left out and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::{Value, json};

use crate::config::{ExperimentConfig, LogDefaults, OutcomeKind};
use crate::decision::{Arm, NO_ACTION};
use crate::domain::{AsOf, Currency, Timestamp, Zone};
use crate::evaluate::{
    ArmSums, Lift, MetricError, adjusted_lift, detectable_effect, mean_lift, proportion_lift,
    sample_ratio, sequential_half_width, sequential_p,
};
use crate::events::{EventKind, EventReader};
use crate::scoring::DecisionRowV1;

use super::clock::now;
use super::decisions::{DecisionIntake, read_decisions};
use super::ops::{OpsError, OpsOutcome};
use super::ranking::{Ranking, SCORES, Sample, rankings, scores};
use super::tried::{LogSource, Room};

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// What the rules of reading let an event lie ahead, and one microsecond: nothing is cut off.
const AHEAD_MICROS: i64 = MICROS_PER_DAY + 1;
/// Effects expected beforehand: as the default policy's prior.
const EFFECT_SD: f64 = 0.02;
const ALPHA: f64 = 0.05;
/// Below it the sizes of the arms are not those that were drawn.
const RATIO_P_MIN: f64 = 0.001;
/// Begins the name of a comparison of versions.
const VARIANT: &str = "variant/";
/// Stands for all segments together.
const ALL: &str = "all";

/// What the log held, and what of it cannot be judged yet.
#[derive(Debug, Clone, Copy)]
struct Intake {
    read: DecisionIntake,
    immature: u64,
}

/// A customer's first decision in an experiment.
#[derive(Debug)]
struct Entry {
    as_of: Timestamp,
    segment: String,
    arm: String,
    /// What was known of the customer then.
    scores: [f64; SCORES.len()],
    /// Probability of each arm, by name, as drawn.
    shares: BTreeMap<String, f64>,
}

/// By experiment and customer.
type Entries = BTreeMap<String, BTreeMap<String, Entry>>;

/// Works out what campaigns brought.
pub(super) fn report(
    config: &ExperimentConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<OpsOutcome, OpsError> {
    progress("reading the decisions");
    let mut entries = Entries::new();
    let read = read_decisions(&config.decisions, &mut |row| {
        enter(&row, &mut entries);
        Ok(())
    })?;
    let zone = config.log.timezone.clone().unwrap_or(Zone::UTC);
    let business = LogDefaults { zone: zone.clone(), currency: Currency::NONE };
    let end = Timestamp::from_micros(now().micros().saturating_add(AHEAD_MICROS));
    let work_dir = config.work_dir.as_deref();
    let room = Room { memory_mb: config.memory_mb, work_dir, only: None };
    let log = LogSource::read((&config.log, &business), AsOf::at(end, &zone), room, progress)?;
    let Some((_, last)) = log.parts.days() else {
        let why = "the log of events is empty".to_owned();
        return Err(OpsError::NoDecisions { dir: config.decisions.clone(), why });
    };
    let deeds = deeds(&log, &entries, progress)?;
    let judge = Judge { config, deeds, known_until: zone.start_of(last.plus(1)) };
    let mut intake = Intake { read, immature: 0 };
    let (groups, samples) = judge.groups(&entries, &mut intake);
    if groups.is_empty() {
        let why = format!(
            "{} decisions, of which {} lie less than {} days before the end of the events",
            read.rows, intake.immature, config.days
        );
        return Err(OpsError::NoDecisions { dir: config.decisions.clone(), why });
    }
    let effect_sd = effect_sd(config, &groups);
    let found: Vec<Found> = groups
        .iter()
        .flat_map(|((experiment, segment), group)| compare(config, experiment, segment, group))
        .collect();
    let rows = found.iter().map(|one| one.to_json(effect_sd)).collect::<Result<Vec<_>, _>>()?;
    let rankings: Vec<Ranking> = samples
        .iter()
        .flat_map(|(experiment, sample)| rankings(experiment, sample, config.outcome))
        .collect();
    let mut text = text(config, &intake, &found, effect_sd)?;
    rankings.iter().for_each(|one| one.text(&mut text));
    let json = json!({
        "outcome": config.outcome.as_str(), "days": config.days, "effect_sd": effect_sd,
        "decisions": read.rows, "repeated": read.repeated, "unreadable": read.unreadable,
        "dropped": read.dropped, "immature": intake.immature, "comparisons": rows,
        "rankings": rankings.iter().map(Ranking::to_json).collect::<Vec<_>>(),
    });
    Ok(OpsOutcome { text, json, exit_code: 0 })
}

/// Puts a decision into the experiments it belongs to. The global one takes all for whom some
/// campaign had passed: only they would have been treated differently.
fn enter(row: &DecisionRowV1, entries: &mut Entries) {
    for place in &row.assignments {
        let is_global = place.experiment == "global";
        if is_global && row.eligible.is_empty() {
            continue;
        }
        let arm = place.variant.as_ref().unwrap_or(&place.arm);
        let mut shares = BTreeMap::from([(arm.clone(), place.propensity)]);
        if place.variant.is_none() {
            let other = if *arm == Arm::Control.as_str() { Arm::Treatment } else { Arm::Control };
            shares.insert(other.as_str().to_owned(), 1.0 - place.propensity);
        }
        let as_of = Timestamp::from_micros(row.as_of);
        let (segment, arm) = (row.segment.clone(), arm.clone());
        let entry = Entry { as_of, segment, arm, scores: scores(row), shares };
        let name = match (is_global, place.experiment.starts_with(VARIANT)) {
            (false, false) => format!("campaign/{}", place.experiment),
            _ => place.experiment.clone(),
        };
        let customers = entries.entry(name).or_default();
        match customers.get(&row.customer) {
            Some(first) if first.as_of <= entry.as_of => {}
            _ => drop(customers.insert(row.customer.clone(), entry)),
        }
    }
}

/// The customers of one experiment, or of one segment in it, by arm.
#[derive(Debug, Default)]
struct Group {
    arms: BTreeMap<String, ArmSums>,
    /// Sizes as drawn.
    expected: BTreeMap<String, f64>,
}

type Groups = BTreeMap<(String, String), Group>;

/// The customers of each experiment with an arm that is left alone.
type Samples = BTreeMap<String, Sample>;

/// A purchase or a refund: what outcomes are made of.
#[derive(Debug, Clone, Copy)]
struct Deed {
    micros: i64,
    /// In units of the currency; less than nothing for a refund.
    spend: f64,
    is_purchase: bool,
}

/// What those did about whom something was decided.
type Deeds = BTreeMap<String, Vec<Deed>>;

/// Looks the log through for what they did; nothing else of it is held.
fn deeds(
    log: &LogSource,
    entries: &Entries,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Deeds, OpsError> {
    let wanted: BTreeSet<&str> =
        entries.values().flat_map(|customers| customers.keys().map(String::as_str)).collect();
    let parts = log.each_part(progress, &|part| {
        let (mut found, mut reader) = (Vec::new(), EventReader::default());
        for place in (0..part.n_customers()).filter(|place| wanted.contains(part.id(*place))) {
            let mut deeds = Vec::new();
            part.visit(place, &mut reader, &mut |event| {
                let (spend, is_purchase) = match &event.kind {
                    EventKind::Purchase(purchase) => (purchase.amount.units(), true),
                    EventKind::Refund(refund) => (-refund.amount.units(), false),
                    _ => return,
                };
                deeds.push(Deed { micros: event.time.micros(), spend, is_purchase });
            })?;
            found.push((part.id(place).to_owned(), deeds));
        }
        Ok(found)
    })?;
    Ok(parts.into_iter().flatten().collect())
}

/// Knows what customers did.
struct Judge<'a> {
    config: &'a ExperimentConfig,
    deeds: Deeds,
    /// Events are known up to here.
    known_until: Timestamp,
}

impl Judge<'_> {
    fn groups(&self, entries: &Entries, intake: &mut Intake) -> (Groups, Samples) {
        let span = i64::from(self.config.days) * MICROS_PER_DAY;
        let (mut groups, mut samples) = (Groups::new(), Samples::new());
        for (experiment, customers) in entries {
            for (customer, entry) in customers {
                let start = entry.as_of.micros();
                if start.saturating_add(span) > self.known_until.micros() {
                    intake.immature += 1;
                    continue;
                }
                let deeds = self.deeds.get(customer).map_or(&[][..], Vec::as_slice);
                let outcome = self.outcome(deeds, start, start + span);
                let before = self.outcome(deeds, start - span, start);
                // Versions have no arm that is left alone.
                if !experiment.starts_with(VARIANT) {
                    let treated = entry.arm == Arm::Treatment.as_str();
                    let sample = samples.entry(experiment.clone()).or_default();
                    sample.add(outcome, treated, entry.scores);
                }
                for segment in [ALL, &entry.segment] {
                    let key = (experiment.clone(), segment.to_owned());
                    let group = groups.entry(key).or_default();
                    group.arms.entry(entry.arm.clone()).or_default().add(outcome, before);
                    for (arm, share) in &entry.shares {
                        *group.expected.entry(arm.clone()).or_default() += share;
                    }
                }
            }
        }
        (groups, samples)
    }

    /// The outcome over `[from, until)`.
    fn outcome(&self, deeds: &[Deed], from: i64, until: i64) -> f64 {
        let (mut spend, mut bought) = (0.0, 0.0);
        for deed in deeds.iter().filter(|deed| (from..until).contains(&deed.micros)) {
            spend += deed.spend;
            if deed.is_purchase {
                bought = 1.0;
            }
        }
        match self.config.outcome {
            OutcomeKind::Purchase => bought,
            OutcomeKind::Spend => spend,
        }
    }
}

/// The spread of effects expected beforehand. For spend it is a share of the spend before the
/// decisions, which no arm has touched.
fn effect_sd(config: &ExperimentConfig, groups: &Groups) -> f64 {
    let before = || {
        let all = groups.iter().filter(|((_, segment), _)| segment == ALL);
        let arms = all.flat_map(|(_, group)| group.arms.values());
        let (x, n) = arms.fold((0.0, 0.0), |(x, n), arm| (x + arm.x, n + arm.count()));
        let mean: f64 = if n > 0.0 { x / n } else { 0.0 };
        (EFFECT_SD * mean.abs()).max(f64::MIN_POSITIVE.sqrt())
    };
    match (config.effect_sd, config.outcome) {
        (Some(stated), _) => stated,
        (None, OutcomeKind::Purchase) => EFFECT_SD,
        (None, OutcomeKind::Spend) => before(),
    }
}

/// One arm held against another.
#[derive(Debug)]
struct Found {
    experiment: String,
    segment: String,
    arms: [(String, ArmSums); 2],
    lift: Result<Lift, MetricError>,
    adjusted: Option<Lift>,
    ratio_p: Option<f64>,
    detectable: Option<f64>,
}

/// Treatment against control; of versions each against the first.
fn compare(
    config: &ExperimentConfig,
    experiment: &str,
    segment: &str,
    group: &Group,
) -> Vec<Found> {
    let is_versions = experiment.starts_with(VARIANT);
    let (base, others): (&str, Vec<&String>) = if is_versions {
        let mut names = group.arms.keys();
        (names.next().map_or("", |first| first), names.collect())
    } else {
        (Arm::Control.as_str(), group.expected.keys().filter(|one| *one != "control").collect())
    };
    let arm = |name: &str| group.arms.get(name).copied().unwrap_or_default();
    others
        .into_iter()
        .map(|name| {
            let (treated, left) = (arm(name), arm(base));
            let lift = match config.outcome {
                OutcomeKind::Purchase => proportion_lift(&treated, &left),
                OutcomeKind::Spend => mean_lift(&treated, &left),
            };
            let expected = |of: &str| group.expected.get(of).copied().unwrap_or(0.0);
            let sizes = [expected(name), expected(base)];
            // Versions are drawn in equal shares; each customer knows only the own arm's.
            let sizes =
                if is_versions { [(treated.count() + left.count()) / 2.0; 2] } else { sizes };
            Found {
                experiment: experiment.to_owned(),
                segment: segment.to_owned(),
                lift,
                adjusted: adjusted_lift(&treated, &left).ok(),
                ratio_p: sample_ratio(&[treated.n, left.n], &sizes).ok().map(|one| one.p_value),
                detectable: detectable_effect(left.variance(), treated.n, left.n),
                arms: [(name.clone(), treated), (base.to_owned(), left)],
            }
        })
        .collect()
}

impl Found {
    /// p-value and half width that stay valid at every look; none where nothing varied.
    fn sequential(&self, effect_sd: f64) -> Result<Option<(f64, f64)>, MetricError> {
        let Ok(lift) = &self.lift else { return Ok(None) };
        let (variance, tau2) = (lift.standard_error.powi(2), effect_sd.powi(2));
        if variance <= 0.0 {
            return Ok(None);
        }
        let p = sequential_p(lift.difference, variance, tau2)?;
        Ok(Some((p, sequential_half_width(variance, tau2, ALPHA)?)))
    }

    fn to_json(&self, effect_sd: f64) -> Result<Value, MetricError> {
        let arms: Vec<Value> = self
            .arms
            .iter()
            .map(|(name, sums)| {
                let mean = (sums.n > 0).then(|| sums.mean());
                json!({ "arm": name, "customers": sums.n, "mean": mean })
            })
            .collect();
        let lift = |lift: &Lift| {
            json!({
                "difference": lift.difference, "low": lift.low, "high": lift.high,
                "standard_error": lift.standard_error, "p_value": lift.p_value,
            })
        };
        let sequential = self.sequential(effect_sd)?;
        Ok(json!({
            "experiment": self.experiment, "segment": self.segment, "arms": arms,
            "lift": self.lift.as_ref().ok().map(lift),
            "adjusted": self.adjusted.as_ref().map(lift),
            "sequential_p_value": sequential.map(|(p, _)| p),
            "sequential_half_width": sequential.map(|(_, half)| half),
            "sample_ratio_p_value": self.ratio_p,
            "sample_ratio_mismatch": self.ratio_p.map(|p| p < RATIO_P_MIN),
            "minimum_detectable_effect": self.detectable,
        }))
    }
}

fn text(
    config: &ExperimentConfig,
    intake: &Intake,
    found: &[Found],
    effect_sd: f64,
) -> Result<String, MetricError> {
    let mut text = String::new();
    let DecisionIntake { rows, repeated, unreadable, dropped } = intake.read;
    let what = match config.outcome {
        OutcomeKind::Purchase => "share of customers who bought",
        OutcomeKind::Spend => "spend a customer",
    };
    let _ = writeln!(text, "{what} within {} days of the decision", config.days);
    let _ = writeln!(
        text,
        "{} decisions, {} repeated, {} unreadable, {} dropped when written; {} places in \
         experiments left out because their days are not over",
        rows, repeated, unreadable, dropped, intake.immature
    );
    let mut last = "";
    for one in found {
        if one.experiment != last {
            let _ = writeln!(text, "\n{}", one.experiment);
            last = &one.experiment;
        }
        let [(name, treated), (base, left)] = &one.arms;
        let sizes = format!("{name} {} against {base} {}", treated.n, left.n);
        let Ok(lift) = &one.lift else {
            let _ = writeln!(text, "  {:<20}{sizes}: too few to compare", one.segment);
            continue;
        };
        let _ = writeln!(
            text,
            "  {:<20}{sizes}: {:.4} - {:.4} = {:+.4}  [{:+.4}, {:+.4}]  p {:.4}",
            one.segment,
            treated.mean(),
            left.mean(),
            lift.difference,
            lift.low,
            lift.high,
            lift.p_value
        );
        let mut more = Vec::new();
        if let Some((p, _)) = one.sequential(effect_sd)? {
            more.push(format!("p at any look {p:.4}"));
        }
        if let Some(adjusted) = &one.adjusted {
            more.push(format!(
                "adjusted by the time before {:+.4} [{:+.4}, {:+.4}]",
                adjusted.difference, adjusted.low, adjusted.high
            ));
        }
        more.extend(one.detectable.map(|effect| format!("detectable from {effect:.4}")));
        if one.ratio_p.is_some_and(|p| p < RATIO_P_MIN) {
            more.push("THE SIZES OF THE ARMS ARE NOT AS DRAWN: do not believe it".to_owned());
        }
        let _ = writeln!(text, "  {:<20}{}", "", more.join("; "));
    }
    let _ = writeln!(
        text,
        "\nIntervals of 95 % for one look at one row; many rows were looked at, so some differ by \
         chance.\nWho was recommended {NO_ACTION} for another reason than a control group is in no \
         arm."
    );
    Ok(text)
}
