#!/usr/bin/env python3
"""Holds the packages (packaging/) to the build: version, licence, components, and that the vcpkg port's steps work.

    check_packaging.py CHECKOUT BUILD_FOLDER

The port is run by CMake with functions in the place of vcpkg's, which do what those do; Conan's recipe is read and imported with a stand-in for Conan.
Ends with "N passed, N failed".
"""

import importlib.util
import json
import pathlib
import re
import shutil
import subprocess
import sys
import types

VCPKG = """
set(PORT penstock)
set(CURRENT_PACKAGES_DIR "@PREFIX@")
function(vcpkg_cmake_configure)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "SOURCE_PATH" "OPTIONS")
  execute_process(COMMAND "${CMAKE_COMMAND}" -S "${arg_SOURCE_PATH}" -B "@BUILD@" "-DCMAKE_INSTALL_PREFIX=@PREFIX@" ${arg_OPTIONS} COMMAND_ERROR_IS_FATAL ANY)
endfunction()
function(vcpkg_cmake_install)
  execute_process(COMMAND "${CMAKE_COMMAND}" --install "@BUILD@" COMMAND_ERROR_IS_FATAL ANY)
endfunction()
function(vcpkg_cmake_config_fixup)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "PACKAGE_NAME;CONFIG_PATH" "")
  file(GLOB files "@PREFIX@/${arg_CONFIG_PATH}/*.cmake")
  if(NOT files)
    message(FATAL_ERROR "nothing in ${arg_CONFIG_PATH}")
  endif()
  file(COPY ${files} DESTINATION "@PREFIX@/share/${arg_PACKAGE_NAME}")
  file(REMOVE_RECURSE "@PREFIX@/${arg_CONFIG_PATH}")
endfunction()
function(vcpkg_fixup_pkgconfig)
endfunction()
function(vcpkg_install_copyright)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "FILE_LIST")
  file(INSTALL ${arg_FILE_LIST} DESTINATION "@PREFIX@/share/${PORT}" RENAME copyright)
endfunction()
"""


class Checks:
    def __init__(self, checkout, build):
        self.checkout = checkout
        self.build = build
        self.passed = self.failed = 0
        cmake = (checkout / "CMakeLists.txt").read_text(encoding="utf-8")
        self.version = re.search(r"^\s*VERSION (\S+)", cmake, re.MULTILINE)[1]
        self.description = re.search(r'DESCRIPTION "([^"]+)"', cmake)[1]
        self.components = sorted(re.search(r"set\(penstock_components ([^)]+)\)", cmake)[1].split())
        self.port = checkout / "packaging/vcpkg/penstock"
        self.manifest = json.loads((self.port / "vcpkg.json").read_text(encoding="utf-8"))
        self.recipe = self.import_recipe(checkout / "packaging/conan/conanfile.py")

    def check(self, what, right):
        self.passed += bool(right)
        self.failed += not right
        if not right:
            print(f"failed: {what}", flush=True)

    @staticmethod
    def import_recipe(path):
        """The recipe's class, with a stand-in for what Conan brings: enough to run it, and an unknown name fails."""
        names = {"conan": ["ConanFile"], "conan.tools": [], "conan.tools.build": ["check_min_cppstd"], "conan.tools.cmake": ["CMake", "CMakeToolchain"],
                 "conan.tools.files": ["copy", "rmdir"]}  # fmt: skip
        for module, attributes in names.items():
            sys.modules[module] = types.ModuleType(module)
            for attribute in attributes:
                setattr(sys.modules[module], attribute, type(attribute, (), {}))
        sys.dont_write_bytecode = True
        spec = importlib.util.spec_from_file_location("penstock_recipe", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.PenstockConan

    def texts(self):
        for what, told in (("vcpkg", self.manifest["version-semver"]), ("Conan", self.recipe.version)):
            self.check(f"{what} has version {told}, the build {self.version}", told == self.version)
        for what, told in (("vcpkg", self.manifest["description"]), ("Conan", self.recipe.description)):
            self.check(f"{what} describes itself as the build does", told == self.description)
        self.check("both name the licence of LICENSE", self.manifest["license"] == self.recipe.license == "MIT")
        features = sorted(f.replace("-", "_") for f in self.manifest["features"])
        self.check(f"vcpkg has the features {features}, the build the components {self.components}", features == self.components)
        self.check(f"Conan has the options {sorted(self.recipe.options)}", sorted(self.recipe.options) == self.components)
        self.check("Conan's options are off unless asked for", self.recipe.default_options == {c: False for c in self.components})
        stdexec = json.dumps(self.manifest["features"]["stdexec"]["dependencies"])
        self.check("both ask for a stdexec of 2026", '"version>=": "2026-' in stdexec and self.run_recipe(["stdexec"])[0] == ["stdexec/[>=2026]"])
        name = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
        named = [self.manifest["name"], *self.manifest["features"]]
        named += [d if isinstance(d, str) else d["name"] for f in [self.manifest, *self.manifest["features"].values()] for d in f["dependencies"]]
        self.check("vcpkg's names are of lower case with hyphens", all(name.fullmatch(n) for n in named))
        self.check("every feature says what it is, and needs something", all(f["description"] and f["dependencies"] for f in self.manifest["features"].values()))

    def conan(self):
        """Each option brings requirements and a component of its name; none brings none."""
        for wanted in [[], *[[c] for c in self.components], self.components]:
            required, components = self.run_recipe(wanted)
            self.check(f"Conan with {wanted} requires {required}", bool(required) == bool(wanted))
            self.check(f"Conan with {wanted} has the components {sorted(components)}", sorted(components) == sorted(["core", *wanted]))
            packages = {r.split("/")[0] for r in required}
            used = {r.split("::")[0] for c in components.values() for r in getattr(c, "requires", []) if "::" in r}
            self.check(f"Conan's components use {used} of {packages}", used == packages)

    def run_recipe(self, wanted):
        class Options:
            def get_safe(self, name):
                return name in wanted

            __getattr__ = get_safe

        class Components(dict):
            def __missing__(self, name):
                self[name] = types.SimpleNamespace(set_property=lambda *_: None)
                return self[name]

        recipe = self.recipe.__new__(self.recipe)
        required = []
        recipe.options, recipe.settings, recipe.requires = Options(), types.SimpleNamespace(os="Linux"), lambda what, **_: required.append(what)
        recipe.cpp_info = types.SimpleNamespace(components=Components(), set_property=lambda *_: None)
        recipe.requirements()
        recipe.package_info()
        return required, recipe.cpp_info.components

    def vcpkg(self):
        shutil.rmtree(self.build, ignore_errors=True)
        self.build.mkdir(parents=True)
        prefix = self.build / "prefix"
        script = VCPKG.replace("@PREFIX@", str(prefix)).replace("@BUILD@", str(self.build / "build"))
        (self.build / "port.cmake").write_text(script + f'include("{self.port}/portfile.cmake")\n', encoding="utf-8")
        # What is included has the port's folder as its own, as in vcpkg.
        ran = subprocess.run(["cmake", "-P", self.build / "port.cmake"], capture_output=True, text=True, check=False)
        self.check(f"vcpkg's port installs:\n{ran.stdout}{ran.stderr}", ran.returncode == 0)
        for file in ("include/penstock/penstock.hpp", "share/penstock/penstock-config.cmake", "share/penstock/copyright", "share/penstock/usage"):
            self.check(f"vcpkg's port has {file}", (prefix / file).is_file())
        for component in self.components:
            self.check(f"vcpkg's port has the component {component}", (prefix / f"share/penstock/penstock-{component}.cmake").is_file())


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    checks = Checks(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve())
    checks.texts()
    checks.conan()
    checks.vcpkg()
    print(f"{checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
