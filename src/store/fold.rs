//! Running a caller's fold so that whatever it does ends one update and nothing else.

use std::any::Any;
use std::panic;
use std::panic::AssertUnwindSafe;

use super::writer::{Fold, Rejection};

/// The new bytes, or why there are none.
pub(super) fn run_fold(
    fold: Fold,
    state: Option<&[u8]>,
    is_new: &[bool],
) -> Result<Vec<u8>, Rejection> {
    // The fold gets shared references only, so a panic cannot leave half a state behind.
    panic::catch_unwind(AssertUnwindSafe(|| fold(state, is_new)))
        .map_err(|panicked| Rejection::Panicked { message: message(&*panicked) })?
        .map_err(Rejection::Fold)
}

fn message(panicked: &(dyn Any + Send)) -> String {
    let text = panicked.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panicked.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
