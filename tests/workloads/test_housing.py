"""The regressor, from the data to prices in dollars."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from pathlib import Path

import pytest

from tests.support.programs import Programs, file_names
from tests.workloads.conftest import Bucket, Trained

pytestmark = pytest.mark.workloads

HEADER = (
    "longitude,latitude,housing_median_age,total_rooms,total_bedrooms,population,households,"
    "median_income,median_house_value,ocean_proximity"
)
ROW = "-122.2,37.9,41,880,129,322,126,8.3252,452600,NEAR BAY"
EAGER = """
import json, torch, dataset, housing_model
saved = torch.load("model.pt", weights_only=True)
model = housing_model.build_model()
model.load_state_dict(saved["state"])
rows, _ = dataset.read("few.csv")
with torch.no_grad():
    inputs = housing_model.standardize(rows, json.loads(saved["scaling"]))
    prices = model.eval()(inputs)
print(json.dumps(prices.flatten().tolist()))
"""


def prices(printed: str) -> list[float]:
    """Return the predicted prices in dollars."""
    found = re.findall(r"^line \d+: \$(-?[\d,.]+)", printed, re.MULTILINE)
    return [float(each.replace(",", "")) for each in found]


def test_training_prints_falling_errors(trained: Trained) -> None:
    shown = re.findall(
        r"^epoch +(\d+)/10  RMSE train \$([\d,]+)  validation \$([\d,]+)$",
        trained.printed,
        re.MULTILINE,
    )
    assert [int(epoch) for epoch, _, _ in shown] == list(range(1, 11))
    train, validation = (
        [int(each[column].replace(",", "")) for each in shown] for column in (1, 2)
    )
    assert validation[-1] < 0.7 * validation[0]
    assert train[-1] < 0.7 * train[0]


def test_compiled_model_from_s3_predicts_like_the_checkpoint(
    trained: Trained, with_torch: Path, bucket: Bucket
) -> None:
    programs = Programs(with_torch, trained.folder, **bucket.environment)
    few = (trained.folder / "houses.csv").read_text().splitlines(keepends=True)[:20]
    (trained.folder / "few.csv").write_text("".join(few))
    place = f"s3://{bucket.name}/models/housing.pt"
    programs.succeed("housing.py", "compile", "--model", place)
    predicted = prices(
        programs.succeed("housing.py", "predict", "--model", place, "--data", "few.csv")
    )
    eager = programs.evaluate(EAGER)
    assert len(predicted) == len(eager) == 19
    assert [price / 100_000 for price in predicted] == pytest.approx(eager, abs=1e-5, rel=0)
    assert len(set(predicted)) > 10


def test_checksum_is_in_metadata_and_s3(trained: Trained, with_torch: Path, bucket: Bucket) -> None:
    programs = Programs(with_torch, trained.folder, **bucket.environment)
    programs.succeed("housing.py", "compile", "--model", f"s3://{bucket.name}/housing.pt")
    assert bucket.keys() == {"housing.pt", "housing.pt.json"}
    head = bucket.client.get_object(Bucket=bucket.name, Key="housing.pt", ChecksumMode="ENABLED")
    content = head["Body"].read()
    metadata = json.loads(
        bucket.client.get_object(Bucket=bucket.name, Key="housing.pt.json")["Body"].read()
    )
    assert metadata["sha256"] == hashlib.sha256(content).hexdigest()
    assert base64.b64decode(head["ChecksumSHA256"]).hex() == metadata["sha256"]
    assert metadata["size"] == len(content)


def test_metadata_contents(trained: Trained) -> None:
    metadata = json.loads((trained.folder / "housing.pt.json").read_text())
    assert (metadata["model"], metadata["target"]) == ("housing", "cpu")
    assert (metadata["shape"], metadata["dtype"]) == ([1, 11], "float32")
    assert metadata["versions"]["torch"].startswith("2.")
    assert metadata["seconds"] > 0
    assert 0 <= metadata["check"]["difference"] <= metadata["check"]["allowed"]
    assert metadata["details"]["scaling"]["dollars"] == 100_000
    assert len(metadata["details"]["scaling"]["features"]) == 11


def test_incomplete_rows_and_islands_are_dropped(programs: Programs) -> None:
    empty, island = ROW.replace(",129,", ",,"), ROW.replace("NEAR BAY", "ISLAND")
    lines = [HEADER, *[ROW] * 12, empty, island, island]
    (programs.folder / "houses.csv").write_text("\n".join(lines) + "\n")
    printed = programs.succeed("housing.py", "train", "--data", "houses.csv", "--epochs", "1")
    expected = "12 houses, 11 features; dropped: 1 with an empty cell, 2 on islands"
    assert printed.splitlines()[0] == expected


def test_training_is_reproducible(trained: Trained, programs: Programs) -> None:
    houses = str(trained.folder / "houses.csv")
    assert programs.succeed("housing.py", "train", "--data", houses) == trained.printed


def test_pytorch_1_13(trained: Trained, with_torchvision: Programs) -> None:
    """The programs work with PyTorch 1.13, the version of AWS's last container for Inf1."""
    old = with_torchvision
    assert old.evaluate("import json, torch; print(json.dumps(torch.__version__[:4]))") == "1.13"
    houses = str(trained.folder / "houses.csv")
    old.succeed("housing.py", "train", "--data", houses, "--epochs", "1")
    old.succeed("housing.py", "compile", "--example", "example.pt")
    assert len(prices(old.succeed("housing.py", "predict", "--data", houses))) == 594


def test_scikit_learn_data_has_the_same_features(trained: Trained, with_torch: Path) -> None:
    programs = Programs(with_torch, trained.folder).with_stand_in("fetched", HOUSES="2")
    code = "import dataset, json; print(json.dumps(dataset.read('sklearn')))"
    kept, _ = programs.evaluate(f"import sys; sys.path.insert(0, {str(_standin())!r})\n{code}")
    _, features, price = kept[0]
    assert price == pytest.approx(452_600)
    assert features[:8] == pytest.approx([-122.23, 37.88, 41, 880, 129, 322, 126, 8.3252], rel=1e-4)
    assert features[8:] == [0, 0, 0]
    printed = programs.succeed("housing.py", "predict", "--data", "sklearn")
    assert len(prices(printed)) == 2


def _standin() -> Path:
    return Path(__file__).parent / "standins" / "fetched"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\n1,2\n", "houses.csv: missing columns: longitude, latitude,"),
        (
            f"{HEADER}\n{ROW.replace('880', 'many')}\n",
            "houses.csv, line 2: total_rooms must be a number (got 'many')",
        ),
        (
            f"{HEADER}\n{ROW.replace('880', 'nan')}\n",
            "houses.csv, line 2: total_rooms must be a number (got 'nan')",
        ),
        (f"{HEADER}\n{ROW.replace('NEAR BAY', 'MOON')}\n", "(got 'MOON')"),
        (
            f"{HEADER}\n{ROW}\n",
            "training requires at least 10 rows with a median_house_value (got 1)",
        ),
        ("\xff\xfe", "houses.csv is not a CSV file"),
        (None, "houses.csv cannot be read: No such file or directory"),
    ],
)
def test_invalid_data(programs: Programs, content: str | None, expected: str) -> None:
    """Invalid data ends with one line that names the file and the value, and no checkpoint."""
    before = set()
    if content is not None:
        (programs.folder / "houses.csv").write_bytes(content.encode("latin-1"))
        before = {"houses.csv"}
    done = programs.run("housing.py", "train", "--data", "houses.csv")
    assert done.status == 1
    assert done.err.startswith("housing.py: ")
    assert expected in done.err
    assert len(done.err.splitlines()) == 1
    assert file_names(programs.folder) == before


def test_errors_and_prices_have_the_line_of_the_file(tmp_path: Path) -> None:
    """Blank lines and lines within quotation marks count, as in an editor."""
    programs = Programs(Path(sys.executable), tmp_path)
    quoted = ROW.replace("NEAR BAY", '"NEAR BAY"').replace("452600", '"452600\n"')
    lines = [HEADER, "", "", ROW, quoted, "", ROW]
    (tmp_path / "houses.csv").write_text("\n".join(lines) + "\n")
    code = "import dataset, json; print(json.dumps(dataset.read('houses.csv')[0]))"
    assert [line for line, _, _ in programs.evaluate(code)] == [4, 6, 8]
    lines[-1] = ROW.replace("880", "many")
    (tmp_path / "houses.csv").write_text("\n".join(lines) + "\n")
    done = programs.run("housing.py", "train", "--data", "houses.csv")
    assert done.err == (
        "housing.py: houses.csv, line 8: total_rooms must be a number (got 'many')\n"
    )


def test_unavailable_scikit_learn_data_is_an_error(programs: Programs) -> None:
    done = programs.with_stand_in("fetched").run("housing.py", "train", "--data", "sklearn")
    assert (done.status, done.err) == (
        1,
        "housing.py: --data: scikit-learn cannot fetch the data (no route to host); "
        "use a CSV file\n",
    )


@pytest.mark.parametrize(
    "command", [("sample", "--rows", "100000"), ("predict", "--data", "many.csv")]
)
def test_closed_output_is_no_error(
    trained: Trained, with_torch: Path, command: tuple[str, ...]
) -> None:
    programs = Programs(with_torch, trained.folder)
    first, *rows = (trained.folder / "houses.csv").read_text().splitlines(keepends=True)
    (trained.folder / "many.csv").write_text(first + "".join(rows * 10))
    with programs.running("housing.py", *command) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 0


def test_full_disk_under_standard_output_is_an_error(programs: Programs) -> None:
    expected = (1, "housing.py: No space left on device\n")
    assert run_with_full_output(programs, "housing.py", "sample") == expected


def run_with_full_output(programs: Programs, *command: str) -> tuple[int, str]:
    """Run a program whose output is a full device; return its status and errors."""
    script = programs.folder / "full"
    script.write_text(f'#!/bin/sh\nexec {programs.python} "$@" > /dev/full\n')
    script.chmod(0o755)
    done = Programs(script, programs.folder).run(*command)
    return done.status, done.err


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("train", "--data", "houses.csv", "--epochs", "1"), "model.pt cannot be written: "),
        (("compile", "--checkpoint", "given.pt", "--model", "m.pt"), "m.pt cannot be written: "),
    ],
)
def test_failed_write(
    trained: Trained, programs: Programs, command: tuple[str, ...], expected: str
) -> None:
    """A write that fails halfway ends with one line and no new file; PyTorch's own would abort."""
    folder = programs.folder
    (folder / "houses.csv").write_bytes((trained.folder / "houses.csv").read_bytes())
    (folder / "given.pt").write_bytes((trained.folder / "model.pt").read_bytes())
    limited = folder / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -f 60\nexec {programs.python} "$@"\n')
    limited.chmod(0o755)
    before = file_names(folder)
    done = Programs(limited, folder).run("housing.py", *command)
    assert done.status == 1
    assert f"{expected}File too large" in done.err.splitlines()[-1]
    assert file_names(folder) == before


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            ("--checkpoint", "s.pt", "--example", "./s.pt"),
            "--example: ./s.pt is also the file of --che",
        ),
        (("--checkpoint", "houses.csv"), "--checkpoint: houses.csv is also the file of --data"),
    ],
)
def test_training_requires_distinct_files(
    programs: Programs, flags: tuple[str, ...], expected: str
) -> None:
    (programs.folder / "houses.csv").write_text("\n".join([HEADER, *[ROW] * 12]) + "\n")
    done = programs.run("housing.py", "train", "--data", "houses.csv", *flags)
    assert done.status == 1
    assert done.err.startswith(f"housing.py: {expected}")
    assert len(done.err.splitlines()) == 1
    assert file_names(programs.folder) == {"houses.csv"}
