/* SPDX-License-Identifier: MIT */
/* The inline functions of ring.h as functions of their own, for barriers.py to read their code. Never run. */
#include "lock.h"
#include "mqshm/ring.h"

#define PROBE(type, name, ...) type name(__VA_ARGS__); __attribute__((flatten)) type name(__VA_ARGS__)

PROBE(bool, probe_publish, struct mqshm_writer *w)
{
	writer_finish(w, 8, 0);
	return writer_publish(w);
}

PROBE(void, probe_publish_twice, struct mqshm_writer *w)
{
	writer_publish(w);
	writer_publish(w);
}

PROBE(int, probe_make_room, struct mqshm_writer *w, uint64_t end)
{
	return writer_make_room(w, end);
}

PROBE(int, probe_take_over, struct mqshm_writer *w)
{
	return writer_take_over(w);
}

PROBE(int, probe_read_tail, const struct mqshm_ring *r, uint64_t *tail, uint64_t *sequence)
{
	return ring_read_tail(r, tail, sequence);
}

PROBE(int, probe_find, struct mqshm_reader *rd, struct mqshm_found *f)
{
	return reader_find(rd, rd->position, rd->offset, rd->sequence, f);
}

/* What a reliable consumer does: no second look. */
PROBE(bool, probe_take, struct mqshm_reader *rd, const struct mqshm_found *f, uint64_t *to)
{
	racy_copy(to, f->payload, sizeof *to); /* the payload */
	return reader_advance(rd, f->next, f->next_offset, f->sequence + 1);
}

PROBE(int, probe_look_again, struct mqshm_reader *rd, const struct mqshm_found *f, uint64_t *to)
{
	racy_copy(to, f->payload, sizeof *to); /* the payload */
	return reader_validate(rd);
}

PROBE(int, probe_resync, struct mqshm_reader *rd)
{
	return reader_resync(rd);
}

PROBE(int, probe_join, struct mqshm_reader *rd)
{
	return reader_join(rd, 1, true);
}

/* lock.c, so that what is done under the lock is in one function with taking and releasing it. */
#include "lock.c"

PROBE(int, probe_lock_take, struct mqshm_lock *lock, struct mqshm_writer *w, uint64_t deadline)
{
	return mqshm_lock_take(lock, deadline) < 0 ? -1 : writer_catch_up(w);
}

PROBE(void, probe_lock_release, struct mqshm_lock *lock, uint64_t count)
{
	WRITE_ONCE(lock->mapping->ring.producer->mark_count, count); /* under the lock */
	mqshm_lock_release(lock);
}
