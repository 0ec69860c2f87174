"""For scripts that need a distribution's packages: those belong to the distribution's Python, which may not be the first in the path."""

import importlib
import os
import sys

SYSTEM = "/usr/bin/python3"


def need(*modules, package):
    """Returns where there are the modules. Where there are not, begins the script anew in the system's Python; where there they are not either, ends it."""
    try:
        for name in modules:
            importlib.import_module(name)
    except ImportError as e:
        if sys.executable != SYSTEM and os.path.exists(SYSTEM):
            os.execv(SYSTEM, [SYSTEM, *sys.argv])
        sys.exit(f"{os.path.basename(sys.argv[0])}: {e}: install {package}")
