//! The settings of `tenure-ops contract` and `tenure-ops opportunities`: models of customers who
//! renew or choose in periods, fitted to a table of counts.

use std::path::{Path, PathBuf};

use clap::Args;

use super::raw::Reader;
use super::train::parse_prior;
use crate::model::btyd::Prior;

/// Periods projected where nobody says how many.
const PERIODS_DEFAULT: u64 = 12;
/// Most periods that are projected: the models count no further.
const PERIODS_MAX: u64 = 10_000;

/// Keys that only these commands use, and those of tables.
pub(super) const KEYS: [&str; 8] =
    ["cohorts", "table", "id", "margin", "discount", "periods", "prior", "model"];

#[derive(Debug, Clone, Args)]
pub(super) struct ContractArgs {
    /// CSV with the columns cohort, period (0 is the start), customers (who remain)
    #[arg(long, value_name = "FILE")]
    cohorts: Option<String>,
    /// Margin that a customer brings at the start and at each renewal; needs --discount
    #[arg(long, value_name = "AMOUNT")]
    margin: Option<String>,
    #[command(flatten)]
    shared: Shared,
    /// sbg, bdw, or auto: the one of lower AIC [default: auto]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct OpportunitiesArgs {
    /// CSV with the columns customer, x (opportunities taken), t_x (the last one taken), n (all)
    #[arg(long, value_name = "FILE")]
    table: Option<String>,
    /// Where the predictions go, a row a customer
    #[arg(long, value_name = "FILE.csv")]
    out: Option<String>,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Debug, Clone, Args)]
struct Shared {
    /// Discount a period, such as 0.01 for months at 1 %
    #[arg(long, value_name = "RATE")]
    discount: Option<String>,
    /// Periods to look ahead [default: 12]
    #[arg(long, value_name = "N")]
    periods: Option<String>,
    /// What is believed before the data: default or none [default: default]
    #[arg(long, value_name = "PRIOR")]
    prior: Option<String>,
}

type Given = Vec<(&'static str, Option<String>)>;

impl Shared {
    fn given(&self) -> Given {
        vec![
            ("discount", self.discount.clone()),
            ("periods", self.periods.clone()),
            ("prior", self.prior.clone()),
        ]
    }
}

impl ContractArgs {
    pub(super) fn given(&self) -> Given {
        let own = vec![
            ("cohorts", self.cohorts.clone()),
            ("margin", self.margin.clone()),
            ("model", self.model.clone()),
        ];
        [own, self.shared.given()].concat()
    }
}

impl OpportunitiesArgs {
    pub(super) fn given(&self) -> Given {
        let own = vec![("table", self.table.clone()), ("out", self.out.clone())];
        [own, self.shared.given()].concat()
    }
}

/// What the two commands share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// Discount a period, in [0.0001, 10]; none for no discounted sums.
    pub discount: Option<f64>,
    /// Periods to look ahead, from 1 to 10,000.
    pub periods: u32,
    /// What is believed before the data.
    pub prior: Prior,
}

/// Which contract model projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContractChoice {
    /// The one of lower AIC.
    Auto,
    /// Shifted beta-geometric.
    Sbg,
    /// Beta-discrete-Weibull.
    Bdw,
}

impl std::fmt::Display for ContractChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Sbg => "sbg",
            Self::Bdw => "bdw",
        })
    }
}

/// What `tenure-ops contract` runs with.
#[derive(Debug, Clone, PartialEq)]
pub struct ContractConfig {
    /// The table of cohorts.
    pub cohorts: PathBuf,
    /// Margin a renewal, in any currency; only with a discount.
    pub margin: Option<f64>,
    /// Which model projects.
    pub model: ContractChoice,
    /// Discount, periods, prior.
    pub outlook: Outlook,
}

/// What `tenure-ops opportunities` runs with.
#[derive(Debug, Clone, PartialEq)]
pub struct OpportunitiesConfig {
    /// The table of customers.
    pub table: PathBuf,
    /// Where the predictions go; none to print the fit alone.
    pub out: Option<PathBuf>,
    /// Discount, periods, prior.
    pub outlook: Outlook,
}

impl ContractConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let cohorts = PathBuf::from(reader.required("cohorts"));
        let margin = reader.optional_parsed("margin", parse_margin);
        let model = reader.parsed("model", ContractChoice::Auto, |text| match text {
            "auto" => Ok(ContractChoice::Auto),
            "sbg" => Ok(ContractChoice::Sbg),
            "bdw" => Ok(ContractChoice::Bdw),
            _ => Err("auto, sbg or bdw".to_owned()),
        });
        let outlook = Outlook::read(reader);
        if margin.is_some() && outlook.discount.is_none() && reader.is_clean_of("discount") {
            let text = "--margin needs --discount: without one, what lies far ahead has no limit";
            reader.conflict(text.to_owned());
        }
        Self { cohorts, margin, model, outlook }
    }
}

impl OpportunitiesConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            table: PathBuf::from(reader.required("table")),
            out: reader.optional_parsed("out", parse_out),
            outlook: Outlook::read(reader),
        }
    }
}

impl Outlook {
    fn read(reader: &mut Reader) -> Self {
        let discount = reader.optional_parsed("discount", parse_rate);
        let periods = reader.number("periods", PERIODS_DEFAULT, 1..=PERIODS_MAX);
        let word = reader.parsed("prior", "default".to_owned(), parse_prior);
        let prior = if word == "none" { Prior::None } else { Prior::Weak };
        Self { discount, periods: u32::try_from(periods).unwrap_or(u32::MAX), prior }
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (1e-4..=10.0).contains(rate));
    rate.ok_or_else(|| "a rate a period from 0.0001 to 10, such as 0.01".to_owned())
}

fn parse_margin(text: &str) -> Result<f64, String> {
    let margin = text.parse().ok().filter(|margin: &f64| margin.abs() <= 1e12);
    margin.ok_or_else(|| "an amount of money a renewal, such as 9.95".to_owned())
}

fn parse_out(text: &str) -> Result<PathBuf, String> {
    let is_csv = Path::new(text).extension().is_some_and(|end| end.eq_ignore_ascii_case("csv"));
    is_csv.then(|| PathBuf::from(text)).ok_or_else(|| "a file name ending in .csv".to_owned())
}
