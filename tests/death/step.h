/* SPDX-License-Identifier: MIT */
/* Leading a process by single instructions, with ptrace. The victim calls be_led() where that shall begin. */
#ifndef DEATH_STEP_H
#define DEATH_STEP_H

#include <sys/ptrace.h>

#include "conformance/peers.h"

static inline void be_led(void)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(TEST_SKIPPED);
	raise(SIGSTOP);
}

/* Lead it on by that many instructions, to its end at most. */
static inline void step(pid_t victim, int instructions)
{
	int status = 0;

	for (int i = 0; i < instructions; i++) {
		REQUIRE_EQ(ptrace(PTRACE_SINGLESTEP, victim, NULL, NULL), 0);
		REQUIRE_EQ(waitpid(victim, &status, 0), victim);
		REQUIRE(WIFSTOPPED(status));
	}
}

/* Start a victim and lead it by that many instructions. */
static inline pid_t lead(void (*run)(void *), void *arg, int instructions)
{
	pid_t victim = spawn(run, arg);
	int status = 0;

	REQUIRE_EQ(waitpid(victim, &status, 0), victim);
	if (WIFEXITED(status) && WEXITSTATUS(status) == TEST_SKIPPED)
		SKIP("ptrace is not allowed here");
	REQUIRE(WIFSTOPPED(status));
	step(victim, instructions);
	return victim;
}

static inline void let_go(pid_t victim)
{
	REQUIRE_EQ(ptrace(PTRACE_DETACH, victim, NULL, NULL), 0);
}

#endif
