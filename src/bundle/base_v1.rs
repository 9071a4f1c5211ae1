//! `base.json`: what the base as a whole contributes to the facts of a customer.
//!
//! Lists are kept short by the trainer; what is read is checked, so that a damaged or hand-made
//! file gives an error and not a wrong fact.

use serde::{Deserialize, Serialize};

use crate::domain::{Day, Name};
use crate::features::{
    BaseStats, CategoryLife, DayCurve, HeartbeatBase, OfferBase, RhythmBase, SignalBase,
};

/// `base.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BaseV1 {
    heartbeat_orders: SignalV1,
    heartbeat_activity: SignalV1,
    /// Activities that enough customers use.
    activities: Vec<String>,
    /// Categories that enough customers buy.
    categories: Vec<String>,
    /// Categories that are bought again, with the median days between.
    category_gap_days: Vec<(String, f64)>,
    /// Activities worth testing as a promotion, the best first.
    sticky: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalV1 {
    /// 1 / shape of the negative binomial of weekly counts.
    dispersion: f64,
    /// First day of `rates`.
    first: String,
    /// Relative rate of the base by day.
    rates: Vec<f64>,
}

/// As a file.
pub(super) fn to_v1(base: &BaseStats) -> BaseV1 {
    let BaseStats { rhythm: _, heartbeat, offer } = base;
    let HeartbeatBase { orders, activity } = heartbeat;
    let texts = |name: &Name| name.as_str().to_owned();
    BaseV1 {
        heartbeat_orders: signal_v1(orders),
        heartbeat_activity: signal_v1(activity),
        activities: offer.activities().map(texts).collect(),
        categories: offer.categories().map(texts).collect(),
        category_gap_days: offer
            .lives()
            .map(|life| (texts(&life.category), life.gap_days_p50))
            .collect(),
        sticky: offer.sticky.iter().map(texts).collect(),
    }
}

fn signal_v1(signal: &SignalBase) -> SignalV1 {
    let (first, rates) = signal.curve.frozen();
    SignalV1 { dispersion: signal.dispersion, first: first.to_string(), rates: rates.to_vec() }
}

impl BaseV1 {
    /// The statistics, with the rhythm that is kept among the models.
    ///
    /// # Errors
    /// What is out of range.
    pub(super) fn into_base(self, rhythm: RhythmBase) -> Result<BaseStats, String> {
        let lives = self.category_gap_days.into_iter().map(|(category, gap_days_p50)| {
            if !(gap_days_p50 > 0.0 && gap_days_p50.is_finite()) {
                return Err(format!("the gap of {category:?} is {gap_days_p50}, not above 0"));
            }
            Ok(CategoryLife { category: name(&category)?, gap_days_p50 })
        });
        let offer = OfferBase::new(
            names(&self.activities)?,
            names(&self.categories)?,
            lives.collect::<Result<_, _>>()?,
            names(&self.sticky)?,
        );
        let heartbeat = HeartbeatBase {
            orders: self.heartbeat_orders.into_signal()?,
            activity: self.heartbeat_activity.into_signal()?,
        };
        Ok(BaseStats { rhythm, heartbeat, offer })
    }
}

impl SignalV1 {
    fn into_signal(self) -> Result<SignalBase, String> {
        if !(self.dispersion >= 0.0 && self.dispersion.is_finite()) {
            return Err(format!("a dispersion is {}, it must be 0 or more", self.dispersion));
        }
        let first = Day::parse(&self.first).map_err(|error| error.to_string())?;
        Ok(SignalBase { dispersion: self.dispersion, curve: DayCurve::new(first, &self.rates) })
    }
}

fn names(texts: &[String]) -> Result<Vec<Name>, String> {
    texts.iter().map(|text| name(text)).collect()
}

fn name(text: &str) -> Result<Name, String> {
    Name::try_new(text).map_err(|_| format!("{text:?} is no name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_comes_back_as_it_was_and_nonsense_is_refused() {
        let curve = DayCurve::new(Day::from_number(19_000), &[0.5, 1.0, 1.234]);
        let base = BaseStats {
            rhythm: RhythmBase::weak(),
            heartbeat: HeartbeatBase {
                orders: SignalBase { dispersion: 0.125, curve },
                activity: SignalBase::unknown(),
            },
            offer: OfferBase::new(
                vec![name("search").unwrap(), name("rate").unwrap()],
                vec![name("food").unwrap()],
                vec![CategoryLife { category: name("food").unwrap(), gap_days_p50: 30.5 }],
                vec![name("rate").unwrap()],
            ),
        };
        let text = serde_json::to_string(&to_v1(&base)).unwrap();
        let read: BaseV1 = serde_json::from_str(&text).unwrap();
        assert_eq!(read.into_base(base.rhythm).unwrap(), base);
        for (from, to) in [("0.125", "-1.0"), ("30.5", "0.0"), ("\"food\"", "\"\"")] {
            let broken: BaseV1 = serde_json::from_str(&text.replacen(from, to, 1)).unwrap();
            assert!(broken.into_base(base.rhythm).is_err(), "{from} as {to}");
        }
    }
}
