"""The regressor, from data to a price in dollars."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.support.programs import Programs, left
from tests.workloads.conftest import Bucket, Trained

pytestmark = pytest.mark.workloads

HEADER = (
    "longitude,latitude,housing_median_age,total_rooms,total_bedrooms,population,households,"
    "median_income,median_house_value,ocean_proximity"
)
ROW = "-122.2,37.9,41,880,129,322,126,8.3252,452600,NEAR BAY"
EAGER = """
import json, torch, houses, housing
saved = torch.load("model.pt", weights_only=True)
model = housing.network()
model.load_state_dict(saved["state"])
found, _ = houses.read("few.csv")
with torch.no_grad():
    prices = model.eval()(housing.scaled(found, json.loads(saved["scaling"])))
print(json.dumps(prices.flatten().tolist()))
"""


def prices(printed: str) -> list[float]:
    """The predicted prices, in dollars."""
    found = re.findall(r"^line \d+: \$(-?[\d,.]+)", printed, re.MULTILINE)
    return [float(each.replace(",", "")) for each in found]


def test_the_validation_error_falls_and_is_printed(trained: Trained) -> None:
    """Ten epochs are shown, each with both errors in dollars, and the model learns."""
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


def test_a_compiled_model_comes_back_from_s3_and_predicts_what_the_eager_one_does(
    trained: Trained, with_torch: Path, bucket: Bucket
) -> None:
    """Compiled, uploaded and fetched, it gives the checkpoint's own values to 1e-5."""
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


def test_the_description_and_s3_know_the_checksum(
    trained: Trained, with_torch: Path, bucket: Bucket
) -> None:
    """The SHA-256 of the object is in the description beside it, and is S3's own checksum of it."""
    programs = Programs(with_torch, trained.folder, **bucket.environment)
    programs.succeed("housing.py", "compile", "--model", f"s3://{bucket.name}/housing.pt")
    assert bucket.keys() == {"housing.pt", "housing.pt.json"}
    head = bucket.client.get_object(Bucket=bucket.name, Key="housing.pt", ChecksumMode="ENABLED")
    content = head["Body"].read()
    told = json.loads(
        bucket.client.get_object(Bucket=bucket.name, Key="housing.pt.json")["Body"].read()
    )
    assert told["sha256"] == hashlib.sha256(content).hexdigest()
    assert base64.b64decode(head["ChecksumSHA256"]).hex() == told["sha256"]
    assert told["size"] == len(content)


def test_the_description_says_what_it_is_for(trained: Trained) -> None:
    """Model, shape, type, target, versions, seconds, check and scaling are told beside it."""
    told = json.loads((trained.folder / "housing.pt.json").read_text())
    assert (told["model"], told["target"]) == ("housing", "cpu")
    assert (told["shape"], told["dtype"]) == ([1, 11], "float32")
    assert told["versions"]["torch"].startswith("2.")
    assert told["seconds"] > 0
    assert 0 <= told["check"]["difference"] <= told["check"]["allowed"]
    assert told["details"]["scaling"]["dollars"] == 100_000
    assert len(told["details"]["scaling"]["features"]) == 11


def test_cleaning_leaves_eleven_features_and_says_what_it_left_out(programs: Programs) -> None:
    """Rows with an empty cell and houses on islands are left out, and counted."""
    empty, island = ROW.replace(",129,", ",,"), ROW.replace("NEAR BAY", "ISLAND")
    lines = [HEADER, *[ROW] * 12, empty, island, island]
    (programs.folder / "houses.csv").write_text("\n".join(lines) + "\n")
    printed = programs.succeed("housing.py", "train", "--data", "houses.csv", "--epochs", "1")
    told = "12 houses, 11 features; left out: 1 with an empty cell, 2 on islands"
    assert printed.splitlines()[0] == told


def test_the_same_seed_trains_the_same_model(trained: Trained, programs: Programs) -> None:
    """A run can be repeated to the dollar."""
    houses = str(trained.folder / "houses.csv")
    assert programs.succeed("housing.py", "train", "--data", houses) == trained.printed


def test_the_pytorch_of_inf1_does_the_same(trained: Trained, with_torchvision: Programs) -> None:
    """AWS's last container for Inf1 has PyTorch 1.13, as Debian has: nothing newer is needed."""
    old = with_torchvision
    assert old.evaluate("import json, torch; print(json.dumps(torch.__version__[:4]))") == "1.13"
    houses = str(trained.folder / "houses.csv")
    old.succeed("housing.py", "train", "--data", houses, "--epochs", "1")
    old.succeed("housing.py", "compile", "--example", "example.pt")
    assert len(prices(old.succeed("housing.py", "predict", "--data", houses))) == 594


def test_scikit_learns_houses_get_the_same_features(trained: Trained, with_torch: Path) -> None:
    """Its averages for each household become totals again, its values dollars."""
    programs = Programs(with_torch, trained.folder).beside("fetched", HOUSES="2")
    code = "import houses, json; print(json.dumps(houses.read('sklearn')))"
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
    ("content", "complaint"),
    [
        ("a,b\n1,2\n", "houses.csv: the first line lacks longitude, latitude,"),
        (f"{HEADER}\n{ROW.replace('880', 'many')}\n", "houses.csv, line 2: total_rooms is 'many'"),
        (f"{HEADER}\n{ROW.replace('880', 'nan')}\n", "houses.csv, line 2: total_rooms is 'nan'"),
        (f"{HEADER}\n{ROW.replace('NEAR BAY', 'MOON')}\n", "ocean_proximity is 'MOON', not one of"),
        (f"{HEADER}\n{ROW}\n", "1 houses with a median_house_value are too few to train on"),
        ("\xff\xfe", "houses.csv is no CSV file"),
        (None, "houses.csv cannot be read: No such file or directory"),
    ],
)
def test_data_that_is_none_is_refused(
    programs: Programs, content: str | None, complaint: str
) -> None:
    """One line names the file, the line and the value, and no checkpoint is left."""
    before = set()
    if content is not None:
        (programs.folder / "houses.csv").write_bytes(content.encode("latin-1"))
        before = {"houses.csv"}
    done = programs.run("housing.py", "train", "--data", "houses.csv")
    assert done.status == 1
    assert done.err.startswith("housing.py: ")
    assert complaint in done.err
    assert len(done.err.splitlines()) == 1
    assert left(programs.folder) == before


def test_scikit_learn_that_cannot_fetch_is_said(programs: Programs) -> None:
    """Without a network the way out is a CSV file."""
    done = programs.beside("fetched").run("housing.py", "train", "--data", "sklearn")
    assert (done.status, done.err) == (
        1,
        "housing.py: --data: scikit-learn cannot fetch it (no route to host); give a CSV file\n",
    )


@pytest.mark.parametrize(
    "command", [("sample", "--rows", "100000"), ("predict", "--data", "many.csv")]
)
def test_a_reader_that_has_enough_ends_the_output_quietly(
    trained: Trained, with_torch: Path, command: tuple[str, ...]
) -> None:
    """`| head -1` gets its line, and nobody is told of a pipe."""
    programs = Programs(with_torch, trained.folder)
    first, *rows = (trained.folder / "houses.csv").read_text().splitlines(keepends=True)
    (trained.folder / "many.csv").write_text(first + "".join(rows * 10))
    with programs.running("housing.py", *command) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(20) == 0


def test_output_that_cannot_be_written_is_said(programs: Programs) -> None:
    """A disk that is full under `> houses.csv` is one line, and status 1."""
    told = "housing.py: No space left on device\n"
    assert to_a_full_disk(programs, "housing.py", "sample") == (1, told)


def to_a_full_disk(programs: Programs, *command: str) -> tuple[int, str]:
    """Status and errors of a program whose standard output is a device that is always full."""
    script = programs.folder / "full"
    script.write_text(f'#!/bin/sh\nexec {programs.python} "$@" > /dev/full\n')
    script.chmod(0o755)
    done = Programs(script, programs.folder).run(*command)
    return done.status, done.err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("train", "--data", "houses.csv", "--epochs", "1"), "model.pt cannot be written: "),
        (("compile", "--checkpoint", "given.pt", "--model", "m.pt"), "m.pt cannot be written: "),
    ],
)
def test_a_model_that_there_is_no_room_for_is_said(
    trained: Trained, programs: Programs, command: tuple[str, ...], told: str
) -> None:
    """A write that fails halfway is one line, with nothing left; PyTorch's own would abort."""
    folder = programs.folder
    (folder / "houses.csv").write_bytes((trained.folder / "houses.csv").read_bytes())
    (folder / "given.pt").write_bytes((trained.folder / "model.pt").read_bytes())
    limited = folder / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -f 60\nexec {programs.python} "$@"\n')
    limited.chmod(0o755)
    before = left(folder)
    done = Programs(limited, folder).run("housing.py", *command)
    assert done.status == 1
    assert f"{told}File too large" in done.err.splitlines()[-1]
    assert left(folder) == before


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--checkpoint", "s.pt", "--example", "./s.pt"), "--example: ./s.pt is the file of --che"),
        (("--checkpoint", "houses.csv"), "--checkpoint: houses.csv is the file of --data as well"),
    ],
)
def test_training_overwrites_nothing_of_its_own(
    programs: Programs, flags: tuple[str, ...], told: str
) -> None:
    """Two of its files at one place are refused before the training."""
    (programs.folder / "houses.csv").write_text("\n".join([HEADER, *[ROW] * 12]) + "\n")
    done = programs.run("housing.py", "train", "--data", "houses.csv", *flags)
    assert done.status == 1
    assert done.err.startswith(f"housing.py: {told}")
    assert len(done.err.splitlines()) == 1
    assert left(programs.folder) == {"houses.csv"}
