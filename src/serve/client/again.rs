//! What a status says to those who ask: whether to ask again, when, and how it reads.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The first pause before another attempt, and the longest.
const PAUSE_MS: (u64, u64) = (250, 30_000);

/// Whether the same call may be answered another time.
pub(super) fn is_passing(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        // A connection that breaks is told by the framework as one of these; a server adds why.
        Code::Unknown | Code::Internal | Code::Cancelled if status.details().is_empty() => true,
        _ => status.get_details_retry_info().is_some(),
    }
}

/// Whether all of it, begun anew, may be answered another time.
pub(super) fn is_for_later(status: &Status) -> bool {
    is_passing(status) || status.code() == Code::Aborted
}

/// Doubles with each failure, and is never shorter than the server asks for.
pub(super) fn pause_before(failures: u32, status: &Status) -> Duration {
    let (first, longest) = PAUSE_MS;
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let own = Duration::from_millis(doubled.min(longest));
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
    own.max(asked.unwrap_or_default().min(Duration::from_millis(longest)))
}

/// Stands for what a server that says nothing would say.
pub(super) fn silence(timeout: Duration) -> Status {
    Status::unavailable(format!("no answer within {} ms", timeout.as_millis()))
}

/// A refusal in one line: its code, its reason where it says one, and its message.
pub(super) fn told(status: &Status) -> String {
    let reason = status.get_details_error_info().map(|info| info.reason);
    let reason = reason.map_or_else(String::new, |reason| format!(" {reason}"));
    format!("{:?}{reason}: {}", status.code(), status.message())
}

/// A text with what is behind it, which says where it happened.
pub(super) fn with_causes(text: String, error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (text, error.source());
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn with_reason(code: Code, reason: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, "tenure", []);
        Status::with_error_details(code, "words", details)
    }

    #[test]
    fn what_breaks_may_pass_and_what_is_refused_does_not() {
        for code in [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled] {
            assert!(is_passing(&Status::new(code, "broken pipe")), "{code:?}");
        }
        let refused = [
            with_reason(Code::Internal, "INTERNAL"),
            with_reason(Code::PermissionDenied, "ROLE_MISSING"),
            Status::deadline_exceeded("late"),
        ];
        for status in &refused {
            assert!(!is_passing(status) && !is_for_later(status), "{status:?}");
        }
        // A snapshot that is lost is not found again; another export has one of its own.
        let lost = with_reason(Code::Aborted, "SNAPSHOT_LOST");
        assert!(!is_passing(&lost) && is_for_later(&lost));
        assert_eq!(told(&lost), "Aborted SNAPSHOT_LOST: words");
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_heed_the_server() {
        let plain = Status::unavailable("");
        let of = |failures| pause_before(failures, &plain).as_millis();
        assert_eq!([1, 2, 3, 30].map(of), [250, 500, 1_000, 30_000]);
        for (asked, most) in [(4, 4), (3_600, 30)] {
            let mut details = ErrorDetails::new();
            details.set_retry_info(Some(Duration::from_secs(asked)));
            let busy = Status::with_error_details(Code::ResourceExhausted, "", details);
            assert!(is_passing(&busy));
            assert_eq!(pause_before(1, &busy), Duration::from_secs(most));
        }
    }
}
