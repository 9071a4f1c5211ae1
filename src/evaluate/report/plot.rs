//! Geometry of the plots, in the units of their view boxes: the template only draws.

use serde_json::{Value, json};

use super::doc::Doc;
use super::text::{count, number, percent};

/// Quantile of the normal distribution for a range that holds 95 %.
const Z_95: f64 = 1.96;
/// Gridlines of an axis are at most about this many.
const TICKS: f64 = 6.0;

/// A coordinate as text: a tenth of a unit cannot be seen.
pub(super) fn px(x: f64) -> String {
    let text = format!("{x:.1}");
    if text == "-0.0" { "0.0".to_owned() } else { text }
}

/// A linear map from numbers to units of a view box.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    from: f64,
    per_unit: f64,
    start: f64,
}

impl Axis {
    /// Maps `range` to `pixels`; none where the range is empty or not finite.
    pub(super) fn new(range: [f64; 2], pixels: [f64; 2]) -> Option<Self> {
        let span = range[1] - range[0];
        (span.is_finite() && span > 0.0).then(|| Self {
            from: range[0],
            per_unit: (pixels[1] - pixels[0]) / span,
            start: pixels[0],
        })
    }

    /// Where a number lies.
    pub(super) fn place(self, x: f64) -> f64 {
        self.start + (x - self.from) * self.per_unit
    }
}

/// Round numbers that span a range, ascending; the first is at or below `low`, the last at or above
/// `high`. Empty where the range cannot be drawn.
pub(super) fn round_ticks(low: f64, high: f64) -> Vec<f64> {
    let span = high - low;
    if !(span.is_finite() && span > 0.0 && span > 1e-9 * high.abs().max(low.abs())) {
        return Vec::new();
    }
    let power = 10_f64.powf((span / TICKS).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .iter()
        .map(|m| m * power)
        .find(|step| span / step <= TICKS)
        .unwrap_or(10.0 * power);
    let first = (low / step).floor();
    let n_last = ((high / step).ceil() - first).clamp(1.0, 2.0 * TICKS);
    (0_u8..=12)
        .map(f64::from)
        .take_while(|idx| *idx <= n_last)
        .map(|idx| (first + idx) * step)
        .collect()
}

/// The range of shares that chance leaves open around an observed one (Wilson's score interval,
/// 95 %): Wilson (1927), J. Am. Stat. Assoc. 22, 209-212.
fn chance_range(share: f64, n: f64) -> [f64; 2] {
    let z2 = Z_95 * Z_95 / n;
    let middle = (share + z2 / 2.0) / (1.0 + z2);
    let half = Z_95 / (1.0 + z2) * (share * (1.0 - share) / n + z2 / (4.0 * n)).sqrt();
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

/// The reliability plot: predicted against observed share, a bubble a bin.
pub(super) fn reliability(bins: &[Doc<'_>]) -> Option<Value> {
    let x = Axis::new([0.0, 1.0], [52.0, 372.0])?;
    let y = Axis::new([0.0, 1.0], [332.0, 12.0])?;
    let known: Vec<[f64; 3]> = bins
        .iter()
        .filter_map(|bin| {
            let n = bin.at("customers").number().filter(|n| *n > 0.0)?;
            Some([bin.at("prob_mean").share()?, bin.at("churn_share").share()?, n])
        })
        .collect();
    let most = known.iter().map(|bin| bin[2]).fold(0.0, f64::max);
    if known.is_empty() || most <= 0.0 {
        return None;
    }
    let points: Vec<Value> = known
        .iter()
        .map(|&[predicted, observed, n]| {
            let [low, high] = chance_range(observed, n);
            json!({
                "x": px(x.place(predicted)),
                "y": px(y.place(observed)),
                // The area, not the radius, is what the eye compares.
                "r": px(2.0 + 5.0 * (n / most).sqrt()),
                "low": px(y.place(low)),
                "high": px(y.place(high)),
                "hint": format!(
                    "predicted {}, observed {} of {} customers",
                    percent(predicted), percent(observed), count(n)
                ),
            })
        })
        .collect();
    let ticks: Vec<Value> = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        .iter()
        .map(|&share| {
            json!({
                "x": px(x.place(share)),
                "y": px(y.place(share)),
                "text": format!("{:.0}\u{a0}%", share * 100.0),
            })
        })
        .collect();
    Some(json!({ "points": points, "ticks": ticks }))
}

/// The plot of predicted and actual means by tenth: two bars each.
pub(super) fn deciles(pairs: &[[f64; 2]]) -> Option<Value> {
    let high = pairs.iter().flatten().copied().fold(0.0, f64::max);
    let low = pairs.iter().flatten().copied().fold(0.0, f64::min);
    let marks = round_ticks(low, high);
    let (&floor, &ceiling) = (marks.first()?, marks.last()?);
    let y = Axis::new([floor, ceiling], [272.0, 12.0])?;
    let slot = (948.0 - 68.0) / pairs.len() as f64;
    let width = (slot * 0.36).min(40.0);
    let bar = |amount: f64, left: f64| {
        let (top, bottom) = (y.place(amount.max(0.0)), y.place(amount.min(0.0)));
        json!({ "x": px(left), "y": px(top), "w": px(width), "h": px((bottom - top).max(0.5)) })
    };
    let groups: Vec<Value> = pairs
        .iter()
        .enumerate()
        .map(|(idx, &[predicted, actual])| {
            let middle = 68.0 + slot * (idx as f64 + 0.5);
            json!({
                "middle": px(middle),
                "label": format!("{}", idx + 1),
                "predicted": bar(predicted, middle - width - 0.5),
                "actual": bar(actual, middle + 0.5),
                "hint": format!(
                    "tenth {}: predicted {}, actual {}",
                    idx + 1, number(predicted), number(actual)
                ),
            })
        })
        .collect();
    let ticks: Vec<Value> =
        marks.iter().map(|&mark| json!({ "y": px(y.place(mark)), "text": number(mark) })).collect();
    Some(json!({ "groups": groups, "ticks": ticks, "zero": px(y.place(0.0)) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_span_the_range_and_stay_few() {
        for (low, high) in [(0.0, 521.2), (-3.0, 85.0), (0.0, 1e-7), (0.0, 1e200), (0.0, 9.99e15)] {
            let ticks = round_ticks(low, high);
            assert!((2..=13).contains(&ticks.len()), "{low} {high} {ticks:?}");
            assert!(ticks.first().unwrap() <= &low, "{ticks:?}");
            assert!(ticks.last().unwrap() >= &high, "{ticks:?}");
        }
        assert_eq!(round_ticks(0.0, 521.2), [0.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0]);
        assert!(round_ticks(0.0, 0.0).is_empty());
        assert!(round_ticks(-f64::MAX, f64::MAX).is_empty());
        assert!(round_ticks(1e18, 1e18 + 256.0).is_empty());
    }

    #[test]
    fn the_chance_range_is_wilsons() {
        // Wilson (1927) for 10 of 100 at 95 %: 0.0552 to 0.1744.
        let [low, high] = chance_range(0.1, 100.0);
        assert!((low - 0.0552).abs() < 5e-5 && (high - 0.1744).abs() < 5e-5, "{low} {high}");
        let [low, high] = chance_range(0.0, 1.0);
        assert!(low.abs() < 1e-12 && high < 1.0, "{low} {high}");
    }

    #[test]
    fn a_negative_mean_hangs_below_the_zero_line() {
        let plot = deciles(&[[10.0, 8.0], [1.0, -4.0]]).unwrap();
        let bar = &plot["groups"][1]["actual"];
        assert_eq!(bar["y"], plot["zero"]);
        assert!(deciles(&[]).is_none());
        assert!(deciles(&[[0.0, 0.0]]).is_none());
    }
}
