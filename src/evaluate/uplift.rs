//! Whether a score tells who responds to a treatment: uplift curves and their areas.
//!
//! In: outcomes, arms and a score of customers of a randomised experiment. Out: how much more the
//! treatment brings among those with a high score. Nobody is seen both treated and not, so all is
//! by groups: those down to a score, or a part of the base. Definitions are those of scikit-uplift
//! 0.5.1 (Qini after Radcliffe 2007, uplift curve after Gutierrez and Gerardy 2016), so that
//! numbers can be held side by side. Rows of equal score stay together on the curves.
//! It deliberately knows no campaign, and says nothing of why somebody responds.

use super::error::{MetricError, check_finite, check_length};

/// Customers of an experiment, one place a customer.
#[derive(Debug, Clone, Copy)]
pub struct Responses<'a> {
    /// What came: 0 or 1 for the areas, any finite number for the differences.
    pub outcome: &'a [f64],
    /// Whether the customer was treated, as assigned.
    pub treated: &'a [bool],
    /// The score that is judged: high ones are to respond most.
    pub score: &'a [f64],
}

/// What the best order that there can be is taken to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerfectOrder {
    /// Some are kept from it by the treatment: they come last.
    WithHarm,
    /// The treatment harms nobody.
    WithoutHarm,
}

/// What a part of the base is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartOf {
    /// Of all customers.
    All,
    /// Of each arm by itself.
    EachArm,
}

/// Sums over customers of one score, or of all down to it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Tally {
    treated: f64,
    treated_y: f64,
    control: f64,
    control_y: f64,
}

impl Tally {
    fn add(&mut self, outcome: f64, treated: bool) {
        if treated {
            self.treated += 1.0;
            self.treated_y += outcome;
        } else {
            self.control += 1.0;
            self.control_y += outcome;
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            treated: self.treated + other.treated,
            treated_y: self.treated_y + other.treated_y,
            control: self.control + other.control,
            control_y: self.control_y + other.control_y,
        }
    }

    fn n(&self) -> f64 {
        self.treated + self.control
    }

    /// Hits that treating brought, at the size of the treated arm.
    fn qini(&self) -> f64 {
        self.treated_y - self.control_y * over(self.treated, self.control)
    }

    /// Hits that treating all would have brought.
    fn uplift(&self) -> f64 {
        let difference = over(self.treated_y, self.treated) - over(self.control_y, self.control);
        difference * self.n()
    }
}

/// A share, 0 of nothing.
fn over(part: f64, of: f64) -> f64 {
    if of > 0.0 { part / of } else { 0.0 }
}

/// An experiment in the order of a score, ready to be judged many times.
#[derive(Debug, Clone)]
pub struct RankedResponses {
    outcome: Vec<f64>,
    treated: Vec<bool>,
    /// Of each customer: the place of the score among all different ones, highest first.
    group: Vec<usize>,
    n_groups: usize,
}

impl RankedResponses {
    /// Ranks customers by their score.
    ///
    /// # Errors
    /// [`MetricError::Length`], [`MetricError::Number`] for what is not finite,
    /// [`MetricError::Empty`] for an arm without customers.
    pub fn try_new(of: &Responses<'_>) -> Result<Self, MetricError> {
        let Responses { outcome, treated, score } = *of;
        check(of)?;
        let order = descending(score);
        let mut group = vec![0; score.len()];
        let mut n_groups = 0;
        for (at, &row) in order.iter().enumerate() {
            let is_new = at == 0 || score[order[at - 1]].total_cmp(&score[row]).is_ne();
            n_groups += usize::from(is_new);
            group[row] = n_groups - 1;
        }
        Ok(Self { outcome: outcome.to_vec(), treated: treated.to_vec(), group, n_groups })
    }

    /// The Qini coefficient: area between the Qini curve and that of a random order, over the same
    /// of the best order. 1 is best, 0 is no better than chance.
    ///
    /// # Errors
    /// [`MetricError::Number`] for an outcome other than 0 or 1, [`MetricError::Constant`] where
    /// even the best order is no better than a random one.
    pub fn qini(&self, perfect: PerfectOrder) -> Result<f64, MetricError> {
        self.check_binary()?;
        let all: Vec<usize> = (0..self.outcome.len()).collect();
        let constant = MetricError::Constant { what: "outcomes", n_rows: all.len() };
        self.qini_of(&all, perfect).ok_or(constant)
    }

    /// The same of rows drawn from it, as a bootstrap does; none where it is undefined.
    #[must_use]
    pub fn qini_of(&self, rows: &[usize], perfect: PerfectOrder) -> Option<f64> {
        let mut total = Tally::default();
        let mut groups = vec![Tally::default(); self.n_groups];
        for &row in rows {
            let (outcome, treated) = (self.outcome[row], self.treated[row]);
            groups[self.group[row]].add(outcome, treated);
            total.add(outcome, treated);
        }
        if total.treated < 1.0 || total.control < 1.0 {
            return None;
        }
        let curve = curve(groups, Tally::qini);
        normalised(&curve, &perfect_qini(total, perfect))
    }

    /// The uplift curve's area beyond that of a random order, over the same of the best order.
    ///
    /// # Errors
    /// As [`RankedResponses::qini`].
    pub fn auuc(&self) -> Result<f64, MetricError> {
        self.check_binary()?;
        let mut total = Tally::default();
        let mut groups = vec![Tally::default(); self.n_groups];
        for ((&outcome, &treated), &group) in
            self.outcome.iter().zip(&self.treated).zip(&self.group)
        {
            groups[group].add(outcome, treated);
            total.add(outcome, treated);
        }
        let curve = curve(groups, Tally::uplift);
        let constant = MetricError::Constant { what: "outcomes", n_rows: self.outcome.len() };
        normalised(&curve, &perfect_uplift(total)).ok_or(constant)
    }

    fn check_binary(&self) -> Result<(), MetricError> {
        let is_other = |y: &f64| y.to_bits() != 0 && y.to_bits() != 1.0_f64.to_bits();
        match self.outcome.iter().position(is_other) {
            None => Ok(()),
            Some(row) => {
                let (found, wanted) = (self.outcome[row], "0 or 1");
                Err(MetricError::Number { what: "outcomes", row, found, wanted })
            }
        }
    }
}

fn check(of: &Responses<'_>) -> Result<(), MetricError> {
    let Responses { outcome, treated, score } = *of;
    check_length("arms", outcome.len(), treated.len())?;
    check_length("scores", outcome.len(), score.len())?;
    check_finite("outcomes", outcome)?;
    check_finite("scores", score)?;
    if treated.iter().all(|one| *one) || !treated.iter().any(|one| *one) {
        return Err(MetricError::Empty);
    }
    Ok(())
}

/// Rows by falling score; of equal ones the later row first, as scikit-uplift has it.
fn descending(score: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..score.len()).collect();
    order.sort_by(|&a, &b| score[a].total_cmp(&score[b]));
    order.reverse();
    order
}

/// Points of a curve over the number of customers, from the origin on.
fn curve(groups: Vec<Tally>, height: fn(&Tally) -> f64) -> Vec<[f64; 2]> {
    let mut sum = Tally::default();
    let mut points = vec![[0.0, 0.0]];
    // A bootstrap draws some scores not at all.
    for group in groups.into_iter().filter(|group| group.n() > 0.0) {
        sum = sum.plus(group);
        points.push([sum.n(), height(&sum)]);
    }
    points
}

/// The best order for a Qini curve: treated hits, then misses, then hits of the control.
fn perfect_qini(total: Tally, perfect: PerfectOrder) -> Vec<[f64; 2]> {
    let Tally { treated, treated_y, control, control_y } = total;
    match perfect {
        PerfectOrder::WithHarm => {
            let first = Tally { treated: treated_y, treated_y, ..Tally::default() };
            let misses = Tally {
                treated: treated - treated_y,
                control: control - control_y,
                ..Tally::default()
            };
            let last = Tally { control: control_y, control_y, ..Tally::default() };
            curve(vec![first, misses, last], Tally::qini)
        }
        PerfectOrder::WithoutHarm => {
            let brought = total.qini();
            vec![[0.0, 0.0], [brought, brought], [total.n(), brought]]
        }
    }
}

/// The best order for an uplift curve, which depends on what is rarer: hits of the control or
/// misses of the treated.
fn perfect_uplift(total: Tally) -> Vec<[f64; 2]> {
    let Tally { treated, treated_y, control, control_y } = total;
    let hits = Tally { treated: treated_y, treated_y, ..Tally::default() };
    let control_hits = Tally { control: control_y, control_y, ..Tally::default() };
    let misses = Tally { treated: treated - treated_y, ..Tally::default() };
    let control_misses = Tally { control: control - control_y, ..Tally::default() };
    let groups = if control_y > treated - treated_y {
        vec![hits, control_misses, control_hits, misses]
    } else {
        vec![hits, control_misses, misses, control_hits]
    };
    curve(groups, Tally::uplift)
}

/// Area beyond that of the straight line to the last point, over the same of the best curve; none
/// where the best curve is no better than the line.
fn normalised(curve: &[[f64; 2]], perfect: &[[f64; 2]]) -> Option<f64> {
    let last = curve.last()?;
    let random = 0.5 * last[0] * last[1];
    let best = area(perfect) - random;
    let found = (area(curve) - random) / best;
    (best.abs() > 0.0 && found.is_finite()).then_some(found)
}

/// Area under straight lines between points.
fn area(points: &[[f64; 2]]) -> f64 {
    let of = |pair: &[[f64; 2]]| 0.5 * (pair[1][0] - pair[0][0]) * (pair[0][1] + pair[1][1]);
    points.windows(2).map(of).sum()
}

/// The difference between the arms among the customers of highest score.
///
/// # Errors
/// As [`RankedResponses::try_new`]; [`MetricError::Parameter`] for a share outside of (0, 1];
/// [`MetricError::Empty`] where no customer of an arm is among them.
pub fn uplift_at(of: &Responses<'_>, share: f64, part: PartOf) -> Result<f64, MetricError> {
    check(of)?;
    super::error::check_share(share)?;
    let order = descending(of.score);
    let mut means = [0.0; 2];
    for (mean, arm) in means.iter_mut().zip([true, false]) {
        let of_arm = |rows: &[usize]| -> Vec<f64> {
            let rows = rows.iter().filter(|row| of.treated[**row] == arm);
            rows.map(|&row| of.outcome[row]).collect()
        };
        let found = match part {
            PartOf::All => of_arm(&order[..first(order.len(), share)]),
            PartOf::EachArm => {
                let mut all = of_arm(&order);
                all.truncate(first(all.len(), share));
                all
            }
        };
        *mean = self::mean(&found)?;
    }
    Ok(means[0] - means[1])
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a number of rows, rounded down"
)]
fn first(n: usize, share: f64) -> usize {
    ((n as f64 * share) as usize).min(n)
}

#[allow(clippy::cast_precision_loss, reason = "rows number far below 2^52")]
fn mean(numbers: &[f64]) -> Result<f64, MetricError> {
    if numbers.is_empty() {
        return Err(MetricError::Empty);
    }
    Ok(numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// Positions of the rows of each of `n_parts` parts of nearly equal size, by falling score; the
/// first parts take what is left over.
#[must_use]
pub fn parts_by_score(score: &[f64], n_parts: usize) -> Vec<Vec<usize>> {
    let order = descending(score);
    let n_parts = n_parts.max(1);
    let (size, more) = (order.len() / n_parts, order.len() % n_parts);
    let mut rest = order.as_slice();
    let mut parts = Vec::with_capacity(n_parts);
    for part in 0..n_parts {
        let (head, tail) = rest.split_at(size + usize::from(part < more));
        parts.push(head.to_vec());
        rest = tail;
    }
    parts
}

/// Mean over parts of equal size by score of the difference between the arms, weighted by the
/// treated of each part.
///
/// # Errors
/// As [`uplift_at`]; [`MetricError::Empty`] where a part has no customer of an arm.
pub fn weighted_average_uplift(of: &Responses<'_>, n_parts: usize) -> Result<f64, MetricError> {
    check(of)?;
    let (mut sum, mut weight) = (0.0, 0.0);
    for rows in parts_by_score(of.score, n_parts) {
        let mut tally = Tally::default();
        rows.iter().for_each(|&row| tally.add(of.outcome[row], of.treated[row]));
        if tally.treated < 1.0 || tally.control < 1.0 {
            return Err(MetricError::Empty);
        }
        sum += tally.treated * tally.uplift() / tally.n();
        weight += tally.treated;
    }
    Ok(sum / weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::SplitMix64;

    /// 400 customers with the numbers that scikit-uplift 0.5.1 gives.
    const GOLDEN: &str = include_str!("../../tests/golden/reference/uplift.json");

    struct Golden {
        outcome: Vec<f64>,
        score: Vec<f64>,
        treated: Vec<bool>,
        wanted: serde_json::Value,
    }

    impl Golden {
        fn read() -> Self {
            let wanted: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
            let numbers = |key: &str| -> Vec<f64> {
                wanted[key].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
            };
            let treated = numbers("t").into_iter().map(|t| t > 0.5).collect();
            Self { outcome: numbers("y"), score: numbers("u"), treated, wanted }
        }

        fn responses(&self) -> Responses<'_> {
            let Self { outcome, score, treated, .. } = self;
            Responses { outcome, treated, score }
        }

        fn near(&self, key: &str, found: f64) {
            let wanted = self.wanted[key].as_f64().unwrap();
            assert!((found - wanted).abs() < 1e-9, "{key}: {found}, wanted {wanted}");
        }
    }

    #[test]
    fn numbers_are_those_of_the_reference() {
        let golden = Golden::read();
        let of = golden.responses();
        let ranked = RankedResponses::try_new(&of).unwrap();
        golden.near("qini", ranked.qini(PerfectOrder::WithHarm).unwrap());
        golden.near("qini_noneg", ranked.qini(PerfectOrder::WithoutHarm).unwrap());
        golden.near("auuc", ranked.auuc().unwrap());
        golden.near("u10", uplift_at(&of, 0.1, PartOf::All).unwrap());
        golden.near("u30", uplift_at(&of, 0.3, PartOf::All).unwrap());
        golden.near("u30g", uplift_at(&of, 0.3, PartOf::EachArm).unwrap());
        golden.near("wau", weighted_average_uplift(&of, 10).unwrap());
    }

    /// A score that is the effect itself ranks well, its opposite badly, a constant not at all.
    #[test]
    fn a_score_that_knows_the_effect_ranks_and_a_constant_does_not() {
        let mut random = SplitMix64::new(3);
        let n = 20_000;
        let effect: Vec<f64> = (0..n).map(|_| 0.3 * random.unit()).collect();
        let treated: Vec<bool> = (0..n).map(|_| random.unit() < 0.7).collect();
        let outcome: Vec<f64> = (0..n)
            .map(|row| {
                let chance = 0.2 + if treated[row] { effect[row] } else { 0.0 };
                if random.unit() < chance { 1.0 } else { 0.0 }
            })
            .collect();
        let of = |score: &[f64]| {
            let of = Responses { outcome: &outcome, treated: &treated, score };
            RankedResponses::try_new(&of).unwrap().qini(PerfectOrder::WithHarm).unwrap()
        };
        let good = of(&effect);
        let bad = of(&effect.iter().map(|x| -x).collect::<Vec<_>>());
        assert!(good > 0.05 && (good + bad).abs() < 1e-3, "{good} {bad}");
        assert!(of(&vec![1.0; n]).abs() < 1e-12);
        let responses = Responses { outcome: &outcome, treated: &treated, score: &effect };
        let [first, all] =
            [0.2, 1.0].map(|share| uplift_at(&responses, share, PartOf::All).unwrap());
        assert!((first - 0.27).abs() < 0.04 && (all - 0.15).abs() < 0.02, "{first} {all}");
        let parts = parts_by_score(&effect, 7);
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), n);
        assert!(parts.windows(2).all(|pair| effect[pair[0][0]] >= effect[pair[1][0]]));
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        let treated = [true, false, true, false];
        let of = |outcome: &'static [f64], score: &'static [f64]| {
            RankedResponses::try_new(&Responses { outcome, treated: &treated, score })
        };
        assert!(of(&[0.0; 4], &[1.0; 3]).is_err() && of(&[0.0; 4], &[f64::NAN; 4]).is_err());
        let spend = of(&[0.0, 2.0, 0.0, 1.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!(spend.qini(PerfectOrder::WithHarm).is_err() && spend.auuc().is_err());
        let nothing = of(&[0.0; 4], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!(nothing.qini(PerfectOrder::WithHarm).is_err());
        assert!(nothing.qini_of(&[0, 2], PerfectOrder::WithHarm).is_none(), "one arm");
        let all = Responses { outcome: &[1.0; 4], treated: &[true; 4], score: &[1.0; 4] };
        assert!(RankedResponses::try_new(&all).is_err());
        let few = Responses { outcome: &[1.0; 4], treated: &treated, score: &[4.0, 1.0, 3.0, 2.0] };
        assert!(uplift_at(&few, 0.25, PartOf::All).is_err(), "nobody of the control");
        assert!(uplift_at(&few, 0.0, PartOf::All).is_err());
        assert!(weighted_average_uplift(&few, 4).is_err());
    }
}
