//! Labels: what a customer did after an instant. The only room that looks forward.
//!
//! In: a customer's events in time order, the instant, a horizon and the end of what was
//! observed. Out: whether the customer bought in `[as_of, as_of + horizon)`, how often and for
//! how much. A window that is not complete is censored, never shortened (invariant L-1).

use crate::domain::{AsOf, Day, Days, Money};
use crate::events::{Event, EventKind};

/// What counts as staying, beside a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StayRule {
    /// Only a purchase.
    #[default]
    Purchase,
    /// A purchase, or use of the product, site or app.
    PurchaseOrActivity,
}

/// What a customer did in the window after an instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Label {
    /// The window was observed in full.
    Complete(Outcome),
    /// The window ends after the last observed day: nothing can be said.
    Censored,
}

/// What was seen in a complete window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Nothing that counts as staying happened.
    pub churned: bool,
    /// Days with a purchase.
    pub purchase_days: u32,
    /// Spend less refunds.
    pub spend: Money,
}

/// Labels one customer as of an instant. `events` are in time order; `last_observed` is the last
/// day of which the log is complete.
#[must_use]
pub fn label(
    events: &[Event],
    as_of: AsOf,
    horizon: Days,
    last_observed: Day,
    rule: StayRule,
) -> Label {
    let last_day = as_of.last_day().plus(horizon.as_i32());
    if last_day > last_observed {
        return Label::Censored;
    }
    let from = events.partition_point(|event| event.time < as_of.instant());
    let mut outcome = Outcome { churned: true, purchase_days: 0, spend: Money::ZERO };
    let mut day_before = None;
    for event in events[from..].iter().take_while(|event| event.day <= last_day) {
        match &event.kind {
            EventKind::Purchase(purchase) => {
                outcome.churned = false;
                outcome.spend += purchase.amount;
                if day_before != Some(event.day) {
                    outcome.purchase_days += 1;
                    day_before = Some(event.day);
                }
            }
            EventKind::Refund(refund) => outcome.spend += -refund.amount,
            EventKind::Activity(_) if rule == StayRule::PurchaseOrActivity => {
                outcome.churned = false;
            }
            EventKind::Activity(_)
            | EventKind::Contact(_)
            | EventKind::Feedback(_)
            | EventKind::Profile(_)
            | EventKind::Cart(_) => {}
        }
    }
    Label::Complete(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Currency, CustomerId, EventId, Timestamp, Zone};
    use crate::events::{Purchase, Refund};

    fn event(day: i32, kind: EventKind) -> Event {
        let time = Timestamp::from_micros(i64::from(day) * 86_400_000_000);
        Event {
            customer: CustomerId::try_new("c").unwrap(),
            id: EventId::from_bits(day.unsigned_abs().into()),
            time,
            day: Zone::UTC.day_of(time),
            kind,
        }
    }

    fn purchase(day: i32, units: i64) -> Event {
        event(
            day,
            EventKind::Purchase(Purchase {
                amount: Money::from_micros(units * 1_000_000),
                currency: Currency::NONE,
                items: 1,
                category: None,
                sales_channel: None,
                discount: Money::ZERO,
            }),
        )
    }

    fn check(events: &[Event], last_day: i32, observed: i32) -> Label {
        let as_of = AsOf::end_of(Day::from_number(last_day), &Zone::UTC);
        let horizon = Days::try_new(10).unwrap();
        label(events, as_of, horizon, Day::from_number(observed), StayRule::Purchase)
    }

    fn complete(churned: bool, purchase_days: u32, units: i64) -> Label {
        let spend = Money::from_micros(units * 1_000_000);
        Label::Complete(Outcome { churned, purchase_days, spend })
    }

    #[test]
    fn the_window_begins_after_as_of_and_ends_with_its_last_day() {
        for (day, expected) in [
            (100, complete(true, 0, 0)),
            (101, complete(false, 1, 5)),
            (110, complete(false, 1, 5)),
            (111, complete(true, 0, 0)),
        ] {
            assert_eq!(check(&[purchase(day, 5)], 100, 200), expected, "day {day}");
        }
    }

    #[test]
    fn l_1_an_incomplete_window_is_censored() {
        assert_eq!(check(&[purchase(105, 5)], 100, 109), Label::Censored);
        assert_eq!(check(&[purchase(105, 5)], 100, 110), complete(false, 1, 5));
    }

    #[test]
    fn refunds_lower_spend_and_do_not_keep_a_customer() {
        let refund = EventKind::Refund(Refund {
            amount: Money::from_micros(2_000_000),
            currency: Currency::NONE,
        });
        assert_eq!(check(&[event(105, refund.clone())], 100, 200), complete(true, 0, -2));
        let both = [purchase(103, 5), event(105, refund)];
        assert_eq!(check(&both, 100, 200), complete(false, 1, 3));
    }

    #[test]
    fn a_purchase_of_nothing_is_a_purchase() {
        assert_eq!(check(&[purchase(103, 0)], 100, 200), complete(false, 1, 0));
    }
}
