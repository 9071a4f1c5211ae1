//! What can be wrong with loading versions and changing the traffic policy, with code, reason and
//! details; a branch of the one table of `status.rs`.

use tonic::Code;
use tonic_types::{ErrorDetails, PreconditionViolation, QuotaViolation};

use super::open::OpenError;
use super::status::ServeError;
use crate::bundle::BundleError;
use crate::scoring::ScoringError;
use crate::store::StoreError;

/// Why a version is not loaded, or traffic not changed. Nothing has changed when one is returned.
#[derive(Debug, Clone)]
pub(super) enum ModelRefusal {
    /// There is no such model or version.
    Unknown {
        /// As it was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// A check failed.
    Refused {
        /// The version.
        version: String,
        /// Which check.
        check: &'static str,
        /// What it found.
        why: String,
    },
    /// A version must be loaded first.
    NotLoaded {
        /// All that are missing.
        versions: Vec<String>,
    },
    /// The traffic policy names the version.
    InUse {
        /// The version.
        version: String,
        /// Its arms.
        arms: Vec<String>,
    },
    /// As many versions are loaded as may be.
    Full {
        /// How many may be.
        limit: usize,
    },
    /// The policy is another one than the caller has seen.
    Stale {
        /// The caller's etag.
        found: String,
        /// The one in force.
        etag: String,
    },
    /// No such revision is kept.
    NoRevision {
        /// As it was asked for; none: the one before.
        wanted: Option<u64>,
        /// Those that are kept.
        kept: String,
    },
    /// The server was told to serve one version and follows no alias.
    Pinned {
        /// What it was told.
        selector: String,
    },
}

impl ModelRefusal {
    /// Of a version that could not be opened.
    pub(super) fn of(version: &str, error: &OpenError) -> Self {
        if let OpenError::Bundle(
            BundleError::NoVersion { found, .. } | BundleError::NoModel { found, .. },
        ) = error
        {
            return Self::Unknown { wanted: version.to_owned(), found: found.clone() };
        }
        Self::Refused { version: version.to_owned(), check: check(error), why: error.to_string() }
    }

    /// Code and stable reason.
    pub(super) const fn class(&self) -> (Code, &'static str) {
        match self {
            Self::Unknown { .. } => (Code::NotFound, "MODEL_VERSION_UNKNOWN"),
            Self::Refused { .. } => (Code::FailedPrecondition, "MODEL_VERSION_REFUSED"),
            Self::NotLoaded { .. } => (Code::FailedPrecondition, "MODEL_VERSION_NOT_LOADED"),
            Self::InUse { .. } => (Code::FailedPrecondition, "MODEL_VERSION_IN_USE"),
            Self::Full { .. } => (Code::ResourceExhausted, "MODELS_LOADED_MAX"),
            Self::Stale { .. } => (Code::Aborted, "ETAG_MISMATCH"),
            Self::NoRevision { .. } => (Code::FailedPrecondition, "REVISION_UNKNOWN"),
            Self::Pinned { .. } => (Code::FailedPrecondition, "VERSION_PINNED"),
        }
    }

    /// What was found and what to do.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Unknown { wanted, found } => {
                format!("there is no {wanted:?} (found: {found})")
            }
            Self::Refused { version, check, why } => {
                format!("version {version} is refused ({check}): {why}")
            }
            Self::NotLoaded { versions } => {
                format!("not loaded: {}; load first (LoadModelVersion)", versions.join(", "))
            }
            Self::InUse { version, arms } => format!(
                "version {version} belongs to the arms {}: take it out of the traffic policy first",
                arms.join(", ")
            ),
            Self::Full { limit } => format!(
                "{limit} versions are loaded, as many as may be (models_loaded_max): unload one"
            ),
            Self::Stale { found, etag } => format!(
                "the etag is {found:?}, the policy in force has {etag:?}: read it and try again"
            ),
            Self::NoRevision { wanted: Some(wanted), kept } => {
                format!("revision {wanted} is not kept (kept: {kept})")
            }
            Self::NoRevision { wanted: None, kept } => {
                format!("there is nothing to go back to (kept: {kept})")
            }
            Self::Pinned { selector } => format!(
                "the server was told to serve {selector:?} and follows no alias: its traffic \
                 cannot be changed"
            ),
        }
    }

    /// What ErrorInfo says beside the reason.
    pub(super) fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Unknown { wanted, .. } => vec![("wanted", wanted.clone())],
            Self::Refused { version, check, .. } => {
                vec![("version", version.clone()), ("check", (*check).to_owned())]
            }
            Self::NotLoaded { versions } => vec![("versions", versions.join(","))],
            Self::InUse { version, arms } => {
                vec![("version", version.clone()), ("arms", arms.join(","))]
            }
            Self::Full { limit } => vec![("limit", limit.to_string())],
            Self::Stale { found, etag } => {
                vec![("found", found.clone()), ("etag", etag.clone())]
            }
            Self::NoRevision { wanted, kept } => {
                let wanted = wanted.map_or_else(String::new, |wanted| wanted.to_string());
                vec![("wanted", wanted), ("kept", kept.clone())]
            }
            Self::Pinned { selector } => vec![("selector", selector.clone())],
        }
    }

    /// What a client can act on.
    pub(super) fn add_details(&self, details: &mut ErrorDetails, message: &str) {
        let (kind, subject) = match self {
            Self::Unknown { wanted, .. } => {
                details.set_resource_info("tenure.v1.ModelVersion", wanted, "", message);
                return;
            }
            Self::Full { .. } => {
                let quota = QuotaViolation::new("models_loaded_max", message);
                details.set_quota_failure(vec![quota]);
                return;
            }
            // The etag in ErrorInfo is what the caller goes on with.
            Self::Stale { .. } => return,
            Self::Refused { version, check, .. } => (*check, version.clone()),
            Self::NotLoaded { versions } => ("LOADED", versions.join(",")),
            Self::InUse { version, .. } => ("NOT_IN_TRAFFIC", version.clone()),
            Self::NoRevision { .. } => ("REVISION", "trafficPolicy".to_owned()),
            Self::Pinned { selector } => ("ALIAS", selector.clone()),
        };
        let violation = PreconditionViolation::new(kind, subject, message);
        details.set_precondition_failure(vec![violation]);
    }
}

/// The check that an error is of.
const fn check(error: &OpenError) -> &'static str {
    match error {
        OpenError::Bundle(
            BundleError::Digest { .. } | BundleError::Missing { .. } | BundleError::Version { .. },
        ) => "DIGEST",
        OpenError::Bundle(BundleError::Schema { .. } | BundleError::Newer { .. }) => "SCHEMA",
        OpenError::Scoring(
            ScoringError::SelfTest { .. }
            | ScoringError::BadExample { .. }
            | ScoringError::Example { .. },
        ) => "SELF_TEST",
        OpenError::Policy { .. } | OpenError::PolicyFile { .. } | OpenError::Scoring(_) => "POLICY",
        OpenError::Store(StoreError::PinMismatch { .. }) => "STORE",
        OpenError::OtherKind { .. } => "KIND",
        _ => "FILES",
    }
}

impl From<ModelRefusal> for ServeError {
    fn from(refusal: ModelRefusal) -> Self {
        Self::Model(refusal)
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    #[test]
    fn every_refusal_has_its_code_and_details() {
        use ModelRefusal as R;
        let text = || "x".to_owned();
        for (refusal, code, reason, kind) in [
            (
                R::Unknown { wanted: text(), found: text() },
                Code::NotFound,
                "MODEL_VERSION_UNKNOWN",
                None,
            ),
            (
                R::Refused { version: text(), check: "DIGEST", why: text() },
                Code::FailedPrecondition,
                "MODEL_VERSION_REFUSED",
                Some("DIGEST"),
            ),
            (
                R::NotLoaded { versions: vec![text()] },
                Code::FailedPrecondition,
                "MODEL_VERSION_NOT_LOADED",
                Some("LOADED"),
            ),
            (
                R::InUse { version: text(), arms: vec![text()] },
                Code::FailedPrecondition,
                "MODEL_VERSION_IN_USE",
                Some("NOT_IN_TRAFFIC"),
            ),
            (R::Full { limit: 4 }, Code::ResourceExhausted, "MODELS_LOADED_MAX", None),
            (R::Stale { found: text(), etag: text() }, Code::Aborted, "ETAG_MISMATCH", None),
            (
                R::NoRevision { wanted: None, kept: text() },
                Code::FailedPrecondition,
                "REVISION_UNKNOWN",
                Some("REVISION"),
            ),
            (
                R::Pinned { selector: text() },
                Code::FailedPrecondition,
                "VERSION_PINNED",
                Some("ALIAS"),
            ),
        ] {
            let status = ServeError::from(refusal).to_status();
            let info = status.get_details_error_info().unwrap();
            assert_eq!((status.code(), &*info.reason), (code, reason));
            assert!(!status.message().is_empty() && !info.metadata.is_empty(), "{reason}");
            let failed = status.get_details_precondition_failure();
            let found = failed.map(|failed| failed.violations[0].r#type.clone());
            assert_eq!(found.as_deref(), kind, "{reason}");
            assert_eq!(status.get_details_resource_info().is_some(), code == Code::NotFound);
            let has_quota = status.get_details_quota_failure().is_some();
            assert_eq!(has_quota, code == Code::ResourceExhausted);
        }
    }
}
