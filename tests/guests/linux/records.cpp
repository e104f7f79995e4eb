// See records.h.
#include "records.h"

#include <array>
#include <charconv>
#include <string_view>

#include "areas.h"

namespace godwit::guest {
namespace {

constexpr std::array<std::string_view, 16> kFirstNames = {"Ada",   "Bruno", "Chiara", "Dmitri", "Elif", "Farid",
                                                          "Greta", "Hugo",  "Ines",   "Jonas",  "Kaya", "Liam",
                                                          "Mei",   "Nadia", "Oskar",  "Priya"};
constexpr std::array<std::string_view, 16> kLastNames = {
    "Almeida", "Bauer",  "Costa",    "Dubois",    "Eriksson", "Fischer", "Garcia", "Haddad",
    "Ivanova", "Jensen", "Kowalski", "Lindqvist", "Moreau",   "Novak",   "Okafor", "Petrov"};
constexpr std::array<std::string_view, 8> kCities = {"Lisbon",   "Gdansk", "Marseille", "Tampere",
                                                     "Salonika", "Porto",  "Rotterdam", "Brno"};
constexpr std::array<std::string_view, 32> kWords = {
    "steel",   "garden",  "table", "winter",  "coat",  "blue",    "small", "wooden", "lamp",   "bicycle", "chain",
    "paper",   "kitchen", "scale", "cotton",  "shirt", "leather", "bag",   "copper", "kettle", "travel",  "mirror",
    "folding", "chair",   "night", "reading", "glass", "bottle",  "green", "wool",   "carpet", "brush"};

// Chosen so that records have 400 to 1000 bytes: the rest of a record takes about 270, an item about 80, a word of the
// note about 7.
constexpr Word kFewestItems = 2;
constexpr Word kItemKinds = 5;
constexpr Word kFewestNoteWords = 4;
constexpr Word kNoteWordKinds = 24;

constexpr std::uint64_t kFirstSecond = 1'700'000'000;
constexpr Word kMostSecondsBetweenVersions = 900;

void append(std::string& out, std::uint64_t number) {
  std::array<char, 20> digits;
  out.append(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr);
}

void append_padded(std::string& out, std::uint64_t number, std::size_t width) {
  std::array<char, 20> digits;
  const char* end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  const auto length = static_cast<std::size_t>(end - digits.data());
  out.append(width > length ? width - length : 0, '0').append(digits.data(), length);
}

void append_hex(std::string& out, Word word) {
  for (int shift = 60; shift >= 0; shift -= 4) out += "0123456789abcdef"[word >> shift & 15];
}

template <std::size_t N>
std::string_view one_of(const std::array<std::string_view, N>& words, Random& random) {
  return words[random.below(N)];
}

void append_item(std::string& out, Random& lasting, Random& changing) {
  out += R"({"sku":)";
  append(out, 100'000 + lasting.below(900'000));
  out.append(R"(,"title":")").append(one_of(kWords, lasting)).append(" ").append(one_of(kWords, lasting));
  out += R"(","count":)";
  append(out, 1 + changing.below(9));
  out += R"(,"price":)";
  append(out, 99 + lasting.below(100'000));
  out += R"(,"viewed":)";
  append(out, changing.below(100));
  out += "}";
}

}  // namespace

void write_key(std::string& out, std::uint32_t key) {
  out = "user:";
  append_padded(out, key, 8);
}

void write_record(std::string& out, std::uint32_t key, std::uint32_t version) {
  Random lasting(key);                         // the same in all versions
  Random changing(Word{key} << 32 | version);  // another one in each
  const std::string_view first = one_of(kFirstNames, lasting);
  const std::string_view last = one_of(kLastNames, lasting);
  const std::uint64_t since = kFirstSecond - lasting.below(100'000'000);

  out = R"({"id":"user:)";
  append_padded(out, key, 8);
  out += R"(","version":)";
  append(out, version);
  out.append(R"(,"name":")").append(first).append(" ").append(last).append(R"(","mail":")");
  out.append(first).append(".").append(last);
  append(out, lasting.below(1000));
  out.append(R"(@example.org","city":")").append(one_of(kCities, lasting)).append(R"(","since":)");
  append(out, since);
  out += R"(,"seen":)";
  append(out, kFirstSecond + Word{version} * kMostSecondsBetweenVersions + changing.below(kMostSecondsBetweenVersions));
  out += R"(,"visits":)";
  append(out, lasting.below(500) + version);
  out += R"(,"balance":)";
  append(out, changing.below(10'000));
  out += ".";
  append_padded(out, changing.below(100), 2);
  out += R"(,"token":")";
  append_hex(out, changing.next());
  append_hex(out, changing.next());
  out += R"(","cart":[)";
  const Word items = kFewestItems + lasting.below(kItemKinds);
  for (Word i = 0; i < items; ++i) {
    if (i > 0) out += ",";
    append_item(out, lasting, changing);
  }
  out += R"(],"note":")";
  const Word words = kFewestNoteWords + lasting.below(kNoteWordKinds);
  for (Word i = 0; i < words; ++i) {
    if (i > 0) out += " ";
    out += one_of(kWords, lasting);
  }
  out.append(R"(","locale":"en_GB","newsletter":)").append((lasting.next() & 1) != 0 ? "true}" : "false}");
}

}  // namespace godwit::guest
