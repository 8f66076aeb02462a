/* SPDX-License-Identifier: MIT */
/*
 * Waiting for queues with liburing, on queues of the kernel module. Include it after, or instead of, <liburing.h>.
 *
 *	mqshm_prep_wait(sqe, mqshm_consumer_device_fd(consumer), 16);
 *	io_uring_sqe_set_data(sqe, consumer);
 *
 * Then pop or push without waiting (timeout 0), and submit another one when that gives -EAGAIN.
 */
#ifndef MQSHM_URING_H
#define MQSHM_URING_H

#include <liburing.h>
#include <string.h>

#include "mqshm/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Prepare an SQE that completes when at least count messages are there for a consumer, or its stream has ended; or when there is
 * room for count messages of block_size for a producer. count: 1 to node_count. device: of mqshm_consumer_device_fd() or
 * mqshm_producer_device_fd(); if that is an error the completion says -EBADF. Submitted by the process that owns the role.
 * The result in the completion: 0; -ECONNABORTED (the role has ended) -ECANCELED (the ring or the task has) -EINVAL -EPERM
 * -EBUSY (8 wait on this handle already)
 */
static inline void mqshm_prep_wait(struct io_uring_sqe *sqe, int device, unsigned count)
{
	struct mqshm_uring_wait wait;

	memset(&wait, 0, sizeof wait);
	wait.count = count;
	memset(sqe, 0, sizeof *sqe);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = device < 0 ? -1 : device;
	sqe->off = MQSHM_URING_WAIT; /* cmd_op, and zeroes above: older liburings don't name it */
	memcpy(&sqe->addr3, &wait, sizeof wait); /* where an SQE has its command */
}

#ifdef __cplusplus
}
#endif

#endif
