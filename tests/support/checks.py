"""The checks of the programs that run servers and other processes: a line for each, and the line at the end that counts them.

    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
    from checks import check, verdict
"""

import threading

passed = failed = 0
lock = threading.Lock()  # several threads may check


def check(name, condition, detail=""):
    global passed, failed
    with lock:
        if condition:
            passed += 1
            print(f"ok {name}", flush=True)
        else:
            failed += 1
            print(f"FAILED {name}{': ' if detail else ''}{str(detail)[-1500:]}", flush=True)


def verdict(skipped=False):
    """The exit status. Without any check nothing has been shown, unless it was skipped by name."""
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not (passed or skipped) else 0
