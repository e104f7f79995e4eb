#include "net/unix_socket_file.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>

#include "net/socket_channel.h"

namespace godwit {

namespace {

/// Removes the socket file at `path` if nobody listens on it any more; an error if somebody does.
Status remove_dead_socket(const std::string& path, const sockaddr_un& where) {
  struct stat there {};
  if (::lstat(path.c_str(), &there) != 0) return fail_os("look at what is in the way");
  if (!S_ISSOCK(there.st_mode)) {
    return fail(ErrorKind::kInvalidArgument, "a file that is not a socket is in the way", EADDRINUSE);
  }
  UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!client) return fail_os("socket");
  const int result = ::connect(client.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where);
  if (result == 0 || errno != ECONNREFUSED) {
    return fail(ErrorKind::kInvalidArgument, "another program listens there", EADDRINUSE);
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_os("remove a dead socket file");
  return {};
}

}  // namespace

UnixSocketFile::~UnixSocketFile() {
  struct stat now {};
  if (!path_.empty() && ::lstat(path_.c_str(), &now) == 0 && now.st_dev == device_ && now.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
}

Result<UniqueFd> UnixSocketFile::bind(const std::string& path, mode_t mode) {
  const sockaddr_un where = TRY(unix_socket_address(path));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail_os("socket");
  // KERNEL: the file gets the socket's own mode, less the umask (unix_bind_bsd()).
  if (mode != 0 && ::fchmod(socket.get(), mode) != 0) return fail_os("set the mode of a socket");
  const auto bind = [&] { return ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where); };
  if (bind() != 0) {
    if (errno != EADDRINUSE) return fail_os("bind");
    TRY(remove_dead_socket(path, where));
    if (bind() != 0) return fail_os("bind");
  }
  struct stat made {};
  if (::lstat(path.c_str(), &made) != 0) return fail_os("look at the socket file just made");
  path_ = path;
  device_ = made.st_dev;
  inode_ = made.st_ino;
  return socket;
}

}  // namespace godwit
