/*
 * versions.h - which versions of a key stand for the same value.
 *
 * A node remembers the version of the value that it stands for. A compaction
 * gives every key another version and changes nothing else; the store tells
 * of it by one event, with the largest version that was moved: the mark.
 *
 * Versions grow and changes are told in their order. So a version up to the
 * mark, of a node that heard of no change, stands for what was moved; and so
 * does a version up to the mark that is read now. No node is touched:
 *
 *     both up to the mark            the same value
 *     either one larger, not equal   another value
 *
 * Who reads a version may be ahead of the event, or behind it: hence
 * versions_settled().
 */
#ifndef TOON_VERSIONS_H
#define TOON_VERSIONS_H

#include <stdbool.h>
#include <stdint.h>

struct mount;

/* 0 is known to nobody: it is the same as no other. */
static inline bool versions_same(uint64_t known, uint64_t now, uint64_t mark) {
    return known == now || (known != 0 && known <= mark && now <= mark);
}

/* Before anything is looked at. */
void versions_start(struct mount *m);

/* With the lock of the inodes: the event came. */
void versions_moved_locked(struct mount *m, uint64_t mark);

/*
 * After a look at the store. True: what it showed can be compared by `mark`,
 * which was the mount's before the look. Else the store has moved on; waits
 * until the event has come, and the look must be made again.
 */
bool versions_settled(struct mount *m, uint64_t mark);

#endif
