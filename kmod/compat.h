/* SPDX-License-Identifier: GPL-2.0-only */
/* Differences between kernel versions, and nothing else. The code is written for the newest. MQSHM_HAVE_...: see Kbuild. */
#ifndef MQSHM_COMPAT_H
#define MQSHM_COMPAT_H

#include <linux/device.h>
#include <linux/io_uring.h>
#include <linux/io_uring_types.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#ifdef MQSHM_HAVE_URING_CMD_H
#include <linux/io_uring/cmd.h>
#endif

#ifdef MQSHM_HAVE_CONST_DEVNODE
#define const_devnode const
#else
#define const_devnode
#endif

#ifdef MQSHM_HAVE_CONST_DEV_OWNERSHIP
#define const_dev_ownership const
#else
#define const_dev_ownership
#endif

#ifdef MQSHM_HAVE_CONST_GET_OWNERSHIP
#define const_get_ownership const
#else
#define const_get_ownership
#endif

#ifdef MQSHM_HAVE_CONST_BIN_ATTRIBUTE
#define const_bin_attribute const
#else
#define const_bin_attribute
#endif

/* For trace.h: the source of a string is named once, or twice. */
#ifdef MQSHM_HAVE_ASSIGN_STR_ONCE
#define mqshm_assign_str(to, from) __assign_str(to)
#else
#define mqshm_assign_str(to, from) __assign_str(to, from)
#endif

#ifndef MQSHM_HAVE_VM_FLAGS_SET
static inline void vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags |= flags;
}

static inline void vm_flags_clear(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags &= ~flags;
}
#endif

#ifndef MQSHM_HAVE_LIST_COUNT
static inline size_t list_count_nodes(struct list_head *list)
{
	struct list_head *at;
	size_t count = 0;

	list_for_each(at, list)
		count++;
	return count;
}
#endif

/* ---- io_uring commands ---- */

#if defined(MQSHM_HAVE_URING_TYPED_PAYLOAD)
#define uring_cmd_payload(cmd, type) io_uring_sqe_cmd((cmd)->sqe, type)
#elif defined(MQSHM_HAVE_URING_PAYLOAD)
#define uring_cmd_payload(cmd, type) ((const type *)io_uring_sqe_cmd((cmd)->sqe))
#else
#define uring_cmd_payload(cmd, type) ((const type *)(cmd)->cmd)
#endif

#ifdef MQSHM_HAVE_URING_DONE32 /* else each completion has a second result */
#define uring_cmd_done(cmd, result, flags) io_uring_cmd_done(cmd, result, flags)
#else
#define uring_cmd_done(cmd, result, flags) io_uring_cmd_done(cmd, result, 0, flags)
#endif

/* A function for io_uring_cmd_complete_in_task(), which calls done(command, issue flags). */
#ifdef MQSHM_HAVE_URING_TW_REQ
#define DEFINE_URING_TASK_WORK(name, done)                                              \
	static void name(struct io_tw_req request, io_tw_token_t token)                 \
	{                                                                               \
		done(io_uring_cmd_from_tw(request), IO_URING_CMD_TASK_WORK_ISSUE_FLAGS); \
	}
#else
#define DEFINE_URING_TASK_WORK(name, done)                                              \
	static void name(struct io_uring_cmd *cmd, unsigned int flags)                  \
	{                                                                               \
		done(cmd, flags);                                                       \
	}
#endif

/* Does io_uring ask to cancel commands when their ring or their task ends? Else who keeps them must look at both. */
#ifdef MQSHM_HAVE_URING_CANCEL
#define uring_cancels true
static inline bool uring_cmd_is_orphan(struct io_uring_cmd *cmd)
{
	return false;
}
#else
#define uring_cancels false
#define IO_URING_F_CANCEL 0
static inline void io_uring_cmd_mark_cancelable(struct io_uring_cmd *cmd, unsigned int flags)
{
}

/*
 * The ring is being closed, or io_uring waits for the command before its process may exit or execute. A ring's own thread
 * (SQPOLL) must end before an exec gets to in_execve.
 */
static inline bool uring_cmd_is_orphan(struct io_uring_cmd *cmd)
{
	struct io_kiocb *request = cmd_to_io_kiocb(cmd);
	struct signal_struct *signal = request->task->signal;

	return percpu_ref_is_dying(&request->ctx->refs) || request->task->in_execve ||
	       READ_ONCE(signal->flags) & SIGNAL_GROUP_EXIT || READ_ONCE(signal->group_exec_task);
}
#endif

#endif
