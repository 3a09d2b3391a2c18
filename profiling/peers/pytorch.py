#!/usr/bin/env python3
"""Times the benchmark cases of `ncps bench` with the PyTorch package `ncps` (1.0.1), one JSON line a case.

A training step is forward, mean squared error, backward and Adam on one fixed random batch; inference is one step at
batch 1 with the state carried. Needs `pip install torch ncps==1.0.1`; run it beside `ncps bench --json`, on the same
machine and with nothing else running:

    python3 profiling/peers/pytorch.py --threads 1 --case cfc-default
    python3 profiling/peers/pytorch.py --device cuda --form graph

Forms: `eager`; `compiled` (torch.compile of the network); `graph` (the whole training step captured once in a CUDA graph).
`train_cpu_s_median` is processor time of all threads of the process, as in `ncps bench`.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch
from ncps.torch import CfC, LTC
from ncps.wirings import AutoNCP, FullyConnected


class Projected(torch.nn.Module):
    """PyTorch's own LSTM with the linear layer of the case `lstm-64`."""

    def __init__(self, inputs, units, outputs):
        super().__init__()
        self.layer = torch.nn.LSTM(inputs, units, batch_first=True)
        self.head = torch.nn.Linear(units, outputs)

    def forward(self, x, state=None):
        y, state = self.layer(x, state)
        return self.head(y), state


def dense(mode):
    return lambda inputs, units, backbone: CfC(
        inputs, units, proj_size=4, batch_first=True, mode=mode,
        backbone_units=backbone, backbone_layers=1, backbone_dropout=0.0, activation="lecun_tanh",
    )


def ncp(units, outputs, mixed=False):
    return lambda inputs: CfC(inputs, AutoNCP(units, outputs), batch_first=True, mixed_memory=mixed)


def ltc(wiring):
    return lambda inputs: LTC(inputs, wiring(), batch_first=True, ode_unfolds=6)


# name: (inputs, outputs, batch, time, network of that many inputs)
CASES = {
    "cfc-default": (8, 4, 64, 32, lambda f: dense("default")(f, 64, 128)),
    "cfc-default-l": (8, 4, 256, 64, lambda f: dense("default")(f, 128, 128)),
    "cfc-pure": (8, 4, 64, 32, lambda f: dense("pure")(f, 64, 128)),
    "cfc-no_gate": (8, 4, 64, 32, lambda f: dense("no_gate")(f, 64, 128)),
    "cfc-ncp-32": (8, 4, 64, 32, ncp(32, 4)),
    "cfc-ncp-64": (8, 8, 64, 32, ncp(64, 8)),
    "cfc-mixed-ncp-32": (8, 4, 64, 32, ncp(32, 4, mixed=True)),
    "ltc-ncp-32": (8, 4, 64, 32, ltc(lambda: AutoNCP(32, 4))),
    "ltc-ncp-64": (8, 8, 64, 32, ltc(lambda: AutoNCP(64, 8))),
    "ltc-fc-64": (8, 4, 64, 32, ltc(lambda: FullyConnected(64, 4))),
    "lstm-64": (8, 4, 64, 32, lambda f: Projected(f, 64, 4)),
    "cfc-default-xl": (32, 4, 1024, 128, lambda f: dense("default")(f, 256, 256)),
    "ltc-ncp-64-xl": (32, 8, 1024, 64, ltc(lambda: AutoNCP(64, 8))),
}
LARGE = ("cfc-default-xl", "ltc-ncp-64-xl")


def synchronise(device):
    if device == "cuda":
        torch.cuda.synchronize()


def repeat(step, device, seconds, least=5):
    """Wall and processor time of single calls, after two that are not counted."""
    for _ in range(2):
        step()
    synchronise(device)
    walls, cpus = [], []
    end = time.perf_counter() + seconds
    while len(walls) < least or time.perf_counter() < end:
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        synchronise(device)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return walls, cpus


def training_step(network, x, target, form):
    device = x.device.type
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, capturable=form == "graph")
    forward = torch.compile(network) if form == "compiled" else network

    def step():
        optimiser.zero_grad(set_to_none=form != "graph")
        loss = torch.nn.functional.mse_loss(forward(x)[0], target)
        loss.backward()
        optimiser.step()
        return loss

    if form != "graph":
        return step
    if device != "cuda":
        sys.exit("--form graph needs --device cuda")
    aside = torch.cuda.Stream()
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def measure(name, arguments):
    inputs, outputs, batch, length, build = CASES[name]
    device = arguments.device
    torch.manual_seed(1)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024e-6
    network = build(inputs).to(device)
    x = torch.rand(batch, length, inputs, device=device) * 2 - 1
    target = torch.rand(batch, length, outputs, device=device) * 2 - 1
    before = time.perf_counter()
    step = training_step(network, x, target, arguments.form)
    step()
    synchronise(device)
    first = time.perf_counter() - before
    walls, cpus = repeat(step, device, arguments.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024e-6
    device_peak = torch.cuda.max_memory_allocated() * 1e-6 if device == "cuda" else None

    one, state = x[:1, :1], [None]

    def infer():
        with torch.no_grad():
            _, state[0] = network(one, state[0])

    infer_walls, _ = repeat(infer, device, min(arguments.seconds, 1.0))
    return {
        "case": name,
        "peer": f"PyTorch {torch.__version__}, {arguments.form}",
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "train_s_median": statistics.median(walls),
        "train_s_min": min(walls),
        "train_cpu_s_median": statistics.median(cpus),
        "train_steps": len(walls),
        "first_step_s": first,
        "infer_ms_median": 1e3 * statistics.median(infer_walls),
        "peak_above_start_mb": peak - start,
        "device_peak_mb": device_peak,
        "params": sum(p.numel() for p in network.parameters() if p.requires_grad),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES), help="a case; may be repeated; default all for the device")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--form", default="eager", choices=["eager", "compiled", "graph"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of training steps a case")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = arguments.case or [name for name in CASES if arguments.device == "cuda" or name not in LARGE]
    if len(names) == 1:
        print(json.dumps(measure(names[0], arguments)), flush=True)
        return
    # A process for each case, so that memory and caches are its own.
    options = [f"--{key}={getattr(arguments, key)}" for key in ("device", "form", "threads", "seconds")]
    for name in names:
        subprocess.run([sys.executable, __file__, *options, "--case", name], check=False)


if __name__ == "__main__":
    main()
