//! Do customers who take up an activity stay longer than others like them?
//!
//! In: one row a customer-day on which the activity was taken up (or could have been), with what
//! was known before that day, whether the customer stayed after it, and the same question for a
//! time long before it. Out: adjusted differences with intervals and verdicts.
//! It is an association, whatever it finds: people who take something up differ in ways no log
//! shows. So the best verdict is "candidate to test"; only an experiment says more.
//!
//! Adjustment: exact comparison within cells of the covariates' quantiles, weighted by the
//! adopters in them, so that nothing is assumed about the shape of any influence. Guards: a
//! negative-control outcome (Lipsitch et al. 2010), which the activity cannot have caused and
//! which must show no difference; the E-value (VanderWeele and Ding 2017), how strong an unseen
//! cause would have to be; several periods; and the false discovery rate over all activities
//! (Benjamini and Hochberg 1995).

/// Things known before the day by which customers are compared with their like.
pub const COVARIATES: usize = 4;

/// Classes of each covariate: recency, purchases, rate, tenure. The rate has the most: who does
/// much takes up much and stays.
const CLASSES: [usize; COVARIATES] = [3, 2, 16, 2];
/// Adopters, and others, needed for a difference.
const ADOPTERS_MIN: usize = 50;
/// Half width of a 95 % interval in standard errors.
const Z_95: f64 = 1.959_963_984_540_054;
/// False discoveries tolerated among those called candidates.
const FALSE_DISCOVERIES: f64 = 0.05;
/// Share of the periods that must agree in sign with the whole.
const AGREEING_MIN: f64 = 2.0 / 3.0;

/// A day on which a customer took up the activity, or was active without doing so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdoptionRow {
    /// Whether the activity was taken up on that day.
    pub adopted: bool,
    /// Whether the customer bought within the horizon after it.
    pub stayed: bool,
    /// Whether the customer bought in a period long before it; none for those not yet known then.
    pub bought_before: Option<bool>,
    /// What was known before the day: days since the last event, purchases in 91 days, active days
    /// a day since the first, days known.
    pub covariates: [f64; COVARIATES],
    /// How many such days of the customer this one stands for, > 0.
    pub weight: f64,
}

/// A difference of shares with its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Share among adopters less that among others like them, in [-1, 1].
    pub value: f64,
    /// Standard error.
    pub se: f64,
    /// Share among the adopters that were compared.
    pub adopters_share: f64,
    /// Adopters that were compared: those with others in their cell.
    pub n_adopters: usize,
}

impl Difference {
    /// The 95 % interval.
    #[must_use]
    pub fn interval(&self) -> [f64; 2] {
        [self.value - Z_95 * self.se, self.value + Z_95 * self.se]
    }

    /// Probability of a difference as large by chance, both sides.
    #[must_use]
    pub fn p_value(&self) -> f64 {
        libm::erfc((self.value / self.se).abs() / std::f64::consts::SQRT_2)
    }
}

/// What is to be made of an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptionVerdict {
    /// Worth an experiment.
    CandidateToTest,
    /// No difference that chance does not explain.
    NotShown,
    /// Adopters differed from the others long before: the comparison is not fair.
    Confounded,
    /// The periods disagree.
    Unstable,
    /// Too few took it up.
    TooFew,
}

impl AdoptionVerdict {
    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CandidateToTest => "candidate to test",
            Self::NotShown => "not shown",
            Self::Confounded => "confounded",
            Self::Unstable => "unstable",
            Self::TooFew => "too few",
        }
    }
}

/// What the log says of one activity.
#[derive(Debug, Clone, PartialEq)]
pub struct AdoptionEffect {
    /// Days on which it was taken up.
    pub n_adopters: usize,
    /// The adjusted difference over all periods; none with too few.
    pub difference: Option<Difference>,
    /// The same without any adjustment.
    pub unadjusted: Option<f64>,
    /// The negative control: the difference long before; none where too few were known then.
    pub before: Option<Difference>,
    /// The adjusted difference of each period that has enough, in order.
    pub periods: Vec<Difference>,
    /// Risk ratio that an unseen cause would need with both the activity and staying to explain
    /// the difference away, >= 1; and the same for the nearer end of the interval.
    pub e_values: Option<[f64; 2]>,
    /// What is to be made of it.
    pub verdict: AdoptionVerdict,
}

/// Judges each activity from its rows by period. Verdicts depend on how many are judged together.
#[must_use]
pub fn adoption_effects(activities: &[Vec<Vec<AdoptionRow>>]) -> Vec<AdoptionEffect> {
    let mut effects: Vec<AdoptionEffect> = activities.iter().map(|rows| effect(rows)).collect();
    let p_values: Vec<Option<f64>> =
        effects.iter().map(|effect| effect.difference.map(|d| d.p_value())).collect();
    let found = discoveries(&p_values);
    for (effect, is_found) in effects.iter_mut().zip(found) {
        effect.verdict = verdict(effect, is_found);
    }
    effects
}

fn effect(periods: &[Vec<AdoptionRow>]) -> AdoptionEffect {
    let differences: Vec<Difference> =
        periods.iter().filter_map(|rows| difference(rows, |row| Some(row.stayed))).collect();
    let before: Vec<Difference> =
        periods.iter().filter_map(|rows| difference(rows, |row| row.bought_before)).collect();
    let rows = || periods.iter().flatten();
    let whole = pooled(&differences);
    AdoptionEffect {
        n_adopters: rows().filter(|row| row.adopted).count(),
        difference: whole,
        unadjusted: share(rows().filter(|row| row.adopted))
            .zip(share(rows().filter(|row| !row.adopted)))
            .map(|(adopters, others)| adopters - others),
        before: pooled(&before),
        periods: differences,
        e_values: whole.map(|difference| e_values(&difference)),
        verdict: AdoptionVerdict::TooFew,
    }
}

fn verdict(effect: &AdoptionEffect, is_found: bool) -> AdoptionVerdict {
    let Some(difference) = effect.difference else { return AdoptionVerdict::TooFew };
    if !is_found || difference.interval()[0] <= 0.0 {
        return AdoptionVerdict::NotShown;
    }
    let differed_before = |before: Difference| before.value.abs() > Z_95 * before.se;
    if effect.before.is_some_and(differed_before) {
        return AdoptionVerdict::Confounded;
    }
    let n_agreeing = effect.periods.iter().filter(|period| period.value > 0.0).count();
    if (n_agreeing as f64) < AGREEING_MIN * effect.periods.len() as f64 {
        return AdoptionVerdict::Unstable;
    }
    AdoptionVerdict::CandidateToTest
}

fn share<'r>(rows: impl Iterator<Item = &'r AdoptionRow>) -> Option<f64> {
    let (stayed, all) = rows.fold((0.0, 0.0), |(stayed, all), row| {
        (stayed + if row.stayed { row.weight } else { 0.0 }, all + row.weight)
    });
    (all > 0.0).then(|| stayed / all)
}

/// Sums of one cell.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    n_adopters: f64,
    adopters_yes: f64,
    others: f64,
    others_squared: f64,
    others_yes: f64,
}

/// The difference of an outcome between adopters and others in the same cell, weighted by the
/// adopters; none with too few. Rows without the outcome are left out.
fn difference(
    rows: &[AdoptionRow],
    outcome: impl Fn(&AdoptionRow) -> Option<bool>,
) -> Option<Difference> {
    let rows: Vec<(&AdoptionRow, bool)> =
        rows.iter().filter_map(|row| Some((row, outcome(row)?))).collect();
    let n_adopters = rows.iter().filter(|(row, _)| row.adopted).count();
    if n_adopters < ADOPTERS_MIN || rows.len() - n_adopters < ADOPTERS_MIN {
        return None;
    }
    let cuts: [Vec<f64>; COVARIATES] =
        std::array::from_fn(|at| quantile_cuts(&rows, at, CLASSES[at]));
    let mut cells = vec![Cell::default(); CLASSES.iter().product()];
    for (row, yes) in &rows {
        let at = (0..COVARIATES).fold(0, |at, idx| {
            at * CLASSES[idx] + cuts[idx].partition_point(|cut| *cut < row.covariates[idx])
        });
        let yes = f64::from(u8::from(*yes));
        let cell = &mut cells[at];
        if row.adopted {
            cell.n_adopters += 1.0;
            cell.adopters_yes += yes;
        } else {
            cell.others += row.weight;
            cell.others_squared += row.weight * row.weight;
            cell.others_yes += row.weight * yes;
        }
    }
    over_cells(&cells)
}

fn over_cells(cells: &[Cell]) -> Option<Difference> {
    let (mut n, mut sum, mut yes, mut variance) = (0.0, 0.0, 0.0, 0.0);
    for cell in cells.iter().filter(|cell| cell.n_adopters > 0.0 && cell.others > 0.0) {
        let others_share = cell.others_yes / cell.others;
        n += cell.n_adopters;
        yes += cell.adopters_yes;
        sum += cell.adopters_yes - cell.n_adopters * others_share;
        // Weighted rows are worth (sum w)^2 / (sum w^2) plain ones. One half of each outcome is
        // added: a cell of few is not without noise because all in it stayed.
        let n_others = cell.others * cell.others / cell.others_squared;
        let n_cell = cell.n_adopters + n_others;
        let p = (cell.adopters_yes + n_others * others_share + 0.5) / (n_cell + 1.0);
        variance += cell.n_adopters
            * cell.n_adopters
            * p
            * (1.0 - p)
            * (1.0 / cell.n_adopters + 1.0 / n_others);
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of rows, a whole number"
    )]
    let n_adopters = n as usize;
    (n_adopters >= ADOPTERS_MIN).then(|| Difference {
        value: sum / n,
        se: variance.sqrt() / n,
        adopters_share: yes / n,
        n_adopters,
    })
}

/// Cuts of one covariate into classes of like size among the adopters, whose comparison it is: a
/// value belongs to the class after the last cut below it. Where many share a value the cut goes
/// to the side of it that comes closer to the wanted size, and none where all share it.
fn quantile_cuts(rows: &[(&AdoptionRow, bool)], at: usize, n_classes: usize) -> Vec<f64> {
    let mut values: Vec<f64> =
        rows.iter().filter(|(row, _)| row.adopted).map(|(row, _)| row.covariates[at]).collect();
    values.sort_by(f64::total_cmp);
    let n = values.len();
    let mut cuts: Vec<f64> = Vec::with_capacity(n_classes);
    for class in 1..n_classes {
        let wanted = class * n / n_classes;
        let Some(value) = values.get(wanted) else { continue };
        let n_below = values.partition_point(|held| held < value);
        let n_with = values.partition_point(|held| held <= value);
        let below_is_closer = wanted - n_below <= n_with - wanted;
        let n_first =
            if n_below > 0 && (below_is_closer || n_with == n) { n_below } else { n_with };
        if n_first < n {
            cuts.push(values[n_first - 1]);
        }
    }
    cuts.dedup_by(|one, other| one.total_cmp(other).is_eq());
    cuts
}

/// Differences of several periods as one, weighted by their precision.
fn pooled(periods: &[Difference]) -> Option<Difference> {
    let weight = |period: &Difference| 1.0 / (period.se * period.se);
    let total: f64 = periods.iter().map(weight).sum();
    if periods.is_empty() || !total.is_finite() {
        return None;
    }
    let mean = |part: fn(&Difference) -> f64| {
        periods.iter().map(|period| weight(period) * part(period)).sum::<f64>() / total
    };
    Some(Difference {
        value: mean(|period| period.value),
        se: total.sqrt().recip(),
        adopters_share: mean(|period| period.adopters_share),
        n_adopters: periods.iter().map(|period| period.n_adopters).sum(),
    })
}

/// E-values of a difference and of the end of its interval nearer to none: R + sqrt(R (R - 1))
/// for the ratio R of the shares, above 1.
fn e_values(difference: &Difference) -> [f64; 2] {
    let [low, high] = difference.interval();
    let nearer = if difference.value >= 0.0 { low.max(0.0) } else { high.min(0.0) };
    [difference.value, nearer].map(|value| {
        let adopters = difference.adopters_share.clamp(1e-9, 1.0);
        let others = (adopters - value).clamp(1e-9, 1.0);
        let ratio = (adopters / others).max(others / adopters);
        ratio + (ratio * (ratio - 1.0)).sqrt()
    })
}

/// Which of the p-values are discoveries at the tolerated rate of false ones, step-up.
fn discoveries(p_values: &[Option<f64>]) -> Vec<bool> {
    let mut rising: Vec<f64> = p_values.iter().copied().flatten().collect();
    rising.sort_by(f64::total_cmp);
    let n = rising.len() as f64;
    let mut limit = f64::NEG_INFINITY;
    for (rank, p) in (1_u32..).zip(&rising) {
        if *p <= f64::from(rank) / n * FALSE_DISCOVERIES {
            limit = *p;
        }
    }
    p_values.iter().map(|p| p.is_some_and(|p| p <= limit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_up_rule_is_that_of_the_paper() {
        // Benjamini and Hochberg 1995, section 3.2: fifteen p-values, four discoveries at 0.05.
        let p_values = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
            0.5719, 0.6528, 0.7590, 1.0000,
        ];
        let found = discoveries(&p_values.map(Some));
        assert_eq!(found.iter().filter(|yes| **yes).count(), 4);
        assert!(found[..4].iter().all(|yes| *yes));
        assert_eq!(discoveries(&[None, Some(0.01)]), [false, true]);
    }

    #[test]
    fn the_e_value_is_that_of_the_paper() {
        // VanderWeele and Ding 2017: a risk ratio of 3.9 has the E-value 7.26, its lower limit of
        // 1.8 has 3.0.
        let adopters_share = 0.39;
        let value = adopters_share - adopters_share / 3.9;
        let low = adopters_share - adopters_share / 1.8;
        let se = (value - low) / Z_95;
        let found = e_values(&Difference { value, se, adopters_share, n_adopters: 100 });
        assert!((found[0] - 7.26).abs() < 0.005, "{found:?}");
        assert!((found[1] - 3.0).abs() < 0.005, "{found:?}");
    }

    #[test]
    fn within_cells_a_common_cause_vanishes() {
        // Frequent customers adopt and stay; within a frequency adopting changes nothing.
        let rows = |frequency: f64, adopted: bool, stayed: usize, left: usize| {
            let row = AdoptionRow {
                adopted,
                stayed: true,
                bought_before: None,
                covariates: [1.0, frequency, frequency, 100.0],
                weight: 1.0,
            };
            let mut rows = vec![row; stayed];
            rows.extend(vec![AdoptionRow { stayed: false, ..row }; left]);
            rows
        };
        let period = [
            rows(1.0, true, 20, 80),
            rows(1.0, false, 180, 720),
            rows(9.0, true, 720, 180),
            rows(9.0, false, 80, 20),
        ]
        .concat();
        let effects = adoption_effects(&[vec![period]]);
        assert!(effects[0].unadjusted.unwrap() > 0.4);
        assert!(effects[0].difference.unwrap().value.abs() < 1e-12);
        assert_eq!(effects[0].verdict, AdoptionVerdict::NotShown);
        assert_eq!(adoption_effects(&[vec![]])[0].verdict, AdoptionVerdict::TooFew);
    }

    #[test]
    fn who_differed_long_before_is_no_fair_comparison() {
        let row = |adopted: bool, n: u32| AdoptionRow {
            adopted,
            stayed: n % 10 < if adopted { 7 } else { 4 },
            bought_before: Some(n % 7 < if adopted { 5 } else { 2 }),
            covariates: [1.0, 2.0, 0.5, 100.0],
            weight: 1.0,
        };
        let fair = |row: AdoptionRow| AdoptionRow { bought_before: Some(true), ..row };
        let rows: Vec<AdoptionRow> = (0..700).flat_map(|n| [row(true, n), row(false, n)]).collect();
        let again: Vec<AdoptionRow> = rows.iter().copied().map(fair).collect();
        let worse: Vec<AdoptionRow> =
            again.iter().map(|row| AdoptionRow { adopted: !row.adopted, ..*row }).collect();
        let weak = worse[..300].to_vec();
        let judged = adoption_effects(&[
            vec![rows],
            vec![again.clone()],
            vec![again.clone(), weak.clone(), weak],
            vec![again[..60].to_vec()],
        ]);
        let verdicts: Vec<AdoptionVerdict> = judged.iter().map(|effect| effect.verdict).collect();
        assert_eq!(verdicts[0], AdoptionVerdict::Confounded);
        assert_eq!(verdicts[1], AdoptionVerdict::CandidateToTest);
        assert_eq!(verdicts[2], AdoptionVerdict::Unstable);
        assert_eq!(verdicts[3], AdoptionVerdict::TooFew);
        let found = judged[1].difference.unwrap();
        assert!((found.value - 0.3).abs() < 1e-9 && found.n_adopters == 700);
    }
}
