"""One thread each: rows a second of one forest in ONNX Runtime, and of one of its shape in LightGBM.

    predict.py FOREST.json OURS.txt

FOREST.json is XGBoost model JSON (`hot forest`), OURS.txt the lines of `hot cpu forest`.
Writes a Markdown table to standard output. Times are of the processor, the best of five.
"""

import json
import sys
import time

import lightgbm
import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper

ROWS, FEATURES, TREES, LEAVES = 20_000, 30, 200, 31


def best(run, rows):
    """Rows a second of the processor's time."""
    run()
    times = []
    for _ in range(5):
        begun = time.process_time()
        run()
        times.append(time.process_time() - begun)
    return rows / min(times)


def onnx_session(path):
    """The forest as a session of ONNX Runtime on one thread."""
    with open(path) as file:
        trees = json.load(file)["learner"]["gradient_booster"]["model"]["trees"]
    nodes = {key: [] for key in ("treeids", "nodeids", "featureids", "values", "modes",
                                 "truenodeids", "falsenodeids", "missing_value_tracks_true")}
    targets = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}
    for tree_id, tree in enumerate(trees):
        for node_id, left in enumerate(tree["left_children"]):
            leaf = left < 0
            nodes["treeids"].append(tree_id)
            nodes["nodeids"].append(node_id)
            nodes["featureids"].append(0 if leaf else tree["split_indices"][node_id])
            nodes["values"].append(0.0 if leaf else tree["split_conditions"][node_id])
            nodes["modes"].append("LEAF" if leaf else "BRANCH_LT")
            nodes["truenodeids"].append(0 if leaf else left)
            nodes["falsenodeids"].append(0 if leaf else tree["right_children"][node_id])
            nodes["missing_value_tracks_true"].append(tree["default_left"][node_id])
            if leaf:
                targets["treeids"].append(tree_id)
                targets["nodeids"].append(node_id)
                targets["ids"].append(0)
                targets["weights"].append(tree["split_conditions"][node_id])
    attributes = {f"nodes_{key}": value for key, value in nodes.items()}
    attributes |= {f"target_{key}": value for key, value in targets.items()}
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml",
                            n_targets=1, aggregate_function="SUM", **attributes)
    graph = helper.make_graph(
        [node], "forest",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options,
                                        providers=["CPUExecutionProvider"])


def lightgbm_model(rng):
    """A forest of the same shape, grown on noise so that every tree is full."""
    x = rng.random((20_000, FEATURES), dtype=numpy.float32)
    y = x @ rng.random(FEATURES) + rng.normal(size=len(x))
    params = {"objective": "regression", "num_leaves": LEAVES, "min_data_in_leaf": 5,
              "num_threads": 1, "verbose": -1, "learning_rate": 0.05}
    return lightgbm.train(params, lightgbm.Dataset(x, y), TREES)


def main():
    """Prints the table."""
    forest, ours = sys.argv[1:]
    rng = numpy.random.default_rng(1)
    x = rng.random((ROWS, FEATURES), dtype=numpy.float32)
    one = x[:1]
    model = lightgbm_model(rng)
    session = onnx_session(forest)
    peers = {
        f"LightGBM {lightgbm.__version__}": (
            best(lambda: model.predict(x, num_threads=1), ROWS),
            best(lambda: [model.predict(one, num_threads=1) for _ in range(300)], 300)),
        f"ONNX Runtime {onnxruntime.__version__}": (
            best(lambda: session.run(None, {"x": x}), ROWS),
            best(lambda: [session.run(None, {"x": one}) for _ in range(300)], 300)),
    }
    rate = {}
    with open(ours) as file:
        for line in file:
            words = line.split()
            rate[words[0]] = float(words[3])
    many, single = rate["forest/many_rows_200x31x30"], rate["forest/one_row_200x31x30"]
    plain = rate["forest/plain_200x31x30"]
    print("| who | many rows, rows/s | ours / theirs | one row at a time, rows/s | ours / theirs |")
    print("| --- | --- | --- | --- | --- |")
    print(f"| tenure | {many:,.0f} | | {single:,.0f} | |")
    print(f"| tenure, plain traversal | {plain:,.0f} | {many / plain:.1f} "
          f"| {plain:,.0f} | {single / plain:.1f} |")
    for name, (batch, alone) in peers.items():
        print(f"| {name} | {batch:,.0f} | {many / batch:.1f} "
              f"| {alone:,.0f} | {single / alone:.1f} |")


main()
