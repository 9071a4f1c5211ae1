//! Customers, scores and policies for the tests of this room.

use crate::decision::CampaignContact;
use crate::decision::ChannelFacts;
use crate::decision::Context;
use crate::decision::Decision;
use crate::decision::Facts;
use crate::decision::Heartbeat;
use crate::decision::Lapse;
use crate::decision::Policy;
use crate::decision::Rfm;
use crate::decision::Salts;
use crate::decision::SuppressionReason as Why;
use crate::decision::TierCuts;
use crate::decision::decide;
use crate::domain::Name;
use crate::model::Clv;
use crate::model::Score;

pub(crate) const CUTS: TierCuts = TierCuts { red_prob: 0.7, amber_prob: 0.4 };

pub(crate) fn name(text: &str) -> Name {
    Name::try_new(text).unwrap()
}

pub(crate) fn score(churn_prob: f64) -> Score {
    let clv = Clv {
        mean: 200.0,
        p10: 50.0,
        p50: 180.0,
        p90: 400.0,
        historic: 90.0,
        percentile: 0.9,
        horizon_days: 365,
        extrapolated: false,
    };
    Score {
        churn_prob: Some(churn_prob),
        churn_horizon_days: 90,
        churn_by_horizon: Vec::new(),
        clv: Some(clv),
        expected_purchases: Some(2.0),
        p_alive: Some(0.8),
        out_of_distribution: false,
    }
}

/// A policy with its salts, and short ways to decide with it.
pub(crate) struct Desk {
    pub(crate) policy: Policy,
    pub(crate) salts: Salts,
}

impl Desk {
    pub(crate) fn new(text: &str) -> Self {
        let policy = Policy::parse(text).unwrap_or_else(|errors| panic!("{errors}"));
        let salts = Salts::try_new(&policy, Some("a test installation")).unwrap();
        Self { policy, salts }
    }

    /// The default policy without control groups, to see what is recommended.
    pub(crate) fn open() -> Self {
        Self::new(
            &Policy::default_text()
                .replace("global_control_share   = 0.05", "global_control_share = 0.0")
                .replace("campaign_control_share = 0.10", "campaign_control_share = 0.0"),
        )
    }

    pub(crate) fn decide(&self, facts: &Facts, churn_prob: f64) -> Decision<'_> {
        self.decide_for("42", facts, &score(churn_prob))
    }

    pub(crate) fn decide_for(
        &self,
        customer_id: &str,
        facts: &Facts,
        score: &Score,
    ) -> Decision<'_> {
        let context = Context {
            customer_id,
            facts,
            tier_cuts: Some(CUTS),
            salts: &self.salts,
            hour_of_day: None,
            trace: false,
        };
        decide(&self.policy, score, &context)
    }
}

pub(crate) fn why(decision: &Decision<'_>) -> Option<Why> {
    decision.suppression.map(|suppression| suppression.reason)
}

/// A current repeat buyer in the middle of everything.
pub(crate) fn buyer() -> Facts {
    Facts {
        has_email: true,
        orders: 3,
        visits: 20,
        days_since_order: Some(40.0),
        rfm: Rfm { r: Some(3), f: Some(3), m: Some(3), v: Some(3) },
        lapse: Some(Lapse::Current),
        silence_prob: Some(0.5),
        days_inactive: Some(5.0),
        ..Facts::default()
    }
}

/// A small generator for test data: xorshift64*.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn one<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }

    pub(crate) fn maybe<T>(
        &mut self,
        percent: u64,
        value: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        self.chance(percent).then(|| value(self))
    }

    pub(crate) fn number(&mut self, max: u64) -> f64 {
        self.below(max * 4 + 1) as f64 / 4.0
    }

    pub(crate) fn fifth(&mut self) -> Option<u8> {
        self.maybe(95, |dice| 1 + u8::try_from(dice.below(5)).unwrap())
    }
}

pub(crate) fn random_channels(dice: &mut Dice) -> [ChannelFacts; 8] {
    std::array::from_fn(|_| {
        let delivered = u32::try_from(dice.below(12)).unwrap();
        ChannelFacts {
            consent: dice.maybe(50, |dice| dice.chance(60)),
            reachable: dice.maybe(50, |dice| dice.chance(80)),
            messages_7d: if dice.chance(75) { 0 } else { u32::try_from(dice.below(4)).unwrap() },
            messages_28d: u32::try_from(dice.below(5)).unwrap(),
            hours_since_message: dice.maybe(40, |dice| dice.number(200)),
            delivered,
            opened: u32::try_from(dice.below(u64::from(delivered) + 2)).unwrap(),
            clicked: u32::try_from(dice.below(u64::from(delivered) + 2)).unwrap(),
        }
    })
}

/// Any customer: buyers and visitors, with facts missing at random.
pub(crate) fn random_facts(dice: &mut Dice, campaigns: &[Name]) -> Facts {
    let orders = if dice.chance(25) { 0 } else { 1 + u32::try_from(dice.below(6)).unwrap() };
    let buys = orders > 0;
    let heartbeats = [Heartbeat::NoData, Heartbeat::Steady, Heartbeat::Rise, Heartbeat::Drop];
    let rfm = Rfm { r: dice.fifth(), f: dice.fifth(), m: dice.fifth(), v: dice.fifth() };
    let contacts = (0..dice.below(4))
        .map(|_| CampaignContact {
            campaign: campaigns[usize::try_from(dice.below(campaigns.len() as u64)).unwrap()]
                .clone(),
            days: dice.number(120),
        })
        .collect();
    Facts {
        has_email: dice.chance(60),
        do_not_contact: dice.chance(5),
        b2b: dice.chance(20),
        persona: dice.maybe(20, |_| name("family")),
        tags: if dice.chance(10) { vec![name("vip")] } else { Vec::new() },
        channels: random_channels(dice),
        orders,
        days_since_order: if buys { dice.maybe(95, |dice| dice.number(60)) } else { None },
        rfm: if buys { rfm } else { Rfm::default() },
        lapse: if buys { dice.maybe(95, |dice| dice.one(&Lapse::ALL)) } else { None },
        silence_prob: None,
        avg_order_value: dice.maybe(80, |dice| dice.number(300)),
        discount_share: dice.maybe(60, |dice| dice.number(4) / 4.0),
        expected_gap_days: dice.maybe(60, |dice| dice.number(90)),
        replenish_due_ratio: dice.maybe(20, |dice| dice.number(3)),
        top_category: dice.maybe(30, |_| name("coffee")),
        cart_abandoned_hours: dice.maybe(10, |dice| dice.number(100)),
        visits: u32::try_from(dice.below(6)).unwrap(),
        days_inactive: dice.maybe(70, |dice| dice.number(60)),
        hb_orders: dice.maybe(60, |dice| dice.one(&heartbeats)),
        hb_activity: dice.maybe(60, |dice| dice.one(&heartbeats)),
        hb_spend: dice.maybe(60, |dice| dice.one(&heartbeats)),
        beats: None,
        breadth: dice.maybe(60, |dice| dice.number(4) / 4.0),
        sticky_gap: dice.maybe(40, |dice| dice.chance(50)),
        target_activity: dice.maybe(30, |_| name("watch_list")),
        device_breadth: None,
        achievement_new: dice.chance(15),
        has_updates: dice.chance(15),
        complaint_serious_90d: u32::from(dice.chance(6)),
        open_tickets: u32::from(dice.chance(12)),
        open_critical: u32::from(dice.chance(4)),
        nps_last: dice.maybe(40, |dice| u8::try_from(dice.below(11)).unwrap()),
        nps_age_days: dice.maybe(40, |dice| dice.number(300)),
        csat_last: None,
        support_wait_hours: None,
        resolved_within_sla: None,
        tenure_days: dice.maybe(80, |dice| dice.number(900)),
        loyalty_member: dice.maybe(60, |dice| dice.chance(50)),
        spend_milestone: dice.chance(10),
        referrals: 0,
        contact_people: dice.maybe(50, |dice| u32::try_from(dice.below(4)).unwrap()),
        csm_changed_days: dice.maybe(30, |dice| dice.number(100)),
        days_since_contact: dice.maybe(50, |dice| dice.number(40)),
        campaign_contacts: contacts,
        facts_age_hours: dice.maybe(30, |dice| dice.number(100)),
    }
}

pub(crate) fn random_score(dice: &mut Dice) -> Score {
    let mut score = score(dice.number(25) / 25.0);
    score.churn_prob = score.churn_prob.filter(|_| dice.chance(95));
    score.clv = score.clv.filter(|_| dice.chance(90));
    if let Some(clv) = &mut score.clv {
        clv.percentile = dice.number(25) / 25.0;
        clv.mean = dice.number(500);
    }
    score.out_of_distribution = dice.chance(3);
    score
}

/// The default policy with its example costs switched on.
pub(crate) fn with_costs() -> String {
    let text = Policy::default_text().replace("\r\n", "\n");
    let margin = "clv_basis = \"margin\"\nmargin_share = 0.4";
    text.replace("#| ", "").replace("#|\n", "\n").replace("clv_basis = \"revenue\"", margin)
}

/// The default policy that chooses by expected value.
pub(crate) fn by_value() -> String {
    with_costs().replace("mode = \"priority\"", "mode = \"expected_value\"")
}
