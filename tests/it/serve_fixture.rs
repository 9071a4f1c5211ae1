//! A small bundle made by hand, and a server on it, for the tests of the server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tenure::bundle::{BaselineV1, CHAMPION, CutsV1, Draft, ManifestV1, TypicalV1, set_alias};
use tenure::config::{Layers, ServeConfig};
use tenure::decision::Policy;
use tenure::domain::Timestamp;
use tenure::evaluate::Histogram;
use tenure::features::{BaseStats, RhythmBase};
use tenure::model::btyd::{BgNbd, BgNbdParams, GammaGamma, GammaGammaParams};
use tenure::model::{
    BtydStage, ChurnKind, ChurnModel, ChurnParts, CountModel, Fitted, HorizonModel, IntervalBin,
    IntervalTable, LogitLine, ValueKind, ValueModel, ValueParts, row_definitions,
};
use tenure::serve::{Clock, Drained, Parts, serve};
use tenure::store::StateStore;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// 2026-06-01T00:00:00Z: what every test's server takes for now.
pub(crate) const NOW_SECONDS: i64 = 1_780_272_000;

/// BG/NBD and Gamma-Gamma with the parameters published for CDNOW (Fader, Hardie and Lee 2005).
fn fitted() -> Fitted {
    let counts = BgNbdParams { r: 0.243, alpha: 4.414, a: 0.793, b: 2.426 };
    let spend = GammaGammaParams { p: 6.25, q: 3.74, gamma: 15.44 };
    Fitted {
        base: BaseStats::of_rhythm(RhythmBase::weak()),
        stage: BtydStage {
            mix: None,
            counts: CountModel::BgNbd(BgNbd::try_from_params(counts).unwrap()),
            spend: Some(GammaGamma::try_from_params(spend).unwrap()),
            churn_weeks: 90.0 / 7.0,
            value_weeks: 180.0 / 7.0,
            clock: None,
            covariates: None,
        },
        churn: ChurnModel {
            kind: ChurnKind::Btyd,
            parts: ChurnParts::unlearned(0.5),
            calibration: LogitLine::IDENTITY,
        },
        horizons: Vec::new(),
        value: Some(ValueModel {
            kind: ValueKind::Btyd,
            parts: ValueParts::default(),
            factor: 1.0,
        }),
        intervals: IntervalTable {
            bins: vec![IntervalBin { mean_max: 1e9, ratios: [0.1, 0.8, 2.5] }],
        },
        value_quantiles: vec![10.0, 50.0, 200.0],
        ranges: vec![[-1e9, 1e9]; row_definitions().len()],
        churn_days: 90,
        value_days: 180,
        extrapolated: false,
    }
}

/// A base of nobody, against whom a customer with two purchases is typical.
fn baseline() -> BaselineV1 {
    let nobody = Histogram::fit(&[]);
    BaselineV1 {
        as_of: "2025-12-31".to_owned(),
        customers: 0,
        typical: TypicalV1 { repeats: 1, active_days: 30.0, silent_days: 60.0 },
        features: BTreeMap::new(),
        churn_prob: nobody.clone().into(),
        churn_prob_mean: 0.5,
        value: Some(nobody.into()),
    }
}

/// Writes the bundle as model `demo` with the alias champion and gives its version.
pub(crate) fn write_bundle(models: &Path) -> String {
    write_bundle_with_policy(models, Policy::default_text())
}

/// The same with another policy.
pub(crate) fn write_bundle_with_policy(models: &Path, policy: &str) -> String {
    write_fitted(models, policy, fitted())
}

/// The same with churn by the closed form within further horizons.
pub(crate) fn write_bundle_with_horizons(models: &Path, days: &[u16]) -> String {
    let mut fitted = fitted();
    let model = |&days: &u16| HorizonModel { days, churn: fitted.churn.clone() };
    fitted.horizons = days.iter().map(model).collect();
    write_fitted(models, Policy::default_text(), fitted)
}

/// The same whose probabilities of churn are greater by so much on the logit scale.
pub(crate) fn write_shifted_bundle(models: &Path, shift: f64) -> String {
    let mut fitted = fitted();
    fitted.churn.calibration = LogitLine::try_new(shift, 1.0).unwrap();
    write_fitted(models, Policy::default_text(), fitted)
}

fn write_fitted(models: &Path, policy: &str, fitted: Fitted) -> String {
    let manifest = ManifestV1 {
        format: 0,
        kind: tenure::bundle::BundleKind::Log,
        name: "demo".to_owned(),
        feature_schema: String::new(),
        timezone: "UTC".to_owned(),
        currency: "EUR".to_owned(),
        churn_horizon_days: 90,
        clv_horizon_days: 180,
        btyd_time_unit: tenure::bundle::BTYD_TIME_UNIT.to_owned(),
        btyd_occasion: tenure::bundle::BTYD_OCCASION.to_owned(),
        prior: "none".to_owned(),
        seed: 1,
        data_first: "2025-01-01".to_owned(),
        data_until: "2025-12-31".to_owned(),
        customers: 3,
        events: 9,
        grade: "D".to_owned(),
        files: BTreeMap::new(),
    };
    let draft = Draft {
        manifest,
        fitted,
        cuts: CutsV1 {
            days_since_order: vec![10.0, 30.0, 60.0, 120.0],
            orders: vec![2.0, 3.0, 5.0],
            avg_order_value: vec![10.0, 20.0, 40.0, 80.0],
            spend_728d: vec![20.0, 50.0, 100.0, 200.0],
            churn_quantiles: (0..=100).map(|n| f64::from(n) / 100.0).collect(),
        },
        policy: policy.to_owned(),
        metrics: serde_json::json!({"churn": {"champion": "btyd", "candidates": [
            {"name": "base_rate", "auc": 0.5}, {"name": "btyd", "auc": 0.75, "brier": 0.2}]}}),
        examples: Vec::new(),
        report: "<html></html>".to_owned(),
        card: "# Model card\n".to_owned(),
        baseline: baseline(),
        personas: None,
    };
    let (version, _) = draft.write(models).unwrap();
    set_alias(models, "demo", CHAMPION, &version).unwrap();
    version
}

/// A server at work in this process, on a directory of its own.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    dir: TempDir,
    pub(crate) version: String,
    pub(crate) config: ServeConfig,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<Drained>>,
}

impl Running {
    /// Starts one with some settings, on a store of its own on disk.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_on(settings, |parts| parts).await
    }

    /// Starts one whose parts are changed first.
    pub(crate) async fn start_on(
        settings: &[(&str, &str)],
        change: impl FnOnce(Parts) -> Parts,
    ) -> Self {
        Self::start_of(settings, change, write_bundle).await
    }

    /// Starts one on the bundle that `write` makes.
    pub(crate) async fn start_of(
        settings: &[(&str, &str)],
        change: impl FnOnce(Parts) -> Parts,
        write: impl FnOnce(&Path) -> String,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let version = write(&dir.path().join("models"));
        let config = config(dir.path(), settings);
        let clock = Clock::fixed(Timestamp::from_micros(NOW_SECONDS * 1_000_000));
        let parts = Parts { clock, ..tenure::serve::open(&config).unwrap() };
        let parts = change(parts);
        Self::run(config, parts, version, dir).await
    }

    /// Starts one on a bundle that is there.
    pub(crate) async fn start_with(config: ServeConfig) -> Self {
        let parts = tenure::serve::open(&config).unwrap();
        let version = parts.engine.bundle().version.clone();
        Self::run(config, parts, version, tempfile::tempdir().unwrap()).await
    }

    async fn run(config: ServeConfig, parts: Parts, version: String, dir: TempDir) -> Self {
        let listener = TcpListener::bind(config.listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let own = config.clone();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            serve(&own, parts, listener, shutdown).await.unwrap()
        });
        Self { address, dir, version, config, stop: Some(stop), task: Some(task) }
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// Tells it to end, without waiting.
    pub(crate) fn tell(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> Drained {
        self.task.take().unwrap().await.unwrap()
    }

    /// Ends it; its directory lives as long as what this answers.
    pub(crate) async fn stop_and_keep(mut self) -> TempDir {
        self.tell();
        self.ended().await;
        self.dir
    }

    pub(crate) async fn stop(mut self) -> Drained {
        self.tell();
        self.ended().await
    }
}

/// A configuration on a directory, on a free port.
pub(crate) fn config(dir: &Path, settings: &[(&str, &str)]) -> ServeConfig {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let mut flags: BTreeMap<String, String> = [
        ("models".to_owned(), path("models")),
        ("name".to_owned(), "demo".to_owned()),
        ("store".to_owned(), path("store")),
        ("listen".to_owned(), "127.0.0.1:0".to_owned()),
        ("durability".to_owned(), "process".to_owned()),
        ("batch_threads".to_owned(), "2".to_owned()),
    ]
    .into();
    flags.extend(settings.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())));
    ServeConfig::check(Layers { flags, ..Layers::default() }).unwrap()
}

/// Puts another store in place of the one on disk.
pub(crate) fn on_store(store: Arc<dyn StateStore>) -> impl FnOnce(Parts) -> Parts {
    move |parts| Parts { store, ..parts }
}
