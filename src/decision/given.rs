//! Facts that a caller hands over ready-made, from a column of a table or a field of a request.
//!
//! In: a fact and a raw cell. Out: the fact set in [`Facts`], or what the cell should have held. A
//! missing cell leaves the fact as it was: unknown. What the models or the policy work out
//! themselves cannot be given.

use crate::decision::fact::Fact;
use crate::decision::fact::FactKind;
use crate::decision::facts::Facts;
use crate::decision::facts::Heartbeat;
use crate::decision::lapse::Lapse;
use crate::domain::Channel;
use crate::domain::Name;
use crate::events::RawValue;
use crate::model::flag_of;
use crate::model::level_of;
use crate::model::number_of;

/// Worked out by the models or the policy.
const DERIVED: [Fact; 15] = [
    Fact::StageOf,
    Fact::ChurnProb,
    Fact::ClvMean,
    Fact::ClvP10,
    Fact::ClvP50,
    Fact::ClvP90,
    Fact::ClvPercentile,
    Fact::ModelTier,
    Fact::OutOfDistribution,
    Fact::SegmentOf,
    Fact::Risk,
    Fact::HbOrdersProb,
    Fact::HbOrdersWindow,
    Fact::HbActivityProb,
    Fact::HbActivityWindow,
];
/// Separates names and channels in one cell.
const SEPARATOR: char = '|';

impl Fact {
    /// Whether a caller may give it: it is worked out by nobody else.
    #[must_use]
    pub fn is_given(self) -> bool {
        !DERIVED.contains(&self)
    }
}

/// What a cell should have held.
type Wanted = &'static str;

impl Facts {
    /// Sets one fact from a cell; a missing cell changes nothing.
    ///
    /// # Errors
    /// What the fact takes, where the cell is something else or the fact is none to be given.
    pub fn give(&mut self, fact: Fact, cell: &RawValue<'_>) -> Result<(), Wanted> {
        if !fact.is_given() {
            return Err("nothing: it is worked out, not given");
        }
        match fact.kind() {
            FactKind::Number { min, max } => {
                let Some(number) = number_of(cell).map_err(|()| "a number")? else { return Ok(()) };
                if !(min..=max).contains(&number) {
                    return Err("a number in its range");
                }
                self.give_number(fact, number)
            }
            FactKind::Flag => {
                let Some(flag) = flag_of(cell).map_err(|()| "true or false")? else {
                    return Ok(());
                };
                self.give_flag(fact, flag);
                Ok(())
            }
            FactKind::OneOf(_) | FactKind::Channels | FactKind::Name | FactKind::Names => {
                let Some(text) = level_of(cell).map_err(|()| "a text")? else { return Ok(()) };
                self.give_text(fact, &text)
            }
        }
    }

    fn give_number(&mut self, fact: Fact, number: f64) -> Result<(), Wanted> {
        let count = || -> Result<u32, Wanted> {
            if number.fract().abs() > 0.0 || number > f64::from(u32::MAX) {
                return Err("a whole number");
            }
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole, at least 0 by the fact's range, at most u32::MAX"
            )]
            let count = number as u32;
            Ok(count)
        };
        let small = || Ok::<_, Wanted>(u8::try_from(count()?).unwrap_or(u8::MAX));
        match fact {
            Fact::Orders => self.orders = count()?,
            Fact::R => self.rfm.r = Some(small()?),
            Fact::F => self.rfm.f = Some(small()?),
            Fact::M => self.rfm.m = Some(small()?),
            Fact::V => self.rfm.v = Some(small()?),
            Fact::Visits => self.visits = count()?,
            Fact::DeviceBreadth => self.device_breadth = Some(count()?),
            Fact::ComplaintSerious90d => self.complaint_serious_90d = count()?,
            Fact::OpenTickets => self.open_tickets = count()?,
            Fact::OpenCritical => self.open_critical = count()?,
            Fact::NpsLast => self.nps_last = Some(small()?),
            Fact::Referrals => self.referrals = count()?,
            Fact::ContactPeople => self.contact_people = Some(count()?),
            // The sum over all channels; by which of them is not said.
            Fact::Messages7d => self.channels[Channel::Email.index()].messages_7d = count()?,
            Fact::DaysSinceOrder => self.days_since_order = Some(number),
            Fact::SilenceProb => self.silence_prob = Some(number),
            Fact::AvgOrderValue => self.avg_order_value = Some(number),
            Fact::DiscountShare => self.discount_share = Some(number),
            Fact::ExpectedGapDays => self.expected_gap_days = Some(number),
            Fact::ReplenishDueRatio => self.replenish_due_ratio = Some(number),
            Fact::CartAbandonedHours => self.cart_abandoned_hours = Some(number),
            Fact::DaysInactive => self.days_inactive = Some(number),
            Fact::Breadth => self.breadth = Some(number),
            Fact::NpsAgeDays => self.nps_age_days = Some(number),
            Fact::CsatLast => self.csat_last = Some(number),
            Fact::SupportWaitHours => self.support_wait_hours = Some(number),
            Fact::TenureDays => self.tenure_days = Some(number),
            Fact::CsmChangedDays => self.csm_changed_days = Some(number),
            Fact::DaysSinceContact => self.days_since_contact = Some(number),
            Fact::FactsAgeHours => self.facts_age_hours = Some(number),
            _ => return Err("nothing: no column can give it"),
        }
        Ok(())
    }

    const fn give_flag(&mut self, fact: Fact, flag: bool) {
        match fact {
            Fact::HasEmail => self.has_email = flag,
            Fact::DoNotContact => self.do_not_contact = flag,
            Fact::B2b => self.b2b = flag,
            Fact::StickyGap => self.sticky_gap = Some(flag),
            Fact::AchievementNew => self.achievement_new = flag,
            Fact::HasUpdates => self.has_updates = flag,
            Fact::ResolvedWithinSla => self.resolved_within_sla = Some(flag),
            Fact::LoyaltyMember => self.loyalty_member = Some(flag),
            Fact::SpendMilestone => self.spend_milestone = flag,
            _ => {}
        }
    }

    fn give_text(&mut self, fact: Fact, text: &str) -> Result<(), Wanted> {
        let name = |text: &str| Name::try_new(text).map_err(|_| "a name");
        match fact {
            Fact::Persona => self.persona = Some(name(text)?),
            Fact::TopCategory => self.top_category = Some(name(text)?),
            Fact::TargetActivity => self.target_activity = Some(name(text)?),
            Fact::Tags => {
                let parts = text.split(SEPARATOR).map(str::trim).filter(|part| !part.is_empty());
                self.tags = parts.map(name).collect::<Result<_, _>>()?;
            }
            Fact::Reachable => self.give_channels(text)?,
            Fact::LapseState => {
                let states = [Lapse::Current, Lapse::Slipping, Lapse::Lapsed];
                let found = states.into_iter().find(|state| state.as_str() == text);
                self.lapse = Some(found.ok_or("current, slipping or lapsed")?);
            }
            Fact::HbOrders => self.hb_orders = Some(heartbeat(text)?),
            Fact::HbActivity => self.hb_activity = Some(heartbeat(text)?),
            Fact::HbSpend => self.hb_spend = Some(heartbeat(text)?),
            _ => return Err("nothing: no column can give it"),
        }
        Ok(())
    }

    /// The channels named reach the customer, the others do not.
    fn give_channels(&mut self, text: &str) -> Result<(), Wanted> {
        let mut named = [false; Channel::ALL.len()];
        for part in text.split(SEPARATOR).map(str::trim).filter(|part| !part.is_empty()) {
            let found = Channel::ALL.into_iter().find(|channel| channel.as_str() == part);
            named[found.ok_or("channels such as email|push")?.index()] = true;
        }
        for channel in Channel::ALL {
            self.channels[channel.index()].reachable = Some(named[channel.index()]);
        }
        Ok(())
    }
}

fn heartbeat(text: &str) -> Result<Heartbeat, Wanted> {
    let found = Heartbeat::ALL.into_iter().find(|state| state.as_str() == text);
    found.ok_or("no_data, steady, rise or drop")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::fact::View;
    use crate::model::Score;

    /// A cell that is right for a fact.
    fn sample(fact: Fact) -> RawValue<'static> {
        match (fact, fact.kind()) {
            (_, FactKind::Number { .. }) => RawValue::Number(1.0),
            (_, FactKind::Flag) => RawValue::text("yes"),
            (_, FactKind::OneOf(names)) => RawValue::text(names[1]),
            (_, FactKind::Channels) => RawValue::text("email | sms"),
            (_, FactKind::Name | FactKind::Names) => RawValue::text("gold"),
        }
    }

    #[test]
    fn every_fact_is_given_or_worked_out() {
        let score = Score {
            churn_prob: None,
            churn_horizon_days: 0,
            churn_by_horizon: Vec::new(),
            clv: None,
            expected_purchases: None,
            p_alive: None,
            out_of_distribution: false,
        };
        for &fact in Fact::ALL {
            let mut facts = Facts::default();
            let given = facts.give(fact, &sample(fact));
            assert_eq!(given.is_ok(), fact.is_given(), "{}: {given:?}", fact.as_str());
            if given.is_ok() {
                assert_ne!(facts, Facts::default(), "{} changes nothing", fact.as_str());
                let view = View::new(&facts, &score, 0);
                let is_name = !view.names(fact).is_empty();
                assert!(is_name || !view.number(fact).is_nan(), "{}", fact.as_str());
            }
            let mut untouched = Facts::default();
            if fact.is_given() {
                untouched.give(fact, &RawValue::Missing).unwrap();
                assert_eq!(untouched, Facts::default());
                assert!(untouched.give(fact, &RawValue::List(Vec::new())).is_err());
            }
        }
    }

    #[test]
    fn cells_out_of_range_are_refused() {
        let mut facts = Facts::default();
        for (fact, cell) in [
            (Fact::NpsLast, RawValue::Number(11.0)),
            (Fact::R, RawValue::Number(0.0)),
            (Fact::Orders, RawValue::Number(1.5)),
            (Fact::Orders, RawValue::Number(-1.0)),
            (Fact::LapseState, RawValue::text("gone")),
            (Fact::Reachable, RawValue::text("email|pigeon")),
            (Fact::HasEmail, RawValue::Number(3.0)),
        ] {
            assert!(facts.give(fact, &cell).is_err(), "{} {cell:?}", fact.as_str());
        }
        facts.give(Fact::Reachable, &RawValue::text("email|sms")).unwrap();
        assert_eq!(facts.channel(Channel::Sms).reachable, Some(true));
        assert_eq!(facts.channel(Channel::Push).reachable, Some(false));
    }
}
