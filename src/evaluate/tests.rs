use super::*;

fn close(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
}

/// Scores with many ties, outcomes and amounts, from a fixed seed.
fn sample(n: usize, seed: u64) -> (Vec<f64>, Vec<bool>, Vec<f64>) {
    let mut random = SplitMix64::new(seed);
    let score: Vec<f64> = (0..n).map(|_| random.below(20) as f64 / 20.0).collect();
    let positive = score.iter().map(|s| random.unit() < 0.2 + 0.5 * s).collect();
    let amount =
        score.iter().map(|s| if random.unit() < 0.5 { 0.0 } else { s * random.unit() }).collect();
    (score, positive, amount)
}

#[test]
fn auc_counts_pairs_exactly() {
    for seed in 0..20 {
        let (score, positive, _) = sample(60, seed);
        let mut pairs = (0.0, 0.0);
        for (i, &hit) in positive.iter().enumerate() {
            for (j, &other) in positive.iter().enumerate() {
                if hit && !other {
                    pairs.1 += 1.0;
                    pairs.0 += match score[i].total_cmp(&score[j]) {
                        std::cmp::Ordering::Greater => 1.0,
                        std::cmp::Ordering::Equal => 0.5,
                        std::cmp::Ordering::Less => 0.0,
                    };
                }
            }
        }
        close(auc(&score, &positive).unwrap(), pairs.0 / pairs.1);
    }
    close(auc(&[1.0, 2.0, 3.0, 4.0], &[false, false, true, true]).unwrap(), 1.0);
    close(auc(&[4.0, 3.0, 2.0, 1.0], &[false, false, true, true]).unwrap(), 0.0);
    close(auc(&[0.0, -0.0], &[false, true]).unwrap(), 0.5);
}

#[test]
fn no_metric_depends_on_the_order_of_the_rows() {
    let (score, positive, amount) = sample(997, 3);
    let order: Vec<usize> = (0..997).map(|i| i * 400 % 997).collect();
    let s: Vec<f64> = order.iter().map(|&i| score[i]).collect();
    let y: Vec<bool> = order.iter().map(|&i| positive[i]).collect();
    let v: Vec<f64> = order.iter().map(|&i| amount[i]).collect();
    close(auc(&score, &positive).unwrap(), auc(&s, &y).unwrap());
    close(pr_auc(&score, &positive).unwrap(), pr_auc(&s, &y).unwrap());
    close(ece(&score, &positive).unwrap(), ece(&s, &y).unwrap());
    close(gini_normalised(&score, &amount).unwrap(), gini_normalised(&s, &v).unwrap());
    close(spearman(&score, &amount).unwrap(), spearman(&s, &v).unwrap());
    for share in [0.001, 0.05, 0.1, 0.33, 1.0] {
        let (one, two) = (top_share(&score, &positive, share), top_share(&s, &y, share));
        close(one.unwrap().lift_ratio, two.unwrap().lift_ratio);
        let (one, two) = (value_capture(&score, &amount, share), value_capture(&s, &v, share));
        close(one.unwrap(), two.unwrap());
    }
    let (one, two) = (decile_mape(&score, &amount).unwrap(), decile_mape(&s, &v).unwrap());
    close(one.mape_ratio, two.mape_ratio);
}

#[test]
fn a_constant_score_says_nothing() {
    let (_, positive, amount) = sample(200, 5);
    let flat = vec![0.4; 200];
    let share = positive.iter().filter(|&&hit| hit).count() as f64 / 200.0;
    close(auc(&flat, &positive).unwrap(), 0.5);
    close(pr_auc(&flat, &positive).unwrap(), share);
    let top = top_share(&flat, &positive, 0.1).unwrap();
    assert_eq!(top.n_top, 20);
    close(top.capture_share, 0.1);
    close(top.lift_ratio, 1.0);
    close(value_capture(&flat, &amount, 0.25).unwrap(), 0.25);
    // 2 * mean - 1 of an even rise over n rows is 1 / n, not 0.
    assert!(gini_normalised(&flat, &amount).unwrap().abs() < 0.02);
    assert!(matches!(spearman(&flat, &amount), Err(MetricError::Constant { .. })));
    close(ece(&flat, &positive).unwrap(), (0.4 - share).abs());
}

#[test]
fn perfect_predictions_get_the_best_value() {
    let (_, positive, amount) = sample(200, 6);
    let certain: Vec<f64> = positive.iter().map(|&hit| if hit { 1.0 } else { 0.0 }).collect();
    close(auc(&certain, &positive).unwrap(), 1.0);
    close(pr_auc(&certain, &positive).unwrap(), 1.0);
    close(brier(&certain, &positive).unwrap(), 0.0);
    close(ece(&certain, &positive).unwrap(), 0.0);
    assert!(log_loss(&certain, &positive).unwrap() < 2e-6);
    close(gini_normalised(&amount, &amount).unwrap(), 1.0);
    close(spearman(&amount, &amount).unwrap(), 1.0);
    close(total_ratio(&amount, &amount).unwrap(), 1.0);
    close(decile_mape(&amount, &amount).unwrap().mape_ratio, 0.0);
    let turned: Vec<f64> = amount.iter().map(|v| -v).collect();
    close(spearman(&turned, &amount).unwrap(), -1.0);
    assert!(gini_normalised(&turned, &amount).unwrap() < -0.5);
}

#[test]
fn lift_is_measured_on_the_rarer_outcome() {
    let score: Vec<f64> = (0..100).map(f64::from).collect();
    let rare: Vec<bool> = (0..100).map(|i| i >= 90).collect();
    close(top_share_of_rarer(&score, &rare, 0.1).unwrap().lift_ratio, 10.0);
    let frequent: Vec<bool> = (0..100).map(|i| i >= 10).collect();
    close(top_share(&score, &frequent, 0.1).unwrap().lift_ratio, 1.0 / 0.9);
    close(top_share_of_rarer(&score, &frequent, 0.1).unwrap().lift_ratio, 10.0);
}

#[test]
fn ties_at_a_border_count_in_expectation() {
    // The top two rows: the first and one of two equal ones, of which one is positive.
    let top = top_share(&[3.0, 2.0, 2.0, 1.0], &[true, true, false, false], 0.5).unwrap();
    close(top.capture_share, 0.75);
    let capture = value_capture(&[3.0, 2.0, 2.0, 1.0], &[5.0, 3.0, 1.0, 1.0], 0.5).unwrap();
    close(capture, 0.7);
}

#[test]
fn equal_probabilities_stay_in_one_bin() {
    let mut prob = vec![0.2; 15];
    prob.extend((0..25).map(|i| 0.3 + f64::from(i) / 100.0));
    let positive: Vec<bool> = (0..40).map(|i| i % 3 == 0).collect();
    let bins = reliability(&prob, &positive, 4).unwrap();
    let sizes: Vec<usize> = bins.iter().map(|bin| bin.n_rows).collect();
    assert_eq!(sizes, [15, 5, 10, 10]);
    close(bins[0].prob_mean, 0.2);
    close(bins[0].positive_share, 5.0 / 15.0);
}

#[test]
fn gini_takes_refunds_but_no_empty_total() {
    let found = gini_normalised(&[3.0, 2.0, 1.0], &[10.0, 5.0, -2.0]).unwrap();
    close(found, 1.0);
    for actual in [[0.0, 0.0, 0.0], [1.0, -2.0, 0.0]] {
        let found = gini_normalised(&[3.0, 2.0, 1.0], &actual);
        assert!(matches!(found, Err(MetricError::Total { .. })));
        assert!(matches!(total_ratio(&[1.0; 3], &actual), Err(MetricError::Total { .. })));
    }
    let found = gini_normalised(&[3.0, 2.0], &[1.0, 1.0]);
    assert!(matches!(found, Err(MetricError::Constant { .. })));
}

#[test]
fn deciles_without_value_are_skipped_and_counted() {
    let predicted: Vec<f64> = (0..20).map(|i| f64::from(20 - i)).collect();
    let actual: Vec<f64> =
        (0..20).map(|i| if i < 10 { f64::from(40 - 2 * i) } else { 0.0 }).collect();
    let table = deciles(&predicted, &actual).unwrap();
    assert_eq!(table.len(), 10);
    close(table[0].predicted_mean, 19.5);
    close(table[0].actual_mean, 39.0);
    let mape = decile_mape(&predicted, &actual).unwrap();
    assert_eq!(mape.n_skipped, 5);
    close(mape.mape_ratio, 0.5);
}

#[test]
fn bad_input_gives_errors_and_never_numbers() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    assert!(matches!(auc(&[], &[]), Err(MetricError::Empty)));
    assert!(matches!(auc(&[1.0], &[true, false]), Err(MetricError::Length { .. })));
    assert!(matches!(auc(&[1.0, 2.0], &[true, true]), Err(MetricError::OneClass { .. })));
    let y = [true, false];
    for bad in [nan, inf] {
        assert!(matches!(auc(&[1.0, bad], &y), Err(MetricError::Number { row: 1, .. })));
        assert!(pr_auc(&[1.0, bad], &y).is_err() && top_share(&[1.0, bad], &y, 0.5).is_err());
        assert!(log_loss(&[0.5, bad], &y).is_err() && brier(&[0.5, bad], &y).is_err());
        assert!(rmse(&[0.5, bad], &[1.0, 2.0]).is_err() && mae(&[0.5, 1.0], &[1.0, bad]).is_err());
        assert!(gini_normalised(&[0.5, bad], &[1.0, 2.0]).is_err());
        assert!(spearman(&[0.5, 1.0], &[bad, 2.0]).is_err());
    }
    for bad in [-0.1, 1.1] {
        assert!(matches!(log_loss(&[0.5, bad], &y), Err(MetricError::Number { row: 1, .. })));
        assert!(ece(&[0.5, bad], &y).is_err() && calibration_line(&[0.5, bad], &y).is_err());
    }
    for share in [0.0, -0.5, 1.5, nan] {
        let found = top_share(&[1.0, 2.0], &y, share);
        assert!(matches!(found, Err(MetricError::Parameter { .. })));
    }
    assert!(matches!(reliability(&[0.5], &[true], 0), Err(MetricError::Parameter { .. })));
    assert!(matches!(calibration_line(&[0.5], &[true]), Err(MetricError::OneClass { .. })));
}

#[test]
fn the_generator_gives_its_published_sequence() {
    // Values of the reference implementation (Vigna, splitmix64.c) for seed 1234567.
    let mut random = SplitMix64::new(1_234_567);
    let found: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
    assert_eq!(
        found,
        [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
    );
    let draws: Vec<usize> = (0..10_000).map(|_| random.below(10)).collect();
    assert!((0..10).all(|i| (900..1100).contains(&draws.iter().filter(|&&d| d == i).count())));
    assert_eq!(random.below(0), 0);
}

#[test]
fn intervals_cover_what_theory_says_and_repeat_for_a_seed() {
    let mut random = SplitMix64::new(9);
    let numbers: Vec<f64> = (0..400).map(|_| random.unit()).collect();
    let mean = |rows: &[usize]| Some(rows.iter().map(|&r| numbers[r]).sum::<f64>() / 400.0);
    let spec = BootstrapSpec { n_resamples: 4_000, level: 0.95, seed: 5 };
    let found = bootstrap(400, &spec, &mean).unwrap();
    // The mean of 400 uniform numbers has standard error 1 / sqrt(12 * 400) = 0.01443.
    let width = found.high - found.low;
    assert!((width - 2.0 * 1.96 * 0.01443).abs() < 0.005, "{width}");
    let centre = numbers.iter().sum::<f64>() / 400.0;
    assert!(found.low < centre && centre < found.high);
    assert_eq!(found, bootstrap(400, &spec, &mean).unwrap());
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(found, one_thread.install(|| bootstrap(400, &spec, &mean)).unwrap());
    let other = bootstrap(400, &BootstrapSpec { seed: 6, ..spec }, &mean).unwrap();
    assert!(other != found);
}

#[test]
fn undefined_resamples_are_left_out_or_refused() {
    let spec = BootstrapSpec { n_resamples: 500, ..Default::default() };
    let (score, positive, _) = sample(300, 8);
    let metric = |rows: &[usize]| {
        let s: Vec<f64> = rows.iter().map(|&r| score[r]).collect();
        let y: Vec<bool> = rows.iter().map(|&r| positive[r]).collect();
        auc(&s, &y).ok()
    };
    let found = bootstrap(300, &spec, &metric).unwrap();
    let point = auc(&score, &positive).unwrap();
    assert!(found.low < point && point < found.high && found.n_defined == 500);
    assert!(matches!(
        bootstrap(300, &spec, &|rows| (rows[0] % 2 == 0).then_some(1.0)),
        Err(MetricError::Resamples { .. })
    ));
    assert!(matches!(bootstrap(0, &spec, &metric), Err(MetricError::Empty)));
    for bad in [
        BootstrapSpec { n_resamples: 1, ..spec },
        BootstrapSpec { level: 1.0, ..spec },
        BootstrapSpec { level: f64::NAN, ..spec },
    ] {
        assert!(matches!(bootstrap(300, &bad, &metric), Err(MetricError::Parameter { .. })));
    }
}
