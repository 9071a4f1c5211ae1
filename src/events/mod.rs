//! From bytes to checked events: formats, validation rules, and the intake report that counts
//! what was kept and what was dropped and why.
//!
//! In: CSV, JSONL or Parquet files, or raw events handed in by a caller. Out: [`Event`]s and an
//! intake report. Bad data is not an error: the caller decides by a [`Threshold`].
//! It deliberately knows nothing of histories, models or storage.

mod content;
mod content_read;
mod csv;
mod error;
mod event;
mod guess;
mod intake;
mod issue;
mod jsonl;
mod kinds;
mod lines;
mod log;
mod mapping;
#[cfg(feature = "parquet")]
mod parquet;
mod part;
mod part_counts;
mod part_slice;
mod parts;
mod plain;
mod profiles;
mod raw;
mod raw_rows;
mod record;
mod report;
mod rows;
mod rules;
mod shape;
mod sightings;
mod source;
mod spill;
mod table;
mod tally;
mod unit;
mod value;

#[cfg(test)]
mod tests;

pub use error::IntakeError;
pub use event::{
    Activity, Cart, Contact, ContactStage, Event, EventKind, Feedback, Profile, Purchase, Refund,
    Severity,
};
pub use intake::{Intake, RowOutcome, read_events};
pub use issue::{EventIssue, nearest};
pub use kinds::EventType;
pub use log::{CustomerLog, Log, LogSpec};
pub use mapping::{ColumnMapping, MappingError, RawColumns};
pub use part::{EventReader, Part};
pub use part_counts::PartCounts;
pub use parts::{Parts, PartsSpec, PartsV1};
pub use profiles::read_profiles;
pub use raw::{RawEvent, RawValue};
pub use raw_rows::{RawRow, read_raw};
pub use report::{IntakeReport, IssueCount, SourceReport, Threshold, ThresholdError};
pub use rules::Rules;
pub use shape::{EventMap, EventShape, MapError, Shape};
pub use source::{FileFormat, ReadSpec, is_stdin};
pub use table::Table;
