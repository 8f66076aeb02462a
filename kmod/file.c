// SPDX-License-Identifier: GPL-2.0-only
/* System calls on open files: control, and queues' nodes. Arguments are copied in and checked here, and out again. */
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kmod.h"

/* Copy in an argument that begins with its size. */
#define get_argument(to, from) (copy_from_user(to, from, sizeof(*(to))) ? -EFAULT : (to)->size != sizeof(*(to)) ? -EINVAL : 0)

/* ---- handles ---- */

static void free_handle(struct kref *ref)
{
	struct mqshm_handle *h = container_of(ref, struct mqshm_handle, ref);

	if (h->owner) {
		put_pid(h->owner);
		mmdrop(h->mm);
	}
	if (h->dummy)
		put_page(h->dummy);
	put_device(&h->queue->dev);
	kfree(h);
}

void handle_put(struct mqshm_handle *h)
{
	kref_put(&h->ref, free_handle);
}

static int queue_release(struct inode *inode, struct file *file)
{
	struct mqshm_handle *h = file->private_data;

	uring_exit(h);
	role_owner_gone(h); /* nothing happens after an orderly DETACH */
	mutex_lock(&h->queue->mutex);
	h->file = NULL;
	mutex_unlock(&h->queue->mutex);
	handle_put(h);
	return 0;
}

static int queue_flush(struct file *file, fl_owner_t id)
{
	owner_flushes(file->private_data);
	return 0;
}

static ssize_t queue_read(struct file *file, char __user *to, size_t count, loff_t *at)
{
	struct mqshm_handle *h = file->private_data;
	struct mqshm_queue *q = h->queue;
	loff_t end = q->info->nodes_offset;
	u32 epoch;

	if (*at < 0)
		return -EINVAL;
	if (*at >= end)
		return 0;
	if (*at == 0) {
		mutex_lock(&q->mutex);
		role_bury(q);
		mutex_unlock(&q->mutex);
	}
	epoch = READ_ONCE(q->info->epoch);
	count = min_t(u64, count, end - *at);
	smp_rmb(); /* what changes after epoch was read makes poll() say so */
	/* Who reads sees what a mapping would show: each value whole, but not all of one moment. */
	if (data_race(copy_to_user(to, (void *)q->info + *at, count)))
		return -EFAULT;
	if (*at == 0)
		WRITE_ONCE(h->seen_epoch, epoch);
	*at += count;
	return count;
}

static bool name_is_good(const u8 *name, u32 lease_ms)
{
	size_t length = strnlen(name, 32);

	return length < 32 && !memchr_inv(name + length, 0, 32 - length) && !length == !lease_ms &&
	       lease_ms <= MQSHM_LEASE_MS_MAX;
}

static int attach(struct mqshm_handle *h, struct mqshm_ioc_attach __user *argument)
{
	struct mqshm_queue *q = h->queue;
	struct mqshm_ioc_attach a;
	int rc = get_argument(&a, argument);

	if (rc)
		return rc;
	if ((a.role != MQSHM_IOC_PRODUCER && a.role != MQSHM_IOC_CONSUMER) || a.flags & ~MQSHM_ROLE_LOSSY || a.start > 2 ||
	    !name_is_good(a.name, a.lease_ms) || a.participant || a.state || a.resumed || a.position ||
	    (a.role == MQSHM_IOC_PRODUCER && (a.flags || a.start || a.name[0])))
		return -EINVAL;
	if ((h->file->f_mode & (FMODE_READ | FMODE_WRITE)) != (FMODE_READ | FMODE_WRITE))
		return -EBADF;
	mutex_lock(&q->mutex);
	rc = role_attach(h, &a);
	if (rc == -EBUSY) {
		role_bury(q);
		rc = role_attach(h, &a);
	}
	if (rc == -EBADMSG) /* a lease, perhaps the last one, may have ended by that */
		queue_end_if_unused(q);
	mutex_unlock(&q->mutex);
	queue_settle(q);
	if (!rc && copy_to_user(argument, &a, sizeof(a))) {
		role_owner_gone(h);
		rc = -EFAULT;
	}
	return rc;
}

/* Current has the role, or had it. */
static int check_role(const struct mqshm_handle *h)
{
	/* with role_attach(): the owner and slot of a role that is seen */
	return smp_load_acquire(&h->role) && handle_is_owner(h) ? 0 : -EPERM;
}

static int detach(struct mqshm_handle *h, const struct mqshm_ioc_detach __user *argument)
{
	struct mqshm_queue *q = h->queue;
	struct mqshm_ioc_detach d;
	int rc = get_argument(&d, argument);
	bool lease;

	if (!rc)
		rc = check_role(h);
	if (!rc && (d.how > MQSHM_EPOCH_CRASHED || d.how == MQSHM_EPOCH_ACTIVE ||
		    (h->role == MQSHM_IOC_PRODUCER && d.how == MQSHM_EPOCH_NONE)))
		rc = -EINVAL;
	if (rc)
		return rc;
	mutex_lock(&q->mutex);
	if (!h->ended) {
		lease = h->role == MQSHM_IOC_CONSUMER && q->participants[h->slot].lease_ms && d.how != MQSHM_EPOCH_NONE;
		role_end(q, h->slot, lease ? MQSHM_SLOT_LEASED : MQSHM_SLOT_FREE, d.how, 0, false);
		queue_end_if_unused(q);
	}
	mutex_unlock(&q->mutex);
	queue_settle(q);
	return 0;
}

static int arm(struct mqshm_handle *h, struct mqshm_ioc_word __user *argument)
{
	struct mqshm_ioc_word w;
	int rc = get_argument(&w, argument);

	if (!rc && (w.word >= MQSHM_WORD_LOCK || w.value || w.reserved))
		rc = -EINVAL;
	if (!rc)
		rc = check_role(h);
	if (rc)
		return rc;
	w.value = word_arm(h->queue, w.word);
	return put_user(w.value, &argument->value);
}

static int wake(struct mqshm_handle *h, const struct mqshm_ioc_word __user *argument)
{
	struct mqshm_ioc_word w;
	int rc = get_argument(&w, argument);

	if (!rc && (w.word >= MQSHM_WORDS || w.value || w.reserved))
		rc = -EINVAL;
	if (!rc)
		rc = check_role(h);
	if (!rc)
		word_wake(h->queue, w.word);
	return rc;
}

static int wait(struct mqshm_handle *h, struct mqshm_ioc_wait __user *argument)
{
	struct mqshm_ioc_wait w;
	int rc = get_argument(&w, argument);

	if (!rc && (w.word >= MQSHM_WORDS || w.reserved || w.flags & ~MQSHM_IOC_FOR_DATA ||
		    (w.flags ? w.word != MQSHM_WORD_DATA : w.until || w.epoch)))
		rc = -EINVAL;
	if (!rc)
		rc = check_role(h);
	if (!rc && w.word == MQSHM_WORD_LOCK && h->role != MQSHM_IOC_PRODUCER)
		rc = -EPERM;
	if (!rc)
		rc = handle_wait(h, &w);
	if (rc == -ERESTARTNOHAND && put_user(w.ns, &argument->ns))
		rc = -EINTR;
	return rc;
}

static int end_other(struct mqshm_handle *h, const struct mqshm_ioc_end __user *argument)
{
	struct mqshm_queue *q = h->queue;
	struct mqshm_ioc_end e;
	int rc = get_argument(&e, argument);

	if (!rc && (e.flags & ~MQSHM_IOC_DEMOTE || e.reserved))
		rc = -EINVAL;
	if (rc)
		return rc;
	mutex_lock(&q->mutex);
	rc = role_end_other(h, &e);
	if (!rc)
		queue_end_if_unused(q);
	mutex_unlock(&q->mutex);
	queue_settle(q);
	return rc;
}

static int synchronise(struct mqshm_handle *h)
{
	int rc = check_role(h);

	if (rc)
		return rc;
	mutex_lock(&h->queue->mutex); /* an attach holds it from before it says JOINING until that is over */
	role_bury(h->queue);
	mutex_unlock(&h->queue->mutex);
	return 0;
}

static long queue_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct mqshm_handle *h = file->private_data;
	void __user *at = (void __user *)argument;

	switch (command) {
	case MQSHM_IOC_ATTACH:
		return attach(h, at);
	case MQSHM_IOC_DETACH:
		return detach(h, at);
	case MQSHM_IOC_ARM:
		return arm(h, at);
	case MQSHM_IOC_WAKE:
		return wake(h, at);
	case MQSHM_IOC_WAIT:
		return wait(h, at);
	case MQSHM_IOC_END:
		return end_other(h, at);
	case MQSHM_IOC_SYNC:
		return synchronise(h);
	}
	return -ENOTTY;
}

static const struct file_operations queue_operations = {
	.owner = THIS_MODULE,
	.release = queue_release,
	.flush = queue_flush,
	.read = queue_read,
	.llseek = default_llseek,
	.mmap = handle_mmap,
	.poll = handle_poll,
	.unlocked_ioctl = queue_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.uring_cmd = handle_uring_cmd,
};

/* ---- control ---- */

/* The descriptor's last queue that was created to be attached to: if nobody came, it goes. */
static void drop_created(struct mqshm_queue *q)
{
	if (!q)
		return;
	mutex_lock(&q->mutex);
	queue_end_if_unused(q);
	mutex_unlock(&q->mutex);
	queue_settle(q);
	put_device(&q->dev);
}

static int create(struct file *file, const struct mqshm_ioc_create __user *argument)
{
	struct mqshm_ioc_create *c = kmalloc(sizeof(*c), GFP_KERNEL);
	struct mqshm_queue *q;
	int rc;

	if (!c)
		return -ENOMEM;
	rc = get_argument(c, argument);
	if (!rc)
		rc = queue_create(c, &q);
	if (!rc) {
		if (c->flags & MQSHM_IOC_TO_ATTACH)
			drop_created(xchg((struct mqshm_queue **)&file->private_data, q));
		else
			put_device(&q->dev);
	}
	kfree(c);
	return rc;
}

static int remove(const struct mqshm_ioc_remove __user *argument)
{
	struct mqshm_ioc_remove r;
	int rc = get_argument(&r, argument);

	size_t length = strnlen(r.name, sizeof(r.name));

	if (!rc && (r.flags & ~MQSHM_IOC_FORCE || length == sizeof(r.name) ||
		    memchr_inv(r.name + length, 0, sizeof(r.name) - length)))
		rc = -EINVAL;
	return rc ? rc : queue_remove(r.name, r.flags);
}

static long control_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	switch (command) {
	case MQSHM_IOC_CREATE:
		return create(file, (void __user *)argument);
	case MQSHM_IOC_REMOVE:
		return remove((void __user *)argument);
	}
	return -ENOTTY;
}

static int control_release(struct inode *inode, struct file *file)
{
	drop_created(file->private_data);
	return 0;
}

static const struct file_operations control_operations = {
	.owner = THIS_MODULE,
	.release = control_release,
	.llseek = noop_llseek,
	.unlocked_ioctl = control_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/* ---- open: of any of our minors ---- */

static int open(struct inode *inode, struct file *file)
{
	const struct file_operations *operations = iminor(inode) ? &queue_operations : &control_operations;
	struct mqshm_queue *q;
	struct mqshm_handle *h;

	if (iminor(inode) == 0) {
		replace_fops(file, fops_get(operations));
		file->private_data = NULL;
		return 0;
	}
	q = queue_get(iminor(inode));
	if (!q)
		return -ENODEV;
	h = kzalloc(sizeof(*h), MQSHM_GFP);
	if (!h) {
		put_device(&q->dev);
		return -ENOMEM;
	}
	kref_init(&h->ref);
	h->queue = q;
	h->file = file;
	uring_init(h);
	h->seen_epoch = READ_ONCE(q->info->epoch) - 1; /* poll() is ready until it was read */
	address_space_init_once(&h->mapping);
	h->mapping.a_ops = &empty_aops;
	h->mapping.host = inode;
	file->f_mapping = &h->mapping;
	replace_fops(file, fops_get(operations));
	file->private_data = h;
	return 0;
}

const struct file_operations mqshm_file_operations = {
	.owner = THIS_MODULE,
	.open = open,
	.llseek = noop_llseek,
};
