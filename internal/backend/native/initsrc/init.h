/* What the programs in lepto-init share. */
extern char **environ;

/* Stages at which they may fail, as the supervisor knows them. */
enum {
	READ_ORDERS = 1, JOIN_CGROUP, ENTER, FORK, OPEN_TERMINAL, SET_LIMITS,
	SET_FILTER, SET_CAPABILITIES, SET_USER, SET_DIRECTORY, EXECUTE, MOUNT,
	MAKE_DEVICE, SET_PARAMETER, CHANGE_ROOT, SET_NAME, JOIN_KEYRING
};

/* A failure reports errno and the stage, and ends the process. */
typedef void (*failure)(int stage);

/* A confinement is what a command of a container may be and do: see confine.c. */
struct confinement {
	int make; /* the working directory, if it is missing */
	unsigned long long bounding, permitted;
	long uid, gid;
	char **groups;
	int ngroups;
	char *cwd;
	struct sock_filter *filter;
	int instructions; /* of the filter; none: no filter */
};

/* read_orders reads a file of orders and closes it. Then token, word and list
 * take one after the other, and read_confinement the rest. */
void read_orders(int fd, failure otherwise);
char *token(void);
long long word(void);
char **list(int *count);
void read_confinement(struct confinement *c);

/* confine gives up all that is not the command's, for good. */
void confine(const struct confinement *c);

/* execute runs a command, looked up in PATH; it returns the errno if it can't. */
int execute(char **argv);

/* open_terminal gives the master side of a new terminal, or -1. */
int open_terminal(int rows, int cols);

/* take_terminal makes the other side this process's own, and its stdio. */
int take_terminal(int master);

/* send_words sends a message over a socket, with a descriptor unless it is -1. */
int send_words(int socket, const void *words, size_t size, int fd);

/* The modes of these names: see enter.c and make.c. */
int enter(void);
int make(void);

/* report_failure reports the stage and errno, and what it was about, where
 * reports_to has said, and ends the process. */
extern const char *about;
void reports_to(int fd);
void report_failure(int stage);

/* become ends the making of a container: what is left of the orders is done with
 * this process, and it is the first one. */
void become(const char *mode, int exit_fd);
