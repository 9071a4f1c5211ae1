//! Why a row got its score: exact additive contributions to the log-odds and to the log of value.
//!
//! In: a fitted whole and a typical customer, once; then rows. Out: a base value and one
//! contribution a term, which sum to what the model says (within 1e-9). Trees are explained by
//! TreeSHAP, linear parts by their own terms, the closed form of the purchase-count model by the
//! Shapley values of its three inputs against the typical customer; a blend on the log-odds scale
//! averages them, and the recalibration, a line, stretches them.
//!
//! The mean of two values is not additive on the log scale. The share of each member is then its
//! mean weight along the straight way from the base values to the row's (Aumann and Shapley 1974,
//! "Values of Non-Atomic Games"), which is exact, too.
//!
//! It deliberately makes no words of it, and says nothing of what to change.

use crate::dataset::FeatureMatrix;
use crate::features::PurchaseSummary;

use super::churn::ChurnKind;
use super::columns::{Columns, RATE_MIN};
use super::fitted::{Fitted, Predictor};
use super::linear::Linear;
use super::link::{clamp_prob, logit, sigmoid, softplus};
use super::stack::StackWeights;
use super::treeshap::{ShapError, TreeShap};
use super::value::{VALUE_MIN, ValueHorizon, ValueKind, ValueModel};

/// Inputs of the purchase-count model that are explained one by one.
const INPUTS: usize = 3;
/// Terms of the purchase models, after those of the columns: name, and the column they speak of.
/// The first three are the inputs of the purchase-count model, the last one that of the spend
/// model.
const RHYTHM_TERMS: [(&str, &str); INPUTS + 1] = [
    ("rhythm_model:frequency", "frequency"),
    ("rhythm_model:active_span_days", "active_span_days"),
    ("rhythm_model:recency_days", "recency_days"),
    ("rhythm_model:spend_repeat_mean", "spend_repeat_mean"),
];

/// A customer as the base has them: the closed form is explained against this one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TypicalCustomer {
    /// Repeat purchase days.
    pub repeats: u32,
    /// Days from the first to the last purchase day, >= 0.
    pub active_days: f64,
    /// Days since the last purchase day, >= 0.
    pub silent_days: f64,
}

impl TypicalCustomer {
    /// The median of each input over the rows of a base.
    #[must_use]
    pub fn of(columns: &Columns, rows: &FeatureMatrix) -> Self {
        let median = |column: usize| {
            let mut sorted: Vec<f64> =
                rows.column(column).iter().copied().filter(|x| x.is_finite()).collect();
            sorted.sort_by(f64::total_cmp);
            sorted.get(sorted.len() / 2).copied().unwrap_or(0.0).max(0.0)
        };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of purchase days that came from a u32"
        )]
        let repeats = median(columns.frequency) as u32;
        Self {
            repeats,
            active_days: median(columns.active_span),
            silent_days: median(columns.recency),
        }
    }
}

/// One term of an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Its name: the column's, or that of an input of the purchase models.
    pub name: &'static str,
    /// The column of the row that it speaks of.
    pub column: usize,
}

/// What one number is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// What would be said of a customer of whom nothing is known.
    pub base_value: f64,
    /// What is said of this one: calibrated log-odds of churn, or the log of the expected value.
    pub total: f64,
    /// One contribution for each of [`Explainer::terms`], or for each column of a table.
    pub contributions: Vec<f64>,
}

impl Explanation {
    pub(super) fn new(n_terms: usize, base_value: f64) -> Self {
        Self { base_value, total: f64::NAN, contributions: vec![0.0; n_terms] }
    }

    /// What base value and contributions miss the total by: rounding, below 1e-9.
    #[must_use]
    pub fn gap(&self) -> f64 {
        self.total - (self.base_value + self.contributions.iter().sum::<f64>())
    }

    /// Adds another part with a weight.
    pub(super) fn add(&mut self, weight: f64, part: &Self) {
        self.base_value += weight * part.base_value;
        for (sum, one) in self.contributions.iter_mut().zip(&part.contributions) {
            *sum += weight * one;
        }
    }
}

/// Explains what one fitted whole says. It holds tables of the trees; the whole itself is handed
/// in with every row.
#[derive(Debug, Clone)]
pub struct Explainer {
    terms: Vec<Term>,
    n_columns: usize,
    churn_trees: Option<TreeShap>,
    value_trees: Option<TreeShap>,
    typical: TypicalCustomer,
    /// What the purchase-count model says of the typical customer.
    typical_says: Says,
}

/// What the purchase-count model says, on the scales that contributions add up on.
#[derive(Debug, Clone, Copy)]
struct Says {
    /// Log-odds of no purchase within the churn horizon.
    churn: f64,
    /// Log of the purchases expected within the churn horizon.
    near: f64,
    /// Log of those within the value horizon.
    far: f64,
}

impl Says {
    fn new(churn_prob: f64, near: f64, far: f64) -> Self {
        let log = |purchases: f64| libm::log(purchases.max(f64::MIN_POSITIVE));
        Self { churn: logit(clamp_prob(churn_prob)), near: log(near), far: log(far) }
    }

    /// The log of near purchases as the regression of value reads it.
    fn near_rate(self) -> f64 {
        self.near.max(libm::log(RATE_MIN))
    }
}

/// What the purchase-count model says where a set of inputs is the row's own and the others are
/// the typical customer's; bit i of the position is input i of the set.
type Game = [Says; 1 << INPUTS];

impl Explainer {
    /// Prepares a fitted whole.
    ///
    /// # Errors
    /// [`ShapError::Cover`] for trees stored without training weights.
    pub fn try_new(predictor: &Predictor, typical: TypicalCustomer) -> Result<Self, ShapError> {
        let Fitted { churn, value, .. } = predictor.fitted();
        let shap = |forest| TreeShap::try_new(forest);
        let schema = predictor.schema();
        let columns = schema.features().iter().enumerate();
        let mut terms: Vec<Term> =
            columns.map(|(column, feature)| Term { name: feature.name, column }).collect();
        let n_columns = terms.len();
        terms.extend(RHYTHM_TERMS.iter().map(|&(name, of)| Term {
            name,
            column: schema.position(of).unwrap_or(predictor.columns().btyd_churn),
        }));
        let mut explainer = Self {
            terms,
            n_columns,
            churn_trees: churn.parts.forest.as_ref().map(shap).transpose()?,
            value_trees: value
                .as_ref()
                .and_then(|value| value.parts.forest.as_ref())
                .map(shap)
                .transpose()?,
            typical,
            typical_says: Says::new(0.5, 1.0, 1.0),
        };
        explainer.typical_says = explainer.says(predictor, [0.0; INPUTS], 0);
        Ok(explainer)
    }

    /// What the contributions are of, in their order.
    #[must_use]
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The purchase-count model with the inputs of a set taken from the row.
    fn says(&self, predictor: &Predictor, own: [f64; INPUTS], set: usize) -> Says {
        let TypicalCustomer { repeats, active_days, silent_days } = self.typical;
        let pick = |at: usize, typical: f64| if set & (1 << at) == 0 { typical } else { own[at] };
        let days = pick(1, active_days);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of purchase days that came from a u32"
        )]
        let x = pick(0, f64::from(repeats)).max(0.0) as u32;
        let summary = PurchaseSummary {
            x,
            t_x: days / 7.0,
            t: (days + pick(2, silent_days)) / 7.0,
            spend_repeat_mean: 0.0,
            // No prediction looks at it.
            log_gap_sum: 0.0,
        };
        let stage = &predictor.fitted().stage;
        let [_, churn, near, far] = stage.predict(&summary, [stage.churn_weeks, stage.value_weeks]);
        Says::new(churn, near, far)
    }

    /// None for a row of another width, and for a customer who has not bought.
    fn game(&self, predictor: &Predictor, row: &[f64]) -> Option<Game> {
        let c = predictor.columns();
        if row.len() != self.n_columns || row[c.btyd_churn].is_nan() {
            return None;
        }
        let own = [row[c.frequency], row[c.active_span], row[c.recency]];
        let mut game = [self.typical_says; 1 << INPUTS];
        let all = game.len() - 1;
        for (set, says) in game.iter_mut().enumerate().skip(1).take(all - 1) {
            *says = self.says(predictor, own, set);
        }
        // Of the row itself the stage has said it already.
        game[all] =
            Says::new(row[c.btyd_churn], row[c.btyd_purchases_churn], row[c.btyd_purchases_value]);
        Some(game)
    }

    /// Contributions to the calibrated log-odds of churn; none for a customer without one.
    #[must_use]
    pub fn churn(&self, predictor: &Predictor, row: &[f64]) -> Option<Explanation> {
        let game = self.game(predictor, row)?;
        Some(self.churn_of(predictor, &game, row))
    }

    /// Contributions to churn and to value, as [`Explainer::churn`] and [`Explainer::value`] give
    /// them, for less than both.
    #[must_use]
    pub fn both(
        &self,
        predictor: &Predictor,
        row: &[f64],
    ) -> (Option<Explanation>, Option<Explanation>) {
        match self.game(predictor, row) {
            Some(game) => {
                (Some(self.churn_of(predictor, &game, row)), self.value_of(predictor, &game, row))
            }
            None => (None, None),
        }
    }

    fn churn_of(&self, predictor: &Predictor, game: &Game, row: &[f64]) -> Explanation {
        let columns = predictor.columns();
        let model = &predictor.fitted().churn;
        let mut found = self.churn_logit(predictor, game, row);
        let (intercept, slope) = (model.calibration.intercept(), model.calibration.slope());
        found.base_value = intercept + slope * found.base_value;
        for part in &mut found.contributions {
            *part *= slope;
        }
        found.total = model.log_odds(columns, row);
        found
    }

    fn churn_logit(&self, predictor: &Predictor, game: &Game, row: &[f64]) -> Explanation {
        let model = &predictor.fitted().churn;
        let mut sum = Explanation::new(self.terms.len(), 0.0);
        // Weights of the closed form, the regression and the trees on top of the closed form.
        let [closed, linear, boosted] = match model.kind {
            ChurnKind::BaseRate => {
                sum.base_value = model.parts.base_logit;
                return sum;
            }
            ChurnKind::Btyd => [1.0, 0.0, 0.0],
            ChurnKind::Logistic => [0.0, 1.0, 0.0],
            ChurnKind::Boosted => [0.0, 0.0, 1.0],
            ChurnKind::Blend => StackWeights::BLEND.weights(),
            ChurnKind::Stacked => model.parts.stack.weights(),
        };
        let closed_form = self.rhythm(game, |says| says.churn);
        sum.add(closed, &closed_form);
        match model.parts.logistic.as_ref().filter(|_| linear > 0.0) {
            Some(logistic) => {
                let columns = predictor.columns();
                let line = Regression {
                    line: logistic.linear(),
                    inputs: &columns.design(row),
                    positions: columns.design_positions(),
                    rhythm_column: columns.btyd_churn,
                };
                sum.add(linear, &self.regression(line, &closed_form));
            }
            None => sum.add(linear, &closed_form),
        }
        sum.add(boosted, &closed_form);
        if boosted > 0.0 {
            self.add_trees(boosted, self.churn_trees.as_ref(), row, &mut sum);
        }
        sum
    }

    /// Contributions to the log of the expected value within the value horizon, in units of the
    /// currency; none without a value model, or where nothing is expected.
    #[must_use]
    pub fn value(&self, predictor: &Predictor, row: &[f64]) -> Option<Explanation> {
        let game = self.game(predictor, row)?;
        self.value_of(predictor, &game, row)
    }

    fn value_of(&self, predictor: &Predictor, game: &Game, row: &[f64]) -> Option<Explanation> {
        let columns = predictor.columns();
        let model = predictor.fitted().value.as_ref()?;
        let mean = model.mean(columns, row, ValueHorizon::Full);
        if !(mean.is_finite() && mean > 0.0) {
            return None;
        }
        let glm = || self.value_glm(predictor, model, game, row);
        let boosted = |with_trees| {
            let mut found = self.value_rhythm(predictor, model, game, row);
            if with_trees {
                self.add_trees(1.0, self.value_trees.as_ref(), row, &mut found);
            }
            found
        };
        let mut found = match model.kind {
            ValueKind::Btyd => boosted(false),
            ValueKind::Glm => glm(),
            ValueKind::Hurdle => self.value_hurdle(predictor, model, game, row),
            ValueKind::Boosted => boosted(true),
            ValueKind::Blend => log_of_mean([(0.5, glm()), (0.5, boosted(true))]),
            ValueKind::Stacked => {
                let [closed, linear, trees] = model.parts.stack.weights();
                log_of_mean([(closed, boosted(false)), (linear, glm()), (trees, boosted(true))])
            }
        };
        found.base_value += libm::log(model.factor);
        found.total = libm::log(mean);
        // Beyond the range of numbers (no spend at all expected by one part) nothing adds up.
        found.gap().is_finite().then_some(found)
    }

    /// Log of expected purchases times expected spend.
    fn value_rhythm(
        &self,
        predictor: &Predictor,
        model: &ValueModel,
        game: &Game,
        row: &[f64],
    ) -> Explanation {
        let (columns, stage) = (predictor.columns(), &predictor.fitted().stage);
        let own = game[game.len() - 1];
        let mut found = self.rhythm(game, |says| says.far);
        let spend = stage.spend.as_ref().map_or(1.0, |spend| spend.population_spend());
        let spend = libm::log(spend.max(VALUE_MIN));
        // The trees' base has a floor, which belongs to the spend: purchases are above 0.
        let has_floor = match model.kind {
            ValueKind::Btyd | ValueKind::Hurdle => false,
            ValueKind::Stacked => true,
            ValueKind::Glm | ValueKind::Boosted | ValueKind::Blend => model.parts.forest.is_some(),
        };
        let floor =
            if has_floor { VALUE_MIN * libm::exp(own.far) / libm::exp(own.near) } else { 0.0 };
        let said = row[columns.btyd_purchases_value] * row[columns.btyd_spend];
        found.base_value += spend;
        found.contributions[self.n_columns + INPUTS] = libm::log(said.max(floor)) - own.far - spend;
        found
    }

    /// Log of the regression's value, carried to the value horizon.
    fn value_glm(
        &self,
        predictor: &Predictor,
        model: &ValueModel,
        game: &Game,
        row: &[f64],
    ) -> Explanation {
        let Some(glm) = model.parts.glm.as_ref() else {
            return self.value_rhythm(predictor, model, game, row);
        };
        let columns = predictor.columns();
        let line = Regression {
            line: glm.linear(),
            inputs: &columns.value_design(row),
            positions: columns.value_design_positions(),
            rhythm_column: columns.btyd_purchases_churn,
        };
        let mut found = self.regression(line, &self.rhythm(game, Says::near_rate));
        found.add(1.0, &self.rhythm(game, |says| says.far));
        found.add(-1.0, &self.rhythm(game, |says| says.near));
        found
    }

    /// Log of the chance to buy plus log of a buyer's spend, carried to the value horizon.
    fn value_hurdle(
        &self,
        predictor: &Predictor,
        model: &ValueModel,
        game: &Game,
        row: &[f64],
    ) -> Explanation {
        let Some(hurdle) = model.parts.hurdle.as_ref() else {
            return self.value_rhythm(predictor, model, game, row);
        };
        let columns = predictor.columns();
        let comes = Regression {
            line: hurdle.comes.linear(),
            inputs: &columns.design(row),
            positions: columns.design_positions(),
            rhythm_column: columns.btyd_churn,
        };
        let amount = Regression {
            line: hurdle.amount.linear(),
            inputs: &columns.value_design(row),
            positions: columns.value_design_positions(),
            rhythm_column: columns.btyd_purchases_churn,
        };
        let comes = self.regression(comes, &self.rhythm(game, |says| says.churn));
        let mut found = log_of_prob(&comes);
        let amount = self.regression(amount, &self.rhythm(game, Says::near_rate));
        found.add(1.0, &amount);
        let [far, near] = [self.rhythm(game, |says| says.far), self.rhythm(game, |says| says.near)];
        found.add(1.0, &far);
        found.add(-1.0, &near);
        found
    }

    /// Shapley values of the inputs of the purchase-count model, on one of its scales.
    fn rhythm(&self, game: &Game, of: impl Fn(Says) -> f64) -> Explanation {
        let mut found = Explanation::new(self.terms.len(), of(game[0]));
        for input in 0..INPUTS {
            let own = 1 << input;
            let mut sum = 0.0;
            for set in (0..game.len()).filter(|set| set & own == 0) {
                // A set of k of the two others has the weight k! (2 - k)! / 3!.
                let weight = if set.count_ones() == 1 { 1.0 / 6.0 } else { 1.0 / 3.0 };
                sum += weight * (of(game[set | own]) - of(game[set]));
            }
            found.contributions[self.n_columns + input] = sum;
        }
        found
    }

    /// Terms of a regression; what it makes of the purchase-count model is split like that model.
    fn regression(&self, part: Regression<'_>, rhythm: &Explanation) -> Explanation {
        let Regression { line, inputs, positions, rhythm_column } = part;
        let mut found = Explanation::new(self.terms.len(), line.intercept);
        for (at, (&input, &position)) in inputs.iter().zip(positions).enumerate() {
            if position == rhythm_column {
                found.base_value += line.term(at, 0.0);
                found.add(line.slope(at), rhythm);
            } else {
                found.contributions[position] += line.term(at, input);
            }
        }
        found
    }

    fn add_trees(&self, weight: f64, trees: Option<&TreeShap>, row: &[f64], sum: &mut Explanation) {
        let Some(trees) = trees else { return };
        let mut parts = vec![0.0; self.n_columns];
        if trees.contributions(row, &mut parts).is_err() {
            // The bundle's reader holds the trees against the schema: this cannot be met.
            debug_assert!(false, "rows and trees have the same columns");
            return;
        }
        sum.base_value += weight * trees.expected_margin();
        for (total, part) in sum.contributions.iter_mut().zip(&parts) {
            *total += weight * part;
        }
    }
}

/// A linear part with the row's inputs and the columns that they come from.
struct Regression<'a> {
    line: &'a Linear,
    inputs: &'a [f64],
    positions: &'a [usize],
    /// The column that holds what the purchase-count model says.
    rhythm_column: usize,
}

/// Log of a weighted sum of values of which the logs are explained, taken in one after the other.
fn log_of_mean<const N: usize>(members: [(f64, Explanation); N]) -> Explanation {
    let weighted = members.into_iter().filter(|(weight, _)| *weight > 0.0);
    let logs = weighted.map(|(weight, mut member)| {
        member.base_value += libm::log(weight);
        member
    });
    logs.reduce(|sum, member| log_of_sum(&sum, &member)).unwrap_or_else(|| Explanation::new(0, 0.0))
}

/// Log of a probability of which the log-odds are explained.
fn log_of_prob(log_odds: &Explanation) -> Explanation {
    let from = log_odds.base_value;
    let to = from + log_odds.contributions.iter().sum::<f64>();
    let step = to - from;
    // Mean slope along the way; where the way is short, that of its middle.
    let share = if step.abs() < 1e-6 {
        sigmoid(-0.5 * (from + to))
    } else {
        (softplus(-from) - softplus(-to)) / step
    };
    let mut found = Explanation::new(log_odds.contributions.len(), 0.0);
    found.add(share, log_odds);
    found.base_value = -softplus(-from);
    found
}

/// Log of the sum of two values of which the logs are explained.
fn log_of_sum(first: &Explanation, second: &Explanation) -> Explanation {
    let total = |part: &Explanation| part.base_value + part.contributions.iter().sum::<f64>();
    // Log of the first over the second, at the base values and at the row.
    let from = first.base_value - second.base_value;
    let to = total(first) - total(second);
    let step = to - from;
    // Mean weight of the first along the way; where the way is short, that of its middle.
    let share = if step.abs() < 1e-6 {
        sigmoid(0.5 * (from + to))
    } else {
        (softplus(to) - softplus(from)) / step
    };
    let mut found = Explanation::new(first.contributions.len(), 0.0);
    found.add(share, first);
    found.add(1.0 - share, second);
    found.base_value = second.base_value + softplus(from);
    found
}

#[cfg(test)]
mod tests;
