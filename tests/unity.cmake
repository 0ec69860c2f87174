# cmake -P unity.cmake OUTPUT TEST...: writes one translation unit of several test files, so that the compiler instantiates only once what
# they share, which is nearly half of its work.
#
# Each file gets a namespace of its own around it, so its helpers may have the names that another file's have. The includes of all of
# them come first, outside of these namespaces (with the conditions that they are under); met again inside, they are empty. A file that has
# a named namespace of its own stays as it is.
math(EXPR last "${CMAKE_ARGC} - 1")
set(includes "")
set(bodies "")
foreach(i RANGE 4 ${last})
  set(file "${CMAKE_ARGV${i}}")
  cmake_path(GET file PARENT_PATH folder)
  cmake_path(GET file STEM name)
  file(STRINGS "${file}" lines REGEX "^#(include (<|\".*[.]hpp)|if|ifdef|ifndef|elif|else|endif)")
  foreach(line IN LISTS lines)
    if(line MATCHES "^#include \"(.*)\"")
      set(beside "${folder}/${CMAKE_MATCH_1}")
      if(EXISTS "${beside}")
        set(line "#include \"${beside}\"")
      endif()
    endif()
    string(APPEND includes "${line}\n")
  endforeach()
  file(STRINGS "${file}" namespaces REGEX "^namespace [a-z_:]+ {")
  if(namespaces)
    string(APPEND bodies "\n#include \"${file}\"\n")
  else()
    string(APPEND bodies "\nnamespace unity_${name} {\n#include \"${file}\"\n}\n")
  endif()
endforeach()
file(WRITE "${CMAKE_ARGV3}" "${includes}${bodies}")
