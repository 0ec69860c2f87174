# Applies PENSTOCK_SANITIZE to everything that is built here, so that no object in a program lacks the instrumentation.
include_guard(GLOBAL)

if(PENSTOCK_SANITIZE)
  add_compile_options(-fsanitize=${PENSTOCK_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${PENSTOCK_SANITIZE} -fno-sanitize-recover=all)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ 12 warns falsely about instrumented code (GCC PR 105562 and relatives); the other presets keep this warning.
    add_compile_options(-Wno-maybe-uninitialized)
    if(PENSTOCK_SANITIZE MATCHES "undefined")
      # A third of g++'s time on templates. clang's build keeps these two checks, and a null or freed pointer does not get past AddressSanitizer.
      add_compile_options(-fno-sanitize=null,alignment)
    endif()
  endif()
endif()
