//! `tenure-ops explain`: one customer's score and decision, taken apart on a page; and the export
//! of a churn model as an ONNX graph.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::clock::now;
use super::error::BatchError;
use super::ops::{OpsError, OpsOutcome, line};
use super::policy::told;
use super::run::{open, read_policy};
use super::tried::history_of;
use crate::bundle::{Bundle, write_atomic};
use crate::config::ExplainConfig;
use crate::decision::{RuleTrace, Tier};
use crate::domain::AsOf;
use crate::model::churn_onnx;
use crate::scoring::{Engine, Explained, ExplainedAnswer, Reason, ScoringError};

/// Contributions shown one by one on the page; the JSON has all.
const SHOWN: usize = 15;

/// Explains one customer of a log, or one row of a table.
///
/// # Errors
/// [`OpsError::NoCustomer`] and [`OpsError::NoRow`] for one of whom the data says nothing; else as
/// for scoring.
pub(super) fn explain(
    config: &ExplainConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<OpsOutcome, OpsError> {
    let policy = config.policy.as_deref().map(read_policy).transpose()?;
    let engine = open(&config.models, &config.model, policy)?;
    let as_of = match config.as_of {
        Some(day) => AsOf::end_of(day, engine.zone()),
        // Only a table may leave it away.
        None => AsOf::at(now(), engine.zone()),
    };
    let (found, notes) = match &config.table {
        Some(path) => super::table::explain(config, &engine, path, as_of)?,
        None => (of_log(config, &engine, as_of, progress)?, Vec::new()),
    };
    let text = page(&engine, &found, &notes);
    Ok(OpsOutcome::fine(text, to_json(&engine, &found, &notes)))
}

fn of_log<'e>(
    config: &ExplainConfig,
    engine: &'e Engine,
    as_of: AsOf,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<ExplainedAnswer<'e>, OpsError> {
    if engine.table_inputs().is_some() {
        let version = engine.bundle().version.clone();
        return Err(ScoringError::TableBundle { version }.into());
    }
    let found = history_of((&config.log, engine), as_of, &config.customer, progress)?;
    let history = found.ok_or_else(|| OpsError::NoCustomer {
        customer: config.customer.as_str().to_owned(),
        as_of: as_of.last_day(),
    })?;
    Ok(engine.explain(&config.customer, &history, as_of)?)
}

fn page(engine: &Engine, found: &ExplainedAnswer<'_>, notes: &[String]) -> String {
    let mut text = String::new();
    let (score, decision) = (&found.answer.score, &found.answer.decision);
    let bundle = engine.bundle();
    line(&mut text, "customer", found.answer.customer.as_str());
    line(&mut text, "as of", format_args!("end of {}", found.answer.as_of.last_day()));
    line(&mut text, "model", format_args!("{}@{}", bundle.manifest.name, bundle.version));
    let policy = engine.policy().id();
    line(&mut text, "policy", format_args!("{} {}", policy.id, policy.version));
    for note in notes {
        line(&mut text, "note", note);
    }
    match (score.churn_prob, &found.churn) {
        (Some(prob), Some(churn)) => {
            let days = score.churn_horizon_days;
            // The label of a table need not name its horizon.
            let within = if days > 0 { format!(" within {days} days") } else { String::new() };
            let _ = writeln!(text, "\nchurn: {:.1} %{within}", 100.0 * prob);
            part(&mut text, engine, (found, churn), "log-odds");
        }
        _ => {
            let why = match engine.table_inputs() {
                Some(_) => "the model was trained without a churn label",
                None => "the customer has not bought",
            };
            let _ = writeln!(text, "\nchurn: not predicted, {why}");
        }
    }
    if let (Some(clv), Some(value)) = (&score.clv, &found.value) {
        let (days, mean) = (clv.horizon_days, clv.mean);
        let _ = writeln!(text, "\nvalue: {mean:.2} {} within {days} days", engine.currency());
        part(&mut text, engine, (found, value), "log of value");
    }
    let tier = decision.tier.map_or("none", Tier::as_str);
    let _ = writeln!(text, "\ndecision");
    line(&mut text, "tier", format_args!("{tier} ({})", decision.tier_reasons.join(", ")));
    line(&mut text, "segment", decision.segment.as_str());
    if let Some(persona) = &found.answer.facts.persona {
        line(&mut text, "persona", persona);
    }
    let why = decision.campaign_reason().unwrap_or("-");
    line(&mut text, "campaign", format_args!("{} ({why})", decision.campaign_id()));
    if let Some(stop) = decision.suppression {
        line(&mut text, "stopped by", stop.reason.as_str());
    }
    let _ = writeln!(text, "\nrules that were tried");
    for rule in &decision.trace {
        rule_line(&mut text, rule);
    }
    text
}

/// One number: reasons by group, then the largest contributions one by one.
fn part(
    text: &mut String,
    engine: &Engine,
    (found, of): (&ExplainedAnswer<'_>, &Explained),
    scale: &str,
) {
    let explanation = &of.explanation;
    let _ = writeln!(
        text,
        "  {scale} {:.4} = base value {:.4} and the contributions below (off by {:.0e})",
        explanation.total,
        explanation.base_value,
        explanation.gap().abs()
    );
    let is_table = engine.table_inputs().is_some();
    for Reason { code, contribution, text: said } in &of.reasons {
        // The text of a table's reason begins with the column, which is its code.
        let code = if is_table { String::new() } else { format!("{code:<22}") };
        let _ = writeln!(text, "  {contribution:+8.4}  {code}{said}");
    }
    if is_table {
        return;
    }
    let mut order: Vec<usize> = (0..found.terms.len()).collect();
    let size = |at: &usize| explanation.contributions[*at].abs();
    order.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.cmp(b)));
    let told = order.iter().take(SHOWN).filter(|at| size(at) > 0.0);
    let _ = writeln!(text, "  one by one, the largest:");
    for &at in told {
        let (part, term) = (explanation.contributions[at], &found.terms[at]);
        let value = term.value.map_or_else(|| "missing".to_owned(), |value| format!("{value:.4}"));
        let _ = writeln!(text, "  {part:+8.4}  {:<34}{value}", term.name);
    }
}

fn rule_line(text: &mut String, rule: &RuleTrace<'_>) {
    let blocked = rule.blocked.map_or_else(String::new, |gate| format!(", but {}", gate.as_str()));
    let held = if rule.held { "holds" } else { "does not hold" };
    let _ = writeln!(text, "  {} {}: {held}{blocked}", rule.kind.as_str(), rule.id);
    for test in rule.tests.iter().filter(|test| test.held != rule.held || rule.blocked.is_some()) {
        let found = told(test.found.as_deref());
        let held = if test.held { "yes" } else { "no" };
        let _ = writeln!(text, "      {}: {held}, found {found}", test.text);
    }
}

fn to_json(engine: &Engine, found: &ExplainedAnswer<'_>, notes: &[String]) -> Value {
    let (score, decision) = (&found.answer.score, &found.answer.decision);
    let part = |of: &Explained| {
        let explanation = &of.explanation;
        let contributions: Vec<Value> = found
            .terms
            .iter()
            .zip(&explanation.contributions)
            .filter(|(_, contribution)| contribution.abs() > 0.0)
            .map(|(term, contribution)| {
                let mut one = json!({
                    "name": term.name, "value": term.value, "contribution": contribution,
                });
                if let Some(cell) = &term.cell {
                    one["cell"] = json!(cell);
                }
                one
            })
            .collect();
        let reasons: Vec<Value> = of
            .reasons
            .iter()
            .map(|Reason { code, contribution, text }| {
                json!({ "code": code, "contribution": contribution, "text": text })
            })
            .collect();
        json!({
            "base_value": explanation.base_value,
            "total": explanation.total,
            "gap": explanation.gap(),
            "reasons": reasons,
            "contributions": contributions,
        })
    };
    json!({
        "customer": found.answer.customer.as_str(),
        "as_of": found.answer.as_of.last_day().to_string(),
        "notes": notes,
        "model_version": engine.bundle().version,
        "policy_version": engine.policy().id().version,
        "churn_probability": score.churn_prob,
        "churn_horizon_days": score.churn_horizon_days,
        "churn": found.churn.as_ref().map(part),
        "clv_mean": score.clv.as_ref().map(|clv| clv.mean),
        "value": found.value.as_ref().map(part),
        "risk_tier": decision.tier.map(Tier::as_str),
        "tier_reasons": decision.tier_reasons,
        "segment": decision.segment.as_str(),
        "persona": found.answer.facts.persona.as_ref().map(|persona| persona.as_str().to_owned()),
        "campaign": decision.campaign_id(),
        "suppression": decision.suppression.map(|stop| stop.reason.as_str()),
        "rules": decision.trace.iter().map(rule_json).collect::<Vec<_>>(),
    })
}

fn rule_json(rule: &RuleTrace<'_>) -> Value {
    let tests: Vec<Value> = rule
        .tests
        .iter()
        .map(|test| {
            json!({
                "list": test.list, "test": test.text, "held": test.held, "found": test.found,
            })
        })
        .collect();
    json!({
        "kind": rule.kind.as_str(),
        "id": rule.id,
        "held": rule.held,
        "blocked": rule.blocked.map(|gate| gate.as_str()),
        "tests": tests,
    })
}

/// Writes a bundle's churn model for other programs.
///
/// # Errors
/// [`OpsError::Onnx`] for a model with a part missing, and what the system says.
pub(super) fn export_onnx(found: &Bundle, out: &Path) -> Result<OpsOutcome, OpsError> {
    let Some(predictor) = found.predictor() else {
        return Err(ScoringError::TableBundle { version: found.version.clone() }.into());
    };
    let bytes = churn_onnx(predictor, &found.version)?;
    write_atomic(out, &bytes).map_err(BatchError::from)?;
    let (schema, kind) = (predictor.schema(), predictor.fitted().churn.kind.as_str());
    let n_features = schema.features().len();
    let text = format!(
        "{}: the churn model of {} ({kind}), {n_features} features of schema {}, {} bytes\n",
        out.display(),
        found.version,
        schema.id(),
        bytes.len()
    );
    let json = json!({
        "out": out, "model_version": found.version, "kind": kind, "features": n_features,
        "feature_schema": schema.id(), "bytes": bytes.len(),
    });
    Ok(OpsOutcome::fine(text, json))
}
