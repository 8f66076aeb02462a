/* SPDX-License-Identifier: MIT */
/* Errors for programs (-errno) and for people (a sentence per thread). */
#ifndef MQSHM_ERROR_H
#define MQSHM_ERROR_H

#include <errno.h>

/* Keep the sentence and return rc (a negative errno). */
int mqshm_error(int rc, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* Public functions leave errno as it was: declare this first in each that makes system calls. */
#define KEEP_ERRNO __attribute__((cleanup(mqshm_restore_errno), unused)) int kept_errno = errno
static inline void mqshm_restore_errno(int *kept)
{
	errno = *kept;
}

#endif
