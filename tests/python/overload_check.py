"""Asks a server far more than it may answer: every call is answered, or refused as it should be.

    overload_check.py HOST:PORT

The server may have one call at work (calls_max 1, batch_threads 1). Most calls must be turned
away before they are read: such refusals have no date, which the HTTP/2 library gives all others.
Afterwards, calls one by one must be answered again on the same connection.
"""

import sys

import grpc
from google.rpc import error_details_pb2, status_pb2
from tenure.v1 import scoring_pb2, scoring_pb2_grpc

CALLS_AT_ONCE = 64
UNREAD_MIN = 500
ROUNDS_MAX = 2_000


def request(n_rows):
    subject = scoring_pb2.ScoreSubject(customer="nobody")
    return scoring_pb2.BatchScoreCustomersRequest(subjects=[subject] * n_rows)


def is_unread(error):
    """Checks a refusal; whether the server read it."""
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    assert "too many calls (batch)" in error.details(), error
    trailers = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    kinds = [detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details]
    assert any(kinds), status
    return "date" not in trailers


def main(address):
    with grpc.insecure_channel(address) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)
        n_good = n_refused = n_unread = 0
        for n_rounds in range(ROUNDS_MAX):
            # Bodies of many sizes, the longest of several frames.
            calls = [
                stub.BatchScoreCustomers.future(request(1 + 97 * nth % 1_000), timeout=30)
                for nth in range(CALLS_AT_ONCE)
            ]
            for call in calls:
                error = call.exception()
                if error is None:
                    n_good += 1
                elif is_unread(error):
                    n_unread += 1
                else:
                    n_refused += 1
            if n_unread >= UNREAD_MIN:
                break
        assert n_unread >= UNREAD_MIN, (n_good, n_refused, n_unread)
        # Who comes alone is soon answered, and then always.
        n_again = n_in_a_row = 0
        while n_in_a_row < 500:
            try:
                stub.BatchScoreCustomers(request(3), timeout=30)
                n_in_a_row += 1
            except grpc.RpcError as error:
                is_unread(error)
                n_again += 1
                n_in_a_row = 0
                assert n_again < ROUNDS_MAX, "it does not recover"
    print(
        f"overload: {n_good} answered, {n_refused} refused, {n_unread} turned away unread in "
        f"{n_rounds + 1} rounds; answered again after {n_again} refusals"
    )


if __name__ == "__main__":
    main(sys.argv[1])
