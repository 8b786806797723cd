"""Run the committed notebooks with their default parameters and store their outputs, which nbval then holds them to.

    python .ci/notebooks.py            all of notebooks/
    python .ci/notebooks.py NAME ...   some of them

Only what the notebook's code printed is kept: no times, no machine, no kernel version.
"""

import os
import sys
import tempfile
from pathlib import Path

# jsonschema treats this package as optional; building its grammar would cost every Jupyter process two seconds.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def regenerate(path: Path) -> None:
    """Execute one notebook in place."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(NOTEBOOKS)}}
    NotebookClient(notebook, timeout=300, record_timing=False, resources=resources).execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)
    print(f"regenerated {path.name}")


if __name__ == "__main__":
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"
    names = sys.argv[1:] or sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["IPYTHONDIR"] = os.environ["JUPYTER_RUNTIME_DIR"] = scratch
        for name in names:
            regenerate(NOTEBOOKS / name)
