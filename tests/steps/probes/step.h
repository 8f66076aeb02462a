/* SPDX-License-Identifier: MIT */
/*
 * The labels of the test build. Included before everything else (-include) with -DMQSHM_STEPS: each store to shared
 * memory that goes through a macro of mqshm/atomic.h, and each system call below, becomes a statement expression with a
 * call of mqshm_step() on either side, and leaves its function and text in the section mqshm_steps, where the list of
 * labels is read at run time.
 */
#ifndef MQSHM_STEPS_STEP_H
#define MQSHM_STEPS_STEP_H

/* All that declares a function which is a macro below. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct mqshm_label {
	const char *function, *what, *file;
	uint32_t line; /* only to number labels of one function with the same text */
	uint32_t id;   /* set by who reads the list */
};

enum { STEP_BEFORE, STEP_AMID, STEP_AFTER, STEP_SIDES };
#define STEP_DETAILS 5 /* what a call is about, where one label is passed for several things */

void mqshm_step(const struct mqshm_label *label, unsigned side, unsigned detail);
unsigned mqshm_step_lock(const struct flock *lock); /* the detail of a lock's byte */

/* 32 bytes, and aligned so: an array. */
#define LABEL(text)                                                                                        \
	static struct mqshm_label label_ __attribute__((section("mqshm_steps"), used, aligned(32))) = {    \
		__func__, text, __FILE__, __LINE__, 0                                                      \
	}

#define LABELLED(text, store)                       \
	({                                          \
		LABEL(text);                        \
		mqshm_step(&label_, STEP_BEFORE, 0); \
		(void)(store);                      \
		mqshm_step(&label_, STEP_AFTER, 0); \
	})

#define LABELLED_DETAIL(text, detail, change)            \
	({                                               \
		LABEL(text);                             \
		mqshm_step(&label_, STEP_BEFORE, detail); \
		__auto_type result_ = (change);          \
		mqshm_step(&label_, STEP_AFTER, detail); \
		result_;                                 \
	})
#define LABELLED_RESULT(text, change) LABELLED_DETAIL(text, 0, change)

/* A copy is many stores: one can die in the middle. */
#define LABELLED_COPY(text, to, from, bytes)                          \
	({                                                            \
		LABEL(text);                                          \
		const char *from_ = (const void *)(from);             \
		size_t bytes_ = (bytes), half_ = bytes_ / 2;          \
		mqshm_step(&label_, STEP_BEFORE, 0);                  \
		memcpy((to), from_, half_);                           \
		mqshm_step(&label_, STEP_AMID, 0);                    \
		memcpy((char *)(to) + half_, from_ + half_, bytes_ - half_); \
		mqshm_step(&label_, STEP_AFTER, 0);                   \
	})

/* Which kind of lock an fcntl() is about. */
#define STEP_LOCK(fd, command, ...) mqshm_step_lock(STEP_LOCK_(command, ##__VA_ARGS__, NULL))
#define STEP_LOCK_(command, lock, ...) \
	((command) == F_OFD_SETLK || (command) == F_OFD_GETLK ? (const struct flock *)(uintptr_t)(lock) : NULL)

#define SYSTEM_CALL(call, text) LABELLED_RESULT(text, call)
#define access(...) SYSTEM_CALL(access(__VA_ARGS__), "access(" #__VA_ARGS__ ")")
#define close(...) SYSTEM_CALL(close(__VA_ARGS__), "close(" #__VA_ARGS__ ")")
#define epoll_create1(...) SYSTEM_CALL(epoll_create1(__VA_ARGS__), "epoll_create1(" #__VA_ARGS__ ")")
#define epoll_ctl(...) SYSTEM_CALL(epoll_ctl(__VA_ARGS__), "epoll_ctl(" #__VA_ARGS__ ")")
#define epoll_wait(...) SYSTEM_CALL(epoll_wait(__VA_ARGS__), "epoll_wait(" #__VA_ARGS__ ")")
#define eventfd(...) SYSTEM_CALL(eventfd(__VA_ARGS__), "eventfd(" #__VA_ARGS__ ")")
#define fchmod(...) SYSTEM_CALL(fchmod(__VA_ARGS__), "fchmod(" #__VA_ARGS__ ")")
#define fcntl(...) LABELLED_DETAIL("fcntl(" #__VA_ARGS__ ")", STEP_LOCK(__VA_ARGS__), fcntl(__VA_ARGS__))
#define fstat(...) SYSTEM_CALL(fstat(__VA_ARGS__), "fstat(" #__VA_ARGS__ ")")
#define inotify_add_watch(...) SYSTEM_CALL(inotify_add_watch(__VA_ARGS__), "inotify_add_watch(" #__VA_ARGS__ ")")
#define inotify_init1(...) SYSTEM_CALL(inotify_init1(__VA_ARGS__), "inotify_init1(" #__VA_ARGS__ ")")
#define ioctl(...) SYSTEM_CALL(ioctl(__VA_ARGS__), "ioctl(" #__VA_ARGS__ ")")
#define kill(...) SYSTEM_CALL(kill(__VA_ARGS__), "kill(" #__VA_ARGS__ ")")
#define linkat(...) SYSTEM_CALL(linkat(__VA_ARGS__), "linkat(" #__VA_ARGS__ ")")
#define lstat(...) SYSTEM_CALL(lstat(__VA_ARGS__), "lstat(" #__VA_ARGS__ ")")
#define madvise(...) SYSTEM_CALL(madvise(__VA_ARGS__), "madvise(" #__VA_ARGS__ ")")
#define mlock(...) SYSTEM_CALL(mlock(__VA_ARGS__), "mlock(" #__VA_ARGS__ ")")
#define mmap(...) SYSTEM_CALL(mmap(__VA_ARGS__), "mmap(" #__VA_ARGS__ ")")
#define munmap(...) SYSTEM_CALL(munmap(__VA_ARGS__), "munmap(" #__VA_ARGS__ ")")
#define nanosleep(...) SYSTEM_CALL(nanosleep(__VA_ARGS__), "nanosleep(" #__VA_ARGS__ ")")
#define open(...) SYSTEM_CALL(open(__VA_ARGS__), "open(" #__VA_ARGS__ ")")
#define posix_fallocate(...) SYSTEM_CALL(posix_fallocate(__VA_ARGS__), "posix_fallocate(" #__VA_ARGS__ ")")
#define ppoll(...) SYSTEM_CALL(ppoll(__VA_ARGS__), "ppoll(" #__VA_ARGS__ ")")
#define pread(...) SYSTEM_CALL(pread(__VA_ARGS__), "pread(" #__VA_ARGS__ ")")
#define read(...) SYSTEM_CALL(read(__VA_ARGS__), "read(" #__VA_ARGS__ ")")
#define sched_yield(...) SYSTEM_CALL(sched_yield(__VA_ARGS__), "sched_yield(" #__VA_ARGS__ ")")
#define syscall(number, word, operation, ...)                                                                     \
	LABELLED_DETAIL("syscall(" #number ", " #word ", " #operation ", ...)",                                   \
			(number) == SYS_futex && (operation) == FUTEX_WAKE ? 2 : 1,                               \
			syscall(number, word, operation, __VA_ARGS__))
#define timerfd_create(...) SYSTEM_CALL(timerfd_create(__VA_ARGS__), "timerfd_create(" #__VA_ARGS__ ")")
#define timerfd_settime(...) SYSTEM_CALL(timerfd_settime(__VA_ARGS__), "timerfd_settime(" #__VA_ARGS__ ")")
#define unlink(...) SYSTEM_CALL(unlink(__VA_ARGS__), "unlink(" #__VA_ARGS__ ")")
#define write(...) SYSTEM_CALL(write(__VA_ARGS__), "write(" #__VA_ARGS__ ")")

#endif
