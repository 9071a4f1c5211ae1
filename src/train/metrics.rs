//! `metrics.json`: how the models did, under names that stay.
//!
//! Nothing in it depends on the clock, the host or the number of threads.

use serde_json::{Map, Value, json};

use crate::decision::{Policy, Tier, TierCuts};
use crate::evaluate::{deciles, reliability, top_share_of_rarer};
use crate::events::{IntakeReport, Log};
use crate::features::SeasonClock;
use crate::model::btyd::{CovariateInfo, FitInfo, GammaGamma};
use crate::model::{CountKind, CountModel, PurchaseMix, StageCovariates};

use super::backtest_json::backtest;
use super::count_choice::CountChoice;
use super::count_mix::{MixChoice, MixWindow};
use super::fit::{FitResult, at_actual_level};
use super::judgement::Judgement;
use super::plan::TrainSpec;
use super::total_interval::{purchases_total, value_interval};

/// Bins of the reliability table.
const RELIABILITY_BINS: usize = 10;
/// Shares at which lift and capture are shown.
const CAPTURE_SHARES: [f64; 3] = [0.05, 0.1, 0.2];

/// Calibration slopes that are good enough for the best grade.
const SLOPES: std::ops::RangeInclusive<f64> = 0.8..=1.25;

/// How far the result can be trusted, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grade {
    /// A to D.
    pub letter: &'static str,
    /// Why, in one sentence.
    pub reason: String,
}

impl Grade {
    /// Grades a fit: D where nothing could be learned, C without signal or calibration, B with
    /// one judged window, A where recalibration could be judged on a second one as well.
    #[must_use]
    pub fn of(fit: &FitResult) -> Self {
        let Some(churn) = fit.churn.as_ref().filter(|_| fit.data.learn) else {
            let reason =
                format!("too little data to learn from: {}", fit.data.shortfalls().join("; "));
            return Self { letter: "D", reason };
        };
        let champion = churn.metrics.iter().find(|m| m.name == churn.champion.as_str());
        let Some(champion) = champion.filter(|_| churn.signal) else {
            let reason = "no usable signal: no candidate beats the base rate".to_owned();
            return Self { letter: "C", reason };
        };
        let numbers = format!("AUC {:.3}, ECE {:.3}", champion.auc, champion.ece);
        if champion.auc < 0.65 || champion.ece > 0.05 {
            return Self { letter: "C", reason: format!("weak or badly calibrated: {numbers}") };
        }
        if let Some(doubt) = fit.judgement.as_ref().and_then(doubt) {
            return Self { letter: "B", reason: format!("{numbers}; {doubt}") };
        }
        if churn.n_windows < 2 {
            let reason = format!("{numbers} on one judged window; no second one to confirm it");
            return Self { letter: "B", reason };
        }
        let reason = format!(
            "{numbers} on the newest window; choices judged on {} windows",
            churn.n_windows
        );
        Self { letter: "A", reason }
    }
}

/// What keeps a good champion from the best grade.
fn doubt(found: &Judgement) -> Option<String> {
    let beaten = found.comparison.as_ref().map_or(&[][..], |compared| &compared.gains[..]);
    if let Some(gain) = beaten.iter().find(|gain| !gain.is_beyond_luck()) {
        return Some(format!("its gain over {} may be luck", gain.against));
    }
    if let Some(line) = found.line.filter(|line| !SLOPES.contains(&line.slope)) {
        return Some(format!("its calibration slope is {:.2}", line.slope));
    }
    // Parts overlap: it is off somewhere in most bases, so only large parts count.
    let n: usize = found.subgroups.iter().filter(|p| p.by == "buyers").map(|p| p.customers).sum();
    let off = found.subgroups.iter().find(|p| p.warning.is_some() && 3 * p.customers >= n)?;
    Some(format!("{} {}: {}", off.by, off.group, off.warning.as_deref().unwrap_or_default()))
}

/// Builds the metrics of a run.
#[must_use]
pub fn metrics(spec: &TrainSpec, log: &Log, fit: &FitResult, policy: Option<&Policy>) -> Value {
    let grade = Grade::of(fit);
    let mut btyd: Vec<Value> = fit.counts.iter().map(count_model).collect();
    btyd.extend(fit.today.spend.as_ref().map(spend_model));
    json!({
        "btyd": btyd,
        "btyd_choice": count_choice(&fit.count_choice, &fit.count_mix),
        "btyd_covariates": fit.today.covariates.as_ref().map(covariates),
        "season_clock": fit.today.clock.as_ref().map(season_clock),
        "churn": with_horizons(churn(spec, fit, policy), fit),
        "clv": clv(spec, fit),
        "purchases_total": purchases_total(spec, fit),
        "backtest": backtest(spec, fit),
        "activities": super::activities::to_json(&fit.activities),
        "data": data(spec, log, fit),
        "grade": grade.letter,
        "grade_reason": grade.reason,
    })
}

/// Which purchase-count model is in use, and what it was chosen from.
fn count_choice(choice: &CountChoice, mix: &MixChoice) -> Value {
    let candidates: Vec<Value> = choice
        .candidates
        .iter()
        .map(|candidate| {
            json!({
                "model": candidate.kind.name(),
                "log_likelihood": candidate.log_likelihood,
                "log_loss": candidate.log_loss,
            })
        })
        .collect();
    json!({
        "model": choice.kind.name(),
        "reason": choice.reason,
        "candidates": candidates,
        "purchases": count_mix(mix),
    })
}

/// How much each purchase-count model counts where purchases are expected.
fn count_mix(mix: &MixChoice) -> Value {
    let named = |numbers: &mut dyn Iterator<Item = (CountKind, f64)>| -> Value {
        numbers.map(|(kind, number)| (kind.name().to_owned(), json!(number))).collect()
    };
    let windows: Vec<Value> = mix
        .windows
        .iter()
        .map(|MixWindow { cutoff, deviances, equal }| {
            json!({
                "cutoff": cutoff.to_string(),
                "deviance": named(&mut PurchaseMix::KINDS.into_iter().zip(*deviances)),
                "deviance_of_equal_mean": equal,
            })
        })
        .collect();
    json!({
        "weights": named(&mut mix.weights.iter().copied()),
        "windows": windows,
        "reason": mix.reason,
    })
}

/// What each covariate does, as the logarithm of a factor, with its standard error.
fn covariates((covariates, info): &(StageCovariates, CovariateInfo)) -> Value {
    let StageCovariates { encoding, effects } = covariates;
    let mut names = encoding.columns().into_iter();
    let rates = effects.rate.iter().zip(&info.rate_errors);
    let dropouts = effects.dropout.iter().zip(&info.dropout_errors);
    let columns: Vec<Value> = rates
        .zip(dropouts)
        .map(|((rate, rate_error), (dropout, dropout_error))| {
            json!({
                "name": names.next(),
                "rate": rate,
                "rate_standard_error": rate_error,
                "dropout": dropout,
                "dropout_standard_error": dropout_error,
            })
        })
        .collect();
    json!({
        "model": effects.base.name(),
        "params": effects.params,
        "standard_errors": info.standard_errors,
        "log_likelihood": info.log_likelihood,
        "log_likelihood_plain": info.log_likelihood_plain,
        "n": info.n,
        "columns": columns,
    })
}

/// How far the weeks of the clock differ.
fn season_clock(clock: &SeasonClock) -> Value {
    let (start, weekly, yearly) = clock.parts();
    let (slowest, fastest) =
        weekly.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), &s| (low.min(s), high.max(s)));
    json!({
        "from": start.plus(1).to_string(),
        "weeks": weekly.len(),
        "slowest": slowest,
        "fastest": fastest,
        "repeats_by_year": !yearly.is_empty(),
    })
}

fn count_model(model: &CountModel) -> Value {
    fitted_model(model.name(), &model.kind().param_names(), &model.params(), model.info())
}

fn spend_model(model: &GammaGamma) -> Value {
    let params = model.params();
    fitted_model(
        "gamma_gamma",
        &["p", "q", "gamma"],
        &[params.p, params.q, params.gamma],
        model.info(),
    )
}

fn fitted_model(name: &str, names: &[&str], params: &[f64], info: Option<&FitInfo>) -> Value {
    let named = |numbers: &[f64]| -> Map<String, Value> {
        names
            .iter()
            .zip(numbers)
            .map(|(name, number)| ((*name).to_owned(), json!(number)))
            .collect()
    };
    json!({
        "model": name,
        "time_unit": "weeks",
        "params": named(params),
        "log_likelihood": info.map(|info| info.log_likelihood),
        "n": info.map(|info| info.n),
        "standard_errors": info.map(|info| named(&info.standard_errors)),
        "warnings": info
            .map(|info| info.warnings.iter().map(ToString::to_string).collect::<Vec<_>>())
            .unwrap_or_default(),
    })
}

fn churn(spec: &TrainSpec, fit: &FitResult, policy: Option<&Policy>) -> Value {
    let windows: Vec<Value> = fit
        .rows
        .iter()
        .map(|(cutoff, rows)| {
            let churned = rows.churned.iter().filter(|&&yes| yes).count();
            json!({
                "cutoff": cutoff.to_string(),
                "window_end": cutoff.plus(spec.churn.as_i32()).to_string(),
                "role": role(fit, *cutoff),
                "customers": rows.churned.len(),
                "churn_share": churned as f64 / rows.churned.len().max(1) as f64,
            })
        })
        .collect();
    let (Some(verdict), Some((_, judged))) = (&fit.churn, fit.rows.last()) else {
        return json!({
            "champion": fit.fitted.churn.kind.as_str(),
            "signal": false,
            "horizon_days": spec.churn.get(),
            "candidates": [],
            "windows": windows,
            "note": "no complete window to judge candidates on",
        });
    };
    let bins = reliability_bins(&verdict.probs, &judged.churned);
    let capture = captures(&verdict.probs, &judged.churned);
    let judged_cuts = policy.and_then(|policy| policy.tier_cuts(&verdict.probs).ok());
    let frozen = policy.and_then(|policy| policy.tier_cuts(&fit.churn_quantiles).ok());
    json!({
        "champion": verdict.champion.as_str(),
        "signal": verdict.signal,
        "horizon_days": spec.churn.get(),
        "calibration": {
            "intercept": verdict.calibration.intercept(),
            "slope": verdict.calibration.slope(),
            "note": verdict.calibration_note,
        },
        "candidates": verdict.metrics,
        "search": fit.search.report,
        "comparison": fit.judgement.as_ref().and_then(|found| found.comparison.as_ref()),
        "calibration_line": fit.judgement.as_ref().and_then(|found| found.line),
        "subgroups": fit.judgement.as_ref().map_or(&[][..], |found| &found.subgroups[..]),
        "stacking_note": verdict.stacking.note,
        "windows": windows,
        "reliability": bins,
        "capture_of_rarer": capture,
        "tiers": judged_cuts.map(|cuts| tiers(cuts, &verdict.probs, &judged.churned)),
        "tier_cuts_today": frozen.map(|cuts| json!({
            "red_prob": cuts.red_prob,
            "amber_prob": cuts.amber_prob,
        })),
    })
}

/// The further horizons beside the primary one; left out where there are none.
fn with_horizons(mut churn: Value, fit: &FitResult) -> Value {
    if !fit.horizons.is_empty() {
        churn["horizons"] = json!(fit.horizons);
    }
    churn
}

fn role(fit: &FitResult, cutoff: crate::domain::Day) -> &'static str {
    match &fit.plan {
        Some(plan) if plan.judged == cutoff => "judged",
        Some(plan) if plan.training.contains(&cutoff) => "training",
        _ => "final fit only",
    }
}

/// Size and observed churn of each tier on the judged window, cut by that window's own base: what
/// the shares that the policy asks for would have caught there.
pub(super) fn tiers(cuts: TierCuts, probs: &[f64], churned: &[bool]) -> Vec<Value> {
    Tier::ALL
        .iter()
        .rev()
        .map(|&tier| {
            let members = probs.iter().zip(churned).filter(|(prob, _)| cuts.tier(**prob) == tier);
            let (n, left) = members
                .fold((0_usize, 0_usize), |(n, left), (_, &yes)| (n + 1, left + usize::from(yes)));
            json!({
                "tier": tier.as_str(),
                "customers": n,
                "share": n as f64 / probs.len().max(1) as f64,
                "observed_churn": if n > 0 { Some(left as f64 / n as f64) } else { None },
                "prob_from": match tier {
                    Tier::Red => cuts.red_prob,
                    Tier::Amber => cuts.amber_prob,
                    Tier::Green => 0.0,
                },
            })
        })
        .collect()
}

fn clv(spec: &TrainSpec, fit: &FitResult) -> Value {
    let common = json!({
        "champion": fit.fitted.value.as_ref().map(|value| value.kind.as_str()),
        "horizon_days": spec.value.get(),
        "judged_horizon_days": spec.churn.get(),
        "extrapolated": fit.fitted.extrapolated,
        "basis": "revenue less refunds, undiscounted",
        "total_interval": value_interval(spec, fit),
        "total_predicted": total_predicted(fit),
    });
    let (Some(verdict), Some((_, judged))) = (&fit.value, fit.rows.last()) else {
        return merged(common, json!({ "candidates": [], "deciles": [] }));
    };
    let covered = covered_share(fit, judged);
    let table: Vec<Value> = deciles(&verdict.predicted, &judged.spend)
        .unwrap_or_default()
        .iter()
        .map(|decile| {
            json!({
                "customers": decile.n_rows,
                "predicted_mean": decile.predicted_mean,
                "actual_mean": decile.actual_mean,
            })
        })
        .collect();
    let own = json!({
        "candidates": verdict.metrics,
        "deciles": table,
        "factor": fit.fitted.value.as_ref().map(|value| value.factor),
        "interval_coverage": { "nominal": 0.8, "on_calibration_window": covered },
    });
    merged(common, own)
}

/// Share of the judged window's customers whose spend lies in their own interval. The interval was
/// set on this window: this is a check of the arithmetic, not of the future.
fn covered_share(fit: &FitResult, judged: &super::backtest::Rows) -> Option<f64> {
    let verdict = fit.value.as_ref()?;
    let means = at_actual_level(&verdict.predicted, &judged.spend);
    let pairs = means.iter().zip(&judged.spend).filter(|(mean, _)| **mean > 0.0);
    let (n, inside) = pairs.fold((0_usize, 0_usize), |(n, inside), (&mean, actual)| {
        let [low, _, high] = fit.fitted.intervals.quantiles(mean, mean);
        (n + 1, inside + usize::from((low..=high).contains(actual)))
    });
    (n > 0).then(|| inside as f64 / n as f64)
}

fn total_predicted(fit: &FitResult) -> Option<f64> {
    fit.fitted.value.as_ref().map(|_| fit.total_predicted)
}

fn merged(mut base: Value, more: Value) -> Value {
    if let (Value::Object(base), Value::Object(more)) = (&mut base, more) {
        base.extend(more);
    }
    base
}

fn data(spec: &TrainSpec, log: &Log, fit: &FitResult) -> Value {
    // Rows after `until` are not counted: the same data up to that day give the same version.
    let IntakeReport { dropped, duplicates, .. } = &log.report;
    let kept = log.n_events;
    let day = |at: Option<crate::domain::Day>| at.map(|day| day.to_string());
    json!({
        "rows": kept + dropped + duplicates,
        "kept": kept,
        "dropped": dropped,
        "duplicates": duplicates,
        "customers": log.customers.len(),
        "buyers": fit.today.customers.len(),
        "first": day(log.days.map(|(first, _)| first)),
        "last": day(log.days.map(|(_, last)| last)),
        "until": spec.until.to_string(),
        "usability": fit.data.findings,
        "warnings": fit.data.warnings,
        "learned": fit.data.learn,
        "base_rhythm": {
            "gap_days_p50": fit.fitted.base.rhythm.gap_days_p50,
            "gap_days_p90": fit.fitted.base.rhythm.gap_days_p90,
            "history_short": fit.fitted.base.rhythm.history_short,
        },
    })
}

/// Predicted against observed share by bins of equal numbers of customers.
pub(super) fn reliability_bins(probs: &[f64], churned: &[bool]) -> Vec<Value> {
    reliability(probs, churned, RELIABILITY_BINS)
        .unwrap_or_default()
        .iter()
        .map(|bin| {
            json!({
                "customers": bin.n_rows,
                "prob_mean": bin.prob_mean,
                "churn_share": bin.positive_share,
            })
        })
        .collect()
}

/// What the customers with the highest probabilities hold of the rarer class.
pub(super) fn captures(probs: &[f64], churned: &[bool]) -> Vec<Value> {
    CAPTURE_SHARES
        .iter()
        .filter_map(|&share| {
            let top = top_share_of_rarer(probs, churned, share).ok()?;
            Some(json!({ "share": share, "capture": top.capture_share, "lift": top.lift_ratio }))
        })
        .collect()
}
