/*
 * lepto-init make: makes a container around itself, and becomes its first process.
 *
 * The supervisor starts it in new namespaces (mounts, host name, IPC, process
 * ids; the network's and the cgroups' it enters itself), with
 *
 *   descriptors 0 to 2  the container's
 *   descriptor 3        reports of a failure: see init.c
 *   descriptor 4        the exit file
 *   descriptor 5        the orders
 *   descriptor 6        with a console: a socket that the terminal is sent over
 *
 * The root is mounted already, in the mount namespace that this one is a copy
 * of. What is mounted in it is the orders' business (supervisor/layout.go); that
 * nothing in it leads out is this file's: every path in the root is looked up by
 * the kernel with RESOLVE_IN_ROOT (openat2(2)), whatever symbolic links an image
 * or a shared volume has, and mounted on by descriptor, so that nothing can be
 * exchanged in between. What is shown of the host is attached complete, with its
 * attributes (mount_setattr(2), Linux 5.12). No mount goes into a proc file system.
 *
 * It is killed if the supervisor dies while it works. What it has in memory and
 * open of the host ends when it executes the command; until then it is not
 * dumpable, which keeps the container's processes from it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "init.h"

enum { STATUS = 3, EXIT = 4, ORDERS = 5, CONSOLE = 6 };

static int root; /* the container's, O_PATH */

/* look_up opens a path in the root, O_PATH. */
static int look_up(const char *path, unsigned long long how)
{
	struct open_how h = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | how,
	};
	int fd;

	/* EAGAIN: something was renamed meanwhile. */
	for (int i = 0; i < 100; i++) {
		fd = syscall(SYS_openat2, root, path, &h, sizeof h);
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd;
}

/* release closes what is open, if it is, and keeps errno. */
static void release(int fd)
{
	int was = errno;

	if (fd >= 0)
		close(fd);
	errno = was;
}

/* A name is where something is, or is to be: a directory, and its entry. */
struct name {
	int dir;
	char entry[NAME_MAX + 1];
};

static int make_parents(char *path, int links);

/* name_of finds the directory of a path in the root, making what is missing. A
 * path without an entry (the root, "..") is none to mount on. */
static int name_of(const char *path, struct name *n, int links)
{
	char copy[PATH_MAX];
	size_t len = strlen(path);
	char *slash;

	while (len > 0 && path[len - 1] == '/')
		len--;
	if (len == 0 || len >= sizeof copy)
		return errno = EINVAL, -1;
	memcpy(copy, path, len);
	copy[len] = 0;
	slash = strrchr(copy, '/');
	if (!slash || strlen(slash + 1) > NAME_MAX || !strcmp(slash + 1, "..") || !strcmp(slash + 1, "."))
		return errno = EINVAL, -1;
	strcpy(n->entry, slash + 1);
	*slash = 0;
	n->dir = make_parents(copy, links);
	return n->dir < 0 ? -1 : 0;
}

static int make_point(const char *path, int directory, int links);

/* make_parents gives a directory of the root, made where it is missing. */
static int make_parents(char *path, int links)
{
	if (!path[0])
		return look_up("/", 0);
	return make_point(path, 1, links);
}

/* follow reads a symbolic link that leads nowhere, and makes what it names: an
 * image's /etc/resolv.conf may be one. */
static int follow(const char *path, const struct name *n, int directory, int links)
{
	char link[PATH_MAX], to[2 * PATH_MAX];
	ssize_t len = readlinkat(n->dir, n->entry, link, sizeof link - 1);

	if (len < 0)
		return errno = EEXIST, -1;
	link[len] = 0;
	if (links >= 16)
		return errno = ELOOP, -1;
	if (link[0] == '/')
		return make_point(link, directory, links + 1);
	/* Relative to the link's directory, which the path leads to. */
	snprintf(to, sizeof to, "%.*s/%s", (int)(strrchr(path, '/') - path), path, link);
	return make_point(to, directory, links + 1);
}

/* make_point opens what is to be mounted on. Where it is missing an empty file or
 * directory is made. */
static int make_point(const char *path, int directory, int links)
{
	struct name n;
	int fd = look_up(path, 0), made;

	if (fd >= 0 || errno != ENOENT)
		return fd;
	if (name_of(path, &n, links) < 0)
		return -1;
	made = directory ? mkdirat(n.dir, n.entry, 0755)
			 : openat(n.dir, n.entry, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (made < 0 && errno == EEXIST) {
		fd = look_up(path, 0); /* another container's doing, in a shared volume */
		if (fd < 0 && errno == ENOENT)
			fd = follow(path, &n, directory, links);
	} else if (made >= 0) {
		fd = look_up(path, 0);
	}
	release(n.dir);
	return fd;
}

/* by_descriptor is a name for mount(2) that leads to an open file and nowhere
 * else. */
static const char *by_descriptor(int fd)
{
	static char name[32];

	snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
	return name;
}

/* check_point refuses what must not be mounted on: the root itself, and what is
 * in a proc file system, where it could hide what tells how a process is
 * confined, or catch what is written there. */
static int check_point(int fd)
{
	struct stat a, b;
	struct statfs fs;

	if (fstat(fd, &a) < 0 || fstat(root, &b) < 0 || fstatfs(fd, &fs) < 0)
		return -1;
	if ((a.st_dev == b.st_dev && a.st_ino == b.st_ino) || fs.f_type == PROC_SUPER_MAGIC)
		return errno = EPERM, -1;
	return 0;
}

/* show mounts what a descriptor leads to, and what is mounted below it, on another
 * one, with further attributes. It is complete before it can be seen, and neither
 * side of it ever sees what is mounted later on the other. */
static int show(int from, int to, unsigned long long attributes)
{
	struct mount_attr attr = {.attr_set = attributes, .propagation = MS_PRIVATE};
	int tree = open_tree(from, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), err;

	if (tree < 0)
		return -1;
	err = mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr);
	if (err == 0)
		err = move_mount(tree, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
	release(tree);
	return err;
}

/* subject takes what an order is about, for the report of its failure. */
static char *subject(void)
{
	char *t = token();

	about = t;
	return t;
}

/* order_fs mounts a new file system: type, source, target, flags, options. The
 * targets of proc and sysfs are no symbolic links: other parts of the system
 * trust that these are what their paths say. */
static int order_fs(void)
{
	char *type = token(), *source = token();
	char *target = subject();
	unsigned long flags = word();
	char *data = token();
	int fd = make_point(target, 1, 0), err;

	if (!strcmp(type, "proc") || !strcmp(type, "sysfs")) {
		release(fd);
		fd = look_up(target, RESOLVE_NO_SYMLINKS);
	}
	if (fd < 0)
		return -1;
	err = mount(source, by_descriptor(fd), type, flags, data);
	release(fd);
	return err;
}

/* order_bind shows a file or directory of the host: source, target, attributes. */
static int order_bind(void)
{
	char *source = token();
	char *target = subject();
	unsigned long attributes = word();
	int from = open(source, O_PATH | O_CLOEXEC), to, err = -1;
	struct stat st;

	if (from < 0 || fstat(from, &st) < 0)
		return -1;
	to = make_point(target, S_ISDIR(st.st_mode), 0);
	if (to >= 0 && check_point(to) == 0)
		err = show(from, to, attributes);
	release(to);
	release(from);
	return err;
}

/* show_device shows a device of the host under its own name. */
static int show_device(const char *path)
{
	int from = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW), to = make_point(path, 0, 0);
	int err = from < 0 || to < 0 ? -1 : show(from, to, 0);

	release(from);
	release(to);
	return err;
}

/* order_node makes a device: path, mode with type, major, minor, owner, group.
 * Where devices can't be made, the host's is shown. */
static int order_node(void)
{
	char *path = subject();
	mode_t mode = word();
	unsigned major = word(), minor = word();
	uid_t uid = word();
	gid_t gid = word();
	struct name n;
	int err = 0;

	if (name_of(path, &n, 0) < 0)
		return -1;
	if (mknodat(n.dir, n.entry, mode, makedev(major, minor)) == 0)
		err = fchownat(n.dir, n.entry, uid, gid, AT_SYMLINK_NOFOLLOW);
	else if (errno == EPERM)
		err = show_device(path);
	else if (errno != EEXIST)
		err = -1;
	release(n.dir);
	return err;
}

/* order_link makes a symbolic link: its text, path. */
static int order_link(void)
{
	char *text = token();
	char *path = subject();
	struct name n;
	int err;

	if (name_of(path, &n, 0) < 0)
		return -1;
	err = symlinkat(text, n.dir, n.entry);
	release(n.dir);
	return err < 0 && errno != EEXIST ? -1 : 0;
}

/* is_null tells the null device from whatever an image may have in its place. */
static int is_null(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

/* order_mask hides a path, if it is there: a file behind the container's own
 * /dev/null (the host's has an owner and a mode that are the host's), a directory
 * behind an empty one. */
static int order_mask(void)
{
	const char *path = subject();
	int fd = look_up(path, 0), null, err;
	struct stat st;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
	err = fstat(fd, &st);
	if (err == 0 && S_ISDIR(st.st_mode)) {
		err = mount("tmpfs", by_descriptor(fd), "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=2");
	} else if (err == 0) {
		null = look_up("/dev/null", RESOLVE_NO_SYMLINKS);
		if (null >= 0 && !is_null(null))
			err = (errno = ENODEV, -1);
		else
			err = null < 0 ? -1 : show(null, fd, 0);
		release(null);
	}
	release(fd);
	return err;
}

/* order_fix makes a path read-only, if it is there. */
static int order_fix(void)
{
	char *path = subject();
	int fd = look_up(path, 0), err;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
	err = show(fd, fd, MOUNT_ATTR_RDONLY);
	release(fd);
	return err;
}

/* order_set sets a kernel parameter of this process's namespaces: its file on the
 * host, value. One that this kernel does not have is no failure. */
static int order_set(void)
{
	char *file = subject();
	char *value = token();
	int fd = open(file, O_WRONLY | O_CLOEXEC);
	ssize_t len = strlen(value);

	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	if (write(fd, value, len) != len)
		return -1;
	release(fd);
	return 0;
}

/* furnish follows the orders about the root, in their sequence. */
static void furnish(void)
{
	static const struct {
		const char *name;
		int (*follow)(void);
		int stage;
	} kinds[] = {
		{"fs", order_fs, MOUNT},       {"bind", order_bind, MOUNT},
		{"node", order_node, MAKE_DEVICE}, {"link", order_link, MAKE_DEVICE},
		{"mask", order_mask, MOUNT},   {"fix", order_fix, MOUNT},
		{"set", order_set, SET_PARAMETER},
	};
	enum { KINDS = sizeof kinds / sizeof kinds[0] };

	for (char *kind; (kind = token())[0];) {
		unsigned i = 0;

		while (i < KINDS && strcmp(kind, kinds[i].name) != 0)
			i++;
		if (i == KINDS) {
			errno = EPROTO;
			report_failure(READ_ORDERS);
		}
		if (kinds[i].follow() < 0)
			report_failure(kinds[i].stage);
	}
	about = "";
}

/* join puts this process into its cgroups and its network. */
static void join(void)
{
	char **groups = list(NULL);
	char *network = token();
	int fd;

	for (char **path = groups; *path; path++) {
		fd = open(*path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, "0", 1) != 1)
			report_failure(JOIN_CGROUP);
		release(fd);
	}
	/* The cgroups' namespace begins in those; some kernels have none. */
	if (unshare(CLONE_NEWCGROUP) < 0 && errno != EINVAL)
		report_failure(ENTER);
	if (!network[0])
		return;
	fd = open(network, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		report_failure(ENTER);
	release(fd);
}

/* change_root leaves the host's file systems for good. */
static void change_root(void)
{
	int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	/* The old root comes to lie over the new one, and is taken away. All of it
	 * is a slave of the host's mounts: nothing of this gets there. */
	if (old < 0 || fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    fchdir(old) < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		report_failure(CHANGE_ROOT);
	release(old);
	release(root);
}

/* own_null exchanges the host's /dev/null for the container's, whose owner and
 * mode are its own. One that has none reads from nothing. */
static void own_null(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || !is_null(fd)) {
		release(fd);
		fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* reads fail */
	}
	for (int i = 0; i < 3; i++)
		if (is_null(i) && dup2(fd, i) < 0)
			report_failure(CHANGE_ROOT);
	release(fd);
}

/* keyring gives the container a session keyring of its own, which the commands
 * that are run in it later join by its name. */
static void keyring(const char *name)
{
	/* All for who has it; for its user view, read, search, link. */
	const unsigned rights = 0x3f1b0000;
	long id = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name);

	if (id < 0 && errno == ENOSYS)
		return;
	if (id < 0 || syscall(SYS_keyctl, KEYCTL_SETPERM, id, rights) < 0)
		report_failure(JOIN_KEYRING);
}

/* limits sets resource limits: kind, soft and hard, kind, … */
static void limits(char **l, int n)
{
	for (int i = 0; i + 2 < n; i += 3) {
		struct rlimit limit = {strtoull(l[i + 1], NULL, 10), strtoull(l[i + 2], NULL, 10)};

		if (setrlimit(atoi(l[i]), &limit) < 0)
			report_failure(SET_LIMITS);
	}
}

/* usual_oom_score undoes what the supervisor may have inherited. */
static void usual_oom_score(void)
{
	char was[8] = "";
	int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);

	if (fd < 0 || read(fd, was, sizeof was - 1) < 0)
		report_failure(SET_LIMITS);
	if (strcmp(was, "0\n") != 0 && write(fd, "0", 1) != 1)
		report_failure(SET_LIMITS);
	release(fd);
}

/* console makes the terminal of a container whose command is the first process:
 * the supervisor holds its other side. */
static void console(void)
{
	int words[3] = {0}, master = open_terminal(24, 80), point;

	if (master < 0 || take_terminal(master) < 0)
		report_failure(OPEN_TERMINAL);
	point = open("/dev/console", O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (point >= 0 && mount("/proc/self/fd/0", "/dev/console", NULL, MS_BIND, NULL) < 0)
		report_failure(OPEN_TERMINAL);
	release(point);
	if (send_words(CONSOLE, words, sizeof words, master) < 0)
		report_failure(OPEN_TERMINAL);
	release(master);
	release(CONSOLE);
}

int make(void)
{
	char *mode, *path, *host, *ring, **limit;
	int with_console, nlimits;

	/* Whatever else is open stays here. */
	syscall(SYS_close_range, CONSOLE + 1, ~0U, 0);
	for (int fd = STATUS; fd <= CONSOLE; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	prctl(PR_SET_DUMPABLE, 0);
	prctl(PR_SET_NAME, "lepto-init"); /* not that of the mount it is started from */
	umask(0);
	setsid();
	reports_to(STATUS);
	read_orders(ORDERS, report_failure);
	mode = token();
	with_console = word();
	path = token();
	host = token();
	ring = token();
	limit = list(&nlimits);
	join();
	keyring(ring);
	usual_oom_score();
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		report_failure(CHANGE_ROOT);
	furnish();
	change_root();
	own_null();
	if (host[0] && sethostname(host, strlen(host)) < 0)
		report_failure(SET_NAME);
	if (with_console)
		console();
	else
		release(CONSOLE);
	limits(limit, nlimits);
	/* From here on the supervisor's end is no longer this process's. */
	prctl(PR_SET_PDEATHSIG, 0);
	become(mode, EXIT);
	return 2;
}
