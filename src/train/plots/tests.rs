use serde_json::{Value, json};

use super::tracking::frequency_edges;
use super::{capture, coverage, digits, points, risk, rounded, share};

#[test]
fn numbers_are_written_as_they_are_shown() {
    assert_eq!(share(0.123_456), json!(0.1235));
    assert_eq!(share(-0.000_001), json!(0.0));
    assert_eq!(rounded(12.345, 1), json!(12.3));
    assert_eq!(digits(123_456.0), json!(123_500.0));
    assert_eq!(digits(f64::NAN), Value::Null);
    assert_eq!(rounded(f64::INFINITY, 2), Value::Null);
}

#[test]
fn bins_of_frequency_hold_everybody_and_are_few() {
    let few: Vec<f64> = (0..100).map(|n| f64::from(n % 4)).collect();
    assert_eq!(frequency_edges(&few), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let many: Vec<f64> = (0..1_000).map(f64::from).collect();
    let edges = frequency_edges(&many);
    assert!(edges.len() <= 10 && edges[1] == 1, "{edges:?}");
    assert!(*edges.last().unwrap() > 900, "{edges:?}");
    assert_eq!(frequency_edges(&[])[..2], [0, 1]);
}

#[test]
fn what_cannot_be_drawn_is_empty_and_never_a_failure() {
    let one_sided = risk(&[0.2, 0.4], &[true, true]);
    assert_eq!(one_sided["roc"], json!([]));
    assert_eq!(one_sided["scores"]["stayed"].as_array().unwrap().len(), 20);
    assert_eq!(capture(&[1.0], &[0.0])["model"], json!([]));
    assert!(coverage(&[], &[]).is_empty());
    assert_eq!(points(&[[0.5, f64::NAN]]), [json!([0.5, null])]);
}
