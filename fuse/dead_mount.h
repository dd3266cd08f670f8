/*
 * dead_mount.h - mounts that are there already: what a process that was killed
 * leaves behind ("Transport endpoint is not connected"), or one that lives.
 */
#ifndef TOON_DEAD_MOUNT_H
#define TOON_DEAD_MOUNT_H

#include <stdbool.h>

/* Detaches dead mounts there, with a word on stderr for each. False: one is
 * there and stays. True also where there is none, or no such directory. */
bool dead_mount_detach(const char *mountpoint);

/* Is a mount of this kind right there? `real` has no symbolic links. */
bool live_mount_at(const char *real);

#endif
