//! The environment, read in this one place.

use std::collections::BTreeMap;

/// The variables of this process whose names begin with a prefix, the prefix taken off and the
/// rest in lower case: `TENURE_SERVE_LISTEN` is `listen`. Values that are no UTF-8 are left in
/// as their nearest text, so that checking names them.
#[must_use]
pub fn process_environment(prefix: &str) -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, text)| {
            let key = name.to_str()?.strip_prefix(prefix)?.to_ascii_lowercase();
            Some((key, text.to_string_lossy().into_owned()))
        })
        .collect()
}
