//! The single view of a customer as a message.

use super::names;
use crate::decision::Facts;
use crate::domain::{Channel, Currency, CustomerId, Name};
use crate::features::Beat;
use crate::history::{History, Latest, Tally};
use crate::serve::pb;

/// What is known of a customer, without the score. Of the days with something the newest
/// `timeline_days_max` are shown.
pub(in crate::serve) fn customer(
    id: &CustomerId,
    history: &History,
    currency: Currency,
    timeline_days_max: usize,
) -> pb::Customer {
    let profile = history.profile();
    pb::Customer {
        customer: id.as_str().to_owned(),
        currency_code: currency.as_str().to_owned(),
        event_count: history.n_events(),
        late_event_count: history.n_late(),
        first_event_time: history.first_event().map(super::timestamp),
        newest_event_time: history.newest().map(super::timestamp),
        last_purchase_time: history.last_purchase().map(|(time, _)| super::timestamp(time)),
        totals: Some(totals(history.totals())),
        timeline: history
            .tiles()
            .days()
            .iter()
            .rev()
            .take(timeline_days_max)
            .map(|(day, tally)| pb::TimelineDay {
                day: day.to_string(),
                totals: Some(totals(tally)),
            })
            .collect(),
        facts: Vec::new(),
        channels: Channel::ALL.iter().filter_map(|by| channel(history, *by)).collect(),
        persona: text(profile.persona.as_ref()),
        acquisition_channel: text(profile.acquisition_channel.as_ref()),
        tags: profile
            .tags
            .as_ref()
            .map_or_else(Vec::new, |tags| tags.value().iter().map(ToString::to_string).collect()),
        score: None,
    }
}

fn text(name: Option<&Latest<Name>>) -> String {
    name.map_or_else(String::new, |name| name.value().to_string())
}

fn totals(tally: &Tally) -> pb::Totals {
    let Tally {
        orders,
        purchase_days,
        items,
        discounted,
        refunds,
        activities,
        spend,
        refunded,
        discount,
    } = tally;
    pb::Totals {
        order_count: *orders,
        purchase_day_count: *purchase_days,
        item_count: *items,
        discounted_order_count: *discounted,
        refund_count: *refunds,
        activity_count: *activities,
        spend: spend.units(),
        refunded: refunded.units(),
        discount: discount.units(),
    }
}

fn channel(history: &History, channel: Channel) -> Option<pb::ChannelView> {
    let (profile, responses) = (history.profile(), history.contacts().responses(channel));
    let view = pb::ChannelView {
        channel: names::channel(channel),
        consent: profile.consent(channel),
        reachable: profile.is_reachable(channel),
        delivered_count: responses.delivered,
        opened_count: responses.opened,
        clicked_count: responses.clicked,
    };
    let known = view.consent.is_some()
        || view.reachable.is_some()
        || view.delivered_count + view.opened_count + view.clicked_count > 0;
    known.then_some(view)
}

/// The facts that policies see, by name. Those about channels and campaigns are left out: the
/// channels have a place of their own.
#[allow(clippy::too_many_lines, reason = "a table of facts: every field by name, once")]
pub(in crate::serve) fn facts(facts: &Facts) -> Vec<pb::Fact> {
    let Facts {
        has_email,
        do_not_contact,
        b2b,
        persona: _,
        tags: _,
        channels: _,
        orders,
        days_since_order,
        rfm: _,
        lapse,
        silence_prob,
        avg_order_value,
        discount_share,
        expected_gap_days,
        replenish_due_ratio,
        top_category,
        cart_abandoned_hours,
        visits,
        days_inactive,
        hb_orders,
        hb_activity,
        hb_spend,
        beats,
        breadth,
        sticky_gap,
        target_activity,
        device_breadth,
        achievement_new,
        has_updates,
        complaint_serious_90d,
        open_tickets,
        open_critical,
        nps_last,
        nps_age_days,
        csat_last,
        support_wait_hours,
        resolved_within_sla,
        tenure_days,
        loyalty_member,
        spend_milestone,
        referrals,
        contact_people,
        csm_changed_days,
        days_since_contact,
        campaign_contacts: _,
        facts_age_hours,
    } = facts;
    vec![
        flag("achievement_new", Some(*achievement_new)),
        number("avg_order_value", *avg_order_value),
        flag("b2b", Some(*b2b)),
        number("breadth", *breadth),
        number("cart_abandoned_hours", *cart_abandoned_hours),
        count("complaint_serious_90d", Some(*complaint_serious_90d)),
        count("contact_people", *contact_people),
        number("csat_last", *csat_last),
        number("csm_changed_days", *csm_changed_days),
        number("days_inactive", *days_inactive),
        number("days_since_contact", *days_since_contact),
        number("days_since_order", *days_since_order),
        count("device_breadth", *device_breadth),
        number("discount_share", *discount_share),
        flag("do_not_contact", Some(*do_not_contact)),
        number("expected_gap_days", *expected_gap_days),
        number("facts_age_hours", *facts_age_hours),
        flag("has_email", Some(*has_email)),
        flag("has_updates", Some(*has_updates)),
        word("hb_activity", hb_activity.map(|state| state.as_str())),
        number("hb_activity_prob", beats.and_then(|beats| beats.activity.prob)),
        number("hb_activity_window", beats.and_then(|beats| window(&beats.activity))),
        word("hb_orders", hb_orders.map(|state| state.as_str())),
        number("hb_orders_prob", beats.and_then(|beats| beats.orders.prob)),
        number("hb_orders_window", beats.and_then(|beats| window(&beats.orders))),
        word("hb_spend", hb_spend.map(|state| state.as_str())),
        word("lapse", lapse.map(|state| state.as_str())),
        flag("loyalty_member", *loyalty_member),
        number("nps_age_days", *nps_age_days),
        aged(count("nps_last", nps_last.map(u32::from)), *nps_age_days),
        count("open_critical", Some(*open_critical)),
        count("open_tickets", Some(*open_tickets)),
        count("orders", Some(*orders)),
        count("referrals", Some(*referrals)),
        number("replenish_due_ratio", *replenish_due_ratio),
        flag("resolved_within_sla", *resolved_within_sla),
        number("silence_prob", *silence_prob),
        flag("spend_milestone", Some(*spend_milestone)),
        flag("sticky_gap", *sticky_gap),
        number("support_wait_hours", *support_wait_hours),
        word("target_activity", target_activity.as_ref().map(Name::as_str)),
        number("tenure_days", *tenure_days),
        word("top_category", top_category.as_ref().map(Name::as_str)),
        count("visits", Some(*visits)),
    ]
}

/// Days after which an answer is old news.
const ANSWER_DAYS_MAX: f64 = 180.0;

/// A fact that is known, but from long ago, is stale.
fn aged(fact: pb::Fact, age_days: Option<f64>) -> pb::Fact {
    match age_days {
        Some(days) if fact.value.is_some() && days > ANSWER_DAYS_MAX => {
            pb::Fact { status: pb::FactStatus::Stale.into(), ..fact }
        }
        _ => fact,
    }
}

fn window(beat: &Beat) -> Option<f64> {
    (beat.window_days > 0).then(|| f64::from(beat.window_days))
}

fn fact(name: &str, value: Option<pb::fact::Value>) -> pb::Fact {
    let status = match value {
        Some(_) => pb::FactStatus::Present,
        None => pb::FactStatus::Missing,
    };
    pb::Fact { name: name.to_owned(), status: status.into(), value }
}

/// A number that is none (NaN) is missing too, as for the policy.
fn number(name: &str, value: Option<f64>) -> pb::Fact {
    fact(name, value.filter(|number| !number.is_nan()).map(pb::fact::Value::Number))
}

fn count(name: &str, value: Option<u32>) -> pb::Fact {
    number(name, value.map(f64::from))
}

fn flag(name: &str, value: Option<bool>) -> pb::Fact {
    fact(name, value.map(pb::fact::Value::Flag))
}

fn word(name: &str, value: Option<&str>) -> pb::Fact {
    fact(name, value.map(|text| pb::fact::Value::Text(text.to_owned())))
}
