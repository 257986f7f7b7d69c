# The CUDA backend compiled as C++ over a device made of the host, and the tests that run on it.
find_package(Boost REQUIRED COMPONENTS context)
file(GLOB emulated_sources CONFIGURE_DEPENDS emulation/*.cpp ${CMAKE_SOURCE_DIR}/worker/backend/cuda/*.cpp
     ${CMAKE_SOURCE_DIR}/worker/backend/cuda/*.cu)
list(FILTER emulated_sources EXCLUDE REGEX
     "backend/cuda/(plugin\\.cpp|products\\.cpp|sort\\.cu|.*_(cudnn|nccl)\\..*)$|_test\\.cpp$")
set(emulated_kernels ${emulated_sources})
list(FILTER emulated_kernels INCLUDE REGEX "\\.cu$")
set_source_files_properties(${emulated_kernels} PROPERTIES LANGUAGE CXX)
add_library(backend_emulated STATIC ${emulated_sources})
set_target_properties(backend_emulated PROPERTIES POSITION_INDEPENDENT_CODE ON)
target_include_directories(backend_emulated BEFORE PUBLIC emulation)
target_link_libraries(backend_emulated PUBLIC backend house_options Boost::context)
# What the program opens in its place: ROPESWEEP_CUDA_PLUGIN=…/libropesweep_cuda_emulated.so
add_library(ropesweep_cuda_emulated MODULE ${CMAKE_SOURCE_DIR}/worker/backend/cuda/plugin.cpp)
target_link_libraries(ropesweep_cuda_emulated PRIVATE backend_emulated)
target_link_options(ropesweep_cuda_emulated PRIVATE -Wl,--exclude-libs,ALL)

device_tests(emulated_backend emulated backend_emulated op_tests ${emulation_tests})
device_tests(emulated_llama emulated backend_emulated "model_tests;llama")
foreach(room backend llama)
  target_link_libraries(emulated_${room}_tests PRIVATE GTest::gtest_main)
  gtest_discover_tests(emulated_${room}_tests TEST_PREFIX emulated_${room}. DISCOVERY_TIMEOUT 60
                       PROPERTIES TIMEOUT 600)
endforeach()
