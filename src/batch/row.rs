//! One row of the file of scores.
//!
//! In: an answer of the engine. Out: one cell for each of [`COLUMNS`], in their order. What is
//! not known is missing, never 0.

use std::borrow::Cow;

use crate::decision::{
    Campaign, Decision, Heartbeat, Phase, Segment, Stage, SuppressionReason, Tier,
};
use crate::domain::{Channel, Currency, Timestamp};
use crate::model::{Clv, HorizonProb, Score};
use crate::scoring::{Answer, Engine, Reason};

use super::error::BatchError;

/// What stands in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text.
    Text,
    /// A 64-bit float.
    Float,
    /// A whole number.
    Int,
    /// True or false.
    Flag,
    /// An instant.
    Time,
}

use ColumnKind::{Flag, Float, Int, Text};

/// What a file of rows holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sheet {
    /// Its name, where the format has one.
    pub(super) name: &'static str,
    /// Its columns, in the order in which they are written.
    pub(super) columns: &'static [(&'static str, ColumnKind)],
}

impl Sheet {
    /// The places of all columns.
    pub(super) fn all(self) -> Vec<usize> {
        (0..self.columns.len()).collect()
    }
}

/// The file of scores.
pub(super) const SCORES: Sheet = Sheet { name: "scores", columns: &COLUMNS };

/// The columns, in the order in which they are written. New ones are added at the end only.
pub const COLUMNS: [(&str, ColumnKind); 40] = [
    ("customer_id", Text),
    ("churn_probability", Float),
    ("churn_horizon_days", Int),
    ("risk_tier", Text),
    ("clv_mean", Float),
    ("clv_p10", Float),
    ("clv_p50", Float),
    ("clv_p90", Float),
    ("clv_horizon_days", Int),
    ("expected_purchases", Float),
    ("p_alive", Float),
    ("value_at_risk", Float),
    ("segment", Text),
    ("lifecycle_phase", Text),
    ("r", Int),
    ("f", Int),
    ("m", Int),
    ("v", Int),
    ("heartbeat", Text),
    ("tier_reasons", Text),
    ("campaign", Text),
    ("would_be_campaign", Text),
    ("channel", Text),
    ("offer", Text),
    ("campaign_reason", Text),
    ("suppression", Text),
    ("holdout", Flag),
    ("currency", Text),
    ("clv_basis", Text),
    ("model_version", Text),
    ("policy_version", Text),
    ("heartbeat_activity", Text),
    ("heartbeat_spend", Text),
    ("engagement_stage", Text),
    ("active_core", Flag),
    ("advocate", Flag),
    ("micro_segment", Text),
    ("persona", Text),
    ("churn_reasons", Text),
    ("churn_by_horizon", Text),
];

/// The places of the columns of these names, in that order; all for none.
pub(super) fn places(names: &[String]) -> Result<Vec<usize>, BatchError> {
    if names.is_empty() {
        return Ok((0..COLUMNS.len()).collect());
    }
    let place = |wanted: &String| {
        COLUMNS.iter().position(|(name, _)| name == wanted).ok_or_else(|| {
            let known = COLUMNS.map(|(name, _)| name).join(", ");
            BatchError::OutColumn { found: wanted.clone(), known }
        })
    };
    names.iter().map(place).collect()
}

/// Where columns stand, for those who read rows and not answers.
pub(super) mod at {
    use super::Cell;

    pub(in crate::batch) const CUSTOMER: usize = 0;
    pub(in crate::batch) const TIER: usize = 3;
    pub(in crate::batch) const CLV: usize = 4;
    pub(in crate::batch) const VALUE_AT_RISK: usize = 11;
    pub(in crate::batch) const SEGMENT: usize = 12;
    pub(in crate::batch) const CAMPAIGN: usize = 20;
    pub(in crate::batch) const SUPPRESSION: usize = 25;
    pub(in crate::batch) const HOLDOUT: usize = 26;

    /// What the summary and the comparison with an older file read of every row.
    pub(in crate::batch) const READ: [usize; 8] =
        [CUSTOMER, TIER, CLV, VALUE_AT_RISK, SEGMENT, CAMPAIGN, SUPPRESSION, HOLDOUT];

    /// The text of a column, empty where there is none.
    pub(in crate::batch) fn text<'c>(cells: &'c [Cell<'_>], at: usize) -> &'c str {
        match cells.get(at) {
            Some(Cell::Text(text)) => text,
            _ => "",
        }
    }

    /// The number of a column.
    pub(in crate::batch) fn float(cells: &[Cell<'_>], at: usize) -> Option<f64> {
        match cells.get(at) {
            Some(Cell::Float(number)) => Some(*number),
            _ => None,
        }
    }
}

/// What the value is of: the same words as in `metrics.json`, as one.
const BASIS: &str = "revenue_less_refunds";
/// The same where no complete window of the horizon was there to judge it.
const BASIS_EXTRAPOLATED: &str = "revenue_less_refunds_extrapolated";

/// Whatever the value label of a table counted.
const BASIS_TABLE: &str = "value_label";

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'e> {
    /// Nothing is known.
    Missing,
    /// Text.
    Text(Cow<'e, str>),
    /// A finite number.
    Float(f64),
    /// A whole number.
    Int(i32),
    /// True or false.
    Flag(bool),
    /// An instant.
    Time(Timestamp),
}

impl<'e> Cell<'e> {
    pub(super) fn text(text: Option<&'e str>) -> Self {
        text.map_or(Self::Missing, |text| Self::Text(Cow::Borrowed(text)))
    }

    pub(super) fn float(number: Option<f64>) -> Self {
        number.filter(|number| number.is_finite()).map_or(Self::Missing, Self::Float)
    }

    fn int(number: Option<impl Into<i32>>) -> Self {
        number.map_or(Self::Missing, |number| Self::Int(number.into()))
    }
}

/// The row of one answer; `why` are the reasons for its churn probability, where they were asked
/// for.
pub(super) fn cells<'e>(
    engine: &'e Engine,
    answer: &Answer<'e>,
    why: Option<&[Reason]>,
) -> Vec<Cell<'e>> {
    let Answer { customer, as_of: _, facts_as_of: _, facts, score, decision } = answer;
    let Score { churn_prob, churn_horizon_days, clv, expected_purchases, p_alive, .. } = score;
    let clv_part = |part: fn(&Clv) -> f64| Cell::float(clv.as_ref().map(part));
    let currency = engine.currency();
    let reasons = (!decision.tier_reasons.is_empty()).then(|| decision.tier_reasons.join("|"));
    let suppression = decision.suppression.map(|held| held.reason);
    let row: [Cell<'e>; COLUMNS.len()] = [
        Cell::Text(Cow::Owned(customer.as_str().to_owned())),
        Cell::float(*churn_prob),
        // The label of a table need not name its horizon.
        Cell::int(churn_prob.and((*churn_horizon_days > 0).then_some(*churn_horizon_days))),
        Cell::text(decision.tier.map(Tier::as_str)),
        clv_part(|clv| clv.mean),
        clv_part(|clv| clv.p10),
        clv_part(|clv| clv.p50),
        clv_part(|clv| clv.p90),
        Cell::int(clv.as_ref().map(|clv| clv.horizon_days)),
        Cell::float(*expected_purchases),
        Cell::float(*p_alive),
        Cell::float(decision.value_at_risk),
        Cell::text(Some(Segment::as_str(decision.segment))),
        Cell::text(Some(Phase::as_str(decision.phase))),
        Cell::int(decision.rfm.r),
        Cell::int(decision.rfm.f),
        Cell::int(decision.rfm.m),
        Cell::int(decision.rfm.v),
        heartbeat(decision.heartbeat.orders),
        reasons.map_or(Cell::Missing, |reasons| Cell::Text(Cow::Owned(reasons))),
        Cell::text(Some(campaign_id(decision))),
        Cell::text(decision.would_be_campaign.map(Campaign::id)),
        Cell::text(decision.channels.first().copied().map(Channel::as_str)),
        Cell::text(decision.campaign.map(|_| decision.offer.kind.as_str())),
        Cell::text(decision.campaign.map(Campaign::reason)),
        Cell::text(suppression.map(SuppressionReason::as_str)),
        Cell::Flag(decision.is_held_out()),
        if currency == Currency::NONE {
            Cell::Missing
        } else {
            Cell::Text(Cow::Owned(currency.as_str().to_owned()))
        },
        Cell::text(clv.as_ref().map(|clv| basis(engine, clv))),
        Cell::text(Some(&engine.bundle().version)),
        Cell::text(Some(&decision.policy.version)),
        heartbeat(decision.heartbeat.activity),
        heartbeat(decision.heartbeat.spend),
        Cell::text(decision.stage.map(Stage::as_str)),
        Cell::Flag(decision.flags.active_core),
        Cell::Flag(decision.flags.advocate),
        Cell::Text(Cow::Owned(decision.micro_key.clone())),
        facts
            .persona
            .as_ref()
            .map_or(Cell::Missing, |persona| Cell::Text(Cow::Owned(persona.as_str().to_owned()))),
        why.filter(|why| !why.is_empty())
            .map_or(Cell::Missing, |why| Cell::Text(Cow::Owned(told(engine, why)))),
        horizons(&score.churn_by_horizon),
    ];
    row.into()
}

/// Days and probability of each horizon, ascending, such as `30:0.41;90:0.22`.
fn horizons<'e>(found: &[HorizonProb]) -> Cell<'e> {
    if found.is_empty() {
        return Cell::Missing;
    }
    let each: Vec<String> = found.iter().map(|h| format!("{}:{:?}", h.days, h.prob)).collect();
    Cell::Text(Cow::Owned(each.join(";")))
}

/// What the value is of.
fn basis(engine: &Engine, clv: &Clv) -> &'static str {
    match (engine.table_inputs().is_some(), clv.extrapolated) {
        (true, _) => BASIS_TABLE,
        (false, true) => BASIS_EXTRAPOLATED,
        (false, false) => BASIS,
    }
}

fn heartbeat<'e>(state: Option<Heartbeat>) -> Cell<'e> {
    Cell::text(Some(state.unwrap_or(Heartbeat::NoData).as_str()))
}

/// Reasons as one text, the weightiest first: contribution in log-odds, code and facts of each. The
/// code of a table's reason is the column, with which its text begins anyhow.
fn told(engine: &Engine, why: &[Reason]) -> String {
    let with_code = engine.table_inputs().is_none();
    let one = |Reason { code, contribution, text }: &Reason| match with_code {
        true => format!("{contribution:+.2} {code}: {text}"),
        false => format!("{contribution:+.2} {text}"),
    };
    why.iter().map(one).collect::<Vec<_>>().join(" | ")
}

/// As [`Decision::campaign_id`], borrowed from the policy and not from the decision.
fn campaign_id<'e>(decision: &Decision<'e>) -> &'e str {
    decision.campaign.map_or(crate::decision::NO_ACTION, Campaign::id)
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, at};

    #[test]
    fn columns_stand_where_they_are_read() {
        let names = [
            (at::CUSTOMER, "customer_id"),
            (at::TIER, "risk_tier"),
            (at::CLV, "clv_mean"),
            (at::VALUE_AT_RISK, "value_at_risk"),
            (at::SEGMENT, "segment"),
            (at::CAMPAIGN, "campaign"),
            (at::SUPPRESSION, "suppression"),
            (at::HOLDOUT, "holdout"),
        ];
        for (place, name) in names {
            assert_eq!(COLUMNS[place].0, name);
            assert!(at::READ.contains(&place));
        }
    }
}
