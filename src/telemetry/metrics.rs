//! Numbers that only go up, numbers that go up and down, and times, in the text that Prometheus
//! reads.
//!
//! In: counts, from any thread, without a lock. Out: a page of text (exposition format 0.0.4). It
//! deliberately knows no name of any metric: who counts names what it counts.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of a histogram of times, in seconds: from a cached answer to a
/// call at its limit, each about twice the one before.
pub const SECONDS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0,
    2.0, 5.0, 10.0, 30.0,
];

/// A number that only goes up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// What it has come to.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many times fell into which bucket of [`SECONDS`].
#[derive(Debug)]
pub struct Times {
    buckets: [AtomicU64; SECONDS.len() + 1],
    nanos: AtomicU64,
}

impl Default for Times {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), nanos: AtomicU64::new(0) }
    }
}

impl Times {
    /// Notes one.
    pub fn note(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let idx = SECONDS.partition_point(|bound| *bound < seconds);
        self.buckets[idx].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// How many were noted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only goes up.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts by size.
    Histogram,
}

/// A page of metrics as it grows.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Begins a metric: its name, what kind it is, and what it tells.
    pub fn metric(&mut self, name: &str, kind: MetricKind, help: &str) -> Samples<'_> {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Samples { page: &mut self.0, name: name.to_owned() }
    }

    /// The whole text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }
}

/// The samples of one metric.
#[derive(Debug)]
pub struct Samples<'p> {
    page: &'p mut String,
    name: String,
}

impl Samples<'_> {
    /// One number under labels.
    pub fn put(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        let labels = labelled(labels);
        let _ = writeln!(self.page, "{}{labels} {value}", self.name);
        self
    }

    /// The buckets, the sum and the number of times under labels.
    pub fn put_times(&mut self, labels: &[(&str, &str)], times: &Times) -> &mut Self {
        let mut n = 0;
        let bounds = SECONDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, bucket) in bounds.zip(&times.buckets) {
            n += bucket.load(Ordering::Relaxed);
            let labels = labelled(&[labels, &[("le", &bound)]].concat());
            let _ = writeln!(self.page, "{}_bucket{labels} {n}", self.name);
        }
        let (labels, nanos) = (labelled(labels), times.nanos.load(Ordering::Relaxed));
        let seconds = Duration::from_nanos(nanos).as_secs_f64();
        let _ = writeln!(self.page, "{}_sum{labels} {seconds}", self.name);
        let _ = writeln!(self.page, "{}_count{labels} {n}", self.name);
        self
    }
}

fn labelled(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let mut text = String::from("{");
    for (idx, (name, value)) in labels.iter().enumerate() {
        let comma = if idx == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{name}=\"");
        for letter in value.chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let mut page = Page::default();
        let counter = Counter::default();
        counter.add(2);
        counter.add(1);
        page.metric("a_total", MetricKind::Counter, "What it is.")
            .put(&[], counter.get())
            .put(&[("who", "\"x\\\ny\"")], 7);
        let times = Times::default();
        for micros in [50, 51, 100, 40_000_000] {
            times.note(Duration::from_micros(micros));
        }
        page.metric("b_seconds", MetricKind::Histogram, "Times.").put_times(&[("m", "x")], &times);
        let text = page.into_text();
        assert!(text.starts_with(
            "# HELP a_total What it is.\n# TYPE a_total counter\na_total 3\n\
             a_total{who=\"\\\"x\\\\\\ny\\\"\"} 7\n# HELP b_seconds Times.\n"
        ));
        for line in [
            "b_seconds_bucket{m=\"x\",le=\"0.00005\"} 1",
            "b_seconds_bucket{m=\"x\",le=\"0.0001\"} 3",
            "b_seconds_bucket{m=\"x\",le=\"30\"} 3",
            "b_seconds_bucket{m=\"x\",le=\"+Inf\"} 4",
            "b_seconds_count{m=\"x\"} 4",
            "b_seconds_sum{m=\"x\"} 40.000201",
        ] {
            assert!(text.lines().any(|held| held == line), "{line} in\n{text}");
        }
        assert_eq!(times.count(), 4);
    }
}
