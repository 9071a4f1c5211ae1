//! `tenure-ops stats`: the base of an export in numbers, as the server counts its own.

use std::fmt::Write;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::base::check_pins;
use super::error::BatchError;
use super::ops::{OpsError, OpsOutcome, line, read_policy};
use crate::bundle::{Bundle, installation_salt, store_facts};
use crate::config::StatsConfig;
use crate::domain::{AsOf, CustomerId};
use crate::history::History;
use crate::scoring::{Engine, Group, Overview, ScoringError, month_text};
use crate::store::each_state;

/// Customers answered side by side before they are counted.
const BLOCK: usize = 8_192;
/// Of these, so many by one thread in one go.
const PIECE: usize = 256;

/// Counts as configured.
pub(super) fn stats(
    config: &StatsConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<OpsOutcome, OpsError> {
    let bundle = Bundle::find(&config.models, &config.model)?;
    if bundle.predictor().is_none() {
        return Err(ScoringError::TableBundle { version: bundle.version }.into());
    }
    let salt = installation_salt(&config.models)?;
    check_pins(&config.states, &store_facts(&bundle.manifest, &salt))?;
    let policy = config.policy.as_deref().map(read_policy).transpose()?;
    let engine = Engine::try_new(bundle, policy, Some(&salt))?;
    let as_of = AsOf::end_of(config.as_of, engine.zone());
    let mut overview = Overview::new(as_of.last_day());
    let (mut held, mut failed) = (Vec::with_capacity(BLOCK), None);
    each_state(&config.states, &mut |customer, state| {
        held.push((customer, state.bytes));
        if held.len() == BLOCK {
            failed = add(&engine, as_of, std::mem::take(&mut held), &mut overview).err();
            progress(&format!("{} customers counted", overview.all.customers));
        }
        failed.is_none()
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    add(&engine, as_of, held, &mut overview)?;
    Ok(said(&engine, config, &overview))
}

/// Adds customers in their order, whoever answers of them first.
fn add(
    engine: &Engine,
    as_of: AsOf,
    held: Vec<(CustomerId, Vec<u8>)>,
    overview: &mut Overview,
) -> Result<(), OpsError> {
    let histories: Vec<(CustomerId, History)> = held
        .into_par_iter()
        .map(|(customer, bytes)| match History::from_bytes(&bytes) {
            Ok(history) => Ok((customer, history)),
            Err(source) => {
                Err(BatchError::State { customer: customer.as_str().to_owned(), source })
            }
        })
        .collect::<Result<_, BatchError>>()?;
    let answers: Vec<_> = histories
        .par_chunks(PIECE)
        .flat_map_iter(|piece| {
            let asked: Vec<_> = piece.iter().map(|(id, history)| (id, history)).collect();
            engine.answer_many(&asked, as_of, false)
        })
        .collect();
    for ((_, history), answer) in histories.iter().zip(answers) {
        overview.add(history, &answer?);
    }
    Ok(())
}

fn said(engine: &Engine, config: &StatsConfig, overview: &Overview) -> OpsOutcome {
    let mut text = String::new();
    let all = overview.all;
    line(&mut text, "customers", format_args!("{}, {} bought", all.customers, overview.buyers));
    line(&mut text, "as of", format_args!("end of {}", config.as_of));
    line(&mut text, "value at risk", format_args!("{:.2} of {:.2}", all.value_at_risk, all.clv));
    let (mut tiers, mut segments, mut arms) = (Vec::new(), Vec::new(), Vec::new());
    for (tier, group) in overview.tiers().filter(|(_, group)| group.customers > 0) {
        let name = tier.map_or("none", |tier| tier.as_str());
        put(&mut text, "tier", name, group);
        tiers.push(row(json!({ "tier": name }), group));
    }
    for (segment, group) in overview.segments().filter(|(_, group)| group.customers > 0) {
        put(&mut text, "segment", segment.as_str(), group);
        segments.push(row(json!({ "segment": segment.as_str() }), group));
    }
    for (name, group) in overview.arms() {
        let arm = if name.is_control { "control" } else { "treatment" };
        let shown = format!("{} {arm} {}", name.experiment, name.variant);
        put(&mut text, "arm", shown.trim_end(), group);
        let head = json!({ "experiment": name.experiment, "arm": arm, "variant": name.variant });
        arms.push(row(head, group));
    }
    let mut cohorts = Vec::new();
    for cohort in overview.cohorts() {
        let (month, customers) = (month_text(cohort.month), cohort.customers);
        let shown: Vec<String> = cohort
            .bought
            .iter()
            .map(|(since, n)| format!("{since}:{:.0}%", *n as f64 / customers as f64 * 100.0))
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "cohort {month}    {customers:>8}  {}", shown.join(" "));
        let months: Vec<Value> = cohort
            .bought
            .iter()
            .map(|(since, n)| json!({ "months_since": since, "customers": n }))
            .collect();
        cohorts.push(json!({ "month": month, "customers": customers, "months": months }));
    }
    let json = json!({
        "as_of": config.as_of.to_string(), "model_version": engine.model_version(),
        "currency": engine.currency().as_str(), "customers": all.customers,
        "buyers": overview.buyers, "value_at_risk": all.value_at_risk, "clv": all.clv,
        "tiers": tiers, "segments": segments, "arms": arms, "cohorts": cohorts,
    });
    OpsOutcome::fine(text, json)
}

fn put(text: &mut String, kind: &str, name: &str, group: Group) {
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{kind:<8}{name:<34}{:>10}  {:.2} at risk of {:.2}",
        group.customers, group.value_at_risk, group.clv
    );
}

fn row(mut head: Value, group: Group) -> Value {
    head["customers"] = group.customers.into();
    head["value_at_risk"] = group.value_at_risk.into();
    head["clv"] = group.clv.into();
    head
}
