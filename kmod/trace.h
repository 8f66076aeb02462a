/* SPDX-License-Identifier: GPL-2.0-only */
/* Tracepoints: who comes and goes, and who sleeps. docs/sysfs.md has a table. Pids are those of the initial namespace. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mqshm

#if !defined(MQSHM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define MQSHM_TRACE_H

#include <linux/tracepoint.h>

#include "kmod.h"

DECLARE_EVENT_CLASS(mqshm_role,
		    TP_PROTO(const struct mqshm_queue *q, u32 participant, pid_t pid),
		    TP_ARGS(q, participant, pid),
		    TP_STRUCT__entry(__string(queue, q->name)
				     __field(u32, participant)
				     __field(pid_t, pid)),
		    TP_fast_assign(mqshm_assign_str(queue, q->name);
				   __entry->participant = participant;
				   __entry->pid = pid;),
		    TP_printk("queue=%s participant=%u pid=%d", __get_str(queue), __entry->participant, __entry->pid));

DEFINE_EVENT(mqshm_role, mqshm_attach,
	     TP_PROTO(const struct mqshm_queue *q, u32 participant, pid_t pid),
	     TP_ARGS(q, participant, pid));
/* Its owner has ended it. */
DEFINE_EVENT(mqshm_role, mqshm_detach,
	     TP_PROTO(const struct mqshm_queue *q, u32 participant, pid_t pid),
	     TP_ARGS(q, participant, pid));
/* Its owner has died, executed another program, or closed without a word. */
DEFINE_EVENT(mqshm_role, mqshm_death,
	     TP_PROTO(const struct mqshm_queue *q, u32 participant, pid_t pid),
	     TP_ARGS(q, participant, pid));

/* Somebody else has ended it, or the end of its lease or of the queue. */
TRACE_EVENT(mqshm_evict,
	    TP_PROTO(const struct mqshm_queue *q, u32 participant, pid_t pid, u32 why),
	    TP_ARGS(q, participant, pid, why),
	    TP_STRUCT__entry(__string(queue, q->name)
			     __field(u32, participant)
			     __field(pid_t, pid)
			     __field(u32, why)),
	    TP_fast_assign(mqshm_assign_str(queue, q->name);
			   __entry->participant = participant;
			   __entry->pid = pid;
			   __entry->why = why;),
	    TP_printk("queue=%s participant=%u pid=%d why=%s", __get_str(queue), __entry->participant, __entry->pid,
		      __print_symbolic(__entry->why, { 2, "slow" }, { 3, "by_hand" }, { 4, "hostile" }, { 5, "removed" },
				       { 6, "lease" })));

/* word: 0 data, 1 room, 2 event, 3 lock. value: what the sleeper saw, or what the word is once woken. */
DECLARE_EVENT_CLASS(mqshm_word,
		    TP_PROTO(const struct mqshm_queue *q, u32 word, u32 value),
		    TP_ARGS(q, word, value),
		    TP_STRUCT__entry(__string(queue, q->name)
				     __field(u32, word)
				     __field(u32, value)),
		    TP_fast_assign(mqshm_assign_str(queue, q->name);
				   __entry->word = word;
				   __entry->value = value;),
		    TP_printk("queue=%s word=%s value=%u", __get_str(queue),
			      __print_symbolic(__entry->word, { 0, "data" }, { 1, "room" }, { 2, "event" }, { 3, "lock" }),
			      __entry->value));

DEFINE_EVENT(mqshm_word, mqshm_wait,
	     TP_PROTO(const struct mqshm_queue *q, u32 word, u32 value),
	     TP_ARGS(q, word, value));
DEFINE_EVENT(mqshm_word, mqshm_wake,
	     TP_PROTO(const struct mqshm_queue *q, u32 word, u32 value),
	     TP_ARGS(q, word, value));

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
