// Shows how far a build is: a bar on a terminal, a line now and then elsewhere.
#pragma once

#include <penstock/sync/event.hpp>

#include <stop_token>
#include <thread>

#include "options.hpp"
#include "pipeline.hpp"

namespace fulltext {

/// Shows it from construction to destruction, on the standard error stream; nothing if that is what the options ask for.
class progress_display {
 public:
  progress_display(const pipeline& build, const build_options& options);
  ~progress_display();
  progress_display(const progress_display&) = delete;
  progress_display& operator=(const progress_display&) = delete;

 private:
  void draw_bar(const std::stop_token& stop);
  void print_lines(const std::stop_token& stop);
  void survey(const std::stop_token& stop);

  const pipeline& build_;
  pipeline::progress total_;
  penstock::event surveyed_;  // total_ is known
  std::jthread surveying_;
  std::jthread showing_;
};

}  // namespace fulltext
