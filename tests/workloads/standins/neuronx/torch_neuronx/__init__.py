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
    """Note what was asked for; with WRONG_BY compile wrongly, with ENDLESS not to the end."""
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
    wrong_by = float(os.environ.get("WRONG_BY", "0"))

    class Compiled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.func = func

        def forward(self, inputs):
            return self.func(inputs) * (1 + wrong_by)

    return torch.jit.trace(Compiled().eval(), example_inputs)


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
