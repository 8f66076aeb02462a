// SPDX-License-Identifier: GPL-2.0-only
/* mqshm.ko: queues in shared memory that know their owners. Init and exit; kmod.h says how all hangs together. */
#include <linux/module.h>

#include "kmod.h"

struct workqueue_struct *mqshm_work;
static dev_t first;
static struct cdev cdev;

static int __init mqshm_init(void)
{
	int rc;

	mqshm_work = alloc_workqueue("mqshm", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!mqshm_work)
		return -ENOMEM;
	rc = alloc_chrdev_region(&first, 0, MQSHM_MINORS, "mqshm");
	if (rc)
		goto no_region;
	cdev_init(&cdev, &mqshm_file_operations);
	cdev.owner = THIS_MODULE;
	rc = cdev_add(&cdev, first, MQSHM_MINORS);
	if (rc)
		goto no_cdev;
	rc = nodes_init(first);
	if (rc)
		goto no_nodes;
	return 0;

no_nodes:
	cdev_del(&cdev);
no_cdev:
	unregister_chrdev_region(first, MQSHM_MINORS);
no_region:
	destroy_workqueue(mqshm_work);
	return rc;
}

/* Every queue and every open file holds a reference to the module: there are none. Works may still run out. */
static void __exit mqshm_exit(void)
{
	destroy_workqueue(mqshm_work);
	nodes_exit();
	cdev_del(&cdev);
	unregister_chrdev_region(first, MQSHM_MINORS);
}

module_init(mqshm_init);
module_exit(mqshm_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Named broadcast queues between processes, in shared memory");
MODULE_VERSION("0.1.0");
