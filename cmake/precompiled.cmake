# Headers that most files parse, compiled once: parsing them is more than half of a build. Files still include what they
# use; the presets with clang build without these headers and so find what is missing.

# godwit_precompiled(NAME [libraries...] HEADERS headers...): headers for targets that godwit_use_precompiled() names.
function(godwit_precompiled name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "HEADERS")
  set(source ${CMAKE_BINARY_DIR}/${name}.cpp)
  file(CONFIGURE OUTPUT ${source} CONTENT "// A library must have a source.\n")
  add_library(${name} OBJECT ${source})
  target_link_libraries(${name} PRIVATE ${arg_UNPARSED_ARGUMENTS})
  target_precompile_headers(${name} PRIVATE ${arg_HEADERS})
endfunction()

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-fpch-preprocess)  # for ccache
endif()
