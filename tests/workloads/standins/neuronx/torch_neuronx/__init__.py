"""Stand-in for AWS's torch_neuronx that runs on the CPU.

It accepts the documented keyword arguments and rejects any other, like the real package.
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
    """Record the call and compile for the CPU.

    Environment variables: WRONG_BY falsifies the outputs by this share, ENDLESS never returns, and
    NO_DEVICE makes the result fail when it is loaded ("load") or run ("run").
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
        return torch.jit.script({"load": FailsToLoad, "run": FailsToRun}[os.environ["NO_DEVICE"]]())
    wrong_by = float(os.environ.get("WRONG_BY", "0"))

    class Compiled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.func = func

        def forward(self, inputs):
            return self.func(inputs) * (1 + wrong_by)

    return torch.jit.trace(Compiled().eval(), example_inputs)


class FailsToLoad(torch.nn.Module):
    """Model that fails when it is loaded, which is when Neuron's runtime starts."""

    def __init__(self):
        super().__init__()
        self.tensor = torch.zeros(1)

    def forward(self, inputs):
        return inputs

    @torch.jit.export
    def __getstate__(self):
        return (self.tensor, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        self.training = state[1]
        # Raises RuntimeError, like Neuron's operators.
        self.tensor = torch.zeros(2) @ torch.zeros(3)


class FailsToRun(torch.nn.Module):
    """Model that loads but cannot be run."""

    def forward(self, inputs):
        return torch.zeros(2) @ torch.zeros(3)


class DataParallel:
    """Record the call and run the model unchanged."""

    def __init__(self, model, device_ids=None, dim=0, set_dynamic_batching=True):
        assert isinstance(model, torch.jit.ScriptModule)
        self._model = model

    def __call__(self, inputs):
        with open(os.environ["CALLS"], "a") as calls:
            call = {"call": f"{__name__}.DataParallel", "shape": list(inputs.shape)}
            calls.write(json.dumps(call) + "\n")
        return self._model(inputs)
