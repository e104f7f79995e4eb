// What a TPM and the firmware's flash keep.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <vector>

#include "commands.h"

namespace godwit::guest {
namespace {

constexpr const char* kVariables = "/sys/firmware/efi/efivars";
constexpr const char* kVariable = "/sys/firmware/efi/efivars/Godwit-6a4bd4ee-3a2f-4d1e-9a57-0a5b54bb6c01";
constexpr std::uint32_t kAttributes = 7;  // kept, and for firmware and system alike

std::string read_pcr(unsigned pcr) {
  std::string value;
  std::ifstream("/sys/class/tpm/tpm0/pcr-sha256/" + std::to_string(pcr)) >> value;
  return value;
}

void put(std::vector<unsigned char>& into, std::uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) into.push_back(static_cast<unsigned char>(value >> (8 * i)));
}

}  // namespace

/// tpm-extend PCR BYTE: TPM2_PCR_Extend by 32 such bytes, as the TPM's library specification has it.
std::string tpm_extend(std::istringstream& line) {
  unsigned pcr = 0, byte = 0;
  line >> pcr >> byte;
  std::vector<unsigned char> command;
  put(command, 0x8002, 2);  // with sessions
  put(command, 0, 4);       // its length, below
  put(command, 0x182, 4);
  put(command, pcr, 4);
  put(command, 9, 4);  // the authorization: an empty password
  put(command, 0x40000009, 4);
  put(command, 0, 5);
  put(command, 1, 4);    // one digest
  put(command, 0xb, 2);  // SHA-256
  command.insert(command.end(), 32, static_cast<unsigned char>(byte));
  command[5] = static_cast<unsigned char>(command.size());
  const int tpm = ::open("/dev/tpm0", O_RDWR | O_CLOEXEC);
  if (tpm < 0) return os_error("/dev/tpm0");
  unsigned char answer[256] = {};
  const bool done = ::write(tpm, command.data(), command.size()) == static_cast<ssize_t>(command.size()) &&
                    ::read(tpm, answer, sizeof(answer)) >= 10;
  const std::string failed = done ? "" : os_error("TPM2_PCR_Extend");
  ::close(tpm);
  if (!done) return failed;
  if (answer[6] || answer[7] || answer[8] || answer[9]) {
    return "error: the TPM answers " + std::to_string(answer[8] << 8 | answer[9]);
  }
  return "ok " + read_pcr(pcr);
}

std::string tpm_read(std::istringstream& line) {
  unsigned pcr = 0;
  line >> pcr;
  const std::string value = read_pcr(pcr);
  return value.empty() ? "error: no PCR" : "ok " + value;
}

std::string variable_write(std::istringstream& line) {
  std::string text;
  line >> text;
  ::mount("efivarfs", kVariables, "efivarfs", 0, nullptr);
  // Linux guards those that exist against being removed by mistake.
  if (const int old = ::open(kVariable, O_RDONLY | O_CLOEXEC); old >= 0) {
    int flags = 0;
    ::ioctl(old, FS_IOC_SETFLAGS, &flags);
    ::close(old);
  }
  const int file = ::open(kVariable, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return os_error(kVariable);
  std::string content(reinterpret_cast<const char*>(&kAttributes), sizeof(kAttributes));
  content += text;
  const bool done = ::write(file, content.data(), content.size()) == static_cast<ssize_t>(content.size());
  const std::string answer = done ? "ok" : os_error("write the variable");
  ::close(file);
  return answer;
}

/// By the firmware, which reads its flash (or its copy of it in memory).
std::string variable_read(std::istringstream&) {
  std::ifstream in(kVariable, std::ios::binary);
  std::string content((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (content.size() < sizeof(kAttributes)) return "error: no such variable";
  return "ok " + content.substr(sizeof(kAttributes));
}

}  // namespace godwit::guest
