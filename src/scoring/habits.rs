//! Facts about how a customer uses what the business offers: heartbeat, breadth, sticky
//! activities, what is due, achievements, updates, milestones, support.
//!
//! What cannot be known stays missing, and every predicate on it is false.

use crate::decision::{Facts, Policy};
use crate::domain::{AsOf, Name, Timestamp};
use crate::features::{BaseStats, heartbeats, is_regular};
use crate::history::{History, Latest, Ticket};

use super::facts::own_median_gap;

/// Activities whose names begin so are achievements.
const ACHIEVEMENT: &str = "achievement";
/// The activity that is counted as a referral.
const REFERRAL: &str = "referral";
/// Campaigns that answer an achievement and a milestone of spend.
const MILESTONE_CAMPAIGN: &str = "milestone";
const REWARD_CAMPAIGN: &str = "loyalty_reward";
/// Days for which an achievement or a milestone is news.
const NEWS_DAYS: i32 = 30;

/// What such facts are worked out from.
#[derive(Debug, Clone, Copy)]
pub(super) struct HabitSources<'s> {
    pub(super) policy: &'s Policy,
    pub(super) base: &'s BaseStats,
    /// Activities that are worth promoting and that the policy promotes, the best first.
    pub(super) targets: &'s [Name],
}

/// The activities worth promoting by the base's evidence that the policy names, the best first.
pub(super) fn promoted(policy: &Policy, base: &BaseStats) -> Vec<Name> {
    let named = &policy.sticky().activities;
    base.offer.sticky.iter().filter(|activity| named.contains(activity)).cloned().collect()
}

impl HabitSources<'_> {
    pub(super) fn fill(&self, history: &History, as_of: AsOf, facts: &mut Facts) {
        let rule = self.policy.fact_rule();
        let day = as_of.last_whole_day();
        let beats = heartbeats(&self.base.heartbeat, &rule.heartbeat, history, day);
        facts.hb_orders = Some(beats.orders.state);
        facts.hb_activity = Some(beats.activity.state);
        facts.hb_spend = Some(beats.spend.state);
        facts.beats = Some(beats);
        let last = as_of.last_day();
        facts.breadth = self.base.offer.breadth(history, last);
        // The life of what they buy says more than the gaps between all their purchases.
        let by_own_gaps = || {
            facts.days_since_order.zip(own_median_gap(history)).map(|(silent, gap)| silent / gap)
        };
        facts.replenish_due_ratio = self.base.offer.due_ratio(history, last).or_else(by_own_gaps);
        self.fill_target(history, as_of, facts);
        fill_news(history, as_of, facts);
        facts.spend_milestone = has_milestone(history, as_of, rule.spend_milestone);
        fill_support(history, as_of, rule.sla_hours, facts);
    }

    /// The first activity worth promoting that the customer does not do regularly.
    fn fill_target(&self, history: &History, as_of: AsOf, facts: &mut Facts) {
        if self.targets.is_empty() {
            return;
        }
        let days_min = self.policy.sticky().regular_uses_28d_min;
        let not_done =
            |activity: &&Name| !is_regular(history, activity, as_of.last_day(), days_min);
        facts.target_activity = self.targets.iter().find(not_done).cloned();
        facts.sticky_gap = Some(facts.target_activity.is_some());
    }
}

fn fill_news(history: &History, as_of: AsOf, facts: &mut Facts) {
    let last = as_of.last_day();
    let activities = history.activities().kept();
    let achievements =
        activities.iter().filter(|usage| usage.name.as_str().starts_with(ACHIEVEMENT));
    let newest = achievements.map(|usage| usage.last_day).max();
    let celebrated = history.contacts().last_contact_by(MILESTONE_CAMPAIGN);
    let celebrated_days =
        celebrated.map(|at| as_of.instant().hours_since(at) / 24.0).unwrap_or(f64::INFINITY);
    facts.achievement_new = newest.is_some_and(|day| {
        let age = last.days_since(day);
        age < NEWS_DAYS && f64::from(age) < celebrated_days
    });
    let referral = activities.iter().find(|usage| usage.name.as_str() == REFERRAL);
    facts.referrals = referral.map_or(0, |usage| usage.count);
    let updates = history.profile().has_updates.as_ref();
    let unseen = |held: &Latest<bool>| {
        *held.value() && history.last_active().is_none_or(|seen| seen < held.time())
    };
    facts.has_updates = updates.is_some_and(unseen);
}

/// Whether spend passed a multiple of `step` lately and was not rewarded since.
fn has_milestone(history: &History, as_of: AsOf, step: f64) -> bool {
    if step <= 0.0 {
        return false;
    }
    let total = history.totals().net_spend().units();
    let lately = history.tiles().window(as_of.last_day(), NEWS_DAYS).net_spend().units();
    let passed = (total / step).floor() > ((total - lately).max(0.0) / step).floor();
    let rewarded = history.contacts().last_contact_by(REWARD_CAMPAIGN);
    let hours = rewarded.map(|at| as_of.instant().hours_since(at));
    passed && hours.is_none_or(|hours| hours >= 24.0 * f64::from(NEWS_DAYS))
}

/// How long the longest open ticket waits, else how long the last closed one took.
fn fill_support(history: &History, as_of: AsOf, sla_hours: f64, facts: &mut Facts) {
    let tickets = history.satisfaction().tickets();
    let waiting = |ticket: &Ticket| Some(as_of.instant().hours_since(ticket.opened()?));
    let open = tickets.iter().filter(|ticket| ticket.open).filter_map(waiting);
    let took = |ticket: &Ticket| -> Option<(Timestamp, f64)> {
        let closed = ticket.closed()?;
        Some((closed, closed.hours_since(ticket.opened()?)))
    };
    let last_closed = tickets.iter().filter_map(took).max_by_key(|(closed, _)| *closed);
    let last_took = last_closed.map(|(_, hours)| hours.max(0.0));
    facts.support_wait_hours = open.max_by(f64::total_cmp).or(last_took);
    facts.resolved_within_sla = last_took.map(|hours| hours <= sla_hours);
}
