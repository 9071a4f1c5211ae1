//! Every method of ours by its full path: which role may call it, and which class of work it is.
//!
//! In: the path of a request. Out: role, class and the name that metrics use. A path that is not
//! in the table needs the role admin, so that a method that somebody adds and forgets here is
//! closed and not open. A test holds the table against the descriptors of the services.

use crate::config::Role;

/// Begins the path of every method of ours.
pub(super) const OURS: &str = "/tenure.v1.";

/// Work of one kind, which waits in a line of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Answered within a millisecond: somebody waits.
    Interactive,
    /// Waits for the disk.
    Intake,
    /// Many rows a call, on the pool.
    Batch,
    /// A hundred times the work of a score.
    Explain,
    /// Rare, by people and their tools.
    Admin,
    /// Lives as long as its caller wants; what flows is bounded by the service.
    Stream,
}

impl Class {
    /// All of them, in order.
    pub(super) const ALL: [Self; 6] =
        [Self::Interactive, Self::Intake, Self::Batch, Self::Explain, Self::Admin, Self::Stream];

    /// Its name in metrics and refusals.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Intake => "intake",
            Self::Batch => "batch",
            Self::Explain => "explain",
            Self::Admin => "admin",
            Self::Stream => "stream",
        }
    }

    /// Its place in [`Class::ALL`].
    pub(super) const fn idx(self) -> usize {
        self as usize
    }
}

/// What is known of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method {
    /// Service and method, such as `ScoringService/ScoreCustomer`.
    pub(super) name: &'static str,
    /// Who may call it.
    pub(super) role: Role,
    /// Where it waits.
    pub(super) class: Class,
}

const fn method(name: &'static str, role: Role, class: Class) -> Method {
    Method { name, role, class }
}

/// What a method is that the table does not have.
const STRANGER: Method = method("other", Role::Admin, Class::Admin);

/// All methods of this version and of those under way, sorted by name.
pub(super) const METHODS: [Method; 24] = [
    method("CustomerService/DeleteCustomer", Role::Admin, Class::Intake),
    method("CustomerService/ExportStates", Role::Admin, Class::Stream),
    method("CustomerService/GetCustomer", Role::Score, Class::Interactive),
    method("CustomerService/Stats", Role::Admin, Class::Explain),
    method("EventService/IngestEvents", Role::Ingest, Class::Intake),
    method("EventService/ReportOutcomes", Role::Ingest, Class::Intake),
    method("EventService/StreamEvents", Role::Ingest, Class::Stream),
    method("ModelService/ExportStates", Role::Admin, Class::Stream),
    method("ModelService/GetModelVersion", Role::Score, Class::Admin),
    method("ModelService/GetTrafficPolicy", Role::Score, Class::Admin),
    method("ModelService/ListModelVersions", Role::Score, Class::Admin),
    method("ModelService/ListModels", Role::Score, Class::Admin),
    method("ModelService/LoadModelVersion", Role::Admin, Class::Admin),
    method("ModelService/RollBackTrafficPolicy", Role::Admin, Class::Admin),
    method("ModelService/Stats", Role::Admin, Class::Admin),
    method("ModelService/UnloadModelVersion", Role::Admin, Class::Admin),
    method("ModelService/UpdateTrafficPolicy", Role::Admin, Class::Admin),
    method("ModelService/WatchModels", Role::Score, Class::Stream),
    method("ScoringService/BatchScoreCustomers", Role::Score, Class::Batch),
    method("ScoringService/ExplainScore", Role::Score, Class::Explain),
    method("ScoringService/ScoreCustomer", Role::Score, Class::Interactive),
    method("ScoringService/ScoreMatrix", Role::Score, Class::Batch),
    method("ScoringService/ScoreStream", Role::Score, Class::Stream),
    method("ScoringService/WatchScores", Role::Score, Class::Stream),
];

/// The method that a path names; none for a path of somebody else's service. The second is its
/// place in [`METHODS`], or their number for one that is not there.
pub(super) fn of_path(path: &str) -> Option<(Method, usize)> {
    let name = path.strip_prefix(OURS)?;
    Some(match METHODS.binary_search_by(|held| held.name.cmp(name)) {
        Ok(idx) => (METHODS[idx], idx),
        Err(_) => (STRANGER, METHODS.len()),
    })
}

/// Names for metrics, in the order of the places that [`of_path`] gives.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|method| method.name).chain([STRANGER.name])
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::super::pb;
    use super::*;

    #[test]
    fn every_method_of_the_descriptors_has_its_line() {
        let set = FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap();
        let mut n_methods = 0;
        for file in set.file.iter().filter(|file| file.package() == "tenure.v1") {
            for service in &file.service {
                for rpc in &service.method {
                    let path = format!("{OURS}{}/{}", service.name(), rpc.name());
                    let (method, _) = of_path(&path).unwrap();
                    assert_ne!(method, STRANGER, "{path} is not in METHODS");
                    let is_stream = rpc.client_streaming() || rpc.server_streaming();
                    assert_eq!(is_stream, method.class == Class::Stream, "{path}");
                    n_methods += 1;
                }
            }
        }
        assert!(n_methods >= 6, "{n_methods}");
    }

    #[test]
    fn the_table_is_sorted_and_a_stranger_is_for_admins() {
        assert!(METHODS.is_sorted_by(|a, b| a.name < b.name));
        let (stranger, _) = of_path("/tenure.v1.ScoringService/Forgotten").unwrap();
        assert_eq!(stranger.role, Role::Admin);
        assert_eq!(of_path("/grpc.health.v1.Health/Check"), None);
        assert!(Class::ALL.iter().enumerate().all(|(idx, class)| class.idx() == idx));
    }
}
