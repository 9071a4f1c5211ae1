//! Who is judged by models that have not seen them.
//!
//! In: times, or customers and outcomes. Out: pairs of rows to learn from and rows to judge on.
//! Deterministic: folds depend on the seed and the customers' ids, not on the order of the rows
//! where there are ids.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Share of the rows that learn, where later rows are judged.
const LEARN_SHARE: f64 = 0.75;
/// Share of the rows that learn for the earlier origin, on which the calibration is tried.
const EARLIER_SHARE: f64 = 0.5;
/// Strata of the value label.
const STRATA: usize = 10;

/// Rows to learn from and rows to judge on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) train: Vec<usize>,
    pub(super) judged: Vec<usize>,
}

/// How rows are split.
#[derive(Debug, Clone)]
pub(super) struct Split {
    /// Every round judges rows at most once.
    pub(super) rounds: Vec<Vec<Origin>>,
    /// An origin before the judged one, where rows have times.
    pub(super) earlier: Option<Origin>,
    /// The first instant judged, where rows have times.
    pub(super) judged_from: Option<i64>,
}

/// Later rows are judged by earlier ones; none where all have one time.
pub(super) fn by_time(times: &[i64]) -> Option<Split> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |share: f64| -> Option<i64> {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a number of rows"
        )]
        let wanted = (sorted.len() as f64 * share) as usize;
        let cut = *sorted.get(wanted)?;
        // Rows of one instant stay together, on the side that leaves rows to learn from.
        if cut > sorted[0] { Some(cut) } else { sorted.iter().copied().find(|t| *t > cut) }
    };
    let cut = at(LEARN_SHARE)?;
    let rows = |keep: &dyn Fn(i64) -> bool| -> Vec<usize> {
        (0..times.len()).filter(|&row| keep(times[row])).collect()
    };
    let origin = Origin { train: rows(&|t| t < cut), judged: rows(&|t| t >= cut) };
    let earlier = at(EARLIER_SHARE).filter(|earlier| *earlier < cut).map(|earlier| Origin {
        train: rows(&|t| t < earlier),
        judged: rows(&|t| t >= earlier && t < cut),
    });
    Some(Split { rounds: vec![vec![origin]], earlier, judged_from: Some(cut) })
}

/// Folds that keep a group's rows together and have about the same outcomes.
pub(super) fn by_group(
    groups: &[Vec<u8>],
    strata: &[usize],
    (n_folds, n_rounds): (usize, usize),
    seed: u64,
) -> Split {
    let rounds = (0..n_rounds as u64).map(|round| {
        let mut members: BTreeMap<&[u8], (usize, Vec<usize>)> = BTreeMap::new();
        for (row, (group, &stratum)) in groups.iter().zip(strata).enumerate() {
            let entry = members.entry(group).or_default();
            entry.0 = entry.0.max(stratum);
            entry.1.push(row);
        }
        let round_seed = seed.wrapping_add(round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut order: Vec<(usize, u64, &[u8])> = members
            .iter()
            .map(|(group, (stratum, _))| (*stratum, xxh3_64_with_seed(group, round_seed), *group))
            .collect();
        order.sort_unstable();
        let mut fold_of = vec![0; groups.len()];
        for (place, (_, _, group)) in order.iter().enumerate() {
            for &row in &members[group].1 {
                fold_of[row] = place % n_folds;
            }
        }
        let rows = |keep: &dyn Fn(usize) -> bool| -> Vec<usize> {
            (0..groups.len()).filter(|&row| keep(fold_of[row])).collect()
        };
        (0..n_folds)
            .map(|fold| Origin { train: rows(&|f| f != fold), judged: rows(&|f| f == fold) })
            .collect()
    });
    Split { rounds: rounds.collect(), earlier: None, judged_from: None }
}

/// Strata by the outcome, and by tenths of the value where there is no outcome.
pub(super) fn strata(churned: Option<&[bool]>, value: Option<&[f64]>) -> Vec<usize> {
    if let Some(churned) = churned {
        return churned.iter().map(|&yes| usize::from(yes)).collect();
    }
    let value = value.unwrap_or_default();
    let mut order: Vec<usize> = (0..value.len()).collect();
    order.sort_by(|&a, &b| value[a].total_cmp(&value[b]).then(a.cmp(&b)));
    let mut strata = vec![0; value.len()];
    for (place, &row) in order.iter().enumerate() {
        strata[row] = place * STRATA / value.len().max(1);
    }
    strata
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(n: usize, of: impl Fn(usize) -> usize) -> Vec<Vec<u8>> {
        (0..n).map(|row| of(row).to_string().into_bytes()).collect()
    }

    #[test]
    fn folds_keep_customers_together_and_have_alike_outcomes() {
        let groups = groups(3_000, |row| row / 3);
        let strata: Vec<usize> = (0..3_000).map(|row| usize::from(row / 3 % 4 == 0)).collect();
        let split = by_group(&groups, &strata, (5, 2), 42);
        assert_eq!(split.rounds.len(), 2);
        assert_ne!(split.rounds[0], split.rounds[1]);
        for round in &split.rounds {
            let mut judged = vec![0; 3_000];
            for origin in round {
                assert_eq!(origin.train.len() + origin.judged.len(), 3_000);
                assert!(origin.judged.len().abs_diff(600) <= 3);
                let churned = origin.judged.iter().filter(|&&row| strata[row] == 1).count();
                assert!(churned.abs_diff(150) <= 3, "{churned}");
                let of = |rows: &[usize]| rows.iter().map(|r| r / 3).collect::<Vec<_>>();
                let train = of(&origin.train);
                assert!(of(&origin.judged).iter().all(|group| train.binary_search(group).is_err()));
                origin.judged.iter().for_each(|&row| judged[row] += 1);
            }
            assert!(judged.iter().all(|&n| n == 1));
        }
        let again = by_group(&groups, &strata, (5, 2), 42);
        assert_eq!(again.rounds, split.rounds);
        assert_ne!(by_group(&groups, &strata, (5, 2), 43).rounds, split.rounds);
    }

    #[test]
    fn later_rows_are_judged_by_earlier_ones() {
        let times: Vec<i64> = (0..1_000).map(|row| (row * 7 % 1_000) / 50).collect();
        let split = by_time(&times).unwrap();
        let origin = &split.rounds[0][0];
        let newest = origin.train.iter().map(|&row| times[row]).max().unwrap();
        assert!(origin.judged.iter().all(|&row| times[row] > newest));
        assert_eq!(split.judged_from, Some(15));
        let earlier = split.earlier.unwrap();
        assert!(earlier.judged.iter().all(|&row| times[row] >= 10 && times[row] < 15));
        assert!(by_time(&[3; 20]).is_none(), "one instant");
    }
}
