//! The table of candidates: all side by side, the champion and the plain rules marked.

use serde_json::{Value, json};

use super::doc::Doc;
use super::text::{ABSENT, candidate, fixed, percent};

/// Which way a metric is better.
#[derive(Debug, Clone, Copy)]
pub(super) enum Better {
    /// Larger.
    High,
    /// Smaller.
    Low,
    /// Nearer to 1.
    One,
}

/// How a metric is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    /// With this many decimals.
    Decimals(usize),
    /// As a percentage.
    Percent,
}

/// A column of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure {
    /// Its key in the metrics.
    pub(super) key: &'static str,
    /// Its heading.
    pub(super) head: &'static str,
    /// What it says and which way is better, for the reader who does not know it.
    pub(super) hint: &'static str,
    /// Which way is better.
    pub(super) better: Better,
    /// How it is written.
    pub(super) style: Style,
}

impl Measure {
    fn read(&self, doc: Doc<'_>) -> Option<f64> {
        doc.at(self.key).number()
    }

    fn text(&self, x: f64) -> String {
        match self.style {
            Style::Decimals(decimals) => fixed(x, decimals),
            Style::Percent => percent(x),
        }
    }

    /// How far from the best there is: the smallest wins.
    fn distance(&self, x: f64) -> f64 {
        match self.better {
            Better::High => -x,
            Better::Low => x,
            // As far off at a half as at the double.
            Better::One if x > 0.0 => x.ln().abs(),
            Better::One => f64::INFINITY,
        }
    }
}

/// The table; none without candidates. `references` are shown for comparison: they are never the
/// best of a column.
pub(super) fn table(
    candidates: &[Doc<'_>],
    champion: Option<&str>,
    references: &[&str],
    measures: &[Measure],
) -> Option<Value> {
    if candidates.is_empty() {
        return None;
    }
    let name = |doc: Doc<'_>| doc.at("name").text().unwrap_or(ABSENT).to_owned();
    let is_reference = |doc: Doc<'_>| references.contains(&name(doc).as_str());
    let best: Vec<Option<String>> = measures
        .iter()
        .map(|measure| {
            let known = candidates.iter().filter(|doc| !is_reference(**doc));
            let values = known.filter_map(|doc| measure.read(*doc));
            let least =
                values.min_by(|a, b| measure.distance(*a).total_cmp(&measure.distance(*b)))?;
            // Compared as written: two that read the same are both the best.
            Some(measure.text(least))
        })
        .collect();
    let rows: Vec<Value> = candidates
        .iter()
        .map(|&doc| {
            let id = name(doc);
            let cells: Vec<Value> = measures
                .iter()
                .zip(&best)
                .map(|(measure, best)| match measure.read(doc) {
                    Some(x) => {
                        let text = measure.text(x);
                        let is_best = !is_reference(doc) && best.as_deref() == Some(text.as_str());
                        json!({ "text": text, "best": is_best })
                    }
                    None => json!({ "text": ABSENT, "best": false }),
                })
                .collect();
            json!({
                "label": candidate(&id),
                "champion": champion == Some(id.as_str()),
                "reference": is_reference(doc),
                "cells": cells,
                "id": id,
            })
        })
        .collect();
    let columns: Vec<Value> = measures
        .iter()
        .map(|measure| json!({ "head": measure.head, "hint": measure.hint }))
        .collect();
    Some(json!({ "columns": columns, "rows": rows }))
}

/// The candidate of a name.
pub(super) fn find<'v>(candidates: &[Doc<'v>], name: &str) -> Option<Doc<'v>> {
    candidates.iter().copied().find(|doc| doc.at("name").text() == Some(name))
}
