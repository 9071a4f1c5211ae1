//! A store's export fetched from a running server: the client of `ExportStates`.
//!
//! In: where the server is, and a new directory. Out: the same export as if it had been written
//! beside the stopped store. A stream that breaks is taken up again where it broke; the digest of
//! the whole tells whether all of it came.

use std::path::Path;
use std::time::Duration;

use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::convert;
use super::pb;
use super::pb::customer_service_client::CustomerServiceClient;
use super::remote;
use super::remote::{RemoteError, WithKey};
use crate::config::FetchConfig;
use crate::store::{ExportManifestV1, ExportReceiver};

/// Breaks in a row, without a byte between them, before it is given up.
const BREAKS_MAX: u32 = 5;
/// Wait after a break, doubled with each further one.
const PAUSE: Duration = Duration::from_millis(250);
/// Bytes between two words on how far it is.
const TOLD_EVERY: u64 = 64 << 20;

type Client = CustomerServiceClient<InterceptedService<Channel, WithKey>>;

/// Fetches an export into a new or empty directory. It blocks; `progress` is told now and then.
///
/// # Errors
/// [`RemoteError`]; without a `manifest.json` the directory holds no export.
pub fn fetch_export(
    config: &FetchConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<ExportManifestV1, RemoteError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(RemoteError::Runtime)?.block_on(fetch(config, progress))
}

async fn fetch(
    config: &FetchConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<ExportManifestV1, RemoteError> {
    let key = remote::key(&config.remote)?;
    let mut fetching = Fetching::begin(config.remote.address.clone(), &config.out)?;
    let (mut n_breaks, mut pause) = (0, PAUSE);
    loop {
        let before = fetching.receiver.n_bytes();
        let broken = match remote::connect(&config.remote).await {
            Ok(channel) => {
                let mut client = CustomerServiceClient::with_interceptor(channel, key.clone());
                match fetching.read(&mut client, progress).await {
                    Ok(Some(manifest)) => {
                        fetching.receiver.finish(&manifest)?;
                        return Ok(manifest);
                    }
                    Ok(None) => RemoteError::Connect {
                        address: config.remote.address.clone(),
                        detail: "the export broke off".to_owned(),
                    },
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        let is_break = !fetching.export_id.is_empty() && may_go_on(&broken);
        if fetching.receiver.n_bytes() > before {
            (n_breaks, pause) = (0, PAUSE);
        }
        n_breaks += 1;
        if !is_break || n_breaks > BREAKS_MAX {
            return Err(broken);
        }
        progress(&format!("going on after a break at {} bytes", fetching.receiver.n_bytes()));
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

fn may_go_on(error: &RemoteError) -> bool {
    match error {
        RemoteError::Connect { .. } => true,
        RemoteError::Refused { is_for_later, reason, .. } => {
            *is_for_later && reason != "SNAPSHOT_LOST"
        }
        _ => false,
    }
}

/// An export on its way.
struct Fetching {
    address: String,
    receiver: ExportReceiver,
    export_id: String,
    told: u64,
}

impl Fetching {
    fn begin(address: String, dir: &Path) -> Result<Self, RemoteError> {
        let receiver = ExportReceiver::create(dir)?;
        Ok(Self { address, receiver, export_id: String::new(), told: 0 })
    }

    fn nonsense(&self, what: &'static str) -> RemoteError {
        RemoteError::Nonsense { address: self.address.clone(), what }
    }

    /// Reads one stream; none where it ended too early.
    async fn read(
        &mut self,
        client: &mut Client,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Option<ExportManifestV1>, RemoteError> {
        let request = pb::ExportStatesRequest {
            shard: None,
            export_id: self.export_id.clone(),
            offset: self.receiver.n_bytes(),
        };
        let refused = |status| self.refused(&status);
        let answer = client.export_states(request).await.map_err(refused)?;
        let mut chunks = answer.into_inner();
        while let Some(message) = chunks.message().await.map_err(|s| self.refused(&s))? {
            let pb::ExportStatesResponse { export_id, offset, chunk, manifest } = message;
            if offset != self.receiver.n_bytes() {
                return Err(self.nonsense("the export skips bytes"));
            }
            self.export_id = export_id;
            let taken = self.receiver.take(&chunk);
            taken.map_err(|source| self.receiver.failed("write", source))?;
            if let Some(manifest) = manifest {
                let read = convert::manifest_of(&manifest);
                return read
                    .map(Some)
                    .ok_or_else(|| self.nonsense("the export's manifest makes no sense"));
            }
            let n_bytes = self.receiver.n_bytes();
            if n_bytes >= self.told + TOLD_EVERY {
                self.told = n_bytes;
                progress(&format!("{} MiB fetched", n_bytes >> 20));
            }
        }
        Ok(None)
    }

    fn refused(&self, status: &tonic::Status) -> RemoteError {
        // A connection that breaks is told by the framework as one of these.
        if matches!(status.code(), Code::Unknown | Code::Internal | Code::Cancelled)
            && status.details().is_empty()
        {
            let detail = status.message().to_owned();
            return RemoteError::Connect { address: self.address.clone(), detail };
        }
        RemoteError::of(&self.address, status)
    }
}
