//! The part of the page of metrics that tells which version answers whom, and what shadows say.
//!
//! In: what serves. Out: its counts. Labels hold names of arms, versions and tiers only.

use std::sync::Arc;

use super::serving::{Serving, ShadowArm};
use super::shadow::Sums;
use crate::decision::Tier;
use crate::telemetry::MetricKind::{Counter as Up, Gauge};
use crate::telemetry::Page;

/// Puts it on the page; `tiers` are the names of tiers, none first.
pub(super) fn put(page: &mut Page, serving: &Serving, tiers: [&str; 4]) {
    page.metric("tenure_models_loaded", Gauge, "Versions that are loaded.")
        .put(&[], serving.loaded.len());
    page.metric("tenure_traffic_revision", Gauge, "Revision of the traffic policy in force.")
        .put(&[], serving.traffic.now().revision);
    let mut answers = page.metric("tenure_arm_answers_total", Up, "Answers given, by arm.");
    for arm in std::iter::once(&serving.champion).chain(&serving.challengers) {
        let labels = [("arm", &*arm.name), ("model_version", &*arm.served.model_version)];
        answers.put(&labels, arm.answers.get());
    }
    let shadows: Vec<_> = serving.shadows.iter().map(|arm| (arm, arm.agreement.sums())).collect();
    put_counts(page, &shadows, tiers);
    put_sums(page, &shadows);
}

type Shadows<'s> = [(&'s Arc<ShadowArm>, Sums)];

fn put_counts(page: &mut Page, shadows: &Shadows<'_>, tiers: [&str; 4]) {
    let mut answers = page.metric(
        "tenure_shadow_answers_total",
        Up,
        "Answers that a shadow was to score, too, by outcome.",
    );
    for (arm, sums) in shadows {
        let (failed, dropped) = (arm.agreement.failed.get(), arm.agreement.dropped.get());
        for (outcome, n) in [("compared", sums.n), ("failed", failed), ("dropped", dropped)] {
            let labels = [
                ("arm", &*arm.name),
                ("model_version", &*arm.served.model_version),
                ("outcome", outcome),
            ];
            answers.put(&labels, n);
        }
    }
    let name = |tier: Option<Tier>| tiers[tier.map_or(0, |tier| tier as usize)];
    let mut pairs =
        page.metric("tenure_shadow_tiers_total", Up, "Answers compared, by both risk tiers.");
    for (arm, sums) in shadows {
        for ((served, shadow), n) in &sums.tiers {
            let labels =
                [("arm", &*arm.name), ("served", name(*served)), ("shadow", name(*shadow))];
            pairs.put(&labels, n);
        }
    }
}

/// One number of each shadow.
type Number = (&'static str, &'static str, fn(&Sums) -> f64);

const NUMBERS: [Number; 6] = [
    ("tenure_shadow_same_decisions_total", "Answers compared, with the same decision.", |sums| {
        count(sums.n_same_action)
    }),
    ("tenure_shadow_churn_compared_total", "Answers with two probabilities of churn.", |sums| {
        count(sums.churn.n)
    }),
    (
        "tenure_shadow_churn_difference_total",
        "Sum of absolute differences of probabilities of churn.",
        |sums| sums.churn.absolute,
    ),
    ("tenure_shadow_clv_compared_total", "Answers with two expected values.", |sums| {
        count(sums.clv.n)
    }),
    (
        "tenure_shadow_clv_difference_total",
        "Sum of absolute differences of expected values, in units of the currency.",
        |sums| sums.clv.absolute,
    ),
    (
        "tenure_shadow_clv_served_total",
        "Sum of the champion's expected values among them, in units of the currency.",
        |sums| sums.clv.served,
    ),
];

#[allow(clippy::cast_precision_loss, reason = "counts of answers are far below 2^53")]
const fn count(n: u64) -> f64 {
    n as f64
}

fn put_sums(page: &mut Page, shadows: &Shadows<'_>) {
    for (name, help, of) in NUMBERS {
        let mut metric = page.metric(name, Up, help);
        for (arm, sums) in shadows {
            metric.put(&[("arm", &*arm.name)], of(sums));
        }
    }
}
