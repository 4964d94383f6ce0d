/*
 * What both programs of lepto-init do with themselves before they run a command
 * of a container: read orders, and give up what the command must not have.
 *
 * Orders are a file of tokens that end with a NUL byte each; those of unbounded
 * number have their count first. A confinement is the last part of them:
 *
 *   make      1: the working directory is made where it is missing
 *   bounding  capabilities in hexadecimal: those that there can ever be,
 *   permitted and those that there are
 *   uid, gid, the number of further groups, the groups
 *   directory, absolute
 *   the filter's size in bytes, and the filter: struct sock_filter
 *
 * The order of the steps is libcontainer's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

static failure give_up;

/* The orders, as they are read. */
static char *next, *end;

void read_orders(int fd, failure otherwise)
{
	struct stat st;
	char *data;

	give_up = otherwise;
	if (fstat(fd, &st) < 0 || !(data = malloc(st.st_size + 1)))
		give_up(READ_ORDERS);
	if (pread(fd, data, st.st_size, 0) != st.st_size) {
		errno = EPROTO;
		give_up(READ_ORDERS);
	}
	next = data;
	end = data + st.st_size;
	close(fd);
}

char *token(void)
{
	char *t = next;
	char *stop = next < end ? memchr(next, 0, end - next) : NULL;

	if (!stop) {
		errno = EPROTO;
		give_up(READ_ORDERS);
	}
	next = stop + 1;
	return t;
}

long long word(void) { return strtoll(token(), NULL, 10); }

/* bits reads a set of capabilities. */
static unsigned long long bits(void) { return strtoull(token(), NULL, 16); }

char **list(int *count)
{
	int n = word();
	char **out;

	if (n < 0 || n > end - next || !(out = calloc(n + 1, sizeof *out))) {
		errno = EPROTO;
		give_up(READ_ORDERS);
	}
	for (int i = 0; i < n; i++)
		out[i] = token();
	if (count)
		*count = n;
	return out;
}

void read_confinement(struct confinement *c)
{
	long size;

	c->make = word();
	c->bounding = bits();
	c->permitted = bits();
	c->uid = word();
	c->gid = word();
	c->groups = list(&c->ngroups);
	c->cwd = token();
	size = word();
	if (size < 0 || size != end - next || size % sizeof(struct sock_filter) || c->cwd[0] != '/') {
		errno = EPROTO;
		give_up(READ_ORDERS);
	}
	c->instructions = size / sizeof(struct sock_filter);
	/* A copy, for its alignment. */
	if (size > 0 && !(c->filter = malloc(size)))
		give_up(READ_ORDERS);
	if (size > 0)
		memcpy(c->filter, next, size);
}

static void set_filter(const struct confinement *c)
{
	struct sock_fprog program = {.len = c->instructions, .filter = c->filter};

	if (program.len == 0)
		return;
	/* Without no_new_privs this needs CAP_SYS_ADMIN: before they go. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		    SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) < 0)
		give_up(SET_FILTER);
}

static void drop_bounding(const struct confinement *c)
{
	for (int i = 0; i < 64; i++) {
		if (c->bounding >> i & 1)
			continue;
		if (prctl(PR_CAPBSET_READ, i) < 0)
			return; /* beyond the kernel's last one */
		if (prctl(PR_CAPBSET_DROP, i) < 0)
			give_up(SET_CAPABILITIES);
	}
}

static void set_user(const struct confinement *c)
{
	gid_t *groups = calloc(c->ngroups + 1, sizeof *groups);

	if (!groups)
		give_up(SET_USER);
	for (int i = 0; i < c->ngroups; i++)
		groups[i] = strtoul(c->groups[i], NULL, 10);
	if (prctl(PR_SET_KEEPCAPS, 1) < 0 || setgroups(c->ngroups, groups) < 0 ||
	    setresgid(c->gid, c->gid, c->gid) < 0 || setresuid(c->uid, c->uid, c->uid) < 0)
		give_up(SET_USER);
}

static void set_capabilities(const struct confinement *c)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	for (int i = 0; i < 2; i++) {
		data[i].permitted = data[i].effective = c->permitted >> (32 * i);
		data[i].inheritable = 0;
	}
	if (prctl(PR_SET_KEEPCAPS, 0) < 0 || syscall(SYS_capset, &head, data) < 0)
		give_up(SET_CAPABILITIES);
	/* A kernel without ambient capabilities has none to clear. */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

/* make_directory makes a directory and those above it. Where it can't, entering
 * it will fail and tell. */
static void make_directory(char *path)
{
	for (char *p = path + 1;; p++) {
		char was = *p;

		if (was && was != '/')
			continue;
		*p = 0;
		mkdir(path, 0755);
		*p = was;
		if (!was)
			return;
	}
}

/* check_directory makes sure that the working directory is below the root: a
 * descriptor of the host's that was left open could lead elsewhere. */
static void check_directory(void)
{
	char path[PATH_MAX + 32];

	if (syscall(SYS_getcwd, path, sizeof path) < 0)
		give_up(SET_DIRECTORY);
	if (path[0] != '/') { /* "(unreachable)…" */
		errno = EXDEV;
		give_up(SET_DIRECTORY);
	}
}

/* own_pipes lets the user open /dev/stdout and its like by name. Only pipes:
 * other files are somebody's on the host. */
static void own_pipes(long uid)
{
	struct stat st;

	for (int fd = 0; fd < 3; fd++)
		if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) &&
		    fchown(fd, uid, -1) < 0)
			continue; /* a nicety, no more */
}

void confine(const struct confinement *c)
{
	int arrived;

	umask(022);
	own_pipes(c->uid);
	if (c->make)
		make_directory(c->cwd);
	set_filter(c);
	arrived = chdir(c->cwd) == 0;
	drop_bounding(c);
	set_user(c);
	/* Some directories only the user may enter, some only root. */
	if (!arrived && chdir(c->cwd) < 0)
		give_up(SET_DIRECTORY);
	check_directory();
	set_capabilities(c);
}
