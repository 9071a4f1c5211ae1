//! The fast ways against the plain traversal, bit for bit.
#![allow(clippy::cast_possible_truncation, reason = "small numbers of a test's own making")]

use super::*;

/// xorshift: the same forests and rows in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From a short list, so that rows hit thresholds exactly; both zeros are among them.
    fn threshold(&mut self) -> f32 {
        const LIST: [f32; 9] =
            [-0.0, 0.0, 0.25, -3.5, 1e-40, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 0.1];
        match self.below(3) {
            0 => LIST[self.below(LIST.len())],
            _ => self.below(64) as f32 / 64.0,
        }
    }

    fn value(&mut self) -> f64 {
        const LIST: [f64; 6] = [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -0.0];
        match self.below(8) {
            0 => LIST[self.below(LIST.len())],
            1 => f64::from(self.threshold()),
            2 => f64::from(self.threshold().next_up()),
            // Rounds to a threshold or beside it, as f32.
            3 => f64::from(self.threshold()) * (1.0 + 1e-9 * (self.unit() - 0.5)),
            _ => self.unit(),
        }
    }
}

/// A forest of trees with these numbers of leaves, split at random places.
fn grown(numbers: &mut Numbers, n_features: usize, leaves: &[usize]) -> Forest {
    let (mut nodes, mut roots) = (Vec::new(), Vec::new());
    for &n_leaves in leaves {
        let first = nodes.len();
        roots.push(first as u32);
        let leaf = |numbers: &mut Numbers| {
            let number = numbers.unit() as f32 - 0.5;
            Node { number, feature: 0, left: LEAF, right: LEAF }
        };
        nodes.push(leaf(numbers));
        let mut open = vec![first];
        while open.len() < n_leaves {
            let at = open.swap_remove(numbers.below(open.len()));
            let left = nodes.len();
            nodes.extend([leaf(numbers), leaf(numbers)]);
            open.extend([left, left + 1]);
            let missing = if numbers.below(2) == 0 { 0 } else { DEFAULT_LEFT };
            nodes[at] = Node {
                number: numbers.threshold(),
                feature: numbers.below(n_features) as u32 | missing,
                left: left as u32,
                right: left as u32 + 1,
            };
        }
    }
    let (covers, gains) = (vec![1.0; nodes.len()], vec![0.0; nodes.len()]);
    let forms = Forms::new(n_features, &nodes, &roots);
    let (link, base_score, base_margin) = (ForestLink::Logistic, 0.5, 0.125);
    Forest { link, base_score, base_margin, n_features, nodes, covers, gains, roots, forms }
}

/// Rows of which one differs between the plain way and any other.
fn differing(forest: &Forest, numbers: &mut Numbers, n_rows: usize) -> usize {
    let n = forest.n_features();
    let rows: Vec<f64> = (0..n_rows * n).map(|_| numbers.value()).collect();
    let mut together = Vec::new();
    forest.margins_of(&rows, &mut together).unwrap();
    let columns = (0..n).map(|f| rows.iter().skip(f).step_by(n).copied().collect()).collect();
    let by_column = forest.margins(&FeatureMatrix::from_columns("s", columns).unwrap()).unwrap();
    assert_eq!((together.len(), by_column.len()), (n_rows, n_rows));
    let mut portable = Vec::new();
    for rows in rows.chunks(ROWS * n) {
        let mut block = vec![[0.0; ROWS]; n];
        for (column, lane) in block.iter_mut().enumerate() {
            fill(lane, rows[column..].iter().step_by(n));
        }
        let mut sums = [forest.base_margin; ROWS];
        forest.forms.bits.add_leaves(&forest.nodes, &block, &mut sums);
        portable.extend_from_slice(&sums[..rows.len() / n]);
    }
    let steps = StepForest::new(n, &forest.nodes, &forest.roots);
    let same = |idx: usize, row: &[f64]| {
        let plain = forest.margin_plain(row).to_bits();
        let walked = steps.margin(forest.base_margin, row);
        [forest.margin(row), walked, together[idx], by_column[idx], portable[idx]]
            .iter()
            .all(|fast| fast.to_bits() == plain)
    };
    rows.chunks(n).enumerate().filter(|(idx, row)| !same(*idx, row)).count()
}

#[test]
fn no_row_differs_from_the_plain_traversal() {
    let n_rows = if cfg!(debug_assertions) { 2_000 } else { 50_000 };
    let n_blocks = if cfg!(debug_assertions) { 1 } else { 20 };
    let mut numbers = Numbers(88_172_645_463_325_252);
    let forest = grown(&mut numbers, 30, &[31; 200]);
    assert!(forest.forms.ranks.is_some());
    for _ in 0..n_blocks {
        assert_eq!(differing(&forest, &mut numbers, n_rows), 0);
    }
}

#[test]
fn trees_of_every_size_agree() {
    let mut numbers = Numbers(7);
    let sizes: Vec<usize> =
        (1..=70).chain([128, 300]).chain((0..300).map(|idx| 2 + idx % 8)).collect();
    // More features than the memory on the stack holds, fewer, and one.
    for n_features in [300, 12, 1] {
        let forest = grown(&mut numbers, n_features, &sizes);
        assert_eq!(differing(&forest, &mut numbers, 100), 0, "{n_features} features");
    }
    // Trees that are small enough for tables, narrow and wide, with few thresholds and with many.
    for (leaves, n_trees, n_features) in
        [(8, 200, 40), (8, 33, 1), (2, 512, 600), (31, 60, 12), (32, 512, 9), (1, 5, 2)]
    {
        let forest = grown(&mut numbers, n_features, &vec![leaves; n_trees]);
        let has_table = forest.forms.ranks.is_some();
        assert_eq!(
            has_table,
            n_features != 600 && n_features != 9,
            "{leaves} leaves, {n_trees} trees"
        );
        assert_eq!(differing(&forest, &mut numbers, 100), 0, "{leaves} leaves, {n_trees} trees");
    }
    let none = grown(&mut numbers, 2, &[]);
    assert_eq!(differing(&none, &mut numbers, 40), 0);
}

#[test]
fn a_tree_that_is_one_long_path_agrees() {
    let mut numbers = Numbers(99);
    for n_splits in [31, 63, 64, 500] {
        let mut forest = grown(&mut numbers, 3, &[]);
        let mut nodes = Vec::new();
        for idx in 0..n_splits {
            let (leaf, next) = (2 * idx + 1, 2 * idx + 2);
            let (left, right) = if idx % 2 == 0 { (leaf, next) } else { (next, leaf) };
            let missing = if idx % 3 == 0 { DEFAULT_LEFT } else { 0 };
            let feature = (idx % 3) | missing;
            nodes.push(Node { number: numbers.threshold(), feature, left, right });
            nodes.push(Node { number: idx as f32, feature: 0, left: LEAF, right: LEAF });
        }
        nodes.push(Node { number: 0.5, feature: 0, left: LEAF, right: LEAF });
        let roots = vec![0];
        forest.forms = Forms::new(3, &nodes, &roots);
        (forest.nodes, forest.roots) = (nodes, roots);
        assert_eq!(differing(&forest, &mut numbers, 500), 0, "{n_splits} splits");
    }
}

#[test]
fn values_that_are_no_whole_rows_are_refused() {
    let forest = grown(&mut Numbers(3), 3, &[4]);
    let found = forest.margins_of(&[1.0; 7], &mut Vec::new());
    assert!(matches!(found, Err(ForestError::Features { expected: 3, found: 1 })));
}

#[test]
fn trees_carried_to_wider_rows_agree_in_every_form() {
    let mut numbers = Numbers(0x5eed);
    let narrow = grown(&mut numbers, 3, &[4, 16, 31, 40, 90]);
    let row = [0.3, -0.1, f64::NAN];
    let margin = narrow.margin(&row);
    let wide = narrow.widened(&[6, 0, 4], 8);
    let wider = [row[1], 9.0, 9.0, 9.0, row[2], 9.0, row[0], 9.0];
    assert_eq!(wide.margin_plain(&wider).to_bits(), margin.to_bits());
    assert_eq!(differing(&wide, &mut numbers, 500), 0);
}
