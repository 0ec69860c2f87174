# penstock::time_zones: what <penstock/ext/time_zones.hpp> needs, which is Howard Hinnant's date with its time zones. There is no such target where it is not
# installed. Used here and by the installed package.
set(penstock_time_zones_needs "Howard Hinnant's date with its time zones (Debian: libhowardhinnant-date-dev)")
if(NOT TARGET penstock::time_zones)
  if(NOT TARGET date::date-tz) # a project that has it already has made it as it wants it
    find_package(date QUIET CONFIG)
    if(TARGET date::date-tz)
      set_target_properties(date::date date::date-tz PROPERTIES IMPORTED_GLOBAL TRUE)
    endif()
  endif()
  if(TARGET date::date-tz)
    add_library(penstock::time_zones INTERFACE IMPORTED GLOBAL)
    target_link_libraries(penstock::time_zones INTERFACE penstock::penstock date::date-tz)
  endif()
endif()
