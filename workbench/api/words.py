"""Errors are written for the command line; this door has fields in the place of options.

Enters: an error's line. Leaves: the same with the names of fields.
"""

from __future__ import annotations

import re

_OPTION = re.compile(r"--([a-z]+(?:-[a-z]+)*)(?: FILE| NAME)?")


def in_api_words(text: str) -> str:
    """Return a line with `top_n` in the place of `--top-n`."""
    return _OPTION.sub(lambda match: match[1].replace("-", "_"), text)
