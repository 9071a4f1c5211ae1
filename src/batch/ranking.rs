//! Who responds to a campaign: whether a score that was known when it was decided ranks them.
//!
//! In: the customers of one experiment with arm, outcome and scores. Out: what the campaign
//! brought by parts of the base from the highest score down, whether the order is better than
//! chance, and how sure that is. A high risk is no reason to think that somebody can be kept: this
//! is where one sees it. It deliberately fits nothing: the scores are those of the decision log.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::config::OutcomeKind;
use crate::evaluate::{
    ArmSums, BootstrapSpec, Interval, Lift, MetricError, PartOf, PerfectOrder, RankedResponses,
    Responses, bootstrap, mean_lift, parts_by_score, proportion_lift, uplift_at,
    weighted_average_uplift,
};
use crate::scoring::DecisionRowV1;

/// Scores that are judged: their names in the report, in the order of [`scores`].
pub(super) const SCORES: [&str; 3] = ["churn_probability", "clv_mean", "expected_value"];
/// Customers of the smaller arm in each part: below, shares of a part say nothing.
const PART_CUSTOMERS: usize = 50;
/// Most parts.
const PARTS_MAX: usize = 10;
/// Part of the base that one would aim at.
const TOP_SHARE: f64 = 0.3;
/// Enough for the ends of an interval of 95 %.
const RESAMPLES: usize = 400;

/// The scores of a decision; NaN where the log does not say.
pub(super) fn scores(row: &DecisionRowV1) -> [f64; SCORES.len()] {
    [row.churn_probability, row.clv_mean, row.expected_value].map(|one| one.unwrap_or(f64::NAN))
}

/// The customers of one experiment.
#[derive(Debug, Default)]
pub(super) struct Sample {
    outcome: Vec<f64>,
    treated: Vec<bool>,
    scores: [Vec<f64>; SCORES.len()],
}

impl Sample {
    /// Adds a customer.
    pub(super) fn add(&mut self, outcome: f64, treated: bool, scores: [f64; SCORES.len()]) {
        self.outcome.push(outcome);
        self.treated.push(treated);
        for (held, score) in self.scores.iter_mut().zip(scores) {
            held.push(score);
        }
    }

    /// The customers that have one of the scores.
    fn with(&self, score: usize) -> (Vec<f64>, Vec<bool>, Vec<f64>) {
        let known = |row: &usize| self.scores[score][*row].is_finite();
        let rows = || (0..self.outcome.len()).filter(known);
        (
            rows().map(|row| self.outcome[row]).collect(),
            rows().map(|row| self.treated[row]).collect(),
            rows().map(|row| self.scores[score][row]).collect(),
        )
    }
}

/// One part of the base.
#[derive(Debug)]
struct Part {
    /// Lowest and highest score in it.
    range: [f64; 2],
    treated: ArmSums,
    control: ArmSums,
    lift: Lift,
}

/// What one score says of who responds.
#[derive(Debug)]
pub(super) struct Ranking {
    experiment: String,
    score: &'static str,
    outcome: OutcomeKind,
    customers: usize,
    parts: Vec<Part>,
    /// The difference among all, and among the part that one would aim at.
    all: f64,
    top: f64,
    /// Of the latter less the former.
    gain: Interval,
    qini: Option<(f64, Interval)>,
    weighted: Option<f64>,
}

/// What the scores of an experiment say; nothing of a score that the log does not hold, is the
/// same for all, or of which too few customers of an arm have one.
pub(super) fn rankings(experiment: &str, sample: &Sample, outcome: OutcomeKind) -> Vec<Ranking> {
    let of = |score: usize| {
        let held = sample.with(score);
        let [smaller, larger] = sizes(&held.1);
        let n_parts = (smaller / PART_CUSTOMERS).min(PARTS_MAX);
        let constant = held.2.windows(2).all(|pair| pair[0].total_cmp(&pair[1]).is_eq());
        if n_parts < 2 || constant || larger == 0 {
            return None;
        }
        let responses = Responses { outcome: &held.0, treated: &held.1, score: &held.2 };
        ranking(experiment, (SCORES[score], &responses), n_parts, outcome).ok()
    };
    (0..SCORES.len()).filter_map(of).collect()
}

/// Customers of the smaller and of the larger arm.
fn sizes(treated: &[bool]) -> [usize; 2] {
    let n = treated.iter().filter(|one| **one).count();
    let mut sizes = [n, treated.len() - n];
    sizes.sort_unstable();
    sizes
}

fn ranking(
    experiment: &str,
    (score, of): (&'static str, &Responses<'_>),
    n_parts: usize,
    outcome: OutcomeKind,
) -> Result<Ranking, MetricError> {
    let by_score = parts_by_score(of.score, n_parts);
    let parts = by_score.iter().map(|rows| part(of, rows, outcome));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let (all, top) = (uplift_at(of, 1.0, PartOf::All)?, uplift_at(of, TOP_SHARE, PartOf::All)?);
    let n = of.outcome.len();
    let spec = BootstrapSpec { n_resamples: RESAMPLES, ..BootstrapSpec::default() };
    // The part is that of all customers, whoever is drawn.
    let mut is_top = vec![false; n];
    let ordered = parts_by_score(of.score, 1).into_iter().flatten();
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a number of rows"
    )]
    let n_top = (n as f64 * TOP_SHARE) as usize;
    ordered.take(n_top).for_each(|row| is_top[row] = true);
    let difference = |rows: &mut dyn Iterator<Item = usize>| {
        let mut arms = [ArmSums::default(), ArmSums::default()];
        rows.for_each(|row| arms[usize::from(of.treated[row])].add(of.outcome[row], 0.0));
        arms[1].mean() - arms[0].mean()
    };
    let gain = bootstrap(n, &spec, &|rows| {
        let top = difference(&mut rows.iter().copied().filter(|row| is_top[*row]));
        Some(top - difference(&mut rows.iter().copied()))
    })?;
    let qini = match outcome {
        OutcomeKind::Purchase => {
            let ranked = RankedResponses::try_new(of)?;
            let interval =
                bootstrap(n, &spec, &|rows| ranked.qini_of(rows, PerfectOrder::WithHarm))?;
            Some((ranked.qini(PerfectOrder::WithHarm)?, interval))
        }
        OutcomeKind::Spend => None,
    };
    Ok(Ranking {
        experiment: experiment.to_owned(),
        score,
        outcome,
        customers: n,
        parts,
        all,
        top,
        gain,
        qini,
        weighted: weighted_average_uplift(of, n_parts).ok(),
    })
}

fn part(of: &Responses<'_>, rows: &[usize], outcome: OutcomeKind) -> Result<Part, MetricError> {
    let (mut treated, mut control) = (ArmSums::default(), ArmSums::default());
    let mut range = [f64::INFINITY, f64::NEG_INFINITY];
    for &row in rows {
        let arm = if of.treated[row] { &mut treated } else { &mut control };
        arm.add(of.outcome[row], 0.0);
        range = [range[0].min(of.score[row]), range[1].max(of.score[row])];
    }
    let lift = match outcome {
        OutcomeKind::Purchase => proportion_lift(&treated, &control)?,
        OutcomeKind::Spend => mean_lift(&treated, &control)?,
    };
    Ok(Part { range, treated, control, lift })
}

impl Ranking {
    /// Whether the order is better than chance (`more`), worse (`less`), or neither for all one
    /// can tell: by the Qini coefficient where there is one, else by the gain.
    fn finding(&self) -> &'static str {
        let interval = self.qini.as_ref().map_or(self.gain, |(_, interval)| *interval);
        match (interval.low > 0.0, interval.high < 0.0) {
            (true, _) => "more",
            (_, true) => "less",
            _ => "not_shown",
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let parts: Vec<Value> = self
            .parts
            .iter()
            .map(|part| {
                json!({
                    "score_low": part.range[0], "score_high": part.range[1],
                    "treated": part.treated.n, "treated_mean": part.treated.mean(),
                    "control": part.control.n, "control_mean": part.control.mean(),
                    "difference": part.lift.difference,
                    "low": part.lift.low, "high": part.lift.high,
                })
            })
            .collect();
        let qini = self.qini.as_ref().map(|(value, interval)| {
            json!({ "value": value, "low": interval.low, "high": interval.high })
        });
        json!({
            "experiment": self.experiment, "score": self.score, "customers": self.customers,
            "parts": parts, "qini": qini, "weighted_average_uplift": self.weighted,
            "top_share": TOP_SHARE, "top_difference": self.top, "all_difference": self.all,
            "gain": {
                "value": self.top - self.all, "low": self.gain.low, "high": self.gain.high,
            },
            "finding": self.finding(),
        })
    }

    pub(super) fn text(&self, text: &mut String) {
        let (unit, times) = match self.outcome {
            OutcomeKind::Purchase => (" points", 100.0),
            OutcomeKind::Spend => ("", 1.0),
        };
        let Self { experiment, score, customers, .. } = self;
        let _ = writeln!(text, "\nwho responds: {experiment} by {score}, {customers} customers");
        let _ = writeln!(
            text,
            "  {:>25}  {:>9} {:>9}  difference, interval of 95 %",
            score, "treated", "control"
        );
        for part in &self.parts {
            let [low, high] = part.range;
            let range = format!("{low:.4} to {high:.4}");
            let Lift { difference, low, high, .. } = part.lift;
            let _ = writeln!(
                text,
                "  {range:>25}  {:>9} {:>9}  {:+.2} ({:+.2} to {:+.2}){unit}",
                part.treated.n,
                part.control.n,
                times * difference,
                times * low,
                times * high,
            );
        }
        if let Some((value, interval)) = &self.qini {
            let Interval { low, high, .. } = interval;
            let _ = writeln!(
                text,
                "  Qini {value:+.4} ({low:+.4} to {high:+.4}): 0 is no better than chance"
            );
        }
        let _ = writeln!(
            text,
            "  the {:.0} % of highest {score}: {:+.2}{unit}, all: {:+.2}{unit}; the gain of aiming \
             at them is {:+.2} ({:+.2} to {:+.2}){unit}",
            100.0 * TOP_SHARE,
            times * self.top,
            times * self.all,
            times * (self.top - self.all),
            times * self.gain.low,
            times * self.gain.high,
        );
        let said = match self.finding() {
            "more" => "the higher it is, the more they respond: aiming by it pays",
            "less" => "the higher it is, the LESS they respond: do not aim at high ones",
            _ => "not shown that it tells who responds: do not aim by it on this evidence",
        };
        let _ = writeln!(text, "  {said}");
    }
}
