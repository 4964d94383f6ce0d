/* What the two programs in lepto-init share. */
extern char **environ;

/* execute runs a command, looked up in PATH; it returns the errno if it can't. */
int execute(char **argv);

/* open_terminal gives the master side of a new terminal, or -1. */
int open_terminal(int rows, int cols);

/* take_terminal makes the other side this process's own, and its stdio. */
int take_terminal(int master);

/* enter is the mode of that name. */
int enter(void);
