//! The time line of the windows: which part of the log was looked back on, and which was judged.

use serde_json::{Value, json};

use crate::domain::Day;

use super::doc::{Doc, Source};
use super::plot::{Axis, px};
use super::text::{count, or_absent, percent};

/// Left and right end of the days, in units of the view box (960 wide).
const DAYS_X: [f64; 2] = [92.0, 800.0];
/// Height of a row.
const ROW: f64 = 24.0;
/// Where the first row begins, below the names of the months.
const TOP: f64 = 30.0;
/// Months between marks of the axis, so that few marks stand on a long log.
const MONTH_STEPS: [i32; 11] = [1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200];
/// At most about this many marks.
const MARKS_MAX: f64 = 9.0;

/// A window as it stands in the metrics.
#[derive(Debug, Clone, Copy)]
struct Window<'v> {
    doc: Doc<'v>,
    cutoff: Day,
    end: Day,
}

impl<'v> Window<'v> {
    fn read(doc: Doc<'v>) -> Option<Self> {
        let (cutoff, end) = (doc.at("cutoff").day()?, doc.at("window_end").day()?);
        (cutoff < end).then_some(Self { doc, cutoff, end })
    }

    fn role(self) -> &'v str {
        self.doc.at("role").text().unwrap_or("window")
    }
}

/// The class by which the style knows a role.
fn class(role: &str) -> &'static str {
    match role {
        "judged" => "judged",
        "training" => "training",
        _ => "final",
    }
}

/// The windows as rows of a table.
pub(super) fn rows(source: Source<'_>) -> Vec<Value> {
    let windows = source.churn().at("windows").items();
    windows
        .into_iter()
        .map(|doc| {
            json!({
                "cutoff": doc.at("cutoff").text().unwrap_or(super::text::ABSENT),
                "end": doc.at("window_end").text().unwrap_or(super::text::ABSENT),
                "role": doc.at("role").text().unwrap_or(super::text::ABSENT),
                "customers": or_absent(doc.at("customers").number(), count),
                "churn": or_absent(doc.at("churn_share").share(), percent),
            })
        })
        .collect()
}

/// The plot; none without a window or without the days of the log.
pub(super) fn plot(source: Source<'_>) -> Option<Value> {
    let windows: Vec<Window<'_>> =
        source.churn().at("windows").items().into_iter().filter_map(Window::read).collect();
    let earliest = windows.iter().map(|window| window.cutoff).min()?;
    let latest = windows.iter().map(|window| window.end).max()?;
    let first = source.first().map_or(earliest, |day| day.min(earliest));
    let until = source.until().map_or(latest, |day| day.max(latest));
    let history = f64::from(until.days_since(first));
    // A long horizon would squeeze the past: it is drawn at most as long as the log.
    let reach = |days: Option<f64>| days.unwrap_or(0.0).min(history);
    let [churn, value] = [reach(source.churn_days()), reach(source.value_days())];
    let range = [f64::from(first.number()), f64::from(until.number()) + churn.max(value)];
    let axis = Axis::new(range, DAYS_X)?;
    let place = |day: Day| axis.place(f64::from(day.number()));
    let drawn: Vec<Value> = windows
        .iter()
        .enumerate()
        .map(|(idx, window)| {
            let y = ROW.mul_add(idx as f64, TOP);
            let share = window.doc.at("churn_share").share();
            json!({
                "label": window.cutoff.to_string(),
                "class": class(window.role()),
                "y": px(y + ROW / 2.0),
                "bar_y": px(y + 5.0),
                "from": px(place(first)),
                "cut": px(place(window.cutoff)),
                "width": px(place(window.end) - place(window.cutoff)),
                "note": share.map(|share| format!("{} left", percent(share))),
                "hint": format!(
                    "{}: looks back from {}, outcomes up to {}",
                    window.role(), window.cutoff, window.end
                ),
            })
        })
        .collect();
    let y_next = ROW.mul_add(drawn.len() as f64, TOP);
    let ahead = |days: f64| px(days * (DAYS_X[1] - DAYS_X[0]) / (range[1] - range[0]));
    Some(json!({
        "rows": drawn,
        "marks": marks(axis, first, range[1]),
        "until": px(place(until)),
        "until_text": until.to_string(),
        "first": px(place(first)),
        "churn_ahead": ahead(churn),
        "value_ahead": ahead(value),
        "next_y": px(y_next + ROW / 2.0),
        "next_bar_y": px(y_next + 5.0),
        "bottom": px(y_next + ROW),
        "height": px(y_next + ROW + 22.0),
    }))
}

/// First days of months at even steps, as places and names.
fn marks(axis: Axis, first: Day, last: f64) -> Vec<Value> {
    let months = (last - f64::from(first.number())) / 30.44;
    let fits = |step: &i32| months / f64::from(*step) <= MARKS_MAX;
    let Some(step) = MONTH_STEPS.into_iter().find(fits) else { return Vec::new() };
    let name = first.to_string();
    let parts: Vec<i32> = name.splitn(3, '-').filter_map(|part| part.parse().ok()).collect();
    let &[year, month, _] = parts.as_slice() else { return Vec::new() };
    // Months since the year 0; the first mark is the first round month not before the log.
    let start = (year * 12 + month - 1).div_euclid(step) * step;
    (0..=12)
        .filter_map(|idx| {
            let month = start + idx * step;
            let text = format!("{:04}-{:02}", month.div_euclid(12), month.rem_euclid(12) + 1);
            let day = Day::parse(&format!("{text}-01")).ok()?;
            let inside = day >= first && f64::from(day.number()) <= last;
            inside.then(|| json!({ "x": px(axis.place(f64::from(day.number()))), "text": text }))
        })
        .collect()
}
