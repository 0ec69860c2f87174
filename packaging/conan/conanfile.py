import os

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeToolchain
from conan.tools.files import copy, rmdir

required_conan_version = ">=2.0"

CHECKOUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


class PenstockConan(ConanFile):
    name = "penstock"
    version = "0.1.0"
    description = "Header-only C++20 building blocks for concurrent, high-throughput services"
    license = "MIT"
    topics = ("concurrency", "coroutines", "thread-pool", "rate-limiter", "job-queue", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    # What an adapter needs. Its headers are there in any case.
    options = {part: [True, False] for part in ("asio", "boost_asio", "fmt", "prometheus", "redis", "sqlite", "stdexec", "time_zones")}
    default_options = {part: False for part in options}
    no_copy_source = True

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*", "include/*"):
            copy(self, pattern, CHECKOUT, self.export_sources_folder)

    # From the oldest that is known to do: a consumer's own choice should not be a conflict.
    def requirements(self):
        if self.options.asio:
            self.requires("asio/[>=1.18 <2]")
        if self.options.boost_asio:
            self.requires("boost/[>=1.74 <2]")
        if self.options.fmt:
            self.requires("fmt/[>=9]")
        if self.options.prometheus:
            self.requires("prometheus-cpp/[>=1.0 <2]")
        if self.options.redis:
            self.requires("hiredis/[>=1.0 <2]")
            self.requires("nlohmann_json/[>=3.9 <4]")
        if self.options.sqlite:
            self.requires("sqlite3/[>=3.35 <4]")
        if self.options.stdexec:
            self.requires("stdexec/[>=2026]")
        if self.options.time_zones:
            # The system's time zones: by default date's recipe downloads them while the program runs. Windows has none.
            self.requires("date/[>=3.0.5 <4]", options={} if self.settings.os == "Windows" else {"tz_db": "system"})

    def validate(self):
        check_min_cppstd(self, 20)

    def generate(self):
        toolchain = CMakeToolchain(self)
        for part in ("TESTS", "BENCHMARKS", "EXAMPLES"):
            toolchain.cache_variables[f"PENSTOCK_{part}"] = False
        toolchain.cache_variables["PENSTOCK_INSTALL"] = True
        toolchain.generate()

    def package(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        for folder in ("cmake", "pkgconfig", "doc"):
            rmdir(self, os.path.join(self.package_folder, "share", folder))

    def package_id(self):
        self.info.clear()

    def package_info(self):
        self.cpp_info.set_property("cmake_config_version_compat", "SameMinorVersion")
        core = self.cpp_info.components["core"]
        core.set_property("cmake_target_name", "penstock::penstock")
        core.set_property("pkg_config_name", "penstock")
        core.bindirs = core.libdirs = []
        if self.settings.os in ("Linux", "FreeBSD"):
            core.system_libs = ["pthread"]
        needs = {
            "asio": ["asio::asio"],
            "boost_asio": ["boost::headers"],
            "fmt": ["fmt::fmt"],
            "prometheus": ["prometheus-cpp::prometheus-cpp-core"],
            "redis": ["hiredis::hiredis", "nlohmann_json::nlohmann_json"],
            "sqlite": ["sqlite3::sqlite3"],
            "stdexec": ["stdexec::stdexec"],
            "time_zones": ["date::date"],
        }
        for part, requires in needs.items():
            if self.options.get_safe(part):
                component = self.cpp_info.components[part]
                component.set_property("cmake_target_name", f"penstock::{part}")
                component.requires = ["core", *requires]
                component.bindirs = component.libdirs = []
