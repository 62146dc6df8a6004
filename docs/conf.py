"""The site: Sphinx with MyST and furo. `tox -e docs` builds it; a warning is an error, and so is a link that leads nowhere."""

from __future__ import annotations

import json
import re
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import sessionkit  # noqa: E402

(ROOT / "docs" / "timelines").mkdir(exist_ok=True)  # written by play(), and copied
project = "sessionkit"
copyright = "the authors of sessionkit"
version = release = sessionkit.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"sessionkit {version}"
exclude_patterns = ["_build"]
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
html_extra_path = ["timelines", "extra"]
suppress_warnings = ["myst.header", "misc.highlighting_failure"]


def rewritten(app: Any, docname: str, source: list[str]) -> None:
    """Let links to files beside docs/ lead to the site's own pages of them."""
    text = source[0]
    text = re.sub(r"\]\(\.\./examples/(\w+)\.py\)", r"](examples.md#\1)", text)
    text = text.replace("](../CONTRIBUTING.md)", "](contributing.md)").replace("](../README.md)", "](index.md)")
    text = re.sub(r"\]\(docs/([\w.]+)(#[\w-]+)?\)", r"](\1\2)", text)  # of README.md and its kin, which are included
    source[0] = text.replace("](CONTRIBUTING.md)", "](contributing.md)").replace("](CHANGELOG.md)", "](changelog.md)")


def included(app: Any, path: Any, docname: str, source: list[str]) -> None:
    """The same for what a page includes."""
    rewritten(app, docname, source)


def play(app: Any) -> None:
    """Play the twelve lessons, and write a page of each, with its timeline."""
    from sessionkit.lessons import NAMES, lesson, title
    from sessionkit.lessons.stage import stage

    pages, timelines = ROOT / "docs" / "lessons", ROOT / "docs" / "timelines" / "timelines"
    for folder in (pages, timelines):
        folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(NAMES, 1):
        found = lesson(number)
        with stage() as played:
            answer = found.lesson(played)
        (timelines / f"{number}.html").write_text(played.recording.html(f"{number}. {title(found)}"), encoding="utf-8")
        program = Path(str(found.__file__)).read_text(encoding="utf-8")
        story = str(found.__doc__).strip().split("\n\n", 1)[-1]
        (pages / f"{number}.md").write_text(
            f"# {number}. {title(found)}\n\n{story}\n\n"
            f'<iframe src="../timelines/{number}.html" title="the timeline" loading="lazy" '
            'style="width:100%;height:32rem;border:1px solid #8888;border-radius:.4rem"></iframe>\n\n'
            f'<p><a href="../timelines/{number}.html">The timeline on a page of its own</a> · '
            f'<a href="../playground/index.html?lesson={number}">change it and run it in the browser</a></p>\n\n'
            f"**Notice**: {found.NOTICE}\n\n**Question**: {found.QUESTION}\n\n"
            f"<details><summary>Answer</summary><p>{answer}</p></details>\n\n"
            f"## The program\n\n`python -m sessionkit learn {number}` plays it; `--url` on your own database.\n\n"
            f"```python\n{program.split(chr(34) * 3, 2)[-1].strip()}\n```\n",
            encoding="utf-8",
        )
        assert name


def equip(app: Any) -> None:
    """Put beside the playground's page what it needs: Pyodide (from npm, once), sessionkit, the programs."""
    from sessionkit.lessons.playground import programs
    from tests.pyodide.__main__ import package

    target = ROOT / "docs" / "timelines" / "playground"
    (target / "pyodide").mkdir(parents=True, exist_ok=True)
    for name in ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json"):
        shutil.copyfile(package() / name, target / "pyodide" / name)
    (target / "programs.json").write_text(json.dumps(programs()), encoding="utf-8")
    with zipfile.ZipFile(target / "sessionkit.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((ROOT / "sessionkit").rglob("*")):
            if path.suffix in (".py", ".html"):
                archive.write(path, path.relative_to(ROOT))


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", play)
    app.connect("builder-inited", equip)
    app.connect("source-read", rewritten)
    app.connect("include-read", included)
