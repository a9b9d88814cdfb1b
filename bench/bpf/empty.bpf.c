// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Does nothing: what the kernel itself takes to call a program at an event. */

#define SEC(name) __attribute__((section(name), used))

SEC("raw_tp")
int nothing(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
