//! Who moved where between two days: segments and tiers of one against those of the other, and
//! how many of each bought in between.
//!
//! In: a log, a bundle, a policy, two days. Out: counts by segment, by tier and by month of the
//! first purchase. Both days are judged by the same models and rules, so what moves is the
//! customers. It deliberately says nothing of why.

use std::collections::BTreeMap;
use std::fmt::Write;

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::config::PolicyRunConfig;
use crate::decision::Tier;
use crate::domain::{AsOf, Day};
use crate::events::{CustomerLog, EventKind};
use crate::history::History;
use crate::scoring::{Answer, ScoringError};

use super::ops::{OpsError, OpsOutcome};
use super::policy::{Base, named, percent};
use super::run::read_policy;

/// Where customers went that are named in a line of text; the JSON has all.
const SHOWN: usize = 4;

/// What became of the customers that stood in one place on the first day.
#[derive(Debug, Default)]
struct Fate {
    customers: u64,
    bought: u64,
    spend: f64,
    to: BTreeMap<&'static str, u64>,
}

impl Fate {
    fn add(&mut self, to: Option<&'static str>, between: Between) {
        self.customers += 1;
        self.bought += u64::from(between.bought);
        self.spend += between.spend;
        if let Some(to) = to {
            *self.to.entry(to).or_default() += 1;
        }
    }

    fn to_json(&self, key: &str, from: &str) -> Value {
        let mut row = json!({
            key: from, "customers": self.customers, "bought": self.bought, "spend": self.spend,
        });
        if !self.to.is_empty() {
            row["to"] = json!(self.to);
        }
        row
    }
}

/// What a customer did between the two days.
#[derive(Debug, Clone, Copy, Default)]
struct Between {
    bought: bool,
    /// Less refunds, in currency units.
    spend: f64,
}

/// A customer's places on both days; none on the first for one who was not known yet.
struct Move {
    from: Option<[&'static str; 2]>,
    to: [&'static str; 2],
    /// Month of the first purchase, such as 2026-05; none without one before the first day.
    cohort: Option<String>,
    between: Between,
}

/// Counts who moved where.
pub(super) fn moves(
    config: &PolicyRunConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<OpsOutcome, OpsError> {
    let policy = config.policy.as_deref().map(read_policy).transpose()?;
    let base = Base::read(config, policy, progress)?;
    let since = config.since.unwrap_or(config.as_of);
    let first = AsOf::end_of(since, base.engine.zone());
    let of = |one: &CustomerLog| moved(&base, one, first);
    let rows = base.log.customers.par_iter().map(of).collect::<Result<Vec<_>, ScoringError>>()?;
    let (mut segments, mut tiers) = (BTreeMap::new(), BTreeMap::new());
    let mut cohorts: BTreeMap<String, Fate> = BTreeMap::new();
    let mut n_new = 0_u64;
    for Move { from, to, cohort, between } in &rows {
        let Some([segment, tier]) = from else {
            n_new += 1;
            continue;
        };
        segments.entry(*segment).or_insert_with(Fate::default).add(Some(to[0]), *between);
        tiers.entry(*tier).or_insert_with(Fate::default).add(Some(to[1]), *between);
        if let Some(cohort) = cohort {
            cohorts.entry(cohort.clone()).or_default().add(None, *between);
        }
    }
    let seen = Day::parse(&base.engine.bundle().manifest.data_until).ok();
    let notes: Vec<String> = seen
        .filter(|until| *until > since)
        .map(|until| format!("the model has seen events up to {until}, after the first day"))
        .into_iter()
        .collect();
    let currency = base.engine.currency();
    let mut text = format!(
        "from the end of {since} to the end of {}: {} customers, {n_new} of them new since\n",
        config.as_of,
        rows.len()
    );
    for note in &notes {
        let _ = writeln!(text, "note: {note}");
    }
    table(&mut text, ("segment", currency.as_str()), &segments);
    table(&mut text, ("tier", currency.as_str()), &tiers);
    table(&mut text, ("first purchase", currency.as_str()), &cohorts);
    let list = |key: &str, of: &mut dyn Iterator<Item = (&str, &Fate)>| -> Vec<Value> {
        of.map(|(from, fate)| fate.to_json(key, from)).collect()
    };
    let json = json!({
        "policy": named(base.engine.policy()), "since": since.to_string(),
        "as_of": config.as_of.to_string(), "currency": currency.as_str(), "notes": notes,
        "customers": rows.len(), "new": n_new,
        "segments": list("segment", &mut segments.iter().map(|(from, fate)| (*from, fate))),
        "tiers": list("tier", &mut tiers.iter().map(|(from, fate)| (*from, fate))),
        "cohorts": list("first_purchase", &mut cohorts.iter().map(|(of, fate)| (&**of, fate))),
    });
    Ok(OpsOutcome::fine(text, json))
}

fn moved(base: &Base, one: &CustomerLog, first: AsOf) -> Result<Move, ScoringError> {
    let engine = &base.engine;
    let places = |answer: &Answer<'_>| {
        let tier = answer.decision.tier.map_or("none", Tier::as_str);
        [answer.decision.segment.as_str(), tier]
    };
    let (mut history, mut between) = (History::default(), Between::default());
    let mut cohort = None;
    for event in one.events.iter().filter(|event| event.time < first.instant()) {
        history.apply(event);
        if cohort.is_none() && matches!(event.kind, EventKind::Purchase(_)) {
            cohort = Some(event.day.to_string().chars().take(7).collect());
        }
    }
    let from = match history.newest() {
        Some(_) => Some(places(&engine.answer(&one.customer, &history, first, false)?)),
        None => None,
    };
    for event in one.events.iter().filter(|event| event.time >= first.instant()) {
        history.apply(event);
        match &event.kind {
            EventKind::Purchase(purchase) => {
                between.bought = true;
                between.spend += purchase.amount.units();
            }
            EventKind::Refund(refund) => between.spend -= refund.amount.units(),
            _ => {}
        }
    }
    let to = places(&engine.answer(&one.customer, &history, base.as_of, false)?);
    Ok(Move { from, to, cohort, between })
}

fn table<K: AsRef<str> + Ord>(
    text: &mut String,
    (title, currency): (&str, &str),
    rows: &BTreeMap<K, Fate>,
) {
    let spend = format!("spend {currency}");
    let _ = writeln!(text, "\n{title:<20}{:>10}{:>10}{spend:>16}   now", "customers", "bought");
    for (from, fate) in rows {
        let mut to: Vec<_> = fate.to.iter().collect();
        to.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        let share = |n: u64| format!("{:.1} %", percent(n, fate.customers));
        let mut now: Vec<String> =
            to.iter().take(SHOWN).map(|(to, n)| format!("{to} {}", share(**n))).collect();
        let more = to.len().saturating_sub(SHOWN);
        now.extend((more > 0).then(|| format!("{more} more")));
        let (from, bought, now) = (from.as_ref(), share(fate.bought), now.join(", "));
        let line =
            format!("{from:<20}{:>10}{bought:>10}{:>16.2}   {now}", fate.customers, fate.spend);
        let _ = writeln!(text, "{}", line.trim_end());
    }
}
