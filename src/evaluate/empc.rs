//! What a retention campaign that follows a score earns: the maximum profit criterion.
//!
//! In: churn scores, who left, and what a campaign costs. Out: profit a customer of the base at
//! the best share to contact, for a known acceptance rate (MPC) or in expectation over an
//! uncertain one (EMPC), and that share.
//! It deliberately knows no campaign of ours: costs are arguments.
//!
//! Verbraken, Verbeke and Baesens (2013), "A novel profit maximizing metric for measuring
//! classification performance of customer churn prediction models", IEEE TKDE 25(5).

use statrs::function::beta::beta_reg;

use super::error::{MetricError, check_classes, check_finite, check_length};
use super::ties::Ranked;

/// What contacting a customer costs and keeping one is worth. All in one unit of money.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetentionCosts {
    /// Value of a customer who is kept, > 0.
    pub clv: f64,
    /// Cost of the incentive, paid when it is accepted, in [0, `clv`).
    pub incentive_cost: f64,
    /// Cost of contacting one customer, >= 0.
    pub contact_cost: f64,
    /// First parameter of the Beta distribution of the share of leavers who accept, > 0.
    pub accept_alpha: f64,
    /// Second parameter, > 0.
    pub accept_beta: f64,
}

impl Default for RetentionCosts {
    /// The values of the paper: 200, 10 and 1 money units and Beta(6, 14), mean 0.3.
    fn default() -> Self {
        Self {
            clv: 200.0,
            incentive_cost: 10.0,
            contact_cost: 1.0,
            accept_alpha: 6.0,
            accept_beta: 14.0,
        }
    }
}

/// The best that can be earned, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CampaignProfit {
    /// Profit a customer of the whole base, >= 0: contacting nobody earns 0.
    pub profit_per_customer: f64,
    /// Share of the base to contact, highest scores first, in [0, 1] (its mean for EMPC).
    pub contact_share: f64,
}

/// Maximum profit for a known share `accept_rate` (in [0, 1]) of leavers who accept.
///
/// # Errors
/// [`MetricError`] `Empty`, `Length`, `Number`, `OneClass`, `Parameter`.
pub fn mpc(
    score: &[f64],
    churned: &[bool],
    costs: &RetentionCosts,
    accept_rate: f64,
) -> Result<CampaignProfit, MetricError> {
    check_costs(costs)?;
    if !(0.0..=1.0).contains(&accept_rate) {
        let wanted = "in [0, 1]";
        return Err(MetricError::Parameter {
            parameter: "accept_rate",
            found: accept_rate,
            wanted,
        });
    }
    let roc = Roc::new(score, churned)?;
    let terms = Terms::new(costs, roc.churn_share);
    let none = CampaignProfit { profit_per_customer: 0.0, contact_share: 0.0 };
    Ok(roc.hull.iter().fold(none, |best, point| {
        let profit_per_customer = terms.gain * accept_rate * point.left - terms.cost(*point);
        if profit_per_customer > best.profit_per_customer {
            CampaignProfit { profit_per_customer, contact_share: roc.contacted(*point) }
        } else {
            best
        }
    }))
}

/// Expected maximum profit over the Beta distributed share of leavers who accept: for each share
/// the best point of the convex hull of the ROC curve, integrated in closed form.
///
/// # Errors
/// [`MetricError`] `Empty`, `Length`, `Number`, `OneClass`, `Parameter`.
pub fn empc(
    score: &[f64],
    churned: &[bool],
    costs: &RetentionCosts,
) -> Result<CampaignProfit, MetricError> {
    check_costs(costs)?;
    let roc = Roc::new(score, churned)?;
    let terms = Terms::new(costs, roc.churn_share);
    let RetentionCosts { accept_alpha: a, accept_beta: b, .. } = *costs;
    let mass = |a: f64, at: f64| if at >= 1.0 { 1.0 } else { beta_reg(a, b, at.max(0.0)) };
    let mut total = CampaignProfit { profit_per_customer: 0.0, contact_share: 0.0 };
    let mut from = 0.0_f64;
    for (at, point) in roc.hull.iter().enumerate() {
        // The point is best from where the step before it pays to where the step after it does.
        let upto =
            roc.hull.get(at + 1).map_or(1.0, |next| terms.accept_rate_between(*point, *next));
        let upto = upto.clamp(from, 1.0);
        if upto > from {
            let prob = mass(a, upto) - mass(a, from);
            let mean = a / (a + b) * (mass(a + 1.0, upto) - mass(a + 1.0, from));
            total.profit_per_customer += terms.gain * point.left * mean - terms.cost(*point) * prob;
            total.contact_share += roc.contacted(*point) * prob;
        }
        from = upto;
    }
    Ok(total)
}

fn check_costs(costs: &RetentionCosts) -> Result<(), MetricError> {
    let RetentionCosts { clv, incentive_cost, contact_cost, accept_alpha, accept_beta } = *costs;
    let positive = "finite and above 0";
    let refuse =
        |parameter, found, wanted| Err(MetricError::Parameter { parameter, found, wanted });
    for (parameter, found) in
        [("clv", clv), ("accept_alpha", accept_alpha), ("accept_beta", accept_beta)]
    {
        if !(found.is_finite() && found > 0.0) {
            return refuse(parameter, found, positive);
        }
    }
    if !(contact_cost.is_finite() && contact_cost >= 0.0) {
        return refuse("contact_cost", contact_cost, "finite and at least 0");
    }
    if !(incentive_cost >= 0.0 && incentive_cost < clv) {
        return refuse("incentive_cost", incentive_cost, "at least 0 and below clv");
    }
    Ok(())
}

/// A point of the ROC curve: the shares of leavers and of stayers that are contacted.
#[derive(Debug, Clone, Copy)]
struct Point {
    left: f64,
    stayed: f64,
}

/// The convex hull of the ROC curve, from nobody to everybody.
struct Roc {
    hull: Vec<Point>,
    churn_share: f64,
}

impl Roc {
    #[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
    fn new(score: &[f64], churned: &[bool]) -> Result<Self, MetricError> {
        check_length("score", churned.len(), score.len())?;
        check_finite("score", score)?;
        let n_left = check_classes(churned)?;
        let n_stayed = churned.len() - n_left;
        let mut hull = vec![Point { left: 0.0, stayed: 0.0 }];
        let (mut left, mut stayed) = (0_usize, 0_usize);
        for (_, rows) in Ranked::descending(score).groups() {
            let hits = rows.iter().filter(|&&row| churned[row]).count();
            left += hits;
            stayed += rows.len() - hits;
            let point = Point {
                left: left as f64 / n_left as f64,
                stayed: stayed as f64 / n_stayed as f64,
            };
            while let [.., before, last] = hull.as_slice()
                && is_below(*before, *last, point)
            {
                hull.pop();
            }
            hull.push(point);
        }
        Ok(Self { hull, churn_share: n_left as f64 / churned.len() as f64 })
    }

    /// Share of the base that is contacted at a point.
    fn contacted(&self, point: Point) -> f64 {
        self.churn_share * point.left + (1.0 - self.churn_share) * point.stayed
    }
}

/// Whether the middle point lies on or below the line between the other two.
fn is_below(before: Point, middle: Point, after: Point) -> bool {
    (middle.left - before.left) * (after.stayed - middle.stayed)
        <= (after.left - middle.left) * (middle.stayed - before.stayed)
}

/// What the shares of a point of the curve earn and cost, a customer of the base.
struct Terms {
    /// Times accept rate times share of leavers contacted: what those who are kept bring.
    gain: f64,
    /// Of all leavers, being contacted.
    cost_left: f64,
    /// Of all stayers, being contacted: they take the incentive with them.
    cost_stayed: f64,
}

impl Terms {
    fn new(costs: &RetentionCosts, churn_share: f64) -> Self {
        let RetentionCosts { clv, incentive_cost, contact_cost, .. } = *costs;
        Self {
            gain: (clv - incentive_cost) * churn_share,
            cost_left: contact_cost * churn_share,
            cost_stayed: (incentive_cost + contact_cost) * (1.0 - churn_share),
        }
    }

    fn cost(&self, point: Point) -> f64 {
        self.cost_left * point.left + self.cost_stayed * point.stayed
    }

    /// The accept rate at which two points earn the same; infinite where the second brings no
    /// leaver more.
    fn accept_rate_between(&self, point: Point, next: Point) -> f64 {
        let more = next.left - point.left;
        if more > 0.0 {
            (self.cost(next) - self.cost(point)) / (self.gain * more)
        } else {
            f64::INFINITY
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> (Vec<f64>, Vec<bool>, f64, f64) {
        let text = include_str!("../../tests/golden/reference/profit.json");
        let golden: serde_json::Value = serde_json::from_str(text).unwrap();
        let list = |name: &str| -> Vec<f64> {
            golden[name].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
        };
        let churned = list("churn").iter().map(|&y| y > 0.5).collect();
        let number = |name: &str| golden[name].as_f64().unwrap();
        (list("score"), churned, number("empc_defaults"), number("mpc_defaults"))
    }

    #[test]
    fn both_criteria_equal_the_reference_implementation() {
        let (score, churned, empc_wanted, mpc_wanted) = golden();
        let costs = RetentionCosts::default();
        let found = empc(&score, &churned, &costs).unwrap();
        assert!((found.profit_per_customer - empc_wanted).abs() < 1e-9, "{found:?}");
        let found = mpc(&score, &churned, &costs, 0.3).unwrap();
        assert!((found.profit_per_customer - mpc_wanted).abs() < 1e-9, "{found:?}");
        assert!(found.contact_share > 0.0 && found.contact_share <= 1.0);
    }

    #[test]
    fn a_better_order_earns_more_and_a_hopeless_campaign_nothing() {
        let (score, churned, ..) = golden();
        let costs = RetentionCosts::default();
        let perfect: Vec<f64> = churned.iter().map(|&yes| f64::from(u8::from(yes))).collect();
        let best = empc(&perfect, &churned, &costs).unwrap();
        let found = empc(&score, &churned, &costs).unwrap();
        assert!(best.profit_per_customer > found.profit_per_customer);
        // With certain knowledge exactly the leavers are contacted, so the closed form is short.
        let churn_share = perfect.iter().sum::<f64>() / perfect.len() as f64;
        let wanted = churn_share * (190.0 * 0.3 - 1.0);
        assert!((best.profit_per_customer - wanted).abs() < 0.05, "{best:?}, {wanted}");
        let dear = RetentionCosts { contact_cost: 500.0, ..costs };
        let found = empc(&score, &churned, &dear).unwrap();
        assert!(found.profit_per_customer.abs() < 1e-12 && found.contact_share.abs() < 1e-12);
    }

    #[test]
    fn senseless_costs_and_rows_are_refused() {
        let costs = RetentionCosts::default();
        let (score, churned) = ([0.2, 0.9], [false, true]);
        for bad in [
            RetentionCosts { clv: 0.0, ..costs },
            RetentionCosts { clv: f64::NAN, ..costs },
            RetentionCosts { incentive_cost: 200.0, ..costs },
            RetentionCosts { contact_cost: -1.0, ..costs },
            RetentionCosts { accept_beta: 0.0, ..costs },
        ] {
            let found = empc(&score, &churned, &bad);
            assert!(matches!(found, Err(MetricError::Parameter { .. })), "{bad:?}");
        }
        assert!(mpc(&score, &churned, &costs, 1.5).is_err());
        assert!(matches!(empc(&score, &[true, true], &costs), Err(MetricError::OneClass { .. })));
        assert!(matches!(empc(&[0.1], &churned, &costs), Err(MetricError::Length { .. })));
        assert!(empc(&[f64::NAN, 0.1], &churned, &costs).is_err());
    }
}
