/* SPDX-License-Identifier: MIT */
/*
 * Telling what happens to queues, to whom asked for it by mqshm_log_set() or MQSHM_LOG; see mqshm.h. For slow paths only,
 * never in what a signal handler may call.
 *
 * The callback may call the library. So a line that is logged while this thread holds what others wait for (the life
 * cycle of a queue, the lock of a shared one) is kept until it holds that no more: between mqshm_log_hold() and
 * mqshm_log_deliver() nothing is called.
 */
#ifndef MQSHM_LOG_H
#define MQSHM_LOG_H

#include <stdbool.h>

#include "mqshm.h"

/*
 * One line on a queue, without its name and a full stop: mqshm_log(MQSHM_LOG_WARNING, name, "evicted %s", who). The
 * arguments are only evaluated when somebody wants the line. errno and mqshm_last_error() stay as they are.
 */
#define mqshm_log(level, queue, ...)                              \
	do {                                                      \
		if (mqshm_log_wants(level))                       \
			mqshm_log_line(level, queue, __VA_ARGS__); \
	} while (0)

bool mqshm_log_wants(int level) __attribute__((cold));
void mqshm_log_line(int level, const char *queue, const char *format, ...) __attribute__((format(printf, 3, 4), cold));

/* Nested holds count. The last deliver hands over what was kept meanwhile. */
void mqshm_log_hold(void);
void mqshm_log_deliver(void);

#endif
