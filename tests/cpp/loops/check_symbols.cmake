# Fails unless an object file defines one symbol that other files can link to, of this name.
#
#   cmake -DNM=nm -DOBJECT=loops.cpp.o -DNAME=avx2 -P check_symbols.cmake
execute_process(
  COMMAND "${NM}" --defined-only --extern-only -P "${OBJECT}"
  OUTPUT_VARIABLE symbols
  OUTPUT_STRIP_TRAILING_WHITESPACE
  COMMAND_ERROR_IS_FATAL ANY
)
if(NOT symbols MATCHES "^[^ ]*${NAME}[^ ]* [^\n]*$")
  message(FATAL_ERROR "Other code could link to what is compiled for ${NAME}:\n${symbols}")
endif()
