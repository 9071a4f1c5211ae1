//! The one table from what went wrong to gRPC codes and their details.
//!
//! In: a [`ServeError`]. Out: a status with google.rpc details: ErrorInfo always, and what a
//! client can act on beside it. An internal error tells the client an id and nothing else; the
//! log has the cause under the same id.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, QuotaViolation, StatusExt};

use super::clock::IncidentId;
use super::refusals::ModelRefusal;
use crate::config::Role;
use crate::domain::{CustomerId, Timestamp};
use crate::history;
use crate::scoring::ScoringError;
use crate::store::{NoticeId, StoreError, SubmitError, WriteError};

/// The domain of every reason.
pub(super) const DOMAIN: &str = "tenure";

/// When to try again where the server is busy.
const BUSY_PAUSE: Duration = Duration::from_millis(250);
/// When to try again after the calls of a second are used up.
const QUOTA_PAUSE: Duration = Duration::from_secs(1);
/// When to try again where the server has to be started anew.
const DOWN_PAUSE: Duration = Duration::from_secs(10);

/// One thing wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// Path of the field, such as `subject.events[2].attributes.amount`.
    pub(super) field: String,
    /// What was found and what is wanted.
    pub(super) description: String,
    /// A stable code.
    pub(super) reason: &'static str,
}

impl Violation {
    pub(super) fn new(
        field: impl Into<String>,
        reason: &'static str,
        description: impl ToString,
    ) -> Self {
        Self { field: field.into(), description: description.to_string(), reason }
    }

    /// The same, with the path one level deeper.
    pub(super) fn within(mut self, parent: &str) -> Self {
        if !parent.is_empty() {
            self.field = format!("{parent}.{}", self.field);
        }
        self
    }
}

/// Why a call, or a row of one, has no answer.
#[derive(Debug, Clone)]
pub(super) enum ServeError {
    /// The request cannot be meant.
    Invalid(Vec<Violation>),
    /// An event says that two customers are one: stored histories cannot be merged.
    IdentityMerge(Violation),
    /// The request cannot be read at all.
    Unreadable {
        /// What the decoder said.
        detail: String,
    },
    /// The message is longer than the server takes.
    MessageTooLarge {
        /// What is taken, in bytes.
        limit: usize,
    },
    /// No such method.
    UnknownMethod,
    /// The caller shows neither a key nor a certificate that is known here.
    Unauthenticated {
        /// Whether a key was shown that is none.
        is_wrong: bool,
    },
    /// The caller is known and may not do this.
    Forbidden {
        /// Who it is.
        caller: String,
        /// The role that is needed.
        role: Role,
    },
    /// The caller has used up what it may call.
    QuotaUsed {
        /// Who it is.
        caller: String,
        /// Calls a second.
        limit: u32,
    },
    /// Nothing is known of the customer.
    UnknownCustomer(CustomerId),
    /// Another model is served.
    UnknownModel {
        /// As it was asked for.
        wanted: String,
        /// What is served.
        served: String,
    },
    /// The history has been folded past the instant asked for.
    AsOfTooEarly {
        /// Whose history.
        customer: CustomerId,
        /// The instant asked for.
        as_of: Timestamp,
        /// Time of the newest event.
        newest: Timestamp,
    },
    /// The served model scores rows of a table, and the call wants a history.
    TableModel {
        /// What the call needs.
        wanted: &'static str,
        /// What is served.
        served: String,
    },
    /// The columns of a matrix are not those of the model.
    SchemaMismatch {
        /// As the call named it.
        found: String,
        /// The model's.
        wanted: String,
        /// The model.
        served: String,
    },
    /// What came after the token is gone, or it is of another store.
    ResumeTokenLost {
        /// As it was given.
        token: NoticeId,
        /// Everything after this one is there.
        oldest: NoticeId,
    },
    /// An export that is over, or was given up.
    UnknownExport(String),
    /// Too much was written while a snapshot was open.
    SnapshotLost,
    /// Nobody looks for changes here.
    SweepOff,
    /// Too much is at work or waiting.
    Overloaded {
        /// What there is too much of.
        what: &'static str,
    },
    /// The store takes no writes until it is opened anew.
    StoreReadOnly,
    /// The store takes no writes until there is more room on its disk.
    StoreDiskLow,
    /// Whether the events were stored is not known; sending them again is safe.
    StoreUnknown,
    /// The decision log takes nothing, and a decision that is not logged is not given out.
    DecisionLogFull,
    /// No decision log is kept.
    NoDecisionLog,
    /// The server is ending.
    Closing,
    /// The time of the call ran out.
    Deadline,
    /// A version is not loaded, or traffic not changed.
    Model(ModelRefusal),
    /// A fault of the server.
    Internal(Arc<Incident>),
}

/// A fault of the server, for the log.
#[derive(Debug)]
pub(super) struct Incident {
    /// The id that client and log share.
    pub(super) id: IncidentId,
    /// What happened.
    pub(super) cause: String,
}

impl ServeError {
    /// One violation.
    pub(super) fn invalid(
        field: impl Into<String>,
        reason: &'static str,
        description: impl ToString,
    ) -> Self {
        Self::Invalid(vec![Violation::new(field, reason, description)])
    }

    /// A fault of the server: logged here, once, with its cause.
    pub(super) fn internal(cause: impl ToString) -> Self {
        let incident = Incident { id: IncidentId::next(), cause: cause.to_string() };
        tracing::error!(incident = %incident.id, cause = %incident.cause, "a request failed");
        Self::Internal(Arc::new(incident))
    }

    /// As a status to send.
    pub(super) fn to_status(&self) -> Status {
        let (code, reason, message) = self.describe();
        let mut details = ErrorDetails::new();
        let metadata = self.metadata().into_iter().map(|(k, v)| (k.to_owned(), v));
        details.set_error_info(
            reason,
            DOMAIN,
            metadata.collect::<Vec<_>>().into_iter().collect::<Metadata>(),
        );
        self.add_details(&mut details, &message);
        Status::with_error_details(code, message, details)
    }

    /// As the status of one row.
    pub(super) fn to_row_status(&self) -> tonic_types::pb::Status {
        let status = self.to_status();
        tonic_types::pb::Status::decode(status.details()).unwrap_or_else(|_| {
            tonic_types::pb::Status {
                code: status.code() as i32,
                message: status.message().to_owned(),
                details: Vec::new(),
            }
        })
    }

    fn describe(&self) -> (Code, &'static str, String) {
        let (code, reason) = self.class();
        (code, reason, self.message())
    }

    /// Code and stable reason: one line an error.
    const fn class(&self) -> (Code, &'static str) {
        match self {
            Self::Invalid(_) => (Code::InvalidArgument, "REQUEST_INVALID"),
            Self::IdentityMerge(_) => (Code::FailedPrecondition, "IDENTITY_MERGE_OFFLINE_ONLY"),
            Self::Unreadable { .. } => (Code::InvalidArgument, "REQUEST_UNREADABLE"),
            Self::MessageTooLarge { .. } => (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
            Self::UnknownMethod => (Code::Unimplemented, "METHOD_UNKNOWN"),
            Self::Unauthenticated { is_wrong: true } => (Code::Unauthenticated, "KEY_UNKNOWN"),
            Self::Unauthenticated { is_wrong: false } => (Code::Unauthenticated, "KEY_MISSING"),
            Self::Forbidden { .. } => (Code::PermissionDenied, "ROLE_MISSING"),
            Self::QuotaUsed { .. } => (Code::ResourceExhausted, "QUOTA_USED"),
            Self::UnknownCustomer(_) => (Code::NotFound, "CUSTOMER_UNKNOWN"),
            Self::UnknownModel { .. } => (Code::NotFound, "MODEL_NOT_SERVED"),
            Self::AsOfTooEarly { .. } => (Code::FailedPrecondition, "AS_OF_TOO_EARLY"),
            Self::TableModel { .. } => (Code::FailedPrecondition, "MODEL_SCORES_TABLES"),
            Self::SchemaMismatch { .. } => (Code::FailedPrecondition, "SCHEMA_MISMATCH"),
            Self::ResumeTokenLost { .. } => (Code::OutOfRange, "RESUME_TOKEN_LOST"),
            Self::UnknownExport(_) => (Code::NotFound, "EXPORT_UNKNOWN"),
            Self::SnapshotLost => (Code::Aborted, "SNAPSHOT_LOST"),
            Self::SweepOff => (Code::FailedPrecondition, "SWEEP_OFF"),
            Self::Overloaded { .. } => (Code::Unavailable, "OVERLOADED"),
            Self::StoreReadOnly => (Code::Unavailable, "STORE_READ_ONLY"),
            Self::StoreDiskLow => (Code::Unavailable, "STORE_DISK_LOW"),
            Self::StoreUnknown => (Code::Unavailable, "STORE_OUTCOME_UNKNOWN"),
            Self::DecisionLogFull => (Code::Unavailable, "DECISION_LOG_FULL"),
            Self::NoDecisionLog => (Code::FailedPrecondition, "NO_DECISION_LOG"),
            Self::Closing => (Code::Unavailable, "SHUTTING_DOWN"),
            Self::Deadline => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            Self::Model(refusal) => refusal.class(),
            Self::Internal(_) => (Code::Internal, "INTERNAL"),
        }
    }

    /// What was found and what to do.
    fn message(&self) -> String {
        let fixed = match self {
            Self::Invalid(violations) => return summary(violations),
            Self::IdentityMerge(violation) => return violation.description.clone(),
            Self::Unreadable { detail } => {
                return format!("the message cannot be read ({detail}): is it the same proto?");
            }
            Self::MessageTooLarge { limit } => {
                return format!("the message is longer than the {limit} bytes taken: split it");
            }
            Self::UnknownCustomer(customer) => {
                let customer = customer.as_str();
                return format!(
                    "nothing is stored of customer {customer:?}: ingest or give events"
                );
            }
            Self::UnknownModel { wanted, served } => {
                return format!("{wanted:?} is not served here, {served:?} is");
            }
            Self::AsOfTooEarly { as_of, newest, .. } => {
                return format!(
                    "as_of is {as_of}, the customer's newest event is of {newest}: \
                     as_of must lie after it"
                );
            }
            Self::TableModel { wanted, served } => return scores_tables(wanted, served),
            Self::SchemaMismatch { found, wanted, served } => {
                return format!(
                    "the columns are of schema {found:?}, those of {served} of {wanted:?}"
                );
            }
            Self::ResumeTokenLost { token, oldest } => return token_lost(*token, *oldest),
            Self::Model(refusal) => return refusal.message(),
            Self::Overloaded { what } => {
                return format!("too many calls ({what}) at the moment: try again later");
            }
            Self::Internal(incident) => {
                return format!(
                    "a fault of the server; its log has the cause under {}",
                    incident.id
                );
            }
            Self::Forbidden { caller, role } => {
                return format!("{caller} may not do this: the role {role} is needed");
            }
            Self::QuotaUsed { caller, limit } => {
                return format!("{caller} may make {limit} calls a second: slow down");
            }
            Self::Unauthenticated { is_wrong: true } => "the key is not known here, or no longer",
            Self::Unauthenticated { is_wrong: false } => {
                "show a key (authorization: Bearer KEY) or a certificate that is known here"
            }
            Self::UnknownMethod => "this version of the server has no such method",
            Self::UnknownExport(_) => "the export is over or was given up: begin a new one",
            Self::SnapshotLost => {
                "too much was written during the export: begin a new one, at a quieter hour"
            }
            Self::SweepOff => "this server does not look for changes: its sweep_rate is 0",
            Self::StoreReadOnly => "the store takes no events until the server is started anew",
            Self::StoreDiskLow => "the store takes no events until there is more room on its disk",
            Self::StoreUnknown => "whether the events were stored is unknown: send them again",
            Self::DecisionLogFull => {
                "the decision log takes nothing at the moment: try again later"
            }
            Self::NoDecisionLog => "this server keeps no decision log: nothing to join to",
            Self::Closing => "the server is shutting down",
            Self::Deadline => "the time of the call ran out before the answer was there",
        };
        fixed.to_owned()
    }

    /// What ErrorInfo says beside the reason.
    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Invalid(violations) => vec![("violations", violations.len().to_string())],
            Self::MessageTooLarge { limit } => vec![("limit_bytes", limit.to_string())],
            Self::Forbidden { caller, role } => {
                vec![("caller", caller.clone()), ("role", role.to_string())]
            }
            Self::QuotaUsed { caller, limit } => {
                vec![("caller", caller.clone()), ("calls_per_second", limit.to_string())]
            }
            Self::UnknownCustomer(customer) => vec![("customer", customer.as_str().to_owned())],
            Self::UnknownExport(export) => vec![("export_id", export.clone())],
            Self::UnknownModel { wanted, served } => {
                vec![("wanted", wanted.clone()), ("served", served.clone())]
            }
            Self::AsOfTooEarly { customer, as_of, newest } => vec![
                ("customer", customer.as_str().to_owned()),
                ("as_of", as_of.to_string()),
                ("newest_event_time", newest.to_string()),
            ],
            Self::TableModel { served, .. } => vec![("served", served.clone())],
            Self::SchemaMismatch { found, wanted, served } => vec![
                ("found", found.clone()),
                ("wanted", wanted.clone()),
                ("served", served.clone()),
            ],
            Self::ResumeTokenLost { token, oldest } => {
                vec![("token", token.to_string()), ("oldest_token", oldest.to_string())]
            }
            Self::Overloaded { what } => vec![("what", (*what).to_owned())],
            Self::Model(refusal) => refusal.metadata(),
            Self::Internal(incident) => vec![("incident", incident.id.to_string())],
            Self::IdentityMerge(violation) => vec![("field", violation.field.clone())],
            Self::Unreadable { .. }
            | Self::Unauthenticated { .. }
            | Self::UnknownMethod
            | Self::SnapshotLost
            | Self::SweepOff
            | Self::NoDecisionLog
            | Self::StoreReadOnly
            | Self::StoreDiskLow
            | Self::StoreUnknown
            | Self::DecisionLogFull
            | Self::Closing
            | Self::Deadline => Vec::new(),
        }
    }

    fn add_details(&self, details: &mut ErrorDetails, message: &str) {
        match self {
            Self::Invalid(violations) => {
                let fields: Vec<FieldViolation> = violations
                    .iter()
                    .map(|v| FieldViolation::new(v.field.clone(), v.description.clone()))
                    .collect();
                details.set_bad_request(fields);
            }
            Self::IdentityMerge(violation) => {
                let violation =
                    PreconditionViolation::new("IDENTITY_MERGE", &violation.field, message);
                details.set_precondition_failure(vec![violation]);
            }
            Self::MessageTooLarge { .. } => {
                let quota = QuotaViolation::new("message_bytes", message);
                details.set_quota_failure(vec![quota]);
            }
            Self::QuotaUsed { caller, .. } => {
                let quota = QuotaViolation::new(format!("calls_per_second of {caller}"), message);
                details.set_quota_failure(vec![quota]);
                details.set_retry_info(Some(QUOTA_PAUSE));
            }
            Self::UnknownCustomer(customer) => {
                let kind = "tenure.v1.Customer";
                details.set_resource_info(kind, customer.as_str(), "", message);
            }
            Self::UnknownExport(export) => {
                details.set_resource_info("tenure.v1.Export", export.clone(), "", message);
            }
            Self::UnknownModel { wanted, .. } => {
                details.set_resource_info("tenure.v1.ModelVersion", wanted.clone(), "", message);
            }
            Self::AsOfTooEarly { customer, .. } => {
                let violation = PreconditionViolation::new(
                    "AS_OF_AFTER_NEWEST_EVENT",
                    customer.as_str(),
                    message,
                );
                details.set_precondition_failure(vec![violation]);
            }
            Self::TableModel { served, .. } => {
                let violation =
                    PreconditionViolation::new("MODEL_OF_A_TABLE", served.clone(), message);
                details.set_precondition_failure(vec![violation]);
            }
            Self::SchemaMismatch { served, .. } => {
                let violation = PreconditionViolation::new("FEATURE_SCHEMA", served, message);
                details.set_precondition_failure(vec![violation]);
            }
            Self::SweepOff => {
                let violation = PreconditionViolation::new("SWEEP", "sweep_rate", message);
                details.set_precondition_failure(vec![violation]);
            }
            Self::NoDecisionLog => {
                let violation = PreconditionViolation::new("DECISION_LOG", "decision_log", message);
                details.set_precondition_failure(vec![violation]);
            }
            Self::Model(refusal) => refusal.add_details(details, message),
            Self::Overloaded { .. } | Self::StoreUnknown => {
                details.set_retry_info(Some(BUSY_PAUSE));
            }
            Self::StoreReadOnly | Self::StoreDiskLow | Self::DecisionLogFull | Self::Closing => {
                details.set_retry_info(Some(DOWN_PAUSE));
            }
            Self::Unreadable { .. }
            | Self::Unauthenticated { .. }
            | Self::Forbidden { .. }
            | Self::UnknownMethod
            | Self::ResumeTokenLost { .. }
            | Self::SnapshotLost
            | Self::Deadline
            | Self::Internal(_) => {}
        }
    }
}

#[allow(clippy::disallowed_types, reason = "the type that the crate for details takes")]
type Metadata = std::collections::HashMap<String, String>;

fn scores_tables(wanted: &str, served: &str) -> String {
    format!(
        "{served} was trained on a table: it scores the features of a request and keeps no \
         customers, so {wanted}"
    )
}

fn token_lost(token: NoticeId, oldest: NoticeId) -> String {
    format!(
        "changes after {token} are not kept any more, or it is of another store: score all \
         customers once and go on from {oldest}"
    )
}

fn summary(violations: &[Violation]) -> String {
    let [first, rest @ ..] = violations else {
        return "the request is invalid".to_owned();
    };
    let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
    format!("{}: {}{more}", first.field, first.description)
}

impl From<StoreError> for ServeError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::ReadOnly { .. } | StoreError::DiskFull { .. } => {
                tracing::error!(%error, "the store takes no events");
                Self::StoreReadOnly
            }
            StoreError::DiskLow { .. } => Self::StoreDiskLow,
            StoreError::SnapshotLost { .. } => Self::SnapshotLost,
            StoreError::VersionConflict { .. }
            | StoreError::CustomerTwice { .. }
            | StoreError::StateTooLarge { .. }
            | StoreError::BatchTooLarge { .. }
            | StoreError::BadLength { .. }
            | StoreError::PinMismatch { .. }
            | StoreError::NoSuchShard { .. }
            | StoreError::AlreadyThere { .. }
            | StoreError::AlreadyOpen { .. }
            | StoreError::NotAStore { .. }
            | StoreError::NewerFormat { .. }
            | StoreError::ImportUnfinished { .. }
            | StoreError::Corrupt { .. }
            | StoreError::BadState { .. }
            | StoreError::BadKey { .. }
            | StoreError::Io { .. }
            | StoreError::Engine { .. } => Self::internal(&error),
        }
    }
}

impl From<SubmitError> for ServeError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Overloaded { .. } => Self::Overloaded { what: "events" },
            SubmitError::TooLarge { .. } | SubmitError::BadSource { .. } => Self::internal(&error),
            SubmitError::Closed => Self::Closing,
        }
    }
}

impl From<WriteError> for ServeError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Commit(cause) if matches!(*cause, StoreError::DiskLow { .. }) => {
                Self::StoreDiskLow
            }
            WriteError::Commit(cause) => {
                // The commit's outcome is told by the store's health; the log has the cause.
                tracing::error!(%cause, "a commit failed");
                Self::StoreReadOnly
            }
            WriteError::Lost => Self::StoreUnknown,
        }
    }
}

impl From<history::CodecError> for ServeError {
    fn from(error: history::CodecError) -> Self {
        Self::internal(format!("a stored history cannot be read: {error}"))
    }
}

/// The error of an engine, for a customer.
pub(super) fn scoring_error(customer: &CustomerId, error: &ScoringError) -> ServeError {
    match error {
        ScoringError::AsOfTooEarly { as_of, newest } => {
            ServeError::AsOfTooEarly { customer: customer.clone(), as_of: *as_of, newest: *newest }
        }
        other => ServeError::internal(other),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
