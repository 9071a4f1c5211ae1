//! From a history to the facts that a policy looks at.
//!
//! What a history cannot tell stays missing, and every predicate on it is false.

use crate::decision::{CampaignContact, Facts, Policy, Rfm, RfmCuts, RfmValues};
use crate::domain::{AsOf, Channel, Name, Timestamp};
use crate::features::{BaseStats, Rhythm};
use crate::history::{CONTACT_DAYS, History};

/// Days of spend that the value and money scores look at.
const VALUE_DAYS: i32 = 728;
/// Own gaps needed before their median says when the next order is due.
const GAPS_MIN: usize = 3;
/// Serious complaints count this many days.
const COMPLAINT_DAYS: i64 = 90;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// The values that the R, F, M and V scores are cut from.
#[must_use]
pub fn rfm_values(history: &History, as_of: AsOf) -> RfmValues {
    let Some((_, last)) = history.last_purchase() else { return RfmValues::default() };
    let (net_spend, purchase_days) = history.tiles().long_value(as_of.last_day(), VALUE_DAYS);
    let (spend, days) = if purchase_days > 0 {
        (net_spend.units(), purchase_days)
    } else {
        // Silent for longer than the window: the average is that of all orders.
        (history.totals().net_spend().units(), history.totals().purchase_days.max(1))
    };
    RfmValues {
        days_since_order: Some(f64::from(as_of.last_day().days_since(last))),
        orders: history.totals().purchase_days,
        avg_order_value: Some(spend / f64::from(days)),
        spend_728d: Some(net_spend.units()),
    }
}

/// Everything a policy may look at, as of an instant.
#[derive(Debug, Clone, Copy)]
pub(super) struct FactSources<'s> {
    pub(super) policy: &'s Policy,
    pub(super) cuts: &'s RfmCuts,
    pub(super) base: &'s BaseStats,
}

impl FactSources<'_> {
    /// The facts of one customer.
    pub(super) fn facts(&self, history: &History, as_of: AsOf) -> Facts {
        let mut facts = Facts::default();
        self.fill_purchases(history, as_of, &mut facts);
        fill_activity(history, as_of, &mut facts);
        fill_satisfaction(history, as_of, &mut facts);
        fill_profile(history, as_of, &mut facts);
        self.fill_contacts(history, as_of, &mut facts);
        facts
    }

    fn fill_purchases(&self, history: &History, as_of: AsOf, facts: &mut Facts) {
        let waiting = history.basket().waiting_since(history.last_purchase().map(|(t, _)| t));
        facts.cart_abandoned_hours = waiting.map(|since| as_of.instant().hours_since(since));
        let values = rfm_values(history, as_of);
        facts.rfm = self.cuts.score(&values);
        let (Some(silent), Some(first), Some((_, last))) =
            (values.days_since_order, history.first_purchase(), history.last_purchase())
        else {
            facts.rfm = Rfm::default();
            return;
        };
        let rhythm = Rhythm {
            repeats: history.totals().purchase_days.saturating_sub(1),
            // By way of weeks, as in the summary of purchases: the last bit depends on it.
            active_days: f64::from(last.days_since(first.day)) / 7.0 * 7.0,
        };
        let base = &self.base.rhythm;
        let silence_prob = base.prior.silence_prob(rhythm, silent);
        facts.orders = values.orders;
        facts.days_since_order = Some(silent);
        facts.avg_order_value = values.avg_order_value;
        let totals = history.totals();
        facts.discount_share = Some(f64::from(totals.discounted) / f64::from(totals.orders.max(1)));
        facts.expected_gap_days = Some(base.prior.expected_gap_days(rhythm));
        facts.silence_prob = Some(silence_prob);
        facts.lapse = Some(self.policy.lapse_rule().state(base, silence_prob, silent));
        facts.top_category = history.categories().top().map(|usage| usage.name.clone());
    }

    fn fill_contacts(&self, history: &History, as_of: AsOf, facts: &mut Facts) {
        let contacts = history.contacts();
        let profile = history.profile();
        for channel in Channel::ALL {
            let responses = contacts.responses(channel);
            let slot = &mut facts.channels[channel.index()];
            slot.consent = profile.consent(channel);
            slot.reachable = profile.is_reachable(channel);
            slot.messages_7d = contacts.delivered_by(channel, as_of.last_day(), 7);
            slot.messages_28d = contacts.delivered_by(channel, as_of.last_day(), CONTACT_DAYS);
            slot.hours_since_message =
                contacts.last_delivered_by(channel).map(|at| as_of.instant().hours_since(at));
            slot.delivered = responses.delivered;
            slot.opened = responses.opened;
            slot.clicked = responses.clicked;
        }
        facts.days_since_contact = contacts.last_delivered().map(|at| days_since(as_of, at));
        if facts.days_since_contact.is_none() {
            return;
        }
        for campaign in self.policy.campaigns() {
            let last = contacts.last_contact_by(campaign.id());
            if let (Some(at), Ok(name)) = (last, Name::try_new(campaign.id())) {
                let days = days_since(as_of, at);
                facts.campaign_contacts.push(CampaignContact { campaign: name, days });
            }
        }
    }
}

fn days_since(as_of: AsOf, earlier: Timestamp) -> f64 {
    as_of.instant().hours_since(earlier) / 24.0
}

/// The median of the customer's own gaps of the last year, days.
pub(super) fn own_median_gap(history: &History) -> Option<f64> {
    let mut days = history.tiles().purchase_days();
    let mut before = days.next()?;
    let mut gaps: Vec<i32> = Vec::with_capacity(history.tiles().days().len());
    for day in days {
        gaps.push(day.days_since(std::mem::replace(&mut before, day)));
    }
    let n = gaps.len();
    if n < GAPS_MIN {
        return None;
    }
    let (below, &mut middle, _) = gaps.select_nth_unstable(n / 2);
    if n.is_multiple_of(2) {
        let next_below = below.iter().max().copied().unwrap_or(middle);
        return Some(f64::from(next_below + middle) / 2.0);
    }
    Some(f64::from(middle))
}

fn fill_activity(history: &History, as_of: AsOf, facts: &mut Facts) {
    facts.visits = history.totals().activities;
    facts.days_inactive = history.last_active().map(|at| days_since(as_of, at).floor());
    facts.tenure_days = history.first_event().map(|at| days_since(as_of, at).floor());
    if !history.devices().kept().is_empty() {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimated number of devices; beyond a u32 the cast stops at its end"
        )]
        let n_devices = history.devices().n_distinct().round() as u32;
        facts.device_breadth = Some(n_devices);
    }
}

fn fill_satisfaction(history: &History, as_of: AsOf, facts: &mut Facts) {
    let satisfaction = history.satisfaction();
    let after = as_of.instant().micros() - COMPLAINT_DAYS * MICROS_PER_DAY;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let complaints = satisfaction.serious_complaints_since(Timestamp::from_micros(after));
    let (open, critical) = satisfaction.open_tickets();
    facts.complaint_serious_90d = count(complaints);
    facts.open_tickets = count(open);
    facts.open_critical = count(critical);
    facts.nps_last = satisfaction.nps.as_ref().map(|held| *held.value());
    facts.nps_age_days = satisfaction.nps.as_ref().map(|held| days_since(as_of, held.time()));
    facts.csat_last = satisfaction.csat.as_ref().map(|held| f64::from(*held.value()));
}

fn fill_profile(history: &History, as_of: AsOf, facts: &mut Facts) {
    let profile = history.profile();
    let is = |held: &Option<crate::history::Latest<bool>>| held.as_ref().map(|held| *held.value());
    facts.has_email = is(&profile.email_known).unwrap_or(false);
    facts.do_not_contact = is(&profile.do_not_contact).unwrap_or(false);
    facts.b2b = is(&profile.b2b).unwrap_or(false);
    facts.loyalty_member = is(&profile.loyalty_member);
    facts.persona = profile.persona.as_ref().map(|held| held.value().clone());
    facts.tags = profile.tags.as_ref().map(|held| held.value().clone()).unwrap_or_default();
    facts.contact_people = profile.contact_people.as_ref().map(|held| *held.value());
    facts.csm_changed_days = profile
        .csm_changed
        .as_ref()
        .map(|held| f64::from(as_of.last_day().days_since(*held.value())));
}
