"""A disk that gets full: a file system of a few megabytes in memory, in a mount namespace of its own, so that no rights are needed.

    with SmallDisk(folder, "4m") as disk:       # disk is None where such a namespace cannot be had
        subprocess.run(disk.inside(program, "--out", folder))
        disk.resize("64m")
        shutil.copytree(disk.outside(), copy)   # what is there, for who is not inside
"""

import pathlib
import subprocess


class SmallDisk:
    def __init__(self, folder, size):
        self.folder, self.size = pathlib.Path(folder), size

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        mount = 'mount -t tmpfs -o "size=$1" none "$2" && echo mounted && exec cat'
        try:
            self.keeper = subprocess.Popen(["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", self.size, self.folder], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except FileNotFoundError:
            self.keeper = None
        if self.keeper is None or self.keeper.stdout.readline() != "mounted\n":
            print("SKIPPED: no file system can be mounted here")
            return None
        return self

    def __exit__(self, *_):
        if self.keeper:
            self.keeper.communicate()

    def inside(self, *command):
        return ["nsenter", "--target", str(self.keeper.pid), "--user", "--mount", "--preserve-credentials", "--", *map(str, command)]

    def outside(self):
        """Not for SQLite, which follows links by itself."""
        return pathlib.Path(f"/proc/{self.keeper.pid}/root{self.folder}")

    def resize(self, size):
        subprocess.run(self.inside("mount", "-o", f"remount,size={size}", "none", self.folder), check=True)
