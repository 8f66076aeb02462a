/* SPDX-License-Identifier: MIT */
/*
 * The harness of the C++ test programs, as tests/test.h is for C: TEST(name) { ... } bodies, each in a process of its own, under a
 * time limit; TAP on stdout. argv[1] is the prefix of queue names. CHECK notes a failure and goes on.
 */
#ifndef CHECK_HPP
#define CHECK_HPP

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mqshm.hpp>

using namespace std::chrono_literals;

struct Test {
	const char *name;
	void (*run)();
};
inline std::vector<Test> tests;
inline int failures;
inline std::string prefix;

#define TEST(name_)                                                                           \
	static void name_();                                                                  \
	static const bool registered_##name_ = (tests.push_back({#name_, name_}), true);     \
	static void name_()

#define CHECK(...)                                                                            \
	do {                                                                                  \
		if (!(__VA_ARGS__)) {                                                         \
			failures++;                                                           \
			std::printf("# %s:%d: not true: %s\n", __FILE__, __LINE__, #__VA_ARGS__); \
			std::fflush(stdout);                                                  \
		}                                                                             \
	} while (0)

/* The statement throws mqshm::Error with this condition. */
#define CHECK_THROWS(condition, ...)                                                          \
	do {                                                                                  \
		bool right_ = false;                                                          \
		try {                                                                         \
			__VA_ARGS__;                                                          \
		} catch (const mqshm::Error &error_) {                                        \
			right_ = error_.code() == (condition);                                \
			if (!right_)                                                          \
				std::printf("# threw %s\n", error_.what());                   \
		}                                                                             \
		CHECK(right_ && #__VA_ARGS__[0]);                                             \
	} while (0)

inline std::string queue(const char *suffix)
{
	return prefix + suffix;
}

inline bool exists(const std::string &name)
{
	return access(("/dev/shm/mqshm." + name).c_str(), F_OK) == 0;
}

/* Run f in a child; its failures count there. */
template <class F>
pid_t in_child(F &&f)
{
	std::fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		failures = 0;
		alarm(60);
		f();
		std::fflush(stdout);
		_exit(failures ? 1 : 0);
	}
	return pid;
}

inline int wait_for(pid_t pid)
{
	int status = -1;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

int main(int argc, char **argv)
{
	int number = 0, failed = 0;

	prefix = argc > 1 ? argv[1] : "t" + std::to_string(getpid()) + "-";
	for (const Test &test : tests) {
		if (argc > 2 && std::string(argv[2]) != test.name)
			continue;
		std::fflush(stdout);
		pid_t pid = fork();
		if (pid == 0) {
			alarm(60);
#if MQSHM_HPP_EXCEPTIONS
			try {
				test.run();
			} catch (const std::exception &error) {
				failures++;
				std::printf("# threw %s\n", error.what());
			}
#else
			test.run();
#endif
			std::exit(failures ? 1 : 0);
		}
		int status = wait_for(pid);
		failed += status != 0;
		std::printf("%s %d - %s%s\n", status ? "not ok" : "ok", ++number, test.name,
			    WIFSIGNALED(status) ? " (ended by a signal)" : "");
	}
	return failed ? 1 : 0;
}

#endif
