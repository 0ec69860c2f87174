# penstock::prometheus: what <penstock/ext/prometheus.hpp> needs, which is prometheus-cpp's core. There is no such target where it is not installed. Used here and
# by the installed package.
set(penstock_prometheus_needs "prometheus-cpp's core (Debian: prometheus-cpp-dev)")
if(NOT TARGET penstock::prometheus)
  if(NOT TARGET prometheus-cpp::core) # a project that has it already has made it as it wants it
    find_package(prometheus-cpp QUIET CONFIG)
    if(TARGET prometheus-cpp::core)
      set_target_properties(prometheus-cpp::core PROPERTIES IMPORTED_GLOBAL TRUE)
    endif()
  endif()
  if(TARGET prometheus-cpp::core)
    add_library(penstock::prometheus INTERFACE IMPORTED GLOBAL)
    target_link_libraries(penstock::prometheus INTERFACE penstock::penstock prometheus-cpp::core)
  endif()
endif()
