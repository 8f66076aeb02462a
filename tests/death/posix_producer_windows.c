/* SPDX-License-Identifier: MIT */
/*
 * Shows that the death of a producer between any two of its stores that belong together costs nothing: the next one goes
 * on with the sequence, a live reliable consumer loses nothing, and it is told when nobody comes.
 */
#include "death/posix_window.h"

/* Head is raised, the cursors are not looked at yet. */
static void head_raised(struct mqshm_ring *r)
{
	struct mqshm_producer_page *p = r->producer;
	struct mqshm_mark to = { p->head, p->head_sequence };

	for (uint64_t i = 0; i < MQSHM_MARKS; i++)
		if (p->mark[i].position > to.position && p->mark[i].position < p->tail)
			to = p->mark[i];
	REQUIRE(to.position > p->head);
	p->head_sequence = to.sequence;
	p->head = to.position;
}

static void head_sequence_alone(struct mqshm_ring *r)
{
	r->producer->head_sequence += 5;
}

/* The next node is half written and its record is; tail is not. */
static void record_written(struct mqshm_ring *r)
{
	struct mqshm_producer_page *p = r->producer;
	struct mqshm_record *other = &p->record[p->record[0].end == p->tail];
	uint64_t sequence = p->record[p->record[0].end != p->tail].next;

	memset(r->nodes + ring_offset(r, p->tail), 0xee, sizeof(struct mqshm_node));
	other->end = p->tail + 88;
	other->next = sequence + 1;
}

static void half_a_record(struct mqshm_ring *r)
{
	struct mqshm_producer_page *p = r->producer;

	p->record[p->record[0].end == p->tail].end = p->tail + 88; /* its next is two messages old */
}

static void mark_half_written(struct mqshm_ring *r)
{
	r->producer->mark[r->producer->mark_count % MQSHM_MARKS].position = r->producer->tail + 8;
}

static void waits_for_somebody(struct mqshm_ring *r)
{
	r->producer->blocked_on = 200;
	r->producer->need = UINT64_MAX;
	r->info->room.word |= 1;
	r->info->data.word |= 1;
}

/* Dying on the way out: the slot is given back, the stream's end is not noted. */
static void ended_but_not_settled(struct mqshm_ring *r)
{
	r->participants[0].state = (r->participants[0].state & ~0xffu) | MQSHM_SLOT_ENDED;
}

/* ... and on the way in. */
static void joining(struct mqshm_ring *r)
{
	r->participants[0].state = (r->participants[0].state & ~0xffu) | MQSHM_SLOT_JOINING;
}

static void holds_the_lock(struct mqshm_ring *r)
{
	r->producer->lock = 1 | MQSHM_SLOT_GENERATION(r->participants[0].state) << 8;
}

static void holds_the_lock_with_waiters(struct mqshm_ring *r)
{
	holds_the_lock(r);
	head_raised(r);
	record_written(r);
	r->producer->lock |= MQSHM_LOCK_WAITERS;
}

/* The survivor is `behind` messages behind when the victim dies; then a new producer goes round the ring. */
static void producer_dies(void (*window)(struct mqshm_ring *), uint32_t flags, int end)
{
	for (uint64_t ahead = 1; ahead < NODES; ahead += 3) {
		struct mqshm_queue_options q = geometry(NODES, BLOCK, flags);
		struct shared *s = shared_memory(sizeof *s);
		struct mqshm_producer *p;
		struct mqshm_consumer *c;
		unsigned char byte[BLOCK];
		uint64_t next = 0;

		s->name = test_queue("window");
		s->window = window;
		s->producer = true;
		c = open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
		p = open_producer(s->name, NULL);
		for (; s->pushed < 2 * NODES + ahead; s->pushed++) { /* so that the ring has lapped */
			payload_fill(byte, BLOCK, s->pushed);
			MUST(mqshm_producer_push(p, byte, BLOCK, 0), 0);
			if (s->pushed >= ahead)
				read_some(c, &next, 1);
		}
		EXPECT(mqshm_producer_close(p), 0);
		die_in_it(s);
		if (end)
			UNTIL(CALL(mqshm_consumer_lag(c)) == (int64_t)(s->pushed - next));
		p = open_producer(s->name, NULL);
		for (uint64_t i = 0; i < 5 * NODES; i++) {
			if (s->pushed - next == NODES)
				read_some(c, &next, 1 + i % NODES);
			payload_fill(byte, BLOCK, s->pushed);
			MUST(mqshm_producer_push(p, byte, BLOCK, stall_ms()), 0);
			s->pushed++;
		}
		EXPECT(mqshm_producer_close(p), 0);
		read_some(c, &next, s->pushed - next);
		EXPECT(mqshm_consumer_pop(c, byte, sizeof byte, NULL, stall_ms()), -ESHUTDOWN);
		/* And when nobody comes after it, the consumer is told. */
		die_in_it(s);
		while (next < s->pushed)
			read_some(c, &next, 1);
		EXPECT(mqshm_consumer_pop(c, byte, sizeof byte, NULL, stall_ms()), end);
		EXPECT(mqshm_consumer_close(c), 0);
		check_gone(s->name);
	}
}

TEST(a_producer_that_raised_head)
{
	producer_dies(head_raised, 0, -EOWNERDEAD);
	producer_dies(head_raised, MQSHM_SHARED, -EOWNERDEAD);
	producer_dies(head_sequence_alone, 0, -EOWNERDEAD);
}

TEST(a_producer_that_wrote_but_did_not_publish)
{
	producer_dies(record_written, 0, -EOWNERDEAD);
	producer_dies(half_a_record, 0, -EOWNERDEAD);
	producer_dies(mark_half_written, 0, -EOWNERDEAD);
	producer_dies(waits_for_somebody, 0, -EOWNERDEAD);
}

TEST(a_producer_on_its_way_out_or_in)
{
	producer_dies(ended_but_not_settled, 0, -EOWNERDEAD);
	producer_dies(ended_but_not_settled, MQSHM_SHARED, -EOWNERDEAD);
	producer_dies(joining, 0, -EOWNERDEAD);
	producer_dies(joining, MQSHM_SHARED, -EOWNERDEAD);
}

TEST(a_holder_of_the_lock)
{
	producer_dies(holds_the_lock, MQSHM_SHARED, -EOWNERDEAD);
	producer_dies(holds_the_lock_with_waiters, MQSHM_SHARED, -EOWNERDEAD);
}
