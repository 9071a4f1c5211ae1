//! Messages to the customer and the responses: what caps, cooldowns and channel choice need.

use xxhash_rust::xxh3::xxh3_64;

use crate::domain::{Channel, Day, Timestamp};
use crate::events::{Contact, ContactStage};

/// Days for which messages are counted by day: the longest cap.
pub const CONTACT_DAYS: i32 = 28;
/// Campaigns whose last contact is remembered: the newest ones.
const CAMPAIGNS_MAX: usize = 64;

/// Messages by stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Responses {
    /// Messages that arrived.
    pub delivered: u32,
    /// Messages opened or seen.
    pub opened: u32,
    /// Messages acted on.
    pub clicked: u32,
}

impl Responses {
    fn add(&mut self, other: &Self) {
        self.delivered = self.delivered.saturating_add(other.delivered);
        self.opened = self.opened.saturating_add(other.opened);
        self.clicked = self.clicked.saturating_add(other.clicked);
    }
}

/// What was sent to a customer, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContactLog {
    /// Messages delivered by day and channel, ascending, for the newest 28 days.
    pub(super) days: Vec<(Day, Channel, u32)>,
    /// Lifetime responses by channel.
    pub(super) channels: [Responses; 8],
    /// Hash of the campaign and its last delivery, newest first.
    pub(super) campaigns: Vec<(u64, Timestamp)>,
    /// When the last message by each channel arrived.
    pub(super) last_by_channel: [Option<Timestamp>; 8],
    pub(super) last_response: Option<Timestamp>,
}

impl ContactLog {
    /// Lifetime responses by channel.
    #[must_use]
    pub fn responses(&self, channel: Channel) -> Responses {
        self.channels[channel.index()]
    }

    /// Messages delivered by a channel in the `days` (at most 28) days that end with `last`.
    #[must_use]
    pub fn delivered_by(&self, channel: Channel, last: Day, days: i32) -> u32 {
        self.days
            .iter()
            .filter(|(day, by, _)| *by == channel && (0..days).contains(&last.days_since(*day)))
            .map(|(_, _, count)| *count)
            .sum()
    }

    /// When the last message arrived.
    #[must_use]
    pub fn last_delivered(&self) -> Option<Timestamp> {
        self.last_by_channel.iter().copied().max().flatten()
    }

    /// When the last message by a channel arrived.
    #[must_use]
    pub const fn last_delivered_by(&self, channel: Channel) -> Option<Timestamp> {
        self.last_by_channel[channel.index()]
    }

    /// When the last message was opened or acted on.
    #[must_use]
    pub const fn last_response(&self) -> Option<Timestamp> {
        self.last_response
    }

    /// When a campaign last reached the customer (of the newest 64 campaigns).
    #[must_use]
    pub fn last_contact_by(&self, campaign: &str) -> Option<Timestamp> {
        let hash = xxh3_64(campaign.as_bytes());
        self.campaigns.iter().find(|(held, _)| *held == hash).map(|(_, time)| *time)
    }

    pub(super) fn apply(&mut self, time: Timestamp, day: Day, newest: Day, contact: &Contact) {
        let tally = &mut self.channels[contact.channel.index()];
        match contact.stage {
            ContactStage::Delivered => {
                tally.delivered = tally.delivered.saturating_add(1);
                let last = &mut self.last_by_channel[contact.channel.index()];
                *last = (*last).max(Some(time));
                self.record_campaign(xxh3_64(contact.campaign.as_str().as_bytes()), time);
                self.record_day(day, newest, contact.channel, 1);
            }
            ContactStage::Opened => {
                tally.opened = tally.opened.saturating_add(1);
                self.last_response = self.last_response.max(Some(time));
            }
            ContactStage::Clicked => {
                tally.clicked = tally.clicked.saturating_add(1);
                self.last_response = self.last_response.max(Some(time));
            }
        }
    }

    fn record_day(&mut self, day: Day, newest: Day, channel: Channel, count: u32) {
        if newest.days_since(day) >= CONTACT_DAYS {
            return;
        }
        match self.days.binary_search_by_key(&(day, channel), |(d, c, _)| (*d, *c)) {
            Ok(at) => self.days[at].2 = self.days[at].2.saturating_add(count),
            Err(at) => self.days.insert(at, (day, channel, count)),
        }
    }

    fn record_campaign(&mut self, hash: u64, time: Timestamp) {
        if let Some(at) = self.campaigns.iter().position(|(held, _)| *held == hash) {
            if self.campaigns[at].1 >= time {
                return;
            }
            self.campaigns.remove(at);
        }
        let at = self.campaigns.partition_point(|(held, at)| (*at, *held) > (time, hash));
        self.campaigns.insert(at, (hash, time));
        self.campaigns.truncate(CAMPAIGNS_MAX);
    }

    /// Keeps the campaigns of the newest contacts.
    pub(super) fn keep_campaigns(&mut self, n: usize) {
        self.campaigns.truncate(n);
    }

    /// Keeps the counts of the newest days.
    pub(super) fn keep_days(&mut self, newest: Day, days: i32) {
        self.days.retain(|(day, _, _)| newest.days_since(*day) < days);
    }

    pub(super) fn retire(&mut self, newest: Day) {
        self.days.retain(|(day, _, _)| newest.days_since(*day) < CONTACT_DAYS);
    }

    pub(super) fn merge(&mut self, other: &Self, newest: Day) {
        for (day, channel, count) in &other.days {
            self.record_day(*day, newest, *channel, *count);
        }
        for (mine, theirs) in self.channels.iter_mut().zip(&other.channels) {
            mine.add(theirs);
        }
        for (hash, time) in &other.campaigns {
            self.record_campaign(*hash, *time);
        }
        for (mine, theirs) in self.last_by_channel.iter_mut().zip(&other.last_by_channel) {
            *mine = (*mine).max(*theirs);
        }
        self.last_response = self.last_response.max(other.last_response);
    }
}
