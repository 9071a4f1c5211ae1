//! The settings of reading a log, shared by all programs that read one.
//!
//! In: a group of flags, and the same keys in the environment and the file. Out: how to read the
//! log. Only [`LogConfig::read_spec`] does I/O: it reads the file of columns and the
//! map of events, where they are named.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::raw::{ConfigError, ConfigIssue, Reader, read_file};
use crate::domain::{AsOf, Currency, Timestamp, Zone};
use crate::events::{
    ColumnMapping, EventMap, EventShape, FileFormat, LogSpec, RawColumns, ReadSpec, Rules, Shape,
    Threshold,
};

/// Clocks of shops run ahead, and zones are forgotten: an event may lie a day ahead of now.
const AHEAD_MICROS: i64 = 86_400_000_000;

/// Flags of reading a log.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The log")]
pub struct LogArgs {
    /// A file of events: CSV, JSON lines (each also .gz) or Parquet; may be repeated
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(super) events: Vec<String>,
    /// A table of customers' facts, one row a customer
    #[arg(long, value_name = "FILE")]
    profiles: Option<String>,
    /// Column of the customer id [default: found by its name, as all columns]
    #[arg(long, value_name = "COLUMN")]
    customer_column: Option<String>,
    /// Column of the time
    #[arg(long, value_name = "COLUMN")]
    time_column: Option<String>,
    /// Column of the amount
    #[arg(long, value_name = "COLUMN")]
    amount_column: Option<String>,
    /// Column of the event type
    #[arg(long, value_name = "COLUMN")]
    type_column: Option<String>,
    /// Column of the event's own id
    #[arg(long, value_name = "COLUMN")]
    event_id_column: Option<String>,
    /// Column of the number of items
    #[arg(long, value_name = "COLUMN")]
    items_column: Option<String>,
    /// Column of the category
    #[arg(long, value_name = "COLUMN")]
    category_column: Option<String>,
    /// Column of the channel
    #[arg(long, value_name = "COLUMN")]
    channel_column: Option<String>,
    /// Column of the discount
    #[arg(long, value_name = "COLUMN")]
    discount_column: Option<String>,
    /// Column of the currency
    #[arg(long, value_name = "COLUMN")]
    currency_column: Option<String>,
    /// More columns in a TOML file (docs/FORMATS.md); flags win
    #[arg(long, value_name = "FILE")]
    columns: Option<String>,
    /// Amounts are written 1.234,50
    #[arg(long)]
    decimal_comma: bool,
    /// Takes only amounts in this currency, and those that name none
    #[arg(long, value_name = "CODE")]
    currency: Option<String>,
    /// Currency of amounts that name none
    #[arg(long, value_name = "CODE")]
    default_currency: Option<String>,
    /// Type of every row without one, such as purchase
    #[arg(long, value_name = "TYPE")]
    default_type: Option<String>,
    /// Delimiter of CSV files, one character or `tab` [default: found in the header]
    #[arg(long, value_name = "CHARACTER")]
    delimiter: Option<String>,
    /// csv, jsonl, parquet, cloudevents or segment [default: by the file's name and first object]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// What events of CloudEvents or Segment mean, in a TOML file (docs/FORMATS.md)
    #[arg(long, value_name = "FILE")]
    event_map: Option<String>,
    /// Time zone that days belong to, such as Europe/Berlin
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// Refuses a log of which a larger share of rows is no event [default: 0.01]
    #[arg(long, value_name = "SHARE")]
    max_dropped_share: Option<String>,
    /// Refuses a log of which more rows are no event
    #[arg(long, value_name = "ROWS")]
    max_dropped_rows: Option<String>,
}

/// A flag that was given, as a layer holds it.
pub(super) fn said(given: bool) -> Option<String> {
    given.then(|| "true".to_owned())
}

impl LogArgs {
    /// The flags that were given, by key.
    pub(super) fn given(&self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("events", (!self.events.is_empty()).then(|| self.events.join("\n"))),
            ("profiles", self.profiles.clone()),
            ("customer_column", self.customer_column.clone()),
            ("time_column", self.time_column.clone()),
            ("amount_column", self.amount_column.clone()),
            ("type_column", self.type_column.clone()),
            ("event_id_column", self.event_id_column.clone()),
            ("items_column", self.items_column.clone()),
            ("category_column", self.category_column.clone()),
            ("channel_column", self.channel_column.clone()),
            ("discount_column", self.discount_column.clone()),
            ("currency_column", self.currency_column.clone()),
            ("columns", self.columns.clone()),
            ("decimal_comma", said(self.decimal_comma)),
            ("currency", self.currency.clone()),
            ("default_currency", self.default_currency.clone()),
            ("default_type", self.default_type.clone()),
            ("delimiter", self.delimiter.clone()),
            ("format", self.format.clone()),
            ("event_map", self.event_map.clone()),
            ("timezone", self.timezone.clone()),
            ("max_dropped_share", self.max_dropped_share.clone()),
            ("max_dropped_rows", self.max_dropped_rows.clone()),
        ]
    }
}

/// How a log is read.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// Files of events; together one log.
    pub events: Vec<PathBuf>,
    /// A table of customers' facts.
    pub profiles: Option<PathBuf>,
    /// Columns that were named.
    columns: RawColumns,
    /// A file that names further columns.
    columns_file: Option<PathBuf>,
    format: Option<LogForm>,
    /// A file that says what events of CloudEvents or Segment mean.
    event_map: Option<PathBuf>,
    delimiter: Option<u8>,
    decimal_comma: bool,
    /// The one currency that is taken, if one was asked for.
    pub currency: Option<Currency>,
    /// Currency of amounts that name none.
    pub default_currency: Option<Currency>,
    /// The time zone, if one was asked for.
    pub timezone: Option<Zone>,
    /// How much may be dropped.
    pub threshold: Threshold,
}

/// What the business settles for a log, where its own settings say nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct LogDefaults {
    /// Time zone.
    pub zone: Zone,
    /// Currency of amounts that name none.
    pub currency: Currency,
}

impl LogConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let events = reader.list("events").into_iter().map(PathBuf::from).collect();
        let profiles = reader.optional("profiles").map(PathBuf::from);
        let columns = RawColumns {
            customer: reader.optional("customer_column"),
            time: reader.optional("time_column"),
            amount: reader.optional("amount_column"),
            event_type: reader.optional("type_column"),
            event_id: reader.optional("event_id_column"),
            items: reader.optional("items_column"),
            category: reader.optional("category_column"),
            channel: reader.optional("channel_column"),
            discount: reader.optional("discount_column"),
            currency: reader.optional("currency_column"),
            default_type: reader.optional("default_type"),
            ..RawColumns::default()
        };
        let columns_file = reader.optional("columns").map(PathBuf::from);
        if let Err(error) = ColumnMapping::try_from(columns.clone()) {
            reader.conflict(error.to_string());
        }
        let currency = reader.optional_parsed("currency", parse_currency);
        let default_currency = reader.optional_parsed("default_currency", parse_currency);
        if let (Some(only), Some(default)) = (currency, default_currency)
            && only != default
        {
            reader.conflict(format!(
                "currency is {only} and default_currency {default}: amounts that name none would \
                 be left out; leave one of the two away"
            ));
        }
        Self {
            events,
            profiles,
            columns,
            columns_file,
            format: reader.optional_parsed("format", parse_format),
            event_map: reader.optional("event_map").map(PathBuf::from),
            delimiter: reader.optional_parsed("delimiter", parse_delimiter),
            decimal_comma: reader.flag("decimal_comma"),
            currency,
            default_currency: default_currency.or(currency),
            timezone: reader.optional_parsed("timezone", |text| {
                Zone::try_new(text)
                    .map_err(|_| "a time zone such as UTC or Europe/Berlin".to_owned())
            }),
            threshold: read_threshold(reader),
        }
    }

    /// Files that say how the log is read.
    pub fn setting_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.columns_file.iter().chain(&self.event_map)
    }

    /// Whether amounts are written with a comma.
    pub(super) const fn has_decimal_comma(&self) -> bool {
        self.decimal_comma
    }

    /// Notes that files of events are needed.
    pub(super) fn require_events(&self, reader: &mut Reader) {
        if self.events.is_empty() && reader.is_clean_of("events") {
            let (key, flag) = ("events", "events".to_owned());
            reader.issue(ConfigIssue::Missing { key, flag, variable: "EVENTS".to_owned() });
        }
    }

    /// How to read the log up to an instant.
    ///
    /// # Errors
    /// [`ConfigError`] when the file of columns cannot be used.
    pub fn spec(
        &self,
        defaults: &LogDefaults,
        before: AsOf,
        now: Timestamp,
    ) -> Result<LogSpec, ConfigError> {
        let rules = Rules {
            zone: defaults.zone.clone(),
            newest_allowed: Some(Timestamp::from_micros(now.micros().saturating_add(AHEAD_MICROS))),
            default_currency: self.default_currency.unwrap_or(defaults.currency),
            only_currency: self.currency,
            decimal_comma: self.decimal_comma,
            ..Rules::default()
        };
        let read = self.read_spec()?;
        let (events, profiles) = (self.events.clone(), self.profiles.clone());
        Ok(LogSpec { events, profiles, read, rules, before })
    }

    /// How to read a ready-made table: format and number style are those of a log.
    #[must_use]
    pub fn table_spec(&self, defaults: &LogDefaults, now: Timestamp) -> (ReadSpec, Rules) {
        let rules = Rules {
            zone: defaults.zone.clone(),
            newest_allowed: Some(now),
            decimal_comma: self.decimal_comma,
            ..Rules::default()
        };
        let (format, delimiter) = (self.file_format(), self.delimiter);
        (ReadSpec { format, delimiter, ..ReadSpec::default() }, rules)
    }

    /// How to read the files of events.
    ///
    /// # Errors
    /// [`ConfigError`] when the file of columns or the map of events cannot be used.
    pub fn read_spec(&self) -> Result<ReadSpec, ConfigError> {
        let (format, delimiter) = (self.file_format(), self.delimiter);
        Ok(ReadSpec { columns: self.columns()?, format, delimiter, shape: self.shape()? })
    }

    fn file_format(&self) -> Option<FileFormat> {
        self.format.map(|form| match form {
            LogForm::File(format) => format,
            LogForm::Shape(_) => FileFormat::Jsonl,
        })
    }

    fn shape(&self) -> Result<EventShape, ConfigError> {
        let asked = match self.format {
            Some(LogForm::Shape(shape)) => Some(shape),
            Some(LogForm::File(_)) if self.event_map.is_none() => return Ok(EventShape::Own),
            Some(LogForm::File(_)) | None => None,
        };
        let built = match (&self.event_map, asked) {
            (None, None) => return Ok(EventShape::Detect),
            (None, Some(shape)) => EventMap::built_in(shape),
            (Some(path), asked) => {
                let text = std::fs::read_to_string(path);
                let text =
                    text.map_err(|source| ConfigError::Read { path: path.clone(), source })?;
                EventMap::parse(&text, asked)
            }
        };
        let map = built.map_err(|error| {
            let file = self.event_map.as_ref().map(|path| format!("{}: ", path.display()));
            let text = format!("{}{error}", file.unwrap_or_default());
            ConfigError::Issues(vec![ConfigIssue::Conflict { text }])
        })?;
        Ok(EventShape::Mapped(Arc::new(map)))
    }

    /// The columns of the file with those of the settings put over them.
    fn columns(&self) -> Result<ColumnMapping, ConfigError> {
        let RawColumns {
            customer,
            time,
            event_type,
            event_id,
            amount,
            items,
            category,
            channel,
            discount,
            currency,
            default_type,
            attributes: _,
            constants: _,
        } = self.columns.clone();
        let mut columns = match &self.columns_file {
            None => RawColumns::default(),
            Some(path) => {
                let table = toml::Value::Table(read_file(path)?);
                table.try_into().map_err(|source| ConfigError::Syntax {
                    path: path.clone(),
                    source: Box::new(source),
                })?
            }
        };
        let put = |over: Option<String>, under: &mut Option<String>| {
            if over.is_some() {
                *under = over;
            }
        };
        put(customer, &mut columns.customer);
        put(time, &mut columns.time);
        put(event_type, &mut columns.event_type);
        put(event_id, &mut columns.event_id);
        put(amount, &mut columns.amount);
        put(items, &mut columns.items);
        put(category, &mut columns.category);
        put(channel, &mut columns.channel);
        put(discount, &mut columns.discount);
        put(currency, &mut columns.currency);
        put(default_type, &mut columns.default_type);
        ColumnMapping::try_from(columns).map_err(|error| {
            ConfigError::Issues(vec![ConfigIssue::Conflict { text: error.to_string() }])
        })
    }
}

fn read_threshold(reader: &mut Reader) -> Threshold {
    let share = |text: &str| {
        let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
        share.ok_or_else(|| "a share from 0 to 1".to_owned())
    };
    let rows = |text: &str| text.parse::<u64>().map_err(|_| "a whole number".to_owned());
    let default_share = Threshold::default().dropped_share_max;
    Threshold {
        dropped_share_max: reader.parsed("max_dropped_share", default_share, share),
        dropped_rows_max: reader.optional_parsed("max_dropped_rows", rows),
    }
}

fn parse_currency(text: &str) -> Result<Currency, String> {
    Currency::try_new(text).map_err(|_| "a currency code such as EUR".to_owned())
}

/// What `format` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogForm {
    File(FileFormat),
    Shape(Shape),
}

fn parse_format(text: &str) -> Result<LogForm, String> {
    match text {
        "csv" => Ok(LogForm::File(FileFormat::Csv)),
        "jsonl" => Ok(LogForm::File(FileFormat::Jsonl)),
        "parquet" => Ok(LogForm::File(FileFormat::Parquet)),
        _ => Shape::parse(text)
            .map(LogForm::Shape)
            .ok_or_else(|| "csv, jsonl, parquet, cloudevents or segment".to_owned()),
    }
}

fn parse_delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\t" => Ok(b'\t'),
        [one] if one.is_ascii() && !one.is_ascii_alphanumeric() && *one != b'"' => Ok(*one),
        _ => Err("one character, or tab".to_owned()),
    }
}
