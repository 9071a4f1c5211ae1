//! The engine on a small bundle.
