//! Amounts of money: exact micros of a currency.

use std::fmt;
use std::ops::{Add, AddAssign, Neg};

use thiserror::Error;

/// Micros in one unit of a currency.
const MICROS: i64 = 1_000_000;
/// Largest accepted amount, in units: ten milliards. Larger ones are a mis-mapped column.
const UNITS_MAX: f64 = 1e10;

/// Why a text or number is no amount.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum MoneyError {
    /// Not a decimal number.
    #[error("{found:?} is not a number{hint}")]
    NotANumber {
        /// The text found.
        found: String,
        /// What to do about it, or nothing.
        hint: &'static str,
    },
    /// NaN or infinite.
    #[error("the amount is not finite")]
    NotFinite,
    /// Too large to be an amount.
    #[error("the amount {found} is out of range (at most 1e10 either way)")]
    OutOfRange {
        /// The number found.
        found: f64,
    },
    /// Not three letters.
    #[error("{found:?} is not an ISO 4217 currency code of three letters")]
    Currency {
        /// The text found.
        found: String,
    },
}

/// An amount in micros of its currency: sums are exact and do not depend on order.
///
/// 0 is a purchase of nothing, below 0 a refund. Sums saturate rather than wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(i64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From micros.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// In micros.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// From units of the currency, rounded to the nearest micro.
    ///
    /// # Errors
    /// [`MoneyError`] for NaN, an infinity, or more than 1e10 either way.
    pub fn try_from_units(units: f64) -> Result<Self, MoneyError> {
        if !units.is_finite() {
            return Err(MoneyError::NotFinite);
        }
        if units.abs() > UNITS_MAX {
            return Err(MoneyError::OutOfRange { found: units });
        }
        #[allow(clippy::cast_possible_truncation, reason = "at most 1e16, below 2^63")]
        let micros = (units * MICROS as f64).round() as i64;
        Ok(Self(micros))
    }

    /// From a decimal text such as `12.50`, `-3` or `1e2`, exact to the micro.
    ///
    /// # Errors
    /// [`MoneyError`] naming what was found.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        let text = text.trim();
        let units: f64 = text.parse().map_err(|_| MoneyError::NotANumber {
            found: text.to_owned(),
            hint: if text.contains(',') { " (use --decimal-comma)" } else { "" },
        })?;
        Self::try_from_units(units)
    }

    /// In units of the currency.
    #[must_use]
    pub fn units(self) -> f64 {
        self.0 as f64 / MICROS as f64
    }

    /// Whether it is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Neg for Money {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

/// A currency by its ISO 4217 code, upper case; `XXX` where none was said.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The code for "no currency" of ISO 4217.
    pub const NONE: Self = Self(*b"XXX");

    /// From a code of three letters, in any case.
    ///
    /// # Errors
    /// [`MoneyError::Currency`] for anything else.
    pub fn try_new(code: &str) -> Result<Self, MoneyError> {
        match code.trim().as_bytes() {
            &[a, b, c] if [a, b, c].iter().all(u8::is_ascii_alphabetic) => {
                Ok(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase(), c.to_ascii_uppercase()]))
            }
            _ => Err(MoneyError::Currency { found: code.to_owned() }),
        }
    }

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Currency({})", self.as_str())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_texts_are_exact_to_the_micro() {
        for (text, micros) in [
            ("12.50", 12_500_000),
            ("0", 0),
            ("-3", -3_000_000),
            ("0.1", 100_000),
            (" 29.33 ", 29_330_000),
        ] {
            assert_eq!(Money::parse(text).unwrap().micros(), micros, "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_says_what_was_found() {
        let message = Money::parse("12,50").unwrap_err().to_string();
        assert_eq!(message, "\"12,50\" is not a number (use --decimal-comma)");
        assert!(Money::parse("NaN").is_err());
        assert!(Money::parse("1e11").is_err());
        assert!(Money::parse("").is_err());
    }

    #[test]
    fn a_currency_is_three_letters() {
        assert_eq!(Currency::try_new("eur").unwrap().as_str(), "EUR");
        for bad in ["", "EU", "EURO", "E1R"] {
            assert!(Currency::try_new(bad).is_err(), "{bad}");
        }
    }
}
