#include "engine.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

namespace load {

namespace {

using std::chrono::nanoseconds;
constexpr nanoseconds never = nanoseconds::max();
constexpr std::uint64_t interrupt_event = ~std::uint64_t{0};

[[noreturn]] void raise(const char* what) { throw std::system_error{errno, std::generic_category(), what}; }

std::size_t share_of(std::size_t all, std::size_t index, std::size_t of) { return all / of + (index < all % of ? 1 : 0); }

int wait_for_events(int epoll, ::epoll_event* events, int most, nanoseconds at_most) {
  at_most = std::clamp(at_most, nanoseconds{0}, nanoseconds{std::chrono::hours{1}});
  const ::timespec timeout{static_cast<::time_t>(at_most.count() / 1'000'000'000),
                           static_cast<long>(at_most.count() % 1'000'000'000)};
  const int n = ::epoll_pwait2(epoll, events, most, &timeout, nullptr);
  if (n >= 0 || errno != ENOSYS) return n;
  const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(at_most).count();  // Linux before 5.11
  return ::epoll_wait(epoll, events, most, static_cast<int>(milliseconds));
}

}  // namespace

engine::connection::connection(std::uint64_t seed)
    : pause{penstock::backoff::exponential(std::chrono::milliseconds{1}, std::chrono::seconds{1})
                .with_jitter(penstock::jitter::equal),
            seed} {}

engine::engine(const options& o, const address& server, const rate_profile& profile, std::size_t index)
    : options_{o},
      server_{server},
      steps_before_{profile.steps().size() > o.steps.size() ? 1u : 0u},
      live_{std::make_unique<live_view>()},
      requests_{o, o.seed + index},
      arrivals_{profile, o.how, o.seed, index, o.threads},
      epoll_{::epoll_create1(EPOLL_CLOEXEC)},
      interrupt_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)},
      buffer_(std::size_t{64} << 10) {
  if (!epoll_.is_open() || !interrupt_.is_open()) raise("epoll");
  ::epoll_event event{.events = EPOLLIN, .data = {.u64 = interrupt_event}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, interrupt_.get(), &event) != 0) raise("epoll");
  for (std::size_t i = 0; i < o.steps.size(); ++i) measured_.push_back(std::make_unique<measurements>());
  const std::size_t n = share_of(o.connections, index, o.threads);
  connections_.reserve(n);
  for (std::size_t i = 0; i < n; ++i) connections_.emplace_back(o.seed + i);
}

void engine::run(const std::stop_token& stop) {
  ::prctl(PR_SET_TIMERSLACK, 1UL);  // waits end when they should, and not up to 50 us later
  const std::stop_callback interrupt{stop, [fd = interrupt_.get()] { static_cast<void>(::eventfd_write(fd, 1)); }};
  start_ = std::chrono::steady_clock::now();
  open_all();
  start_ = std::chrono::steady_clock::now();
  if (options_.open_loop) {
    next_ = arrivals_.next();
  } else {
    for (std::uint32_t i = 0; i < connections_.size(); ++i) next_on(i, now());
  }
  for (;;) {
    admit();
    wake_rested();
    expire();
    if (interrupted_) return abandon();
    if (finished()) return;
    wait(next_due());
  }
}

// So that connecting, which the warm-up may be too short for, is not part of what is measured. What cannot be connected now is tried again when it is
// needed.
void engine::open_all() {
  for (std::uint32_t i = 0; i < connections_.size(); ++i) connect(i);
  while (connecting_ != 0 && !interrupted_ && now() < options_.timeout) wait(options_.timeout);
  if (!options_.open_loop) return;
  for (std::uint32_t i = 0; i < connections_.size(); ++i) idle_.push_back(i);
}

void engine::admit() {
  if (!options_.open_loop) return;
  while (next_ && next_->at <= now()) {
    const request r{next_->at, next_->step < steps_before_ ? nullptr : measured_[next_->step - steps_before_].get()};
    next_ = arrivals_.next();
    if (r.counts != nullptr) r.counts->intended.add();
    if (!idle_.empty() && queue_.empty()) {
      const std::uint32_t index = idle_.front();
      idle_.pop_front();
      start(index, r);
    } else if (queue_.size() < options_.most_queued) {
      if (r.counts != nullptr) r.counts->queued.add();
      queue_.push_back(r);
      live_->queued.add();
    } else {
      count_failure(r, failure::overflow);
    }
  }
  // A failure leaves a connection idle although somebody is queued.
  for (std::size_t n = idle_.size(); n != 0 && !queue_.empty(); --n) {
    const std::uint32_t index = idle_.front();
    idle_.pop_front();
    next_on(index, now());
  }
}

void engine::expire() {
  const nanoseconds latest = now() - options_.timeout;
  while (first_busy_ != none && connections_[first_busy_].current.intended <= latest) failed(first_busy_, failure::timeout);
  while (!queue_.empty() && queue_.front().intended <= latest) {
    count_failure(queue_.front(), failure::timeout);
    queue_.pop_front();
    live_->queued.sub();
  }
}

void engine::wake_rested() {
  if (resting_.empty()) return;
  const nanoseconds at = now();
  const auto rested = std::partition(resting_.begin(), resting_.end(), [at](const rest& r) { return r.until > at; });
  const std::vector<rest> over{rested, resting_.end()};
  resting_.erase(rested, resting_.end());
  for (const rest& r : over) next_on(r.index, at);
}

bool engine::finished() const {
  if (busy_ != 0) return false;
  return options_.open_loop ? !next_ && queue_.empty() : now() >= options_.warm_up + options_.duration;
}

engine::nanoseconds engine::next_due() const {
  nanoseconds due = options_.open_loop ? never : options_.warm_up + options_.duration;
  if (next_) due = std::min(due, next_->at);
  if (!options_.open_loop && busy_ != 0) due = never;  // the end of the run is when they have their answers
  if (first_busy_ != none) due = std::min(due, connections_[first_busy_].current.intended + options_.timeout);
  if (!queue_.empty()) due = std::min(due, queue_.front().intended + options_.timeout);
  for (const rest& r : resting_) due = std::min(due, r.until);
  // Those that are queued beside idle connections are there because none could be had: not all at once, and not in a circle.
  if (!queue_.empty() && !idle_.empty()) due = std::min(due, now() + std::chrono::milliseconds{1});
  return due;
}

void engine::wait(nanoseconds until) {
  std::array<::epoll_event, 128> events;
  const int n = wait_for_events(epoll_.get(), events.data(), static_cast<int>(events.size()), until - now());
  if (n < 0 && errno != EINTR) raise("epoll_wait");
  for (int i = 0; i < n; ++i) handle(events[static_cast<std::size_t>(i)]);
}

void engine::handle(const ::epoll_event& event) {
  if (event.data.u64 == interrupt_event) {
    interrupted_ = true;
    ::eventfd_t ignored = 0;
    static_cast<void>(::eventfd_read(interrupt_.get(), &ignored));
    return;
  }
  const auto index = static_cast<std::uint32_t>(event.data.u64);
  connection& c = connections_[index];
  if (c.generation != event.data.u64 >> 32 || !c.socket.is_open()) return;
  if (c.state == link::connecting) {
    int error = 0;
    ::socklen_t size = sizeof error;
    if (::getsockopt(c.socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
      failed(index, failure::connect);
      return;
    }
    if ((event.events & EPOLLOUT) == 0) return;
    connected(index);
  } else if (!c.unsent.empty() && (event.events & EPOLLOUT) != 0) {
    send_rest(index);
  }
  if (c.socket.is_open() && (event.events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) read(index, event.events);
}

void engine::abandon() {
  for (std::uint32_t i = first_busy_; i != none; i = connections_[i].after) {
    if (connections_[i].current.counts != nullptr) connections_[i].current.counts->unfinished.add();
  }
  for (const request& r : queue_) {
    if (r.counts != nullptr) r.counts->unfinished.add();
  }
}

void engine::start(std::uint32_t index, const request& r) {
  connection& c = connections_[index];
  c.current = r;
  c.sent = now();
  c.busy = true;
  enlist(index);
  live_->sent.add();
  live_->in_flight.add();
  c.reader.begin(requests_.is_head());
  if (c.state == link::open)
    send(index);
  else if (c.state == link::closed)
    connect(index);
}

// The connection has nothing to do.
void engine::next_on(std::uint32_t index, nanoseconds at) {
  if (options_.open_loop) {
    while (!queue_.empty()) {
      const request r = queue_.front();
      queue_.pop_front();
      live_->queued.sub();
      if (r.intended + options_.timeout > at) return start(index, r);
      count_failure(r, failure::timeout);
    }
    idle_.push_back(index);
  } else if (at < options_.warm_up + options_.duration) {
    const request r{at, at < options_.warm_up ? nullptr : measured_[0].get()};
    if (r.counts != nullptr) r.counts->intended.add();
    start(index, r);
  }
}

void engine::connect(std::uint32_t index) {
  connection& c = connections_[index];
  c.socket = descriptor{::socket(server_.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  ++c.generation;
  const int on = 1;
  ::epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                      .data = {.u64 = std::uint64_t{c.generation} << 32 | index}};
  if (c.socket.is_open()) static_cast<void>(::setsockopt(c.socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
  if (!c.socket.is_open() || ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, c.socket.get(), &event) != 0 ||
      (::connect(c.socket.get(), reinterpret_cast<const ::sockaddr*>(&server_.storage), server_.length) != 0 &&
       errno != EINPROGRESS)) {
    failed(index, failure::connect);
    return;
  }
  c.state = link::connecting;
  ++connecting_;
}

void engine::connected(std::uint32_t index) {
  connection& c = connections_[index];
  c.state = link::open;
  --connecting_;
  if (c.busy) {
    if (c.current.counts != nullptr) c.current.counts->connects.add();
    send(index);
  }
}

void engine::send(std::uint32_t index) {
  connection& c = connections_[index];
  const std::string_view text = requests_.next();
  const ::ssize_t n = ::send(c.socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
    failed(index, failure::reset);
    return;
  }
  const std::size_t written = n < 0 ? 0 : static_cast<std::size_t>(n);
  if (c.current.counts != nullptr) c.current.counts->bytes_written.add(written);
  if (written == text.size()) return;
  c.unsent = text.substr(written);
  if (n < 0 && errno == EINTR) send_rest(index);
}

void engine::send_rest(std::uint32_t index) {
  connection& c = connections_[index];
  while (!c.unsent.empty()) {
    const ::ssize_t n = ::send(c.socket.get(), c.unsent.data(), c.unsent.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (n < 0) {
      failed(index, failure::reset);
      return;
    }
    if (c.current.counts != nullptr) c.current.counts->bytes_written.add(static_cast<std::uint64_t>(n));
    c.unsent.erase(0, static_cast<std::size_t>(n));
  }
}

void engine::read(std::uint32_t index, std::uint32_t events) {
  connection& c = connections_[index];
  const bool ends = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
  for (;;) {
    const ::ssize_t n = ::recv(c.socket.get(), buffer_.data(), buffer_.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (!c.busy) return disconnect(c);  // it ended while idle, which a server may do; or said what nobody asked
    if (n < 0) return failed(index, failure::reset);
    if (n == 0) return c.reader.end() ? answered(index, false) : failed(index, failure::closed);
    const std::string_view data{buffer_.data(), static_cast<std::size_t>(n)};
    if (c.current.counts != nullptr) c.current.counts->bytes_read.add(data.size());
    const std::size_t taken = c.reader.feed(data);
    if (c.reader.broken()) return failed(index, failure::broken);
    if (c.reader.done()) return answered(index, c.reader.keeps_alive() && taken == data.size() && !ends && c.unsent.empty());
    if (data.size() < buffer_.size() && !ends) return;  // all that had come: more, or the end, is another event
  }
}

void engine::answered(std::uint32_t index, bool reusable) {
  connection& c = connections_[index];
  const nanoseconds at = now();
  if (measurements* const m = c.current.counts; m != nullptr) {
    const auto status = static_cast<std::size_t>(c.reader.status());
    m->status[status].add();
    m->latency[status / 100 - 2].record(at - c.current.intended);
    m->service.record(at - c.sent);
    if (options_.open_loop) m->late.record(c.sent - c.current.intended);
  }
  live_->latency.record(at - c.current.intended);
  live_->answered.add();
  live_->in_flight.sub();
  c.pause.reset();
  delist(index);
  if (!reusable) disconnect(c);
  next_on(index, at);
}

// Never begins another request, so that nothing recurs when nothing works.
void engine::failed(std::uint32_t index, failure why) {
  connection& c = connections_[index];
  const bool had_request = c.busy;
  if (had_request) {
    count_failure(c.current, why);
    live_->in_flight.sub();
    delist(index);
  }
  disconnect(c);
  if (!had_request) return;
  if (options_.open_loop)
    idle_.push_back(index);
  else
    resting_.push_back({now() + c.pause.next(), index});
}

void engine::count_failure(const request& r, failure why) {
  live_->failed.add();
  if (r.counts != nullptr) r.counts->failed[static_cast<std::size_t>(why)].add();
}

void engine::disconnect(connection& c) noexcept {
  if (c.state == link::connecting) --connecting_;
  c.state = link::closed;
  c.socket.reset();
  c.unsent.clear();
}

void engine::enlist(std::uint32_t index) noexcept {
  connections_[index].before = last_busy_;
  connections_[index].after = none;
  (last_busy_ == none ? first_busy_ : connections_[last_busy_].after) = index;
  last_busy_ = index;
  ++busy_;
}

void engine::delist(std::uint32_t index) noexcept {
  connection& c = connections_[index];
  (c.before == none ? first_busy_ : connections_[c.before].after) = c.after;
  (c.after == none ? last_busy_ : connections_[c.after].before) = c.before;
  c.busy = false;
  --busy_;
}

}  // namespace load
