"""A client of tenure to copy: deadlines, retries and typed answers.

Needs grpcio, googleapis-common-protos and stubs made from the protos (see README.md).

Every call has a deadline for all of its attempts together. What passes by itself is tried again:
UNAVAILABLE, and whatever the server names a time for (RetryInfo). Everything else is raised as
`Refused`, with the stable reason to act on. Trying again is safe: events go by their ids, and a
score by its request_id.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, TypeVar

import grpc
from google.protobuf import struct_pb2, timestamp_pb2
from google.rpc import error_details_pb2, status_pb2
from tenure.v1 import event_pb2, event_pb2_grpc, scoring_pb2, scoring_pb2_grpc

Answer = TypeVar("Answer")
Value = str | float | bool | Sequence[str] | None

# Events of a message, and messages under way at a time.
BATCH_EVENTS = 1_000
WINDOW = 8


@dataclass(frozen=True)
class Event:
    """One thing that happened to or with a customer (docs/FORMATS.md lists types and attributes)."""

    event_id: str
    customer: str
    type: str
    time: datetime
    attributes: Mapping[str, Value] = field(default_factory=dict)

    def to_message(self) -> event_pb2.Event:
        attributes = struct_pb2.Struct()
        attributes.update(dict(self.attributes))
        return event_pb2.Event(
            event_id=self.event_id,
            customer=self.customer,
            type=self.type,
            event_time=timestamp(self.time),
            attributes=attributes,
        )


@dataclass(frozen=True)
class Ingested:
    """What became of events."""

    accepted: int
    duplicates: int
    # The event's place in what was sent, and why it was refused.
    refused: tuple[tuple[int, Refused], ...]


class Refused(Exception):
    """The server's refusal: `reason` is stable, the message is for people."""

    def __init__(self, code: int, message: str, details: Iterable[Any] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.reason = ""
        self.metadata: dict[str, str] = {}
        # Path of a field, and what is wrong with it.
        self.violations: list[tuple[str, str]] = []
        self.retry_after_seconds: float | None = None
        for detail in details:
            info = error_details_pb2.ErrorInfo()
            bad = error_details_pb2.BadRequest()
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                self.violations = [(v.field, v.description) for v in bad.field_violations]
            elif detail.Unpack(retry):
                self.retry_after_seconds = retry.retry_delay.ToTimedelta().total_seconds()

    @classmethod
    def of_call(cls, error: grpc.RpcError) -> Refused:
        trailers = dict(error.trailing_metadata() or ())
        status = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
        return cls(error.code().value[0], error.details() or "", status.details)

    @classmethod
    def of_row(cls, status: status_pb2.Status) -> Refused:
        return cls(status.code, status.message, status.details)

    @property
    def is_passing(self) -> bool:
        unavailable = grpc.StatusCode.UNAVAILABLE.value[0]
        return self.code == unavailable or self.retry_after_seconds is not None


def timestamp(instant: datetime) -> timestamp_pb2.Timestamp:
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(instant.astimezone(timezone.utc))
    return stamp


class Tenure:
    """One connection; share it between threads."""

    def __init__(
        self,
        address: str,
        *,
        key: str | None = None,
        tls_ca: bytes | None = None,
        deadline_seconds: float = 1.0,
        attempts: int = 5,
    ) -> None:
        options = [("grpc.keepalive_time_ms", 30_000), ("grpc.enable_retries", 0)]
        if tls_ca is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            credentials = grpc.ssl_channel_credentials(tls_ca)
            self._channel = grpc.secure_channel(address, credentials, options)
        self._metadata = [("authorization", f"Bearer {key}")] if key else []
        self._deadline_seconds = deadline_seconds
        self._attempts = attempts
        self._scoring = scoring_pb2_grpc.ScoringServiceStub(self._channel)
        self._events = event_pb2_grpc.EventServiceStub(self._channel)

    def __enter__(self) -> Tenure:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def score(self, customer: str, *, as_of: datetime | None = None) -> scoring_pb2.Score:
        """The score and the decision of a stored customer, as of now or an instant."""
        request = scoring_pb2.ScoreCustomerRequest(
            subject=_subject(customer, as_of), request_id=uuid.uuid4().hex
        )
        return self._retried(self._scoring.ScoreCustomer, request).score

    def score_many(self, customers: Sequence[str]) -> list[scoring_pb2.Score | Refused]:
        """Scores of one instant; a customer who has none does not harm the others."""
        request = scoring_pb2.BatchScoreCustomersRequest(
            subjects=[_subject(customer, None) for customer in customers],
            request_id=uuid.uuid4().hex,
        )
        answer = self._retried(self._scoring.BatchScoreCustomers, request)
        return [
            outcome.score if outcome.HasField("score") else Refused.of_row(outcome.error)
            for outcome in answer.outcomes
        ]

    def ingest(self, events: Sequence[Event]) -> Ingested:
        """Stores up to 1,000 events; it answers once they are durable."""
        messages = [event.to_message() for event in events]
        request = event_pb2.IngestEventsRequest(events=messages)
        return _ingested(self._retried(self._events.IngestEvents, request))

    def stream(self, batches: Iterable[Sequence[Event]]) -> Iterator[Ingested]:
        """Stores batches on one stream and says what became of each, in their order.

        Batches are taken a few ahead of what is acknowledged. Where the stream breaks, what is
        not acknowledged is sent again.
        """
        source = iter(batches)
        pending: deque[event_pb2.StreamEventsRequest] = deque()
        sequence, failures, is_read = 0, 0, False
        while True:
            # A stream for what is pending and as much more as may be under way.
            while len(pending) < WINDOW and not is_read:
                batch = next(source, None)
                if batch is None:
                    is_read = True
                    break
                sequence += 1
                messages = [event.to_message() for event in batch]
                pending.append(event_pb2.StreamEventsRequest(sequence=sequence, events=messages))
            if not pending:
                return
            try:
                for answer in self._events.StreamEvents(
                    iter(list(pending)),
                    metadata=self._metadata,
                    timeout=self._deadline_seconds * len(pending),
                ):
                    assert answer.acknowledged_sequence == pending[0].sequence
                    pending.popleft()
                    failures = 0
                    yield _ingested(answer.result)
            except grpc.RpcError as error:
                refused = Refused.of_call(error)
                failures += 1
                if not refused.is_passing or failures >= self._attempts:
                    raise refused from error
                time.sleep(_pause(failures, refused))

    def _retried(self, call: Callable[..., Answer], request: object) -> Answer:
        ends_at = time.monotonic() + self._deadline_seconds
        failures = 0
        while True:
            left = ends_at - time.monotonic()
            try:
                return call(request, timeout=max(left, 0.001), metadata=self._metadata)
            except grpc.RpcError as error:
                refused = Refused.of_call(error)
                failures += 1
                pause = _pause(failures, refused)
                is_last = failures >= self._attempts or time.monotonic() + pause >= ends_at
                if is_last or not refused.is_passing:
                    raise refused from error
                time.sleep(pause)


def _subject(customer: str, as_of: datetime | None) -> scoring_pb2.ScoreSubject:
    when = timestamp(as_of) if as_of else None
    return scoring_pb2.ScoreSubject(customer=customer, as_of=when)


def _ingested(answer: event_pb2.IngestEventsResponse) -> Ingested:
    refused = tuple((row.index, Refused.of_row(row.error)) for row in answer.rejected)
    return Ingested(answer.accepted_count, answer.duplicate_count, refused)


def _pause(failures: int, refused: Refused) -> float:
    """Doubles with each failure up to five seconds, at random so that callers do not come back
    all at once, and never shorter than the server asks for."""
    own = random.uniform(0.5, 1.0) * min(0.05 * 2**failures, 5.0)
    return max(own, refused.retry_after_seconds or 0.0)
