//! The whole base in numbers, as messages.

use super::names;
use crate::decision::Arm;
use crate::scoring::{ArmName, Cohort, Group, Overview, month_text};
use crate::serve::pb;

/// What is counted, as a message; who judged and when is left to the caller.
pub(in crate::serve) fn stats(overview: &Overview) -> pb::StatsResponse {
    let tiers = overview.tiers().map(|(tier, found)| pb::TierStats {
        risk_tier: names::tier(tier),
        group: Some(group(found)),
    });
    let segments = overview.segments().map(|(segment, found)| pb::SegmentStats {
        segment: names::segment(segment),
        group: Some(group(found)),
    });
    let arms = overview.arms().map(|(name, found)| {
        let ArmName { experiment, is_control, variant } = name;
        pb::ArmStats {
            experiment: experiment.clone(),
            arm: names::arm(if *is_control { Arm::Control } else { Arm::Treatment }),
            variant: variant.clone(),
            group: Some(group(found)),
        }
    });
    pb::StatsResponse {
        all: Some(group(overview.all)),
        buyer_count: overview.buyers,
        tiers: tiers.collect(),
        segments: segments.collect(),
        arms: arms.collect(),
        cohorts: overview.cohorts().iter().map(cohort).collect(),
        ..pb::StatsResponse::default()
    }
}

fn group(group: Group) -> pb::GroupStats {
    let Group { customers, value_at_risk, clv } = group;
    pb::GroupStats { customer_count: customers, value_at_risk, clv_total: clv }
}

fn cohort(cohort: &Cohort) -> pb::Cohort {
    let Cohort { month, customers, bought } = cohort;
    let months = bought.iter().map(|(months_since, customers)| pb::CohortMonth {
        months_since: months_since.unsigned_abs(),
        customer_count: *customers,
    });
    pb::Cohort { month: month_text(*month), customer_count: *customers, months: months.collect() }
}
