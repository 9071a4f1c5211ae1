//! The facts of one customer as of one instant: what the policy may look at.
//!
//! In: values worked out elsewhere from the history, the profile and the contact log. Out: a plain
//! record. A fact that is not known is `None`, and every predicate on it is false (fail closed).
//! It deliberately knows no history, no store and no clock; what the models say is not in here
//! either, it is read from the [`Score`](crate::model::Score).

use crate::decision::lapse::Lapse;
use crate::decision::rfm::Rfm;
use crate::domain::Channel;
use crate::domain::Name;
pub use crate::features::Heartbeat;
use crate::features::Heartbeats;

/// What is known of one channel to one customer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ChannelFacts {
    /// Whether the customer agreed to it; an explicit no always wins. `None`: never asked.
    pub consent: Option<bool>,
    /// Whether messages arrive (address known, app installed, not bounced). `None`: not known.
    pub reachable: Option<bool>,
    /// Commercial messages in the last 7 days; service messages are not counted.
    pub messages_7d: u32,
    /// Commercial messages in the last 28 days; service messages are not counted.
    pub messages_28d: u32,
    /// Hours since the last commercial message; `None`: never.
    pub hours_since_message: Option<f64>,
    /// Messages delivered over the remembered time.
    pub delivered: u32,
    /// Of these, opened.
    pub opened: u32,
    /// Of these, clicked.
    pub clicked: u32,
}

/// When a campaign last reached the customer.
#[derive(Debug, Clone, PartialEq)]
pub struct CampaignContact {
    /// The campaign's id.
    pub campaign: Name,
    /// Days since the last contact of that campaign, >= 0.
    pub days: f64,
}

/// The facts of one customer as of one instant. [`Facts::default`] is an unknown customer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// Whether an email address is known.
    pub has_email: bool,
    /// Whether the customer asked for no contact at all.
    pub do_not_contact: bool,
    /// Whether the customer is a business account.
    pub b2b: bool,
    /// The persona assigned by the business.
    pub persona: Option<Name>,
    /// Tags assigned by the business.
    pub tags: Vec<Name>,
    /// Per channel, at [`Channel::index`].
    pub channels: [ChannelFacts; Channel::ALL.len()],

    /// Purchase occasions so far.
    pub orders: u32,
    /// Days since the last purchase; `None` for a non-buyer.
    pub days_since_order: Option<f64>,
    /// Scores 1..=5 from the frozen cut points.
    pub rfm: Rfm,
    /// Own-rhythm state; `None` for a non-buyer.
    pub lapse: Option<Lapse>,
    /// Probability of a silence at least this long from a customer who is still buying, in [0, 1].
    pub silence_prob: Option<f64>,
    /// Average order value, in units of the currency.
    pub avg_order_value: Option<f64>,
    /// Share of orders bought at a discount, in [0, 1].
    pub discount_share: Option<f64>,
    /// Days the customer usually takes between orders.
    pub expected_gap_days: Option<f64>,
    /// Days since the last order of a product over its expected life; 1 = due.
    pub replenish_due_ratio: Option<f64>,
    /// The category bought most.
    pub top_category: Option<Name>,
    /// Hours since a basket was left; `None`: no open basket.
    pub cart_abandoned_hours: Option<f64>,

    /// Visits so far.
    pub visits: u32,
    /// Days since the last activity of any kind.
    pub days_inactive: Option<f64>,
    /// Heartbeat of orders; `None`: not measured.
    pub hb_orders: Option<Heartbeat>,
    /// Heartbeat of activity; `None`: not measured.
    pub hb_activity: Option<Heartbeat>,
    /// Heartbeat of spend; `None`: not measured.
    pub hb_spend: Option<Heartbeat>,
    /// What the three heartbeats rest on; `None`: not measured from events.
    pub beats: Option<Heartbeats>,
    /// Distinct features used in 90 days over the features offered, in [0, 1].
    pub breadth: Option<f64>,
    /// Whether the best sticky activity is not done regularly; `None`: not measured.
    pub sticky_gap: Option<bool>,
    /// The sticky activity to promote.
    pub target_activity: Option<Name>,
    /// Distinct kinds of device used.
    pub device_breadth: Option<u32>,
    /// Whether an achievement is not yet celebrated.
    pub achievement_new: bool,
    /// Whether content waits that the customer has not seen.
    pub has_updates: bool,

    /// Serious complaints in the last 90 days.
    pub complaint_serious_90d: u32,
    /// Open tickets.
    pub open_tickets: u32,
    /// Open tickets that are critical.
    pub open_critical: u32,
    /// Last answer to the recommendation question, 0..=10.
    pub nps_last: Option<u8>,
    /// Days since that answer.
    pub nps_age_days: Option<f64>,
    /// Last satisfaction answer, on the business's own scale.
    pub csat_last: Option<f64>,
    /// Hours the customer has waited, or last waited, for support.
    pub support_wait_hours: Option<f64>,
    /// Whether the last ticket was resolved in the promised time.
    pub resolved_within_sla: Option<bool>,

    /// Days since the first event.
    pub tenure_days: Option<f64>,
    /// Whether a member of the loyalty programme; `None`: not known, or there is none.
    pub loyalty_member: Option<bool>,
    /// Whether a spend milestone was reached and not yet rewarded.
    pub spend_milestone: bool,
    /// Customers referred so far.
    pub referrals: u32,
    /// Known contact people at a business account.
    pub contact_people: Option<u32>,
    /// Days since the account's own success manager changed.
    pub csm_changed_days: Option<f64>,

    /// Days since the last commercial contact by any channel; `None`: never.
    pub days_since_contact: Option<f64>,
    /// Per campaign, when it last reached the customer; a campaign not listed never did.
    pub campaign_contacts: Vec<CampaignContact>,
    /// Hours between the newest data the facts rest on and the instant asked for; `None`: the
    /// caller vouches that they are current.
    pub facts_age_hours: Option<f64>,
}

impl Facts {
    /// What is known of one channel.
    #[must_use]
    pub const fn channel(&self, channel: Channel) -> &ChannelFacts {
        &self.channels[channel.index()]
    }

    /// Days since the campaign last reached the customer; none where it never did.
    #[must_use]
    pub fn days_since_campaign(&self, campaign: &str) -> Option<f64> {
        self.campaign_contacts
            .iter()
            .filter(|contact| contact.campaign.as_str() == campaign)
            .map(|contact| contact.days)
            .min_by(f64::total_cmp)
    }

    /// Commercial messages in the last 7 days over all channels.
    #[must_use]
    pub fn messages_7d(&self) -> u32 {
        self.channels.iter().fold(0, |sum, channel| sum.saturating_add(channel.messages_7d))
    }
}
