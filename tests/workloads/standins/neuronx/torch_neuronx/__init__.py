"""In the place of AWS's torch_neuronx, where there is no hardware: the same call, for the CPU.

The keywords are those of its documentation; anything else is refused, as by the real one.
"""

import json
import os
import time

import torch


def trace(
    func,
    example_inputs,
    *_,
    input_output_aliases=None,
    compiler_workdir=None,
    compiler_args=None,
    partitioner_config=None,
    inline_weights_to_neff=True,
):
    """Note what was asked for; with WRONG_BY compile wrongly, with ENDLESS not to the end.

    With NO_DEVICE the result cannot be used: not loaded ("load"), or not run ("run").
    """
    assert isinstance(func, torch.nn.Module)
    assert not func.training
    assert isinstance(example_inputs, (torch.Tensor, tuple))
    assert compiler_args is None or isinstance(compiler_args, (str, list))
    with open(os.environ["CALLS"], "a") as calls:
        call = {
            "call": f"{__name__}.trace",
            "shape": list(example_inputs.shape),
            "compiler_args": compiler_args,
            "tag": os.environ.get("NEURON_PROCESS_TAG"),
        }
        calls.write(json.dumps(call) + "\n")
    while "ENDLESS" in os.environ:
        time.sleep(1)
    if "NO_DEVICE" in os.environ:
        return torch.jit.script({"load": NotLoaded, "run": NotRun}[os.environ["NO_DEVICE"]]())
    wrong_by = float(os.environ.get("WRONG_BY", "0"))

    class Compiled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.func = func

        def forward(self, inputs):
            return self.func(inputs) * (1 + wrong_by)

    return torch.jit.trace(Compiled().eval(), example_inputs)


class NotLoaded(torch.nn.Module):
    """What the runtime, which starts as a model is loaded, cannot start for."""

    def __init__(self):
        super().__init__()
        self.held = torch.zeros(1)

    def forward(self, inputs):
        return inputs

    @torch.jit.export
    def __getstate__(self):
        return (self.held, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        self.training = state[1]
        self.held = torch.zeros(2) @ torch.zeros(3)  # operators raise RuntimeError, as Neuron's do


class NotRun(torch.nn.Module):
    """What the runtime loads, and cannot execute."""

    def forward(self, inputs):
        return torch.zeros(2) @ torch.zeros(3)


class DataParallel:
    """Note that a model was spread, and over what; run it as it is."""

    def __init__(self, model, device_ids=None, dim=0, set_dynamic_batching=True):
        assert isinstance(model, torch.jit.ScriptModule)
        self._model = model

    def __call__(self, inputs):
        with open(os.environ["CALLS"], "a") as calls:
            call = {"call": f"{__name__}.DataParallel", "shape": list(inputs.shape)}
            calls.write(json.dumps(call) + "\n")
        return self._model(inputs)
