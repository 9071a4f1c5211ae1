//! The settings of table mode: training on ready-made features with labels.
//!
//! In: a group of flags, and the same keys in the environment and the file. Out: checked settings;
//! whether the columns exist is known only when the table has been read.

use std::path::PathBuf;

use clap::Args;

use super::raw::Reader;
use crate::decision::Fact;
use crate::domain::Days;
use crate::events::nearest;

// Defaults. Each says why it is this number.
/// As many as peers use: each model sees four fifths of the rows.
const FOLDS: u64 = 5;
const FOLDS_MAX: u64 = 20;
/// One split decides; more are for those who want to see its noise.
const REPEATS: u64 = 1;
const REPEATS_MAX: u64 = 20;

/// Flags of table mode.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "A ready-made table (instead of a log)")]
pub struct TableArgs {
    /// A table of features with labels: CSV, JSON lines (each also .gz) or Parquet
    #[arg(long, value_name = "FILE")]
    table: Option<String>,
    /// Column that says who left
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
    /// The label's value of those who left, such as Yes
    #[arg(long, value_name = "VALUE")]
    positive: Option<String>,
    /// Column of the value that followed
    #[arg(long, value_name = "COLUMN")]
    value_label: Option<String>,
    /// Days over which the value label was counted [default: 365]
    #[arg(long, value_name = "DAYS")]
    value_horizon_days: Option<String>,
    /// Column of the customer id; rows of one customer stay in one fold
    #[arg(long, value_name = "COLUMN")]
    id: Option<String>,
    /// Takes a fact of the policy from a column; may be repeated
    #[arg(long, value_name = "FACT=COLUMN")]
    map: Vec<String>,
    /// Leaves a column out of the features; may be repeated
    #[arg(long, value_name = "COLUMN")]
    ignore: Vec<String>,
    /// Says what a column holds: numeric, boolean, categorical or ignore; may be repeated
    #[arg(long = "type", value_name = "COLUMN=TYPE")]
    types: Vec<String>,
    /// Folds of the cross-validation where there is no time column [default: 5]
    #[arg(long, value_name = "NUMBER")]
    folds: Option<String>,
    /// Times the cross-validation is done, each with another split [default: 1]
    #[arg(long, value_name = "NUMBER")]
    repeats: Option<String>,
    /// Takes a column although it tells the label nearly alone; may be repeated
    #[arg(long, value_name = "COLUMN")]
    allow_leak: Vec<String>,
    /// Costs of a decision, columns or numbers: fp (acting on a stayer), fn (a leaver left
    /// alone), tp, tn; such as fp=C_FP,fn=120
    #[arg(long, value_name = "fp=COLUMN,...")]
    cost_columns: Option<String>,
}

impl TableArgs {
    /// The flags that were given, by key.
    pub(super) fn given(&self) -> Vec<(&'static str, Option<String>)> {
        let lines = |texts: &[String]| (!texts.is_empty()).then(|| texts.join("\n"));
        vec![
            ("table", self.table.clone()),
            ("label", self.label.clone()),
            ("positive", self.positive.clone()),
            ("value_label", self.value_label.clone()),
            ("value_horizon_days", self.value_horizon_days.clone()),
            ("id", self.id.clone()),
            ("map", lines(&self.map)),
            ("ignore", lines(&self.ignore)),
            ("type", lines(&self.types)),
            ("folds", self.folds.clone()),
            ("repeats", self.repeats.clone()),
            ("allow_leak", lines(&self.allow_leak)),
            ("cost_columns", self.cost_columns.clone()),
        ]
    }
}

/// What a column was said to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaidType {
    /// Numbers.
    Numeric,
    /// True or false.
    Boolean,
    /// Levels.
    Categorical,
    /// Nothing for the models.
    Ignore,
}

/// Where a cost comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum CostSource {
    /// The same for every row.
    Constant(f64),
    /// A column.
    Column(String),
}

/// Costs of the four outcomes of a decision.
#[derive(Debug, Clone, PartialEq)]
pub struct CostColumns {
    /// Acting on one who stays.
    pub act_stays: CostSource,
    /// Leaving one alone who leaves.
    pub alone_leaves: CostSource,
    /// Acting on one who leaves.
    pub act_leaves: CostSource,
    /// Leaving one alone who stays.
    pub alone_stays: CostSource,
}

/// What table mode runs with.
#[derive(Debug, Clone, PartialEq)]
pub struct TableConfig {
    /// The file.
    pub file: PathBuf,
    /// Column of the churn label.
    pub label: Option<String>,
    /// Its value of those who left; none for a column of true and false.
    pub positive: Option<String>,
    /// Column of the value label.
    pub value_label: Option<String>,
    /// Days of the churn label; none where it names none.
    pub churn: Option<Days>,
    /// Days of the value label.
    pub value: Days,
    /// Column of the customer id.
    pub id: Option<String>,
    /// Column of the time that splits are made by.
    pub time: Option<String>,
    /// Facts and their columns.
    pub map: Vec<(Fact, String)>,
    /// Columns left out.
    pub ignore: Vec<String>,
    /// What columns were said to hold.
    pub types: Vec<(String, SaidType)>,
    /// Folds, 2 to 20.
    pub folds: usize,
    /// Splits, 1 to 20.
    pub repeats: usize,
    /// Columns that may tell the label alone.
    pub allow_leak: Vec<String>,
    /// Costs of decisions.
    pub costs: Option<CostColumns>,
}

impl TableConfig {
    /// Reads the settings; none where no table is named. `churn` is the churn horizon, if it was
    /// said.
    pub(super) fn read(reader: &mut Reader, churn: Option<Days>) -> Option<Self> {
        let file = reader.optional("table").map(PathBuf::from);
        let label = reader.optional("label");
        let positive = reader.optional("positive");
        let value_label = reader.optional("value_label");
        let value = reader.parsed("value_horizon_days", Days::YEAR, super::train::parse_days);
        let id = reader.optional("id");
        let pairs = reader.list("map");
        let map = pairs.iter().filter_map(|pair| read_fact(reader, pair)).collect();
        let ignore = reader.list("ignore");
        let pairs = reader.list("type");
        let types = pairs.iter().filter_map(|pair| read_type(reader, pair)).collect();
        let folds = reader.number("folds", FOLDS, 2..=FOLDS_MAX);
        let repeats = reader.number("repeats", REPEATS, 1..=REPEATS_MAX);
        let allow_leak = reader.list("allow_leak");
        let costs = reader.optional_parsed("cost_columns", parse_costs);
        let file = file?;
        if label.is_none() && value_label.is_none() {
            reader.conflict("a table needs --label, --value-label or both".to_owned());
        }
        if label.is_some() && label == value_label {
            reader.conflict("label and value_label are one column".to_owned());
        }
        if costs.is_some() && label.is_none() {
            reader.conflict("cost_columns need a churn label".to_owned());
        }
        Some(Self {
            file,
            label,
            positive,
            value_label,
            churn,
            value,
            id,
            time: reader.peek("time_column"),
            map,
            ignore,
            types,
            folds: usize::try_from(folds).unwrap_or(5),
            repeats: usize::try_from(repeats).unwrap_or(1),
            allow_leak,
            costs,
        })
    }
}

fn read_fact(reader: &mut Reader, pair: &str) -> Option<(Fact, String)> {
    let Some((name, column)) = pair.split_once('=') else {
        reader.conflict(format!("map: {pair:?} is not FACT=COLUMN"));
        return None;
    };
    match Fact::parse(name.trim()) {
        Some(fact) if fact.is_given() => Some((fact, column.trim().to_owned())),
        Some(_) => {
            let why = "is worked out by the models and the policy, it has no column";
            reader.conflict(format!("map: the fact {name:?} {why}"));
            None
        }
        None => {
            let names = || Fact::ALL.iter().filter(|fact| fact.is_given()).map(|f| f.as_str());
            let hint = match nearest(name, names()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("facts: {}", names().collect::<Vec<_>>().join(", ")),
            };
            reader.conflict(format!("map: {name:?} is no fact; {hint}"));
            None
        }
    }
}

fn read_type(reader: &mut Reader, pair: &str) -> Option<(String, SaidType)> {
    let said = pair.rsplit_once('=').and_then(|(column, said)| {
        let said = match said.trim() {
            "numeric" => SaidType::Numeric,
            "boolean" => SaidType::Boolean,
            "categorical" => SaidType::Categorical,
            "ignore" => SaidType::Ignore,
            _ => return None,
        };
        Some((column.trim().to_owned(), said))
    });
    if said.is_none() {
        let wanted = "COLUMN=TYPE with numeric, boolean, categorical or ignore";
        reader.conflict(format!("type: {pair:?} is not {wanted}"));
    }
    said
}

fn parse_costs(text: &str) -> Result<CostColumns, String> {
    let wanted = "fp=COLUMN,fn=COLUMN and, if they are not 0, tp=COLUMN,tn=COLUMN; or numbers";
    let mut costs: [Option<CostSource>; 4] = [None, None, None, None];
    for pair in text.split(',') {
        let (key, source) = pair.split_once('=').ok_or_else(|| wanted.to_owned())?;
        let source = source.trim();
        let source = match source.parse::<f64>().ok().filter(|number| number.is_finite()) {
            Some(number) => CostSource::Constant(number),
            None if source.is_empty() => return Err(wanted.to_owned()),
            None => CostSource::Column(source.to_owned()),
        };
        let at = ["fp", "fn", "tp", "tn"].iter().position(|known| *known == key.trim());
        let slot = at.and_then(|at| costs.get_mut(at)).filter(|slot| slot.is_none());
        *slot.ok_or_else(|| wanted.to_owned())? = Some(source);
    }
    let [act_stays, alone_leaves, act_leaves, alone_stays] = costs;
    let nothing = CostSource::Constant(0.0);
    match (act_stays, alone_leaves) {
        (Some(act_stays), Some(alone_leaves)) => Ok(CostColumns {
            act_stays,
            alone_leaves,
            act_leaves: act_leaves.unwrap_or_else(|| nothing.clone()),
            alone_stays: alone_stays.unwrap_or(nothing),
        }),
        _ => Err(wanted.to_owned()),
    }
}
