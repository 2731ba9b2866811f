"""`import phew` loads little and needs no locks of folders, seen in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest


def output_of(code: str) -> str:
    # Elsewhere than here: in a clone, `phew` would be its sources without the extension.
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=tempfile.gettempdir(),
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_modules_that_few_calls_need_are_not_imported() -> None:
    unwanted = {"rich", "typer", "matplotlib", "lightning", "transformers", "peft", "accelerate"}
    code = f"import phew, phew.integrations, sys; print({unwanted} & sys.modules.keys())"
    assert output_of(code) == "set()\n"


WITHOUT_LIBRARY = """
import sys
sys.modules.update(dict.fromkeys(["lightning", "pytorch_lightning", "transformers"]))
try:
    import phew.integrations.{}
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("lightning", "pip install lightning"),
        ("transformers", "pip install transformers accelerate"),
    ],
)
def test_integrations_say_how_to_install_what_they_need(module: str, command: str) -> None:
    text = output_of(WITHOUT_LIBRARY.format(module))
    assert text.startswith(f"phew.integrations.{module} must find ")
    assert text.endswith(f"got none installed. Install it with `{command}`.\n")


WITHOUT_LOCKS = """
import importlib.util, pathlib, sys
sys.modules["fcntl"] = None  # as on Windows: importing it fails
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "fcntl" else find_spec(name)

import tempfile, torch, phew
from phew.support.files import own_folder

folder = pathlib.Path(tempfile.mkdtemp())
masks = phew.sample_masks(torch.nn.Linear(4, 3), torch.zeros(1, 4), density=0.5)
masks.save(folder / "masks.safetensors")
assert phew.Masks.load(folder / "masks.safetensors") == masks
try:
    with own_folder(folder / "out"):
        pass
except OSError as error:
    print(error, (folder / "out").exists())
"""


def test_without_locks_of_folders_all_but_checkpoints_works() -> None:
    text = output_of(WITHOUT_LOCKS)
    assert "Checkpoints can be pruned only where folders can be locked" in text
    assert text.endswith("out' False\n")
