// SPDX-License-Identifier: GPL-2.0-only
/*
 * What others see of a queue: /sys/class/mqshm/<name>/ and uevents. docs/sysfs.md is its description.
 *
 * Attributes are read under queue->mutex. Counters and cursors are words of users: loaded once, and bounded before they are
 * shown, so that the worst a user achieves is a wrong number about itself.
 *
 * Roles end in places that can't sleep for long, and taking away consumers/<id> waits for its readers, who take queue->mutex.
 * So role_end() only notes down what there is to tell, and who let go of the mutex calls sysfs_publish(): it makes the
 * directories be those of the consumers that there are. queue->sysfs_mutex is around that alone: below registry_mutex, above
 * queue->mutex, and never taken by a reader. A directory belongs to one generation of its slot; a file of it that is
 * still open later gives -ENODEV, and never reaches the slot's next owner.
 */
#include <linux/capability.h>
#include <linux/kobject.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/pid.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "kmod.h"

struct mqshm_consumer_dir {
	struct kobject kobject;
	struct mqshm_queue *queue; /* there as long as the directory is */
	u32 slot;		   /* in the participants' table */
	u32 generation;
};

struct mqshm_event {
	struct list_head list;
	const char *what, *why;
	u32 slot;
	pid_t pid;
};

/* ---- what users' words say, bounded ---- */

/* No message is shorter than its header: so many fit before tail. */
static u64 pushed_before(struct mqshm_queue *q, u64 tail)
{
	u64 base = q->info->base_position;

	return tail > base ? div_u64(min(tail, MQSHM_POSITION_MAX) - base, q->info->node_header_bytes) : 0;
}

/* While a producer publishes on and on, tail and its record are never seen together: then the newer record is near enough. */
u64 queue_pushed(struct mqshm_queue *q)
{
	const struct mqshm_record *record = q->producer->record;
	u64 tail = 0, next;

	for (int tries = 0; tries < 100; tries++) {
		tail = smp_load_acquire(&q->producer->tail); /* MO-1: record after tail */
		for (int i = 0; i < 2; i++) {
			if (READ_ONCE(record[i].end) != tail)
				continue;
			next = READ_ONCE(record[i].next);
			smp_rmb(); /* MO-8: it was tail's record if tail is still the same */
			if (READ_ONCE(q->producer->tail) == tail)
				return min(next, pushed_before(q, tail));
		}
	}
	return min(max(READ_ONCE(record[0].next), READ_ONCE(record[1].next)), pushed_before(q, tail));
}

struct counts {
	u64 lag, missed, popped, overwritten;
};

static struct counts count(struct mqshm_queue *q, u32 slot, u64 pushed)
{
	struct mqshm_consumer_area *area = queue_area(q, slot - q->info->max_producers);
	u64 sequence = min(READ_ONCE(area->sequence), pushed), got = sequence - min(READ_ONCE(area->joined), sequence);
	struct counts c = { .lag = pushed - sequence, .missed = min(READ_ONCE(area->missed), pushed) };

	c.overwritten = min(READ_ONCE(area->overwritten), got);
	c.popped = got - c.overwritten;
	return c;
}

static bool is_reliable(struct mqshm_queue *q, u32 slot)
{
	u32 consumer = slot - q->info->max_producers;

	return q->info->reliable[consumer / 64] >> consumer % 64 & 1;
}

struct totals {
	u64 consumers, pushed, popped, overwritten, depth;
	s64 blocked_by;
};

static struct totals total(struct mqshm_queue *q)
{
	struct mqshm_producer_page *p = q->producer;
	struct totals t = {
		.pushed = queue_pushed(q),
		.popped = q->info->retired_popped,
		.overwritten = q->info->retired_overwritten,
		.blocked_by = -1,
	};
	bool reliable = false;

	for (u32 i = q->info->max_producers; i < q->slots; i++) {
		u32 consumer = i - q->info->max_producers;
		struct counts c;

		if (!slot_has_owner(q->participants[i].state))
			continue;
		c = count(q, i, t.pushed);
		t.consumers++;
		t.popped += c.popped;
		t.overwritten += c.overwritten;
		if (!is_reliable(q, i))
			continue;
		reliable = true;
		t.depth = max(t.depth, c.lag);
		if (READ_ONCE(p->blocked_on) == consumer + 1 &&
		    READ_ONCE(queue_area(q, consumer)->position) < READ_ONCE(p->need))
			t.blocked_by = consumer;
	}
	if (!reliable)
		t.depth = t.pushed - min(READ_ONCE(p->head_sequence), t.pushed);
	t.depth = min_t(u64, t.depth, q->info->node_count);
	return t;
}

/* ---- attributes of a queue ---- */

#define QUEUE_VALUE(name, format, value) \
	static ssize_t name##_show(struct device *dev, struct device_attribute *attribute, char *to) \
	{ \
		struct mqshm_queue *q = to_queue(dev); \
		ssize_t length; \
\
		mutex_lock(&q->mutex); \
		role_bury(q); \
		length = sysfs_emit(to, format "\n", value); \
		mutex_unlock(&q->mutex); \
		return length; \
	} \
	static DEVICE_ATTR_RO(name)

/* Of a shared queue, the one in the lowest slot. */
static struct mqshm_participant *first_producer(struct mqshm_queue *q, pid_t *pid)
{
	for (u32 i = 0; i < q->info->max_producers; i++)
		if (q->owners[i]) {
			*pid = pid_vnr(q->owners[i]->owner);
			return &q->participants[i];
		}
	*pid = 0;
	return NULL;
}

static pid_t producer_pid(struct mqshm_queue *q)
{
	pid_t pid;

	first_producer(q, &pid);
	return pid;
}

/* Programs choose their names: a line of what can be printed. */
static ssize_t show_comm(char *to, const struct mqshm_participant *p)
{
	ssize_t length = 0;

	for (; p && length < sizeof(p->comm) && p->comm[length]; length++)
		to[length] = p->comm[length] >= ' ' && p->comm[length] < 127 ? p->comm[length] : '?';
	to[length++] = '\n';
	return length;
}

static ssize_t producer_comm_show(struct device *dev, struct device_attribute *attribute, char *to)
{
	struct mqshm_queue *q = to_queue(dev);
	ssize_t length;
	pid_t pid;

	mutex_lock(&q->mutex);
	role_bury(q);
	length = show_comm(to, first_producer(q, &pid));
	mutex_unlock(&q->mutex);
	return length;
}
static DEVICE_ATTR_RO(producer_comm);

QUEUE_VALUE(node_count, "%u", q->info->node_count);
QUEUE_VALUE(block_size, "%u", q->info->block_size);
QUEUE_VALUE(ring_bytes, "%llu", q->info->ring_bytes);
QUEUE_VALUE(created_at, "%llu", q->info->created_at_ns);
QUEUE_VALUE(producer_pid, "%d", producer_pid(q));
QUEUE_VALUE(producer_active, "%d", MQSHM_EPOCH_STATE(q->info->producer_epoch) == MQSHM_EPOCH_ACTIVE);
QUEUE_VALUE(consumer_count, "%llu", total(q).consumers);
QUEUE_VALUE(total_pushed, "%llu", total(q).pushed);
QUEUE_VALUE(total_popped, "%llu", total(q).popped);
QUEUE_VALUE(overwrite_count, "%llu", total(q).overwritten);
QUEUE_VALUE(depth, "%llu", total(q).depth);
QUEUE_VALUE(blocked_by, "%lld", total(q).blocked_by);

static ssize_t metadata_read(struct file *file, struct kobject *kobject, const_bin_attribute struct bin_attribute *attribute,
			     char *to, loff_t at, size_t bytes)
{
	struct mqshm_queue *q = to_queue(kobj_to_dev(kobject));

	return memory_read_from_buffer(to, bytes, &at, q->info->metadata, q->info->metadata_bytes);
}

static const_bin_attribute struct bin_attribute metadata = {
	.attr = { .name = "metadata", .mode = 0400 }, /* see sysfs_add() */
	.read = metadata_read,
};

static struct attribute *queue_attributes[] = {
	&dev_attr_node_count.attr,     &dev_attr_block_size.attr,   &dev_attr_ring_bytes.attr,
	&dev_attr_created_at.attr,     &dev_attr_producer_pid.attr, &dev_attr_producer_comm.attr,
	&dev_attr_producer_active.attr, &dev_attr_consumer_count.attr, &dev_attr_total_pushed.attr,
	&dev_attr_total_popped.attr,   &dev_attr_overwrite_count.attr, &dev_attr_depth.attr,
	&dev_attr_blocked_by.attr,     NULL,
};

static const struct attribute_group queue_group = {
	.attrs = queue_attributes,
};

const struct attribute_group *mqshm_queue_groups[] = { &queue_group, NULL };

/* ---- consumers/<id>/ ---- */

struct consumer_attribute {
	struct attribute attribute;
	ssize_t (*show)(struct mqshm_queue *q, u32 slot, char *to);
};

static struct mqshm_consumer_dir *to_dir(struct kobject *kobject)
{
	return container_of(kobject, struct mqshm_consumer_dir, kobject);
}

/* Is it still the consumer whose directory this is? */
static bool is_of(const struct mqshm_consumer_dir *dir)
{
	u32 word = dir->queue->participants[dir->slot].state;

	return slot_has_owner(word) && MQSHM_SLOT_GENERATION(word) == dir->generation;
}

static ssize_t show(struct kobject *kobject, struct attribute *attribute, char *to)
{
	struct mqshm_consumer_dir *dir = to_dir(kobject);
	ssize_t length = -ENODEV;

	mutex_lock(&dir->queue->mutex);
	role_bury(dir->queue);
	if (is_of(dir))
		length = container_of(attribute, struct consumer_attribute, attribute)->show(dir->queue, dir->slot, to);
	mutex_unlock(&dir->queue->mutex);
	return length;
}

/*
 * Only evict can be written. It ends the directory it stands in, which waits for this very call: so a work does that, and
 * takes away the queue if this was its last user.
 */
static ssize_t store(struct kobject *kobject, struct attribute *attribute, const char *from, size_t bytes)
{
	struct mqshm_consumer_dir *dir = to_dir(kobject);
	struct mqshm_queue *q = dir->queue;
	bool yes;
	int rc = kstrtobool(from, &yes);

	if (rc || !yes)
		return -EINVAL;
	if (!queue_may_administrate(q)) /* the file's mode says so too, but descriptors can be passed on */
		return -EPERM;
	mutex_lock(&q->mutex);
	role_bury(q);
	if (is_of(dir)) {
		role_end(q, dir->slot, MQSHM_SLOT_ENDED, MQSHM_EPOCH_CRASHED, MQSHM_WHY_BY_HAND, false);
		queue_end_if_unused(q);
		queue_settle_later(q);
	} else {
		rc = -ENODEV;
	}
	mutex_unlock(&q->mutex);
	return rc ? rc : bytes;
}

#define CONSUMER_VALUE(what, format, value) \
	static ssize_t consumer_##what(struct mqshm_queue *q, u32 slot, char *to) \
	{ \
		return sysfs_emit(to, format "\n", value); \
	} \
	static struct consumer_attribute attribute_##what = { \
		.attribute = { .name = #what, .mode = 0444 }, \
		.show = consumer_##what, \
	}

/* A lease has no process. */
static pid_t pid_of(struct mqshm_queue *q, u32 slot)
{
	return q->owners[slot] ? pid_vnr(q->owners[slot]->owner) : 0;
}

/* What is left of it, when it runs. */
static u32 lease_ms(const struct mqshm_participant *p)
{
	u64 now = ktime_get_ns();

	if (MQSHM_SLOT_STATE(p->state) != MQSHM_SLOT_LEASED)
		return p->lease_ms;
	return p->lease_until_ns > now ? div_u64(p->lease_until_ns - now, NSEC_PER_MSEC) : 0;
}

static ssize_t consumer_comm(struct mqshm_queue *q, u32 slot, char *to)
{
	return show_comm(to, &q->participants[slot]);
}

static struct consumer_attribute attribute_comm = {
	.attribute = { .name = "comm", .mode = 0444 },
	.show = consumer_comm,
};

CONSUMER_VALUE(pid, "%d", pid_of(q, slot));
CONSUMER_VALUE(lag, "%llu", count(q, slot, queue_pushed(q)).lag);
CONSUMER_VALUE(missed, "%llu", count(q, slot, queue_pushed(q)).missed);
CONSUMER_VALUE(last_access_ns, "%llu",
	       min(READ_ONCE(queue_area(q, slot - q->info->max_producers)->last_access_ns), ktime_get_real_ns()));
CONSUMER_VALUE(lease, "%u", lease_ms(&q->participants[slot]));
CONSUMER_VALUE(lossy, "%d", !is_reliable(q, slot));

static struct attribute attribute_evict = { .name = "evict", .mode = 0200 };

static struct attribute *consumer_attrs[] = {
	&attribute_pid.attribute,	     &attribute_comm.attribute,	 &attribute_lag.attribute,   &attribute_missed.attribute,
	&attribute_last_access_ns.attribute, &attribute_lease.attribute, &attribute_lossy.attribute, &attribute_evict,
	NULL,
};
ATTRIBUTE_GROUPS(consumer);

static const struct sysfs_ops consumer_operations = {
	.show = show,
	.store = store,
};

static void release(struct kobject *kobject)
{
	kfree(to_dir(kobject));
}

static void get_ownership(const_get_ownership struct kobject *kobject, kuid_t *uid, kgid_t *gid)
{
	const struct mqshm_consumer_dir *dir = container_of(kobject, const struct mqshm_consumer_dir, kobject);

	*uid = dir->queue->uid;
	*gid = dir->queue->gid;
}

static const struct kobj_type consumer_type = {
	.release = release,
	.sysfs_ops = &consumer_operations,
	.default_groups = consumer_groups,
	.get_ownership = get_ownership,
};

/* ---- the directories and the events ---- */

/* Without memory for it, one more thing is not seen. That is no reason to refuse what is done already. */
static struct mqshm_consumer_dir *add_dir(struct mqshm_queue *q, u32 slot, u32 generation)
{
	struct mqshm_consumer_dir *dir = kzalloc(sizeof(*dir), MQSHM_GFP);

	if (!dir)
		return NULL;
	dir->queue = q;
	dir->slot = slot;
	dir->generation = generation;
	if (kobject_init_and_add(&dir->kobject, &consumer_type, q->consumers_kobject, "%u", slot - q->info->max_producers)) {
		kobject_put(&dir->kobject);
		return NULL;
	}
	return dir;
}

static void remove_dir(struct mqshm_consumer_dir **dir)
{
	kobject_del(&(*dir)->kobject);
	kobject_put(&(*dir)->kobject);
	*dir = NULL;
}

static void publish_dirs(struct mqshm_queue *q)
{
	for (u32 i = q->info->max_producers; i < q->slots; i++) {
		struct mqshm_consumer_dir **dir = &q->dirs[i - q->info->max_producers];
		u32 word = READ_ONCE(q->participants[i].state), generation = MQSHM_SLOT_GENERATION(word);
		bool wanted = slot_has_owner(word) && MQSHM_SLOT_STATE(word) != MQSHM_SLOT_JOINING;

		if (*dir && (!wanted || (*dir)->generation != generation))
			remove_dir(dir);
		if (!*dir && wanted)
			*dir = add_dir(q, i, generation);
	}
}

void sysfs_note(struct mqshm_queue *q, const char *what, const char *why, u32 slot, pid_t pid)
{
	struct mqshm_event *e;

	lockdep_assert_held(&q->mutex);
	e = kmalloc(sizeof(*e), MQSHM_GFP);
	if (!e)
		return;
	*e = (struct mqshm_event){ .what = what, .why = why, .slot = slot, .pid = pid };
	list_add_tail(&e->list, &q->events);
}

static void send_event(struct mqshm_queue *q, const struct mqshm_event *e)
{
	bool consumer = e->slot >= q->info->max_producers;
	char what[32], why[32], role[32], id[32], pid[32];
	char *environment[6] = { what, pid, role, id, why, NULL };

	snprintf(what, sizeof(what), "MQSHM_EVENT=%s", e->what);
	snprintf(pid, sizeof(pid), "MQSHM_PID=%d", e->pid);
	snprintf(role, sizeof(role), "MQSHM_ROLE=%s", consumer ? "consumer" : "producer");
	snprintf(id, sizeof(id), "MQSHM_ID=%u", consumer ? e->slot - q->info->max_producers : e->slot);
	if (e->why)
		snprintf(why, sizeof(why), "MQSHM_WHY=%s", e->why);
	else
		environment[4] = NULL;
	kobject_uevent_env(&q->dev.kobj, KOBJ_CHANGE, environment);
}

/* listed: the node is there, so that there is somebody to speak of. */
static void publish_events(struct mqshm_queue *q, bool listed)
{
	struct mqshm_event *e, *next;
	LIST_HEAD(events);

	mutex_lock(&q->mutex);
	list_splice_init(&q->events, &events);
	mutex_unlock(&q->mutex);
	list_for_each_entry_safe(e, next, &events, list) {
		if (listed)
			send_event(q, e);
		kfree(e);
	}
}

void sysfs_publish(struct mqshm_queue *q)
{
	mutex_lock(&q->sysfs_mutex);
	if (q->consumers_kobject)
		publish_dirs(q);
	publish_events(q, q->consumers_kobject);
	mutex_unlock(&q->sysfs_mutex);
}

/*
 * Metadata may be read by those who may read the queue, so the file is its owner's. It alone, as that of uevent could tell udev,
 * which is root, that the queue is gone.
 */
int sysfs_add(struct mqshm_queue *q)
{
	struct kobject *consumers;
	int rc;

	q->owns_files = true;
	rc = sysfs_create_bin_file(&q->dev.kobj, &metadata);
	if (!rc)
		rc = sysfs_chmod_file(&q->dev.kobj, &metadata.attr, q->mode & 0444);
	if (rc)
		return rc;
	consumers = kobject_create_and_add("consumers", &q->dev.kobj);
	mutex_lock(&q->sysfs_mutex);
	q->consumers_kobject = consumers;
	mutex_unlock(&q->sysfs_mutex);
	return consumers ? 0 : -ENOMEM;
}

void sysfs_remove(struct mqshm_queue *q)
{
	mutex_lock(&q->sysfs_mutex);
	publish_events(q, q->consumers_kobject);
	for (u32 i = 0; i < q->info->max_consumers; i++)
		if (q->dirs[i])
			remove_dir(&q->dirs[i]);
	if (q->consumers_kobject) {
		kobject_del(q->consumers_kobject);
		kobject_put(q->consumers_kobject);
		q->consumers_kobject = NULL;
	}
	mutex_unlock(&q->sysfs_mutex);
}
