//! Who moved where between two days: segments and tiers of one against those of the other, and
//! how many of each bought in between.
//!
//! In: a log or two tables, a bundle, a policy, two days. Out: counts by segment, by tier and by
//! month of the first purchase. Both days are judged by the same models and rules, so what moves
//! is the customers. Tables do not say who bought. It deliberately says nothing of why.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::config::PolicyRunConfig;
use crate::decision::Tier;
use crate::domain::{AsOf, CustomerId, Day};
use crate::events::{Event, EventKind};
use crate::history::History;
use crate::scoring::{Answer, Engine, ScoringError};

use super::error::BatchError;
use super::ops::{OpsError, OpsOutcome};
use super::policy::{named, percent};
use super::run::{open, read_policy};
use super::tried::{Base, LogSource, Sum};

/// Where customers went that are named in a line of text; the JSON has all.
const SHOWN: usize = 4;

/// Segment and tier.
type Places = [&'static str; 2];

/// What became of the customers that stood in one place on the first day.
#[derive(Debug, Default)]
struct Fate {
    customers: u64,
    bought: u64,
    spend: Sum,
    to: BTreeMap<&'static str, u64>,
}

impl Fate {
    fn add(&mut self, to: Option<&'static str>, between: Between) {
        self.customers += 1;
        self.bought += u64::from(between.bought);
        self.spend.add(between.spend);
        if let Some(to) = to {
            *self.to.entry(to).or_default() += 1;
        }
    }

    fn join(&mut self, other: Self) {
        self.customers += other.customers;
        self.bought += other.bought;
        self.spend.join(other.spend);
        other.to.into_iter().for_each(|(to, n)| *self.to.entry(to).or_default() += n);
    }

    fn to_json(&self, (key, from): (&str, &str), knows_purchases: bool) -> Value {
        let mut row = json!({ key: from, "customers": self.customers });
        if knows_purchases {
            row["bought"] = json!(self.bought);
            row["spend"] = json!(self.spend.get());
        }
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
    from: Option<Places>,
    to: Places,
    /// Month of the first purchase, such as 2026-05; none without one before the first day.
    cohort: Option<String>,
    between: Between,
}

/// All moves, counted.
#[derive(Debug, Default)]
struct Moves {
    customers: u64,
    /// Not known on the first day.
    new: u64,
    segments: BTreeMap<&'static str, Fate>,
    tiers: BTreeMap<&'static str, Fate>,
    cohorts: BTreeMap<String, Fate>,
}

impl Moves {
    fn add(&mut self, Move { from, to, cohort, between }: Move) {
        self.customers += 1;
        let Some([segment, tier]) = from else {
            self.new += 1;
            return;
        };
        self.segments.entry(segment).or_default().add(Some(to[0]), between);
        self.tiers.entry(tier).or_default().add(Some(to[1]), between);
        if let Some(cohort) = cohort {
            self.cohorts.entry(cohort).or_default().add(None, between);
        }
    }

    fn join(&mut self, other: Self) {
        self.customers += other.customers;
        self.new += other.new;
        for (own, more) in [(&mut self.segments, other.segments), (&mut self.tiers, other.tiers)] {
            more.into_iter().for_each(|(from, fate)| own.entry(from).or_default().join(fate));
        }
        for (cohort, fate) in other.cohorts {
            self.cohorts.entry(cohort).or_default().join(fate);
        }
    }
}

/// Counts who moved where.
pub(super) fn moves(
    config: &PolicyRunConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<OpsOutcome, OpsError> {
    let policy = config.policy.as_deref().map(read_policy).transpose()?;
    let base = Base::read(config, policy, None, progress)?;
    let last = base.as_of.last_day();
    let since = config.since.unwrap_or(last);
    let first = AsOf::end_of(since, base.engine.zone());
    let mut notes = base.notes.clone();
    let (found, from, to) = match base.log() {
        Some(log) => {
            let seen = Day::parse(&base.engine.bundle().manifest.data_until).ok();
            notes.extend(seen.filter(|until| *until > since).map(|until| {
                format!("the model has seen events up to {until}, after the first day")
            }));
            let found = of_log((&base.engine, log), (first, base.as_of), progress)?;
            (found, format!("the end of {since}"), format!("the end of {last}"))
        }
        None => {
            let name = |path: &Option<std::path::PathBuf>| {
                path.as_ref().map_or_else(String::new, |path| path.display().to_string())
            };
            let found = of_tables(config, &base, progress)?;
            (found, name(&config.since_table), name(&config.table))
        }
    };
    let currency = base.engine.currency();
    let mut text = format!(
        "from {from} to {to}: {} customers, {} of them new since\n",
        found.customers, found.new
    );
    for note in &notes {
        let _ = writeln!(text, "note: {note}");
    }
    let money = base.log().map(|_| currency.as_str());
    table(&mut text, ("segment", money), &found.segments);
    table(&mut text, ("tier", money), &found.tiers);
    if money.is_some() {
        table(&mut text, ("first purchase", money), &found.cohorts);
    }
    let list = |key: &str, of: &mut dyn Iterator<Item = (&str, &Fate)>| -> Vec<Value> {
        of.map(|(from, fate)| fate.to_json((key, from), money.is_some())).collect()
    };
    let json = json!({
        "policy": named(base.engine.policy()), "since": since.to_string(),
        "as_of": last.to_string(), "currency": currency.as_str(), "notes": notes,
        "customers": found.customers, "new": found.new,
        "segments": list("segment", &mut found.segments.iter().map(|(from, fate)| (*from, fate))),
        "tiers": list("tier", &mut found.tiers.iter().map(|(from, fate)| (*from, fate))),
        "cohorts":
            list("first_purchase", &mut found.cohorts.iter().map(|(of, fate)| (&**of, fate))),
    });
    Ok(OpsOutcome::fine(text, json))
}

fn places(answer: &Answer<'_>) -> Places {
    let tier = answer.decision.tier.map_or("none", Tier::as_str);
    [answer.decision.segment.as_str(), tier]
}

fn of_log(
    (engine, log): (&Engine, &LogSource),
    days: (AsOf, AsOf),
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Moves, BatchError> {
    let tallies = log.each_customer(progress, &Moves::default, &|found, customer| {
        found.add(moved(engine, customer, days)?);
        Ok(())
    })?;
    let mut all = Moves::default();
    tallies.into_iter().for_each(|found| all.join(found));
    Ok(all)
}

/// Who stood where in the table of the first day, and who stands where in that of the other.
fn of_tables(
    config: &PolicyRunConfig,
    base: &Base,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Moves, BatchError> {
    let Some(path) = &config.since_table else { return Ok(Moves::default()) };
    if config.id.is_none() && base.engine.table_id_column().is_none() {
        return Err(BatchError::NoIds);
    }
    let policy = config.policy.as_deref().map(read_policy).transpose()?;
    let engine = open(&config.models, &config.model, policy)?;
    let then = Base::of_table((config, path), engine, base.as_of, None, progress)?;
    let add = |all: &mut Vec<(CustomerId, Places)>, [answer]: [&Answer<'_>; 1]| {
        all.push((answer.customer.clone(), places(answer)));
    };
    let join = |all: &mut Vec<_>, more| all.extend(more);
    let before = then.count([&then.engine], (&add, join), progress)?;
    let n_rows = before.len();
    let before: BTreeMap<CustomerId, Places> = before.into_iter().collect();
    if before.len() < n_rows {
        let (path, n_rows) = (path.clone(), n_rows - before.len());
        return Err(BatchError::RepeatedIds { path, n_rows });
    }
    let add = |found: &mut Moves, [answer]: [&Answer<'_>; 1]| {
        let (from, to) = (before.get(&answer.customer).copied(), places(answer));
        found.add(Move { from, to, cohort: None, between: Between::default() });
    };
    base.count([&base.engine], (&add, Moves::join), progress)
}

fn moved(
    engine: &Engine,
    (customer, events): (&CustomerId, &[Event]),
    (first, last): (AsOf, AsOf),
) -> Result<Move, ScoringError> {
    let (mut history, mut between) = (History::default(), Between::default());
    let mut cohort = None;
    for event in events.iter().filter(|event| event.time < first.instant()) {
        history.apply(event);
        if cohort.is_none() && matches!(event.kind, EventKind::Purchase(_)) {
            cohort = Some(event.day.to_string().chars().take(7).collect());
        }
    }
    let from = match history.newest() {
        Some(_) => Some(places(&engine.answer(customer, &history, first, false)?)),
        None => None,
    };
    for event in events.iter().filter(|event| event.time >= first.instant()) {
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
    let to = places(&engine.answer(customer, &history, last, false)?);
    Ok(Move { from, to, cohort, between })
}

/// One table of text; with what they bought where that is known, in a currency.
fn table<K: AsRef<str> + Ord>(
    text: &mut String,
    (title, currency): (&str, Option<&str>),
    rows: &BTreeMap<K, Fate>,
) {
    let bought = currency.map_or_else(String::new, |currency| {
        format!("{:>10}{:>16}", "bought", format!("spend {currency}"))
    });
    let _ = writeln!(text, "\n{title:<20}{:>10}{bought}   now", "customers");
    for (from, fate) in rows {
        let mut to: Vec<_> = fate.to.iter().collect();
        to.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        let share = |n: u64| format!("{:.1} %", percent(n, fate.customers));
        let mut now: Vec<String> =
            to.iter().take(SHOWN).map(|(to, n)| format!("{to} {}", share(**n))).collect();
        let more = to.len().saturating_sub(SHOWN);
        now.extend((more > 0).then(|| format!("{more} more")));
        let (from, now) = (from.as_ref(), now.join(", "));
        let bought = currency.map_or_else(String::new, |_| {
            format!("{:>10}{:>16.2}", share(fate.bought), fate.spend.get())
        });
        let line = format!("{from:<20}{:>10}{bought}   {now}", fate.customers);
        let _ = writeln!(text, "{}", line.trim_end());
    }
}
