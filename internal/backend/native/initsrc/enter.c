/*
 * lepto-init enter: runs one more command in a container.
 *
 * It is started by the supervisor, outside the container, with
 *
 *   descriptor 3  the orders (below)
 *   descriptor 4  a pidfd of the container's first process
 *   descriptor 5  a socket for reports
 *
 * and does what libcontainer's setns stage does, in the same order: cgroups,
 * namespaces, a child in them, system call filter, capabilities, user, working
 * directory, command. It is a C program because that order of things needs a
 * single thread, and because it is started for every exec: a Go program of
 * libcontainer's size takes ten times as long, three times over.
 *
 * The orders are tokens that end with a NUL byte each; those of unbounded
 * number have their count first. See orders() for the sequence.
 *
 * Reports are three ints: kind, stage, value. The child is made a child of the
 * supervisor, which collects it. The socket closes when the command runs.
 *
 * The file of this program must not be writable through /proc/PID/exe: a
 * container could name it as a script's interpreter ("#!/proc/self/exe") and
 * then write to it. The supervisor starts it from a read-only mount of its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

enum { ORDERS = 3, CONTAINER = 4, REPORTS = 5 };

/* Kinds of reports. */
enum { STARTED = 1, FAILED = 2, TERMINAL = 3 };

/* Stages at which it may fail, as the supervisor knows them. */
enum {
	READ_ORDERS = 1, JOIN_CGROUP, ENTER, FORK, OPEN_TERMINAL, SET_LIMITS,
	SET_FILTER, SET_CAPABILITIES, SET_USER, SET_DIRECTORY, EXECUTE
};

static void report(int kind, int stage, int value, int fd)
{
	int words[3] = {kind, stage, value};
	struct iovec part = {words, sizeof words};
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	if (fd >= 0) {
		memset(&control, 0, sizeof control);
		message.msg_control = &control;
		message.msg_controllen = sizeof control.space;
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
	}
	while (sendmsg(REPORTS, &message, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

static void fail(int stage)
{
	report(FAILED, stage, errno, -1);
	_exit(126);
}

/* The orders, as they are read. */
static char *next, *end;

static char *token(void)
{
	char *t = next;
	char *stop = next < end ? memchr(next, 0, end - next) : NULL;

	if (!stop) {
		errno = EPROTO;
		fail(READ_ORDERS);
	}
	next = stop + 1;
	return t;
}

static long long word(void) { return strtoll(token(), NULL, 10); }

/* bits reads a set of capabilities. */
static unsigned long long bits(void) { return strtoull(token(), NULL, 16); }

static char **list(int *count)
{
	int n = word();
	char **out;

	if (n < 0 || n > end - next || !(out = calloc(n + 1, sizeof *out))) {
		errno = EPROTO;
		fail(READ_ORDERS);
	}
	for (int i = 0; i < n; i++)
		out[i] = token();
	if (count)
		*count = n;
	return out;
}

static struct {
	char **cgroups; /* cgroup.procs files to join */
	char *keyring;
	int tty, rows, cols;
	char **limits; /* kind, soft and hard limit, kind, … */
	int nlimits;
	unsigned long long bounding, permitted;
	long uid, gid;
	char **groups;
	int ngroups;
	char *cwd;
	char **env, **argv;
	struct sock_fprog filter;
} o;

static void orders(void)
{
	struct stat st;
	char *data;
	long size;

	if (fstat(ORDERS, &st) < 0 || !(data = malloc(st.st_size + 1)))
		fail(READ_ORDERS);
	if (pread(ORDERS, data, st.st_size, 0) != st.st_size) {
		errno = EPROTO;
		fail(READ_ORDERS);
	}
	next = data;
	end = data + st.st_size;
	o.cgroups = list(NULL);
	o.keyring = token();
	o.tty = word();
	o.rows = word();
	o.cols = word();
	o.limits = list(&o.nlimits);
	o.bounding = bits();
	o.permitted = bits();
	o.uid = word();
	o.gid = word();
	o.groups = list(&o.ngroups);
	o.cwd = token();
	o.env = list(NULL);
	o.argv = list(NULL);
	size = word(); /* of the filter, in bytes; it follows as it is */
	if (size < 0 || size != end - next || size % sizeof(struct sock_filter) || !o.argv[0]) {
		errno = EPROTO;
		fail(READ_ORDERS);
	}
	o.filter.len = size / sizeof(struct sock_filter);
	if (size > 0 && !(o.filter.filter = malloc(size)))
		fail(READ_ORDERS);
	if (size > 0)
		memcpy(o.filter.filter, next, size);
	close(ORDERS);
}

static void join_cgroups(void)
{
	for (char **path = o.cgroups; *path; path++) {
		int fd = open(*path, O_WRONLY | O_CLOEXEC);

		if (fd < 0 || write(fd, "0", 1) != 1)
			fail(JOIN_CGROUP);
		close(fd);
	}
}

static void enter_namespaces(void)
{
	/* Not to be inspected by the container's processes from here on. */
	prctl(PR_SET_DUMPABLE, 0);
	if (setns(CONTAINER, CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC |
			     CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP) < 0)
		fail(ENTER);
	close(CONTAINER);
}

static void set_limits(void)
{
	for (int i = 0; i + 2 < o.nlimits; i += 3) {
		struct rlimit limit = {strtoull(o.limits[i + 1], NULL, 10),
				       strtoull(o.limits[i + 2], NULL, 10)};

		if (setrlimit(atoi(o.limits[i]), &limit) < 0)
			fail(SET_LIMITS);
	}
}

static void set_filter(void)
{
	if (o.filter.len == 0)
		return;
	/* Without no_new_privs this needs CAP_SYS_ADMIN: before they go. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		    SECCOMP_FILTER_FLAG_SPEC_ALLOW, &o.filter) < 0)
		fail(SET_FILTER);
}

static void drop_bounding(void)
{
	for (int c = 0; c < 64; c++) {
		if (o.bounding >> c & 1)
			continue;
		if (prctl(PR_CAPBSET_READ, c) < 0)
			return; /* beyond the kernel's last one */
		if (prctl(PR_CAPBSET_DROP, c) < 0)
			fail(SET_CAPABILITIES);
	}
}

static void set_user(void)
{
	gid_t *groups = calloc(o.ngroups + 1, sizeof *groups);

	if (!groups)
		fail(SET_USER);
	for (int i = 0; i < o.ngroups; i++)
		groups[i] = strtoul(o.groups[i], NULL, 10);
	if (prctl(PR_SET_KEEPCAPS, 1) < 0 || setgroups(o.ngroups, groups) < 0 ||
	    setresgid(o.gid, o.gid, o.gid) < 0 || setresuid(o.uid, o.uid, o.uid) < 0)
		fail(SET_USER);
}

static void set_capabilities(void)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	for (int i = 0; i < 2; i++) {
		data[i].permitted = data[i].effective = o.permitted >> (32 * i);
		data[i].inheritable = 0;
	}
	if (prctl(PR_SET_KEEPCAPS, 0) < 0 || syscall(SYS_capset, &head, data) < 0)
		fail(SET_CAPABILITIES);
	/* A kernel without ambient capabilities has none to clear. */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

static void set_terminal(void)
{
	int master;

	if (setsid() < 0)
		fail(OPEN_TERMINAL);
	if (!o.tty)
		return;
	master = open_terminal(o.rows, o.cols);
	if (master < 0 || take_terminal(master) < 0 || fchown(0, o.uid, -1) < 0)
		fail(OPEN_TERMINAL);
	report(TERMINAL, 0, 0, master);
	close(master);
}

/* own_pipes lets the user open /dev/stdout and its like by name. Only pipes:
 * other files are somebody's on the host. */
static void own_pipes(void)
{
	struct stat st;

	for (int fd = 0; fd < 3; fd++)
		if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) &&
		    fchown(fd, o.uid, -1) < 0)
			continue; /* a nicety, no more */
}

static void child(void)
{
	int arrived;

	set_terminal();
	own_pipes();
	set_limits();
	/* Not the supervisor's session keyring; the name is libcontainer's. */
	syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, o.keyring);
	umask(022);
	set_filter();
	arrived = chdir(o.cwd) == 0;
	drop_bounding();
	set_user();
	/* Some directories only the user may enter, some only root. */
	if (!arrived && chdir(o.cwd) < 0)
		fail(SET_DIRECTORY);
	set_capabilities();
	environ = o.env;
	errno = execute(o.argv);
	fail(EXECUTE);
}

int enter(void)
{
	long pid;

	/* Whatever else is open stays here. */
	syscall(SYS_close_range, REPORTS + 1, ~0U, 0);
	fcntl(REPORTS, F_SETFD, FD_CLOEXEC);
	fcntl(CONTAINER, F_SETFD, FD_CLOEXEC);
	orders();
	join_cgroups();
	enter_namespaces();
	/* Processes of a joined PID namespace begin with the next child; that
	 * becomes the supervisor's, and this process ends. */
	pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0)
		fail(FORK);
	if (pid == 0)
		child();
	report(STARTED, 0, pid, -1);
	return 0;
}
