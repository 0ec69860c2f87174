# penstock::boost_asio: what <penstock/ext/boost_asio.hpp> needs, which is Boost.Asio, 1.74 or newer. There is no such target where it is not installed. Used
# here and by the installed package.
set(penstock_boost_asio_needs "Boost.Asio, 1.74 or newer (Debian: libboost-dev)")
if(NOT TARGET penstock::boost_asio)
  if(NOT TARGET Boost::headers) # a project that has it already has made it as it wants it
    if(POLICY CMP0167) # from CMake 3.30 on: Boost's own package is asked, and CMake does not warn that it was not told so
      cmake_policy(SET CMP0167 NEW)
    endif()
    find_package(Boost 1.74 QUIET)
    if(TARGET Boost::headers)
      set_target_properties(Boost::headers PROPERTIES IMPORTED_GLOBAL TRUE)
    endif()
  endif()
  if(TARGET Boost::headers)
    add_library(penstock::boost_asio INTERFACE IMPORTED GLOBAL)
    target_link_libraries(penstock::boost_asio INTERFACE penstock::penstock Boost::headers)
  endif()
endif()
