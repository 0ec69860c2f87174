# penstock::stdexec: what <penstock/ext/stdexec.hpp> needs, which is stdexec, of 2026. There is no such target where it is not found: as the target or package of
# its own, or in the folder PENSTOCK_STDEXEC_INCLUDE. Used here and by the installed package.
set(penstock_stdexec_needs "stdexec, of 2026: its package, or its folder as PENSTOCK_STDEXEC_INCLUDE")
if(NOT TARGET penstock::stdexec)
  if(NOT TARGET STDEXEC::stdexec) # a project that has it already has made it as it wants it
    find_package(stdexec CONFIG QUIET GLOBAL)
  endif()
  if(NOT TARGET STDEXEC::stdexec)
    find_package(STDEXEC CONFIG QUIET GLOBAL) # Conan's name for it
  endif()
  find_path(PENSTOCK_STDEXEC_INCLUDE stdexec/execution.hpp)
  mark_as_advanced(PENSTOCK_STDEXEC_INCLUDE)
  if(TARGET STDEXEC::stdexec OR PENSTOCK_STDEXEC_INCLUDE)
    add_library(penstock::stdexec INTERFACE IMPORTED GLOBAL)
    if(TARGET STDEXEC::stdexec)
      target_link_libraries(penstock::stdexec INTERFACE penstock::penstock STDEXEC::stdexec)
    else()
      target_include_directories(penstock::stdexec SYSTEM INTERFACE "${PENSTOCK_STDEXEC_INCLUDE}")
      target_link_libraries(penstock::stdexec INTERFACE penstock::penstock)
    endif()
  endif()
endif()
