"""Checks a running server from Python: every number and every refusal by its details.

    client_check.py HOST:PORT MODEL

The store of the server must be empty. Ends with an assertion error at the first difference.
"""

import hashlib
import statistics
import struct
import sys
import time

import grpc
from google.protobuf import struct_pb2, timestamp_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from tenure.v1 import (
    customer_pb2,
    customer_pb2_grpc,
    event_pb2,
    event_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    scoring_pb2,
    scoring_pb2_grpc,
)

DAY = 86_400
SERVICES = ["ScoringService", "EventService", "CustomerService", "ModelService"]


def stamp(seconds):
    return timestamp_pb2.Timestamp(seconds=int(seconds))


def purchase(event_id, customer, seconds, amount):
    attributes = struct_pb2.Struct()
    attributes.update({"amount": amount})
    return event_pb2.Event(
        event_id=event_id,
        customer=customer,
        type="purchase",
        event_time=stamp(seconds),
        attributes=attributes,
    )


def details(error):
    """The google.rpc details of a refusal, by type name."""
    trailers = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    return unpacked(status)


def unpacked(status):
    found = {}
    for detail in status.details:
        kind = getattr(error_details_pb2, detail.TypeName().rsplit(".", 1)[1])
        message = kind()
        assert detail.Unpack(message)
        found[kind.__name__] = message
    assert found["ErrorInfo"].domain == "tenure", found
    return found


def refused(call, request, code):
    try:
        call(request)
    except grpc.RpcError as error:
        assert error.code() == code, error
        return details(error)
    raise AssertionError(f"{request} was answered")


def bits(number):
    return struct.pack("<d", number)


def check_services(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for name in [""] + [f"tenure.v1.{service}" for service in SERVICES]:
        answer = health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, name
    listed = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    for service in SERVICES:
        assert f"tenure.v1.{service}" in listed, listed
    assert "grpc.health.v1.Health" in listed, listed


def check_intake(channel, now):
    stub = event_pb2_grpc.EventServiceStub(channel)
    events = [purchase(f"e{n}", "regular", now - n * 20 * DAY, 30.0 + n) for n in range(1, 7)]
    events.append(purchase("o1", "once", now - 200 * DAY, 12.5))
    events.append(purchase("e1", "regular", now - 20 * DAY, 31.0))
    events.append(purchase("x1", "regular", now + 3_600, 1.0))
    events.append(purchase("x2", "regular", now - DAY, float("nan")))
    answer = stub.IngestEvents(event_pb2.IngestEventsRequest(events=events))
    assert (answer.accepted_count, answer.duplicate_count) == (7, 1), answer
    assert [row.index for row in answer.rejected] == [8, 9], answer
    fields = [
        unpacked(row.error)["BadRequest"].field_violations[0].field for row in answer.rejected
    ]
    assert fields == ["events[8].event_time", "events[9].attributes.amount"], fields
    again = stub.IngestEvents(event_pb2.IngestEventsRequest(events=events[:8]))
    assert (again.accepted_count, again.duplicate_count) == (0, 8), again
    empty = event_pb2.IngestEventsRequest()
    refused(stub.IngestEvents, empty, grpc.StatusCode.INVALID_ARGUMENT)
    return answer.snapshot


def check_scores(channel, now, model):
    stub = scoring_pb2_grpc.ScoringServiceStub(channel)
    as_of = stamp(now)
    subjects = [
        scoring_pb2.ScoreSubject(customer="regular", as_of=as_of),
        scoring_pb2.ScoreSubject(customer="once", as_of=as_of),
        scoring_pb2.ScoreSubject(customer="nobody", as_of=as_of),
        scoring_pb2.ScoreSubject(
            customer="once", as_of=as_of, events=[purchase("", "", now - DAY, 10.0)]
        ),
    ]
    batch = stub.BatchScoreCustomers(scoring_pb2.BatchScoreCustomersRequest(subjects=subjects))
    assert len(batch.outcomes) == len(subjects)
    for subject, outcome in zip(subjects, batch.outcomes):
        request = scoring_pb2.ScoreCustomerRequest(subject=subject)
        if subject.customer == "nobody":
            found = refused(stub.ScoreCustomer, request, grpc.StatusCode.NOT_FOUND)
            assert found["ResourceInfo"].resource_name == "nobody"
            assert found["ErrorInfo"].reason == "CUSTOMER_UNKNOWN"
            assert outcome.error.code == grpc.StatusCode.NOT_FOUND.value[0]
            assert unpacked(outcome.error) == found
            continue
        one, many = stub.ScoreCustomer(request).score, outcome.score
        for score in (one, many):
            score.provenance.ClearField("score_time")
        assert one == many, (one, many)
        assert bits(one.churn_probability) == bits(many.churn_probability)
        check_score(one, model)
    regular, once = batch.outcomes[0].score, batch.outcomes[1].score
    assert regular.churn_probability < once.churn_probability
    assert batch.outcomes[3].score.churn_probability < once.churn_probability
    early = scoring_pb2.ScoreSubject(customer="regular", as_of=stamp(now - 30 * DAY))
    request = scoring_pb2.ScoreCustomerRequest(subject=early)
    found = refused(stub.ScoreCustomer, request, grpc.StatusCode.FAILED_PRECONDITION)
    assert len(found["PreconditionFailure"].violations) == 1
    bad = scoring_pb2.ScoreCustomerRequest(subject=scoring_pb2.ScoreSubject(customer=""))
    found = refused(stub.ScoreCustomer, bad, grpc.StatusCode.INVALID_ARGUMENT)
    assert found["BadRequest"].field_violations[0].field == "subject.customer"
    selector = scoring_pb2.ModelSelector(version="models/other/versions/1")
    other = scoring_pb2.ScoreCustomerRequest(subject=subjects[0], model=selector)
    found = refused(stub.ScoreCustomer, other, grpc.StatusCode.NOT_FOUND)
    assert found["ErrorInfo"].reason == "MODEL_NOT_SERVED"


def check_score(score, model):
    assert 0.0 <= score.churn_probability <= 1.0
    assert score.churn_horizon_days > 0
    assert score.risk_tier in (1, 2, 3) and len(score.tier_reasons) >= 1
    assert score.segment != scoring_pb2.SEGMENT_UNSPECIFIED
    assert score.lifecycle_phase != scoring_pb2.LIFECYCLE_PHASE_UNSPECIFIED
    if score.HasField("clv"):
        clv = score.clv
        assert clv.mean >= 0.0 and clv.horizon_days > 0 and len(clv.currency_code) == 3
        at_risk = score.churn_probability * clv.mean
        assert abs(score.value_at_risk - at_risk) <= 1e-9 * max(1.0, at_risk)
        if clv.HasField("p10"):
            assert clv.p10 <= clv.p50 <= clv.p90
    advice = score.advice
    nothing = advice.campaign == scoring_pb2.CAMPAIGN_TYPE_NO_ACTION
    assert advice.campaign != scoring_pb2.CAMPAIGN_TYPE_UNSPECIFIED
    assert nothing == (advice.suppression != scoring_pb2.SUPPRESSION_UNSPECIFIED)
    assert nothing == (len(advice.channels) == 0)
    provenance = score.provenance
    assert provenance.model_version.startswith(f"models/{model}/versions/")
    assert len(provenance.policy_hash) == 32 and len(provenance.decision_id) == 32


def check_views(channel, model, snapshot):
    stub = customer_pb2_grpc.CustomerServiceStub(channel)
    view = stub.GetCustomer(customer_pb2.GetCustomerRequest(customer="regular")).customer
    assert (view.event_count, view.totals.order_count) == (6, 6), view
    assert abs(view.totals.spend - sum(30.0 + n for n in range(1, 7))) < 1e-9
    assert len(view.timeline) == 6 and view.score.provenance.snapshot == snapshot
    facts = {fact.name: fact for fact in view.facts}
    assert facts["orders"].number == 6.0
    assert facts["nps_last"].status == customer_pb2.FACT_STATUS_MISSING
    missing = customer_pb2.GetCustomerRequest(customer="nobody")
    found = refused(stub.GetCustomer, missing, grpc.StatusCode.NOT_FOUND)
    assert found["ResourceInfo"].resource_type == "tenure.v1.Customer"
    models = model_pb2_grpc.ModelServiceStub(channel).ListModels(model_pb2.ListModelsRequest())
    (ours,) = [entry for entry in models.models if entry.name == f"models/{model}"]
    assert ours.versions[0].state == model_pb2.MODEL_STATE_SERVING
    assert ours.versions[0].name == models.served_version


def check_model_service(channel, model):
    """Versions and traffic. Nothing is changed, since the folder of models is not ours."""
    stub = model_pb2_grpc.ModelServiceStub(channel)
    listing = model_pb2.ListModelVersionsRequest(parent=f"models/{model}")
    versions = stub.ListModelVersions(listing).model_versions
    (serving,) = [one for one in versions if one.state == model_pb2.MODEL_STATE_SERVING]
    assert list(serving.arms) == ["champion"] and len(serving.policy.hash) == 32
    got = stub.GetModelVersion(model_pb2.GetModelVersionRequest(name=serving.name))
    assert got.model_version == serving and got.features, got
    load = model_pb2.LoadModelVersionRequest(name=serving.name)
    assert stub.LoadModelVersion(load).model_version == serving
    load.name = f"models/{model}/versions/0123456789ab"
    found = refused(stub.LoadModelVersion, load, grpc.StatusCode.NOT_FOUND)
    assert found["ErrorInfo"].reason == "MODEL_VERSION_UNKNOWN"
    unload = model_pb2.UnloadModelVersionRequest(name=serving.name)
    found = refused(stub.UnloadModelVersion, unload, grpc.StatusCode.FAILED_PRECONDITION)
    assert found["PreconditionFailure"].violations[0].type == "NOT_IN_TRAFFIC"
    name = f"models/{model}/trafficPolicy"
    policy = stub.GetTrafficPolicy(model_pb2.GetTrafficPolicyRequest(name=name)).traffic_policy
    assert [(arm.arm, arm.weight) for arm in policy.arms] == [("champion", 10_000)], policy
    update = model_pb2.UpdateTrafficPolicyRequest(traffic_policy=policy, validate_only=True)
    update.traffic_policy.arms.add(arm="second", model_version=serving.name, weight=0)
    tried = stub.UpdateTrafficPolicy(update).traffic_policy
    assert tried.revision == policy.revision + 1 and len(tried.arms) == 2, tried
    update.traffic_policy.etag = "seen by nobody"
    found = refused(stub.UpdateTrafficPolicy, update, grpc.StatusCode.ABORTED)
    assert found["ErrorInfo"].metadata["etag"] == policy.etag
    back = model_pb2.RollBackTrafficPolicyRequest(name=name, revision=policy.revision + 7)
    found = refused(stub.RollBackTrafficPolicy, back, grpc.StatusCode.FAILED_PRECONDITION)
    assert found["ErrorInfo"].reason == "REVISION_UNKNOWN"


def check_streams(channel, now):
    """The streams: scores in order, events acknowledged, changes heard of; then an erasure."""
    scoring = scoring_pb2_grpc.ScoringServiceStub(channel)
    events = event_pb2_grpc.EventServiceStub(channel)
    watched = scoring.WatchScores(scoring_pb2.WatchScoresRequest(customers=["streamed"]))
    first = next(watched)
    assert not first.HasField("transition") and first.resume_token
    batches = [
        event_pb2.StreamEventsRequest(
            sequence=n, events=[purchase(f"s{n}", "streamed", now - n * DAY, 20.0)]
        )
        for n in range(1, 4)
    ]
    answers = list(events.StreamEvents(iter(batches)))
    assert [answer.acknowledged_sequence for answer in answers] == [1, 2, 3]
    assert all(answer.result.accepted_count == 1 for answer in answers)
    change = next(message for message in watched if message.HasField("transition"))
    assert change.transition.customer == "streamed"
    assert change.transition.cause == scoring_pb2.TRANSITION_CAUSE_EVENTS
    watched.cancel()
    names = ["streamed", "nobody", "once"] * 20
    rows = [
        scoring_pb2.ScoreStreamRequest(
            sequence=n, subject=scoring_pb2.ScoreSubject(customer=name, as_of=stamp(now))
        )
        for n, name in enumerate(names)
    ]
    found = list(scoring.ScoreStream(iter(rows)))
    assert [answer.sequence for answer in found] == list(range(len(names)))
    for name, answer in zip(names, found):
        if name == "nobody":
            assert unpacked(answer.outcome.error)["ErrorInfo"].reason == "CUSTOMER_UNKNOWN"
        else:
            assert answer.outcome.score.customer == name
    retry = scoring_pb2.ScoreCustomerRequest(
        subject=scoring_pb2.ScoreSubject(customer="streamed"), request_id="python-1"
    )
    assert scoring.ScoreCustomer(retry) == scoring.ScoreCustomer(retry)
    bad = scoring_pb2.ScoreMatrixRequest(feature_schema="0", row_count=1, double_cells=bytes(8))
    found = refused(scoring.ScoreMatrix, bad, grpc.StatusCode.FAILED_PRECONDITION)
    assert found["ErrorInfo"].reason == "SCHEMA_MISMATCH"
    customers = customer_pb2_grpc.CustomerServiceStub(channel)
    erase = customer_pb2.DeleteCustomerRequest(customer="streamed")
    erased = customers.DeleteCustomer(erase)
    assert (erased.had_history, erased.event_id_count) == (True, 3), erased
    gone = customer_pb2.GetCustomerRequest(customer="streamed")
    refused(customers.GetCustomer, gone, grpc.StatusCode.NOT_FOUND)


def check_base(channel, model):
    """The whole base: counted, and exported as of one commit."""
    customers = customer_pb2_grpc.CustomerServiceStub(channel)
    stats = customers.Stats(customer_pb2.StatsRequest())
    assert (stats.all.customer_count, stats.buyer_count) == (2, 2), stats
    assert sum(tier.group.customer_count for tier in stats.tiers) == 2
    assert sum(cohort.customer_count for cohort in stats.cohorts) == 2
    assert stats.model_version.startswith(f"models/{model}/versions/")
    digest, length, last = hashlib.sha256(), 0, None
    for message in customers.ExportStates(customer_pb2.ExportStatesRequest()):
        assert message.offset == length and not (last and last.HasField("manifest"))
        digest.update(message.chunk)
        length += len(message.chunk)
        last = message
    manifest = last.manifest
    assert (manifest.state_count, manifest.byte_count) == (2, length), manifest
    assert manifest.sha256 == digest.digest()
    bad = customer_pb2.ExportStatesRequest(shard=1_024)
    try:
        next(customers.ExportStates(bad))
    except grpc.RpcError as error:
        assert details(error)["BadRequest"].field_violations[0].field == "shard"
    else:
        raise AssertionError("there is no shard 1024")


def latency(channel, now):
    """Median and 99th percentile of a single score, in microseconds, from this client."""
    stub = scoring_pb2_grpc.ScoringServiceStub(channel)
    subject = scoring_pb2.ScoreSubject(customer="regular", as_of=stamp(now))
    request = scoring_pb2.ScoreCustomerRequest(subject=subject)
    times = []
    for _ in range(2_000):
        begin = time.perf_counter_ns()
        stub.ScoreCustomer(request)
        times.append((time.perf_counter_ns() - begin) / 1_000)
    return statistics.median(times), sorted(times)[int(0.99 * len(times))]


def main():
    address, model = sys.argv[1], sys.argv[2]
    now = int(time.time())
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(timeout=10)
        check_services(channel)
        snapshot = check_intake(channel, now)
        check_scores(channel, now, model)
        check_views(channel, model, snapshot)
        check_model_service(channel, model)
        check_streams(channel, now)
        check_base(channel, model)
        middle, slow = latency(channel, now)
    print(f"all checks passed; one score from Python: p50 {middle:.0f} us, p99 {slow:.0f} us")


if __name__ == "__main__":
    main()
