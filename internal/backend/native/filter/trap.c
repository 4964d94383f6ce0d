#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "trap.h"

void *trapped;
size_t trapped_size;

/* The third argument of a trapped call is the filter, with seccomp(2) as with
 * prctl(2). */
#if defined(__x86_64__)
#define THIRD(context) ((context)->uc_mcontext.gregs[REG_RDX])
#define RESULT(context) ((context)->uc_mcontext.gregs[REG_RAX])
#elif defined(__aarch64__)
#define THIRD(context) ((context)->uc_mcontext.regs[2])
#define RESULT(context) ((context)->uc_mcontext.regs[0])
#else
#error "tell how this architecture passes arguments of system calls"
#endif

static void on_trap(int sig, siginfo_t *info, void *context)
{
	const struct sock_fprog *program = (void *)THIRD((ucontext_t *)context);
	size_t size = program->len * sizeof(struct sock_filter);

	(void)sig;
	(void)info;
	/* The thread is in a system call, not in malloc. */
	trapped = malloc(size);
	if (trapped) {
		memcpy(trapped, program->filter, size);
		trapped_size = size;
	}
	RESULT((ucontext_t *)context) = 0;
}

#define WORD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (then), (otherwise))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, (value))

int trap_filters(void)
{
	/* Trapped is a call that sets a filter. One without a filter only asks
	 * whether the kernel could. The low words come first: the architectures
	 * above are little-endian. */
	struct sock_filter code[] = {
		WORD(nr),
		IF(SYS_seccomp, 0, 2),
		WORD(args[0]),
		IF(SECCOMP_SET_MODE_FILTER, 3, 5),
		IF(SYS_prctl, 0, 4),
		WORD(args[0]),
		IF(PR_SET_SECCOMP, 0, 2),
		WORD(args[2]),
		IF(0, 0, 1),
		RETURN(SECCOMP_RET_ALLOW),
		RETURN(SECCOMP_RET_TRAP),
	};
	struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
	struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	if (sigaction(SIGSYS, &action, NULL) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return errno;
	return 0;
}
