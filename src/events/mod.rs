//! From bytes to checked events: formats, validation rules, and the intake report that counts
//! what was kept and what was dropped and why.
//!
//! In: CSV, JSONL or Parquet files, or raw events handed in by a caller. Out: [`Event`]s and an
//! intake report. Bad data is not an error: the caller decides by a threshold.
//! It deliberately knows nothing of histories, models or storage.

mod event;

pub use event::{
    Activity, Cart, Contact, ContactStage, Event, EventKind, Feedback, Profile, Purchase, Refund,
    Severity,
};
