// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Takes references to pages of the process that writes "ADDRESS PAGES PINNED" to /proc/sysaktest_pin, and loses
 * them: the first PINNED pages are pinned, the others are got.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/uaccess.h>

static int pin_lose(unsigned long at, unsigned long pages, unsigned long pinned)
{
	struct page *page;
	unsigned long i;
	int got;

	for (i = 0; i < pages; i++, at += PAGE_SIZE) {
		if (i < pinned)
			got = pin_user_pages_fast(at, 1, FOLL_WRITE | FOLL_LONGTERM, &page);
		else
			got = get_user_pages_fast(at, 1, FOLL_WRITE, &page);
		if (got != 1)
			return got < 0 ? got : -EFAULT;
	}
	return 0;
}

static ssize_t pin_write(struct file *file, const char __user *from, size_t bytes, loff_t *position)
{
	unsigned long at, pages, pinned;
	char text[64] = { 0 };
	int err;

	if (bytes >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, from, bytes))
		return -EFAULT;
	if (sscanf(text, "%lx %lu %lu", &at, &pages, &pinned) != 3)
		return -EINVAL;
	err = pin_lose(at, pages, pinned);
	return err ? err : bytes;
}

static const struct proc_ops pin_ops = { .proc_write = pin_write };

static int __init sysaktest_pin_init(void)
{
	return proc_create("sysaktest_pin", 0200, NULL, &pin_ops) ? 0 : -ENOMEM;
}

static void __exit sysaktest_pin_exit(void)
{
	remove_proc_entry("sysaktest_pin", NULL);
}

module_init(sysaktest_pin_init);
module_exit(sysaktest_pin_exit);
MODULE_DESCRIPTION("loses references to pages of processes");
MODULE_LICENSE("Dual MIT/GPL");
