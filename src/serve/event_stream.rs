//! `StreamEvents`: batches in, cumulative acknowledgements out.
//!
//! In: batches with rising numbers. Out: for each, in order, what became of it, once it and all
//! before it are stored. A few are under way at once, so that the disk and the caller both work;
//! where too much waits, nothing more is read. Whoever is cut off sends what was not acknowledged
//! again: events are taken in once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::event_service::{Intake, Submission};
use super::live::Live;
use super::pb;
use super::status::ServeError;

/// Batches of one stream under way.
const UNDER_WAY_MAX: usize = 4;
/// How long to wait before looking again whether there is room in the writer's queue.
const ROOM_PAUSE: Duration = Duration::from_millis(2);
/// How often: together as long as the writer may take for all it holds.
const ROOM_TRIES: u32 = 5_000;

type Answer = Result<pb::StreamEventsResponse, Status>;
/// What a caller reads.
pub(super) type Acknowledgements = ReceiverStream<Answer>;

/// Begins a stream.
pub(super) fn open(
    live: &Arc<Live>,
    batches: Streaming<pb::StreamEventsRequest>,
) -> Result<Acknowledgements, ServeError> {
    live.moment().require_log("events have no use here")?;
    let place = live.streams.enter()?;
    let (answers, receiver) = mpsc::channel(UNDER_WAY_MAX);
    let live = Arc::clone(live);
    tokio::spawn(async move {
        let _place = place;
        let mut ending = live.streams.ended();
        let (under_way, submitted) = mpsc::channel(UNDER_WAY_MAX);
        let end = {
            let read = async {
                let end = tokio::select! {
                    () = answers.closed() => Ok(()),
                    () = &mut ending => Err(ServeError::Closing),
                    end = read(&live, batches, &under_way) => end,
                };
                // What was submitted is still acknowledged.
                drop(under_way);
                end
            };
            let (end, acknowledged) = tokio::join!(read, acknowledge(submitted, &answers));
            acknowledged.and(end)
        };
        if let Err(error) = end {
            let _ = answers.send(Err(error.to_status())).await;
        }
    });
    Ok(ReceiverStream::new(receiver))
}

/// Hands batches to the writer until the caller has no more.
async fn read(
    live: &Arc<Live>,
    mut batches: Streaming<pb::StreamEventsRequest>,
    under_way: &mpsc::Sender<(u64, Submission)>,
) -> Result<(), ServeError> {
    let intake = Intake(Arc::clone(live));
    let mut last = None;
    while let Some(batch) = batches.next().await {
        // A message that cannot be read, or a caller that is gone: there is no more.
        let Ok(pb::StreamEventsRequest { sequence, events }) = batch else {
            let detail = batch.err().map_or_else(String::new, |status| status.message().to_owned());
            return Err(ServeError::Unreadable { detail });
        };
        if last.is_some_and(|last| sequence <= last) {
            let found = format!("{sequence} does not lie above {}", last.unwrap_or(0));
            return Err(ServeError::invalid("sequence", "SEQUENCE", found));
        }
        last = Some(sequence);
        wait_for_room(live).await;
        let submission = intake.submit(events).await?;
        if under_way.send((sequence, submission)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Waits until the writer has done half of what it may hold.
async fn wait_for_room(live: &Live) {
    for _ in 0..ROOM_TRIES {
        if live.writer.queued() <= 5 * live.limits.events_max {
            return;
        }
        tokio::time::sleep(ROOM_PAUSE).await;
    }
}

async fn acknowledge(
    mut submitted: mpsc::Receiver<(u64, Submission)>,
    answers: &mpsc::Sender<Answer>,
) -> Result<(), ServeError> {
    while let Some((acknowledged_sequence, submission)) = submitted.recv().await {
        let result = Some(submission.stored().await?);
        let answer = pb::StreamEventsResponse { acknowledged_sequence, result };
        if answers.send(Ok(answer)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
