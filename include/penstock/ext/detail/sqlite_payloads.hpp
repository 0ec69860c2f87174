// penstock/ext/detail/sqlite_payloads.hpp: what is asked of a sqlite_store, with payloads as the texts that its file keeps (job_codec), and back.
//
// To be called by who asks, under no lock: codecs are user's code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <penstock/core/result.hpp>
#include <penstock/ext/detail/sqlite_jobs.hpp>
#include <penstock/ext/sqlite_lease.hpp>
#include <penstock/job/job_codec.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

template <class Payload>
class sqlite_payloads {
  using lease_type = sqlite_lease<Payload>;

 public:
  /// Jobs to be added, with their payloads' texts.
  struct addition {
    std::vector<std::string> texts = {};
    std::vector<sqlite_new_job> jobs = {};
    std::size_t watches = 0;
  };
  static void encode(std::span<const job_entry<Payload>> entries, bool settling, addition& a) {
    a.texts.reserve(entries.size());
    a.jobs.reserve(entries.size());
    using entry = job_entry<Payload>;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const entry& one = entries[i];
      check(*one.options);
      if (one.parent != entry::no_entry &&
          (one.options->parent || (one.parent >= i && !(settling && one.parent == entry::settled_job)))) {
        throw std::invalid_argument{"penstock::job_entry: the parent of entry " + std::to_string(i) +
                                    (one.options->parent ? " is named twice" : " is not before it")};
      }
      a.texts.push_back(job_codec<Payload>::encode(*one.payload));
      a.jobs.push_back({.options = one.options, .payload = a.texts.back(), .watch = one.watch, .parent = one.parent});
      if (one.watch != nullptr) ++a.watches;
    }
  }
  struct ends {
    std::vector<sqlite_settlement> all = {};
    std::vector<addition> then = {};
    std::size_t watches = 0;
  };
  static void encode(std::span<const job_settlement<lease_type>> from, ends& to) {
    to.all.reserve(from.size());
    for (const auto& one : from) {
      to.all.push_back({.job = static_cast<std::int64_t>(one.lease->id().number()),
                        .fence = one.lease->fence(),
                        .how = one.how,
                        .at = one.at,
                        .why = &one.why,
                        .value = &one.value});
      if (one.then.empty()) continue;
      if (to.then.empty()) to.then.reserve(from.size());
      encode(one.then, true, to.then.emplace_back());
      to.all.back().then = to.then.back().jobs;
      to.watches += to.then.back().watches;
    }
  }
  static void answer(std::span<job_settlement<lease_type>> to, const std::vector<sqlite_settlement>& from) noexcept {
    for (std::size_t i = 0; i < to.size(); ++i) to[i].stale = from[i].stale;
  }

  /// Of what was fetched: how it is settled at once.
  struct unreadable {
    std::vector<job_text> reasons = {};
    std::vector<sqlite_settlement> all = {};
  };
  /// The leases of what was fetched. Payloads that the codec cannot read are dead letters.
  static void decode(std::vector<sqlite_fetched>& got, job_time now, std::vector<lease_type>& leases, unreadable& bad) {
    leases.reserve(leases.size() + got.size());
    bad.reasons.reserve(got.size());
    bad.all.reserve(got.size());
    for (auto& g : got) {
      std::string why;
      settle_as how = settle_as::failed;
      try {
        result<Payload> payload = job_codec<Payload>::decode(g.payload);
        if (payload) {
          std::string{}.swap(g.payload);
          leases.push_back(lease_type{std::move(g), std::move(*payload)});
          continue;
        }
        why = payload.error().message();
      } catch (const std::bad_alloc&) {
        how = settle_as::released;
      } catch (const std::exception& e) {
        why = e.what();
      } catch (...) {
        why = "an exception";
      }
      bad.reasons.push_back(std::make_shared<const std::string>("the payload cannot be read: " + why));
      bad.all.push_back({.job = static_cast<std::int64_t>(g.number),
                         .fence = g.fence,
                         .how = how,
                         .at = now,
                         .why = &bad.reasons.back(),
                         .value = &none});
    }
  }

 private:
  static inline const job_text none = nullptr;
};

}  // namespace penstock::inline v0_1::detail
