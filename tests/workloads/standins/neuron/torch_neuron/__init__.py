"""Stand-in for AWS's torch_neuron (Inf1) that runs on the CPU."""

import json
import os

import torch


def trace(model, example_inputs, *, compiler_args=None, **jit_trace_arguments):
    """Record the call and compile for the CPU; other arguments go to torch.jit.trace."""
    assert isinstance(model, torch.nn.Module)
    assert not model.training
    assert compiler_args is None or isinstance(compiler_args, list)
    with open(os.environ["CALLS"], "a") as calls:
        call = {
            "call": f"{__name__}.trace",
            "shape": list(example_inputs.shape),
            "compiler_args": compiler_args,
            "tag": os.environ.get("NEURON_PROCESS_TAG"),
        }
        calls.write(json.dumps(call) + "\n")
    return torch.jit.trace(model, example_inputs, **jit_trace_arguments)


class DataParallel:
    """Record the call and run the model unchanged."""

    def __init__(self, model, device_ids=None, dim=0):
        assert isinstance(model, torch.jit.ScriptModule)
        self._model = model

    def __call__(self, inputs):
        with open(os.environ["CALLS"], "a") as calls:
            call = {"call": f"{__name__}.DataParallel", "shape": list(inputs.shape)}
            calls.write(json.dumps(call) + "\n")
        return self._model(inputs)
