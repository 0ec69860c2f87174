# penstock::asio: what <penstock/ext/asio.hpp> needs, which is the standalone Asio, 1.18 or newer. There is no such target where it is not installed. Used here
# and by the installed package.
set(penstock_asio_needs "the standalone Asio, 1.18 or newer (Debian: libasio-dev)")
if(NOT TARGET penstock::asio)
  find_path(PENSTOCK_ASIO_INCLUDE asio/any_io_executor.hpp)
  mark_as_advanced(PENSTOCK_ASIO_INCLUDE)
  if(PENSTOCK_ASIO_INCLUDE)
    add_library(penstock::asio INTERFACE IMPORTED GLOBAL)
    target_include_directories(penstock::asio SYSTEM INTERFACE "${PENSTOCK_ASIO_INCLUDE}")
    target_link_libraries(penstock::asio INTERFACE penstock::penstock)
  endif()
endif()
