//! Reading documents of any shape: every question has an answer, whatever lies there.

use serde_json::Value;

use crate::domain::Day;

/// At most this many entries of a list are shown: a page is read by people.
const ITEMS_MAX: usize = 60;
/// At most this many points of a curve are drawn.
const POINTS_MAX: usize = 240;

/// A place in a document, which may not exist.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doc<'v>(Option<&'v Value>);

impl<'v> Doc<'v> {
    /// The place under a key.
    pub(super) fn at(self, key: &str) -> Self {
        Self(self.0.and_then(|value| value.get(key)))
    }

    /// A text that is not blank.
    pub(super) fn text(self) -> Option<&'v str> {
        self.0.and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
    }

    /// A finite number.
    pub(super) fn number(self) -> Option<f64> {
        self.0.and_then(Value::as_f64).filter(|number| number.is_finite())
    }

    /// A whole number, not negative.
    pub(super) fn whole(self) -> Option<u64> {
        self.0.and_then(Value::as_u64)
    }

    /// A number in [0, 1].
    pub(super) fn share(self) -> Option<f64> {
        self.number().filter(|share| (0.0..=1.0).contains(share))
    }

    /// Yes or no.
    pub(super) fn flag(self) -> Option<bool> {
        self.0.and_then(Value::as_bool)
    }

    /// A calendar day.
    pub(super) fn day(self) -> Option<Day> {
        self.text().and_then(|text| Day::parse(text).ok())
    }

    /// The first entries of a list; none where there is no list.
    pub(super) fn items(self) -> Vec<Self> {
        let items = self.0.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().take(ITEMS_MAX).map(|item| Self(Some(item))).collect()
    }

    /// The first entries of a list that is drawn.
    pub(super) fn series(self) -> Vec<Self> {
        let items = self.0.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().take(POINTS_MAX).map(|item| Self(Some(item))).collect()
    }

    /// The numbers of a list that is drawn, up to the first entry that is none.
    pub(super) fn numbers(self) -> Vec<f64> {
        self.series().into_iter().map_while(Self::number).collect()
    }

    /// The points of a curve, up to the first entry that is none.
    pub(super) fn points(self) -> Vec<[f64; 2]> {
        let pair = |point: Self| <[f64; 2]>::try_from(point.numbers()).ok();
        self.series().into_iter().map_while(pair).collect()
    }

    /// The first entries of an object by name; none where there is no object.
    pub(super) fn entries(self) -> Vec<(&'v str, Self)> {
        let Some(object) = self.0.and_then(Value::as_object) else { return Vec::new() };
        object
            .iter()
            .take(ITEMS_MAX)
            .map(|(key, value)| (key.as_str(), Self(Some(value))))
            .collect()
    }
}

/// The two documents, and what several sections ask of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'v> {
    /// `manifest.json`.
    pub(super) manifest: Doc<'v>,
    /// `metrics.json`.
    pub(super) metrics: Doc<'v>,
}

impl<'v> Source<'v> {
    /// Of the two documents.
    pub(super) const fn new(manifest: &'v Value, metrics: &'v Value) -> Self {
        Self { manifest: Doc(Some(manifest)), metrics: Doc(Some(metrics)) }
    }

    /// The section on churn.
    pub(super) fn churn(self) -> Doc<'v> {
        self.metrics.at("churn")
    }

    /// The section on value.
    pub(super) fn value(self) -> Doc<'v> {
        self.metrics.at("clv")
    }

    /// The numbers behind the plots.
    pub(super) fn plots(self) -> Doc<'v> {
        self.metrics.at("plots")
    }

    /// The section on the data.
    pub(super) fn data(self) -> Doc<'v> {
        self.metrics.at("data")
    }

    /// The churn horizon, days.
    pub(super) fn churn_days(self) -> Option<f64> {
        let days = self.churn().at("horizon_days").number();
        days.or_else(|| self.manifest.at("churn_horizon_days").number()).filter(|d| *d > 0.0)
    }

    /// The value horizon, days.
    pub(super) fn value_days(self) -> Option<f64> {
        let days = self.value().at("horizon_days").number();
        days.or_else(|| self.manifest.at("clv_horizon_days").number()).filter(|d| *d > 0.0)
    }

    /// The last day that training looked at.
    pub(super) fn until(self) -> Option<Day> {
        let day = self.manifest.at("data_until").day();
        day.or_else(|| self.data().at("until").day())
    }

    /// The day of the first event.
    pub(super) fn first(self) -> Option<Day> {
        let day = self.data().at("first").day();
        day.or_else(|| self.manifest.at("data_first").day())
    }

    /// The currency's code, or nothing.
    pub(super) fn currency(self) -> &'v str {
        self.manifest.at("currency").text().unwrap_or_default()
    }

    /// The window that candidates were judged on; none where nothing was judged.
    pub(super) fn judged(self) -> Option<Doc<'v>> {
        if self.churn().at("candidates").items().is_empty() {
            return None;
        }
        let windows = self.churn().at("windows").items();
        let judged = windows.into_iter().find(|w| w.at("role").text() == Some("judged"));
        // A table has no windows; its judged rows have a share all the same.
        judged.or_else(|| {
            let rows = self.churn().at("judged");
            rows.at("churn_share").number().map(|_| rows)
        })
    }

    /// Whether the customers who left are the smaller group of the judged window.
    pub(super) fn leavers_are_rarer(self) -> Option<bool> {
        self.judged()?.at("churn_share").share().map(|share| share <= 0.5)
    }

    /// Whether a second, earlier window tested the champion: the recalibration was tried on it.
    pub(super) fn tried_on_second_window(self) -> bool {
        let note = self.churn().at("calibration").at("note").text().unwrap_or_default();
        note.starts_with("kept") || note.starts_with("left out")
    }

    /// Whether the recalibration is part of the model.
    pub(super) fn recalibrated(self) -> bool {
        self.churn().at("calibration").at("note").text().is_some_and(|n| n.starts_with("kept"))
    }
}
