"""An import of phew and the help of commands load little, seen in processes of their own."""

from __future__ import annotations

import ast
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
    code = """
import sys, torch
before = {*sys.modules}
import phew, phew.integrations
print({name.partition(".")[0] for name in sys.modules.keys() - before})
"""
    loaded = ast.literal_eval(output_of(code)) - sys.stdlib_module_names
    assert loaded <= {"phew", "numpy", "safetensors"}


HELP = """
import os, sys
from phew_cli import app

for arguments in (["--help"], ["prune", "--help"], ["--version"]):
    app(arguments, prog_name="phew", standalone_mode=False)
os.environ.update(_PHEW_COMPLETE="complete_bash", COMP_WORDS="phew prune --gran", COMP_CWORD="2")
try:
    app([], prog_name="phew")
finally:
    print({"phew", "torch"} & sys.modules.keys())
"""


def test_help_and_completion_do_not_wait_for_torch() -> None:
    *text, completed, loaded = output_of(HELP).splitlines()
    assert any("--granularity" in line for line in text)
    assert text[-1].startswith("phew ")
    assert completed == "--granularity"
    assert loaded == "set()"


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
