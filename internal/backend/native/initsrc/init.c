/*
 * lepto-init: the first process of a container, once it has made the container
 * (make.c). The mode "enter" is another program: see enter.c.
 *
 * Its mode, in the orders, is
 *   init  fork the command, forward signals to it, reap orphans, and when it ends
 *         write "code signal\n" to the exit file and end with its code;
 *   tty   the same, with the command on a new pseudo terminal whose output is
 *         copied to standard output;
 *   exec  become the command: nothing but the report below;
 *   hold  run no command, only reap orphans, until a signal asks for the end:
 *         what is to be done in the container comes by "enter".
 *
 * The last of the orders are the command, the environment, and a confinement
 * (confine.c); the confinement comes first of all. The environment comes this way
 * because libc reads some variables before, and they are the image's.
 *
 * The descriptor for reports closes when the command has been executed. If it
 * can't be, the errno and the stage that failed are written to it first, as
 * native ints, and then what it was about. The lookup in
 * PATH is done here, not by libc's execvp: that one hands files it can't
 * execute to a shell, which hides a wrong architecture.
 *
 * The exit file outlives the supervisor, so the exit code does too. For the
 * same reason this process ends only once its output has been read: a pipe
 * that nobody holds loses its content, and a supervisor may have died and its
 * successor not yet be there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

enum { CANNOT_RUN = 126, NOT_FOUND = 127 };

/* Signals that tell of a defect of this process itself: never forwarded. */
static const int own_signals[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS,
				  SIGABRT, SIGTRAP, SIGSYS};

static void write_all(int fd, const char *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, buf, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		buf += n;
		len -= n;
	}
}

/* search tries the command in each directory of PATH; it returns the errno
 * that says most: a file that is there but not executable beats "not found". */
static int search(char **argv)
{
	static char path[8192];
	const char *dirs = getenv("PATH");
	size_t name = strlen(argv[0]);
	int worst = ENOENT;

	if (!dirs)
		dirs = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	for (;;) {
		const char *end = strchrnul(dirs, ':');
		size_t len = end - dirs;

		if (len + name + 3 <= sizeof path) {
			memcpy(path, dirs, len);
			if (len == 0)
				path[len++] = '.';
			path[len] = '/';
			memcpy(path + len + 1, argv[0], name + 1);
			execve(path, argv, environ);
			if (errno == EACCES)
				worst = EACCES;
			else if (errno != ENOENT && errno != ENOTDIR)
				return errno;
			else if (access(path, F_OK) == 0)
				return errno; /* its interpreter is missing */
		}
		if (!*end)
			return worst;
		dirs = end + 1;
	}
}

int execute(char **argv)
{
	if (!argv[0][0])
		return ENOENT;
	if (!strchr(argv[0], '/'))
		return search(argv);
	execve(argv[0], argv, environ);
	return errno;
}

static int status; /* the descriptor */

const char *about = "";

void reports_to(int fd) { status = fd; }

void report_failure(int stage)
{
	int words[2] = {errno, stage};

	write_all(status, (const char *)words, sizeof words);
	write_all(status, about, strlen(about));
	_exit(stage == EXECUTE && words[0] == ENOENT ? NOT_FOUND : CANNOT_RUN);
}

static void run(char **argv)
{
	errno = execute(argv);
	report_failure(EXECUTE);
}

/* record writes "code signal\n". */
static void record(int fd, int code, int sig)
{
	char buf[16];
	int n = 0;

	if (code >= 100)
		buf[n++] = '0' + code / 100;
	if (code >= 10)
		buf[n++] = '0' + code / 10 % 10;
	buf[n++] = '0' + code % 10;
	buf[n++] = ' ';
	if (sig >= 10)
		buf[n++] = '0' + sig / 10;
	buf[n++] = '0' + sig % 10;
	buf[n++] = '\n';
	write_all(fd, buf, n);
	close(fd);
}

static void forward_everything_but_own(sigset_t *set)
{
	sigfillset(set);
	for (size_t i = 0; i < sizeof own_signals / sizeof own_signals[0]; i++)
		sigdelset(set, own_signals[i]);
}

int open_terminal(int rows, int cols)
{
	struct winsize size = {.ws_row = rows, .ws_col = cols};
	int unlock = 0;
	int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, TIOCSPTLCK, &unlock) < 0)
		return -1;
	ioctl(fd, TIOCSWINSZ, &size);
	return fd;
}

int take_terminal(int master)
{
	int fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);

	if (fd < 0 || (getsid(0) != getpid() && setsid() < 0) || ioctl(fd, TIOCSCTTY, 0) < 0)
		return -1;
	for (int i = 0; i < 3; i++)
		if (dup2(fd, i) < 0)
			return -1;
	if (fd > 2)
		close(fd);
	return 0;
}

/* copy moves what the terminal has to standard output; 0 when it has nothing. */
static int copy(int master)
{
	char buf[4096]; /* PIPE_BUF: a pipe that polls writable takes it whole */
	ssize_t n = read(master, buf, sizeof buf);

	if (n <= 0)
		return 0;
	write_all(1, buf, n);
	return 1;
}

static int unread(int fd)
{
	int n = 0;
	return ioctl(fd, FIONREAD, &n) == 0 ? n : 0;
}

/* linger waits until the output has been read. SIGKILL ends it. */
static void linger(void)
{
	struct timespec pause = {.tv_nsec = 50 * 1000};

	while (unread(1) > 0 || unread(2) > 0) {
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < 50 * 1000 * 1000)
			pause.tv_nsec *= 2;
	}
}

static void finish(int child, int wstatus, int master, int exit_fd)
{
	int sig = WIFSIGNALED(wstatus) ? WTERMSIG(wstatus) : 0;
	int code = sig ? 128 + sig : WEXITSTATUS(wstatus);

	(void)child;
	record(exit_fd, code, sig);
	if (getpid() == 1) {
		kill(-1, SIGKILL);
		while (waitpid(-1, NULL, 0) > 0)
			;
	}
	while (master >= 0 && copy(master))
		;
	linger();
	_exit(code);
}

/* reap collects the dead; it does not return once the child is among them. */
static void reap(pid_t child, int master, int exit_fd)
{
	int wstatus;
	pid_t pid;

	while ((pid = waitpid(-1, &wstatus, WNOHANG)) > 0)
		if (pid == child)
			finish(pid, wstatus, master, exit_fd);
}

static void watch(pid_t child, int master, int exit_fd, const sigset_t *set)
{
	int signals = signalfd(-1, set, SFD_CLOEXEC);
	struct signalfd_siginfo info;

	for (;;) {
		struct pollfd fds[2] = {{.fd = signals, .events = POLLIN},
					{.fd = master, .events = POLLIN}};

		if (poll(fds, master >= 0 ? 2 : 1, -1) < 0)
			continue;
		if (fds[0].revents) {
			if (read(signals, &info, sizeof info) != sizeof info)
				continue;
			if (info.ssi_signo == SIGCHLD)
				reap(child, master, exit_fd);
			else
				kill(child, info.ssi_signo);
		}
		if (master >= 0 && fds[1].revents) {
			struct pollfd out = {.fd = 1, .events = POLLOUT};
			/* A full pipe must not keep signals waiting; a terminal
			 * that was hung up must not spin. */
			if (poll(&out, 1, 100) > 0 && !copy(master)) {
				struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
				nanosleep(&pause, NULL);
			}
		}
	}
}

/* hold waits to be asked to end, which is no failure. */
static void hold(int exit_fd)
{
	sigset_t set;
	int sig;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	forward_everything_but_own(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	close(status);
	for (;;) {
		if (sigwait(&set, &sig) != 0)
			continue;
		if (sig == SIGCHLD)
			while (waitpid(-1, NULL, WNOHANG) > 0)
				;
		else if (sig == SIGTERM || sig == SIGINT || sig == SIGQUIT)
			finish(0, 0, -1, exit_fd);
	}
}

static void start(int tty, int exit_fd, char **argv)
{
	sigset_t set, before;
	int master = -1;
	pid_t child;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	forward_everything_but_own(&set);
	sigprocmask(SIG_BLOCK, &set, &before);
	if (tty && (master = open_terminal(24, 80)) < 0)
		report_failure(OPEN_TERMINAL);
	child = fork();
	if (child < 0)
		report_failure(FORK);
	if (child == 0) {
		if (tty ? take_terminal(master) < 0 : setpgid(0, 0) < 0)
			report_failure(OPEN_TERMINAL);
		sigprocmask(SIG_SETMASK, &before, NULL);
		run(argv);
	}
	close(status);
	watch(child, master, exit_fd, &set);
}

void become(const char *mode, int exit_fd)
{
	struct confinement c = {0};
	char **argv = list(NULL), **env = list(NULL);

	read_confinement(&c);
	if (!argv[0] && strcmp(mode, "hold") != 0) {
		errno = EPROTO;
		report_failure(READ_ORDERS);
	}
	/* A terminal is the user's; it is of the container's own devpts. */
	if (isatty(0) && fchown(0, c.uid, -1) < 0)
		report_failure(OPEN_TERMINAL);
	confine(&c);
	environ = env;
	/* The descriptors held here are files of the host: keep them from the
	 * container's processes, which may run as the same user. Becoming another
	 * user has set it as a sysctl says; executing the command ends it. */
	prctl(PR_SET_DUMPABLE, 0);
	if (strcmp(mode, "hold") == 0)
		hold(exit_fd);
	if (strcmp(mode, "exec") == 0)
		run(argv);
	start(strcmp(mode, "tty") == 0, exit_fd, argv);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "enter") == 0)
		return enter();
	if (argc == 2 && strcmp(argv[1], "make") == 0)
		return make();
	return 2;
}
