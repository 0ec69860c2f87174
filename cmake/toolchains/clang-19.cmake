# The clang that penstock is tested with. Older ones lack parts of C++20's coroutines.
find_program(PENSTOCK_CLANGXX clang++-19)
find_program(PENSTOCK_CLANG clang-19)
if(NOT PENSTOCK_CLANGXX OR NOT PENSTOCK_CLANG)
  message(FATAL_ERROR "clang++-19 was not found. Install it (Debian: apt-get install clang-19 libclang-rt-19-dev) or run scripts/setup --ci.")
endif()
set(CMAKE_C_COMPILER "${PENSTOCK_CLANG}")
set(CMAKE_CXX_COMPILER "${PENSTOCK_CLANGXX}")
