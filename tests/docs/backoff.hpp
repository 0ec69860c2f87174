std::uint64_t seed;
penstock::manual_clock clock;
penstock::backoff_delays<> delays{penstock::backoff::fixed(1s), std::uint64_t{1}};
bool connect();
void sleep_for(std::chrono::nanoseconds);
static_assert(sizeof(penstock::backoff) == 32 && sizeof(penstock::backoff_delays<>) == 56);  // the page says so
