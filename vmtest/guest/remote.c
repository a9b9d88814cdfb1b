// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Loads of kernel objects that no process holds: pins, queues, keyrings, name spaces that are mounted, routes. The
 * process that makes one ends. Each makes `words[0]` objects and returns their number.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <mqueue.h>
#include <net/route.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"

int bpf_map(unsigned long count, unsigned int value_bytes)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_HASH, .key_size = 8, .value_size = value_bytes,
				.max_entries = count, .map_flags = BPF_F_NO_PREALLOC };
	/* Before v5.11 maps count as locked memory. */
	struct rlimit locked = { RLIM_INFINITY, RLIM_INFINITY };
	char *value = calloc(1, value_bytes);
	int fd;

	need(setrlimit(RLIMIT_MEMLOCK, &locked) == 0, "RLIMIT_MEMLOCK");
	fd = syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
	need(fd >= 0, "BPF_MAP_CREATE");
	for (uint64_t key = 0; key < count; key++) {
		memset(&attr, 0, sizeof(attr));
		attr.map_fd = fd;
		attr.key = (uintptr_t)&key;
		attr.value = (uintptr_t)value;
		need(syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)) == 0, "BPF_MAP_UPDATE_ELEM");
	}
	return fd;
}

/* words: how many; where the map is pinned */
static unsigned long pinned(char **words)
{
	union bpf_attr attr = { .pathname = (uintptr_t)words[1] };

	attr.bpf_fd = bpf_map(number(words[0]), 400);
	need(syscall(SYS_bpf, BPF_OBJ_PIN, &attr, sizeof(attr)) == 0, "BPF_OBJ_PIN");
	return number(words[0]);
}

/* Keys in the keyring of the user. */
static unsigned long keys(char **words)
{
	unsigned long count = number(words[0]);

	for (unsigned long i = 0; i < count; i++) {
		char name[64];

		snprintf(name, sizeof(name), "load:%lu", i);
		need(syscall(SYS_add_key, "user", name, "secret", 6, KEY_SPEC_USER_KEYRING) >= 0, "add_key");
	}
	return count;
}

/* words: how many; the name of a POSIX message queue */
static unsigned long messages(char **words)
{
	unsigned long count = number(words[0]);
	struct mq_attr wanted = { .mq_maxmsg = count, .mq_msgsize = 1000 };
	char text[1000] = { 0 };
	mqd_t queue = mq_open(words[1], O_CREAT | O_EXCL | O_RDWR, 0600, &wanted);

	need(queue >= 0, "mq_open");
	for (unsigned long i = 0; i < count; i++)
		need(mq_send(queue, text, 900, 0) == 0, "mq_send");
	return count;
}

/* Messages in a System V queue. */
static unsigned long old_messages(char **words)
{
	unsigned long count = number(words[0]);
	struct {
		long kind;
		char text[1900];
	} message = { .kind = 1 };
	int queue = msgget(0x1234, IPC_CREAT | 0600);

	need(queue >= 0, "msgget");
	for (unsigned long i = 0; i < count; i++)
		need(msgsnd(queue, &message, sizeof(message.text), IPC_NOWAIT) == 0, "msgsnd");
	return count;
}

static unsigned long semaphores(char **words)
{
	unsigned long count = number(words[0]);

	for (unsigned long i = 0; i < count; i++)
		need(semget(IPC_PRIVATE, 50, IPC_CREAT | 0600) >= 0, "semget");
	return count;
}

static unsigned long segments(char **words)
{
	unsigned long count = number(words[0]);

	for (unsigned long i = 0; i < count; i++)
		need(shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600) >= 0, "shmget");
	return count;
}

/* words: how many; a folder. Network name spaces that are mounted on files there. */
static unsigned long mounted_spaces(char **words)
{
	unsigned long count = number(words[0]);
	char name[256];

	for (unsigned long i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s/space-%lu", words[1], i);
		need(close(open(name, O_CREAT | O_EXCL | O_RDONLY, 0600)) == 0, name);
		need(unshare(CLONE_NEWNET) == 0, "CLONE_NEWNET");
		need(mount("/proc/self/ns/net", name, NULL, MS_BIND, NULL) == 0, name);
	}
	return count;
}

static unsigned long routes(char **words)
{
	unsigned long count = number(words[0]);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	for (unsigned long i = 0; i < count; i++) {
		struct rtentry route = { .rt_flags = RTF_UP | RTF_HOST, .rt_dev = (char *)"lo" };
		struct sockaddr_in *to = (void *)&route.rt_dst, *mask = (void *)&route.rt_genmask;

		to->sin_family = mask->sin_family = AF_INET;
		to->sin_addr.s_addr = htonl(0x0a000001 + i);
		mask->sin_addr.s_addr = 0xffffffff;
		need(ioctl(fd, SIOCADDRT, &route) == 0, "SIOCADDRT");
	}
	return count;
}

/* words: how many; a folder in which so many empty files are made */
static unsigned long files(char **words)
{
	unsigned long count = number(words[0]);

	need(chdir(words[1]) == 0, words[1]);
	for (unsigned long i = 0; i < count; i++) {
		char name[64];

		snprintf(name, sizeof(name), "file-%lu", i);
		need(close(open(name, O_CREAT | O_EXCL | O_WRONLY, 0600)) == 0, name);
	}
	return count;
}

const struct leaving remote_loads[] = {
	{ "pinned", 2, pinned },	   { "keys", 1, keys },
	{ "messages", 2, messages },	   { "oldmessages", 1, old_messages },
	{ "semaphores", 1, semaphores },   { "segments", 1, segments },
	{ "mountedspaces", 2, mounted_spaces }, { "routes", 1, routes },
	{ "files", 2, files },		   { NULL, 0, NULL },
};
