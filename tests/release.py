"""`python -m tests.release`: sdist and wheel, checked, and each installed in a fresh environment where the demo and a lesson run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command, and return what it printed; what it complained about ends all."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Build, check, install, run."""
    with tempfile.TemporaryDirectory(prefix="sessionkit-release-") as name:
        folder = Path(name)
        run(sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT)
        made = sorted((folder / "dist").iterdir())
        assert [path.suffix for path in made] == [".whl", ".gz"], made
        run(sys.executable, "-m", "twine", "check", "--strict", *made)
        for path in made:
            home = folder / path.name.replace(".", "_")
            run(sys.executable, "-m", "venv", home)
            python = home / "bin" / "python"
            run(python, "-m", "pip", "install", "-q", path)
            demo = run(python, "-m", "sessionkit", "demo", cwd=folder)
            lesson = run(python, "-m", "sessionkit", "learn", "3", "--html", folder / "out.html", cwd=folder)
            assert "as expected" in demo, demo
            assert "Answer: Read and write: 7" in lesson, lesson
            assert (folder / "out.html").stat().st_size > 10_000
            version = run(python, "-c", "import sessionkit; print(sessionkit.__version__)", cwd=folder).strip()
            assert f"-{version}" in path.name, (version, path.name)
            print(f"{path.name}: installs, demo and lesson run")


if __name__ == "__main__":
    main()
