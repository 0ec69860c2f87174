"""What the scripts here have in common: how they end when they cannot begin."""

import importlib.util
import json
import os
import pathlib
import sys

SYSTEM_PYTHON = "/usr/bin/python3"


def fail(text):
    """Says what is wrong with the arguments, and ends with status 2."""
    print(f"{pathlib.Path(sys.argv[0]).name}: {text}", file=sys.stderr)
    sys.exit(2)


def usage(text, *, wrong):
    """For scripts without options of argparse's: their usage if it was asked for, or if the arguments are wrong."""
    if "--help" in sys.argv or "-h" in sys.argv:
        print(text)
        sys.exit(0)
    if wrong:
        print(text, file=sys.stderr)
        sys.exit(2)


def need_modules(tier, **packages):
    """Ends, naming Debian's packages, if modules are missing. They belong to Debian's Python, which may not be the first in the path: goes on in that one."""
    if all(importlib.util.find_spec(module) for module in packages):
        return
    if sys.executable != SYSTEM_PYTHON and os.path.exists(SYSTEM_PYTHON):
        os.execv(SYSTEM_PYTHON, [SYSTEM_PYTHON, *sys.argv])
    print(f"{pathlib.Path(sys.argv[0]).name}: needs {' and '.join(packages.values())} (scripts/setup {tier})", file=sys.stderr)
    sys.exit(1)


def read_json(path, if_empty=""):
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8") or if_empty)
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    except ValueError as error:
        fail(f"{path} is not JSON: {error}")
