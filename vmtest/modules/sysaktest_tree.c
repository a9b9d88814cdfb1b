// SPDX-License-Identifier: MIT OR Apache-2.0
/* Loses 64 vmalloc areas of eight pages, each of which alone leads to 512 objects of kmalloc-96. */
#define TREE_CACHE "kmalloc-96"
#define TREE_OBJECT_SIZE 96
#define TREE_ROOT tree_area
#define TREE_ROOT_CLASS "vmalloc"
#define TREE_ROOT_BYTES (8 * PAGE_SIZE)
#include "sysaktest_tree.h"

static SYSAKTEST_NAMED struct tree_object **tree_area(void)
{
	return vzalloc(TREE_ROOT_BYTES);
}

MODULE_DESCRIPTION("loses areas and with them what only they lead to");
