// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Leaks nothing: on each CPU 2,000 objects of kmalloc-64 hang on a list whose head is a static per-CPU variable, and
 * 64 more are held only by an array that alloc_percpu made.
 */
#include "sysaktest.h"

#include <linux/percpu.h>

#define DYNAMIC_PER_CPU 64

static unsigned int count = 2000;
module_param(count, uint, 0400);

struct percpu_object {
	u64 kind;
	struct list_head link;
	char payload[40];
};

struct percpu_table {
	struct percpu_object *object[DYNAMIC_PER_CPU];
};

static DEFINE_PER_CPU(struct list_head, held);
static struct percpu_table __percpu *table;

static struct percpu_object *sysaktest_percpu_object(int cpu)
{
	struct percpu_object *object = kzalloc_node(sizeof(*object), GFP_KERNEL, cpu_to_node(cpu));

	if (object) {
		object->kind = 0x706370;
		INIT_LIST_HEAD(&object->link);
		sysaktest_record(object);
	}
	return object;
}

static void sysaktest_percpu_empty(void)
{
	struct percpu_object *object, *next;
	int cpu, i;

	for_each_possible_cpu(cpu) {
		list_for_each_entry_safe(object, next, per_cpu_ptr(&held, cpu), link)
			kfree(object);
		for (i = 0; table && i < DYNAMIC_PER_CPU; i++)
			kfree(per_cpu_ptr(table, cpu)->object[i]);
	}
	free_percpu(table);
}

static int sysaktest_percpu_fill(void)
{
	struct percpu_object *object;
	unsigned int i;
	int cpu;

	for_each_possible_cpu(cpu) {
		for (i = 0; i < count; i++) {
			object = sysaktest_percpu_object(cpu);
			if (!object)
				return -ENOMEM;
			list_add_tail(&object->link, per_cpu_ptr(&held, cpu));
		}
		for (i = 0; i < DYNAMIC_PER_CPU; i++) {
			object = sysaktest_percpu_object(cpu);
			if (!object)
				return -ENOMEM;
			per_cpu_ptr(table, cpu)->object[i] = object;
		}
	}
	return sysaktest_publish("sysaktest_percpu");
}

static int __init sysaktest_percpu_init(void)
{
	int cpu, err;

	for_each_possible_cpu(cpu)
		INIT_LIST_HEAD(per_cpu_ptr(&held, cpu));
	err = sysaktest_truth_init("held", "kmalloc-64", sizeof(struct percpu_object),
				   num_possible_cpus() * (count + DYNAMIC_PER_CPU));
	if (err)
		return err;
	table = alloc_percpu(struct percpu_table);
	err = table ? sysaktest_percpu_fill() : -ENOMEM;
	if (err) {
		sysaktest_percpu_empty();
		vfree(truth.masked);
	}
	return err;
}

static void __exit sysaktest_percpu_exit(void)
{
	sysaktest_retract("sysaktest_percpu");
	sysaktest_percpu_empty();
}

module_init(sysaktest_percpu_init);
module_exit(sysaktest_percpu_exit);
MODULE_DESCRIPTION("holds objects by per-CPU memory");
MODULE_LICENSE("Dual MIT/GPL");
