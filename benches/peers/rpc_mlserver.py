"""A folder for MLServer with one LightGBM model, and requests for it.

    rpc_mlserver.py FOLDER PORT COLUMNS TREES LEAVES

Writes settings that were found best for a small model (no pool of processes, no metrics of each
call), the model, and `1.bin` and `1000.bin`: requests of the open inference protocol.
"""

import json
import pathlib
import sys

import lightgbm
import numpy
from mlserver.grpc import dataplane_pb2


def main():
    """Writes all files."""
    folder, (port, columns, trees, leaves) = pathlib.Path(sys.argv[1]), map(int, sys.argv[2:])
    (folder / "churn").mkdir(parents=True)
    rng = numpy.random.default_rng(1)
    x = rng.random((20_000, columns), dtype=numpy.float32)
    y = x @ rng.random(columns) + rng.normal(size=len(x))
    params = {"objective": "regression", "num_leaves": leaves, "min_data_in_leaf": 5,
              "num_threads": 1, "verbose": -1, "learning_rate": 0.05}
    model = lightgbm.train(params, lightgbm.Dataset(x, y), trees)
    model.save_model(folder / "churn" / "model.bst")
    (folder / "settings.json").write_text(json.dumps({
        "host": "127.0.0.1", "http_port": port + 1, "grpc_port": port, "metrics_endpoint": None,
        "parallel_workers": 0, "debug": False, "grpc_max_message_length": 64 << 20}))
    (folder / "churn" / "model-settings.json").write_text(json.dumps({
        "name": "churn", "implementation": "mlserver_lightgbm.LightGBMModel",
        "parameters": {"uri": "./model.bst"}}))
    for rows in (1, 1_000):
        request = dataplane_pb2.ModelInferRequest(model_name="churn")
        cells = request.inputs.add(name="rows", datatype="FP32", shape=[rows, columns])
        cells.contents.fp32_contents.extend(x[:rows].ravel().tolist())
        (folder / f"{rows}.bin").write_bytes(request.SerializeToString())


main()
