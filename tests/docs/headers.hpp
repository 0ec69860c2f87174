// What the examples at the top of the headers take for granted (check_code.py): what comes first all of them know, and of what stands below "// ---- HEADER" that
// one knows besides, or instead. Nothing of it need be defined.
#include <iostream>
using namespace penstock;

struct page {
  std::size_t size() const;
};
struct image {};
struct mail {};
struct row {};
struct user {
  std::uint64_t id;
};
struct reply {
  bool refused() const;
};
struct connection {
  explicit connection(std::string);
  bool ping();
  bool query(std::string_view);
  void get(std::string_view);
};
struct backend {
  std::string address;
  reply ask(std::string_view query);
  bool ask(std::string_view query, std::string& answer);
};
struct database_type {
  void insert(std::span<const row>);
  std::vector<user> users(std::span<const int>);
  void seen(const std::string&);
};
extern database_type db, database;
extern worker_pool pool;
extern registry all;
extern std::stop_token token;
extern std::uint64_t seed;
extern std::vector<std::string> urls, files;
extern std::vector<task<page>> fetches;
extern std::string url, key, query, answer, session_id, user_id;
void use(database_type&);
void serve();
void send(const std::string&);
void send(const mail&);
task<page> fetch(std::string);
template <class... Parts>
void log(const Parts&...);
template <class... Parts>
void report(const Parts&...);

// ---- batch/accumulator.hpp
extern row r;
// ---- batch/accumulator_options.hpp
void insert(std::span<const row>);
// ---- batch/batcher.hpp
using user_id = int;
extern std::vector<user_id> post_authors;

// ---- channel/broadcast.hpp
struct quote {};
std::optional<quote> read();
void show(const quote&);
// ---- channel/channel.hpp
struct request {};
std::optional<request> read();
void serve(request&);
// ---- channel/channel_options.hpp
struct sample {};
// ---- channel/endpoints.hpp
struct request {};
std::optional<request> read();
void serve(request&);
// ---- channel/select.hpp
struct request {};
struct response {};
extern response next;
extern channel<request> requests;
extern channel<response> replies;
void serve(const request&);
void serve(const result<request>&);
void finish();
void flush();
void leave();
// ---- channel/slots.hpp
extern int socket;
extern channel<page> requests;
page read(int);
// ---- channel/ticker.hpp
extern channel<std::string> lines;
extern manual_clock clock;
void read(const result<std::string>&);
template <class Time>
void sample(Time);
// ---- channel/watch.hpp
struct config {};
config load();
std::vector<config> changes();
void apply(const config&);

// ---- combine/bulk_options.hpp
void scan(const std::string&);
// ---- combine/combined_error.hpp
extern std::vector<task<void>> uploads;
// ---- combine/for_each.hpp
extern std::vector<double> samples;
extern int height;
double filter(double);
void render(int);
void scan(const std::string&);
// ---- combine/hedge.hpp
struct replica_set {
  int next();
};
extern replica_set replicas;
task<reply> ask(int, std::string);
// ---- combine/map.hpp
extern std::vector<image> photos;
image scale(const image&);
// ---- combine/map_as_completed.hpp
void use(const page&);
// ---- combine/map_unordered.hpp
page fetch(const std::string&);
void index(const page&);
// ---- combine/quorum.hpp
extern int replica_a, replica_b, replica_c, entry;
task<int> write(int, int);
// ---- combine/race.hpp
extern int connection;
task<int> read(int);
task<int> idle(std::chrono::nanoseconds);
// ---- combine/reduce.hpp
extern std::vector<double> prices;
extern std::vector<page> pages;
std::size_t count_words(const page&);
// ---- combine/settled.hpp
extern int late;
void keep(page);
// ---- combine/supervise.hpp
extern channel<int> queue;
task<void> consume(channel<int>&);
// ---- combine/when_all.hpp
struct order {};
extern int id;
task<user> load_user(int);
task<std::vector<order>> load_orders(int);
int f();
int g();
// ---- combine/when_all_settled.hpp
extern std::vector<task<void>> pings;
// ---- combine/when_any.hpp
extern std::string mirror_a, mirror_b;
// ---- combine/winner.hpp
extern std::string mirror_a, mirror_b;

// ---- core/acquirable.hpp
void answer_one();
// ---- core/backoff.hpp
extern manual_clock clock;
extern event stopped;
// ---- core/cached_clock.hpp
std::vector<int> poll();
void handle(const std::vector<int>&);
// ---- core/deadline.hpp
extern semaphore lease;
extern manual_clock clock;
// ---- core/manual_clock.hpp
extern event ready;
// ---- core/modifiers.hpp
extern semaphore permits;
// ---- core/range_result.hpp
extern channel<page> pages;
extern std::vector<page> batch;
// ---- core/result.hpp
extern semaphore connections;
extern wait_limits limits;
void use(semaphore::permit&);
void try_later();
// ---- core/retry_allowance.hpp
page fetch();
// ---- core/retry_policy.hpp
extern penstock::limiter limiter;
reply ask();
void insert(std::span<const row>);
// ---- core/scheduler.hpp
struct event_loop {
  void post(work_item&);
  bool is_current() const;
};
// ---- core/spawn.hpp
struct document {};
task<document> fetch(std::string);
// ---- core/sync_wait.hpp
struct cache_type {};
extern cache_type cache;
task<int> lookup(cache_type&, std::string);
// ---- core/task.hpp
struct key {};
struct cache {
  semaphore permits;
  task<int> load(key);
};
// ---- core/task_group.hpp
struct listener {
  task<result<connection>> async_accept();
};
task<void> handle(connection);
// ---- core/trace_context.hpp
extern std::map<std::string, std::string> request;
// ---- core/tracer.hpp
std::uint64_t now();
trace_context new_child_of(const trace_context&);
void write(const trace_span&, trace_outcome, std::uint64_t);

// ---- ext/as_asio.hpp
#include <asio.hpp>
#include <future>
extern asio::io_context io;
extern semaphore permits;
extern channel<int> orders;
extern event ready;
// ---- ext/as_sender.hpp
#include <penstock/ext/stdexec.hpp>
struct order {};
extern channel<order> orders;
int ship(const order&);
// ---- ext/asio_scheduler.hpp
#include <asio.hpp>
struct http_request {};
extern http_request request;
page render(const http_request&);
// ---- ext/beman_execution.hpp: a source includes one implementation of std::execution only
// ---- ext/boost_asio.hpp: a source includes one of the two Asios only
// ---- ext/celery_producer.hpp
extern std::string picture;
template <class Value>
void show(const Value&);
// ---- ext/execution.hpp
struct order {};
extern channel<order> orders;
// ---- ext/fmt.hpp
#include <fmt/core.h>
extern result<double> price;
extern registry_snapshot before;
// ---- ext/format.hpp
#include <format>
extern result<double> price;
// ---- ext/from_sender.hpp
#include <penstock/ext/stdexec.hpp>
struct part {};
struct report {};
part load_part(int);
inline auto load(int n) { return stdexec::just(n) | stdexec::then(load_part); }
// ---- ext/pool_context.hpp
#include <asio.hpp>
// ---- ext/prometheus.hpp
#include <prometheus/exposer.h>
// ---- ext/redis_commands.hpp
#include <penstock/ext/redis_connection.hpp>
extern redis_connection redis;
extern std::string text;
// ---- ext/redis_connection.hpp
extern std::string secret;
extern redis_options options;
// ---- ext/redis_errc.hpp
#include <penstock/ext/redis_connection.hpp>
extern redis_connection redis;
void try_again();
// ---- ext/redis_reply.hpp
#include <penstock/ext/redis_connection.hpp>
extern redis_connection redis;
void print(const std::string&);
// ---- ext/redis_semaphore.hpp
struct problem_type {};
struct solution_type {};
struct storage_type {
  void write(const solution_type&, std::int64_t fence);
};
extern problem_type problem;
extern solution_type result;
extern storage_type storage;
void solve(const problem_type&, std::stop_token);
// ---- ext/redis_store_options.hpp
#include <penstock/ext/redis_store.hpp>
// ---- ext/redis_token_bucket.hpp
struct request_type {};
extern request_type request;
void send(const request_type&);
void refuse(const request_type&, const result<std::chrono::nanoseconds>&);
// ---- ext/sqlite_error.hpp
#include <penstock/ext/sqlite_store.hpp>
extern std::string letter;
extern job_queue<std::string, sqlite_store<std::string>> mails;
// ---- ext/sqlite_store.hpp
using mail = std::string;
// ---- ext/sqlite_store_options.hpp
#include <penstock/ext/sqlite_store.hpp>
using mail = std::string;
// ---- ext/std_execution.hpp: a source includes one implementation of std::execution only
// ---- ext/stdexec.hpp
struct order {};
extern channel<order> orders;
page render();
inline auto load(int n) { return stdexec::just(n); }
// ---- ext/supervised_process.hpp
#include <penstock/ext/reuse_port.hpp>
struct http_server {
  explicit http_server(int);
  bool drain(std::chrono::nanoseconds);
};
extern reuse_port port;
// ---- ext/supervisor.hpp
#include <penstock/ext/reuse_port.hpp>
int serve(int, supervised_process&);
// ---- ext/time_zones.hpp: it needs a standard library with time zones
// ---- ext/use_task.hpp
#include <asio.hpp>

// ---- job/circuit_breaker.hpp
extern int id;
row query(int);
row cached(int);
task<row> load(int);
bool ask(int);
// ---- job/enqueue_options.hpp
extern job_queue<std::string> queue;
extern std::string mail, report, sync;
// ---- job/job.hpp
struct mail {
  std::string to;
};
struct page {
  std::string url;
};
struct response {
  int status;
  std::chrono::seconds retry_after;
  std::size_t size;
};
bool known(const std::string&);
void deliver(const mail&, std::stop_token);
task<response> get(std::string);
// ---- job/job_codec.hpp: a specialization stands in the namespace of what it specializes
// ---- job/job_flow.hpp
struct work {};
extern job_queue<work> queue;
extern work join;
work cut(int);
// ---- job/job_group.hpp
extern job_queue<std::string> queue;
extern std::string report;
// ---- job/job_handlers.hpp
extern job_queue<mail> mails;
extern mail letter;
task<int> print(const mail&);
// ---- job/job_id.hpp
extern job_queue<std::string> queue;
extern std::string mail;
// ---- job/job_queue.hpp
extern mail welcome, letter, invoice;
// ---- job/job_schedule.hpp
struct report {};
struct poll : report {};
extern job_queue<report> queue;
// ---- job/job_time_zone.hpp: it needs a standard library with time zones
// ---- job/job_worker.hpp
extern job_queue<mail> mails;
// ---- job/job_worker_options.hpp
extern job_queue<std::string> queue;
void handle(job<std::string>&);
// ---- job/retry.hpp
extern int server;
reply ask(int, std::string);
task<reply> ask_async(int, std::string);
// ---- job/retry_budget.hpp
reply ask();

// ---- observe/histogram.hpp
extern std::chrono::steady_clock::time_point start, finish;
// ---- observe/metric_distribution.hpp
extern histogram latency;
extern metric_distribution earlier;
// ---- observe/metric_sink.hpp
struct mailer {
  histogram waits;
  std::size_t waiting() const;
  std::uint64_t refused() const;
  std::uint64_t bytes() const;
};
// ---- observe/prometheus_text.hpp
void answer(std::string_view type, const std::string& body);
// ---- observe/registry.hpp
extern counter placed;
extern std::stop_token stop;
// ---- observe/terminal_view.hpp
std::string table();

// ---- pool/keyed_resource_pool.hpp
connection connect_to(const std::string&);
// ---- pool/pool_stats.hpp
template <class... Parts>
void warn(const Parts&...);
// ---- pool/resource_lease.hpp
extern resource_pool<connection> connections;
// ---- pool/resource_pool_options.hpp
extern worker_pool workers;
// ---- pool/strand.hpp
#include <fstream>
extern std::ofstream file;
extern std::string line;
extern int connection;
task<void> talk(int);
// ---- pool/submit_options.hpp
extern image frame;
extern int request;
image render(int);
void show(const image&);
void count_late();
// ---- pool/worker_pool.hpp
extern image picture;
extern int request;
image scale(const image&);
task<page> render(int);

// ---- rate/adaptive_limit.hpp
extern int request;
void answer(int);
void refuse(int);
// ---- rate/adaptive_permit.hpp
extern adaptive_limit<> limit;
extern backend service;
// ---- rate/codel.hpp
struct queued {
  std::chrono::steady_clock::time_point queued_at;
  void refuse();
};
extern channel<queued> queue;
extern std::chrono::steady_clock clock;
void run(queued&);
// ---- rate/debounce.hpp
using user = std::string;
struct document {};
struct receipt {};
struct document_store {
  receipt write(const document&);
};
extern document d;
extern document_store store;
// ---- rate/fixed_window.hpp
extern std::chrono::system_clock system_clock;
// ---- rate/key_hash.hpp
struct request_type {
  std::string_view user_view() const;
};
extern request_type request;
// ---- rate/keyed_limiter.hpp
extern std::string user;
int too_many_requests(std::chrono::nanoseconds);
// ---- rate/leaky_bucket.hpp
void call();
int busy();
// ---- rate/limiter.hpp
page get(const std::string&);
// ---- rate/throttle.hpp
struct progress {};
struct progress_bar {
  void show(const progress&);
};
using session_id = std::string;
extern progress p;
extern progress_bar bar;
// ---- rate/token_bucket.hpp
struct request_type {};
extern request_type request;
extern std::int64_t bytes;
void send(const request_type&);
void refuse(const request_type&, std::chrono::nanoseconds);

// ---- route/balancer.hpp
std::string error(std::string_view);
// ---- route/balancer_lease.hpp
extern balancer<backend> backends;
// ---- route/balancer_options.hpp
void show(const endpoint_stats&);
// ---- route/concurrent_hash_ring.hpp
bool serve();
// ---- route/hash.hpp
extern struct user user;
// ---- route/ip_address.hpp
extern balancer<backend, consistent_hash<hash_ring>> backends;
// ---- route/jump.hpp
extern std::size_t shards;
void ask(const std::string&);
// ---- route/maglev.hpp
extern std::vector<std::string> names;
// ---- route/ring_diff.hpp
extern hash_ring<std::string> ring;
void copy_keys(std::uint64_t first, std::uint64_t last, const std::string& from, const std::string& to);
void print(const std::string&, double);
// ---- route/ring_token.hpp
struct request_type {
  std::string key;
};
extern hash_ring<std::string> ring;
extern request_type request;
int no_backend();
void send(const std::string&, const request_type&);
// ---- route/sticky.hpp
extern ip_address address;
// ---- route/weighted_round_robin.hpp
extern backend big, a, b;

// ---- stream/generator.hpp
#include <ranges>
bool even(int);
void print(int);
// ---- stream/operators.hpp
extern std::string path;
bool not_empty(const std::string&);
std::vector<row> parse(const std::vector<std::string>&);
void insert(const std::vector<row>&);
// ---- stream/pipeline.hpp
struct entry {};
struct entries {
  void insert(const std::vector<entry>&);
};
extern entries database;
bool is_error(const std::string&);
entry parse(const std::string&);
// ---- stream/report.hpp
auto p = from(std::vector<int>{1}) | to([](int) {});
// ---- stream/sources.hpp
void count(const std::string&);
bool is_image(const walk_entry&);
void thumbnails(const walk_entry&);

// ---- sync/permit.hpp
extern semaphore connections;
// ---- sync/shared_future.hpp
struct config {
  int port;
};
config load();
// ---- sync/wait_group.hpp
struct url {};
extern std::vector<url> urls;
void fetch(const url&);

// ---- testing/manual_executor.hpp
extern event ready;
void REQUIRE(bool);
void REQUIRE_FALSE(bool);
// ---- testing/seeded_executor.hpp
struct account {
  explicit account(int);
  int balance() const;
};
task<void> transfer(account&, int);
template <class Value>
void REQUIRE_FALSE(const Value&);
