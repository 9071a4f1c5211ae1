//! A whole run on a table: read, infer, guard, judge, fit, freeze, write, promote.

use std::path::Path;

use serde_json::Value;

use super::baseline::baseline;
use super::error::TableError;
use super::judge::{ChurnVerdict, Verdict, fit_all, judge};
use super::metrics::{Subject, grade, metrics, schema_text};
use super::rows::{Rows, encode};
use super::split::{Split, by_group, by_time, strata};
use crate::bundle::{
    Bundle, BundleError, BundleKind, BundleModels, BundleSelector, CHALLENGER, CHAMPION, CutsV1,
    ManifestV1, TableDraft, TableExampleV1, TableV1, aliases, set_alias,
};
use crate::config::{TableConfig, TrainConfig};
use crate::decision::{Facts, Policy, RfmCuts};
use crate::domain::{Currency, Day, Timestamp};
use crate::evaluate::report;
use crate::evaluate::{LEAK_AUC, leaks, log_loss, spearman};
use crate::events::{RawValue, Table};
use crate::model::{BoostedSpec, TableFitSpec, TableFitted, TablePredictor, TableValue};
use crate::scoring::{ScoringError, rfm_values_of, self_test};
use crate::train::error::TrainError;
use crate::train::fit::quantiles;
use crate::train::metrics::Grade;
use crate::train::plan::Usability;
use crate::train::run::TrainOutcome;

/// Fewer rows than this, and nothing is learned.
const ROWS_MIN: usize = 500;
/// Fewer rows of either outcome than this, and nothing is learned.
const OUTCOMES_MIN: usize = 200;
/// Fewer percent of the cells filled, and nothing is learned.
const FILLED_MIN: usize = 80;
/// A column whose rank correlation with the value exceeds this is the value in disguise.
const VALUE_LEAK_RHO: f64 = 0.995;
/// Rows kept in a bundle with the scores that must come out.
const EXAMPLES: usize = 16;
/// A new bundle may be this much worse in log loss and still be promoted: the champion may have
/// been fitted on the rows that the new one had not seen.
const LOSS_TOLERANCE: f64 = 0.01;

/// Reads a table, trains, writes the bundle and sets its alias.
///
/// # Errors
/// [`TrainError`]; no bundle and no alias is written when one is returned.
pub(in crate::train) fn run(
    config: &TrainConfig,
    table_config: &TableConfig,
    (policy_text, threads): (&str, usize),
    now: Timestamp,
    progress: &mut dyn FnMut(&str),
) -> Result<TrainOutcome, TrainError> {
    progress("reading the table");
    let defaults = config.defaults();
    let (read, rules) = config.log.table_spec(&defaults, now);
    let table = Table::read(&table_config.file, &read, &rules)?;
    config.log.threshold.check(&table.report)?;
    let policy = Policy::parse(policy_text).map_err(ScoringError::from)?;
    let rows = Rows::new(&table, table_config, &defaults.zone)?;
    let usability = usability(&rows);
    let short = shortfalls(&usability);
    if !short.is_empty() && !config.allow_small {
        return Err(TableError::Small(short).into());
    }
    guard(&rows, table_config)?;
    progress("fitting and judging");
    let split = split(&rows, table_config, config.seed)?;
    let boosted = BoostedSpec { seed: config.seed, n_threads: threads, ..BoostedSpec::default() };
    let spec = TableFitSpec { boosted, ..TableFitSpec::default() };
    let verdict = judge(&spec, &rows, &split)?;
    let (churn, value) = fit_all(&spec, &rows, &verdict)?;
    let fitted = fitted(table_config, &rows, &verdict, (churn, value));
    let grade = grade(&verdict, &split, &short);
    let churn_quantiles = verdict.churn.as_ref().map_or_else(Vec::new, |v| quantiles(&v.probs));
    let subject = Subject {
        table: &table,
        config: table_config,
        rows: &rows,
        split: &split,
        verdict: &verdict,
        fitted: &fitted,
        usability: &usability,
        policy: &policy,
        churn_quantiles: &churn_quantiles,
    };
    let metrics = metrics(&subject, &grade);
    progress("writing the bundle");
    let draft = draft(config, &subject, (&metrics, &grade), policy_text)?;
    let (version, folder) = draft.write(&config.models)?;
    let bundle = Bundle::load(&folder)?;
    self_test(&bundle)?;
    progress("comparing with the champion");
    let (promoted, promotion_reason) = promote(config, &subject, &version)?;
    Ok(TrainOutcome {
        version,
        folder,
        promoted,
        promotion_reason,
        grade,
        intake: schema_text(&metrics),
        metrics,
        intake_report: table.report.clone(),
        comparison: serde_json::Value::Null,
    })
}

fn usability(rows: &Rows) -> Vec<Usability> {
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let finding = |what, found: usize, needed: usize| Usability {
        what,
        found: count(found),
        needed: count(needed),
        ok: found >= needed,
    };
    let mut findings = vec![finding("rows with a label", rows.places.len(), ROWS_MIN)];
    if let Some(churned) = &rows.churned {
        let left = churned.iter().filter(|&&yes| yes).count();
        findings.push(finding("rows of those who left", left, OUTCOMES_MIN));
        findings.push(finding("rows of those who stayed", churned.len() - left, OUTCOMES_MIN));
    }
    if let Some(value) = &rows.value {
        let paid = value.iter().filter(|value| **value > 0.0).count();
        findings.push(finding("rows with a value above 0", paid, OUTCOMES_MIN));
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share in percent"
    )]
    let filled = ((1.0 - rows.missing_share()) * 100.0).floor() as usize;
    findings.push(finding("percent of the cells filled", filled, FILLED_MIN));
    findings
}

fn shortfalls(findings: &[Usability]) -> Vec<String> {
    findings
        .iter()
        .filter(|f| !f.ok)
        .map(|f| format!("{}: {} found, {} needed", f.what, f.found, f.needed))
        .collect()
}

/// Stops at columns that know a label, unless they are allowed.
fn guard(rows: &Rows, config: &TableConfig) -> Result<(), TableError> {
    let columns: Vec<(&str, Vec<f64>)> = rows
        .schema
        .columns()
        .iter()
        .enumerate()
        .filter(|(_, column)| !config.allow_leak.contains(&column.name))
        .map(|(at, column)| (column.name.as_str(), rows.flat_column(at)))
        .collect();
    let mut found = Vec::new();
    if let Some(churned) = &rows.churned {
        let named = columns.iter().map(|(name, column)| (*name, column.as_slice()));
        found = leaks(named, churned, LEAK_AUC)?;
    }
    if let Some(value) = &rows.value {
        for (name, column) in &columns {
            let filled: Vec<f64> =
                column.iter().map(|x| if x.is_nan() { f64::MIN } else { *x }).collect();
            let rho = spearman(&filled, value).unwrap_or(0.0);
            if rho.abs() > VALUE_LEAK_RHO {
                let (column, auc) = ((*name).to_owned(), 0.5 + 0.5 * rho.abs());
                found.push(crate::evaluate::Leak { column, auc, is_label: true });
            }
        }
    }
    if found.is_empty() { Ok(()) } else { Err(TableError::Leak(found)) }
}

fn split(rows: &Rows, config: &TableConfig, seed: u64) -> Result<Split, TableError> {
    match &rows.times {
        Some(times) => by_time(times).ok_or_else(|| TableError::Time {
            column: config.time.clone().unwrap_or_default(),
            what: "all rows have one time: leave --time-column away to judge in folds",
        }),
        None => {
            let strata = strata(rows.churned.as_deref(), rows.value.as_deref());
            Ok(by_group(&rows.groups, &strata, (config.folds, config.repeats), seed))
        }
    }
}

fn fitted(
    config: &TableConfig,
    rows: &Rows,
    verdict: &Verdict,
    (churn, value): (Option<crate::model::TableChurn>, Option<TableValue>),
) -> TableFitted {
    let intervals = verdict.value.as_ref().map(|value| value.intervals.clone());
    let means = value
        .as_ref()
        .map_or_else(Vec::new, |value| rows.matrix.map_rows(|row| value.mean(&rows.schema, row)));
    TableFitted {
        churn_days: config.churn.filter(|_| churn.is_some()).map_or(0, crate::domain::Days::get),
        value_days: if value.is_some() { config.value.get() } else { 0 },
        churn,
        value,
        intervals: intervals.unwrap_or_default(),
        value_quantiles: quantiles(&means),
    }
}

fn draft(
    config: &TrainConfig,
    subject: &Subject<'_>,
    (metrics, grade): (&Value, &Grade),
    policy_text: &str,
) -> Result<TableDraft, TrainError> {
    let Subject { table, config: table_config, rows, fitted, churn_quantiles, .. } = subject;
    let predictor = TablePredictor::try_new(rows.schema.clone(), (*fitted).clone())
        .map_err(TableError::Parts)?;
    let manifest = manifest(config, subject, grade, metrics);
    let mut table_v1 = TableV1::new();
    table_v1.id_column.clone_from(&table_config.id);
    table_v1.label.clone_from(&table_config.label);
    table_v1.positive.clone_from(&table_config.positive);
    table_v1.value_label.clone_from(&table_config.value_label);
    let facts = table_config.map.iter();
    table_v1.facts = facts.map(|(f, column)| (f.as_str().to_owned(), column.clone())).collect();
    table_v1.ignored = rows.ignored.iter().cloned().collect();
    let said = serde_json::to_value(&manifest).unwrap_or_default();
    Ok(TableDraft {
        schema: rows.schema.clone(),
        table: table_v1,
        fitted: (*fitted).clone(),
        cuts: cuts(subject, churn_quantiles)?,
        policy: policy_text.to_owned(),
        metrics: metrics.clone(),
        examples: examples(table, rows, &predictor)?,
        report: report::render(&said, metrics)?,
        card: report::model_card(&said, metrics)?,
        baseline: baseline(rows, &predictor),
        manifest,
    })
}

fn manifest(
    config: &TrainConfig,
    subject: &Subject<'_>,
    grade: &Grade,
    metrics: &Value,
) -> ManifestV1 {
    let defaults = config.defaults();
    let day = |key: &str| -> String {
        let text = metrics["data"][key].as_str().unwrap_or_default();
        let time = defaults.zone.parse(text).ok();
        time.map_or_else(String::new, |time| defaults.zone.day_of(time).to_string())
    };
    ManifestV1 {
        format: 0,
        kind: BundleKind::Table,
        name: config.name.clone(),
        feature_schema: String::new(),
        timezone: defaults.zone.name().to_owned(),
        currency: config.log.currency.unwrap_or(Currency::NONE).as_str().to_owned(),
        churn_horizon_days: subject.fitted.churn_days,
        clv_horizon_days: subject.fitted.value_days,
        btyd_time_unit: String::new(),
        btyd_occasion: String::new(),
        prior: String::new(),
        seed: config.seed,
        data_first: day("first"),
        data_until: config.until_said().map_or_else(|| day("last"), |day: Day| day.to_string()),
        customers: metrics["data"]["customers"].as_u64().unwrap_or(0),
        events: 0,
        grade: grade.letter.to_owned(),
        files: std::collections::BTreeMap::new(),
    }
}

/// Cut points of the scores from the facts that the table gives.
fn cuts(subject: &Subject<'_>, churn_quantiles: &[f64]) -> Result<CutsV1, TableError> {
    let Subject { table, config, rows, .. } = subject;
    let mut base = Vec::with_capacity(rows.places.len());
    for &place in &rows.places {
        let mut facts = Facts::default();
        for (fact, name) in &config.map {
            let at = super::infer::position(table, name, "--map")?;
            let cell = table.cell(place, at);
            facts.give(*fact, &cell).map_err(|wanted| TableError::Cell {
                line: table.line(place),
                issue: crate::model::CellIssue {
                    column: name.clone(),
                    found: format!("{} for the fact {}", cell.kind(), fact.as_str()),
                    wanted,
                },
            })?;
        }
        base.push(rfm_values_of(&facts));
    }
    // Without buyers there is nothing to cut.
    let rfm = RfmCuts::fit(&base).unwrap_or_default();
    Ok(CutsV1 {
        days_since_order: rfm.days_since_order,
        orders: rfm.orders,
        avg_order_value: rfm.avg_order_value,
        spend_728d: rfm.spend_728d,
        churn_quantiles: churn_quantiles.to_vec(),
    })
}

/// Rows spread over the table, with the scores that must come out of them.
fn examples(
    table: &Table,
    rows: &Rows,
    predictor: &TablePredictor,
) -> Result<Vec<TableExampleV1>, TableError> {
    let n = rows.places.len();
    (0..EXAMPLES.min(n))
        .map(|at| {
            let place = rows.places[at * n / EXAMPLES.min(n)];
            let cells: Vec<RawValue<'_>> =
                rows.features.iter().map(|f| table.cell(place, f.position)).collect();
            let mut row = vec![f64::NAN; rows.schema.slots().len()];
            for (column, cell) in cells.iter().enumerate() {
                rows.schema
                    .encode(column, cell, &mut row)
                    .map_err(|issue| TableError::Cell { line: table.line(place), issue })?;
            }
            Ok(TableExampleV1::new(&cells, &predictor.score(&row)))
        })
        .collect()
}

/// Makes the version champion unless the present champion does better on the judged rows.
fn promote(
    config: &TrainConfig,
    subject: &Subject<'_>,
    version: &str,
) -> Result<(bool, String), TrainError> {
    let models: &Path = &config.models;
    let incumbent = aliases(models, &config.name)?.get(CHAMPION).cloned();
    let (promoted, reason) = match incumbent {
        None => (true, "first bundle of its name".to_owned()),
        Some(held) if held == version => (true, "it is the champion already".to_owned()),
        Some(held) => {
            let selector = BundleSelector { name: config.name.clone(), version: held };
            match Bundle::find(models, &selector) {
                Ok(bundle) => compare(subject, &bundle),
                Err(error @ BundleError::Io { .. }) => return Err(error.into()),
                Err(error) => (true, format!("the champion cannot be read ({error})")),
            }
        }
    };
    let (promoted, reason) = if config.promote_always && !promoted {
        (true, format!("as told (--promote always), although: {reason}"))
    } else {
        (promoted, reason)
    };
    let alias = if promoted { CHAMPION } else { CHALLENGER };
    set_alias(models, &config.name, alias, version)?;
    Ok((promoted, reason))
}

/// The incumbent against the new champion on the rows that judged the new one.
fn compare(subject: &Subject<'_>, incumbent: &Bundle) -> (bool, String) {
    let version = &incumbent.version;
    let BundleModels::Table { predictor, .. } = &incumbent.models else {
        return (false, format!("champion {version} scores a log: not comparable"));
    };
    let Some(ChurnVerdict { rows: judged, probs, churned, .. }) = &subject.verdict.churn else {
        return (true, "a value model: the newest is taken".to_owned());
    };
    let theirs = incumbent_probs(subject, predictor, judged);
    let Some(theirs) = theirs.filter(|theirs| theirs.len() == churned.len()) else {
        let why = format!("champion {version} needs columns that this table lacks: not comparable");
        return (false, why);
    };
    let (Ok(ours), Ok(theirs)) = (log_loss(probs, churned), log_loss(&theirs, churned)) else {
        return (false, "the judged rows have one outcome only: not comparable".to_owned());
    };
    let numbers = format!(
        "log loss on held-out rows {ours:.4}, champion {version} {theirs:.4} (it may have been \
         fitted on them)"
    );
    (ours <= theirs + LOSS_TOLERANCE, numbers)
}

fn incumbent_probs(
    subject: &Subject<'_>,
    predictor: &TablePredictor,
    judged: &[usize],
) -> Option<Vec<f64>> {
    let Subject { table, rows, .. } = subject;
    let columns = predictor.schema().columns().iter();
    let positions: Vec<usize> = columns.map(|c| table.position(&c.name)).collect::<Option<_>>()?;
    let places: Vec<usize> = judged.iter().map(|&row| rows.places[row]).collect();
    let matrix = encode(table, &places, predictor.schema(), &positions).ok()?;
    matrix.map_rows(|row| predictor.score(row).churn_prob).into_iter().collect()
}
