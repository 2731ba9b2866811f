"""The settings of Sphinx: how the site is built from this folder and the docstrings of phew."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import phew

ROOT = Path(__file__).parents[1]
BENCHMARKS = str(ROOT / "benchmarks")
sys.path.append(BENCHMARKS)
import zoo  # noqa: E402, F401  libraries of integrations import torchvision, which this mends

project = "phew"
author = "phew contributors"
copyright = f"2026, {author}"
version = release = phew.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]

# The help of commands has options such as --out, which are no dashes.
smartquotes = False

# The tutorials run when the site is built, in temporary folders. An error in one fails the build.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autosummary_generate = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
# A name in single backquotes, as docstrings have it, is a link where the site describes that name.
default_role = "py:obj"
nitpick_ignore_regex = [
    ("py:obj", ".*"),
    ("py:class", r"(torch|numpy|np|npt|collections|os|pathlib|matplotlib)\..*"),
    ("py:class", r"phew\..*\.(PackedMasks|UnpackedMasks|Facts|Method|Indices|Shown)"),
]

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"phew {version}"
html_baseurl = "https://phew-pruning.github.io/phew/"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "source_repository": "https://github.com/phew-pruning/phew/",
    "source_branch": "main",
    "source_directory": "docs/",
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

SOURCES = "https://github.com/phew-pruning/phew/blob/main/"
PUBLIC_MODULES = (
    "phew",
    "phew.analysis",
    "phew.baselines",
    "phew.graph",
    "phew.integrations.lightning",
    "phew.integrations.transformers",
    "phew.models",
    "phew.pages",
    "phew.plot",
    "phew.reference",
    "phew.sparse",
)


def setup(app: Sphinx) -> None:
    """Register what this site adds to Sphinx."""
    prepare_notebooks(app.outdir.parent / "ipython")
    app.connect("source-read", complete_source)
    app.connect("autodoc-process-signature", complete_signature)
    app.connect("env-check-consistency", check_public_names)


def prepare_notebooks(folder: Path) -> None:
    """Let notebooks import torchvision, also where it was built for another torch."""
    startup = folder / "profile_default" / "startup" / "mend_torchvision.py"
    startup.parent.mkdir(parents=True, exist_ok=True)
    lines = (
        "import sys",
        f"sys.path.append({BENCHMARKS!r})",
        "import zoo",
        "del sys, zoo",
    )
    startup.write_text("\n".join(lines))
    os.environ["IPYTHONDIR"] = str(folder)


def complete_source(app: Sphinx, page: str, source: list[str]) -> None:
    """Link what is out of this folder to the repository, and insert the help of commands."""
    above = "../" * (page.count("/") + 1)
    text = source[0].replace(f"]({above}benchmarks/RESULTS.md", f"]({above[3:]}results.md")
    text = re.sub(rf"\]\({re.escape(above)}(?!\.\.)", f"]({SOURCES}", text)
    text = re.sub(r"(?<![\[`])`((?:phew|examples|csrc)/[\w/]+\.\w+)`", linked_file, text)
    if page == "reference/command_line":
        command = [sys.executable, "-m", "typer", "phew_cli", "utils", "docs", "--name", "phew"]
        ran = subprocess.run(command, cwd=app.outdir, check=True, capture_output=True, text=True)
        text += ran.stdout.removeprefix("# `phew`\n")
    source[0] = text


def linked_file(found: re.Match[str]) -> str:
    """Return a link to a file that a page names in code."""
    return f"[{found[0]}]({SOURCES}{found[1]})" if (ROOT / found[1]).exists() else found[0]


def complete_signature(
    app: Sphinx, what: str, name: str, value: Any, options: Any, arguments: str | None, result: Any
) -> tuple[str | None, Any]:
    """Write defaults that dataclasses make anew as `...`: Sphinx cannot read `<factory>`."""
    return arguments and arguments.replace("<factory>", "..."), result


def check_public_names(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of each public name that the reference does not describe."""
    described = env.domaindata["py"]["objects"]
    modules = {name: importlib.import_module(name) for name in PUBLIC_MODULES}
    for module_name, module in modules.items():
        for name in public_names(module):
            # A name that several modules have is described in one of them.
            value = getattr(module, name)
            homes = [home for home, each in modules.items() if getattr(each, name, None) is value]
            if described.keys().isdisjoint(f"{home}.{name}" for home in homes):
                logging.getLogger(__name__).warning("%s.%s is not described", module_name, name)


def public_names(module: ModuleType) -> list[str]:
    """Return the names that users may import from a module."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    own = [
        name
        for name, value in vars(module).items()
        if inspect.getmodule(value) is module and not inspect.ismodule(value)
    ]
    return [name for name in own if not name.startswith("_")]
