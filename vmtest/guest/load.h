/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the parts of the load program share. */
#ifndef LOAD_H
#define LOAD_H

/* A load that processes hold for as long as they live. */
struct holding {
	const char *name;
	int words;
	/* Makes the load and returns its size. */
	unsigned long (*held)(char **words);
};

/* A load that stays when the process that made it ends. */
struct leaving {
	const char *name;
	int words;
	unsigned long (*left)(char **words);
};

/* Kernel objects rather than memory: objects.c and remote.c */
extern const struct holding object_loads[];
extern const struct leaving remote_loads[];

/* Loads the kernel that runs when this one crashes: crash.c */
unsigned long crash_kernel(char **words);

/* Ends the program with a message unless all is fine. */
void need(int fine, const char *what);
unsigned long number(const char *word);
/* Lets this process have so many files open. */
void allow_files(unsigned long count);
/* A hash map with so many elements, each allocated on its own. */
int bpf_map(unsigned long count, unsigned int value_bytes);

#endif
