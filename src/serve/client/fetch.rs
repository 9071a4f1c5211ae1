//! A store's export fetched from a running server: the client of `ExportStates`.
//!
//! In: where the server is, and a new directory. Out: the same export as if it had been written
//! beside the stopped store. A stream that breaks is taken up again where it broke; the digest of
//! the whole tells whether all of it came.

use std::time::Duration;

use tonic::Status;

use super::ClientError;
use super::again::{is_passing, pause_before, silence};
use super::connect::{Connection, Way};
use crate::config::FetchConfig;
use crate::serve::convert;
use crate::serve::pb;
use crate::serve::pb::customer_service_client::CustomerServiceClient;
use crate::store::{ExportManifestV1, ExportReceiver};

/// Breaks in a row, without a byte between them, before it is given up.
const BREAKS_MAX: u32 = 5;
/// Bytes between two words on how far it is.
const TOLD_EVERY: u64 = 64 << 20;

/// Fetches an export into a new or empty directory.
pub(super) async fn fetch(
    config: &FetchConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<ExportManifestV1, ClientError> {
    let (addr, way) = (&config.server.addr, Way::open(&config.server)?);
    let mut fetching = Fetching {
        addr,
        timeout: config.server.timeout,
        receiver: ExportReceiver::create(&config.out)?,
        export_id: String::new(),
        told: 0,
    };
    let mut n_breaks = 0;
    loop {
        let before = fetching.receiver.n_bytes();
        // Each time another connection: the last one may be dead and not know it yet.
        let mut client = CustomerServiceClient::new(way.connection());
        let status = match fetching.stream(&mut client, progress).await? {
            Ok(manifest) => {
                fetching.receiver.finish(&manifest)?;
                return Ok(manifest);
            }
            Err(status) => status,
        };
        n_breaks = if fetching.receiver.n_bytes() > before { 1 } else { n_breaks + 1 };
        let has_begun = !fetching.export_id.is_empty();
        if !has_begun || !is_passing(&status) || n_breaks > BREAKS_MAX {
            return Err(ClientError::of(addr, &status));
        }
        progress(&format!("going on after a break at {} bytes", fetching.receiver.n_bytes()));
        tokio::time::sleep(pause_before(n_breaks, &status)).await;
    }
}

/// An export on its way.
struct Fetching<'f> {
    addr: &'f str,
    /// How long the next part may take.
    timeout: Duration,
    receiver: ExportReceiver,
    export_id: String,
    told: u64,
}

impl Fetching<'_> {
    /// Reads one stream to its end, or says what broke it.
    async fn stream(
        &mut self,
        client: &mut CustomerServiceClient<Connection>,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Result<ExportManifestV1, Status>, ClientError> {
        let request = pb::ExportStatesRequest {
            shard: None,
            export_id: self.export_id.clone(),
            offset: self.receiver.n_bytes(),
        };
        let asked = self.in_time(client.export_states(request)).await;
        let mut chunks = match asked {
            Ok(answer) => answer.into_inner(),
            Err(status) => return Ok(Err(status)),
        };
        loop {
            let message = match self.in_time(chunks.message()).await {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(Err(Status::unavailable("the export ended early"))),
                Err(status) => return Ok(Err(status)),
            };
            if let Some(manifest) = self.take(message)? {
                return Ok(Ok(manifest));
            }
            let n_bytes = self.receiver.n_bytes();
            if n_bytes >= self.told + TOLD_EVERY {
                self.told = n_bytes;
                progress(&format!("{} MiB fetched", n_bytes >> 20));
            }
        }
    }

    /// An answer, unless the server says nothing for too long.
    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let late = |_| silence(self.timeout);
        tokio::time::timeout(self.timeout, answer).await.map_err(late)?
    }

    /// Takes the next part; the last one has the manifest.
    fn take(
        &mut self,
        message: pb::ExportStatesResponse,
    ) -> Result<Option<ExportManifestV1>, ClientError> {
        let pb::ExportStatesResponse { export_id, offset, chunk, manifest } = message;
        if offset != self.receiver.n_bytes() {
            return Err(self.nonsense("the export skips bytes"));
        }
        self.export_id = export_id;
        let taken = self.receiver.take(&chunk);
        taken.map_err(|source| self.receiver.failed("write", source))?;
        let Some(manifest) = manifest else { return Ok(None) };
        let read = convert::manifest_of(&manifest);
        read.map(Some).ok_or_else(|| self.nonsense("the export's manifest makes no sense"))
    }

    fn nonsense(&self, what: &'static str) -> ClientError {
        ClientError::Nonsense { addr: self.addr.to_owned(), what }
    }
}
