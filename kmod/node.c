// SPDX-License-Identifier: GPL-2.0-only
/* The class mqshm, and the nodes below /dev/mqshm: control, and one a queue, which belongs to who created it. */
#include <linux/slab.h>

#include "kmod.h"

static dev_t base;
static struct device *control;

/* Files in the queue's directory in /sys are root's, or its owner's, when they are made: see sysfs_add(). */
static void get_ownership(const_dev_ownership struct device *dev, kuid_t *uid, kgid_t *gid);

static struct class mqshm_class = {
	.name = "mqshm",
	.get_ownership = get_ownership,
};

static char *queue_devnode(const_devnode struct device *dev, umode_t *mode, kuid_t *uid, kgid_t *gid)
{
	const struct mqshm_queue *q = container_of(dev, const struct mqshm_queue, dev);

	if (mode)
		*mode = q->mode;
	if (uid)
		*uid = q->uid;
	if (gid)
		*gid = q->gid;
	/* Without a name from us the node would be /dev/<name>, or stay when the queue goes: the driver core ignores that. */
	return kasprintf(GFP_KERNEL | __GFP_NOFAIL, "mqshm/%s", q->name);
}

static const struct device_type queue_type = {
	.name = "queue",
	.devnode = queue_devnode,
	.groups = mqshm_queue_groups,
};

static void get_ownership(const_dev_ownership struct device *dev, kuid_t *uid, kgid_t *gid)
{
	const struct mqshm_queue *q = container_of(dev, const struct mqshm_queue, dev);

	if (dev->type != &queue_type || !q->owns_files)
		return;
	*uid = q->uid;
	*gid = q->gid;
}

/* For root, until udev's rule gives it to the group mqshm. */
static char *control_devnode(const_devnode struct device *dev, umode_t *mode, kuid_t *uid, kgid_t *gid)
{
	if (mode)
		*mode = 0660;
	return kstrdup("mqshm/control", GFP_KERNEL);
}

static const struct device_type control_type = {
	.name = "control",
	.devnode = control_devnode,
};

static void release_control(struct device *dev)
{
	kfree(dev);
}

int node_add(struct mqshm_queue *q)
{
	int rc = dev_set_name(&q->dev, "%s", q->name);

	q->dev.class = &mqshm_class;
	q->dev.type = &queue_type;
	q->dev.devt = MKDEV(MAJOR(base), q->minor);
	device_set_pm_not_required(&q->dev);
	dev_set_uevent_suppress(&q->dev, 1); /* who hears of it shall find all of it */
	if (!rc)
		rc = device_add(&q->dev);
	if (rc)
		return rc;
	rc = sysfs_add(q);
	if (rc) {
		device_del(&q->dev);
		return rc;
	}
	dev_set_uevent_suppress(&q->dev, 0);
	kobject_uevent(&q->dev.kobj, KOBJ_ADD);
	return 0;
}

struct mqshm_queue *node_find(const char *name)
{
	struct device *dev = class_find_device_by_name(&mqshm_class, name);

	if (dev && dev->type != &queue_type) {
		put_device(dev);
		return NULL;
	}
	return dev ? to_queue(dev) : NULL;
}

int nodes_init(dev_t first)
{
	int rc;

	base = first;
	rc = class_register(&mqshm_class);
	if (rc)
		return rc;
	control = kzalloc(sizeof(*control), GFP_KERNEL);
	if (!control) {
		class_unregister(&mqshm_class);
		return -ENOMEM;
	}
	device_initialize(control);
	control->class = &mqshm_class;
	control->type = &control_type;
	control->devt = first;
	control->release = release_control;
	rc = dev_set_name(control, "control");
	if (!rc)
		rc = device_add(control);
	if (rc) {
		put_device(control);
		class_unregister(&mqshm_class);
	}
	return rc;
}

void nodes_exit(void)
{
	device_unregister(control);
	class_unregister(&mqshm_class);
}
