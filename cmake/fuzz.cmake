# The fuzz preset: readers of files, messages and expressions, with libFuzzer, AddressSanitizer and
# UndefinedBehaviorSanitizer, by clang. Only what the targets need is built: no MPI, HDF5, OpenMP, backend.
# tests/fuzz.sh builds and runs it.
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "libFuzzer is clang's: set CMAKE_CXX_COMPILER (tests/fuzz.sh does)")
endif()

# readers(ROOM NAMES… LINKS…): a room without what its readers don't need.
function(readers name folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  list(TRANSFORM ARG_SOURCES PREPEND ${CMAKE_SOURCE_DIR}/${folder}/)
  list(TRANSFORM ARG_SOURCES APPEND .cpp)
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC experiments ${ARG_LINKS})
  target_precompile_headers(${name} REUSE_FROM experiments)
endfunction()

# Three quarters of a file's time would go into these.
target_precompile_headers(experiments PRIVATE <algorithm> <cmath> <cstdint> <filesystem> <fstream> <functional> <map>
  <memory> <nlohmann/json.hpp> <optional> <spdlog/fmt/fmt.h> <sstream> <string> <string_view> <unordered_map> <vector>)

readers(storage storage LINKS ZLIB::ZLIB
  SOURCES event_codec journal journal_format journal_scan patient_io plain_names posix_file results_json results_packed schema state
    migrations state_outcomes tables)
readers(analysis analysis LINKS storage SOURCES expression format query tokens)
readers(protocol coordinator/protocol SOURCES messages)
readers(llama worker/llama LINKS PkgConfig::PCRE2 PkgConfig::SENTENCEPIECE PkgConfig::UTF8PROC
  SOURCES adapter_directory added_tokens bpe_merges bpe_model bpe_tokenizer byte_level_bpe character_bpe config decoder
    family json_place model_digest normalizer post_processor pre_tokenizer regex replacement rope_keys rope_settings
    safetensors_directory safetensors_reader sentencepiece_tokenizer tokenizer tokenizer_config
    unicode_normalization utf8 weight_slots)
target_compile_definitions(llama PUBLIC ROPESWEEP_SENTENCEPIECE ROPESWEEP_UTF8PROC)
readers(data worker/data LINKS llama ZLIB::ZLIB PkgConfig::ZSTD
  SOURCES arc_questions chat_template choice_reader conversations csv_reader hellaswag_questions jinja jinja_expressions
    jinja_filters jinja_functions jinja_lexer jinja_operators jinja_parser jinja_value line_reader mmlu_questions
    python_text record_reader record_splitter sample_record truthfulqa_questions)

add_subdirectory(tests/fuzz)
