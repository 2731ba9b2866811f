"""`import phew` loads little and needs no locks of folders, seen in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile


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
    code = "import phew, sys; print({'rich', 'typer', 'matplotlib'} & sys.modules.keys())"
    assert output_of(code) == "set()\n"


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
