//! THE scorer: a bundle and a policy, a history and an instant -> score and decision.
//!
//! In: a loaded bundle. Out: for each customer a score and what to do, the same bits whoever
//! asks: library, server or batch (invariant G-1). Everything an answer needs is worked out once,
//! when the engine is made; answering reads it without a lock.
//! It deliberately knows no store, no file format and no clock.

mod error;
mod explain;
mod explain_row;
mod facts;
mod habits;
mod line;
mod many;
mod matrix;
mod overview;
mod reasons;
mod record;
mod standing;
mod table;

pub use error::ScoringError;
pub use explain::{Explained, ExplainedAnswer, ExplainedTerm, Reasons};
pub use explain_row::ExplainedRow;
pub use facts::rfm_values;
pub use line::{append_decision_line, decision_line};
pub use many::{NumbersScored, ROWS_AT_ONCE};
pub use matrix::MatrixColumn;
pub use overview::{ArmName, Cohort, Group, Overview, month_text};
pub use reasons::{Reason, ReasonGroup};
pub use record::{AssignmentV1, DecisionRowV1, EligibleV1, LinesOf, OutcomeRowV1, RECORD_VERSION};
pub use record::{decision_id, history_digest};
pub use standing::{Cause, Standing, StandingV1, TransitionV1};
pub use table::{TableAnswer, TableInput, TableQuestion, rfm_values_of};

use std::sync::OnceLock;

use crate::bundle::{Bundle, BundleModels, ExampleV1};
use crate::decision::{
    Context, Decision, ExperimentSetup, Facts, Policy, RfmCuts, Salts, TierCuts, decide,
};
use crate::domain::{AsOf, Currency, CustomerId, Day, Name, Timestamp, Zone};
use crate::history::History;
use crate::model::{Predictor, Score, ShapError, TableExplainer};

use explain::Whys;
use facts::FactSources;
use habits::HabitSources;
use line::LineParts;
use table::TableInputs;

/// A bundle and a policy, ready to answer. Immutable; swapped as a whole.
#[derive(Debug)]
pub struct Engine {
    bundle: Bundle,
    policy: Policy,
    salts: Salts,
    tier_cuts: Option<TierCuts>,
    rfm_cuts: RfmCuts,
    sticky_targets: Vec<Name>,
    zone: Zone,
    currency: Currency,
    /// What a row of a table bundle must name.
    inputs: Option<TableInputs>,
    model_version: String,
    /// SHA-256 of what the policy means, hex.
    policy_hash: String,
    /// What is the same in all its lines of the decision log.
    line_parts: LineParts,
    /// Made at the first question why.
    whys: OnceLock<Result<Whys, ShapError>>,
    /// The same of a table bundle.
    row_whys: OnceLock<Result<TableExplainer, ShapError>>,
}

/// What is said of one customer as of one instant.
#[derive(Debug, Clone)]
pub struct Answer<'e> {
    /// Who.
    pub customer: CustomerId,
    /// The instant it speaks of.
    pub as_of: AsOf,
    /// The newest event that was seen; none for a customer of whom only facts are known.
    pub facts_as_of: Option<Timestamp>,
    /// What the policy looked at.
    pub facts: Facts,
    /// What the models say.
    pub score: Score,
    /// What to do.
    pub decision: Decision<'e>,
}

/// A question about one customer.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who.
    pub customer: &'a CustomerId,
    /// What is known.
    pub history: &'a History,
    /// The instant asked for.
    pub as_of: AsOf,
    /// Whether the rules tried are wanted.
    pub trace: bool,
}

impl Question<'_> {
    /// The answer, put together.
    fn answered<'e>(&self, facts: Facts, score: Score, decision: Decision<'e>) -> Answer<'e> {
        let Self { customer, history, as_of, .. } = *self;
        let (customer, facts_as_of) = (customer.clone(), history.newest());
        Answer { customer, as_of, facts_as_of, facts, score, decision }
    }
}

impl Engine {
    /// Makes an engine of a bundle. `policy` replaces the bundle's own; `salt` is the
    /// installation's, from which each experiment derives its own.
    ///
    /// # Errors
    /// [`ScoringError`] when policy, salts or cut points do not fit together.
    pub fn try_new(
        bundle: Bundle,
        policy: Option<Policy>,
        salt: Option<&str>,
    ) -> Result<Self, ScoringError> {
        let policy = match policy {
            Some(policy) => policy,
            None => Policy::parse(&bundle.policy)?,
        };
        let salts = Salts::try_new(&policy, salt)?;
        let tier_cuts = if bundle.cuts.churn_quantiles.is_empty() {
            None
        } else {
            Some(policy.tier_cuts(&bundle.cuts.churn_quantiles)?)
        };
        let cuts = &bundle.cuts;
        let rfm_cuts = RfmCuts {
            days_since_order: cuts.days_since_order.clone(),
            orders: cuts.orders.clone(),
            avg_order_value: cuts.avg_order_value.clone(),
            spend_728d: cuts.spend_728d.clone(),
        };
        let zone = Zone::try_new(&bundle.manifest.timezone)?;
        let currency = Currency::try_new(&bundle.manifest.currency)?;
        let inputs = TableInputs::of(&bundle)?;
        let sticky_targets = bundle
            .predictor()
            .map(|predictor| habits::promoted(&policy, &predictor.fitted().base))
            .unwrap_or_default();
        if let Some(found) = policy.currency().filter(|found| *found != currency)
            && currency != Currency::NONE
        {
            let (found, wanted) = (found.as_str().to_owned(), currency.as_str().to_owned());
            return Err(ScoringError::PolicyCurrency { found, wanted });
        }
        let model_version = format!("models/{}/versions/{}", bundle.manifest.name, bundle.version);
        let policy_hash = record::hex(&policy.id().hash);
        let line_parts = LineParts::new(&bundle, &model_version, (policy.id(), &policy_hash));
        Ok(Self {
            bundle,
            policy,
            salts,
            tier_cuts,
            rfm_cuts,
            sticky_targets,
            zone,
            currency,
            inputs,
            model_version,
            policy_hash,
            line_parts,
            whys: OnceLock::new(),
            row_whys: OnceLock::new(),
        })
    }

    /// The bundle.
    #[must_use]
    pub const fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The model's resource name, `models/NAME/versions/VERSION`.
    #[must_use]
    pub fn model_version(&self) -> &str {
        &self.model_version
    }

    /// SHA-256 of what the policy means, as hexadecimal digits.
    #[must_use]
    pub fn policy_hash(&self) -> &str {
        &self.policy_hash
    }

    /// All experiments as they are drawn here.
    #[must_use]
    pub fn experiments(&self) -> Vec<ExperimentSetup> {
        self.salts.experiments(&self.policy)
    }

    /// The policy in force.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The time zone that days belong to.
    #[must_use]
    pub const fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The currency of all amounts.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.currency
    }

    /// The absolute cut points of the tiers.
    #[must_use]
    pub const fn tier_cuts(&self) -> Option<TierCuts> {
        self.tier_cuts
    }

    /// What is said of a customer, with the rules tried if `trace` is set.
    ///
    /// # Errors
    /// [`ScoringError::AsOfTooEarly`] when the history holds an event at or after the instant.
    pub fn answer(
        &self,
        customer: &CustomerId,
        history: &History,
        as_of: AsOf,
        trace: bool,
    ) -> Result<Answer<'_>, ScoringError> {
        let predictor = log_predictor(&self.bundle)?;
        let mut row = Vec::with_capacity(predictor.schema().features().len());
        let score = self.score(history, as_of, &mut row)?;
        let asked = Question { customer, history, as_of, trace };
        let mut facts = self.facts(predictor, &asked);
        let decision = self.decision(&asked, &row, &mut facts, &score);
        Ok(asked.answered(facts, score, decision))
    }

    /// What a policy may look at, but for what the models say.
    fn facts(&self, predictor: &Predictor, asked: &Question<'_>) -> Facts {
        let Question { history, as_of, .. } = *asked;
        let (policy, base) = (&self.policy, &predictor.fitted().base);
        let mut facts = FactSources { policy, cuts: &self.rfm_cuts, base }.facts(history, as_of);
        let habits = HabitSources { policy, base, targets: &self.sticky_targets };
        habits.fill(history, as_of, &mut facts);
        facts
    }

    /// The decision on a score; the persona is added to the facts.
    fn decision(
        &self,
        asked: &Question<'_>,
        row: &[f64],
        facts: &mut Facts,
        score: &Score,
    ) -> Decision<'_> {
        let Question { customer, as_of, trace, .. } = *asked;
        if facts.persona.is_none() {
            facts.persona = self.persona(row);
        }
        let context = Context {
            customer_id: customer.as_str(),
            facts,
            tier_cuts: self.tier_cuts,
            salts: &self.salts,
            hour_of_day: Some(self.zone.hour_of(as_of.instant())),
            trace,
        };
        decide(&self.policy, score, &context)
    }

    /// The bundle's persona of a buyer; one that the business assigned stands before it.
    fn persona(&self, row: &[f64]) -> Option<Name> {
        let personas = self.bundle.personas()?;
        let bought =
            row.get(self.bundle.predictor()?.columns().recency()).is_some_and(|x| !x.is_nan());
        personas.of(row).filter(|_| bought).and_then(|found| Name::try_new(&found.name).ok())
    }

    /// What the models say of a customer; `row` is scratch space.
    ///
    /// # Errors
    /// [`ScoringError::AsOfTooEarly`] when the history holds an event at or after the instant.
    pub fn score(
        &self,
        history: &History,
        as_of: AsOf,
        row: &mut Vec<f64>,
    ) -> Result<Score, ScoringError> {
        score(&self.bundle, history, as_of, row)
    }
}

/// The models of a log, or a refusal.
fn log_predictor(bundle: &Bundle) -> Result<&Predictor, ScoringError> {
    let refusal = || ScoringError::TableBundle { version: bundle.version.clone() };
    bundle.predictor().ok_or_else(refusal)
}

fn score(
    bundle: &Bundle,
    history: &History,
    as_of: AsOf,
    row: &mut Vec<f64>,
) -> Result<Score, ScoringError> {
    check_as_of(history, as_of)?;
    let predictor = log_predictor(bundle)?;
    predictor.row(history, as_of, row);
    Ok(predictor.score(row, realised(history)))
}

/// The value realised so far, units.
fn realised(history: &History) -> f64 {
    history.totals().net_spend().units()
}

fn check_as_of(history: &History, as_of: AsOf) -> Result<(), ScoringError> {
    match history.newest() {
        Some(newest) if newest >= as_of.instant() => {
            Err(ScoringError::AsOfTooEarly { as_of: as_of.instant(), newest })
        }
        _ => Ok(()),
    }
}

/// Scores the bundle's examples and holds every number against what the bundle says, bit by bit.
///
/// # Errors
/// [`ScoringError::SelfTest`] names the first number that differs.
pub fn self_test(bundle: &Bundle) -> Result<(), ScoringError> {
    if let BundleModels::Table { predictor, examples, .. } = &bundle.models {
        return table::self_test(&bundle.version, predictor, examples);
    }
    let zone = Zone::try_new(&bundle.manifest.timezone)?;
    let mut row = Vec::new();
    for (idx, example) in bundle.examples().iter().enumerate() {
        let bad = |what| ScoringError::BadExample { row: idx, what };
        let bytes = example.history_bytes().ok_or_else(|| bad("the history is not hex"))?;
        let history = History::from_bytes(&bytes)
            .map_err(|source| ScoringError::Example { row: idx, source })?;
        let day = Day::parse(&example.as_of).map_err(|_| bad("as_of is not a day"))?;
        let found = score(bundle, &history, AsOf::end_of(day, &zone), &mut row)?;
        let found = ExampleV1::new(&bytes, example.as_of.clone(), &found);
        compare(bundle, idx, example, &found)?;
    }
    Ok(())
}

fn compare(
    bundle: &Bundle,
    row: usize,
    expected: &ExampleV1,
    found: &ExampleV1,
) -> Result<(), ScoringError> {
    let numbers = |example: &ExampleV1| -> TestNumbers {
        let clv = |at: usize| example.clv.map(|clv| clv[at]);
        [example.churn_prob, clv(0), clv(1), clv(2), clv(3), example.expected_purchases]
    };
    compare_numbers(&bundle.version, row, numbers(expected), numbers(found))?;
    let (wanted, found) = (&expected.churn_by_horizon, &found.churn_by_horizon);
    let differs = |((days, prob), (found_days, found_prob)): (&(u16, f64), &(u16, f64))| {
        days != found_days || prob.to_bits() != found_prob.to_bits()
    };
    let first = wanted.iter().zip(found).position(|(a, b)| differs((a, b)));
    let first = first.or((wanted.len() != found.len()).then(|| wanted.len().min(found.len())));
    first.map_or(Ok(()), |at| {
        let prob = |of: &[(u16, f64)]| of.get(at).map_or(f64::NAN, |(_, prob)| *prob);
        Err(ScoringError::SelfTest {
            version: bundle.version.clone(),
            row,
            field: "churn_by_horizon",
            expected: prob(wanted),
            found: prob(found),
        })
    })
}

/// What an example says: churn, then value (mean, 10 %, 50 %, 90 %), then purchases.
type TestNumbers = [Option<f64>; 6];

fn compare_numbers(
    version: &str,
    row: usize,
    expected: TestNumbers,
    found: TestNumbers,
) -> Result<(), ScoringError> {
    let fields = ["churn_prob", "clv_mean", "clv_p10", "clv_p50", "clv_p90", "expected_purchases"];
    for ((field, expected), found) in fields.into_iter().zip(expected).zip(found) {
        let same = expected.map(f64::to_bits) == found.map(f64::to_bits);
        if !same {
            return Err(ScoringError::SelfTest {
                version: version.to_owned(),
                row,
                field,
                expected: expected.unwrap_or(f64::NAN),
                found: found.unwrap_or(f64::NAN),
            });
        }
    }
    Ok(())
}
