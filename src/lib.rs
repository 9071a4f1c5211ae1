//! tenure tells a business which customers are about to leave, what each is worth, and what to do
//! about it.
//!
//! A log of events is folded into histories; a history as of an instant gives features; models
//! turn features into scores; a policy turns scores and facts into a decision. Training replays
//! the same fold at past cutoffs, the server keeps it current event by event, the batch job runs
//! it over the whole base.
//!
//! The modules below stand in the order in which data flows: each uses only those above it.

pub mod domain;

pub mod events;

pub mod history;

pub mod features;
pub mod labels;

pub mod dataset;

pub mod model;

pub mod evaluate;

pub mod bundle;

pub mod decision;

pub mod scoring;

pub mod store;

pub mod config;
pub mod telemetry;

pub mod batch;
pub mod serve;
pub mod train;
