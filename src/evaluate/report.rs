//! `report.html`: one self-contained page from a manifest and metrics.

use serde_json::Value;

/// Renders the page.
#[must_use]
pub fn render(_manifest: &Value, metrics: &Value) -> String {
    format!("<!doctype html><title>tenure</title><pre>{metrics:#}</pre>")
}
