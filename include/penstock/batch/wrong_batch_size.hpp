// penstock/batch/wrong_batch_size.hpp: a batch function that gave more or fewer answers than there were keys, or items, in its batch.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

namespace penstock::inline v0_1 {

/// What every caller of that batch gets, from a batcher and from an accumulator, for nobody knows whose answer is whose.
class wrong_batch_size : public std::runtime_error {
 public:
  wrong_batch_size(std::size_t batch_size, std::size_t answers)
      : std::runtime_error{"a batch function gave " + std::to_string(answers) + " answers for a batch of " +
                           std::to_string(batch_size)},
        batch_size_{batch_size},
        answers_{answers} {}
  /// Keys, or items, of the batch.
  [[nodiscard]] std::size_t batch_size() const noexcept { return batch_size_; }
  [[nodiscard]] std::size_t answers() const noexcept { return answers_; }

 private:
  std::size_t batch_size_;
  std::size_t answers_;
};

}  // namespace penstock::inline v0_1
