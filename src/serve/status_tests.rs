//! Every reason with its code and the details that a client acts on.

use tonic_types::StatusExt;

use super::*;
use crate::store::Commit;

/// What of the details is there beside ErrorInfo.
fn kinds(status: &Status) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut note = |is_there: bool, kind| found.extend(is_there.then_some(kind));
    note(status.get_details_bad_request().is_some(), "BadRequest");
    note(status.get_details_resource_info().is_some(), "ResourceInfo");
    note(status.get_details_precondition_failure().is_some(), "PreconditionFailure");
    note(status.get_details_quota_failure().is_some(), "QuotaFailure");
    note(status.get_details_retry_info().is_some(), "RetryInfo");
    found
}

/// One of each error. A new one does not compile until it stands here.
fn all() -> Vec<ServeError> {
    use ServeError as E;
    let customer = || CustomerId::try_new("c").unwrap();
    let text = || "x".to_owned();
    let at = Timestamp::from_micros;
    let all = vec![
        E::invalid("a.b", "MISSING", "it is missing"),
        E::IdentityMerge(Violation::new("events[0].type", "x", "two ids")),
        E::Unreadable { detail: text() },
        E::MessageTooLarge { limit: 7 },
        E::UnknownMethod,
        E::Unauthenticated { is_wrong: false },
        E::Unauthenticated { is_wrong: true },
        E::Forbidden { caller: text(), role: Role::Admin },
        E::QuotaUsed { caller: text(), limit: 5 },
        E::UnknownCustomer(customer()),
        E::UnknownModel { wanted: text(), served: text() },
        E::AsOfTooEarly { customer: customer(), as_of: at(1), newest: at(2) },
        E::TableModel { wanted: "w", served: text() },
        E::SchemaMismatch { found: text(), wanted: text(), served: text() },
        E::ResumeTokenLost {
            token: NoticeId::default(),
            oldest: NoticeId::end_of(Commit::from_seq(3)),
        },
        E::UnknownExport(text()),
        E::SnapshotLost,
        E::SweepOff,
        E::Overloaded { what: "calls" },
        E::StoreReadOnly,
        E::StoreDiskLow,
        E::StoreUnknown,
        E::DecisionLogFull,
        E::NoDecisionLog,
        E::Closing,
        E::Deadline,
        E::Model(ModelRefusal::Full { limit: 4 }),
        E::internal("a secret"),
    ];
    for error in &all {
        match error {
            E::Invalid(_)
            | E::IdentityMerge(_)
            | E::Unreadable { .. }
            | E::MessageTooLarge { .. }
            | E::UnknownMethod
            | E::Unauthenticated { .. }
            | E::Forbidden { .. }
            | E::QuotaUsed { .. }
            | E::UnknownCustomer(_)
            | E::UnknownModel { .. }
            | E::AsOfTooEarly { .. }
            | E::TableModel { .. }
            | E::SchemaMismatch { .. }
            | E::ResumeTokenLost { .. }
            | E::UnknownExport(_)
            | E::SnapshotLost
            | E::SweepOff
            | E::Overloaded { .. }
            | E::StoreReadOnly
            | E::StoreDiskLow
            | E::StoreUnknown
            | E::DecisionLogFull
            | E::NoDecisionLog
            | E::Closing
            | E::Deadline
            | E::Model(_)
            | E::Internal(_) => {}
        }
    }
    all
}

#[test]
fn every_reason_has_its_code_and_the_details_that_a_client_acts_on() {
    let expected: [(Code, &str, &[&str]); 28] = [
        (Code::InvalidArgument, "REQUEST_INVALID", &["BadRequest"]),
        (Code::FailedPrecondition, "IDENTITY_MERGE_OFFLINE_ONLY", &["PreconditionFailure"]),
        (Code::InvalidArgument, "REQUEST_UNREADABLE", &[]),
        (Code::ResourceExhausted, "MESSAGE_TOO_LARGE", &["QuotaFailure"]),
        (Code::Unimplemented, "METHOD_UNKNOWN", &[]),
        (Code::Unauthenticated, "KEY_MISSING", &[]),
        (Code::Unauthenticated, "KEY_UNKNOWN", &[]),
        (Code::PermissionDenied, "ROLE_MISSING", &[]),
        (Code::ResourceExhausted, "QUOTA_USED", &["QuotaFailure", "RetryInfo"]),
        (Code::NotFound, "CUSTOMER_UNKNOWN", &["ResourceInfo"]),
        (Code::NotFound, "MODEL_NOT_SERVED", &["ResourceInfo"]),
        (Code::FailedPrecondition, "AS_OF_TOO_EARLY", &["PreconditionFailure"]),
        (Code::FailedPrecondition, "MODEL_SCORES_TABLES", &["PreconditionFailure"]),
        (Code::FailedPrecondition, "SCHEMA_MISMATCH", &["PreconditionFailure"]),
        (Code::OutOfRange, "RESUME_TOKEN_LOST", &[]),
        (Code::NotFound, "EXPORT_UNKNOWN", &["ResourceInfo"]),
        (Code::Aborted, "SNAPSHOT_LOST", &[]),
        (Code::FailedPrecondition, "SWEEP_OFF", &["PreconditionFailure"]),
        (Code::Unavailable, "OVERLOADED", &["RetryInfo"]),
        (Code::Unavailable, "STORE_READ_ONLY", &["RetryInfo"]),
        (Code::Unavailable, "STORE_DISK_LOW", &["RetryInfo"]),
        (Code::Unavailable, "STORE_OUTCOME_UNKNOWN", &["RetryInfo"]),
        (Code::Unavailable, "DECISION_LOG_FULL", &["RetryInfo"]),
        (Code::FailedPrecondition, "NO_DECISION_LOG", &["PreconditionFailure"]),
        (Code::Unavailable, "SHUTTING_DOWN", &["RetryInfo"]),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", &[]),
        (Code::ResourceExhausted, "MODELS_LOADED_MAX", &["QuotaFailure"]),
        (Code::Internal, "INTERNAL", &[]),
    ];
    let all = all();
    assert_eq!(all.len(), expected.len());
    for (error, (code, reason, details)) in all.iter().zip(expected) {
        let status = error.to_status();
        let info = status.get_details_error_info().unwrap();
        assert_eq!((status.code(), &*info.reason, &*info.domain), (code, reason, "tenure"));
        assert_eq!(kinds(&status), details, "{reason}");
        assert!(!status.message().is_empty() && !status.message().contains("secret"));
        // UNAVAILABLE alone is repeated by clients on their own: it always says when. A used quota
        // says so as well: the caller knows what to do, and when.
        let is_for_later = code == Code::Unavailable || reason == "QUOTA_USED";
        assert_eq!(is_for_later, details.contains(&"RetryInfo"), "{reason}");
        let row = error.to_row_status();
        assert_eq!((row.code, row.details.is_empty()), (code as i32, false), "{reason}");
    }
}
