//! Answers by the id of their request: a retry gets the first answer, and decides nothing anew.
//!
//! Bounded by rows, the oldest leave first. A second call that comes while the first is at work
//! waits for it; one whose first call failed or left works it out itself. Only answers are kept,
//! no refusals, and nothing outlives the process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::answers::ScoreOutcome;
use super::status::ServeError;

/// Rows remembered.
const ROWS_MAX: usize = 10_000;
/// Longest id, in bytes.
const ID_BYTES_MAX: usize = 64;

/// An answer kept.
pub(super) type Kept = Arc<OnceCell<Vec<ScoreOutcome>>>;

#[derive(Debug, Default)]
struct Shelf {
    by_id: BTreeMap<String, (u128, usize, Kept)>,
    order: VecDeque<String>,
    n_rows: usize,
}

/// The answers.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<Shelf>);

impl Remembered {
    /// The place of a request's answer. `digest` is that of the request.
    pub(super) fn place(&self, id: &str, digest: u128, n_rows: usize) -> Result<Kept, ServeError> {
        if id.len() > ID_BYTES_MAX {
            let found = format!("{} bytes, at most {ID_BYTES_MAX} are taken", id.len());
            return Err(ServeError::invalid("request_id", "ID_TOO_LONG", found));
        }
        // Nothing in here panics between two changes.
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, _, kept)) = shelf.by_id.get(id) {
            if *known != digest {
                let found = "another request had this id: give each its own";
                return Err(ServeError::invalid("request_id", "REQUEST_ID_REUSED", found));
            }
            return Ok(Arc::clone(kept));
        }
        let kept = Kept::default();
        shelf.by_id.insert(id.to_owned(), (digest, n_rows, Arc::clone(&kept)));
        shelf.order.push_back(id.to_owned());
        shelf.n_rows += n_rows;
        while shelf.n_rows > ROWS_MAX && shelf.order.len() > 1 {
            let Some(oldest) = shelf.order.pop_front() else { break };
            if let Some((_, n_rows, _)) = shelf.by_id.remove(&oldest) {
                shelf.n_rows -= n_rows;
            }
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_leave_and_an_id_means_one_request() {
        let remembered = Remembered::default();
        let first = remembered.place("a", 1, ROWS_MAX / 2).unwrap();
        assert!(Arc::ptr_eq(&first, &remembered.place("a", 1, 1).unwrap()));
        assert!(remembered.place("a", 2, 1).is_err());
        remembered.place("b", 1, ROWS_MAX / 2).unwrap();
        assert!(Arc::ptr_eq(&first, &remembered.place("a", 1, 1).unwrap()));
        remembered.place("c", 1, 1).unwrap();
        assert!(!Arc::ptr_eq(&first, &remembered.place("a", 2, 1).unwrap()));
        assert!(remembered.place(&"x".repeat(65), 1, 1).is_err());
    }
}
