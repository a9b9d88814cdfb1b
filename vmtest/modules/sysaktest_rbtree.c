// SPDX-License-Identifier: MIT OR Apache-2.0
/* Leaks nothing: 10,000 objects of kmalloc-192 in a red-black tree whose nodes sit in the middle of the objects. */
#include "sysaktest.h"

#include <linux/rbtree.h>

static unsigned int count = 10000;
module_param(count, uint, 0400);

struct rbtree_object {
	u64 kind;
	u64 key;
	char payload[56];
	struct rb_node node; /* at offset 72: no pointer leads to an object's start */
	char rest[80];
};

static struct rb_root tree = RB_ROOT;

static void sysaktest_rbtree_insert(struct rbtree_object *object)
{
	struct rb_node **at = &tree.rb_node, *parent = NULL;

	while (*at) {
		parent = *at;
		if (object->key < rb_entry(parent, struct rbtree_object, node)->key)
			at = &parent->rb_left;
		else
			at = &parent->rb_right;
	}
	rb_link_node(&object->node, parent, at);
	rb_insert_color(&object->node, &tree);
}

static void sysaktest_rbtree_empty(void)
{
	struct rbtree_object *object, *next;

	rbtree_postorder_for_each_entry_safe(object, next, &tree, node)
		kfree(object);
	tree = RB_ROOT;
}

static int sysaktest_rbtree_fill(void)
{
	struct rbtree_object *object;
	unsigned int i;

	for (i = 0; i < count; i++) {
		object = kzalloc(sizeof(*object), GFP_KERNEL);
		if (!object)
			return -ENOMEM;
		object->kind = 0x7262;
		object->key = (i * 7919ULL) % count;
		sysaktest_rbtree_insert(object);
		sysaktest_record(object);
	}
	return sysaktest_publish("sysaktest_rbtree");
}

static int __init sysaktest_rbtree_init(void)
{
	int err = sysaktest_truth_init("held", "kmalloc-192", sizeof(struct rbtree_object), count);

	if (!err)
		err = sysaktest_rbtree_fill();
	if (err) {
		sysaktest_rbtree_empty();
		vfree(truth.masked);
	}
	return err;
}

static void __exit sysaktest_rbtree_exit(void)
{
	sysaktest_retract("sysaktest_rbtree");
	sysaktest_rbtree_empty();
}

module_init(sysaktest_rbtree_init);
module_exit(sysaktest_rbtree_exit);
MODULE_DESCRIPTION("holds objects in a red-black tree by interior pointers");
MODULE_LICENSE("Dual MIT/GPL");
