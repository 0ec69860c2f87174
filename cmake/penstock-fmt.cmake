# penstock::fmt: what <penstock/ext/fmt.hpp> needs, which is fmt, 9 or newer. There is no such target where it is not installed. Used here and by the
# installed package.
set(penstock_fmt_needs "fmt, 9 or newer (Debian: libfmt-dev)")
if(NOT TARGET penstock::fmt)
  if(NOT TARGET fmt::fmt) # a project that has it already has made it as it wants it
    find_package(fmt 9 QUIET CONFIG)
    if(TARGET fmt::fmt)
      set_target_properties(fmt::fmt PROPERTIES IMPORTED_GLOBAL TRUE)
    endif()
  endif()
  if(TARGET fmt::fmt)
    add_library(penstock::fmt INTERFACE IMPORTED GLOBAL)
    target_link_libraries(penstock::fmt INTERFACE penstock::penstock fmt::fmt)
  endif()
endif()
