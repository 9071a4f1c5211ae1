//! What a business offers and how long it lasts, learned from the base and frozen with the models:
//! against it a customer's breadth of use, the next replenishment and the activity to promote are
//! found.
//!
//! In: names with counts, gaps and verdicts worked out by the trainer. Out: small lists that are
//! looked up by hash. It deliberately holds nothing of any single customer.

use xxhash_rust::xxh3::xxh3_64;

use crate::domain::{Day, Name};
use crate::history::{Distinct, History};

/// Days in which a thing counts as in use.
const USE_DAYS: i32 = 90;
/// Names needed before a share of them says something.
const OFFERED_MIN: usize = 2;
/// Of several things at once, such as two categories, so many make the activity.
const KINDS_MIN: usize = 2;
/// A class of product is due between these times its life; past them the customer went elsewhere.
const DUE_RATIO_MAX: f64 = 2.0;
/// Purchases of a class that make it the customer's own.
const CLASS_ORDERS_MIN: u32 = 2;

/// Activities that follow from several events, by name.
pub const MULTI_CATEGORY: &str = "multi_category";
/// Use of a second device.
pub const SECOND_DEVICE: &str = "second_device";

/// How long a class of product lasts.
#[derive(Debug, Clone, PartialEq)]
pub struct CategoryLife {
    /// The category.
    pub category: Name,
    /// Median days between two purchases of it by one customer.
    pub gap_days_p50: f64,
}

/// What the base as a whole uses and buys.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OfferBase {
    activities: Vec<(u64, Name)>,
    categories: Vec<(u64, Name)>,
    lives: Vec<(u64, CategoryLife)>,
    /// Activities worth testing as a promotion, the strongest evidence first.
    pub sticky: Vec<Name>,
}

impl OfferBase {
    /// From the names that enough customers use or buy, the lives of categories and the
    /// activities worth a test, the best first.
    #[must_use]
    pub fn new(
        activities: Vec<Name>,
        categories: Vec<Name>,
        lives: Vec<CategoryLife>,
        sticky: Vec<Name>,
    ) -> Self {
        let lives = lives.into_iter().map(|life| (hash(&life.category), life));
        Self {
            activities: by_hash(activities.into_iter().map(|name| (hash(&name), name))),
            categories: by_hash(categories.into_iter().map(|name| (hash(&name), name))),
            lives: by_hash(lives.filter(|(_, life)| life.gap_days_p50 > 0.0)),
            sticky,
        }
    }

    /// The activities that enough customers use.
    pub fn activities(&self) -> impl Iterator<Item = &Name> {
        self.activities.iter().map(|(_, name)| name)
    }

    /// The categories that enough customers buy.
    pub fn categories(&self) -> impl Iterator<Item = &Name> {
        self.categories.iter().map(|(_, name)| name)
    }

    /// How long categories last, where known.
    pub fn lives(&self) -> impl Iterator<Item = &CategoryLife> {
        self.lives.iter().map(|(_, life)| life)
    }

    /// Share of what is offered that the customer used in 90 days, in [0, 1]: of the activities,
    /// or of the categories where the base has fewer than two activities; none where it has
    /// fewer than two of both. Of a customer with more names than are kept it is an estimate.
    #[must_use]
    pub fn breadth(&self, history: &History, last: Day) -> Option<f64> {
        if self.activities.len() >= OFFERED_MIN {
            return breadth(&self.activities, history.activities(), last);
        }
        if self.categories.len() >= OFFERED_MIN {
            return breadth(&self.categories, history.categories(), last);
        }
        None
    }

    /// Days since the customer last bought what they buy repeatedly, over how long it lasts: of
    /// several such categories the one closest to being overdue (at most 2), else the least
    /// overdue; none without such a category.
    #[must_use]
    pub fn due_ratio(&self, history: &History, last: Day) -> Option<f64> {
        if self.lives.is_empty() {
            return None;
        }
        let ratios = history.categories().kept().iter().filter_map(|usage| {
            if usage.count < CLASS_ORDERS_MIN {
                return None;
            }
            let at = self.lives.binary_search_by_key(&usage.hash(), |(hash, _)| *hash).ok()?;
            Some(f64::from(last.days_since(usage.last_day)) / self.lives[at].1.gap_days_p50)
        });
        let (mut due, mut overdue) = (None::<f64>, None::<f64>);
        for ratio in ratios {
            if ratio <= DUE_RATIO_MAX {
                due = Some(due.map_or(ratio, |held| held.max(ratio)));
            } else {
                overdue = Some(overdue.map_or(ratio, |held| held.min(ratio)));
            }
        }
        due.or(overdue)
    }
}

fn hash(name: &Name) -> u64 {
    xxh3_64(name.as_str().as_bytes())
}

fn by_hash<T>(items: impl Iterator<Item = (u64, T)>) -> Vec<(u64, T)> {
    let mut items: Vec<(u64, T)> = items.collect();
    items.sort_by_key(|(hash, _)| *hash);
    items.dedup_by_key(|(hash, _)| *hash);
    items
}

fn breadth(offered: &[(u64, Name)], used: &Distinct, last: Day) -> Option<f64> {
    // Where names were left out, only those up to the last kept hash could have been seen.
    let n_offered = match used.hash_bound() {
        None => offered.len(),
        Some(bound) => offered.partition_point(|(hash, _)| *hash <= bound),
    };
    if n_offered == 0 {
        return None;
    }
    let is_offered = |hash| offered.binary_search_by_key(&hash, |(hash, _)| *hash).is_ok();
    let n_used = used
        .kept()
        .iter()
        .filter(|usage| last.days_since(usage.last_day) < USE_DAYS && is_offered(usage.hash()))
        .count();
    Some(n_used as f64 / n_offered as f64)
}

/// Whether the customer does an activity regularly: on at least `days_28d_min` of 28 days, or,
/// for `multi_category` and `second_device`, with two categories or devices in 90 days.
#[must_use]
pub fn is_regular(history: &History, activity: &Name, last: Day, days_28d_min: u32) -> bool {
    let several = match activity.as_str() {
        MULTI_CATEGORY => Some(history.categories()),
        SECOND_DEVICE => Some(history.devices()),
        _ => None,
    };
    if several.is_some_and(|kinds| kinds.n_recent(last, USE_DAYS) >= KINDS_MIN) {
        return true;
    }
    let usage = history.activities().find(activity);
    usage.is_some_and(|usage| usage.days_used_28d(last) >= days_28d_min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Currency, CustomerId, EventId, Money, Timestamp, Zone};
    use crate::events::{Activity, Event, EventKind, Purchase};

    fn name(text: &str) -> Name {
        Name::try_new(text).unwrap()
    }

    fn event(day: i32, id: u128, kind: EventKind) -> Event {
        let time = Timestamp::from_micros(i64::from(day) * 86_400_000_000);
        Event {
            customer: CustomerId::try_new("c").unwrap(),
            id: EventId::from_bits(id),
            time,
            day: Zone::UTC.day_of(time),
            kind,
        }
    }

    fn used(day: i32, id: u128, activity: &str, device: &str) -> Event {
        let activity = Activity { name: name(activity), device: Some(name(device)) };
        event(day, id, EventKind::Activity(activity))
    }

    fn bought(day: i32, id: u128, category: &str) -> Event {
        let purchase = Purchase {
            amount: Money::from_micros(1_000_000),
            currency: Currency::NONE,
            items: 1,
            category: Some(name(category)),
            sales_channel: None,
            discount: Money::ZERO,
        };
        event(day, id, EventKind::Purchase(purchase))
    }

    fn fold(events: &[Event]) -> History {
        let mut history = History::default();
        for event in events {
            history.apply(event);
        }
        history
    }

    fn names(texts: &[&str]) -> Vec<Name> {
        texts.iter().map(|text| name(text)).collect()
    }

    #[test]
    fn breadth_is_the_share_of_what_is_offered_that_was_used_lately() {
        let last = Day::from_number(1000);
        let history = fold(&[
            used(800, 1, "search", "phone"),
            used(950, 2, "watch_list", "phone"),
            used(999, 3, "rare", "phone"),
            bought(990, 4, "food"),
        ]);
        let offer = OfferBase::new(
            names(&["search", "watch_list", "share", "rate"]),
            names(&["food", "toys"]),
            Vec::new(),
            Vec::new(),
        );
        assert_eq!(offer.breadth(&history, last), Some(0.25));
        let shop = OfferBase::new(Vec::new(), names(&["food", "toys"]), Vec::new(), Vec::new());
        assert_eq!(shop.breadth(&history, last), Some(0.5));
        assert_eq!(shop.breadth(&History::default(), last), Some(0.0));
        assert_eq!(OfferBase::default().breadth(&history, last), None);
    }

    #[test]
    fn a_class_is_due_by_the_life_it_has_in_the_base() {
        let lives = |pairs: &[(&str, f64)]| {
            pairs
                .iter()
                .map(|(text, gap)| CategoryLife { category: name(text), gap_days_p50: *gap })
                .collect()
        };
        let history = fold(&[
            bought(900, 1, "coffee"),
            bought(970, 2, "coffee"),
            bought(800, 3, "filter"),
            bought(900, 4, "filter"),
            bought(990, 5, "once"),
        ]);
        let last = Day::from_number(1000);
        let due =
            |pairs| OfferBase::new(vec![], vec![], lives(pairs), vec![]).due_ratio(&history, last);
        assert_eq!(due(&[("coffee", 30.0), ("once", 10.0)]), Some(1.0));
        assert_eq!(due(&[("coffee", 30.0), ("filter", 60.0)]), Some(100.0 / 60.0));
        assert_eq!(due(&[("coffee", 30.0), ("filter", 20.0)]), Some(1.0), "filter was given up");
        assert_eq!(due(&[("filter", 20.0)]), Some(5.0));
        assert_eq!(due(&[("once", 10.0)]), None);
    }

    #[test]
    fn regular_is_two_days_in_four_weeks_or_two_kinds_at_once() {
        let last = Day::from_number(1000);
        let history = fold(&[
            used(980, 1, "watch_list", "phone"),
            used(985, 2, "watch_list", "tablet"),
            used(985, 3, "share_social", "phone"),
            bought(990, 4, "food"),
        ]);
        let regular = |text| is_regular(&history, &name(text), last, 2);
        assert!(regular("watch_list") && regular("second_device"));
        assert!(!regular("share_social") && !regular("multi_category") && !regular("none"));
    }
}
