"""A churn and a value model behind grpc.aio, as lean as Python makes it.

    rpc_aio.py COLUMNS CHURN_TREES VALUE_TREES LEAVES

Messages are rows of float32 and answers two rows of float64, without any protobuf; the models are
LightGBM's, grown on noise so that every tree is full. Prints "listening on ADDRESS".
"""

import asyncio
import sys

import grpc
import lightgbm
import numpy


def grown(rng, columns, trees, leaves, objective):
    """A forest of that shape."""
    x = rng.random((20_000, columns), dtype=numpy.float32)
    noise = x @ rng.random(columns) + rng.normal(size=len(x))
    y = (noise > numpy.median(noise)).astype(float) if objective == "binary" else noise
    params = {"objective": objective, "num_leaves": leaves, "min_data_in_leaf": 5,
              "num_threads": 1, "verbose": -1, "learning_rate": 0.05}
    return lightgbm.train(params, lightgbm.Dataset(x, y), trees)


async def main():
    """Serves until it is killed."""
    columns, churn_trees, value_trees, leaves = map(int, sys.argv[1:])
    rng = numpy.random.default_rng(1)
    churn = grown(rng, columns, churn_trees, leaves, "binary")
    value = grown(rng, columns, value_trees, leaves, "regression")

    async def predict(request, _):
        rows = numpy.frombuffer(request, dtype="<f4").reshape(-1, columns)
        found = [model.predict(rows, num_threads=1) for model in (churn, value)]
        return numpy.concatenate(found).astype("<f8").tobytes()

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 << 20)])
    method = grpc.unary_unary_rpc_method_handler(predict)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("peer.Scoring", {"Predict": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


asyncio.run(main())
