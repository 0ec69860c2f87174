# What the tests, benchmarks and examples need; the library itself needs a C++20 compiler and threads only.
#
# A package that is installed wins; otherwise FetchContent brings a pinned version. Optional things that are missing are
# collected with penstock_missing() and named once, at the end of configuring.
include_guard(GLOBAL)
include(FetchContent)

function(penstock_missing what)
  set_property(GLOBAL APPEND PROPERTY penstock_missing "${what}")
endfunction()

function(penstock_report_missing)
  get_property(missing GLOBAL PROPERTY penstock_missing)
  foreach(what IN LISTS missing)
    message(STATUS "penstock: skipped, because it is not installed: ${what}")
  endforeach()
  if(NOT missing)
    message(STATUS "penstock: nothing optional is missing")
  endif()
endfunction()

# After this, penstock_catch2 is a target that provides Catch2 2.13 or 3.
function(penstock_need_catch2)
  if(TARGET penstock_catch2)
    return()
  endif()
  add_library(penstock_catch2 INTERFACE)
  if(CMAKE_CROSSCOMPILING)
    # The host's Catch2 2.13 is one header and serves every target, but the host's include folder must not enter the cross
    # compiler's path: copy the header out of it.
    find_path(PENSTOCK_CATCH2_DIR catch2/catch.hpp PATHS /usr/include /usr/local/include NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
    if(PENSTOCK_CATCH2_DIR AND NOT EXISTS "${PENSTOCK_CATCH2_DIR}/catch2/catch_all.hpp")
      file(COPY "${PENSTOCK_CATCH2_DIR}/catch2" DESTINATION "${PROJECT_BINARY_DIR}/host-headers")
      target_include_directories(penstock_catch2 SYSTEM INTERFACE "${PROJECT_BINARY_DIR}/host-headers")
      return()
    endif()
  else()
    find_package(Catch2 QUIET)
  endif()
  if(NOT TARGET Catch2::Catch2)
    message(STATUS "penstock: fetching Catch2")
    FetchContent_Declare(Catch2 GIT_REPOSITORY https://github.com/catchorg/Catch2.git GIT_TAG v3.5.4 GIT_SHALLOW ON SYSTEM)
    FetchContent_MakeAvailable(Catch2)
  endif()
  target_link_libraries(penstock_catch2 INTERFACE Catch2::Catch2)
endfunction()

# After this, benchmark::benchmark exists.
function(penstock_need_benchmark)
  find_package(benchmark QUIET GLOBAL)
  if(NOT TARGET benchmark::benchmark)
    message(STATUS "penstock: fetching Google Benchmark")
    set(BENCHMARK_ENABLE_TESTING OFF CACHE BOOL "" FORCE)
    set(BENCHMARK_ENABLE_INSTALL OFF CACHE BOOL "" FORCE)
    FetchContent_Declare(benchmark GIT_REPOSITORY https://github.com/google/benchmark.git GIT_TAG v1.8.3 GIT_SHALLOW ON SYSTEM)
    FetchContent_MakeAvailable(benchmark)
  endif()
endfunction()

# After this, fmt::fmt exists.
function(penstock_need_fmt)
  find_package(fmt QUIET GLOBAL)
  if(NOT TARGET fmt::fmt)
    message(STATUS "penstock: fetching fmt")
    FetchContent_Declare(fmt GIT_REPOSITORY https://github.com/fmtlib/fmt.git GIT_TAG 10.2.1 GIT_SHALLOW ON SYSTEM)
    FetchContent_MakeAvailable(fmt)
  endif()
endfunction()

# After this, penstock::stdexec exists if stdexec is installed or may be fetched. Only its headers are used: its own build fetches more.
function(penstock_need_stdexec)
  if(PENSTOCK_FETCH_STDEXEC AND NOT TARGET penstock::stdexec) # penstock-stdexec.cmake has looked for an installed one
    message(STATUS "penstock: fetching stdexec")
    FetchContent_Declare(
      stdexec
      GIT_REPOSITORY https://github.com/NVIDIA/stdexec.git
      GIT_TAG nvhpc-26.05
      GIT_SHALLOW ON
      SOURCE_SUBDIR include # where there is no CMakeLists.txt
    )
    FetchContent_MakeAvailable(stdexec)
    set(PENSTOCK_STDEXEC_INCLUDE "${stdexec_SOURCE_DIR}/include" CACHE PATH "" FORCE)
    include(penstock-stdexec)
  endif()
endfunction()

# After this, SQLite::SQLite3 exists, with full-text search (FTS5).
function(penstock_need_sqlite)
  if(NOT TARGET SQLite::SQLite3) # penstock-sqlite.cmake has looked for an installed one
    message(STATUS "penstock: fetching SQLite")
    enable_language(C)
    FetchContent_Declare(
      sqlite
      URL https://sqlite.org/2024/sqlite-amalgamation-3450300.zip
      URL_HASH SHA256=ea170e73e447703e8359308ca2e4366a3ae0c4304a8665896f068c736781c651
      DOWNLOAD_EXTRACT_TIMESTAMP OFF
    )
    FetchContent_MakeAvailable(sqlite)
    add_library(penstock_sqlite STATIC EXCLUDE_FROM_ALL "${sqlite_SOURCE_DIR}/sqlite3.c")
    target_include_directories(penstock_sqlite SYSTEM PUBLIC "${sqlite_SOURCE_DIR}")
    target_compile_definitions(penstock_sqlite PRIVATE SQLITE_ENABLE_FTS5)
    target_link_libraries(penstock_sqlite PUBLIC Threads::Threads ${CMAKE_DL_LIBS})
    add_library(SQLite::SQLite3 ALIAS penstock_sqlite)
  endif()
endfunction()
