# The rooms above and beside the engine, which know MPI, HDF5 and Boost, and the program itself.
include(cmake/coordinator.cmake)
room(worker FOLDERS worker LINKS tasks protocol)
room(analysis FOLDERS analysis LINKS storage experiments)
room(commands FOLDERS commands
     LINKS coordinator worker analysis storage Boost::program_options)
# Where `report` finds analysis/plots when the program was built outside its source tree.
set_source_files_properties(commands/report_command.cpp PROPERTIES COMPILE_DEFINITIONS
  ROPESWEEP_SOURCE_DIR="${CMAKE_SOURCE_DIR}")

# The Slurm template lies in the program.
file(READ ${CMAKE_SOURCE_DIR}/slurm/sweep.sbatch SWEEP_SBATCH)
configure_file(commands/sweep_sbatch.h.in ${CMAKE_BINARY_DIR}/generated/commands/sweep_sbatch.h @ONLY)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/slurm/sweep.sbatch)
target_include_directories(commands PRIVATE ${CMAKE_BINARY_DIR}/generated)

if(EXISTS ${CMAKE_SOURCE_DIR}/ropesweep.cpp)
  add_executable(ropesweep ropesweep.cpp)
  target_link_libraries(ropesweep PRIVATE commands)
  if(ROPESWEEP_HAS_CUDA)
    add_dependencies(ropesweep ropesweep_cuda)
  endif()
  if(TARGET ropesweep_nccl)
    add_dependencies(ropesweep ropesweep_nccl)
  endif()
endif()
