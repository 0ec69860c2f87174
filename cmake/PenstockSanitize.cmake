# Applies PENSTOCK_SANITIZE to everything that is built here, so that no object in a program lacks the instrumentation.
include_guard(GLOBAL)

if(PENSTOCK_SANITIZE)
  add_compile_options(-fsanitize=${PENSTOCK_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${PENSTOCK_SANITIZE} -fno-sanitize-recover=all)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ 12 warns falsely about instrumented code (GCC PR 105562 and relatives); the other presets keep this warning.
    add_compile_options(-Wno-maybe-uninitialized)
  endif()
endif()
