/* SPDX-License-Identifier: MIT */
/*
 * Shows that the death of a consumer between any two of its stores that belong together holds nobody up and leaves its
 * slot free; and so for one who was about to remove the queue's name.
 */
#include "death/posix_window.h"

static struct mqshm_participant *victim_slot(struct mqshm_ring *r)
{
	return ring_consumer(r, 1); /* slot 0 is the survivor's */
}

static void reader_joining(struct mqshm_ring *r)
{
	victim_slot(r)->state = (victim_slot(r)->state & ~0xffu) | MQSHM_SLOT_JOINING;
}

static void reader_ended_but_its_bit_stays(struct mqshm_ring *r)
{
	victim_slot(r)->state = (victim_slot(r)->state & ~0xffu) | MQSHM_SLOT_ENDED;
}

static void reader_sequence_alone(struct mqshm_ring *r)
{
	ring_area(r, 1)->sequence++;
}

static void reader_woke_nobody(struct mqshm_ring *r)
{
	r->info->room.word &= ~1u; /* it has cleared the word and died before the wake-up call */
}

static void consumer_dies(void (*window)(struct mqshm_ring *))
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_producer *p;
	struct mqshm_consumer *c, *second;
	unsigned char byte[BLOCK];
	uint64_t next = 0;

	s->name = test_queue("window");
	s->window = window;
	q.max_consumers = 2;
	p = open_producer(s->name, &q);
	c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < NODES; i++, s->pushed++) {
			payload_fill(byte, BLOCK, s->pushed);
			MUST(mqshm_producer_push(p, byte, BLOCK, stall_ms()), 0);
			if (i == NODES / 2)
				die_in_it(s);
		}
		read_some(c, &next, NODES);
	}
	EXPECT(mqshm_producer_wait_drained(p, stall_ms()), 0);
	second = open_consumer(s->name, NULL, MQSHM_FROM_LATEST, 0); /* in its slot */
	EXPECT(mqshm_consumer_close(second), 0);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(s->name);
}

TEST(a_consumer)
{
	consumer_dies(reader_joining);
	consumer_dies(reader_ended_but_its_bit_stays);
	consumer_dies(reader_sequence_alone);
	consumer_dies(reader_woke_nobody);
}

static void name_left_dead(struct mqshm_ring *r)
{
	r->info->dead = 1;
}

TEST(whoever_was_about_to_unlink_the_name)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_producer *p;

	s->name = test_queue("window");
	s->window = name_left_dead;
	s->producer = true;
	MUST(mqshm_queue_create(s->name, &q), 0);
	die_in_it(s);
	p = open_producer(s->name, &q); /* a new one */
	CHECK_EQ(STAT(s->name, total_pushed), 0);
	EXPECT(mqshm_producer_close(p), 0);
	MUST(mqshm_queue_create(s->name, &q), 0);
	s->pushed = 0;
	die_in_it(s);
	EXPECT(mqshm_queue_gc(s->name, NULL, NULL), 1);
	check_gone(s->name);
}
