#include <stddef.h>

/* The filter that this thread was about to set, or NULL, and its size in bytes. */
extern void *trapped;
extern size_t trapped_size;

/* trap_filters has this thread's attempts to set a filter end here, as if they had
 * succeeded; it gives errno. */
int trap_filters(void);
