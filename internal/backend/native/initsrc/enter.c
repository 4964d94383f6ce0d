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
 * See orders() for the sequence of the orders, and confine.c for their form.
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
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

enum { ORDERS = 3, CONTAINER = 4, REPORTS = 5 };

/* Kinds of reports. */
enum { STARTED = 1, FAILED = 2, TERMINAL = 3 };

int send_words(int socket, const void *words, size_t size, int fd)
{
	struct iovec part = {(void *)words, size};
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	int err;

	if (fd >= 0) {
		memset(&control, 0, sizeof control);
		message.msg_control = &control;
		message.msg_controllen = sizeof control.space;
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
	}
	while ((err = sendmsg(socket, &message, MSG_NOSIGNAL)) < 0 && errno == EINTR)
		;
	return err;
}

static void report(int kind, int stage, int value, int fd)
{
	int words[3] = {kind, stage, value};

	send_words(REPORTS, words, sizeof words, fd);
}

static void fail(int stage)
{
	report(FAILED, stage, errno, -1);
	_exit(126);
}

static struct {
	char **cgroups; /* cgroup.procs files to join */
	char *keyring;
	int tty, rows, cols;
	char **limits; /* kind, soft and hard limit, kind, … */
	int nlimits;
	char **env, **argv;
	struct confinement confinement;
} o;

static void orders(void)
{
	read_orders(ORDERS, fail);
	o.cgroups = list(NULL);
	o.keyring = token();
	o.tty = word();
	o.rows = word();
	o.cols = word();
	o.limits = list(&o.nlimits);
	o.env = list(NULL);
	o.argv = list(NULL);
	read_confinement(&o.confinement);
	if (!o.argv[0]) {
		errno = EPROTO;
		fail(READ_ORDERS);
	}
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

static void set_terminal(void)
{
	int master;

	if (setsid() < 0)
		fail(OPEN_TERMINAL);
	if (!o.tty)
		return;
	master = open_terminal(o.rows, o.cols);
	if (master < 0 || take_terminal(master) < 0 || fchown(0, o.confinement.uid, -1) < 0)
		fail(OPEN_TERMINAL);
	report(TERMINAL, 0, 0, master);
	close(master);
}

static void child(void)
{
	set_terminal();
	set_limits();
	/* Not the supervisor's session keyring; the name is libcontainer's. */
	syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, o.keyring);
	confine(&o.confinement);
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
