//! `report.html`: one self-contained page about a model, from its manifest and metrics.
//!
//! In: the two documents as JSON, of any shape: what is missing or of another type is left out or
//! said to be missing, and every text is escaped. Out: HTML that needs no network, with its style
//! and its plots inside, in the same bytes for the same input; and the same as a model card in
//! Markdown.
//! It deliberately computes no metric: it orders, formats and explains what the trainer measured.

mod candidates;
mod card;
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

/// The model card.
const CARD: &str = include_str!("report/card.md.j2");
const CARD_NAME: &str = "model_card.md";

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
    let page = page::page(Source::new(manifest, metrics));
    Ok(environment()?.render_named_str("report.html", TEMPLATE, Serde(page))?)
}

/// Renders the model card.
///
/// # Errors
/// As [`render`].
pub fn model_card(manifest: &Value, metrics: &Value) -> Result<String, ReportError> {
    let card = card::context(Source::new(manifest, metrics));
    let text = environment()?.render_named_str(CARD_NAME, CARD, Serde(card))?;
    // What is missing leaves blank lines behind, and ends of lines.
    let mut tidy = String::with_capacity(text.len());
    for line in text.lines().map(str::trim_end) {
        if !(line.is_empty() && tidy.ends_with("\n\n")) {
            tidy.push_str(line);
            tidy.push('\n');
        }
    }
    Ok(tidy)
}

fn environment() -> Result<Environment<'static>, ReportError> {
    let mut environment = Environment::new();
    // Names come from users: everything is escaped. The card's texts were tamed for Markdown.
    environment.set_auto_escape_callback(|name| {
        if name == CARD_NAME { AutoEscape::None } else { AutoEscape::Html }
    });
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
    environment.set_syntax(syntax);
    Ok(environment)
}

#[cfg(test)]
mod tests;
