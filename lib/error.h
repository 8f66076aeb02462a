/* SPDX-License-Identifier: MIT */
/* Errors for programs (-errno) and for people (a sentence per thread). */
#ifndef MQSHM_ERROR_H
#define MQSHM_ERROR_H

#include <errno.h>

/* Keep the sentence for mqshm_last_error(). */
void mqshm_say(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

/* The same, and be rc, a negative errno: a macro, so that compiler and analyzers see which. */
#define mqshm_error(rc, ...)                \
	({                                  \
		int error_ = (rc);          \
		mqshm_say(__VA_ARGS__);     \
		error_;                     \
	})

/* -errno after a call that failed. Never 0: said here, so that nobody has to think of a failure that reads as success. */
static inline int mqshm_errno(void)
{
	int rc = -errno;

	return rc < 0 ? rc : -EIO;
}

/* Public functions leave errno as it was: declare this first in each that makes system calls. */
#define KEEP_ERRNO __attribute__((cleanup(mqshm_restore_errno), unused)) int kept_errno = errno
static inline void mqshm_restore_errno(int *kept)
{
	errno = *kept;
}

#endif
