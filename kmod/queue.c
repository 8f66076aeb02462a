// SPDX-License-Identifier: GPL-2.0-only
/* Queues from their creation to their end: memory, whose share it is, and the registry of names and minors. */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/ctype.h>
#include <linux/idr.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "kmod.h"

static unsigned int max_queues = 4096;
module_param(max_queues, uint, 0644);
MODULE_PARM_DESC(max_queues, "most queues at a time (default 4096, at most 8191)");

static ulong max_queue_bytes = 1ul << 30;
module_param(max_queue_bytes, ulong, 0644);
MODULE_PARM_DESC(max_queue_bytes, "most bytes of one queue (default 1 GiB)");

static ulong max_user_bytes;
module_param(max_user_bytes, ulong, 0644);
MODULE_PARM_DESC(max_user_bytes, "most bytes of all queues of one user without CAP_SYS_RESOURCE (default 0: a quarter of the memory)");

static unsigned int max_user_queues = 1024;
module_param(max_user_queues, uint, 0644);
MODULE_PARM_DESC(max_user_queues, "most queues of one user without CAP_SYS_RESOURCE (default 1024)");

static unsigned int max_consumers = 256;
module_param(max_consumers, uint, 0644);
MODULE_PARM_DESC(max_consumers, "most consumers a queue may be created for (default 256, at most 256)");

/* ---- who has how much ---- */

struct mqshm_user {
	struct list_head list;
	kuid_t uid;
	unsigned int queues;
	unsigned long pages;
};

static DEFINE_SPINLOCK(users_lock);
static LIST_HEAD(users);

static struct mqshm_user *user_find(kuid_t uid)
{
	struct mqshm_user *u;

	list_for_each_entry(u, &users, list)
		if (uid_eq(u->uid, uid))
			return u;
	return NULL;
}

static struct mqshm_user *user_charge(kuid_t uid, unsigned long pages)
{
	unsigned long most = READ_ONCE(max_user_bytes) >> PAGE_SHIFT;
	bool free = capable(CAP_SYS_RESOURCE);
	struct mqshm_user *u, *fresh = kzalloc(sizeof(*fresh), MQSHM_GFP);

	if (!fresh)
		return ERR_PTR(-ENOMEM);
	if (!most)
		most = totalram_pages() / 4;
	spin_lock(&users_lock);
	u = user_find(uid);
	if (!u) {
		u = fresh;
		fresh = NULL;
		u->uid = uid;
		list_add(&u->list, &users);
	}
	if (!free && (u->queues >= READ_ONCE(max_user_queues) || pages > most || u->pages > most - pages)) {
		if (!u->queues) {
			list_del(&u->list);
			fresh = u;
		}
		u = ERR_PTR(-EDQUOT);
	} else {
		u->queues++;
		u->pages += pages;
	}
	spin_unlock(&users_lock);
	kfree(fresh);
	return u;
}

static void user_uncharge(struct mqshm_user *u, unsigned long pages)
{
	spin_lock(&users_lock);
	u->pages -= pages;
	if (--u->queues)
		u = NULL;
	else
		list_del(&u->list);
	spin_unlock(&users_lock);
	kfree(u);
}

/* ---- the registry ---- */

static DEFINE_MUTEX(registry_mutex);
static DEFINE_IDR(minors); /* under registry_mutex */
static unsigned int queues;

struct mqshm_queue *queue_get(int minor)
{
	struct mqshm_queue *q;

	mutex_lock(&registry_mutex);
	q = idr_find(&minors, minor);
	if (q)
		get_device(&q->dev);
	mutex_unlock(&registry_mutex);
	return q;
}

static bool unlist_locked(struct mqshm_queue *q)
{
	if (!q->listed)
		return false;
	q->listed = false;
	idr_remove(&minors, q->minor);
	queues--;
	sysfs_remove(q);
	device_del(&q->dev);
	return true;
}

void queue_unlist(struct mqshm_queue *q)
{
	bool ours;

	mutex_lock(&registry_mutex);
	ours = unlist_locked(q);
	mutex_unlock(&registry_mutex);
	if (!ours)
		return;
	cancel_delayed_work_sync(&q->leases); /* it is dead: nobody begins another */
	put_device(&q->dev);
}

void queue_settle(struct mqshm_queue *q)
{
	if (READ_ONCE(q->dead))
		queue_unlist(q);
	else
		sysfs_publish(q);
}

static void settle_work(struct work_struct *work)
{
	struct mqshm_queue *q = container_of(work, struct mqshm_queue, settle);

	queue_settle(q);
	put_device(&q->dev);
}

void queue_settle_later(struct mqshm_queue *q)
{
	get_device(&q->dev);
	if (!queue_work(mqshm_work, &q->settle))
		put_device(&q->dev);
}

/* ---- memory ---- */

static void free_pages_of(struct mqshm_queue *q)
{
	if (q->info)
		vunmap(q->info);
	while (q->page_count)
		put_page(q->pages[--q->page_count]);
	kvfree(q->pages);
}

/*
 * All of it now, charged to the caller's cgroup.
 */
static int allocate_pages(struct mqshm_queue *q, const struct mqshm_info *plan)
{
	unsigned long wanted = plan->total_bytes >> PAGE_SHIFT;

	if (wanted > totalram_pages())
		return -ENOMEM;
	q->pages = kvmalloc_array(wanted, sizeof(*q->pages), MQSHM_GFP);
	if (!q->pages)
		return -ENOMEM;
	while (q->page_count < wanted) {
		struct page *page = alloc_page(MQSHM_GFP | __GFP_ZERO);

		if (!page)
			return -ENOMEM;
		q->pages[q->page_count++] = page;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	q->info = vmap(q->pages, plan->nodes_offset >> PAGE_SHIFT, VM_MAP, PAGE_KERNEL);
	return q->info ? 0 : -ENOMEM;
}

/*
 * The driver core charges what it allocates for a node, too, but at the limit that has the caller killed. So we make sure that
 * there is as much, and give it back just before.
 */
#define HEADROOM 16

static int make_headroom(void)
{
	struct page *pages[HEADROOM];
	int n = 0;

	while (n < HEADROOM && (pages[n] = alloc_page(MQSHM_GFP)))
		n++;
	for (int i = 0; i < n; i++)
		put_page(pages[i]);
	return n == HEADROOM ? 0 : -ENOMEM;
}

static void release_queue(struct device *dev)
{
	struct mqshm_queue *q = to_queue(dev);

	user_uncharge(q->user, q->page_count);
	free_pages_of(q);
	kfree(q->dirs);
	kfree(q->owners);
	kfree(q);
	module_put(THIS_MODULE);
}

/* ---- creation ---- */

static bool name_is_good(const u8 *name, size_t room)
{
	size_t length = strnlen(name, room);

	if (length == 0 || length == room || name[0] == '.' || !strcmp(name, "control"))
		return false;
	for (size_t i = 0; i < length; i++)
		if (!(isascii(name[i]) && isalnum(name[i])) && !strchr("._-", name[i]))
			return false;
	return !memchr_inv(name + length, 0, room - length);
}

static int make_plan(struct mqshm_info *plan, const struct mqshm_ioc_create *c)
{
	bool overwrites = c->queue_flags & MQSHM_OVERWRITE;

	if ((c->flags & ~MQSHM_IOC_TO_ATTACH) || !name_is_good(c->name, sizeof(c->name)) || c->mode & ~0777 ||
	    c->node_count - 1 >= MQSHM_NODES_MAX || c->block_size - 1 >= MQSHM_BLOCK_MAX ||
	    c->max_consumers - 1 >= MQSHM_CONSUMER_SLOTS_MAX ||
	    c->max_producers != (c->queue_flags & MQSHM_SHARED ? MQSHM_PRODUCER_SLOTS_SHARED : 1) ||
	    (c->node_align != 8 && c->node_align != 16 && c->node_align != 32 && c->node_align != 64) ||
	    c->queue_flags & ~MQSHM_QUEUE_FLAGS || (overwrites && c->queue_flags & MQSHM_HOLD) ||
	    (c->queue_flags & MQSHM_TIMESTAMP_OFF && c->queue_flags & MQSHM_TIMESTAMP_OWN) ||
	    c->slow_policy > MQSHM_SLOW_DEMOTE || (c->slow_policy && overwrites) ||
	    (c->slow_policy ? c->slow_ms - 1 >= MQSHM_MS_MAX : c->slow_ms) ||
	    c->metadata_bytes > MQSHM_METADATA_MAX ||
	    memchr_inv(c->metadata + c->metadata_bytes, 0, MQSHM_METADATA_MAX - c->metadata_bytes) ||
	    c->base_position % 64 || c->base_position >= MQSHM_POSITION_MAX)
		return -EINVAL;
	if (c->max_consumers > READ_ONCE(max_consumers))
		return -EDQUOT;
	plan->magic = MQSHM_MAGIC;
	plan->abi_version = MQSHM_ABI_VERSION;
	plan->info_bytes = sizeof(*plan);
	plan->node_count = c->node_count;
	plan->block_size = c->block_size;
	plan->max_producers = c->max_producers;
	plan->max_consumers = c->max_consumers;
	plan->node_align = c->node_align;
	plan->flags = c->queue_flags;
	plan->page_bytes = PAGE_SIZE;
	plan->consumer_stride = PAGE_SIZE;
	plan->slow_policy = c->slow_policy;
	plan->slow_ms = c->slow_ms;
	plan->metadata_bytes = c->metadata_bytes;
	plan->base_position = c->base_position;
	plan->created_at_ns = ktime_get_real_ns();
	plan->hold = !!(c->queue_flags & MQSHM_HOLD);
	plan->used = !!(c->flags & MQSHM_IOC_TO_ATTACH);
	memcpy(plan->name, c->name, sizeof(plan->name));
	memcpy(plan->metadata, c->metadata, sizeof(plan->metadata));
	mqshm_lay_out(plan);
	return plan->total_bytes > READ_ONCE(max_queue_bytes) ? -EFBIG : 0;
}

static void format(struct mqshm_queue *q, const struct mqshm_info *plan)
{
	*q->info = *plan;
	q->participants = (void *)q->info + plan->participants_offset;
	q->producer = (void *)q->info + plan->producer_offset;
	q->consumers = (void *)q->info + plan->consumers_offset;
	q->producer->record[0].end = plan->base_position;
	q->producer->head = plan->base_position;
	q->producer->tail = plan->base_position;
}

/* Give it a minor, a name and a node. One of that name that is dead may still be on its way out. */
static int list_queue(struct mqshm_queue *q)
{
	struct mqshm_queue *other;
	bool stale = false;
	int rc = 0;

	mutex_lock(&registry_mutex);
	other = node_find(q->name);
	if (other && !READ_ONCE(other->dead))
		rc = -EEXIST;
	else if (other)
		stale = unlist_locked(other);
	if (!rc && queues >= min_t(unsigned int, READ_ONCE(max_queues), MQSHM_MINORS - 1))
		rc = -ENOSPC;
	if (!rc) {
		q->minor = idr_alloc_cyclic(&minors, NULL, 1, MQSHM_MINORS, GFP_KERNEL);
		rc = q->minor < 0 ? q->minor : node_add(q);
		if (rc && q->minor >= 0)
			idr_remove(&minors, q->minor);
	}
	if (!rc) {
		get_device(&q->dev); /* the caller's */
		idr_replace(&minors, q, q->minor);
		q->listed = true;
		queues++;
	}
	mutex_unlock(&registry_mutex);
	if (stale) {
		cancel_delayed_work_sync(&other->leases);
		put_device(&other->dev);
	}
	if (other)
		put_device(&other->dev);
	return rc;
}

int queue_create(const struct mqshm_ioc_create *c, struct mqshm_queue **created)
{
	struct mqshm_info *plan = kzalloc(sizeof(*plan), GFP_KERNEL);
	struct mqshm_queue *q = NULL;
	int rc;

	if (!plan)
		return -ENOMEM;
	rc = make_plan(plan, c);
	if (rc)
		goto out;
	q = node_find(c->name); /* before all the work; list_queue() looks again */
	if (q) {
		rc = READ_ONCE(q->dead) ? 0 : -EEXIST;
		put_device(&q->dev);
		q = NULL;
		if (rc)
			goto out;
	}
	rc = -ENOMEM;
	q = kzalloc(sizeof(*q), MQSHM_GFP);
	if (!q)
		goto out;
	memcpy(q->name, c->name, sizeof(q->name));
	q->uid = current_euid();
	q->gid = current_egid();
	q->mode = c->mode;
	q->slots = c->max_producers + c->max_consumers;
	mutex_init(&q->mutex);
	mutex_init(&q->sysfs_mutex);
	INIT_LIST_HEAD(&q->events);
	init_rwsem(&q->maps);
	for (int i = 0; i < MQSHM_WORDS; i++)
		init_waitqueue_head(&q->words[i]);
	INIT_WORK(&q->settle, settle_work);
	INIT_DELAYED_WORK(&q->leases, role_leases);
	q->owners = kcalloc(q->slots, sizeof(*q->owners), MQSHM_GFP);
	q->dirs = kcalloc(c->max_consumers, sizeof(*q->dirs), MQSHM_GFP);
	if (!q->owners || !q->dirs)
		goto free;
	q->user = user_charge(q->uid, plan->total_bytes >> PAGE_SHIFT);
	if (IS_ERR(q->user)) {
		rc = PTR_ERR(q->user);
		goto free;
	}
	rc = allocate_pages(q, plan);
	if (!rc)
		rc = make_headroom();
	if (rc) {
		user_uncharge(q->user, plan->total_bytes >> PAGE_SHIFT);
		free_pages_of(q);
		goto free;
	}
	format(q, plan);
	__module_get(THIS_MODULE);
	device_initialize(&q->dev);
	q->dev.release = release_queue;
	rc = list_queue(q);
	if (rc)
		put_device(&q->dev);
	else
		*created = q;
	goto out;
free:
	kfree(q->dirs);
	kfree(q->owners);
	kfree(q);
out:
	kfree(plan);
	return rc;
}

/* ---- the end ---- */

void queue_die(struct mqshm_queue *q)
{
	lockdep_assert_held(&q->mutex);
	if (q->dead)
		return;
	WRITE_ONCE(q->dead, true);
	/* before any state: who finds its role ended learns why */
	smp_store_release(&q->info->dead, 1);
	for (u32 i = 0; i < q->slots; i++)
		if (slot_has_owner(q->participants[i].state))
			role_end(q, i, MQSHM_SLOT_ENDED, MQSHM_EPOCH_CRASHED, MQSHM_WHY_REMOVED, false);
	queue_wake_all(q);
}

bool queue_end_if_unused(struct mqshm_queue *q)
{
	lockdep_assert_held(&q->mutex);
	if (q->dead || !q->info->used || q->info->flags & MQSHM_PERSISTENT)
		return false;
	for (u32 i = 0; i < q->slots; i++)
		if (slot_has_owner(q->participants[i].state))
			return false;
	queue_die(q);
	return true;
}

bool queue_may_administrate(const struct mqshm_queue *q)
{
	return uid_eq(current_euid(), q->uid) || capable(CAP_SYS_ADMIN);
}

int queue_remove(const char *name, u32 flags)
{
	struct mqshm_queue *q = node_find(name);
	int rc = 0;

	if (!q)
		return -ENOENT;
	mutex_lock(&q->mutex);
	if (q->dead)
		rc = -ENOENT;
	else if (!queue_may_administrate(q))
		rc = -EPERM;
	if (!rc)
		role_bury(q);
	for (u32 i = 0; i < q->slots && !rc && !(flags & MQSHM_IOC_FORCE); i++)
		if (slot_has_owner(q->participants[i].state))
			rc = -EBUSY;
	if (!rc)
		queue_die(q);
	mutex_unlock(&q->mutex);
	if (!rc)
		queue_unlist(q);
	put_device(&q->dev);
	return rc;
}
