// SPDX-License-Identifier: MIT OR Apache-2.0
/* Loads the kernel that runs when this one crashes, as kdump does. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/kexec.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "load.h"

/* words: the kernel's image, its initramfs, its command line */
unsigned long crash_kernel(char **words)
{
	int image = open(words[0], O_RDONLY | O_CLOEXEC), initramfs = open(words[1], O_RDONLY | O_CLOEXEC);

	need(image >= 0, words[0]);
	need(initramfs >= 0, words[1]);
	need(syscall(SYS_kexec_file_load, image, initramfs, strlen(words[2]) + 1, words[2], KEXEC_FILE_ON_CRASH) == 0,
	     "kexec_file_load");
	return 0;
}
