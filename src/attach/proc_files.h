// Reading /proc: whole files with a limit, and the lines of a memory map.
//
// Everything here copes with a process that ends or changes its map while it is being read.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "attach/remote_process.h"

namespace godwit {

/// The whole file, or an error if it holds more than `limit` bytes.
Result<std::string> read_whole_file(const std::string& path, std::size_t limit);

/// One line of /proc/PID/maps, without its newline. kProtocol if it is not one.
Result<Mapping> parse_mapping(std::string_view line);

/// All lines of a maps file. kUnsupported if it is longer than any process's map should be.
Result<std::vector<Mapping>> read_mappings(const std::string& path);

/// Field 22 of /proc/PID/stat: when the process began, in clock ticks since boot.
Result<std::uint64_t> read_start_time(pid_t pid);

/// The processes that this program's /proc shows.
Result<std::vector<pid_t>> list_processes();

/// "vhost-user-blk (pid 17)", for people.
std::string name_of_process(pid_t pid);

}  // namespace godwit
