# penstock_warnings(target): the warnings that penstock's own code is free of. They belong to the target itself and never to its users.
include_guard(GLOBAL)

function(penstock_warnings target)
  if(MSVC)
    set(options /W4 /permissive- $<$<BOOL:${PENSTOCK_WERROR}>:/WX>)
  else()
    set(options -Wall -Wextra -Wpedantic -Wconversion -Wshadow $<$<BOOL:${PENSTOCK_WERROR}>:-Werror>)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
      # False alarms about std::string's operator+ (GCC PR 105329, 105651) and, in large sources, std::stop_source's constructor (as PR 105562); the
      # sanitizers look after the real ones.
      list(APPEND options -Wno-restrict -Wno-array-bounds -Wno-maybe-uninitialized)
    endif()
  endif()
  set_property(TARGET ${target} APPEND PROPERTY COMPILE_OPTIONS ${options})
endfunction()
