//! Personas: groups of customers alike in how they buy, found by k-means on standardised features.
//!
//! In: the rows of a base and how many groups are wanted. Out: centroids with names made of what
//! sets each group apart most ("frequent, small baskets"), and the group of any row. The fit is
//! linfa's, seeded and the same on any number of threads; assigning is ours.
//!
//! It deliberately looks at how people buy and not at how long ago: a persona is to last. A
//! missing value counts as average.

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_clustering::KMeans;
use ndarray::Array2;
use rand_xoshiro::Xoshiro256Plus;
use rand_xoshiro::rand_core::SeedableRng;
use thiserror::Error;

use crate::dataset::FeatureMatrix;
use crate::features::FeatureSchema;

/// Fewest personas: one is no grouping.
pub const PERSONAS_MIN: usize = 2;
/// Most personas: nobody remembers more than a dozen.
pub const PERSONAS_MAX: usize = 12;
/// A persona needs this many customers on average, else its name is noise.
const ROWS_PER_PERSONA_MIN: usize = 20;
/// Rows that are enough to find the groups of any base; of more, a systematic part is taken.
const ROWS_MAX: usize = 20_000;
/// Starts of k-means, of which the best is kept.
const N_RUNS: usize = 8;
const STEPS_MAX: u64 = 200;
/// A centroid that lies so few standard deviations off the mean is average in that trait.
const NOTABLE: f64 = 0.25;
/// Traits that make a name.
const NAME_TRAITS: usize = 2;
/// Beyond so many standard deviations a value counts as that far: one giant must not be a group.
const FAR: f64 = 4.0;

/// What personas are made of: column, whether its logarithm counts, and the words for less and
/// more of it than usual.
const TRAITS: [(&str, bool, &str, &str); 10] = [
    ("expected_gap_days", true, "frequent", "seldom"),
    ("spend_per_day_mean", true, "small baskets", "large baskets"),
    ("items_per_order", true, "few items", "many items"),
    ("discount_share", false, "full price", "discount buyers"),
    ("refund_share", false, "keep what they buy", "often return"),
    ("category_entropy", false, "one range", "broad range"),
    ("gap_regularity", false, "in bursts", "regular"),
    ("sales_channels", true, "one place", "many places"),
    ("activities_52w", true, "quiet users", "active users"),
    ("open_share", false, "pass over messages", "read messages"),
];

/// Why there are no personas.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PersonaError {
    /// A number of personas out of range.
    #[error("{found} personas cannot be made: from {min} to {max} can")]
    Count {
        /// How many were asked for.
        found: usize,
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
    },
    /// Too few customers.
    #[error("{rows} customers are too few for {personas} personas: {needed} are needed")]
    Rows {
        /// Customers.
        rows: usize,
        /// Personas.
        personas: usize,
        /// Customers needed.
        needed: usize,
    },
    /// No trait differs among the customers.
    #[error("the customers do not differ in any trait: there is nothing to tell them apart by")]
    Alike,
    /// A stored persona that cannot be used.
    #[error("stored personas: {what}")]
    Stored {
        /// What is wrong.
        what: &'static str,
    },
    /// The library failed.
    #[error("k-means failed: {0}")]
    Library(#[from] linfa_clustering::KMeansError),
}

/// One trait: a column and how it is standardised.
#[derive(Debug, Clone, PartialEq)]
pub struct PersonaTrait {
    /// The column's name.
    pub column: String,
    /// Whether ln(1 + value) is looked at in place of the value.
    pub log: bool,
    /// Mean over the base.
    pub mean: f64,
    /// Standard deviation over the base, > 0.
    pub sd: f64,
}

impl PersonaTrait {
    /// Standard deviations above the base's mean; 0 where the value is missing.
    fn standard(&self, value: f64) -> f64 {
        let scaled = if self.log { libm::log1p(value.max(0.0)) } else { value };
        let z = (scaled - self.mean) / self.sd;
        if value.is_finite() { z.clamp(-FAR, FAR) } else { 0.0 }
    }
}

/// One group.
#[derive(Debug, Clone, PartialEq)]
pub struct Persona {
    /// Its name, unique among the personas.
    pub name: String,
    /// Its middle, in standard deviations, one number a trait.
    pub centroid: Vec<f64>,
    /// Its share of the base it was found in, in [0, 1].
    pub share: f64,
}

/// The personas of a base.
#[derive(Debug, Clone, PartialEq)]
pub struct Personas {
    traits: Vec<PersonaTrait>,
    positions: Vec<usize>,
    personas: Vec<Persona>,
}

impl Personas {
    /// Finds `n_personas` groups in the rows of a base.
    ///
    /// # Errors
    /// [`PersonaError`] for a number out of range, too few rows, or rows that are all alike.
    pub fn fit(
        schema: &FeatureSchema,
        rows: &FeatureMatrix,
        n_personas: usize,
        seed: u64,
    ) -> Result<Self, PersonaError> {
        if !(PERSONAS_MIN..=PERSONAS_MAX).contains(&n_personas) {
            let (min, max) = (PERSONAS_MIN, PERSONAS_MAX);
            return Err(PersonaError::Count { found: n_personas, min, max });
        }
        let needed = ROWS_PER_PERSONA_MIN * n_personas;
        if rows.n_rows() < needed {
            let rows = rows.n_rows();
            return Err(PersonaError::Rows { rows, personas: n_personas, needed });
        }
        let (traits, positions) = measure(schema, rows);
        if traits.is_empty() {
            return Err(PersonaError::Alike);
        }
        let step = rows.n_rows().div_ceil(ROWS_MAX);
        let taken: Vec<usize> = (0..rows.n_rows()).step_by(step).collect();
        let points = Array2::from_shape_fn((taken.len(), traits.len()), |(row, at)| {
            traits[at].standard(rows.column(positions[at])[taken[row]])
        });
        let fitted = KMeans::params_with_rng(n_personas, Xoshiro256Plus::seed_from_u64(seed))
            .n_runs(N_RUNS)
            .max_n_iterations(STEPS_MAX)
            .fit(&DatasetBase::from(points))?;
        let mut centroids: Vec<Vec<f64>> =
            fitted.centroids().outer_iter().map(|centroid| centroid.to_vec()).collect();
        // The order of k-means means nothing: the order of the traits does.
        centroids.sort_by(|a, b| {
            let differs = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
            differs.into_iter().find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
        });
        let names = names(&traits, &centroids);
        let personas = names.into_iter().zip(centroids);
        let personas =
            personas.map(|(name, centroid)| Persona { name, centroid, share: 0.0 }).collect();
        let mut found = Self { traits, positions, personas };
        found.count(rows);
        Ok(found)
    }

    /// From stored traits and personas.
    ///
    /// # Errors
    /// [`PersonaError::Stored`] for columns that the schema lacks, centroids of another length or
    /// numbers out of range.
    pub fn try_new(
        schema: &FeatureSchema,
        traits: Vec<PersonaTrait>,
        personas: Vec<Persona>,
    ) -> Result<Self, PersonaError> {
        let bad = |what| PersonaError::Stored { what };
        let positions: Option<Vec<usize>> =
            traits.iter().map(|one| schema.position(&one.column)).collect();
        let positions = positions.ok_or_else(|| bad("a column is not of the feature schema"))?;
        let sound = |one: &PersonaTrait| one.mean.is_finite() && one.sd.is_finite() && one.sd > 0.0;
        if traits.is_empty() || !traits.iter().all(sound) {
            return Err(bad("a trait needs a finite mean and a standard deviation above 0"));
        }
        let fits = |one: &Persona| {
            one.centroid.len() == traits.len() && one.centroid.iter().all(|z| z.is_finite())
        };
        if personas.is_empty() || !personas.iter().all(fits) {
            return Err(bad("a centroid needs one finite number a trait"));
        }
        Ok(Self { traits, positions, personas })
    }

    /// What they are made of.
    #[must_use]
    pub fn traits(&self) -> &[PersonaTrait] {
        &self.traits
    }

    /// The groups.
    #[must_use]
    pub fn personas(&self) -> &[Persona] {
        &self.personas
    }

    /// The group that a row is nearest to; the first one of equally near ones. None for a row of
    /// another length than the schema's.
    #[must_use]
    pub fn of(&self, row: &[f64]) -> Option<&Persona> {
        self.nearest(|position| row.get(position).copied()).map(|idx| &self.personas[idx])
    }

    fn nearest(&self, value: impl Fn(usize) -> Option<f64>) -> Option<usize> {
        let standard = |(one, &position): (&PersonaTrait, &usize)| {
            value(position).map(|value| one.standard(value))
        };
        let point: Option<Vec<f64>> =
            self.traits.iter().zip(&self.positions).map(standard).collect();
        let point = point?;
        let distance = |persona: &Persona| -> f64 {
            persona.centroid.iter().zip(&point).map(|(c, z)| (c - z) * (c - z)).sum()
        };
        (0..self.personas.len())
            .min_by(|&a, &b| distance(&self.personas[a]).total_cmp(&distance(&self.personas[b])))
    }

    fn count(&mut self, rows: &FeatureMatrix) {
        let mut counts = vec![0_usize; self.personas.len()];
        for row in 0..rows.n_rows() {
            if let Some(idx) = self.nearest(|position| Some(rows.column(position)[row])) {
                counts[idx] += 1;
            }
        }
        for (persona, count) in self.personas.iter_mut().zip(counts) {
            persona.share = count as f64 / rows.n_rows().max(1) as f64;
        }
    }
}

/// Traits that vary over the rows, with where their columns lie.
fn measure(schema: &FeatureSchema, rows: &FeatureMatrix) -> (Vec<PersonaTrait>, Vec<usize>) {
    let mut found = (Vec::new(), Vec::new());
    for (column, log, _, _) in TRAITS {
        let Some(position) = schema.position(column) else { continue };
        let scale = |value: f64| if log { libm::log1p(value.max(0.0)) } else { value };
        let values = || rows.column(position).iter().filter(|x| x.is_finite()).map(|&x| scale(x));
        let n = values().count().max(1) as f64;
        let mean = values().sum::<f64>() / n;
        let sd = (values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n).sqrt();
        if sd > 1e-9 * mean.abs().max(1.0) {
            found.0.push(PersonaTrait { column: column.to_owned(), log, mean, sd });
            found.1.push(position);
        }
    }
    found
}

/// A name for each centroid: its most unusual traits, more of them where two would be called the
/// same.
fn names(traits: &[PersonaTrait], centroids: &[Vec<f64>]) -> Vec<String> {
    let words = |centroid: &[f64], n_traits: usize| {
        let mut order: Vec<usize> = (0..centroid.len()).collect();
        order.sort_by(|&a, &b| centroid[b].abs().total_cmp(&centroid[a].abs()).then(a.cmp(&b)));
        let notable = order.into_iter().filter(|&at| centroid[at].abs() >= NOTABLE);
        let said: Vec<&str> =
            notable.take(n_traits).map(|at| word(&traits[at].column, centroid[at] > 0.0)).collect();
        if said.is_empty() { "average".to_owned() } else { said.join(", ") }
    };
    let mut names: Vec<String> = Vec::with_capacity(centroids.len());
    for centroid in centroids {
        let longer = (NAME_TRAITS..=traits.len()).map(|n| words(centroid, n));
        let name = longer
            .into_iter()
            .find(|name| !names.contains(name))
            .unwrap_or_else(|| format!("{} {}", words(centroid, NAME_TRAITS), names.len() + 1));
        names.push(name);
    }
    names
}

fn word(column: &str, more: bool) -> &'static str {
    let found = TRAITS.iter().find(|(name, _, _, _)| *name == column);
    found.map_or("other", |(_, _, less_word, more_word)| if more { more_word } else { less_word })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureDef;

    fn schema() -> FeatureSchema {
        let def = |name| FeatureDef { name, unit: "count", doc: "" };
        FeatureSchema::new(&[
            def("expected_gap_days"),
            def("spend_per_day_mean"),
            def("discount_share"),
            def("items_per_order"),
        ])
    }

    /// Two kinds of customers, 60 to 40, with some spread; discounts are missing for some.
    fn rows() -> FeatureMatrix {
        let mut rows = FeatureMatrix::new("s", 4);
        for i in 0..400_u32 {
            let spread = f64::from(i % 7);
            let discount = if i % 3 == 0 { f64::NAN } else { 0.1 };
            let row = if i % 5 < 3 {
                [5.0 + spread, 20.0 + spread, discount, 2.0]
            } else {
                [60.0 + 5.0 * spread, 150.0 + 9.0 * spread, discount, 2.0]
            };
            rows.push_row(&row).unwrap();
        }
        rows
    }

    #[test]
    fn two_kinds_of_customers_are_found_and_named_by_what_sets_them_apart() {
        let found = Personas::fit(&schema(), &rows(), 2, 42).unwrap();
        let named: Vec<(&str, f64)> =
            found.personas().iter().map(|p| (p.name.as_str(), p.share)).collect();
        let of = |row: &[f64]| found.of(row).map(|persona| persona.name.as_str());
        assert!(named[0].0.contains("frequent") && named[0].0.contains("small baskets"));
        assert!(named[1].0.contains("seldom") && named[1].0.contains("large baskets"));
        assert!((named[0].1 - 0.6).abs() < 1e-12, "{named:?}");
        assert_eq!(of(&[7.0, 25.0, f64::NAN, 2.0]), Some(named[0].0));
        assert_eq!(of(&[90.0, 180.0, 0.1, f64::NAN]), Some(named[1].0));
        assert_eq!(of(&[1.0]), None);
        let again = Personas::fit(&schema(), &rows(), 2, 42).unwrap();
        assert_eq!(found, again);
        let stored =
            Personas::try_new(&schema(), found.traits().to_vec(), found.personas().to_vec());
        assert_eq!(stored.unwrap(), found);
    }

    #[test]
    fn many_threads_find_what_one_finds() {
        let fit = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Personas::fit(&schema(), &rows(), 4, 7).unwrap())
        };
        let one = fit(1);
        assert_eq!(one, fit(3));
        let mut names: Vec<&str> = one.personas().iter().map(|p| p.name.as_str()).collect();
        names.dedup();
        assert_eq!(names.len(), 4);
    }

    #[test]
    fn what_cannot_be_grouped_is_refused() {
        assert!(matches!(
            Personas::fit(&schema(), &rows(), 1, 1),
            Err(PersonaError::Count { found: 1, .. })
        ));
        let few = rows().select_rows(&[0, 1, 2]);
        assert!(matches!(Personas::fit(&schema(), &few, 2, 1), Err(PersonaError::Rows { .. })));
        let alike = rows().select_rows(&vec![3; 100]);
        assert!(matches!(Personas::fit(&schema(), &alike, 2, 1), Err(PersonaError::Alike)));
        let found = Personas::fit(&schema(), &rows(), 2, 1).unwrap();
        let mut traits = found.traits().to_vec();
        traits[0].sd = 0.0;
        assert!(Personas::try_new(&schema(), traits, found.personas().to_vec()).is_err());
    }
}
