/*
 * attr.h - what stat(2) says. Knows times, modes and how long the kernel may
 * believe them; must never know where they come from.
 */
#ifndef TOON_ATTR_H
#define TOON_ATTR_H

#include "inodes.h"
#include "mount.h"

#include <sys/stat.h>

#define TIMEOUT_LONG_S 86400.0
#define TICKS          1024 /* a power of two */

/*
 * The store's times are in milliseconds. Two versions of a key in the same
 * millisecond get different microseconds, so that a time moves with each
 * change, for as long as a slot here remembers the earlier one.
 */
typedef struct ticks {
    pthread_mutex_t lock;

    struct tick {
        uint64_t hash, version;
        int64_t written_ms;
        uint32_t count;
    } slots[TICKS];

    uint64_t mark; /* versions.h */
} ticks;

void ticks_init(ticks *t);
void ticks_free(ticks *t);

/* Microseconds for this version, which was read by `mark`. Version 0:
 * whichever comes next is the same as this one. */
uint32_t ticks_of(ticks *t, uint64_t hash, const toon_meta *meta,
                  uint64_t mark);
/* Versions were moved, and nothing has changed by that. */
void ticks_moved(ticks *t, uint64_t mark);
/* The next version has just these times: mode or times were set. */
void ticks_keep(ticks *t, uint64_t hash);

typedef struct file_facts {
    uint64_t number; /* st_ino */
    size_t size;
    toon_meta meta;
    uint32_t tick_us;
    int64_t changed_ms;
    bool nameless; /* removed or replaced, and still open */
} file_facts;

void attr_of_file(const mount_options *options, const file_facts *facts,
                  struct stat *out);

/* `facts->size` is not used. */
void attr_of_dir(const mount_options *options, const file_facts *facts,
                 struct stat *out);

/* Seconds until `expires_ms`, at most TIMEOUT_LONG_S; 0 expires never. */
double timeout_until(int64_t expires_ms, int64_t now_ms);

/* The mode to store: 0 where it is the default. No permission at all is told
 * from that by a type bit. */
uint32_t mode_to_store(mode_t mode, unsigned default_mode);

#endif
