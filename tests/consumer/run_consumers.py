#!/usr/bin/env python3
"""Builds and runs outside projects that get penstock in each of the ways that the README offers.

Each prints "consumer NAME: passed" or "consumer NAME: FAILED"; the exit code is that of the whole.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys


class Failed(Exception):
    pass


def run(*command, env=None):
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    if done.returncode != 0:
        raise Failed(f"{' '.join(str(c) for c in command)}\n{done.stdout}")
    return done.stdout


class Consumers:
    def __init__(self, options):
        self.cxx = options.cxx
        self.source = pathlib.Path(options.source).resolve()
        self.build = pathlib.Path(options.build_dir).resolve()
        self.version = options.version
        shutil.rmtree(self.build, ignore_errors=True)  # a left-over cache would hide what a newcomer meets
        self.build.mkdir(parents=True)

    def cmake_project(self, project, name, *settings):
        build = self.build / name
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        run("cmake", *generator, "-S", self.source / "tests/consumer" / project, "-B", build, f"-DCMAKE_CXX_COMPILER={self.cxx}", *settings)
        run("cmake", "--build", build)
        run(build / "consumer")

    def install(self):
        prefix = self.build / "prefix"
        if not prefix.exists():
            off = [f"-DPENSTOCK_{what}=OFF" for what in ("TESTS", "BENCHMARKS", "EXAMPLES")]
            run("cmake", "-S", self.source, "-B", self.build / "penstock", f"-DCMAKE_CXX_COMPILER={self.cxx}", *off)
            run("cmake", "--install", self.build / "penstock", "--prefix", prefix)
        return prefix

    def package(self):
        self.cmake_project("package", "package", f"-DCMAKE_PREFIX_PATH={self.install()}")

    def package_of_another_version(self):
        """A project that asks for the next minor version is told that it is not there."""
        project = self.build / "another_version_project"
        project.mkdir()
        major, minor = self.version.split(".")[:2]
        (project / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.25)\nproject(consumer LANGUAGES CXX)\n"
            f"find_package(penstock {major}.{int(minor) + 1} QUIET)\n"
            'if(penstock_FOUND)\n  message(FATAL_ERROR "the wrong version was accepted")\nendif()\n'
            'if(NOT penstock_CONSIDERED_VERSIONS)\n  message(FATAL_ERROR "the package was not seen")\nendif()\n'
        )
        run("cmake", "-S", project, "-B", self.build / "another_version", f"-DCMAKE_CXX_COMPILER={self.cxx}", f"-DCMAKE_PREFIX_PATH={self.install()}")

    def package_without_a_component(self):
        """Who asks for a component that cannot be had is told why: its package is missing, or there is none of that name."""
        project = self.build / "component_project"
        project.mkdir()
        (project / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.25)\nproject(consumer LANGUAGES CXX)\nfind_package(penstock REQUIRED COMPONENTS fmt fnt)\n"
        )
        settings = [f"-DCMAKE_CXX_COMPILER={self.cxx}", f"-DCMAKE_PREFIX_PATH={self.install()}", "-DCMAKE_DISABLE_FIND_PACKAGE_fmt=ON"]
        try:
            run("cmake", "-S", project, "-B", self.build / "component", *settings)
        except Failed as told:
            text = " ".join(str(told).split())
            if "penstock::fmt needs fmt" not in text or "penstock has no component fnt" not in text:
                raise
        else:
            raise Failed("a package without the components was accepted")

    def pkg_config(self):
        env = os.environ | {"PKG_CONFIG_PATH": str(self.install() / "share/pkgconfig")}
        version = run("pkg-config", "--modversion", "penstock", env=env).strip()
        if version != self.version:
            raise Failed(f"pkg-config says version {version}, not {self.version}")
        flags = run("pkg-config", "--cflags", "--libs", "penstock", env=env).split()
        program = self.build / "pkg_config_consumer"
        run(self.cxx, "-std=c++20", self.source / "tests/consumer/main.cpp", *flags, "-o", program)
        run(program)

    def subdirectory(self):
        self.cmake_project("subdirectory", "subdirectory", f"-DPENSTOCK_SOURCE={self.source}")

    def fetch_content(self):
        self.cmake_project("fetch_content", "fetch_content", f"-DPENSTOCK_SOURCE={self.source}")

    def fetch_content_git(self):
        """FetchContent clones a repository. It holds this tree as it is now, so that changes not yet committed are tested too."""
        repository = self.build / "repository"
        git = ["git", "-C", self.source, "--git-dir", repository, "--work-tree", self.source]
        run("git", "init", "--quiet", "--bare", "--initial-branch=main", repository)
        run(*git, "add", "--all", ".")
        run(*git, "-c", "user.name=penstock", "-c", "user.email=penstock@localhost", "-c", "commit.gpgsign=false", "commit", "--quiet", "-m", "This tree")
        self.cmake_project("fetch_content", "fetch_content_git", f"-DPENSTOCK_GIT=file://{repository}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="the checkout")
    parser.add_argument("--build-dir", required=True, help="emptied first")
    parser.add_argument("--cxx", required=True)
    parser.add_argument("--version", required=True, help="the version that the package must have")
    consumers = Consumers(parser.parse_args())
    failed = 0
    for consumer in (
        consumers.package,
        consumers.package_of_another_version,
        consumers.package_without_a_component,
        consumers.pkg_config,
        consumers.subdirectory,
        consumers.fetch_content,
        consumers.fetch_content_git,
    ):
        try:
            consumer()
            print(f"consumer {consumer.__name__}: passed", flush=True)
        except (Failed, OSError) as problem:
            failed += 1
            print(f"{problem}\nconsumer {consumer.__name__}: FAILED", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
