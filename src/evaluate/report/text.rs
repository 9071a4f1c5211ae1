//! Numbers and names as people read them: few digits, grouped thousands, no symbols of machines.

/// What stands where nothing is known.
pub(super) const ABSENT: &str = "–";

/// Names of candidates, as in `metrics.json` and as on the page.
const CANDIDATES: [(&str, &str); 14] = [
    ("base_rate", "Base rate"),
    ("btyd", "Buy till you die"),
    ("logistic", "Logistic regression"),
    ("boosted", "Boosted trees"),
    ("blend", "Blend"),
    ("stacked", "Weighted blend"),
    ("recency_rule", "Recency rule"),
    ("btyd_gamma_gamma", "Buy till you die × spend"),
    ("tweedie_glm", "Tweedie regression"),
    ("hurdle", "Chance to buy times amount"),
    ("boosted_ratio", "Boosted trees"),
    ("past_spend", "Past spend"),
    ("column_rule", "Best single column"),
    ("mean", "Mean"),
];

/// The name of a candidate as people read it; an unknown one stays as it is.
pub(super) fn candidate(id: &str) -> &str {
    CANDIDATES.iter().find(|(known, _)| *known == id).map_or(id, |(_, label)| label)
}

/// A number with four significant digits; whole numbers and those from 1,000 on in full.
pub(super) fn number(x: f64) -> String {
    let size = x.abs();
    if size >= 1e15 || (size > 0.0 && size < 1e-4) {
        return format!("{x:.2e}");
    }
    if size >= 1000.0 || x.fract() == 0.0 {
        return grouped(&format!("{x:.0}"));
    }
    let decimals =
        [100.0, 10.0, 1.0, 0.1, 0.01, 0.001].iter().take_while(|p| size < **p).count() + 1;
    grouped(&format!("{x:.decimals$}"))
}

/// A number for an axis: three significant digits, without zeros behind them.
pub(super) fn tick(x: f64) -> String {
    let size = x.abs();
    if size >= 1e7 || (size > 0.0 && size < 1e-3) {
        return format!("{x:.0e}");
    }
    let decimals = [100.0, 10.0, 1.0, 0.1, 0.01].iter().take_while(|p| size < **p).count();
    let text = grouped(&format!("{x:.decimals$}"));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A whole number, grouped.
pub(super) fn count(x: f64) -> String {
    if x.abs() >= 1e15 { number(x) } else { grouped(&format!("{x:.0}")) }
}

/// A number with a fixed number of decimals, so that a column of them lines up.
pub(super) fn fixed(x: f64, decimals: usize) -> String {
    if x.abs() >= 1e6 { number(x) } else { grouped(&format!("{x:.decimals$}")) }
}

/// A share as a percentage.
pub(super) fn percent(share: f64) -> String {
    let hundredths = (share * 100.0).clamp(f64::MIN, f64::MAX);
    let size = hundredths.abs();
    if size >= 1e6 {
        return format!("{}\u{a0}%", number(hundredths));
    }
    let decimals = if size > 0.0 && size < 1.0 { 2 } else { 1 };
    format!("{}\u{a0}%", grouped(&format!("{hundredths:.decimals$}")))
}

/// A share as a percentage, without decimals where there is nothing behind the point.
pub(super) fn percent_plain(share: f64) -> String {
    percent(share).replace(".0\u{a0}", "\u{a0}")
}

/// A difference of shares in percentage points, with its sign.
pub(super) fn points(gap: f64) -> String {
    let text = fixed(gap * 100.0, 1);
    if gap > 0.0 && text != "0.0" { format!("+{text}") } else { text }
}

/// A number rounded to four significant digits: a forecast is not known to the last unit.
pub(super) fn four_digits(x: f64) -> f64 {
    format!("{x:.3e}").parse().unwrap_or(x)
}

/// An amount with its currency, if that is known.
pub(super) fn money(x: f64, currency: &str) -> String {
    format!("{}\u{a0}{currency}", number(x)).trim_end().to_owned()
}

/// A number of days.
pub(super) fn days(n: f64) -> String {
    let unit = if number(n) == "1" { "day" } else { "days" };
    format!("{}\u{a0}{unit}", number(n))
}

/// What a formatter makes of a number that may be missing.
pub(super) fn or_absent(x: Option<f64>, format: impl Fn(f64) -> String) -> String {
    x.map_or_else(|| ABSENT.to_owned(), format)
}

/// Commas between the thousands of a plain decimal number; `-0` becomes `0`.
fn grouped(plain: &str) -> String {
    let (sign, digits) = plain.strip_prefix('-').map_or(("", plain), |rest| ("-", rest));
    let (whole, rest) = digits.find('.').map_or((digits, ""), |at| digits.split_at(at));
    let sign = if digits.bytes().all(|b| b == b'0' || b == b'.') { "" } else { sign };
    let mut out = sign.to_owned();
    for (idx, digit) in whole.chars().enumerate() {
        if idx > 0 && (whole.len() - idx).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (27.0, "27"),
            (0.251_628_9, "0.2516"),
            (41.110_6, "41.11"),
            (218.661, "218.7"),
            (681_200.19, "681,200"),
            (-1234.5, "-1,234"),
            (0.000_012, "1.20e-5"),
            (1e300, "1.00e300"),
        ];
        for (x, wanted) in cases {
            assert_eq!(number(x), wanted, "{x}");
        }
        for (x, wanted) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (-2.5, "-2.5"),
            (0.041_5, "0.0415"),
            (1500.0, "1,500"),
            (24.53, "24.5"),
            (2e7, "2e7"),
            (1.2e-7, "1e-7"),
        ] {
            assert_eq!(tick(x), wanted, "{x}");
        }
        assert_eq!(count(1_234_567.0), "1,234,567");
        assert_eq!(fixed(-0.000_01, 3), "0.000");
        assert_eq!(fixed(2075.41, 2), "2,075.41");
        assert_eq!(percent(0.163_9), "16.4\u{a0}%");
        assert_eq!(percent(0.004_08), "0.41\u{a0}%");
        assert_eq!(percent(f64::MAX / 200.0).len(), "8.99e307 %".len() + 1);
        assert_eq!(percent_plain(0.8), "80\u{a0}%");
        assert_eq!(percent_plain(0.005), "0.50\u{a0}%");
        assert_eq!(number(four_digits(1_169_749.3)), "1,170,000");
        assert_eq!(money(12.5, ""), "12.50");
        assert_eq!(days(1.0), "1\u{a0}day");
    }

    #[test]
    fn an_unknown_candidate_keeps_its_name() {
        assert_eq!(candidate("blend"), "Blend");
        assert_eq!(candidate("x<y"), "x<y");
    }
}
