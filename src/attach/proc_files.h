// What /proc tells of processes: their memory maps and names.
//
// Everything here copes with a process that ends or changes its map while it is being read.
#pragma once

#include <string>
#include <string_view>

#include "attach/remote_process.h"

namespace godwit {

/// One line of /proc/PID/maps, without its newline. kProtocol if it is not one.
Result<Mapping> parse_mapping(std::string_view line);

/// All lines of a maps file. kUnsupported if it is longer than any process's map should be.
Result<std::vector<Mapping>> read_mappings(const std::string& path);

/// The processes that this program's /proc shows.
Result<std::vector<pid_t>> list_processes();

/// "vhost-user-blk (pid 17)", for people.
std::string name_of_process(pid_t pid);

}  // namespace godwit
