/*
 * The agent in a guest: does a scenario's phases when told to.
 *
 * A line in is "ID COMMAND ARGUMENTS", the line out "ID ok NAME=NUMBER ..." or "ID error TEXT".
 * Each command runs in a thread of its own, so that the tasks of a guest run side by side.
 *
 *   anon REGION BYTES              a region of anonymous memory
 *   file REGION BYTES OFFSET       a region of the first disk
 *   allocate REGION BYTES          first touch of its first bytes, in order
 *   free REGION BYTES              give all back but its first bytes
 *   touch REGION PATTERN SHARE COUNT SECONDS   loads, and stores with a chance of SHARE
 *   read REGION PATTERN COUNT SECONDS          read(2), 4 KiB at a time
 *   compute SECONDS
 *   drop_caches
 *   meminfo, vmstat, psi           numbers of the kernel
 *
 * PATTERN is uniform, sequential (from the first page on) or loop (from where the region's last
 * loop stopped); accesses are of 4 KiB and end after COUNT or SECONDS, 0 being no limit.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define REGIONS 64
#define LINE 256
#define ANSWER 16384
#define LOOK 64 /* accesses between two looks at the clock, which costs some microseconds */

struct region {
	char *memory; /* NULL: a file */
	uint64_t bytes;
	uint64_t offset;
	uint64_t cursor;
};

static struct region regions[REGIONS];
static pthread_mutex_t port_lock = PTHREAD_MUTEX_INITIALIZER;
static int port;
static int disk = -1; /* stays open: page cache of a device goes when nobody has it open */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static struct region *find(const char *number)
{
	char *end;
	unsigned long n = strtoul(number, &end, 10);

	return *end == 0 && n < REGIONS && regions[n].bytes ? &regions[n] : NULL;
}

static const char *define(char **word, int words, char *answer)
{
	unsigned long n = strtoul(word[1], NULL, 10);
	struct region made = { .bytes = strtoull(word[2], NULL, 10) };

	if (n >= REGIONS || made.bytes < PAGE)
		return "no such region";
	if (!strcmp(word[0], "file")) {
		made.offset = words > 3 ? strtoull(word[3], NULL, 10) : 0;
		if (disk < 0)
			disk = open("/dev/vda", O_RDONLY | O_CLOEXEC);
		if (disk < 0)
			return strerror(errno);
	} else {
		made.memory = mmap(NULL, made.bytes, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (made.memory == MAP_FAILED)
			return strerror(errno);
	}
	regions[n] = made;
	sprintf(answer, "bytes=%llu", (unsigned long long)made.bytes);
	return NULL;
}

static const char *allocate(char **word, int words, char *answer)
{
	struct region *r = find(word[1]);
	uint64_t bytes = strtoull(word[2], NULL, 10), at;
	double began = now();

	(void)words;
	if (!r || !r->memory || bytes > r->bytes)
		return "no such memory";
	for (at = 0; at < bytes; at += PAGE) /* no two pages alike, none zero */
		*(volatile uint64_t *)(r->memory + at) = at + 1;
	sprintf(answer, "accesses=%llu seconds=%.6f", (unsigned long long)(bytes / PAGE),
		now() - began);
	return NULL;
}

static const char *give_back(char **word, int words, char *answer)
{
	struct region *r = find(word[1]);
	uint64_t keep = strtoull(word[2], NULL, 10);
	double began = now();

	(void)words;
	if (!r || !r->memory || keep > r->bytes)
		return "no such memory";
	if (keep < r->bytes && madvise(r->memory + keep, r->bytes - keep, MADV_DONTNEED))
		return strerror(errno);
	sprintf(answer, "accesses=0 seconds=%.6f", now() - began);
	return NULL;
}

static int access_page(struct region *r, uint64_t page, int store)
{
	char buffer[PAGE];

	if (!r->memory)
		return pread(disk, buffer, PAGE, r->offset + page * PAGE) == (ssize_t)PAGE ? 0 : -1;
	if (store)
		*(volatile uint64_t *)(r->memory + page * PAGE) = page + 1;
	else
		(void)*(volatile uint64_t *)(r->memory + page * PAGE);
	return 0;
}

static const char *access_region(char **word, double share, uint64_t count, double seconds,
				 char *answer)
{
	struct region *r = find(word[1]);
	int uniform = !strcmp(word[2], "uniform"), loop = !strcmp(word[2], "loop");
	uint64_t done = 0, page = 0, pages, state = 88172645463325252ULL;
	uint64_t stores = share >= 1 ? UINT64_MAX : (uint64_t)(share * 18446744073709551615.0);
	double began = now();

	if (!r)
		return "no such region";
	pages = r->bytes / PAGE;
	state ^= (uint64_t)(began * 1e9);
	if (loop)
		page = r->cursor;
	while ((!count || done < count) && (!seconds || done % LOOK || now() - began < seconds)) {
		if (uniform)
			page = ((next_random(&state) >> 32) * pages) >> 32;
		if (access_page(r, page, stores == UINT64_MAX || next_random(&state) < stores))
			return strerror(errno);
		if (!uniform && ++page == pages)
			page = 0;
		done++;
	}
	if (loop)
		r->cursor = page;
	sprintf(answer, "accesses=%llu seconds=%.6f", (unsigned long long)done, now() - began);
	return NULL;
}

static const char *touch(char **word, int words, char *answer)
{
	(void)words;
	return access_region(word, strtod(word[3], NULL), strtoull(word[4], NULL, 10),
			     strtod(word[5], NULL), answer);
}

static const char *read_file(char **word, int words, char *answer)
{
	(void)words;
	return access_region(word, 0, strtoull(word[3], NULL, 10), strtod(word[4], NULL), answer);
}

static const char *compute(char **word, int words, char *answer)
{
	struct timespec t = { 0 };
	double seconds = strtod(word[1], NULL), began = now();

	(void)words;
	do /* of this thread's own CPU time, whoever else runs */
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	while (t.tv_sec + t.tv_nsec * 1e-9 < seconds);
	sprintf(answer, "accesses=0 seconds=%.6f", now() - began);
	return NULL;
}

static const char *drop_caches(char **word, int words, char *answer)
{
	int file = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	ssize_t written = file < 0 ? -1 : write(file, "1", 1);

	(void)word, (void)words;
	if (file >= 0)
		close(file);
	sprintf(answer, "accesses=0");
	return written == 1 ? NULL : strerror(errno);
}

/* "MemTotal:  500 kB" or "pgfault 7" become "MemTotal=500 pgfault=7" */
static const char *numbers(char **word, int words, char *answer)
{
	char path[LINE], line[LINE], name[64];
	unsigned long long value;
	size_t used = 0;
	FILE *file;

	(void)words;
	snprintf(path, sizeof(path), "/proc/%s", word[0]);
	file = fopen(path, "re");
	if (!file)
		return strerror(errno);
	while (fgets(line, sizeof(line), file) && used < ANSWER - 2 * LINE)
		if (sscanf(line, "%63[^: ]%*[: ]%llu", name, &value) == 2)
			used += sprintf(answer + used, "%s%s=%llu", used ? " " : "", name, value);
	fclose(file);
	return NULL;
}

static const char *psi(char **word, int words, char *answer)
{
	char line[LINE], kind[8];
	unsigned long long total;
	size_t used = 0;
	FILE *file = fopen("/proc/pressure/memory", "re");

	(void)word, (void)words;
	if (!file)
		return strerror(errno);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%7s avg10=%*s avg60=%*s avg300=%*s total=%llu", kind, &total) == 2)
			used += sprintf(answer + used, "%s%s_us=%llu", used ? " " : "", kind, total);
	fclose(file);
	return NULL;
}

static const struct {
	const char *name;
	int words;
	const char *(*run)(char **word, int words, char *answer);
} commands[] = {
	{ "anon", 3, define },	   { "file", 4, define },	{ "allocate", 3, allocate },
	{ "free", 3, give_back },  { "touch", 6, touch },	{ "read", 5, read_file },
	{ "compute", 2, compute }, { "drop_caches", 1, drop_caches },
	{ "meminfo", 1, numbers }, { "vmstat", 1, numbers },	{ "psi", 1, psi },
};

static const char *obey(char **word, int words, char *answer)
{
	size_t i;

	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (words && !strcmp(word[0], commands[i].name))
			return words == commands[i].words ? commands[i].run(word, words, answer) :
							    "wrong number of arguments";
	return "no such command";
}

static void *serve(void *line)
{
	char *word[8], answer[ANSWER] = "", *id, *rest = line;
	const char *error;
	int words = 0;

	id = strtok_r(line, " \n", &rest);
	while (id && words < 8 && (word[words] = strtok_r(NULL, " \n", &rest)))
		words++;
	error = id ? obey(word, words, answer) : "an empty line";
	pthread_mutex_lock(&port_lock);
	dprintf(port, "%s %s %s\n", id ? id : "-", error ? "error" : "ok", error ? error : answer);
	pthread_mutex_unlock(&port_lock);
	free(line);
	return NULL;
}

int main(int argc, char **argv)
{
	struct termios plain;
	char line[LINE];
	FILE *in;

	port = open(argc > 1 ? argv[1] : "/dev/ttyS1", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (port < 0)
		return 1;
	if (!tcgetattr(port, &plain)) {
		cfmakeraw(&plain);
		tcsetattr(port, TCSANOW, &plain);
	}
	dprintf(port, "0 ok ready=1\n");
	in = fdopen(dup(port), "r");
	while (in && fgets(line, sizeof(line), in)) {
		pthread_t thread;
		char *copy = strdup(line);

		if (copy && !pthread_create(&thread, NULL, serve, copy))
			pthread_detach(thread);
	}
	return 1; /* the guest ends with its first process */
}
