// SPDX-License-Identifier: MIT OR Apache-2.0
/* Loses 64 pages, each of which alone leads to 512 objects of kmalloc-192. */
#define TREE_CACHE "kmalloc-192"
#define TREE_OBJECT_SIZE 192
#define TREE_ROOT pagetree_page
#define TREE_ROOT_CLASS "page"
#define TREE_ROOT_BYTES PAGE_SIZE
#include "sysaktest_tree.h"

#include <linux/gfp.h>

static SYSAKTEST_NAMED struct tree_object **pagetree_page(void)
{
	return (struct tree_object **)get_zeroed_page(GFP_KERNEL);
}

MODULE_DESCRIPTION("loses pages and with them what only they lead to");
