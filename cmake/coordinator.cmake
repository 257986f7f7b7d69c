# Storage, the protocol and the coordinator: the rooms that know MPI and HDF5 and nothing of the engine, for the
# whole program (program.cmake) and for the thread sanitizer (threads.cmake).
add_library(hdf5_c INTERFACE)
target_include_directories(hdf5_c SYSTEM INTERFACE ${HDF5_C_INCLUDE_DIRS})
target_link_libraries(hdf5_c INTERFACE ${HDF5_C_LIBRARIES})

room(storage FOLDERS storage LINKS experiments hdf5_c ZLIB::ZLIB)
room(protocol FOLDERS coordinator/protocol LINKS experiments MPI::MPI_C)
room(coordinator FOLDERS coordinator LINKS protocol experiments storage)
# GCC 12 at -O3 takes the text in a variant of messages for uninitialized.
target_compile_options(coordinator PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
