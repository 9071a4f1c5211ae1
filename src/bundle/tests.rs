//! Bundles that are damaged, incomplete or not there.
