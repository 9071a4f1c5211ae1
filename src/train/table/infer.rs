//! What the columns of a table hold.
//!
//! In: a table, the rows that count, and what was said of columns. Out: the columns that the
//! models read, frozen, and those left out, each with the reason. No label is looked at.

use std::collections::BTreeMap;

use super::error::TableError;
use crate::config::SaidType;
use crate::domain::Zone;
use crate::events::{RawValue, Table, nearest};
use crate::model::{
    ColumnKind, NumberScale, TableColumn, flag_of, is_missing_text, level_of, number_of,
};

/// Levels of a category that get a place of their own.
const LEVELS_MAX: usize = 40;
/// A level needs a half percent of the rows, within these bounds, for a place of its own.
const LEVEL_ROWS: [usize; 2] = [5, 50];
/// Distinct texts above this number that fill more than half of the rows are names, not levels.
const NAMES_MIN: usize = 100;
/// Distinct whole numbers above this number may be a counter.
const COUNTER_MIN: usize = 50;
/// Skewness from which a number that is never negative enters regressions as its logarithm.
const SKEW_MIN: f64 = 2.0;
/// Endings of names of columns that identify.
const ID_ENDINGS: [&str; 4] = ["id", "_no", "number", "_key"];

/// A column that the models read.
#[derive(Debug, Clone)]
pub(super) struct Feature {
    /// Its place in the table.
    pub(super) position: usize,
    /// What it holds.
    pub(super) column: TableColumn,
    /// Rows without a value.
    pub(super) n_missing: usize,
}

/// What was found of all columns.
#[derive(Debug, Default)]
pub(super) struct Inferred {
    /// Columns that the models read.
    pub(super) features: Vec<Feature>,
    /// Columns left out, and why.
    pub(super) ignored: Vec<(String, String)>,
    /// Texts that were taken for "nothing is known", with the number of cells.
    pub(super) missing_texts: BTreeMap<String, u64>,
    /// What the reader should know.
    pub(super) notes: Vec<String>,
}

/// The place of a column that was named.
pub(super) fn position(table: &Table, name: &str, role: &str) -> Result<usize, TableError> {
    table.position(name).ok_or_else(|| TableError::NoColumn {
        role: role.to_owned(),
        name: name.to_owned(),
        hint: nearest(name, table.names().iter().map(String::as_str))
            .map_or_else(String::new, |near| format!(" (did you mean {near:?}?)")),
        found: table.names().join(", "),
    })
}

/// Looks at all columns but those that have another role.
pub(super) fn infer(
    table: &Table,
    rows: &[usize],
    zone: &Zone,
    roles: &BTreeMap<usize, String>,
    said: &BTreeMap<usize, SaidType>,
) -> Inferred {
    let mut inferred = Inferred::default();
    for (position, name) in table.names().iter().enumerate() {
        let column = Column { table, rows, position };
        let found = match (roles.get(&position), said.get(&position)) {
            (Some(role), _) => Err(role.clone()),
            (None, Some(SaidType::Ignore)) => Err("as asked".to_owned()),
            (None, said) => column.kind(zone, said.copied(), &mut inferred.notes),
        };
        match found {
            Ok(kind) => {
                let in_number = !matches!(kind, ColumnKind::Category { .. });
                let n_missing = column.count_missing(in_number, &mut inferred.missing_texts);
                let column = TableColumn { name: name.clone(), kind };
                inferred.features.push(Feature { position, column, n_missing });
            }
            Err(why) => inferred.ignored.push((name.clone(), why)),
        }
    }
    inferred
}

/// One column of the rows that count.
#[derive(Clone, Copy)]
struct Column<'t> {
    table: &'t Table,
    rows: &'t [usize],
    position: usize,
}

/// What cells could be.
#[derive(Default)]
struct Counts {
    present: usize,
    numbers: usize,
    flags: usize,
    words: usize,
    dates: usize,
    others: usize,
}

impl<'t> Column<'t> {
    fn cells(self) -> impl Iterator<Item = RawValue<'t>> {
        self.rows.iter().map(move |&row| self.table.cell(row, self.position))
    }

    fn name(self) -> &'t str {
        &self.table.names()[self.position]
    }

    fn counts(self, zone: &Zone) -> Counts {
        let mut counts = Counts::default();
        for cell in self.cells() {
            match &cell {
                RawValue::Missing => continue,
                RawValue::Text(text) if is_missing_text(text, false) => continue,
                RawValue::Number(number) if number.is_nan() => continue,
                RawValue::List(_) | RawValue::Other(_) => counts.others += 1,
                RawValue::Time(_) | RawValue::Day(_) => counts.dates += 1,
                RawValue::Text(text) if zone.parse(text).is_ok() => counts.dates += 1,
                _ => {}
            }
            counts.present += 1;
            counts.numbers += usize::from(number_of(&cell).is_ok());
            counts.flags += usize::from(flag_of(&cell).is_ok());
            // `none` and `-` can stand for a gap among numbers, but no column is all of them.
            counts.words +=
                usize::from(matches!(&cell, RawValue::Text(t) if is_missing_text(t, true)));
        }
        counts
    }

    /// What it holds, or why the models do not read it.
    fn kind(
        self,
        zone: &Zone,
        said: Option<SaidType>,
        notes: &mut Vec<String>,
    ) -> Result<ColumnKind, String> {
        match said {
            // A cell that is no number is told with its row when it is read.
            Some(SaidType::Numeric) => return self.number(true),
            Some(SaidType::Boolean) => return self.flag(),
            Some(SaidType::Categorical) => return self.category(true),
            Some(SaidType::Ignore) | None => {}
        }
        let counts = self.counts(zone);
        let Counts { present, numbers, flags, words, dates, others } = counts;
        if present == 0 {
            return Err("no row has a value".to_owned());
        }
        if others > 0 {
            return Err(format!("{others} rows hold a list or an object"));
        }
        if dates * 100 >= present * 95 && numbers < present {
            let why = "a date is no feature: give the days since it, or name it with --time-column";
            return Err(why.to_owned());
        }
        if flags == present && words < present {
            return self.flag();
        }
        if numbers == present && words < present {
            return self.number(false);
        }
        if (numbers - words.min(numbers)) * 100 >= present * 90 {
            notes.push(format!(
                "column {:?} holds {} numbers and {} other texts: taken as categorical \
                 (clean it, or say --type {}=numeric)",
                self.name(),
                numbers,
                present - numbers,
                self.name()
            ));
        }
        self.category(false)
    }

    fn flag(self) -> Result<ColumnKind, String> {
        let (mut yes, mut no) = (0_usize, 0_usize);
        for cell in self.cells() {
            match flag_of(&cell) {
                Ok(Some(true)) => yes += 1,
                Ok(Some(false)) => no += 1,
                // A cell that is no flag is told with its row when it is read.
                Ok(None) | Err(()) => {}
            }
        }
        let has_missing = yes + no < self.rows.len();
        if !has_missing && (yes == 0 || no == 0) {
            return Err(constant());
        }
        Ok(ColumnKind::Flag { fill: yes as f64 / (yes + no).max(1) as f64, has_missing })
    }

    fn number(self, forced: bool) -> Result<ColumnKind, String> {
        let mut numbers: Vec<f64> =
            self.cells().filter_map(|cell| number_of(&cell).ok().flatten()).collect();
        let has_missing = numbers.len() < self.rows.len();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let plain = mean(&numbers);
        let skew = skewness(&numbers, plain);
        let logs: Vec<f64> = numbers.iter().map(|x| libm::log1p(x.max(0.0))).collect();
        let log_mean = mean(&logs);
        numbers.sort_by(f64::total_cmp);
        let is_text = |cell: RawValue<'_>| number_of(&cell).is_err();
        let (low, high) = match (numbers.first(), numbers.last()) {
            (Some(&low), Some(&high)) => (low, high),
            _ if forced && self.cells().any(is_text) => (0.0, 0.0),
            _ => return Err("no row has a number".to_owned()),
        };
        if low >= high && !has_missing {
            return Err(constant());
        }
        if !forced && self.is_counter(&numbers) {
            return Err("an identifier: every row has another whole number".to_owned());
        }
        let is_log = low >= 0.0 && skew > SKEW_MIN;
        let scale = if is_log { NumberScale::Log } else { NumberScale::Plain };
        let fill = if is_log { log_mean } else { plain };
        Ok(ColumnKind::Number { scale, range: [low, high], fill, has_missing })
    }

    /// Whether ascending numbers count or name the rows.
    fn is_counter(self, numbers: &[f64]) -> bool {
        let whole = numbers.iter().all(|x| x.fract().abs() < f64::MIN_POSITIVE);
        let distinct = numbers.windows(2).all(|pair| pair[0] < pair[1]);
        if numbers.len() < COUNTER_MIN || !whole || !distinct {
            return false;
        }
        let span = numbers[numbers.len() - 1] - numbers[0] + 1.0;
        let name = self.name().to_ascii_lowercase();
        span < numbers.len() as f64 + 0.5 || ID_ENDINGS.iter().any(|end| name.ends_with(end))
    }

    fn category(self, forced: bool) -> Result<ColumnKind, String> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut present = 0;
        for cell in self.cells() {
            if let Ok(Some(level)) = level_of(&cell) {
                present += 1;
                match counts.get_mut(level.as_ref()) {
                    Some(count) => *count += 1,
                    None => drop(counts.insert(level.into_owned(), 1)),
                }
            }
        }
        let has_missing = present < self.rows.len();
        if counts.len() == 1 && !has_missing {
            return Err(constant());
        }
        if !forced && counts.len() > NAMES_MIN && counts.len() * 2 > present {
            let n = counts.len();
            return Err(format!("an identifier: {n} different texts in {present} rows"));
        }
        let mut sorted: Vec<(String, usize)> = counts.into_iter().collect();
        sorted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let rows_min = (self.rows.len() / 200).clamp(LEVEL_ROWS[0], LEVEL_ROWS[1]);
        let n_kept = sorted.iter().take(LEVELS_MAX).take_while(|(_, n)| *n >= rows_min).count();
        let has_other = n_kept < sorted.len();
        if n_kept + usize::from(has_other) + usize::from(has_missing) < 2 {
            return Err("no level is frequent enough to tell anything".to_owned());
        }
        let levels = sorted.into_iter().take(n_kept).map(|(level, _)| level).collect();
        Ok(ColumnKind::Category { levels, has_other, has_missing })
    }

    fn count_missing(self, in_number: bool, texts: &mut BTreeMap<String, u64>) -> usize {
        let mut n_missing = 0;
        for cell in self.cells() {
            let text = match &cell {
                RawValue::Missing => "(empty)",
                RawValue::Number(number) if number.is_nan() => "NaN",
                RawValue::Text(text) if is_missing_text(text, in_number) => text.trim(),
                _ => continue,
            };
            n_missing += 1;
            match texts.get_mut(text) {
                Some(count) => *count += 1,
                None => drop(texts.insert(text.to_owned(), 1)),
            }
        }
        n_missing
    }
}

fn constant() -> String {
    "constant: every row has the same value".to_owned()
}

/// Third standardised moment; 0 for a constant.
fn skewness(numbers: &[f64], mean: f64) -> f64 {
    let n = numbers.len().max(1) as f64;
    let moment = |power: i32| numbers.iter().map(|x| (x - mean).powi(power)).sum::<f64>() / n;
    let spread = moment(2);
    if spread > 0.0 { moment(3) / spread.powf(1.5) } else { 0.0 }
}
