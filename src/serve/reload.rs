//! What changes without a restart: the version an alias means, the traffic policy, the policy that
//! decides, the certificate, the keys.
//!
//! In: the files that the configuration names, looked at every few seconds and at SIGHUP. Out: the
//! new content in use, or the old one and a line in the log. A model is loaded and tried beside
//! the one that serves and put in its place by one pointer, so no call is dropped and each call
//! is answered by one version. What was refused once is not tried again until it changes. Only a
//! change of the files does anything: what an operator loaded by hand stays until then.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::access::Access;
use super::live::Live;
use super::tls::Tls;
use crate::bundle::traffic_path;
use crate::config::ServeConfig;

/// Where what can change is in use.
pub(super) struct Reloader {
    config: ServeConfig,
    live: Arc<Live>,
    tls: Option<Arc<Tls>>,
    access: Arc<Access>,
    seen: [Seen; 3],
}

/// What can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Churn, value and policy.
    Model,
    /// Certificate, key and authorities.
    Tls,
    /// The file of keys.
    Keys,
}

impl Part {
    /// All of them, in order.
    pub(super) const ALL: [Self; 3] = [Self::Model, Self::Tls, Self::Keys];

    /// Its name in log and metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Tls => "tls",
            Self::Keys => "keys",
        }
    }
}

/// What files held when they were last looked at: for a file its bytes, or that it has none.
type Seen = Vec<Result<Vec<u8>, io::ErrorKind>>;

impl Reloader {
    /// Knows what is in use now. The model was read before the store was opened, which may take
    /// its time: whether it is still what is meant is asked at the first look.
    pub(super) fn new(
        config: &ServeConfig,
        live: Arc<Live>,
        tls: Option<Arc<Tls>>,
        access: Arc<Access>,
    ) -> Self {
        let mut one = Self { config: config.clone(), live, tls, access, seen: Default::default() };
        one.seen = Part::ALL.map(|part| match part {
            Part::Model => Seen::new(),
            Part::Tls | Part::Keys => one.look(part),
        });
        one
    }

    /// Looks again and again until it is dropped.
    pub(super) fn run(mut self) -> JoinHandle<()> {
        tokio::spawn(async move {
            let mut hangup = signal(SignalKind::hangup())
                .inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be waited for"))
                .ok();
            loop {
                let is_told = wait(&self.config, hangup.as_mut()).await;
                // Files and models take longer than a thread of the runtime may.
                let looked = tokio::task::spawn_blocking(move || {
                    self.look_at_all(is_told);
                    self
                });
                let Ok(back) = looked.await else { return };
                self = back;
            }
        })
    }

    fn look_at_all(&mut self, is_told: bool) {
        for (idx, part) in Part::ALL.into_iter().enumerate() {
            let now = self.look(part);
            if now.is_empty() || (now == self.seen[idx] && !is_told) {
                continue;
            }
            self.seen[idx] = now;
            let name = part.as_str();
            let result = self.reload(part);
            if !matches!(result, Ok(None)) {
                self.live.metrics.reloaded(part, result.is_ok());
            }
            match result {
                Ok(Some(what)) => tracing::info!(part = name, what, "loaded anew"),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(part = name, error, "refused: the old one stays in use");
                }
            }
        }
    }

    /// Puts the new content in use; says what it is, or nothing where nothing changed.
    fn reload(&self, part: Part) -> Result<Option<String>, String> {
        match part {
            Part::Model => {
                let now = self.live.clock.now();
                self.live.switchboard.reload(&self.live, now).map_err(|error| error.to_string())
            }
            Part::Tls => {
                let reloaded = self.tls.as_ref().map_or(Ok(()), |tls| tls.reload());
                reloaded.map_err(|error| error.to_string())?;
                Ok(Some("certificate".to_owned()))
            }
            Part::Keys => {
                self.access.reload().map_err(|error| error.to_string())?;
                Ok(Some("file of keys".to_owned()))
            }
        }
    }

    fn look(&self, part: Part) -> Seen {
        self.files(part).iter().map(|path| read(path)).collect()
    }

    fn files(&self, part: Part) -> Vec<PathBuf> {
        let guard = &self.config.guard;
        match part {
            Part::Model => {
                let aliases = self.config.models.join(&self.config.model.name).join("aliases.json");
                let traffic =
                    self.live.switchboard.alias().map(|alias| {
                        traffic_path(&self.config.models, &self.config.model.name, alias)
                    });
                [Some(aliases), traffic, self.config.policy.clone()].into_iter().flatten().collect()
            }
            Part::Tls => guard
                .tls
                .iter()
                .flat_map(|tls| {
                    [Some(tls.cert.clone()), Some(tls.key.clone()), tls.client_ca.clone()]
                })
                .flatten()
                .collect(),
            Part::Keys => guard.keys.iter().cloned().collect(),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, io::ErrorKind> {
    fs::read(path).map_err(|error| error.kind())
}

/// Waits until it is time to look; answers whether somebody said so.
async fn wait(config: &ServeConfig, hangup: Option<&mut tokio::signal::unix::Signal>) -> bool {
    let time = async {
        match config.guard.reload_every {
            Some(every) => tokio::time::sleep(every).await,
            None => std::future::pending().await,
        }
    };
    let told = async {
        match hangup {
            Some(hangup) => {
                hangup.recv().await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = time => false,
        () = told => true,
    }
}
