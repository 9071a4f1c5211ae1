//! `report.html`: one self-contained page about a model, from its manifest and metrics.
//!
//! In: the two documents as JSON, of any shape: what is missing or of another type is left out or
//! said to be missing, and every text is escaped. Out: HTML that needs no network, with its style
//! and its plots inside, in the same bytes for the same input.
//! It deliberately computes no metric: it orders, formats and explains what the trainer measured.

mod candidates;
mod churn;
mod counts;
mod curves;
mod doc;
mod effects;
mod figure;
mod groups;
mod page;
mod plot;
mod rhythm;
mod spread;
mod table;
mod text;
mod timeline;
mod value;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;
use thiserror::Error;

use doc::Source;

/// The page; everything that depends on the input is a placeholder in it.
const TEMPLATE: &str = concat!(
    include_str!("report/macros.html.j2"),
    include_str!("report/top.html.j2"),
    include_str!("report/style.html.j2"),
    include_str!("report/front.html.j2"),
    include_str!("report/churn.html.j2"),
    include_str!("report/value.html.j2"),
    include_str!("report/rhythm.html.j2"),
    include_str!("report/today.html.j2"),
    include_str!("report/end.html.j2"),
);

/// Why there is no page.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The template and the code that fills it disagree: a defect of this version, not of the
    /// input.
    #[error("the report's template does not fit this version")]
    Template(#[from] minijinja::Error),
}

/// Renders the page.
///
/// # Errors
/// [`ReportError`]; no input is known to give one.
pub fn render(manifest: &Value, metrics: &Value) -> Result<String, ReportError> {
    let mut environment = Environment::new();
    // Names come from users: everything is escaped, whatever the template is called.
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
    environment.set_syntax(syntax);
    let page = Serde(page::page(Source::new(manifest, metrics)));
    Ok(environment.render_named_str("report.html", TEMPLATE, page)?)
}

#[cfg(test)]
mod tests;
