// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A leak that hides in the crowd, all of it in kmalloc-512. churn_request allocates a thousand objects that are freed
 * soon after for each one that is forgotten, `rate` times a second. churn_keep fills a table of objects that live long
 * and goes on renewing them, and churn_list_add makes a global list grow for ever, twice as fast as the leak.
 */
#include "sysaktest_pace.h"

#define IN_FLIGHT 32

static unsigned int rate = 20;
module_param(rate, uint, 0600);
static unsigned int requests = 1000;
module_param(requests, uint, 0400);
static unsigned int kept = 2000;
module_param(kept, uint, 0400);

struct churn_object {
	u64 kind;
	u64 serial;
	struct list_head link;
	char payload[480];
};

static struct churn_object *flight[IN_FLIGHT];
static struct churn_object **table;
static LIST_HEAD(history);
static u64 serial;

static SYSAKTEST_NAMED struct churn_object *churn_request(u64 kind)
{
	struct churn_object *request = kmalloc(sizeof(*request), GFP_KERNEL);

	if (!request)
		return NULL;
	request->kind = kind;
	request->serial = serial++;
	INIT_LIST_HEAD(&request->link);
	memset(request->payload, 0x11, sizeof(request->payload));
	return request;
}

static SYSAKTEST_NAMED int churn_keep(unsigned int place)
{
	struct churn_object *object = kzalloc(sizeof(*object), GFP_KERNEL);

	if (!object)
		return -ENOMEM;
	object->kind = 0x6b657074;
	object->serial = serial++;
	INIT_LIST_HEAD(&object->link);
	kfree(table[place]);
	table[place] = object;
	return 0;
}

static SYSAKTEST_NAMED int churn_list_add(void)
{
	struct churn_object *object = kzalloc(sizeof(*object), GFP_KERNEL);

	if (!object)
		return -ENOMEM;
	object->kind = 0x68697374;
	object->serial = serial++;
	list_add_tail(&object->link, &history);
	return 0;
}

/* Takes one request out of flight without freeing it. */
static void churn_forget(unsigned int place)
{
	if (flight[place])
		sysaktest_record(flight[place]);
	flight[place] = NULL;
}

static void churn_step(void)
{
	unsigned int i;

	for (i = 0; i < requests; i++) {
		kfree(flight[i % IN_FLIGHT]);
		flight[i % IN_FLIGHT] = churn_request(0x72657175);
	}
	churn_forget(serial % IN_FLIGHT);
	churn_keep(serial % kept);
	churn_list_add();
	churn_list_add();
}

static void sysaktest_churn_empty(void)
{
	struct churn_object *object, *next;
	unsigned int i;

	for (i = 0; i < IN_FLIGHT; i++)
		kfree(flight[i]);
	for (i = 0; table && i < kept; i++)
		kfree(table[i]);
	vfree(table);
	list_for_each_entry_safe(object, next, &history, link)
		kfree(object);
}

static int sysaktest_churn_start(void)
{
	unsigned int i;
	int err = 0;

	table = vzalloc(array_size(kept, sizeof(*table)));
	if (!table)
		return -ENOMEM;
	for (i = 0; i < kept && !err; i++)
		err = churn_keep(i);
	if (!err)
		err = sysaktest_publish("sysaktest_churn");
	if (err)
		return err;
	err = sysaktest_pace_start(churn_step, &rate, "churn");
	if (err)
		remove_proc_entry("sysaktest_churn", NULL);
	return err;
}

static int __init sysaktest_churn_init(void)
{
	int err;

	BUILD_BUG_ON(sizeof(struct churn_object) != 512);
	if (!kept)
		return -EINVAL;
	err = sysaktest_truth_init("lost", "kmalloc-512", sizeof(struct churn_object), SYSAKTEST_LATER);
	if (err)
		return err;
	err = sysaktest_churn_start();
	if (err) {
		sysaktest_churn_empty();
		vfree(truth.masked);
	}
	return err;
}

static void __exit sysaktest_churn_exit(void)
{
	sysaktest_pace_stop();
	sysaktest_retract("sysaktest_churn");
	sysaktest_churn_empty();
}

module_init(sysaktest_churn_init);
module_exit(sysaktest_churn_exit);
MODULE_DESCRIPTION("loses one object in a thousand of a busy cache");
MODULE_LICENSE("Dual MIT/GPL");
