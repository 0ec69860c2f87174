# penstock::sqlite: what <penstock/ext/sqlite_*.hpp> needs, which is SQLite. There is no such target where it is not installed. Used here and by the installed
# package.
set(penstock_sqlite_needs "SQLite (Debian: libsqlite3-dev)")
if(NOT TARGET penstock::sqlite)
  if(NOT TARGET SQLite::SQLite3) # a project that has it already has made it as it wants it
    find_package(SQLite3 QUIET)
    if(TARGET SQLite::SQLite3)
      set_target_properties(SQLite::SQLite3 PROPERTIES IMPORTED_GLOBAL TRUE)
    endif()
  endif()
  if(TARGET SQLite::SQLite3)
    add_library(penstock::sqlite INTERFACE IMPORTED GLOBAL)
    target_link_libraries(penstock::sqlite INTERFACE penstock::penstock SQLite::SQLite3)
  endif()
endif()
