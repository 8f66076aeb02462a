/* SPDX-License-Identifier: MIT */
/* What cmd_watch.c and watch_write.c share. */
#ifndef MQSHM_TOOL_WATCH_H
#define MQSHM_TOOL_WATCH_H

#include "mqshm/watch.h"
#include "tool.h"

/* One event as a line, to stdout: for people, or JSON. */
void watch_write_line(const struct mqshm_watch_event *event);
void watch_write_json(const struct mqshm_watch_event *event);

#endif
