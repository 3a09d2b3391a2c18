"""Runs exported models in ONNX Runtime and compares them with the values that were written beside them.

Usage: python3 export.py FOLDER. Each folder below it that holds model.values.json is a case.
"""

import json
import pathlib
import sys

import numpy
import onnx
import onnxruntime

onnxruntime.set_default_logger_severity(3)


def tensor(entry):
    return numpy.array(entry["values"], dtype=numpy.float32).reshape(entry["shape"])


def largest(session, values, scales):
    """The largest difference of an output, of predictions over the scale of their target."""
    given = {port.name: tensor(values[port.name]) for port in session.get_inputs()}
    names = [port.name for port in session.get_outputs()]
    worst = 0.0
    for name, found in zip(names, session.run(names, given)):
        expected = tensor(values[name])
        assert found.shape == expected.shape, (name, found.shape, expected.shape)
        difference = numpy.abs(found.astype(float) - expected)
        assert numpy.isfinite(difference).all(), name
        worst = max(worst, (difference / scales if name == "y" else difference).max())
    return worst


def main(root):
    worst = {}
    cases = sorted(root.glob("**/model.values.json"))
    for path in cases:
        recorded = json.loads(path.read_text())
        for form in ["step", "sequence"]:
            file = path.with_name(f"model.{form}.onnx")
            onnx.checker.check_model(onnx.load(file), full_check=True)
            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            runs = recorded[form] if form == "step" else [recorded[form]]
            apart = max(largest(session, values, numpy.array(recorded["scales"])) for values in runs)
            assert form == "sequence" or apart <= recorded["limit"], f"{file}: {apart}"
            # Free runs may amplify: a sequence has as much room as its steps have together.
            assert apart <= recorded["limit"] * len(recorded["step"]), f"{file}: {apart}"
            kind = (form, recorded["limit"])
            worst[kind] = max(worst.get(kind, 0.0), apart)
    assert cases, f"no model.values.json below {root}"
    print(f"export: {len(cases)} models pass onnx {onnx.__version__}'s checker; largest difference in ONNX Runtime {onnxruntime.__version__}:")
    for (form, limit), apart in sorted(worst.items()):
        print(f"export: {form}, limit {limit:g}: {apart:.1e}")


main(pathlib.Path(sys.argv[1]))
