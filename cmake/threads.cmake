# The threads preset: coordinator, protocol, storage, shepherd and runner, and their tests, with the thread
# sanitizer. No backend, so no OpenMP, whose runtime the sanitizer doesn't know; the whole program can be built by
# the preset thread-sanitize. tests/thread_sanitize.sh builds and runs it.
find_package(MPI REQUIRED COMPONENTS C)
find_package(HDF5 REQUIRED COMPONENTS C)
find_package(GTest REQUIRED)
include(cmake/coordinator.cmake)
# A runner without what it runs: its tests bring a task of their own.
add_library(worker STATIC worker/runner.cpp worker/disk_patience.cpp worker/runner_process.cpp worker/shepherd.cpp
  worker/tasks/loss_record.cpp worker/tasks/thrift.cpp worker/backend/operation_queue.cpp)
target_link_libraries(worker PUBLIC protocol experiments)

# Parsing these headers would take three quarters of the time.
target_precompile_headers(experiments PRIVATE <algorithm> <cmath> <cstdint> <filesystem> <fstream> <functional> <map>
  <memory> <nlohmann/json.hpp> <optional> <spdlog/fmt/fmt.h> <sstream> <string> <string_view> <unordered_map> <vector>)
foreach(room storage protocol coordinator worker)
  target_precompile_headers(${room} REUSE_FROM experiments)
endforeach()

function(thread_tests name)
  add_executable(${name}_tests ${ARGN})
  target_link_libraries(${name}_tests PRIVATE ${name} GTest::gtest GTest::gmock GTest::gtest_main)
  target_precompile_headers(${name}_tests REUSE_FROM experiments)
  target_compile_definitions(${name}_tests PRIVATE ROPESWEEP_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
    ROPESWEEP_BINARY="${CMAKE_BINARY_DIR}/ropesweep")
endfunction()
file(GLOB storage_sources CONFIGURE_DEPENDS tests/storage/*_test.cpp)
file(GLOB protocol_sources CONFIGURE_DEPENDS tests/coordinator/protocol/*_test.cpp)
file(GLOB coordinator_sources CONFIGURE_DEPENDS tests/coordinator/*_test.cpp)
thread_tests(storage ${storage_sources})
thread_tests(protocol ${protocol_sources})
thread_tests(coordinator ${coordinator_sources})
thread_tests(worker tests/worker/shepherd_test.cpp tests/worker/backend/operation_queue_test.cpp)
