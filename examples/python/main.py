"""Sends a few events to a running server and scores the customers they are of.

    main.py HOST:PORT
"""

import sys
from datetime import datetime, timedelta, timezone

from tenure.v1 import scoring_pb2
from tenure_client import Event, Refused, Tenure


def order(number: int, customer: str, days_ago: int, amount: float) -> Event:
    return Event(
        event_id=f"order-{customer}-{number}",
        customer=customer,
        type="purchase",
        time=datetime.now(timezone.utc).replace(microsecond=0) - timedelta(days=days_ago),
        attributes={"amount": amount, "channel": "web"},
    )


def tell(score: scoring_pb2.Score) -> None:
    tier = scoring_pb2.RiskTier.Name(score.risk_tier)
    campaign = scoring_pb2.CampaignType.Name(score.advice.campaign)
    churn = f"{score.churn_probability:.3f} in {score.churn_horizon_days} days"
    value = f"{score.clv.mean:.2f}" if score.HasField("clv") else "none"
    print(f"{score.customer}: churn {churn}, value {value}, {tier}, {campaign}")


def main() -> None:
    with Tenure(sys.argv[1], deadline_seconds=10.0) as tenure:
        answer = tenure.ingest(
            [order(n, "example-anna", 30 * n, 25.0 + n) for n in range(1, 6)]
            + [order(1, "example-ben", 200, 80.0), order(2, "example-ben", 1, float("nan"))]
        )
        print(f"{answer.accepted} events stored, {answer.duplicates} known before")
        for place, refused in answer.refused:
            print(f"event {place} was refused ({refused.reason}): {refused.violations}")
        assert (answer.accepted, len(answer.refused)) == (6, 1), answer

        batches = ([order(n, f"example-{n}", 10, 10.0)] for n in range(20))
        assert sum(one.accepted for one in tenure.stream(batches)) == 20

        tell(tenure.score("example-anna"))
        anna, nobody = tenure.score_many(["example-anna", "example-nobody"])
        assert isinstance(anna, scoring_pb2.Score)
        assert isinstance(nobody, Refused) and nobody.reason == "CUSTOMER_UNKNOWN"
        try:
            tenure.score("example-nobody")
        except Refused as refused:
            print(f"{refused.reason}: {refused}")
        else:
            raise AssertionError("nobody was scored")


if __name__ == "__main__":
    main()
