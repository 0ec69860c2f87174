#!/usr/bin/env python3
"""Jobs a second and the time from adding to starting: penstock's redis_store and BullMQ's own producer and worker, in turn on one server.

    throughput.py STORE_BENCH FOLDER [JOBS [PROBES]]     FOLDER keeps bullmq, as of run_store.py; build STORE_BENCH from store_bench.cpp with optimisation

Without bullmq or a server it says so, and nothing has failed. It judges no figures: it fails only if one of the programs does.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import run_store  # noqa: E402


def main():
    if shutil.which("redis-server") is None:
        print("skipped: redis-server is not to be had")
        return
    bench, jobs, probes = pathlib.Path(sys.argv[1]).resolve(), *(sys.argv[3:] + ["20000", "1000"][len(sys.argv) - 3 :])
    with tempfile.TemporaryDirectory(prefix="penstock-redis-") as name:
        folder = pathlib.Path(name)
        packages = run_store.modules(pathlib.Path(sys.argv[2]))
        if packages is None:
            print("skipped: bullmq is not to be had")
            return
        (folder / "node_modules").symlink_to(packages.resolve())
        shutil.copy(run_store.HERE / "bull_bench.mjs", folder)
        server = run_store.Server(folder)
        server.start("--appendonly", "no")
        try:
            for concurrency in ("1", "50"):
                for what, command in (
                    ("BullMQ", ["node", "bull_bench.mjs", server.socket, "q", jobs, concurrency, probes]),
                    ("penstock", [bench, server.socket, "q", jobs, concurrency, "1", probes]),
                    ("penstock, batch 16", [bench, server.socket, "q", jobs, concurrency, "16", probes]),
                ):
                    server.cli("flushall")
                    done = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True, text=True, check=False)
                    print(f"concurrency {concurrency}, {what}: {' '.join(done.stdout.split())}{done.stderr}", flush=True)
                    if done.returncode != 0:
                        sys.exit(f"ended with {done.returncode}")
        finally:
            server.kill()


if __name__ == "__main__":
    main()
