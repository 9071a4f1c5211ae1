//! Answers whose scores are written already, and the scoring service that gives them.
//!
//! In: scores as bytes. Out: messages that look the same on the wire as those of the protos, whose
//! fields of the type `Score` are bytes here: to a reader a message within another is nothing
//! else. Everything but these answers is what `pb` has.

use prost::bytes::Bytes;
use prost::{Message, Oneof};

use super::pb;

/// `tenure.v1.ScoreCustomerResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ScoreCustomerResponse {
    /// A `Score`.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) score: Bytes,
}

/// `tenure.v1.ScoreOutcome`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ScoreOutcome {
    /// One of.
    #[prost(oneof = "Outcome", tags = "1, 2")]
    pub(super) outcome: Option<Outcome>,
}

/// A row's score or what was wrong with it.
#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Outcome {
    /// A `Score`.
    #[prost(bytes = "bytes", tag = "1")]
    Score(Bytes),
    /// Why there is none.
    #[prost(message, tag = "2")]
    Error(tonic_types::pb::Status),
}

/// `tenure.v1.BatchScoreCustomersResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BatchScoreCustomersResponse {
    /// One for each subject, in order.
    #[prost(message, repeated, tag = "1")]
    pub(super) outcomes: Vec<ScoreOutcome>,
}

/// `tenure.v1.ScoreStreamResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ScoreStreamResponse {
    /// As sent.
    #[prost(uint64, tag = "1")]
    pub(super) sequence: u64,
    /// The score or the status.
    #[prost(message, optional, tag = "2")]
    pub(super) outcome: Option<ScoreOutcome>,
}

/// `tenure.v1.ExplainScoreResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExplainScoreResponse {
    /// A `Score`.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) score: Bytes,
    /// Of the probability of churn.
    #[prost(message, optional, tag = "2")]
    pub(super) churn: Option<pb::Explanation>,
    /// Of the expected value.
    #[prost(message, optional, tag = "3")]
    pub(super) value: Option<pb::Explanation>,
    /// The rules that were tried.
    #[prost(message, repeated, tag = "4")]
    pub(super) rules: Vec<pb::RuleTrace>,
}

/// The service, generated once more for these answers.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/answers/tenure.v1.rs"));
}

pub(super) use generated::scoring_service_server::{ScoringService, ScoringServiceServer};
