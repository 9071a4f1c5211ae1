//! `tenure-ops contract`: how long customers under contract stay, and what that is worth.
//!
//! In: a table of cohorts and how many customers of each remain. Out: both contract models with
//! standard errors; survival and retention of the chosen one beside what was seen; and for each
//! cohort what lies ahead. Values count the margin of the next renewal in full and discount each
//! one after it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Value, json};
use thiserror::Error;

use crate::config::{ContractChoice, ContractConfig};
use crate::model::btyd::Bdw;
use crate::model::btyd::BtydError;
use crate::model::btyd::Cohort;
use crate::model::btyd::CohortIssue;
use crate::model::btyd::ContractModel;
use crate::model::btyd::ContractSpec;
use crate::model::btyd::FitInfo;
use crate::model::btyd::PooledCohorts;
use crate::model::btyd::Sbg;

use super::columns::{Columns, ColumnsError};
use super::ops::OpsOutcome;

/// Why contracts were not fitted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ContractError {
    /// The table cannot be used.
    #[error(transparent)]
    Columns(#[from] ColumnsError),
    /// A period stands there twice.
    #[error("{}: line {line}: cohort {cohort:?} has period {period} already", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The cohort.
        cohort: String,
        /// The period.
        period: u32,
    },
    /// A period is missing between two others.
    #[error("{}: cohort {cohort:?} goes from period {from} to period {to}: give all between", path.display())]
    Gap {
        /// The file.
        path: PathBuf,
        /// The cohort.
        cohort: String,
        /// The period before the gap.
        from: u32,
        /// The period after it.
        to: u32,
    },
    /// A cohort contradicts itself.
    #[error("{}: cohort {cohort:?}, period {period}: {issue}", path.display())]
    Cohort {
        /// The file.
        path: PathBuf,
        /// The cohort.
        cohort: String,
        /// The period.
        period: u32,
        /// What is wrong.
        issue: CohortIssue,
    },
    /// The model cannot be fitted.
    #[error(transparent)]
    Fit(#[from] BtydError),
}

/// Cohorts in the order of their names.
struct Book {
    names: Vec<String>,
    cohorts: Vec<Cohort>,
    pooled: PooledCohorts,
}

fn read(path: &std::path::Path) -> Result<Book, ContractError> {
    let columns = Columns::read(path, ["cohort", "period", "customers"])?;
    let mut counts = BTreeMap::<&str, BTreeMap<u32, u64>>::new();
    for row in &columns.rows {
        let (period, customers) = (columns.periods(row, 1)?, columns.count(row, 2, 1 << 40)?);
        let cohort = row.fields[0].as_str();
        if counts.entry(cohort).or_default().insert(period, customers).is_some() {
            let (path, cohort) = (path.to_owned(), cohort.to_owned());
            return Err(ContractError::Twice { path, line: row.line, cohort, period });
        }
    }
    let (mut names, mut cohorts) = (Vec::new(), Vec::new());
    for (name, by_period) in counts {
        let first_period = by_period.keys().next().copied().unwrap_or(0);
        for (from, to) in by_period.keys().zip(by_period.keys().skip(1)) {
            if from + 1 != *to {
                let (path, cohort) = (columns.path().to_owned(), name.to_owned());
                return Err(ContractError::Gap { path, cohort, from: *from, to: *to });
            }
        }
        names.push(name.to_owned());
        cohorts.push(Cohort { first_period, remaining: by_period.into_values().collect() });
    }
    let pooled = PooledCohorts::try_from_cohorts(&cohorts).map_err(|error| match error {
        BtydError::InvalidCohort { cohort, period, issue } => {
            let cohort = names[cohort].clone();
            ContractError::Cohort { path: path.to_owned(), cohort, period, issue }
        }
        other => ContractError::Fit(other),
    })?;
    Ok(Book { names, cohorts, pooled })
}

/// Akaike's criterion: less is better, and a parameter must earn its place.
fn aic(model: &ContractModel) -> f64 {
    let n_params = if matches!(model, ContractModel::Sbg(_)) { 2.0 } else { 3.0 };
    2.0 * (n_params - model.info().map_or(f64::NAN, |info| info.log_likelihood))
}

/// Fits both models and projects with one.
pub(super) fn contract(config: &ContractConfig) -> Result<OpsOutcome, ContractError> {
    let book = read(&config.cohorts)?;
    let spec = ContractSpec { prior: config.outlook.prior };
    // The other one is for comparison: it may fail.
    let fit_sbg = || Sbg::fit(&spec, &book.pooled).map(ContractModel::Sbg);
    let fit_bdw = || Bdw::fit(&spec, &book.pooled).map(ContractModel::Bdw);
    let (sbg, bdw) = (fit_sbg(), fit_bdw());
    let chosen = match (config.model, &sbg, &bdw) {
        (ContractChoice::Sbg, _, _) => sbg.clone()?,
        (ContractChoice::Bdw, _, _) => bdw.clone()?,
        (ContractChoice::Auto, Ok(sbg), Ok(bdw)) => {
            if aic(bdw) < aic(sbg) {
                bdw.clone()
            } else {
                sbg.clone()
            }
        }
        (ContractChoice::Auto, _, _) => sbg.clone().or_else(|_| bdw.clone())?,
    };
    let fits: Vec<Value> = [("sBG", &sbg), ("BdW", &bdw)]
        .into_iter()
        .map(|(name, fit)| match fit {
            Ok(model) => fit_json(name, &model.params(), model.info(), Some(aic(model))),
            Err(error) => json!({ "model": name, "error": error.to_string() }),
        })
        .collect();
    let curve = curve(&book, &chosen, config.outlook.periods);
    let ahead = ahead(&book, &chosen, config)?;
    let mut json = json!({
        "cohorts": book.cohorts.len(), "customers": book.pooled.n_customers(), "models": fits,
        "chosen": chosen.name(), "periods": config.outlook.periods, "curve": curve,
        "by_cohort": ahead,
    });
    if let Some(rate) = config.outlook.discount {
        json["discount"] = json!(rate);
        json["new_customer_lifetime"] = json!(chosen.new_customer_value(1.0, rate)?);
        if let Some(margin) = config.margin {
            json["margin"] = json!(margin);
            json["new_customer_value"] = json!(chosen.new_customer_value(margin, rate)?);
        }
    }
    Ok(OpsOutcome { text: to_text(&json), json, exit_code: 0 })
}

/// A fit with its standard errors.
pub(super) fn fit_json(
    name: &str,
    params: &[f64],
    info: Option<&FitInfo>,
    aic: Option<f64>,
) -> Value {
    let Some(info) = info else { return json!({ "model": name }) };
    let named = |numbers: &[f64]| -> Value {
        info.names.iter().zip(numbers).map(|(name, n)| ((*name).to_owned(), json!(n))).collect()
    };
    let warnings: Vec<String> = info.warnings.iter().map(ToString::to_string).collect();
    json!({
        "model": name, "params": named(params), "standard_errors": named(&info.standard_errors),
        "log_likelihood": info.log_likelihood, "log_prior": info.log_prior, "aic": aic,
        "customers": info.n, "warnings": warnings,
    })
}

/// The same as text.
pub(super) fn fit_text(text: &mut String, fit: &Value) {
    let name = fit["model"].as_str().unwrap_or_default();
    if let Some(error) = fit["error"].as_str() {
        let _ = writeln!(text, "{name}: {error}");
        return;
    }
    let _ = write!(text, "{name}: log-likelihood {:.4}", number(&fit["log_likelihood"]));
    if let Some(aic) = fit["aic"].as_f64() {
        let _ = write!(text, ", AIC {aic:.2}");
    }
    let _ = writeln!(text);
    for (param, value) in fit["params"].as_object().into_iter().flatten() {
        let error = number(&fit["standard_errors"][param]);
        let _ = writeln!(text, "  {param:<8}{:>12.6}  (standard error {error:.6})", number(value));
    }
    for warning in fit["warnings"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "  warning: {}", warning.as_str().unwrap_or_default());
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

#[allow(clippy::cast_precision_loss, reason = "customers stay far below 2^53")]
const fn real(n: u64) -> f64 {
    n as f64
}

/// Retention and survival of a new customer, beside the retention that was seen.
fn curve(book: &Book, model: &ContractModel, periods: u32) -> Vec<Value> {
    let seen: BTreeMap<u32, f64> = book
        .pooled
        .renewals()
        .iter()
        .map(|r| (r.period, real(r.kept) / real(r.kept + r.lost)))
        .collect();
    let last = seen.keys().next_back().copied().unwrap_or(0);
    (1..=last + periods)
        .map(|t| {
            json!({
                "period": t, "observed_retention": seen.get(&t),
                "retention": model.retention(t), "survival": model.survival(t),
            })
        })
        .collect()
}

/// What lies ahead of the customers that each cohort has left.
fn ahead(
    book: &Book,
    model: &ContractModel,
    config: &ContractConfig,
) -> Result<Vec<Value>, ContractError> {
    let periods = config.outlook.periods;
    let mut rows = Vec::new();
    for (name, cohort) in book.names.iter().zip(&book.cohorts) {
        let renewals = cohort.last_period();
        let customers = cohort.remaining.last().copied().unwrap_or(0);
        let mut row = json!({
            "cohort": name, "renewals": renewals, "customers": customers,
            "expected_remaining": real(customers) * model.residual_survival(renewals, periods),
            "expected_renewals": model.expected_renewals(renewals, periods),
            "median_remaining_periods": model.median_residual_periods(renewals),
        });
        if let Some(rate) = config.outlook.discount {
            let lifetime = model.discounted_residual_lifetime(renewals, rate)?;
            row["discounted_lifetime"] = json!(lifetime);
            if let Some(margin) = config.margin {
                row["value_each"] = json!(margin * lifetime);
                row["value_all"] = json!(real(customers) * margin * lifetime);
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

/// A number with some digits, `-` where there is none.
fn digits(value: &Value, digits: usize) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |n| format!("{n:.digits$}"))
}

fn to_text(json: &Value) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{} cohorts, {} customers", json["cohorts"], json["customers"]);
    for fit in json["models"].as_array().into_iter().flatten() {
        fit_text(&mut text, fit);
    }
    let chosen = json["chosen"].as_str().unwrap_or_default();
    let _ = writeln!(text, "\nRetention and survival of a new customer by {chosen}:");
    let _ =
        writeln!(text, "{:>8}{:>12}{:>12}{:>12}", "period", "observed", "retention", "survival");
    for row in json["curve"].as_array().into_iter().flatten() {
        let observed = digits(&row["observed_retention"], 4);
        let (retention, survival) = (digits(&row["retention"], 4), digits(&row["survival"], 4));
        let period = row["period"].to_string();
        let _ = writeln!(text, "{period:>8}{observed:>12}{retention:>12}{survival:>12}");
    }
    cohorts_text(&mut text, json);
    if let Some(lifetime) = json["new_customer_lifetime"].as_f64() {
        let value = json["new_customer_value"].as_f64();
        let worth = value.map(|value| format!(", which is worth {value:.2}")).unwrap_or_default();
        let _ = writeln!(
            text,
            "\nA new customer is expected to pay {lifetime:.4} times, discounted{worth}."
        );
    }
    text
}

fn cohorts_text(text: &mut String, json: &Value) {
    let periods = &json["periods"];
    let _ = writeln!(
        text,
        "\nAhead of each cohort: customers who stay and renewals a customer in {periods} periods, \
         periods until half have gone,\nand the lifetime and value of all renewals, the next one \
         in full:"
    );
    let _ = writeln!(
        text,
        "{:<16}{:>8}{:>11}{:>11}{:>10}{:>8}{:>10}{:>12}{:>14}",
        "cohort",
        "behind",
        "customers",
        "stay",
        "renewals",
        "median",
        "lifetime",
        "value each",
        "value all"
    );
    for row in json["by_cohort"].as_array().into_iter().flatten() {
        let median = row["median_remaining_periods"]
            .as_u64()
            .map_or_else(|| ">10000".to_owned(), |n| n.to_string());
        let _ = writeln!(
            text,
            "{:<16}{:>8}{:>11}{:>11}{:>10}{median:>8}{:>10}{:>12}{:>14}",
            row["cohort"].as_str().unwrap_or_default(),
            row["renewals"].to_string(),
            row["customers"].to_string(),
            digits(&row["expected_remaining"], 1),
            digits(&row["expected_renewals"], 3),
            digits(&row["discounted_lifetime"], 3),
            digits(&row["value_each"], 2),
            digits(&row["value_all"], 2),
        );
    }
}
