"""ResNet-50, with torchvision's architecture and class names."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.programs import Programs

pytestmark = pytest.mark.workloads


def test_resnet50_compiles_and_classifies(with_torchvision: Programs) -> None:
    with_torchvision.evaluate(
        "from PIL import Image; Image.effect_noise((300, 260), 90).save('noise.png')"
    )
    printed = with_torchvision.succeed("compile.py", "--weights", "none", "--model", "resnet50.pt")
    assert "compiling resnet50 [1, 3, 224, 224] for cpu" in printed
    metadata = json.loads((with_torchvision.folder / "resnet50.pt.json").read_text())
    assert metadata["shape"] == [1, 3, 224, 224]
    assert metadata["check"]["difference"] <= metadata["check"]["allowed"]
    labels = metadata["details"]["labels"]
    assert len(labels) == 1000
    assert labels[281] == "tabby"
    printed = with_torchvision.succeed("inference.py", "--model", "resnet50.pt", "noise.png")
    found = re.findall(r"^  +(\d+\.\d\d)%  (.+)$", printed, re.MULTILINE)
    assert len(found) == 5
    assert {label for _, label in found} <= set(labels)
    shares = [float(share) for share, _ in found]
    assert shares == sorted(shares, reverse=True)
    assert 0.1 < shares[0] <= 100


def test_weights_of_another_model_are_rejected(with_torchvision: Programs) -> None:
    with_torchvision.evaluate("import torch; torch.save({'fc.weight': torch.rand(2)}, 'other.pt')")
    done = with_torchvision.run("compile.py", "--weights", "other.pt", "--target", "cpu")
    assert done.status == 1
    assert done.err.startswith("compile.py: --weights: other.pt does not match this model: ")
    assert not (with_torchvision.folder / "resnet50.pt").exists()
