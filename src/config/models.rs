//! How many versions of a model a server holds, and what scores beside it.

use super::raw::Reader;

// Defaults. Each says why it is this number.
/// The champion, the one before it for a rollback, a challenger, and room for one more.
const LOADED_MAX: u64 = 4;
/// Some milliseconds of scoring, and a few MiB of histories.
const SHADOW_QUEUE_MAX: u64 = 1_024;

/// How many versions of a model a server holds, and what scores beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelsConfig {
    /// Most versions loaded at once.
    pub loaded_max: usize,
    /// Most answers that wait to be scored by a shadow; more are dropped and counted.
    pub shadow_queue_max: usize,
}

impl ModelsConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            loaded_max: size(reader.number("models_loaded_max", LOADED_MAX, 2..=64)),
            shadow_queue_max: size(reader.number(
                "shadow_queue_max",
                SHADOW_QUEUE_MAX,
                1..=1 << 20,
            )),
        }
    }
}
