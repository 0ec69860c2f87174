// penstock/job/job_id.hpp: which job.
//
//   penstock::job_id id = queue.add(mail).value();        // the store's own: a number
//   queue.find(penstock::job_id{"invoice-4711"});         // a name of your own (enqueue_options::job_id)
//
// A number means something to the store that gave it only; it is never given again while somebody can still have it, and says nothing about order.
//
// Thread safety  as any value. Cost  copying never throws: a name is shared.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace penstock::inline v0_1 {

class job_id {
 public:
  /// No job.
  job_id() noexcept = default;
  explicit job_id(std::uint64_t number) noexcept : number_{number} {}
  /// Throws std::bad_alloc.
  template <class = void>
  explicit job_id(std::string_view name) : name_{std::make_shared<const std::string>(name)} {}
  /// What a store gives: its number, and the name if the job has one.
  job_id(std::uint64_t number, std::shared_ptr<const std::string> name) noexcept : number_{number}, name_{std::move(name)} {}

  [[nodiscard]] explicit operator bool() const noexcept { return number_ != 0 || name_ != nullptr; }
  /// 0: only the name is known.
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
  /// Null: it has none.
  [[nodiscard]] const std::string* name() const noexcept { return name_.get(); }
  [[nodiscard]] std::string to_string() const { return name_ != nullptr ? *name_ : std::to_string(number_); }

  /// Whether both mean the same job of one store: by number if both have one, else by name.
  friend bool operator==(const job_id& a, const job_id& b) noexcept {
    if ((a.number_ != 0 && b.number_ != 0) || a.name_ == nullptr || b.name_ == nullptr) {
      return a.number_ == b.number_ && (a.number_ != 0 || a.name_ == b.name_);
    }
    return *a.name_ == *b.name_;
  }

 private:
  std::uint64_t number_ = 0;
  std::shared_ptr<const std::string> name_;
};

}  // namespace penstock::inline v0_1
