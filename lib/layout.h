/* SPDX-License-Identifier: MIT */
/* From options to a layout, and from a mapped object to a checked ring. Every backend uses these. */
#ifndef MQSHM_LAYOUT_H
#define MQSHM_LAYOUT_H

#include <stddef.h>

#include "mqshm.h"
#include "mqshm/ring.h"

/* The flags that are part of a queue. */
#define MQSHM_QUEUE_FLAGS                                                                           \
	(MQSHM_SHARED | MQSHM_OVERWRITE | MQSHM_HOLD | MQSHM_PERSISTENT | MQSHM_TIMESTAMP_OFF | \
	 MQSHM_TIMESTAMP_OWN)

/* -EINVAL with a sentence that says what is wrong. */
int mqshm_check_name(const char *name);
int mqshm_check_consumer_name(const char *name, uint32_t lease_ms); /* name may be NULL: none */

/* Copy options of any known size over the defaults; given may be NULL. -EINVAL */
int mqshm_read_options(struct mqshm_queue_options *options, const struct mqshm_queue_options *given);

/* Fill in the constant part of info for a new queue. consumer_stride: MQSHM_LINE, or a page. -EINVAL -EFBIG */
int mqshm_plan(struct mqshm_info *info, const char *name, const struct mqshm_queue_options *options,
	       size_t consumer_stride);

/* Make a freshly zeroed object a queue: copy the plan into it and set the stream's start. */
void mqshm_format(void *object, const struct mqshm_info *plan);

/* Is this the head of a queue of file_bytes? -EPROTONOSUPPORT -EBADMSG -EFBIG. Nothing in it is trusted before. */
int mqshm_check_info(const struct mqshm_info *info, const char *name, uint64_t file_bytes);

/* The checked copy of info tells where things are in the object. */
void mqshm_ring_init(struct mqshm_ring *ring, const struct mqshm_info *info, void *object);

/* Does an existing queue match what the caller asks for? -EEXIST names the first difference. */
int mqshm_match(const struct mqshm_info *info, const char *name, const struct mqshm_queue_options *wanted);

void mqshm_fill_info(const struct mqshm_ring *ring, const char *name, struct mqshm_queue_info *info);

/* Where streams begin; tests of the end of positions set it. */
extern uint64_t mqshm_test_base_position;

#endif
