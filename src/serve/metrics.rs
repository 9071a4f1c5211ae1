//! What the server counts, and the page that Prometheus reads.
//!
//! In: what happened, told where it happens. Out: one page with every metric, each named here and
//! nowhere else. No label holds anything of a customer or of a caller's request but the names of
//! methods, campaigns, tiers and reasons, which are few.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tonic::Code;

use super::live::Live;
use super::methods;
use super::methods::{Class, METHODS};
use super::reload::Part;
use super::traffic_metrics;
use crate::decision::{Decision, SuppressionReason};
use crate::domain::{AsOf, Day, Zone};
use crate::store::Health;
use crate::telemetry::MetricKind::{Counter as Up, Gauge, Histogram};
use crate::telemetry::{Counter, Page, Times};

const N_METHODS: usize = METHODS.len() + 1;
/// OK to UNAUTHENTICATED.
const N_CODES: usize = 17;
/// Campaigns of one policy and of those before it since the start.
const CAMPAIGNS_MAX: usize = 1_000;

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Metrics {
    calls: [[Counter; N_CODES]; N_METHODS],
    times: [Times; N_METHODS],
    refused: [[Counter; Refusal::ALL.len()]; Class::ALL.len()],
    tiers: [Counter; 4],
    /// Replaced by a longer one when a campaign is decided for the first time: every answer looks
    /// into it, on every thread.
    campaigns: ArcSwap<BTreeMap<String, Arc<Counter>>>,
    suppressions: [Counter; SuppressionReason::ALL.len()],
    events: [Counter; EventOutcome::ALL.len()],
    reloads: [[Counter; 2]; Part::ALL.len()],
    /// How long commits of the store took.
    pub(super) commits: Times,
    /// Commits that failed.
    pub(super) commits_failed: Counter,
    /// Connections closed because there were too many.
    pub(super) connections_refused: Counter,
    /// Customers erased because they were silent for so long.
    pub(super) forgotten: Counter,
    spans: [Counter; SpanOutcome::ALL.len()],
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: Default::default(),
            times: std::array::from_fn(|_| Times::default()),
            refused: Default::default(),
            tiers: Default::default(),
            campaigns: ArcSwap::default(),
            suppressions: Default::default(),
            events: Default::default(),
            reloads: Default::default(),
            commits: Times::default(),
            commits_failed: Counter::default(),
            connections_refused: Counter::default(),
            forgotten: Counter::default(),
            spans: Default::default(),
        }
    }
}

/// Why a call was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No key, a wrong one, or one without the role.
    Access,
    /// The quota is used up.
    Quota,
    /// Too many wait.
    Full,
    /// It would have waited longer than its caller does.
    TooLate,
    /// Its turn came when there was no time left.
    Expired,
    /// The turnstile turned it away: as many as can be answered had passed.
    Unread,
}

impl Refusal {
    /// All of them, in order.
    const ALL: [Self; 6] =
        [Self::Access, Self::Quota, Self::Full, Self::TooLate, Self::Expired, Self::Unread];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Quota => "quota",
            Self::Full => "full",
            Self::TooLate => "too_late",
            Self::Expired => "expired",
            Self::Unread => "unread",
        }
    }
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventOutcome {
    /// New, and stored.
    Accepted,
    /// Known already.
    Duplicate,
    /// Stored, and later than the tiles reach.
    Late,
    /// Not stored.
    Rejected,
}

impl EventOutcome {
    const ALL: [Self; 4] = [Self::Accepted, Self::Duplicate, Self::Late, Self::Rejected];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Late => "late",
            Self::Rejected => "rejected",
        }
    }
}

/// What became of the span of a traced call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpanOutcome {
    /// The collector has it.
    Exported,
    /// Too many waited.
    Dropped,
    /// The collector did not take it.
    Failed,
}

impl SpanOutcome {
    const ALL: [Self; 3] = [Self::Exported, Self::Dropped, Self::Failed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
        }
    }
}

const TIERS: [&str; 4] = ["none", "green", "amber", "red"];

impl Metrics {
    /// A call has been answered; the first is the method's place.
    pub(super) fn called(&self, method: usize, code: Code, time: Duration) {
        let code = usize::try_from(code as i32).unwrap_or(0).min(N_CODES - 1);
        self.calls[method.min(N_METHODS - 1)][code].add(1);
        self.times[method.min(N_METHODS - 1)].note(time);
    }

    /// A call was not begun.
    pub(super) fn refused(&self, class: Class, why: Refusal) {
        self.refused[class.idx()][why as usize].add(1);
    }

    /// A call was turned away before it was read. It has no time: among those of calls that were
    /// read it would hide how long they took.
    pub(super) fn turned_away(&self, class: Class, method: usize) {
        self.calls[method.min(N_METHODS - 1)][Code::Unavailable as usize].add(1);
        self.refused(class, Refusal::Unread);
    }

    /// An answer was given.
    pub(super) fn decided(&self, decision: &Decision<'_>) {
        self.tiers[decision.tier.map_or(0, |tier| tier as usize)].add(1);
        if let Some(campaign) = decision.campaign {
            self.campaign(campaign.id());
        }
        if let Some(suppression) = &decision.suppression {
            // Numbers of reasons begin with 1.
            if let Some(n) = self.suppressions.get(suppression.reason as usize - 1) {
                n.add(1);
            }
        }
    }

    fn campaign(&self, id: &str) {
        let counts = self.campaigns.load();
        if let Some(n) = counts.get(id) {
            n.add(1);
        } else if counts.len() < CAMPAIGNS_MAX {
            self.campaigns.rcu(|counts| {
                let mut counts = BTreeMap::clone(counts);
                counts.entry(id.to_owned()).or_default();
                counts
            });
            if let Some(n) = self.campaigns.load().get(id) {
                n.add(1);
            }
        }
    }

    /// So many events came to this.
    pub(super) fn events(&self, outcome: EventOutcome, n: u32) {
        self.events[outcome as usize].add(u64::from(n));
    }

    /// So many spans came to this.
    pub(super) fn spans(&self, outcome: SpanOutcome, n: u64) {
        self.spans[outcome as usize].add(n);
    }

    /// How many spans have come to this.
    pub(super) fn n_spans(&self, outcome: SpanOutcome) -> u64 {
        self.spans[outcome as usize].get()
    }

    /// Something was loaded anew, or refused.
    pub(super) fn reloaded(&self, part: Part, is_done: bool) {
        self.reloads[part as usize][usize::from(!is_done)].add(1);
    }

    /// The page.
    pub(super) fn page(&self, live: &Live) -> String {
        let mut page = Page::default();
        self.put_calls(&mut page, live);
        self.put_answers(&mut page);
        self.put_store(&mut page, live);
        self.put_rest(&mut page, live);
        page.into_text()
    }

    fn put_calls(&self, page: &mut Page, live: &Live) {
        let named = || methods::names().enumerate();
        let mut calls = page.metric("tenure_calls_total", Up, "Calls answered.");
        for (idx, name) in named() {
            for (code, n) in self.calls[idx].iter().enumerate().filter(|(_, n)| n.get() > 0) {
                let code = Code::from_i32(i32::try_from(code).unwrap_or(2));
                calls.put(&[("method", name), ("code", &format!("{code:?}"))], n.get());
            }
        }
        let mut times = page.metric(
            "tenure_call_seconds",
            Histogram,
            "Time from a call's headers to its answer, waiting included.",
        );
        for (idx, name) in named().filter(|(idx, _)| self.times[*idx].count() > 0) {
            times.put_times(&[("method", name)], &self.times[idx]);
        }
        let mut refused =
            page.metric("tenure_calls_refused_total", Up, "Calls that were not begun.");
        for class in Class::ALL {
            for why in Refusal::ALL {
                let labels = [("class", class.as_str()), ("reason", why.as_str())];
                refused.put(&labels, self.refused[class.idx()][why as usize].get());
            }
        }
        let by_class = Class::ALL.map(|class| (class, live.admission.look(class)));
        let mut put = |name: &str, help: &str, of: fn(&super::admission::Look) -> usize| {
            let mut gauge = page.metric(name, Gauge, help);
            for (class, look) in &by_class {
                gauge.put(&[("class", class.as_str())], of(look));
            }
        };
        put("tenure_calls_in_flight", "Calls at work.", |look| look.n_working);
        put("tenure_calls_waiting", "Calls that wait for their turn.", |look| look.n_waiting);
        put("tenure_calls_limit", "Most calls at work at the moment.", |look| look.limit);
        page.metric(
            "tenure_connections_refused_total",
            Up,
            "Connections closed at once because there were too many.",
        )
        .put(&[], self.connections_refused.get());
    }

    fn put_answers(&self, page: &mut Page) {
        let mut tiers = page.metric("tenure_scores_total", Up, "Answers given, by risk tier.");
        for (tier, n) in TIERS.iter().zip(&self.tiers) {
            tiers.put(&[("tier", tier)], n.get());
        }
        let mut campaigns =
            page.metric("tenure_campaigns_total", Up, "Answers given, by campaign decided.");
        for (id, n) in &**self.campaigns.load() {
            campaigns.put(&[("campaign", id)], n.get());
        }
        let mut suppressions = page.metric(
            "tenure_suppressions_total",
            Up,
            "Answers without a campaign, by the reason.",
        );
        let seen = SuppressionReason::ALL.iter().zip(&self.suppressions);
        for (reason, n) in seen.filter(|(_, n)| n.get() > 0) {
            suppressions.put(&[("reason", reason.as_str())], n.get());
        }
        let mut events = page.metric("tenure_events_total", Up, "Events taken in, by outcome.");
        for outcome in EventOutcome::ALL {
            events.put(&[("outcome", outcome.as_str())], self.events[outcome as usize].get());
        }
    }

    fn put_store(&self, page: &mut Page, live: &Live) {
        page.metric("tenure_store_commit_seconds", Histogram, "Time of a commit, until durable.")
            .put_times(&[], &self.commits);
        page.metric("tenure_store_commits_failed_total", Up, "Commits that failed.")
            .put(&[], self.commits_failed.get());
        let serves = live.store.health() == Health::Serving && live.disk.refusal().is_none();
        page.metric("tenure_store_serving", Gauge, "Whether events are taken.")
            .put(&[], u8::from(serves));
        page.metric("tenure_store_queue_operations", Gauge, "Operations that wait for a commit.")
            .put(&[], live.writer.queued());
        page.metric("tenure_store_last_commit", Gauge, "Number of the newest commit.")
            .put(&[], live.store.last_commit().seq());
        if let Ok(n) = live.store.count() {
            page.metric("tenure_store_customers", Gauge, "Customers with a state.").put(&[], n);
        }
        page.metric("tenure_customers_forgotten_total", Up, "Customers erased for their silence.")
            .put(&[], self.forgotten.get());
        let mut size = page.metric("tenure_store_disk_bytes", Gauge, "Bytes of the store's files.");
        if let Some(bytes) = live.disk.used() {
            size.put(&[], bytes);
        }
        let mut free =
            page.metric("tenure_store_disk_free_bytes", Gauge, "Free bytes of the store's disk.");
        if let Some(bytes) = live.disk.free() {
            free.put(&[], bytes);
        }
        page.metric(
            "tenure_decision_log_dropped_total",
            Up,
            "Decisions that were given out and are not in the log.",
        )
        .put(&[], live.decisions.as_ref().map_or(0, crate::store::DecisionLog::n_dropped));
    }

    fn put_rest(&self, page: &mut Page, live: &Live) {
        let served = live.served();
        let (manifest, policy) = (&served.engine.bundle().manifest, served.engine.policy().id());
        page.metric("tenure_model_info", Gauge, "What serves, in its labels.").put(
            &[
                ("model_version", &served.model_version),
                ("policy", &policy.id),
                ("policy_version", &policy.version),
                ("grade", &manifest.grade),
            ],
            1,
        );
        let mut age = page.metric(
            "tenure_model_data_end_seconds",
            Gauge,
            "Unix time of the end of the data that the model was trained on.",
        );
        if let (Ok(zone), Ok(day)) =
            (Zone::try_new(&manifest.timezone), Day::parse(&manifest.data_until))
        {
            age.put(&[], AsOf::end_of(day, &zone).instant().micros() / 1_000_000);
        }
        traffic_metrics::put(page, &live.serving.load(), TIERS);
        let mut reloads = page.metric("tenure_reloads_total", Up, "What was loaded anew.");
        for part in Part::ALL {
            for (result, n) in ["done", "refused"].iter().zip(&self.reloads[part as usize]) {
                reloads.put(&[("part", part.as_str()), ("result", result)], n.get());
            }
        }
        let mut spans = page.metric("tenure_spans_total", Up, "Spans of traced calls, by outcome.");
        for outcome in SpanOutcome::ALL {
            spans.put(&[("outcome", outcome.as_str())], self.n_spans(outcome));
        }
        page.metric("tenure_build_info", Gauge, "Which program this is, in its labels.")
            .put(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        put_process(page);
    }
}

/// What the system says of this process; nothing where it does not say it in this way.
fn put_process(page: &mut Page) {
    /// What `/proc` counts times in.
    const TICKS_A_SECOND: f64 = 100.0;
    const PAGE_BYTES: u64 = 4_096;
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    if let Some(n) = pages.split(' ').nth(1).and_then(|text| text.parse::<u64>().ok()) {
        page.metric("process_resident_memory_bytes", Gauge, "Memory that is in use.")
            .put(&[], n * PAGE_BYTES);
    }
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name may hold anything but ends with the last bracket.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let ticks = |idx: usize| fields.get(idx).and_then(|text| text.parse::<f64>().ok());
    if let (Some(user), Some(system)) = (ticks(12), ticks(13)) {
        page.metric("process_cpu_seconds_total", Up, "Time at work, of all threads.")
            .put(&[], (user + system) / TICKS_A_SECOND);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        page.metric("process_open_fds", Gauge, "Open files and connections.")
            .put(&[], files.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_campaign_is_lost_or_counted_twice_while_new_ones_come() {
        let metrics = Metrics::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for n in 0..400 {
                        metrics.campaign(&format!("campaign_{}", n % 40));
                    }
                });
            }
        });
        let counts = metrics.campaigns.load();
        assert_eq!(counts.len(), 40);
        assert!(counts.values().all(|n| n.get() == 80), "{counts:?}");
        for n in 0..2 * CAMPAIGNS_MAX {
            metrics.campaign(&format!("another_{n}"));
        }
        assert_eq!(metrics.campaigns.load().len(), CAMPAIGNS_MAX);
    }

    #[test]
    fn reasons_are_numbered_by_their_places() {
        let places = SuppressionReason::ALL.iter().map(|reason| *reason as usize - 1);
        assert!(places.eq(0..SuppressionReason::ALL.len()));
    }
}
