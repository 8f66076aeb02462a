/* SPDX-License-Identifier: MIT */
/*
 * Executes hot calls one instruction at a time and looks at each instruction that is really executed (x86-64): what
 * stands in cold branches does not count, and what libc does on the way does. step QUEUE [MODE]
 *
 * The calls run in a forked child, so that its code lies at the same addresses here. It stops by int3 before a call; we
 * step until it arrives at after_call().
 *
 * One line a kind:
 *	mode kind bytes=.. calls=.. instructions=<median of a call> most=.. fences=<median> fences_most=..
 *	fences_more=<calls with more than the median> locked=.. divisions=.. syscalls=..
 * fences are `lock addl $0, -4(%rsp)`; locked are all others with a lock prefix, xchg with memory, mfence.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hot.h"

#define CALLS 24 /* single steps are slow: 20 us and more each */

struct count {
	unsigned instructions, fences, locked, divisions, syscalls;
};

enum what { ORDINARY, FENCE, LOCKED, DIVISION, SYSCALL };

static enum what decode(const unsigned char *at)
{
	static const unsigned char fence[] = { 0xf0, 0x83, 0x44, 0x24, 0xfc, 0x00 };
	int lock = 0;

	if (!memcmp(at, fence, sizeof fence))
		return FENCE;
	for (;; at++) { /* legacy prefixes */
		if (*at == 0xf0)
			lock = 1;
		else if (*at != 0x66 && *at != 0x67 && *at != 0xf2 && *at != 0xf3 && *at != 0x2e && *at != 0x36 &&
			 *at != 0x3e && *at != 0x26 && *at != 0x64 && *at != 0x65)
			break;
	}
	if (lock)
		return LOCKED;
	if ((*at & 0xf0) == 0x40) /* REX */
		at++;
	switch (*at) { /* VEX and EVEX begin with c4, c5, 62: none of these */
	case 0x86:
	case 0x87: /* xchg: with memory it locks by itself */
		return at[1] >> 6 == 3 ? ORDINARY : LOCKED;
	case 0xf6:
	case 0xf7: /* /6 div, /7 idiv */
		return (at[1] >> 3 & 7) >= 6 ? DIVISION : ORDINARY;
	case 0xcd: /* int n */
		return SYSCALL;
	case 0x0f:
		if (at[1] == 0x05 || at[1] == 0x34)
			return SYSCALL;
		if (at[1] == 0xae && at[2] == 0xf0) /* mfence */
			return LOCKED;
		return ORDINARY;
	default:
		return ORDINARY;
	}
}

__attribute__((noinline)) static void after_call(void)
{
	__asm__ __volatile__("");
}

static void child(const char *queue, uint32_t flags, size_t bytes)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(77);
	hot_open(queue, flags, bytes);
	for (const struct hot_kind *kind = hot_kinds; kind->name; kind++)
		for (int i = 0; i < CALLS; i++) {
			__asm__ __volatile__("int3");
			kind->call();
			after_call();
			hot_back(kind);
		}
	hot_close();
	exit(0);
}

static struct user_regs_struct registers(pid_t pid)
{
	struct user_regs_struct r;

	if (ptrace(PTRACE_GETREGS, pid, NULL, &r)) {
		perror("PTRACE_GETREGS");
		exit(2);
	}
	return r;
}

/* Wait for a stop by SIGTRAP; 0 when the child has ended well. */
static int stopped(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		exit(2);
	if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP)
		return 1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status))
		exit(WEXITSTATUS(status));
	fprintf(stderr, "the stepped process ended with status 0x%x\n", status);
	kill(pid, SIGKILL);
	exit(2);
}

static struct count step_call(pid_t pid)
{
	struct count c = { 0, 0, 0, 0, 0 };
	unsigned long long before = 0;

	for (;;) {
		unsigned long long at = registers(pid).rip;
		enum what what;

		if (at == (unsigned long long)(uintptr_t)after_call)
			return c;
		if (at != before) { /* rep stops at each round */
			what = decode((const unsigned char *)(uintptr_t)at);
			c.instructions++;
			c.fences += what == FENCE;
			c.locked += what == LOCKED;
			c.divisions += what == DIVISION;
			c.syscalls += what == SYSCALL;
			if (what == LOCKED || what == DIVISION || what == SYSCALL)
				printf("# %s at %#llx\n",
				       what == LOCKED ? "locked" : what == DIVISION ? "division" : "system call", at);
		}
		before = at;
		ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
		if (!stopped(pid))
			exit(2);
	}
}

static int by_number(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	return (x > y) - (x < y);
}

static void report(const char *mode, const struct hot_kind *kind, size_t bytes, const struct count *counts)
{
	unsigned instructions[CALLS], fences[CALLS], more = 0, locked = 0, divisions = 0, syscalls = 0;

	for (int i = 0; i < CALLS; i++) {
		instructions[i] = counts[i].instructions;
		fences[i] = counts[i].fences;
		locked += counts[i].locked;
		divisions += counts[i].divisions;
		syscalls += counts[i].syscalls;
	}
	qsort(instructions, CALLS, sizeof *instructions, by_number);
	qsort(fences, CALLS, sizeof *fences, by_number);
	for (int i = 0; i < CALLS; i++)
		more += counts[i].fences > fences[CALLS / 2];
	printf("%s %s bytes=%zu calls=%d instructions=%u most=%u fences=%u fences_most=%u fences_more=%u locked=%u "
	       "divisions=%u syscalls=%u\n",
	       mode, kind->name, bytes, CALLS, instructions[CALLS / 2], instructions[CALLS - 1], fences[CALLS / 2],
	       fences[CALLS - 1], more, locked, divisions, syscalls);
}

static void run(const char *queue, const char *mode, uint32_t flags, size_t bytes)
{
	static struct count counts[CALLS];
	const struct hot_kind *kind = hot_kinds;
	int i = 0;
	pid_t pid;

	(void)fflush(stdout);
	pid = fork();
	if (pid == 0)
		child(queue, flags, bytes);
	while (stopped(pid)) {
		counts[i++] = step_call(pid);
		if (i == CALLS) {
			report(mode, kind++, bytes, counts);
			i = 0;
		}
		ptrace(PTRACE_CONT, pid, NULL, NULL);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *mode;
		uint32_t flags;
	} modes[] = {
		{ "exclusive", MQSHM_TIMESTAMP_OFF },
		{ "exclusive,timestamps", 0 },
		{ "shared", MQSHM_SHARED | MQSHM_TIMESTAMP_OFF },
	};

	if (argc < 2)
		return 2;
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
		if (argc == 2 || !strcmp(argv[2], modes[i].mode))
			run(argv[1], modes[i].mode, modes[i].flags, 8);
	return 0;
}
