#include <doctest/doctest.h>

#include "phew/arithmetic/philox.hpp"

namespace {

constexpr bool equal(phew::PhiloxCounter left, phew::PhiloxCounter right) {
  for (int i = 0; i < 4; ++i) {
    if (left.words[i] != right.words[i]) return false;
  }
  return true;
}

// Random123's known answers (kat_vectors, philox4x32 with 10 rounds).
struct KnownAnswer {
  phew::PhiloxCounter counter;
  phew::PhiloxKey key;
  phew::PhiloxCounter words;
};

constexpr KnownAnswer kKnownAnswers[] = {
    {{{0, 0, 0, 0}}, {{0, 0}}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
    {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
     {{0xffffffff, 0xffffffff}},
     {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
    {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
     {{0xa4093822, 0x299f31d0}},
     {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
};

}  // namespace

TEST_CASE("philox4x32 gives Random123's known answers") {
  for (const auto& [counter, key, words] : kKnownAnswers) {
    CHECK(equal(phew::philox4x32(counter, key), words));
  }
}

TEST_CASE("philox4x32 can be evaluated by the compiler") {
  constexpr auto kWords = phew::philox4x32(kKnownAnswers[2].counter, kKnownAnswers[2].key);
  static_assert(equal(kWords, kKnownAnswers[2].words));
}
