#include "command.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace jobs {

namespace {

/// How a child is started: in a group of its own, so that a Ctrl-C is for the worker alone, and with the signals as they usually are.
struct spawn_rules {
  spawn_rules() {
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_init(&files);
    ::sigset_t none;
    ::sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  }
  spawn_rules(const spawn_rules&) = delete;
  spawn_rules& operator=(const spawn_rules&) = delete;
  ~spawn_rules() {
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
  }
  ::posix_spawnattr_t attributes{};
  ::posix_spawn_file_actions_t files{};
};

}  // namespace

penstock::job_outcome run_command(const std::string& command, std::string text, penstock::job<std::string>& j) {
  std::string shell_command = command;
  std::string id = "PENSTOCK_JOB_ID=" + j.id().to_string();
  std::string attempt = "PENSTOCK_JOB_ATTEMPT=" + std::to_string(j.attempt());
  char shell[] = "sh";
  char dash_c[] = "-c";
  char name[] = "penstock-jobs";
  char* const arguments[] = {shell, dash_c, shell_command.data(), name, text.data(), nullptr};
  std::vector<char*> environment;
  for (char** v = environ; *v != nullptr; ++v) {
    if (std::strncmp(*v, "PENSTOCK_JOB_", 13) != 0) environment.push_back(*v);
  }
  environment.insert(environment.end(), {id.data(), attempt.data(), nullptr});

  const std::stop_token stop = j.get_stop_token();
  const spawn_rules rules;
  ::pid_t child = 0;
  if (const int error = ::posix_spawn(&child, "/bin/sh", &rules.files, &rules.attributes, arguments, environment.data());
      error != 0) {
    return penstock::job_outcome::failed("cannot start a shell: " + std::string{std::strerror(error)});
  }
  {
    const std::stop_callback end{stop, [child] { ::kill(-child, SIGTERM); }};
    ::siginfo_t info{};
    while (::waitid(P_PID, static_cast<::id_t>(child), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
    }
  }  // now nobody signals it any more, and its number may be given to others
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) return penstock::job_outcome::failed("signal " + std::to_string(WTERMSIG(status)));
  const int code = WEXITSTATUS(status);
  if (code == 0) return penstock::job_outcome::done();
  const std::string why = "exit status " + std::to_string(code);
  return code == 65 ? penstock::job_outcome::unrecoverable(why) : penstock::job_outcome::failed(why);
}

}  // namespace jobs
