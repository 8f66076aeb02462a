/* SPDX-License-Identifier: MIT */
/*
 * mqshm: named broadcast queues between processes, in shared memory.
 *
 * A queue has one producer (or several, when it is created shared) and up to max_consumers consumers. Each
 * consumer has its own cursor and sees every message. The producer never overtakes the slowest reliable
 * consumer. Whatever process dies, nobody stays blocked and nothing is left behind.
 *
 * Results      Functions return 0 or a positive number, or a negative errno value from the table below. errno
 *              itself is left as it was. mqshm_last_error() has the sentence for people.
 * Threads      A handle (struct mqshm_producer, struct mqshm_consumer) is used by one thread at a time; different
 *              handles, of one queue too, may be used by different threads at the same time. Functions without a
 *              handle may be called from any thread.
 * Signals      No function is async-signal-safe. A wait that a signal handler interrupts returns -EINTR; it is
 *              never restarted with its full time. A handler that runs while the waiter is awake for a moment (some
 *              us, up to 20 times a second) interrupts nothing: have it set a flag, and use finite timeouts.
 * fork, exec   A handle belongs to the process that opened it. A child gets -ECHILD from every call on it, and
 *              does not keep the parent's role alive; it may close the handle to free its own copy. A child
 *              opens its own handles. exec ends all roles (descriptors are close-on-exec, mappings go away).
 * Timeouts     timeout_ms: -1 (any negative) waits for ever, 0 does not wait, else milliseconds (relative).
 *
 * Errors
 *   -EAGAIN            timeout_ms was 0 and there is no message (pop), no room (push), ...
 *   -ETIMEDOUT         the time ran out. Opening, creating and removing give it after 5 s, when another process is
 *                      stopped in the middle of attaching, leaving or cleaning up
 *   -EINTR             a signal handler ran while waiting
 *   -EINVAL            an argument is out of its range
 *   -EMSGSIZE          push: larger than block_size. pop: the buffer is too small; the size needed is in
 *                      message->size and the message stays
 *   -EBUSY             the queue has a live producer (exclusive), or no free place for one more; or remove: in use
 *   -EEXIST            a queue of that name exists with another geometry, or MQSHM_CREATE_ONLY was given
 *   -ENOENT            there is no such queue (and did not come within wait_ms)
 *   -ESHUTDOWN         end of stream: the producer closed, and all is read. Given again at each call until a new
 *                      producer attaches. Never given by a queue that has not had a producer yet
 *   -EOWNERDEAD        the same after a producer that died without closing, or left by mqshm_producer_fail()
 *   -ECONNABORTED      this consumer was evicted: it was too slow (MQSHM_SLOW_EVICT), or by hand (mqshm_queue_evict()), or its
 *                      cursor, damaged by somebody, was out of bounds
 *   -ECANCELED         mqshm_consumer_cancel() or mqshm_producer_cancel() ended the wait
 *   -ESTALE            this handle lost its role: the queue was removed by force, or its object unlinked behind our
 *                      back; or its descriptor was closed by others; or, from release only and with the handle
 *                      as good as before, a zero-copy read was overtaken
 *   -EPROTONOSUPPORT   the object was made by another ABI version
 *   -EBADMSG           the shared memory is damaged, or the file is not a queue
 *   -ECHILD            the handle belongs to a parent process
 *   -EDEADLK           a second reserve, or a push, while a reservation is held
 *   -EOVERFLOW         2^63 bytes have gone through the queue
 *   -ENOSPC            /dev/shm is too small (Docker: --shm-size)
 *   -ENOMEM            no memory: the limit of a control group, RLIMIT_AS
 *   -EFBIG             larger than RLIMIT_FSIZE or than the address space allows
 *   -EACCES, -EPERM    no right to open or to remove the object
 *   -EMFILE, -ENFILE   no descriptor left
 */
#ifndef MQSHM_H
#define MQSHM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* all else in the library is hidden */

#define MQSHM_VERSION_MAJOR 0
#define MQSHM_VERSION_MINOR 1
#define MQSHM_VERSION_PATCH 0
#define MQSHM_VERSION "0.1.0"

/* The version of the library that is linked, "0.1.0". Any thread, any time. */
const char *mqshm_version(void);

/*
 * What the last failed call of this thread could say to a person, as one sentence without a full stop:
 * "queue 'x' has a live producer: pid 123 (sinegen)". Never NULL; valid until the thread's next failing call. -EAGAIN
 * has no sentence: it leaves the one before.
 */
const char *mqshm_last_error(void);

/* ---- log -------------------------------------------------------------------------------------------------- */

#define MQSHM_LOG_OFF 0	    /* nothing: as it begins */
#define MQSHM_LOG_ERROR 1   /* a queue is damaged */
#define MQSHM_LOG_WARNING 2 /* somebody died, or lost its role, and why */
#define MQSHM_LOG_INFO 3    /* queues created and removed; who attached and left */
#define MQSHM_LOG_DEBUG 4   /* waiting while another process attaches or leaves */

/*
 * From now on callback gets, as a line for people, what this process does to queues and finds out about them:
 * (MQSHM_LOG_WARNING, "x", "ended consumer 3 of pid 77 (plot): died", arg). callback NULL: to stderr, in one write:
 * "mqshm: warning: queue 'x': ended consumer 3 of pid 77 (plot): died". Without this call the environment variable
 * MQSHM_LOG does that: error, warning, info, debug or off, looked at once.
 *
 * The callback runs in the thread and in the midst of the call that found it, or in a thread of the library (see
 * mqshm_consumer_fd()); several threads may be in it at once. The strings are valid during the call. It may use the
 * library, as no lock is held meanwhile, but no handle that others use (one of them is in a call), no descriptors of
 * handles, and what it causes itself is not logged. It returns as any function does (no exception, no longjmp). When
 * this call returns, the former callback is not running and will never run again, so it waits for it: don't call this
 * holding a lock that the former one takes.
 * 0; -EINVAL (level) -EDEADLK (from a callback)
 */
int mqshm_log_set(int level, void (*callback)(int level, const char *queue, const char *text, void *arg), void *arg);

/* ---- queues ----------------------------------------------------------------------------------------------- */

#define MQSHM_NAME_MAX 63	  /* 1-63 of A-Z a-z 0-9 . _ -, not starting with a dot; "control" is reserved */
#define MQSHM_METADATA_MAX 256	  /* bytes */
#define MQSHM_CONSUMERS_MAX 256	  /* most that max_consumers may ask for */
#define MQSHM_BLOCK_MAX (1u << 30) /* bytes of one message */
#define MQSHM_NODES_MAX (1u << 30)
#define MQSHM_CONSUMER_NAME_MAX 31 /* of the same characters as queue names */
#define MQSHM_SLOW_MS_MAX 0x7fffffffu
#define MQSHM_LEASE_MS_MAX 86400000u /* a day */

/* struct mqshm_queue_options.flags: part of the queue */
#define MQSHM_SHARED 0x0001	     /* up to 64 producers; each one's order is kept */
#define MQSHM_OVERWRITE 0x0002	     /* a full queue drops the oldest message instead of making the producer wait. Not with
					MQSHM_HOLD */
#define MQSHM_HOLD 0x0004	     /* keep everything until a first reliable consumer attaches (and a user, or
					MQSHM_PERSISTENT, keeps the queue) */
#define MQSHM_PERSISTENT 0x0008	     /* stays when its last user leaves; only mqshm_queue_remove() ends it */
#define MQSHM_TIMESTAMP_OFF 0x0010   /* messages carry timestamp 0 (default: CLOCK_REALTIME at each push) */
#define MQSHM_TIMESTAMP_OWN 0x0020   /* messages carry what mqshm_producer_set_timestamp() set last. Not with ..._OFF */
/* ... and of one call */
#define MQSHM_CREATE_ONLY 0x10000    /* fail with -EEXIST if the queue exists */
#define MQSHM_ANY_FLAGS 0x20000	     /* an existing queue may have other flags than these */

/*
 * What a queue is. Zero means the default. When the queue exists already, every field given (not 0) and the flags
 * must match, else -EEXIST with a sentence that says what differs; mode and metadata are not compared.
 */
struct mqshm_queue_options {
	size_t size;		/* sizeof(struct mqshm_queue_options) */
	uint32_t node_count;	/* most messages outstanding, 1..2^30; default 1024 */
	uint32_t block_size;	/* largest message in bytes, 1..2^30; default 12800 */
	uint32_t max_consumers; /* 1..256; default 32 */
	uint32_t align;		/* of payloads in bytes: 8 (default), 16, 32 or 64 */
	uint32_t flags;		/* MQSHM_SHARED ... */
	uint32_t mode;		/* access rights as for chmod, the umask is not applied; default 0600. A user needs read and
				   write to open the queue, read to see it in stat */
	const void *metadata;	/* kept with the queue, at most MQSHM_METADATA_MAX bytes */
	size_t metadata_size;	/* bytes */
	uint32_t slow_policy;	/* MQSHM_SLOW_...: what becomes of a reliable consumer that lives but holds a push back for
				   slow_ms without moving its cursor. Not with MQSHM_OVERWRITE */
	uint32_t slow_ms;	/* 1..2^31-1, with MQSHM_SLOW_EVICT and ..._DEMOTE. Looked at every 50 ms by producers that wait, or
				   whose push without waiting fails */
};

/* struct mqshm_queue_options.slow_policy */
#define MQSHM_SLOW_BLOCK 0  /* the producer waits for it (default) */
#define MQSHM_SLOW_EVICT 1  /* it loses its role: -ECONNABORTED */
#define MQSHM_SLOW_DEMOTE 2 /* it reads on as a lossy consumer (MQSHM_LOSSY): it is told by `missed` */

/*
 * Create a queue, or check that the existing one matches. It lives until it has had a participant and the last
 * one has left. options may be NULL (all defaults).
 * 0: created; 1: it existed and matches. -EEXIST -EINVAL -ENOSPC -ENOMEM -EFBIG -EACCES -EPERM -EBADMSG -EPROTONOSUPPORT
 * -ETIMEDOUT -EMFILE -ENFILE, and -EBUSY for one that comes and goes all the time
 */
int mqshm_queue_create(const char *name, const struct mqshm_queue_options *options);

/*
 * End the role of the consumer with this id (as stat shows it), alive or not: it gets -ECONNABORTED, and the producer goes on
 * without it. A lease ends too. 0; -ENOENT (no such queue) -ESRCH (no such consumer) -EACCES -EBADMSG -EPROTONOSUPPORT -EINVAL
 * -ETIMEDOUT -EBUSY
 */
int mqshm_queue_evict(const char *name, uint32_t consumer_id);

#define MQSHM_FORCE 1
/*
 * Remove a queue. -EBUSY while processes use it, unless flags has MQSHM_FORCE: then all of them lose their role and
 * get -ESTALE. MQSHM_FORCE also removes a file of that name that is not a usable queue.
 * 0; -ENOENT -EBUSY -EACCES -EPERM -EBADMSG -EPROTONOSUPPORT -EINVAL -ETIMEDOUT
 */
int mqshm_queue_remove(const char *name, unsigned flags);

/*
 * Clean up after processes that died: end their roles, remove queues that nobody uses any more. name NULL: all
 * queues. report, if not NULL, is told of each thing done or found ("removed", "ended consumer 3 of pid 77 (plot)",
 * "is not a queue: ..."). Returns how many queues were removed; what can't be removed is reported and no error.
 * -ENOENT (name given, and not there) -EINVAL -ENOMEM
 */
int mqshm_queue_gc(const char *name, void (*report)(const char *name, const char *what, void *arg), void *arg);

/* One producer or consumer as stat sees it. */
struct mqshm_participant_stat {
	uint32_t id;		  /* its slot: 0..max-1 */
	int32_t pid;		  /* as seen in its own pid namespace */
	uint32_t alive;		  /* 0: died, not yet cleaned up */
	uint32_t lossy;		  /* consumers: never holds the producer back: attached so, or demoted */
	uint32_t demoted;	  /* consumers: 1: was too slow, and is lossy since then */
	uint32_t leased;	  /* consumers: 1: the owner left or died, a successor of that name may go on. pid is the former's */
	uint32_t lease_ms;	  /* consumers with a name; of a leased one what is left of it */
	char name[MQSHM_CONSUMER_NAME_MAX + 1]; /* consumers: "", or what they attached as */
	char comm[16];		  /* program name at the time it attached */
	uint64_t attached_at_ns;  /* CLOCK_REALTIME */
	uint64_t last_access_ns;  /* consumers: CLOCK_REALTIME of about the last read; exact to 32 messages or the last wait */
	uint64_t lag;		  /* consumers: messages not yet read */
	uint64_t missed;	  /* consumers: messages it could not get */
	uint64_t popped;	  /* consumers: messages read */
	uint64_t blocks_ns;	  /* consumers: how long a producer waits for it to move, 0: none does */
};

#define MQSHM_PRODUCER_NONE 0	 /* never had one */
#define MQSHM_PRODUCER_ACTIVE 1
#define MQSHM_PRODUCER_CLOSED 2
#define MQSHM_PRODUCER_CRASHED 3

/* A queue at one moment. Taken without stopping anybody: counters may be some messages apart. */
struct mqshm_stat {
	char name[64];
	char backend[16];	 /* "posix", "kernel" */
	int32_t error;		 /* 0, or why the rest is not filled in (list goes on past a damaged or foreign file): -EBADMSG ... */
	char error_text[128];	 /* and the sentence */
	uint32_t node_count, block_size, max_consumers, max_producers, align;
	uint32_t flags;		 /* MQSHM_SHARED ... MQSHM_TIMESTAMP_OWN */
	uint32_t mode, uid, gid; /* of the object */
	uint32_t abi_version;
	uint64_t ring_bytes;	 /* room for messages */
	uint64_t total_bytes;	 /* size of the whole object */
	uint64_t created_at_ns;	 /* CLOCK_REALTIME */
	uint32_t producer_state; /* MQSHM_PRODUCER_... */
	uint32_t metadata_size;
	uint8_t metadata[MQSHM_METADATA_MAX];
	uint64_t total_pushed;	   /* messages */
	uint64_t total_popped;	   /* messages, summed over all consumers there ever were */
	uint64_t overwrite_count;  /* messages overwritten before a consumer that was attached read them, summed over consumers */
	uint64_t bytes_pushed;	   /* ring bytes that went through: messages with headers and padding */
	uint64_t stalls;	   /* how often a producer found the queue full */
	uint64_t depth;		   /* messages the slowest reliable consumer has not read; without one: what a new consumer would get */
	uint64_t kept;		   /* messages in the ring, read ones included: what a new consumer would get */
	uint64_t consumers_ever;   /* how many have ever attached */
	int32_t blocked_by;	   /* id of the consumer a producer waits for, or -1 */
	uint32_t slow_policy, slow_ms; /* as in mqshm_queue_options */
	uint64_t evicted, demoted; /* how many consumers ever were */
	uint32_t producer_count, consumer_count;
	struct mqshm_participant_stat *producers; /* producer_count of them, in order of id */
	struct mqshm_participant_stat *consumers; /* consumer_count of them, in order of id */
};

/* Look at one queue without becoming a user of it. Needs read permission. *out is freed with mqshm_stat_free(). */
int mqshm_queue_stat(const char *name, struct mqshm_stat **out);
void mqshm_stat_free(struct mqshm_stat *stat);

/*
 * Look at all queues, in order of name. each gets every one, damaged ones with stat->error set; it returns 0 to go
 * on, anything else ends the walk and is returned. stat is valid only during the call.
 * Returns how many queues there were.
 */
int mqshm_queue_list(int (*each)(const struct mqshm_stat *stat, void *arg), void *arg);

/* The unchanging facts of an open queue. */
struct mqshm_queue_info {
	char name[64];
	uint32_t node_count, block_size, max_consumers, align, flags;
	uint32_t metadata_size;
	uint8_t metadata[MQSHM_METADATA_MAX];
	uint64_t ring_bytes, created_at_ns;
	uint32_t slow_policy, slow_ms;
};

/* ---- producers -------------------------------------------------------------------------------------------- */

struct mqshm_producer;

/* struct mqshm_producer_options.flags, struct mqshm_consumer_options.flags */
#define MQSHM_LOSSY 0x1	   /* consumers: never hold the producer back; what is overwritten counts as missed */
#define MQSHM_PREFAULT 0x2 /* map all pages now, not at first touch */
#define MQSHM_MLOCK 0x4	   /* and keep them in memory: -ENOMEM or -EPERM where RLIMIT_MEMLOCK forbids */

#define MQSHM_SPIN_NEVER (-1)	/* sleep at once */
#define MQSHM_SPIN_MAX 1000000	/* us */

/* A consumer that was too slow, and what became of it. */
struct mqshm_slow {
	const char *queue;
	uint32_t policy;    /* MQSHM_SLOW_EVICT or MQSHM_SLOW_DEMOTE */
	uint32_t id;	    /* its slot */
	int32_t pid;
	char comm[16];
	uint64_t lag;	    /* messages it had not read */
	uint64_t blocked_ns;/* how long it has held a push back without moving */
};

struct mqshm_producer_options {
	size_t size;	  /* sizeof(struct mqshm_producer_options) */
	uint32_t flags;
	int32_t spin_us;  /* how long a wait looks before it sleeps, in us: 1..MQSHM_SPIN_MAX, MQSHM_SPIN_NEVER; 0: the default:
			     20 us that shrink while they are of no use, none on one processor */
	void (*slow)(const struct mqshm_slow *slow, void *arg); /* NULL, or told of each consumer that this producer evicts or
			     demotes, in its thread, during a push. It must not use this producer */
	void *slow_arg;
};

/*
 * Attach as producer. queue NULL: the queue must exist (-ENOENT); else it is created when missing and must match
 * when not. An exclusive queue has at most one (-EBUSY names it); a producer that follows another goes on with the
 * sequence. On failure *out is NULL.
 * 0; -EBUSY -ENOENT -EEXIST -EINVAL -ENOSPC -ENOMEM -EFBIG -EACCES -EPERM -EBADMSG -EPROTONOSUPPORT -ETIMEDOUT -EMFILE -ENFILE
 */
int mqshm_producer_open(struct mqshm_producer **out, const char *name, const struct mqshm_queue_options *queue,
			const struct mqshm_producer_options *options);

/*
 * Push one message of size bytes (0..block_size): copied, then visible to all consumers at once.
 * With timeout 0 on a shared queue, -EAGAIN also says that another producer is just pushing.
 * 0; -EAGAIN -ETIMEDOUT (nothing was pushed) -EINTR -ECANCELED -EMSGSIZE -ESTALE -ECHILD -EDEADLK -EBADMSG -EOVERFLOW
 */
int mqshm_producer_push(struct mqshm_producer *producer, const void *data, size_t size, int timeout_ms);

/* The same for one message that lies in count pieces. count 0..1024. */
int mqshm_producer_pushv(struct mqshm_producer *producer, const struct iovec *pieces, int count, int timeout_ms);

/*
 * Push count messages, one each element, published together with one timestamp. Where they don't fit at once, they
 * are published in parts, in order. Returns how many were pushed, fewer than count when time ran out or a later one
 * failed; an error only if none was. count 0 returns 0.
 */
int mqshm_producer_push_batch(struct mqshm_producer *producer, const struct iovec *messages, size_t count,
			      int timeout_ms);

/*
 * Zero copy: reserve gives room for up to size bytes in the ring, for the caller to fill in place; commit publishes
 * the first used of them; abort gives the room back. One reservation at a time (-EDEADLK). In a shared queue the
 * others' pushes wait meanwhile: be quick. The timestamp is that of the commit.
 * reserve: as push. commit: 0; -EINVAL (nothing reserved, or used is more than was) -ESTALE -ECHILD. abort: 0; -EINVAL
 * -ECHILD
 */
int mqshm_producer_reserve(struct mqshm_producer *producer, size_t size, void **data, int timeout_ms);
int mqshm_producer_commit(struct mqshm_producer *producer, size_t used);
int mqshm_producer_abort(struct mqshm_producer *producer);

/* The timestamp of all messages from now on, in ns, on a queue with MQSHM_TIMESTAMP_OWN; else -EINVAL. */
int mqshm_producer_set_timestamp(struct mqshm_producer *producer, uint64_t timestamp_ns);

#define MQSHM_EVER 1
/*
 * Wait until count consumers are attached; with MQSHM_EVER in flags: until count have ever attached.
 * 0; -EAGAIN -ETIMEDOUT -EINTR -ECANCELED -EINVAL -ESTALE -ECHILD -EDEADLK (a reservation is held)
 */
int mqshm_producer_wait_consumers(struct mqshm_producer *producer, unsigned count, unsigned flags, int timeout_ms);

/* Wait until all consumers that are attached have read everything. Dead ones do not count. Results as above. */
int mqshm_producer_wait_drained(struct mqshm_producer *producer, int timeout_ms);

int mqshm_producer_info(const struct mqshm_producer *producer, struct mqshm_queue_info *info);

/*
 * Leave: consumers drain what is there and then get end of stream; when nobody else uses the queue it is removed.
 * An open reservation is aborted. The handle is gone whatever is returned. NULL is allowed.
 * 0; -ECHILD in a child (only its copy is freed)
 */
int mqshm_producer_close(struct mqshm_producer *producer);

/*
 * Leave in the middle: the same, but consumers get -EOWNERDEAD when they have drained, so that they don't take what
 * they got for the whole stream.
 */
int mqshm_producer_fail(struct mqshm_producer *producer);

/* ---- consumers -------------------------------------------------------------------------------------------- */

struct mqshm_consumer;

#define MQSHM_FROM_LATEST 0    /* only what is pushed from now on */
#define MQSHM_FROM_OLDEST 1    /* everything that is still in the ring */
#define MQSHM_FROM_BEGINNING 2 /* the same, and what is gone already counts as missed */

struct mqshm_consumer_options {
	size_t size;	  /* sizeof(struct mqshm_consumer_options) */
	uint32_t flags;	  /* MQSHM_LOSSY ... */
	int32_t start;	  /* MQSHM_FROM_... */
	int32_t spin_us;  /* as for producers */
	int32_t wait_ms;  /* wait that long for a queue that does not exist yet: -1 for ever, 0 (default) -ENOENT at once */
	const char *name; /* NULL, or 1..31 of A-Z a-z 0-9 . _ -: its cursor is kept when this process closes it or dies, and the
			     next one that attaches with this name, as the same user, goes on there (start is for the first one). -EBUSY
			     while another lives with it */
	uint32_t lease_ms;/* with name: 1..86400000. How long the cursor is kept, and holds the producer back, without a
			     process. Then it is given up, and whoever comes later starts anew */
};

/*
 * Attach as consumer. queue as in mqshm_producer_open(); where it is not NULL, a missing queue is created and
 * wait_ms means nothing. The first reliable consumer of a queue with MQSHM_HOLD starts at its first message,
 * whatever its start mode. Errors as for producers, and -EINTR while waiting for a queue; -EBUSY: max_consumers are there.
 *
 * A named consumer's successor gets what the former had not moved past: with pop, what it was just processing when it died is
 * not given again (at most once); with peek and release it is (at least once), and the sequence tells it.
 */
int mqshm_consumer_open(struct mqshm_consumer **out, const char *name, const struct mqshm_queue_options *queue,
			const struct mqshm_consumer_options *options);

struct mqshm_message {
	const void *data;      /* where the payload lies */
	size_t size;	       /* bytes, 0..block_size */
	uint64_t sequence;     /* 0 for the queue's first message, +1 each */
	uint64_t timestamp_ns; /* see MQSHM_TIMESTAMP_...; default CLOCK_REALTIME */
};

/*
 * Take the next message: copy it to buffer and move on. message may be NULL.
 * Returns its size in bytes, 0 for a message of 0 bytes; -EAGAIN -ETIMEDOUT -EINTR -ECANCELED -EMSGSIZE -ESHUTDOWN
 * -EOWNERDEAD -ECONNABORTED -ESTALE -EBADMSG -ECHILD
 */
ssize_t mqshm_consumer_pop(struct mqshm_consumer *consumer, void *buffer, size_t capacity,
			   struct mqshm_message *message, int timeout_ms);

/*
 * Take up to max messages at once, their payloads one after the other in buffer (each aligned to 8 bytes from its
 * start). Waits until min are there (1..max, at most node_count); when time runs out, the stream ends or buffer is
 * full, what there is is taken, at least one. With min > 1 give a timeout: a producer that waits until all is read
 * (mqshm_producer_wait_drained()) and a consumer that waits for more wait for each other. Returns how many; errors as for pop and -EINVAL, and only if
 * there was none.
 */
int mqshm_consumer_pop_batch(struct mqshm_consumer *consumer, struct mqshm_message *messages, size_t min, size_t max,
			     void *buffer, size_t capacity, int timeout_ms);

/*
 * Zero copy: look at up to max messages where they lie in the ring (read only). They stay valid until released,
 * popped or the consumer is closed; looking again gives the same ones. release moves on past the first count of
 * those last looked at and not released yet. For a lossy consumer, and on an overwrite queue, the producer does not wait: what was read is
 * only confirmed by release, which gives -ESTALE when it was overtaken meanwhile.
 * peek: how many, at least 1; errors as for pop and -EINVAL. release: 0; -EINVAL (more than were looked at) -ESTALE -ECONNABORTED
 * -EBADMSG -ECHILD
 */
int mqshm_consumer_peek(struct mqshm_consumer *consumer, struct mqshm_message *messages, size_t max, int timeout_ms);
int mqshm_consumer_release(struct mqshm_consumer *consumer, size_t count);

/* Messages not read yet; messages that were overwritten or gone before they could be read. -ECHILD */
int64_t mqshm_consumer_lag(const struct mqshm_consumer *consumer);
int64_t mqshm_consumer_missed(const struct mqshm_consumer *consumer);

/* The id of its slot: the one that stat shows. -ECHILD */
int mqshm_consumer_id(const struct mqshm_consumer *consumer);

int mqshm_consumer_info(const struct mqshm_consumer *consumer, struct mqshm_queue_info *info);

/* Has the queue's slow-consumer policy made it lossy? Did it take on the cursor of a former one of its name? 1 or 0; -ECHILD */
int mqshm_consumer_demoted(const struct mqshm_consumer *consumer);
int mqshm_consumer_resumed(const struct mqshm_consumer *consumer);

/*
 * The wait that goes on with this handle, or else the next one, returns -ECANCELED, once. From any thread and from
 * signal handlers; the handle must not be closed meanwhile.
 */
void mqshm_consumer_cancel(struct mqshm_consumer *consumer);
void mqshm_producer_cancel(struct mqshm_producer *producer);

/*
 * Leave; the last user of a queue removes it. As mqshm_producer_close(). The cursor of a named consumer is kept for its
 * lease_ms; leave gives it up.
 */
int mqshm_consumer_close(struct mqshm_consumer *consumer);
int mqshm_consumer_leave(struct mqshm_consumer *consumer);

/* ---- waiting on many -------------------------------------------------------------------------------------- */

/* A consumer (ready: there is a message) or a producer (ready: a message of block_size would fit). Both NULL: passed over. */
struct mqshm_wait_item {
	struct mqshm_consumer *consumer;
	struct mqshm_producer *producer;
	int32_t result; /* set: 0 not ready; 1 ready; or the error that its next call would give: -ESHUTDOWN -EOWNERDEAD
			   -ECONNABORTED -ESTALE -EBADMSG ... */
};

/*
 * Wait until at least one of count items is ready or has an error. All are looked at: the results are those of one
 * moment. As with poll(), what is ready stays ready: set the consumer of a stream that has ended to NULL, or be told again.
 * The caller uses all these handles.
 *
 * Up to 128 handles are waited for with one system call (futex_waitv, Linux 5.16). With more, or on older kernels, each handle gets
 * a descriptor (see below), and these are waited for with poll(); then prefer epoll to mqshm_wait_any(). With n handles a death is
 * noticed within 50 ms * (1 + n / 16), so that looking costs no more for many.
 * How many have a result; -EAGAIN -ETIMEDOUT -EINTR -ECANCELED (one of the handles was cancelled) -EINVAL (no item, or an
 * item with both) -EMFILE -ENFILE -ENOMEM
 */
int mqshm_wait_any(struct mqshm_wait_item *items, size_t count, int timeout_ms);

/*
 * A descriptor to poll for POLLIN, alone or in epoll, libuv, GLib ..., level-triggered:
 *   consumer  readable while a message, the end of the stream or an error is there to be had
 *   producer  readable until a push finds no room; then again when a message of block_size fits, or after an error
 * Call pop or push without waiting (timeout 0) when it is readable; that keeps the descriptor right, so don't read it. It
 * belongs to the handle, is close-on-exec, the same at each call, and gone with the handle. Threads of the library, one for
 * 127 descriptors, with all signals blocked, watch the queues of those that are not readable; the first pop of such a
 * consumer that finds the queue empty wakes one. A copy of it (dup) is readable when the handle was cancelled and closed; a child's
 * tells nothing of use. In the process: as for the handle's other functions.
 * The descriptor; -ECHILD -EMFILE -ENFILE -ENOMEM -EAGAIN (no thread)
 */
int mqshm_consumer_fd(struct mqshm_consumer *consumer);
int mqshm_producer_fd(struct mqshm_producer *producer);

/*
 * The descriptor of the kernel module that the handle is attached by, for io_uring (see mqshm_uring.h). It stays the handle's:
 * don't close it, and nothing waits on it once the handle is closed.
 * The descriptor; -ENOTSUP (the queue is not the module's) -ECHILD -ESTALE (this process has closed it)
 */
int mqshm_consumer_device_fd(struct mqshm_consumer *consumer);
int mqshm_producer_device_fd(struct mqshm_producer *producer);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
