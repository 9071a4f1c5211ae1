use super::super::boosted::{BoostedSpec, Objective, TreeShape};
use super::super::btyd::{BgNbd, BgNbdParams, GammaGamma, GammaGammaParams};
use super::super::calibrate::LogitLine;
use super::super::churn::{ChurnParts, ChurnSpec};
use super::super::count::CountModel;
use super::super::fitted::row_definitions;
use super::super::logistic::LogisticSpec;
use super::super::stage::{BTYD_COLUMNS, BtydStage, StageInput};
use super::super::value::{IntervalTable, ValueParts};
use super::*;
use crate::features::{BaseStats, FeatureSchema, RhythmBase};
use crate::model::ChurnModel;

/// Uniform numbers in [0, 1), the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        f64::from(u32::try_from(self.0 >> 33).unwrap()) / f64::from(1_u32 << 31)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small count that was rounded down from a number above 0"
)]
fn whole(x: f64) -> u32 {
    x as u32
}

fn stage() -> BtydStage {
    let params = BgNbdParams { r: 0.3, alpha: 5.0, a: 0.8, b: 2.5 };
    let spend = GammaGammaParams { p: 6.0, q: 4.0, gamma: 15.0 };
    BtydStage {
        mix: None,
        counts: CountModel::BgNbd(BgNbd::try_from_params(params).unwrap()),
        spend: Some(GammaGamma::try_from_params(spend).unwrap()),
        churn_weeks: 13.0,
        value_weeks: 39.0,
        clock: None,
        covariates: None,
    }
}

/// What the stage sees of a customer on the calendar.
fn seen(summary: PurchaseSummary) -> StageInput {
    StageInput { summary, weeks: [13.0, 39.0], covariates: Vec::new() }
}

/// Customers with plausible purchase columns; every other column is noise with holes.
fn rows(n: u32, columns: &Columns, stage: &BtydStage) -> FeatureMatrix {
    let n_columns = row_definitions().len();
    let mut numbers = Numbers(7);
    let mut matrix = FeatureMatrix::new("s", n_columns);
    for _ in 0..n {
        let mut row: Vec<f64> = (0..n_columns - BTYD_COLUMNS.len())
            .map(|_| if numbers.next() < 0.1 { f64::NAN } else { 9.0 * numbers.next() })
            .collect();
        let x = (numbers.next() * numbers.next() * 12.0).floor();
        let span = if x > 0.0 { (numbers.next() * 250.0).floor() } else { 0.0 };
        let silent = (numbers.next() * 300.0).floor();
        row[columns.frequency] = x;
        row[columns.active_span] = span;
        row[columns.recency] = silent;
        row[columns.tenure] = span + silent;
        let summary = PurchaseSummary {
            x: whole(x),
            t_x: span / 7.0,
            t: (span + silent) / 7.0,
            spend_repeat_mean: 40.0 * numbers.next(),
            log_gap_sum: 0.0,
        };
        stage.append(Some(&seen(summary)), &mut row);
        matrix.push_row(&row).unwrap();
    }
    matrix
}

fn boosted(objective: Objective) -> BoostedSpec {
    let shape = TreeShape::Depth(3);
    BoostedSpec { objective, n_rounds_max: 40, shape, ..BoostedSpec::default() }
}

/// A whole fitted on the rows, with a recalibration and a factor that are not the identity.
fn fitted(columns: &Columns, stage: BtydStage, rows: &FeatureMatrix) -> Fitted {
    let mut numbers = Numbers(99);
    let mut churned = Vec::new();
    let spend: Vec<f64> = rows.map_rows(|row| {
        let gone = numbers.next() < 0.5 * row[columns.btyd_churn] + 0.004 * row[columns.recency];
        churned.push(gone);
        if gone { 0.0 } else { 5.0 + 60.0 * numbers.next() }
    });
    let came: Vec<bool> = churned.iter().map(|&gone| !gone).collect();
    let spec =
        ChurnSpec { logistic: LogisticSpec::default(), boosted: boosted(Objective::Logistic) };
    let tweedie = boosted(Objective::Tweedie { power: 1.5 });
    Fitted {
        base: BaseStats::of_rhythm(RhythmBase::weak()),
        stage,
        churn: ChurnModel {
            kind: ChurnKind::Blend,
            parts: ChurnParts::fit(&spec, columns, rows, &churned).unwrap(),
            calibration: LogitLine::try_new(-0.2, 1.3).unwrap(),
        },
        horizons: Vec::new(),
        value: Some(ValueModel {
            kind: ValueKind::Blend,
            parts: ValueParts::fit(&tweedie, columns, rows, (&came, &spend)).unwrap(),
            factor: 1.17,
        }),
        intervals: IntervalTable::default(),
        value_quantiles: Vec::new(),
        ranges: Vec::new(),
        churn_days: 91,
        value_days: 273,
        extrapolated: true,
    }
}

/// Explains 10,000 rows by every candidate; gives the largest gap and contribution.
fn check(fitted: &Fitted, rows: &FeatureMatrix) {
    for (churn, value) in
        ChurnKind::ALL.into_iter().zip(ValueKind::ALL.into_iter().chain([ValueKind::Stacked]))
    {
        let mut fitted = fitted.clone();
        let weights = [0.2, 0.35, 0.45];
        fitted.churn.kind = churn;
        fitted.churn.parts.stack = StackWeights::try_new(weights).unwrap();
        let model = fitted.value.as_mut().unwrap();
        model.kind = value;
        model.parts.stack = StackWeights::try_new(weights).unwrap();
        let predictor = Predictor::try_new(fitted).unwrap();
        let typical = TypicalCustomer::of(predictor.columns(), rows);
        let explainer = Explainer::try_new(&predictor, typical).unwrap();
        let (mut gap, mut moved) = (0.0_f64, 0.0_f64);
        rows.map_rows(|row| {
            let found = explainer.churn(&predictor, row).unwrap();
            let prob = predictor.fitted().churn.prob(predictor.columns(), row);
            assert!((sigmoid(found.total) - prob).abs() < 1e-15);
            gap = gap.max(found.gap().abs());
            moved = moved.max((found.total - found.base_value).abs());
            let found = explainer.value(&predictor, row).unwrap();
            let mean = predictor.score(row, 0.0).clv.unwrap().mean;
            assert!((libm::exp(found.total) / mean - 1.0).abs() < 1e-12);
            gap = gap.max(found.gap().abs());
        });
        assert!(gap < 1e-9, "{churn:?} {value:?}: {gap}");
        assert!(moved > 0.5 || churn == ChurnKind::BaseRate, "{churn:?}: nothing was explained");
    }
}

#[test]
fn base_value_and_contributions_give_the_score_of_10_000_rows_by_every_candidate() {
    if cfg!(debug_assertions) {
        return;
    }
    let schema = FeatureSchema::new(&row_definitions());
    let columns = Columns::try_new(&schema).unwrap();
    let rows = rows(10_000, &columns, &stage());
    let learned: Vec<usize> = (0..3_000).collect();
    let fitted = fitted(&columns, stage(), &rows.select_rows(&learned));
    check(&fitted, &rows);
}

#[test]
fn the_typical_customer_needs_no_explanation_by_the_closed_form() {
    let schema = FeatureSchema::new(&row_definitions());
    let columns = Columns::try_new(&schema).unwrap();
    let rows = rows(9, &columns, &stage());
    let fitted = Fitted {
        base: BaseStats::of_rhythm(RhythmBase::weak()),
        stage: stage(),
        churn: ChurnModel {
            kind: ChurnKind::Btyd,
            parts: ChurnParts::unlearned(0.5),
            calibration: LogitLine::IDENTITY,
        },
        horizons: Vec::new(),
        value: None,
        intervals: IntervalTable::default(),
        value_quantiles: Vec::new(),
        ranges: Vec::new(),
        churn_days: 91,
        value_days: 273,
        extrapolated: true,
    };
    let predictor = Predictor::try_new(fitted).unwrap();
    let mut row = vec![0.0; rows.n_columns()];
    rows.copy_row(4, &mut row);
    let typical = TypicalCustomer {
        repeats: whole(row[columns.frequency]),
        active_days: row[columns.active_span],
        silent_days: row[columns.recency],
    };
    let explainer = Explainer::try_new(&predictor, typical).unwrap();
    let found = explainer.churn(&predictor, &row).unwrap();
    assert!(found.contributions.iter().all(|part| part.abs() < 1e-12), "{found:?}");
    assert!((found.base_value - found.total).abs() < 1e-12);
    // One silent year more can only come from the days of silence.
    let mut later = row.clone();
    later[columns.recency] += 365.0;
    later[columns.tenure] += 365.0;
    let summary = PurchaseSummary {
        x: typical.repeats,
        t_x: later[columns.active_span] / 7.0,
        t: later[columns.tenure] / 7.0,
        spend_repeat_mean: 0.0,
        log_gap_sum: 0.0,
    };
    later.truncate(later.len() - BTYD_COLUMNS.len());
    stage().append(Some(&seen(summary)), &mut later);
    let found = explainer.churn(&predictor, &later).unwrap();
    let moved: Vec<&str> = explainer
        .terms()
        .iter()
        .zip(&found.contributions)
        .filter(|(_, part)| part.abs() > 1e-9)
        .map(|(term, _)| term.name)
        .collect();
    assert_eq!(moved, ["rhythm_model:recency_days"]);
    let missing = vec![f64::NAN; row.len()];
    assert!(explainer.churn(&predictor, &missing).is_none());
}
