"""What `doctor --bundle` writes holds nothing private, whatever was planted, and is written once."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from click.testing import CliRunner

from tests.unit.test_import_hygiene import HEAVY, loaded_modules
from tuner_tui.cli.doctor import doctor
from tuner_tui.config import setting_list
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.hardware.doctor import Check
from tuner_tui.hardware.gpu import GpuReport
from tuner_tui.hardware.system import SystemSnapshot
from tuner_tui.hardware.torch_report import TorchDevice, TorchReport
from tuner_tui.planning.plan import Plan
from tuner_tui.runs import events
from tuner_tui.sharing.bug_report import options
from tuner_tui.sharing.bug_report.fields import DECISIONS, shown_record, shown_version
from tuner_tui.sharing.bug_report.known_texts import KnownTexts, own_texts
from tuner_tui.sharing.bug_report.log import public_place, shown_log
from tuner_tui.sharing.bug_report.second_net import Private, cleaned

RECORDED = Path(__file__).parents[1] / "data" / "run_recorded"
PLANT = "Zanzibarquince"
"""A word that stands in no source; every planted text holds it."""


def tokens() -> dict[str, str]:
    """Made-up secrets of each kind, put together here so that no scanner of this repository sees one."""
    return {
        "hub": "hf_" + "QwErTyUiOpAsDfGhJkLz" * 2,
        "openai": "sk-" + "proj-a1b2c3d4e5f6g7h8i9j0k1l2",
        "anthropic": "sk-" + "ant-api03-a1b2c3d4e5f6g7h8i9j0",
        **{f"github {kind}": f"gh{kind}_" + "a1B2c3D4e5F6g7H8i9J0k1L2" for kind in "pousr"},
        "aws": "AKIA" + "ABCDEFGH12345678",
        "aws secret": "aws_secret_access_key = " + "wJalrXUtnFEMIK7MDENGbPxRfiCYKEYKEYKEYKEY",
        "pem": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEowIBAAKCAQEA7bq\n-----END RSA PRIVATE KEY-----",
        "authorization": "Authorization: Bearer " + "abcdef0123456789abcdef",
        "basic": "authorization: Basic " + "YWRhOmh1bnRlcjIyaHVudGVy",
        "bearer": "Bearer " + "0123456789abcdefghij",
        "url": "https://ada:" + "hunter22@example.org/x",
        "password": "password=" + "correcthorse7",
    }


# -- the allow-list -----------------------------------------------------------------------------------------


def structs_in(kind: Any) -> set[type[msgspec.Struct]]:
    """All record types that a type holds."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        inner = {kind}
        for hint in typing.get_type_hints(kind).values():
            inner |= structs_in(hint)
        return inner
    return {found for part in get_args(kind) for found in structs_in(part)}


REPORTED = structs_in(events.Event) | {
    found for kind in (Plan, GpuReport, SystemSnapshot, TorchReport, Check) for found in structs_in(kind)
}


def test_every_field_of_every_record_is_decided() -> None:
    """A new field of an event fails here until `fields.DECISIONS` says whether it may leave."""
    assert len(get_args(events.Event)) == 23
    assert {kind.__name__ for kind in DECISIONS} == {kind.__name__ for kind in REPORTED}
    for kind, decisions in DECISIONS.items():
        assert set(decisions) == set(kind.__struct_fields__) - {"at"}, kind.__name__


def test_a_field_that_is_not_decided_stays() -> None:
    class New(msgspec.Struct, frozen=True):
        prompt: str = PLANT
        count: int = 7

    assert shown_record(New(), own_texts()) == {}


@pytest.mark.parametrize("kind", sorted(DECISIONS, key=str))
def test_no_text_in_any_field_leaves(kind: type[msgspec.Struct]) -> None:
    """Whatever a field says it holds: a damaged or hostile file may hold something else."""
    plants: list[Any] = [
        PLANT,
        f"/home/ada/{PLANT}.jsonl",
        f"No such file: {PLANT}",
        [PLANT, f"{PLANT}, line 7: {PLANT}"],
        {PLANT: PLANT, "loss": PLANT, "torch": PLANT},
        [{"event": PLANT}],
        f"1.0+{PLANT}",
        {"torch": f"2.13.0.{PLANT}"},
        f"NVIDIA {PLANT} RTX",
        f"step-12/{PLANT}",
    ]
    for plant in plants:
        record = kind(**dict.fromkeys(kind.__struct_fields__, plant))
        assert PLANT not in json.dumps(shown_record(record, own_texts()))


def test_numbers_and_fixed_words_leave() -> None:
    step = events.StepLogged(
        step=7, total_steps=9, epoch=0.5, loss=1.23456789, metrics={"entropy": 2.5, PLANT: 1.0}
    )
    assert shown_record(step, own_texts()) == {
        "step": 7, "total_steps": 9, "epoch": 0.5, "loss": 1.23457, "tokens": 0, "seconds": 0.0,
        "metrics": {"entropy": 2.5},
    }  # fmt: skip
    failed = events.RunFailed(
        kind="out_of_memory",
        title="Out of memory",
        message="CUDA out of memory. Tried to allocate 2.5 GiB. x",
    )
    shown = shown_record(failed, own_texts())
    assert (shown["kind"], shown["title"]) == ("out_of_memory", "Out of memory")
    assert shown["message"].startswith("CUDA out of memory.")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2.13.0+cu130", "2.13.0+cu130"),
        ("2.13.0+cpu", "2.13.0+cpu"),
        ("5.24.0.dev0", "5.24.0.dev0"),
        ("sm_90a", "sm_90a"),
        ("580.95.05", "580.95.05"),
        ("1.0+ours", "1.0[…]"),
        ("ours", "[…]"),
    ],
)
def test_versions(text: str, shown: str) -> None:
    assert shown_version(text) == shown


@pytest.mark.parametrize(
    "name",
    ["NVIDIA GeForce RTX 4070 Ti SUPER", "NVIDIA H200", "NVIDIA A100-SXM4-80GB", "NVIDIA RTX 6000 Ada Generation",
     "AMD Radeon RX 7900 XTX", "Tesla T4", "NVIDIA GeForce RTX 3080 Laptop GPU", "NVIDIA H100 80GB HBM3"],
)  # fmt: skip
def test_names_of_gpus_leave(name: str) -> None:
    assert shown_record(TorchDevice(name=name), own_texts())["name"] == name


def test_what_doctor_found_is_told_without_names() -> None:
    check = Check(
        "GPU 0", "problem", "does not answer", "driver 580.95, ollama-of-ada (77) uses 0.9 GB", "/home/ada/x"
    )
    shown = shown_record(check, own_texts())
    assert (shown["name"], shown["status"], shown["value"]) == ("GPU 0", "problem", "does not answer")
    assert "ada" not in json.dumps(shown)


def test_every_option_and_setting_that_takes_text_is_decided() -> None:
    open_options = {
        key for key, kinds in options.option_types().items() if any(map(options.takes_text, kinds))
    }
    assert open_options == set(options.OPTION_TEXTS)
    assert {setting.key for setting in setting_list.SETTINGS if setting.kind in ("text", "folder")} == set(
        options.SETTING_TEXTS
    )


@pytest.mark.parametrize(
    "value", [PLANT, [PLANT], f"{PLANT}/{PLANT}", f"hub:{PLANT}/x", f"/a/{PLANT}.jsonl", 10**12]
)
def test_no_text_of_a_spec_leaves(value: Any) -> None:
    for key in (*options.option_types(), f"{PLANT}.{PLANT}", "model.unknown"):
        section, _, name = key.rpartition(".")
        tables = {section: {name: value}} if section else {name: value}
        shown = json.dumps(options.shown_spec(tables))
        assert PLANT not in shown and str(10**12) not in shown


def test_what_a_spec_says_of_the_training_leaves() -> None:
    tables = {
        "method": {"kind": "dpo", "beta": 0.1, "loss": "sigmoid"},
        "tuning": {"kind": "ia3", "targets": ["q_proj", PLANT]},
        "data": {"train": "rows.v2.jsonl.gz", "encoding": "CP1252", "also": ["a", "b"]},
    }
    assert options.shown_spec(tables) == {
        "method.kind": "dpo", "method.beta": 0.1, "method.loss": "sigmoid", "tuning.kind": "ia3",
        "tuning.targets": ["q_proj", options.IS_SET], "data.train": "a file, .jsonl.gz",
        "data.encoding": "cp1252", "data.also": "2 given, not shown",
    }  # fmt: skip


# -- texts of the source, and the log -----------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> KnownTexts:
    file = tmp_path / "library.py"
    file.write_text(
        "class OddRow(ValueError): ...\n"
        "def check(name, line, text, n):\n"
        "    raise OddRow(f'{name}, line {line}: the answer {text!r} is empty')\n"
        "    print('The rows are sorted.', 'kept %s of %d rows', 'it has {} columns called {}')\n"
    )
    return KnownTexts([file])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("my.jsonl, line 7: the answer 'secret' is empty", "[…], line 7: the answer […] is empty"),
        ("The rows are sorted.", "The rows are sorted."),
        ("kept Ada of 12 rows", "kept […] of 12 rows"),
        ("it has 5 columns called name", "it has 5 columns called […]"),
        ("the answer is 42", "[…]"),
        ("The rows are sorted. Ada wrote them. Not I.", "The rows are sorted. […]"),
        ("kept 1234567890 of 12 rows", "kept […] of 12 rows"),  # no amount, but perhaps an account
        ("one\n\nThe rows are sorted.", "[…]\n\nThe rows are sorted."),
    ],
)
def test_only_fixed_words_of_a_message_are_shown(source: KnownTexts, text: str, shown: str) -> None:
    assert source.shown(text) == shown


def test_a_traceback_keeps_public_places_and_loses_texts() -> None:
    import click

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    lines = [
        f"{PLANT} was here",
        "Traceback (most recent call last):",
        '  File "/home/ada/secret/tuner_tui/worker/train.py", line 12, in run',
        f"    {PLANT}()",
        '  File "/home/ada/.venv/lib/python3.11/site-packages/click/core.py", line 99, in invoke',
        f'  File "/home/ada/.venv/lib/python3.11/site-packages/click/{PLANT}.py", line 1, in x',
        f'  File "/home/ada/.venv/lib/python3.11/site-packages/{PLANT}/core.py", line 1, in x',
        f'  File "/usr/lib/python{version}/json/decoder.py", line 355, in {PLANT}',
        f"click.exceptions.UsageError: {PLANT}",
        f"KeyError: '{PLANT}'",
        f"{PLANT}Error: {PLANT}",
        f"{{'loss': '2.8', 'x': '{PLANT}'}}",
        f"/home/ada/.venv/lib/python3.11/site-packages/click/core.py:5: UserWarning: {PLANT}",
    ]
    shown = shown_log(lines, own_texts())
    assert shown == [
        "[1 line not shown]",
        "Traceback (most recent call last):",
        '  File "tuner_tui/worker/train.py", line 12, in run'
        if "def run(" in Path(public_place("/x/tuner_tui/worker/train.py")[1]).read_text()  # type: ignore[index]
        else '  File "tuner_tui/worker/train.py", line 12',
        "[1 line not shown]",
        '  File "click/core.py", line 99, in invoke',
        '  File "[…]", line 1',
        '  File "[…]", line 1',
        '  File "json/decoder.py", line 355',
        "[1 line not shown]",
        "KeyError: […]",
        "[2 lines not shown]",
        "click/core.py:5: UserWarning: […]",
    ]
    assert click.exceptions.UsageError.__name__ not in "".join(
        shown
    )  # click/exceptions.py raised nothing here


def test_a_message_is_recognised_in_the_file_that_raised_it() -> None:
    lines = [
        '  File "/x/site-packages/click/types.py", line 1, in convert',
        f"ValueError: {PLANT!r} is not a valid range.",
        "ValueError: 5 is not a valid number",
    ]
    assert PLANT not in "".join(shown_log(lines, own_texts()))


@pytest.mark.parametrize(
    "path",
    ["/a/../tuner_tui/cli/x.py", "/etc/passwd", "/x/site-packages/torch/../../y.py", "/x/tuner_tui/none.py"],
)
def test_other_places_are_not_public(path: str) -> None:
    assert public_place(path) is None


# -- the second net -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", tokens())
def test_the_second_net_takes_out_every_kind_of_secret(kind: str) -> None:
    secret = tokens()[kind]
    for text in (secret, f"before {secret} after", f'{{"x": "{secret}"}}'):
        result = cleaned(text, Private())
        words = [word for word in re.findall(r"[A-Za-z0-9]{12,}", secret) if word.lower() != "authorization"]
        assert not any(word in result.text for word in words), result.text
        assert sum(result.removed.values()) >= 1


def test_the_second_net_takes_out_names_and_places() -> None:
    private = Private(
        ("s3cr3t-value",), ("Ada Lovelace", "lovelace", "ada", "difference-engine"), "/srv/people/ada"
    )
    text = (
        "/srv/people/ada/rows.jsonl by ADA (Ada Lovelace, lovelace) on difference-engine.local: s3cr3t-value; adapter, "
        "Canada; /home/bob/x and C:\\Users\\bob\\y"
    )
    result = cleaned(text, private)
    assert not re.search(r"(?i)\bada\b|lovelace|engine|s3cr3t|bob", result.text)
    assert "~/rows.jsonl" in result.text and "adapter" in result.text and "Canada" in result.text
    assert cleaned("loss 1.5 at step 12", private).removed == {}


# -- the whole command --------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / f"people-{PLANT}"
    (home / "data" / "runs").mkdir(parents=True)
    monkeypatch.setenv("TUNER_TUI_HOME", str(home))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("tuner_tui.cli.doctor.read_gpus", lambda: GpuReport(problem=f"{PLANT} is missing"))
    return home


def planted_run(home: Path, name: str = f"2026-11-21-{PLANT.lower()}-3f2a") -> Path:
    """A recorded run, in which every text that a person or a library may have written holds the plant and a token."""
    run = home / "data" / "runs" / name
    shutil.copytree(RECORDED, run)
    secrets = " ".join(tokens().values()).replace("\n", " ")
    plant = f"{PLANT} {secrets}"
    lines = []
    for line in (RECORDED / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        for key in {
            "prompt",
            "answer",
            "path",
            "detail",
            "source",
            "message",
            "hint",
            "reason",
        } & event.keys():
            if key not in ("source", "reason") or event["event"] == "model":
                event[key] = plant
        for choice in event.get("choices", []):
            choice["reason"] = choice["value"] = plant
        lines.append(json.dumps(event))
    texts = ("title", "message", "hint")
    failed = {"event": "failed", "at": 1795260500.0, "kind": "crash", "log_tail": [plant]} | dict.fromkeys(
        texts, plant
    )
    lines[-1:] = [
        json.dumps({"event": "warning", "at": 1795260400.0, "message": plant, "hint": plant}),
        json.dumps(
            {"event": "request", "at": 1795260400.0, "id": plant, "request": "stop", "takes_effect": plant}
        ),
        json.dumps(failed),
    ]
    (run / "events.jsonl").write_text("\n".join(lines) + "\n")
    (run / "run.toml").write_text(
        f"name = {json.dumps(PLANT)}\n[model]\nsource = {json.dumps(f'/home/ada/{plant}')}\n"
        f"adapter = {json.dumps(plant)}\nrevision = {json.dumps(plant)}\n"
        f"[data]\ntrain = {json.dumps(f'/home/ada/{PLANT}.jsonl')}\nevaluation = {json.dumps(plant)}\n"
        f"mapping = [{json.dumps(plant)}]\nsplit = {json.dumps(plant)}\n"
        f"[samples]\nprompts = [{json.dumps(plant)}]\n[training]\nmax_length = 256\n"
    )
    plan = json.loads((RECORDED / "plan.json").read_text())
    plan |= {"model_location": plant, "model_name": plant, "revision": plant, "base_digest": plant}
    plan["choices"] = [{"name": plant, "value": plant, "reason": plant}]
    plan["start"] = {"name": plant, "is_run": False, "path": plant, "base": plant, "rank": 8, "alpha": 16.0}
    (run / "plan.json").write_text(json.dumps(plan))
    with (run / "worker.log").open("a") as log:
        log.write(
            f"{plant}\nTraceback (most recent call last):\n  {plant}\nValueError: {plant}\n"
            + "\n".join(tokens().values())
        )
    (run / f"{PLANT}.jsonl").write_text(plant)
    (run / "checkpoints" / PLANT).mkdir(parents=True)
    return run


def assert_clean(text: str) -> None:
    assert PLANT.lower() not in text.lower()
    for kind, secret in tokens().items():
        for word in re.findall(r"[A-Za-z0-9_-]{12,}", secret):
            assert word in ("Authorization", "aws_secret_access_key", "authorization") or word not in text, (
                kind
            )


def test_nothing_planted_is_in_the_bundle(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted_run(home)
    (home / "config").mkdir()
    (home / "config" / "settings.toml").write_text(
        f'[app]\ntheme = "{PLANT}"\n[notify]\non_finish = "curl -H {PLANT}"\nbell = false\n'
        f'[trackers]\nproject = "{PLANT}"\n[energy]\ncurrency = "{PLANT}"\n[unknown]\n{PLANT} = 1\n'
    )
    for name, value in {
        "HF_TOKEN": tokens()["hub"],
        "MY_API_KEY": PLANT,
        "TERM": PLANT,
        "TERM_PROGRAM": PLANT,
    }.items():
        monkeypatch.setenv(name, value)
    bundle = tmp_path / "bug.md"
    result = CliRunner().invoke(doctor, ["--no-torch", "--bundle", str(bundle)], catch_exceptions=False)
    assert result.exit_code == 0
    text = bundle.read_text()
    assert_clean(text)
    assert not any(place in text for place in ("/home/", str(tmp_path)))
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    assert "Read all of it before" in result.output and "Its events" in result.output
    # what helps is there
    for part in (
        "training.max_length: 256",
        "notify.bell: false",
        '"loss": 2.799',
        "status: failed",
        "ValueError: […]",
    ):
        assert part in text
    assert 3000 < len(text) <= 60_000


def test_a_long_run_still_fits_an_issue(home: Path, tmp_path: Path) -> None:
    run = planted_run(home)
    step = events.StepLogged(step=1, total_steps=9, epoch=0.5, loss=1.0, metrics={"entropy": 1.0})
    warning = events.Warned(message="The rows are sorted.", hint=PLANT * 50)
    with (run / "events.jsonl").open("ab") as file:
        file.write((events.encode(step) + events.encode(warning)) * 20_000)
    with (run / "worker.log").open("a") as log:
        log.write('  File "/x/tuner_tui/worker/train.py", line 12, in run\nText\n' * 5000)
    bundle = tmp_path / "bug.md"
    CliRunner().invoke(doctor, ["--no-torch", "--bundle", str(bundle)], catch_exceptions=False)
    text = bundle.read_text()
    assert len(text) <= 60_000 and "events not shown]" in text and "earlier lines not shown]" in text
    assert_clean(text)


@pytest.mark.parametrize("damage", ["not text", "folders", "gone", "nested", "pipe"])
def test_damaged_run_folders_are_reported(damage: str, home: Path, tmp_path: Path) -> None:
    run = planted_run(home)
    for name in ("run.toml", "plan.json", "events.jsonl", "worker.log"):
        (run / name).unlink()
        match damage:
            case "not text":
                (run / name).write_bytes(
                    b"\xff\x00{[" + PLANT.encode() + b'\n\n{"event":"step","step":"x"}\n'
                )
            case "folders":
                (run / name).mkdir()
            case "nested":
                (run / name).write_text("[" * 100_000 + PLANT)
            case "pipe":
                os.mkfifo(run / name)
    bundle = tmp_path / "bug.md"
    result = CliRunner().invoke(doctor, ["--no-torch", "--bundle", str(bundle)], catch_exceptions=False)
    assert result.exit_code == 0
    text = bundle.read_text()
    assert_clean(text)
    assert "It cannot be read." in text and "status: interrupted" in text


def invoke(*arguments: str) -> BaseException | None:
    return CliRunner().invoke(doctor, ["--no-torch", *arguments]).exception


def test_a_missing_run_and_an_existing_file_are_refused(home: Path, tmp_path: Path) -> None:
    planted_run(home)
    bundle = tmp_path / "bug.md"
    missing = invoke("--bundle", str(bundle), "--run", "no-such-run")
    assert isinstance(missing, NotFoundError) and not bundle.exists()
    assert isinstance(invoke("--run", "last"), InputError)
    bundle.write_text("mine")
    (tmp_path / "link.md").symlink_to(tmp_path / "nowhere.md")
    for taken in (bundle, tmp_path / "link.md", tmp_path):
        error = invoke("--bundle", str(taken))
        assert isinstance(error, InputError) and error.title == "The file exists"
    assert bundle.read_text() == "mine" and not (tmp_path / "nowhere.md").exists()
    absent = invoke("--bundle", str(tmp_path / "no" / "bug.md"))
    assert isinstance(absent, TunerError) and "No such file or directory" in absent.message


def test_without_a_run_it_is_about_the_machine(home: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bug.md"
    result = CliRunner().invoke(
        doctor, ["--no-torch", "--json", "--bundle", str(bundle)], catch_exceptions=False
    )
    report = json.loads(result.stdout)
    assert report["file"] == str(bundle) and report["holds"][0] == "Versions" and "Run" not in report["holds"]
    assert "## Its events" not in bundle.read_text()


def test_a_full_disk_leaves_nothing_behind(home: Path, tmp_path: Path) -> None:
    code = (
        "import sys, resource, signal\n"
        "from tuner_tui.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))\n"
        f"sys.argv = ['tuner-tui', 'doctor', '--no-torch', '--bundle', {str(tmp_path / 'bug.md')!r}]\n"
        "main()"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "The report was not written" in done.stderr, done.stderr
    assert "too large" in done.stderr and not (tmp_path / "bug.md").exists()


def test_the_bundle_needs_no_torch(home: Path, tmp_path: Path) -> None:
    planted_run(home)
    code = (
        "import sys\n"
        f"sys.argv = ['tuner-tui', 'doctor', '--no-torch', '--bundle', {str(tmp_path / 'bug.md')!r}]\n"
        "from tuner_tui.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    assert loaded_modules(code, home).isdisjoint((*HEAVY, "textual"))
    assert "## Its events" in (tmp_path / "bug.md").read_text()
