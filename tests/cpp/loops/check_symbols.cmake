# Fails unless each object file defines one symbol that other files can link to, with this name in
# its own.
#
#   cmake -DNM=nm "-DOBJECTS=loops.cpp.o;sparse_loops.cpp.o" -DNAME=avx2 -P check_symbols.cmake
if(NOT OBJECTS)
  message(FATAL_ERROR "No object files are given.")
endif()
foreach(object IN LISTS OBJECTS)
  execute_process(
    COMMAND "${NM}" --defined-only --extern-only -P "${object}"
    OUTPUT_VARIABLE symbols
    OUTPUT_STRIP_TRAILING_WHITESPACE
    COMMAND_ERROR_IS_FATAL ANY
  )
  if(NOT symbols MATCHES "^[^ \n]*${NAME}[^ \n]* [^\n]*$")
    message(FATAL_ERROR "Other code could link to what is compiled for ${NAME}:\n${symbols}")
  endif()
endforeach()
