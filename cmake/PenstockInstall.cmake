# install, find_package(penstock 0.1) and pkg-config.
include_guard(GLOBAL)
include(CMakePackageConfigHelpers)

set(config_dir "${CMAKE_INSTALL_DATADIR}/cmake/penstock")
install(TARGETS penstock EXPORT penstock-targets FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT penstock-targets NAMESPACE penstock:: DESTINATION "${config_dir}")
list(JOIN penstock_components ", " penstock_components_text)
configure_package_config_file(
  "${CMAKE_CURRENT_LIST_DIR}/penstock-config.cmake.in" "${PROJECT_BINARY_DIR}/penstock-config.cmake" INSTALL_DESTINATION "${config_dir}"
)
# Before 1.0 a minor version may break the interface, so 0.2 does not satisfy a request for 0.1.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/penstock-config-version.cmake" COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/penstock-config.cmake" "${PROJECT_BINARY_DIR}/penstock-config-version.cmake" DESTINATION "${config_dir}")
foreach(component IN LISTS penstock_components)
  install(FILES "${CMAKE_CURRENT_LIST_DIR}/penstock-${component}.cmake" DESTINATION "${config_dir}")
endforeach()

set(PENSTOCK_PC_CFLAGS "")
if(PENSTOCK_PORTABLE_PARK)
  set(PENSTOCK_PC_CFLAGS " -DPENSTOCK_PORTABLE_PARK=1")
endif()
configure_file("${CMAKE_CURRENT_LIST_DIR}/penstock.pc.in" "${PROJECT_BINARY_DIR}/penstock.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/penstock.pc" DESTINATION "${CMAKE_INSTALL_DATADIR}/pkgconfig")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
