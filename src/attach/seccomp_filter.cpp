#include "attach/seccomp_filter.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstring>
#include <optional>

namespace godwit {
namespace {

constexpr std::size_t kCells = 16;  // BPF_MEMWORDS

class Machine {
 public:
  Machine(const FilterProgram& program, const FilteredCall& call) : program_(program), call_(call) {}

  /// What the program returns; nothing where the kernel would not have taken it. Ends, because it only jumps forwards.
  std::optional<std::uint32_t> run() {
    for (std::size_t at = 0; at < program_.size(); ++at) {
      const FilterInstruction& i = program_[at];
      switch (BPF_CLASS(i.code)) {
        case BPF_RET:
          return BPF_RVAL(i.code) == BPF_A ? a_ : i.constant;
        case BPF_LD:
        case BPF_LDX:
          if (!load(i)) return std::nullopt;
          break;
        case BPF_ST:
        case BPF_STX:
          if (i.constant >= kCells) return std::nullopt;
          cells_[i.constant] = BPF_CLASS(i.code) == BPF_ST ? a_ : x_;
          break;
        case BPF_ALU:
          if (!compute(i)) return std::nullopt;
          break;
        case BPF_JMP: {
          const auto far = jump(i);
          if (!far) return std::nullopt;
          at += *far;
          break;
        }
        default:  // BPF_MISC
          if (BPF_MISCOP(i.code) == BPF_TAX) x_ = a_;
          if (BPF_MISCOP(i.code) == BPF_TXA) a_ = x_;
      }
    }
    return std::nullopt;
  }

 private:
  bool load(const FilterInstruction& i) {
    std::uint32_t value = 0;
    switch (BPF_MODE(i.code)) {
      case BPF_IMM:
        value = i.constant;
        break;
      case BPF_LEN:
        value = sizeof(FilteredCall);
        break;
      case BPF_MEM:
        if (i.constant >= kCells) return false;
        value = cells_[i.constant];
        break;
      case BPF_ABS:
        if (i.constant % sizeof value != 0 || i.constant > sizeof(FilteredCall) - sizeof value) return false;
        std::memcpy(&value, reinterpret_cast<const std::byte*>(&call_) + i.constant, sizeof value);
        break;
      default:
        return false;
    }
    (BPF_CLASS(i.code) == BPF_LD ? a_ : x_) = value;
    return true;
  }

  bool compute(const FilterInstruction& i) {
    const std::uint32_t by = BPF_SRC(i.code) == BPF_X ? x_ : i.constant;
    switch (BPF_OP(i.code)) {
      case BPF_ADD:
        a_ += by;
        return true;
      case BPF_SUB:
        a_ -= by;
        return true;
      case BPF_MUL:
        a_ *= by;
        return true;
      case BPF_DIV:
        if (by == 0) return false;
        a_ /= by;
        return true;
      case BPF_OR:
        a_ |= by;
        return true;
      case BPF_AND:
        a_ &= by;
        return true;
      case BPF_XOR:
        a_ ^= by;
        return true;
      case BPF_LSH:
        a_ = by < 32 ? a_ << by : 0;
        return true;
      case BPF_RSH:
        a_ = by < 32 ? a_ >> by : 0;
        return true;
      case BPF_NEG:
        a_ = 0 - a_;
        return true;
      default:
        return false;
    }
  }

  /// How many instructions are passed over.
  std::optional<std::size_t> jump(const FilterInstruction& i) const {
    const std::uint32_t with = BPF_SRC(i.code) == BPF_X ? x_ : i.constant;
    bool taken = false;
    switch (BPF_OP(i.code)) {
      case BPF_JA:
        return i.constant;
      case BPF_JEQ:
        taken = a_ == with;
        break;
      case BPF_JGT:
        taken = a_ > with;
        break;
      case BPF_JGE:
        taken = a_ >= with;
        break;
      case BPF_JSET:
        taken = (a_ & with) != 0;
        break;
      default:
        return std::nullopt;
    }
    return taken ? i.jump_true : i.jump_false;
  }

  const FilterProgram& program_;
  const FilteredCall& call_;
  std::uint32_t a_ = 0;
  std::uint32_t x_ = 0;
  std::array<std::uint32_t, kCells> cells_{};
};

FilterAnswer answer_of(std::uint32_t returned) {
  switch (returned & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ALLOW:
    case SECCOMP_RET_LOG:
      return {};
    case SECCOMP_RET_ERRNO:
      return {FilterVerdict::kDenies, static_cast<int>(returned & SECCOMP_RET_DATA)};
    case SECCOMP_RET_TRACE:       // there is no such tracer: ENOSYS
    case SECCOMP_RET_USER_NOTIF:  // who knows what the supervisor says, and when
      return {FilterVerdict::kDenies, 0};
    default:  // the kernel kills for what it does not know, too
      return {FilterVerdict::kKills, 0};
  }
}

}  // namespace

FilterAnswer ask_filters(std::span<const FilterProgram> filters, const FilteredCall& call) {
  FilterAnswer worst;
  for (const FilterProgram& filter : filters) {
    const auto returned = Machine(filter, call).run();
    const FilterAnswer answer = returned ? answer_of(*returned) : FilterAnswer{FilterVerdict::kUnknown, 0};
    if (answer.verdict < worst.verdict) worst = answer;
  }
  return worst;
}

FilteredCall filtered_call(long number, const std::array<std::uint64_t, 6>& arguments,
                           std::uint64_t instruction_pointer) {
  return {static_cast<std::int32_t>(number), AUDIT_ARCH_X86_64, instruction_pointer, arguments};
}

}  // namespace godwit
