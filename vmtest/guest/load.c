// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * User loads for the guest: memory that belongs to somebody, in the kinds that are easily taken for a leak. Each makes
 * its load, prints how many bytes that is, and ends; where processes must stay to hold it, they do so in the background,
 * under the name that is printed first.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"

#define MIB (1UL << 20)
#define MESSAGE 4096
#define MESSAGES 8

static char filler[MIB];

void need(int fine, const char *what)
{
	if (fine)
		return;
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

unsigned long number(const char *word)
{
	char *end;
	unsigned long value = strtoul(word, &end, 10);

	if (*word && !*end)
		return value;
	fprintf(stderr, "load: %s is no number\n", word);
	exit(2);
}

static void write_all(int fd, unsigned long bytes)
{
	while (bytes) {
		ssize_t done = write(fd, filler, bytes < MIB ? bytes : MIB);

		need(done > 0, "write");
		bytes -= done;
	}
}

/* Goes on in a child of the given name that holds what it has made for ever, once that says so; the parent goes on. */
static void hold(const char *name, unsigned long (*make)(char **), char **words, unsigned long *bytes)
{
	int ready[2];
	unsigned long made;

	need(pipe(ready) == 0, "pipe");
	if (fork() == 0) {
		close(ready[0]);
		prctl(PR_SET_NAME, name);
		made = make(words);
		need(write(ready[1], &made, sizeof(made)) == sizeof(made), "write");
		close(ready[1]);
		for (int fd = 0; fd < 3; fd++)
			dup2(open("/dev/null", O_RDWR), fd);
		for (;;)
			pause();
	}
	close(ready[1]);
	need(read(ready[0], &made, sizeof(made)) == sizeof(made), name);
	close(ready[0]);
	*bytes += made;
}

/* words: how many pipes, each filled with one MiB */
static unsigned long pipes(char **words)
{
	unsigned long count = number(words[0]);

	for (unsigned long i = 0; i < count; i++) {
		int ends[2];

		need(pipe(ends) == 0, "pipe");
		need(fcntl(ends[1], F_SETPIPE_SZ, MIB) == MIB, "F_SETPIPE_SZ");
		write_all(ends[1], MIB);
	}
	return count * MIB;
}

static int udp_to_itself(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(at);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	need(fd >= 0 && bind(fd, (void *)&at, length) == 0, "udp");
	need(getsockname(fd, (void *)&at, &length) == 0 && connect(fd, (void *)&at, length) == 0, "udp");
	return fd;
}

/* words: how many sockets with unread data, in turns unix streams, unix datagrams and UDP */
static unsigned long sockets(char **words)
{
	unsigned long count = number(words[0]);

	allow_files(2 * count);
	for (unsigned long i = 0; i < count; i++) {
		int ends[2];

		if (i % 3 == 2)
			ends[0] = udp_to_itself();
		else
			need(socketpair(AF_UNIX, i % 3 ? SOCK_DGRAM : SOCK_STREAM, 0, ends) == 0, "socketpair");
		for (int n = 0; n < MESSAGES; n++)
			need(send(ends[0], filler, MESSAGE, MSG_DONTWAIT) == MESSAGE, "send");
	}
	return count * MESSAGES * MESSAGE;
}

/* words: how many MiB */
static unsigned long locked(char **words)
{
	unsigned long bytes = number(words[0]) * MIB;
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(at != MAP_FAILED && mlock(at, bytes) == 0, "mlock");
	memset(at, 0x6d, bytes);
	return bytes;
}

/* words: how many MiB, and how many of these to pin: references to all of it are lost by the module sysaktest_pin */
static unsigned long lost(char **words)
{
	unsigned long bytes = number(words[0]) * MIB, pinned = number(words[1]) * MIB;
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open("/proc/sysaktest_pin", O_WRONLY);

	need(at != MAP_FAILED && madvise(at, bytes, MADV_NOHUGEPAGE) == 0, "mmap");
	memset(at, 0x70, bytes);
	need(fd >= 0 && dprintf(fd, "%lx %lu %lu", (unsigned long)at, bytes / 4096, pinned / 4096) > 0, "pin");
	close(fd);
	return bytes;
}

/* words: how many pages of 2 MiB; they must be in the pool */
static unsigned long huge(char **words)
{
	unsigned long bytes = number(words[0]) * 2 * MIB;
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	need(at != MAP_FAILED, "MAP_HUGETLB");
	memset(at, 0x68, bytes);
	return bytes;
}

/* words: a file, how many MiB; it is deleted and stays open */
static unsigned long deleted(char **words)
{
	unsigned long bytes = number(words[1]) * MIB;
	int fd = open(words[0], O_CREAT | O_EXCL | O_RDWR, 0600);

	need(fd >= 0, words[0]);
	write_all(fd, bytes);
	need(unlink(words[0]) == 0, "unlink");
	return bytes;
}

/* words: a file, how many MiB; it stays open */
static unsigned long opened(char **words)
{
	unsigned long bytes = number(words[1]) * MIB;
	int fd = open(words[0], O_CREAT | O_EXCL | O_RDWR, 0600);

	need(fd >= 0, words[0]);
	write_all(fd, bytes);
	return bytes;
}

/* words: a folder, how many empty files are made in it and watched (inotify); the bytes are their number */
static unsigned long watches(char **words)
{
	unsigned long count = number(words[1]);
	int watch = inotify_init1(0);

	need(watch >= 0 && chdir(words[0]) == 0, words[0]);
	for (unsigned long i = 0; i < count; i++) {
		char name[64];
		int fd;

		snprintf(name, sizeof(name), "watched-%lu", i);
		fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
		need(fd >= 0 && close(fd) == 0, name);
		need(inotify_add_watch(watch, name, IN_MODIFY) > 0, "inotify_add_watch");
	}
	return count;
}

/* words: a folder, how many names that are not there are asked for in it */
static void negative(char **words)
{
	unsigned long count = number(words[1]);
	struct stat unused;
	char name[64];

	need(chdir(words[0]) == 0, words[0]);
	for (unsigned long i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "no-such-file-%lu", i);
		need(stat(name, &unused) != 0 && errno == ENOENT, name);
	}
}

/* A process of the group at `path` writes a file, whose page cache is charged to that group, and ends. */
static void write_in_group(const char *path, const char *file)
{
	int group = open(path, O_PATH | O_DIRECTORY);
	struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = group };
	pid_t child;
	int status;

	need(group >= 0, path);
	child = syscall(SYS_clone3, &args, sizeof(args));
	need(child >= 0, "clone3");
	if (child == 0) {
		int fd = open(file, O_CREAT | O_TRUNC | O_WRONLY, 0600);

		need(fd >= 0, file);
		write_all(fd, 4 * MESSAGE);
		_exit(0);
	}
	need(waitpid(child, &status, 0) == child && status == 0, path);
	close(group);
}

/* words: the parent group, how many groups below it are made and removed, a folder; each second one leaves a file there */
static unsigned long groups(char **words)
{
	unsigned long count = number(words[1]), bytes = 0;
	char path[256], file[256];

	for (unsigned long i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/group%lu", words[0], i);
		snprintf(file, sizeof(file), "%s/charged%lu", words[2], i);
		need(mkdir(path, 0755) == 0, path);
		if (i % 2 == 0) {
			write_in_group(path, file);
			bytes += 4 * MESSAGE;
		}
	}
	for (unsigned long i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/group%lu", words[0], i);
		need(rmdir(path) == 0, path);
	}
	return bytes;
}

static const struct holding memory_loads[] = {
	{ "pipes", 1, pipes },	   { "sockets", 1, sockets }, { "locked", 1, locked },
	{ "huge", 1, huge },	   { "deleted", 2, deleted }, { "opened", 2, opened },
	{ "watches", 2, watches }, { "lost", 2, lost },	      { NULL, 0, NULL },
};

static const struct holding *find(const struct holding *in, const char *name, int words)
{
	for (; in->name; in++)
		if (!strcmp(in->name, name) && in->words == words)
			return in;
	return NULL;
}

/* load KIND PROCESSES WORD...: that many processes hold it each */
static int hold_in(int count, char **words)
{
	const struct holding *found = find(memory_loads, words[0], count - 2);
	unsigned long bytes = 0;
	char name[16];

	if (!found)
		found = find(object_loads, words[0], count - 2);
	if (!found) {
		fprintf(stderr, "load: no such load\n");
		return 2;
	}
	snprintf(name, sizeof(name), "load-%s", words[0]);
	for (unsigned long n = number(words[1]); n; n--)
		hold(name, found->held, words + 2, &bytes);
	printf("%s %lu\n", name, bytes);
	return 0;
}

/* load KIND WORD...: nobody holds it */
static int leave(int count, char **words)
{
	for (const struct leaving *one = remote_loads; one->name; one++)
		if (count > 1 && !strcmp(words[1], one->name) && count == 2 + one->words) {
			printf("- %lu\n", one->left(words + 2));
			return 1;
		}
	return 0;
}

int main(int count, char **words)
{
	memset(filler, 0x66, sizeof(filler));
	if (count == 4 && !strcmp(words[1], "negative")) {
		negative(words + 2);
		printf("- 0\n");
		return 0;
	}
	if (count == 5 && !strcmp(words[1], "groups")) {
		printf("- %lu\n", groups(words + 2));
		return 0;
	}
	if (count == 5 && !strcmp(words[1], "crash-kernel")) {
		printf("- %lu\n", crash_kernel(words + 2));
		return 0;
	}
	if (leave(count, words))
		return 0;
	return count < 3 ? 2 : hold_in(count - 1, words + 1);
}
