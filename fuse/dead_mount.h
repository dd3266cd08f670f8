/*
 * dead_mount.h - what a process that was killed leaves behind: a mount that
 * answers "Transport endpoint is not connected".
 */
#ifndef TOON_DEAD_MOUNT_H
#define TOON_DEAD_MOUNT_H

#include <stdbool.h>

/* Detaches dead mounts there, with a word on stderr for each. False: one is
 * there and stays. True also where there is none, or no such directory. */
bool dead_mount_detach(const char *mountpoint);

#endif
