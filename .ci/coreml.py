"""Reads exported Core ML packages with Apple's coremltools and runs their programs in NumPy beside the recorded values.

Usage: python3 coreml.py FOLDER. Each folder below it that holds model.mlpackage and model.values.json is a case. Core ML itself exists
on Macs only: what is checked here is that Apple's reader takes the package, that every operation's types and shapes are as declared, and
that the program as read computes the recorded values.
"""

import json
import logging
import math
import pathlib
import sys
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import coremltools
import numpy
from coremltools.converters.mil.frontend.milproto import load as milproto
from coremltools.libmodelpackage import ModelPackage

erf = numpy.vectorize(math.erf)

OPERATIONS = {
    "add": lambda i: i["x"] + i["y"],
    "sub": lambda i: i["x"] - i["y"],
    "mul": lambda i: i["x"] * i["y"],
    "real_div": lambda i: i["x"] / i["y"],
    "maximum": lambda i: numpy.maximum(i["x"], i["y"]),
    "tanh": lambda i: numpy.tanh(i["x"]),
    "sigmoid": lambda i: 1 / (1 + numpy.exp(-i["x"])),
    "relu": lambda i: numpy.maximum(i["x"], 0),
    "exp": lambda i: numpy.exp(i["x"]),
    "erf": lambda i: erf(i["x"].astype(float)).astype(i["x"].dtype),
    "identity": lambda i: i["x"],
    "linear": lambda i: i["x"] @ i["weight"].T + (i["bias"] if i.get("bias") is not None else 0),
    "concat": lambda i: numpy.concatenate(i["values"], int(i["axis"])),
    "split": lambda i: numpy.split(i["x"], numpy.cumsum(i["split_sizes"])[:-1], int(i["axis"])),
    "expand_dims": lambda i: numpy.expand_dims(i["x"], tuple(i["axes"])),
    "squeeze": lambda i: numpy.squeeze(i["x"], tuple(i["axes"])),
    "reduce_sum": lambda i: i["x"].sum(tuple(i["axes"]), keepdims=bool(i["keep_dims"])),
    "softmax": lambda i: (lambda e: e / e.sum(int(i["axis"]), keepdims=True))(numpy.exp(i["x"] - i["x"].max(int(i["axis"]), keepdims=True))),
    "cast": lambda i: i["x"].astype({"fp16": numpy.float16, "fp32": numpy.float32}[str(i["dtype"])]),
}


def run(function, given):
    """The outputs of a parsed program, by name."""
    known = {name: given[name] for name in function.inputs}

    def value(variable):
        if isinstance(variable, (list, tuple)):
            return [value(part) for part in variable]
        return known[variable.name] if variable.name in known else variable.val

    for operation in function.operations:
        if operation.op_type == "const":
            continue
        inputs = {name: value(variable) for name, variable in operation.inputs.items() if variable is not None}
        results = OPERATIONS[operation.op_type](inputs)
        results = results if isinstance(results, list) else [results]
        for variable, result in zip(operation.outputs, results, strict=True):
            assert tuple(result.shape) == tuple(variable.shape), (operation.op_type, variable.name)
            known[variable.name] = result
    return {variable.name: known[variable.name] for variable in function.outputs}


def check(package):
    """The parsed program of a package that Apple's tools accept."""
    assert ModelPackage.isValid(str(package)), f"{package} is no package"
    spec = coremltools.utils.load_spec(str(package))
    assert spec.specificationVersion == 7
    coremltools.models.MLModel(str(package), skip_model_load=True)
    weights = str(package / "Data/com.apple.CoreML/weights")
    program = milproto.load(spec, specification_version=spec.specificationVersion, file_weights_dir=weights)
    program.validate()
    return spec, program


def rewrite(program):
    """Lets coremltools write the program as its own."""
    coremltools.convert(
        program,
        source="milinternal",
        convert_to="mlprogram",
        minimum_deployment_target=coremltools.target.iOS16,
        compute_precision=coremltools.precision.FLOAT32,
        skip_model_load=True,
    )


def tensor(entry):
    return numpy.array(entry["values"], dtype=numpy.float32).reshape(entry["shape"])


def main(root):
    worst = {}
    cases = sorted(root.glob("**/model.mlpackage"))
    for package in cases:
        spec, program = check(package)
        recorded = json.loads(package.with_name("model.values.json").read_text())
        scales = numpy.array(recorded["scales"])
        for values in recorded["step"]:
            given = {port.name: tensor(values[port.name]) for port in spec.description.input}
            results = run(program.functions["main"], given)
            assert set(results) == {port.name for port in spec.description.output}
            for name, found in results.items():
                apart = numpy.abs(found.astype(float) - tensor(values[name])) / (scales if name == "y" else 1)
                assert apart.max() <= recorded["limit"], f"{package}: {name} {apart.max()}"
                worst[recorded["limit"]] = max(worst.get(recorded["limit"], 0.0), apart.max())
        rewrite(program)
    assert cases, f"no model.mlpackage below {root}"
    print(f"export: {len(cases)} Core ML packages pass coremltools {coremltools.__version__}; largest difference of the programs as read:")
    for limit, apart in sorted(worst.items()):
        print(f"export: step, limit {limit:g}: {apart:.1e}")


main(pathlib.Path(sys.argv[1]))
