# One static library per folder of src/. Sources are globbed: to add a file is to add a file.

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(tl-expected REQUIRED)
find_package(spdlog REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(LZ4 REQUIRED IMPORTED_TARGET liblz4)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(ISAL REQUIRED IMPORTED_TARGET libisal)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)

add_library(godwit_flags INTERFACE)
# Designated initializers name what differs from the defaults; the rest is meant to be missing.
target_compile_options(godwit_flags INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror
                       -Wno-missing-field-initializers
                       $<$<CXX_COMPILER_ID:GNU>:-Wno-sign-conversion>
                       $<$<CXX_COMPILER_ID:Clang>:-Wno-sign-conversion -Wno-gnu-statement-expression>)
target_include_directories(godwit_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
if(GODWIT_SANITIZE)
  target_compile_options(godwit_flags INTERFACE -fsanitize=${GODWIT_SANITIZE} -fno-sanitize-recover=all
                         -fno-omit-frame-pointer)
  # To check each pointer and each object's type makes much code; a null pointer crashes without.
  if(GODWIT_SANITIZE MATCHES "undefined")
    target_compile_options(godwit_flags INTERFACE -fno-sanitize=null,vptr)
  endif()
  # GCC says of itself that it warns wrongly here when it sanitizes.
  target_compile_options(godwit_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_link_options(godwit_flags INTERFACE -fsanitize=${GODWIT_SANITIZE})
endif()

# Libraries that every folder may use, and those that only one may.
set(GODWIT_LIBRARIES fmt::fmt tl::expected Threads::Threads)
set(GODWIT_LIBRARIES_codec PkgConfig::LZ4 PkgConfig::ZSTD PkgConfig::ISAL)
set(GODWIT_LIBRARIES_tls OpenSSL::SSL OpenSSL::Crypto)
set(GODWIT_LIBRARIES_remote nlohmann_json::nlohmann_json)
set(GODWIT_LIBRARIES_wire nlohmann_json::nlohmann_json)
set(GODWIT_LIBRARIES_vmm nlohmann_json::nlohmann_json)
set(GODWIT_LIBRARIES_engine nlohmann_json::nlohmann_json)
set(GODWIT_LIBRARIES_service nlohmann_json::nlohmann_json)
set(GODWIT_LIBRARIES_app nlohmann_json::nlohmann_json)
# Those that not even whoever uses the folder sees. Debian's spdlog is built with the fmt that is used here.
set(GODWIT_HIDDEN_LIBRARIES_log spdlog::spdlog)

# GCC 12 sees writes past the end of strings where it inlines much, or little.
set(GODWIT_FALSE_ALARMS $<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overread> $<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overflow>
                        $<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds> $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)

# godwit_folder(NAME [folders it may use...])
function(godwit_folder name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "/app/main\\.cpp$")
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.h)
  add_library(godwit_${name} STATIC ${sources} ${headers})
  set_target_properties(godwit_${name} PROPERTIES LINKER_LANGUAGE CXX)
  target_link_libraries(godwit_${name} PUBLIC godwit_flags ${GODWIT_LIBRARIES} ${GODWIT_LIBRARIES_${name}})
  target_link_libraries(godwit_${name} PRIVATE ${GODWIT_HIDDEN_LIBRARIES_${name}})
  target_precompile_headers(godwit_${name} REUSE_FROM godwit_common_headers)
  # Many files compiled as one: what they all parse and instantiate is then parsed and instantiated once.
  if(GODWIT_UNITY)
    set_target_properties(godwit_${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${GODWIT_UNITY_BATCH})
    target_compile_options(godwit_${name} PRIVATE ${GODWIT_FALSE_ALARMS})
  endif()
  foreach(used ${ARGN})
    target_link_libraries(godwit_${name} PRIVATE godwit_${used})
  endforeach()
endfunction()

# godwit_program(NAME MAIN folders...)
function(godwit_program name main)
  add_executable(${name} ${main})
  foreach(used ${ARGN})
    target_link_libraries(${name} PRIVATE godwit_${used})
  endforeach()
endfunction()

# Kernels for one instruction set each live in files named *_avx2.cpp and *_avx512.cpp; only those get its flags.
function(godwit_instruction_sets name)
  file(GLOB_RECURSE avx2 CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*_avx2.cpp)
  file(GLOB_RECURSE avx512 CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*_avx512.cpp)
  # Headers compiled for one instruction set are of no use for another.
  set_source_files_properties(${avx2} ${avx512} TARGET_DIRECTORY godwit_${name}
                              PROPERTIES SKIP_PRECOMPILE_HEADERS ON SKIP_UNITY_BUILD_INCLUSION ON)
  if(avx2)
    set_source_files_properties(${avx2} TARGET_DIRECTORY godwit_${name} PROPERTIES COMPILE_OPTIONS "-mavx2")
  endif()
  if(avx512)
    set_source_files_properties(${avx512} TARGET_DIRECTORY godwit_${name} PROPERTIES
                                COMPILE_OPTIONS "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq")
  endif()
endfunction()
