/*
 * dead_mount.c - mounts that are there already; the dead are detached. Knows
 * mount points only. (Apart from mount.c, as <sys/mount.h> has a `mount` of
 * its own.)
 */
#include "dead_mount.h"

#include <errno.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

/* Each lies on top of the one before. */
#define DEAD_MOUNTS_MAX 16

/* statfs(2) always asks; what stat(2) says may be remembered by the kernel. */
static bool is_dead(const char *mountpoint) {
    struct statvfs fs;
    return statvfs(mountpoint, &fs) != 0 &&
           (errno == ENOTCONN || errno == ECONNABORTED);
}

/* For who is not root. */
static bool run_fusermount(const char *mountpoint) {
    pid_t pid = fork();
    if (pid == 0) {
        (void)execlp("fusermount3", "fusermount3", "-uz", "--", mountpoint,
                     (char *)NULL);
        _exit(127);
    }
    int status;
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

bool dead_mount_detach(const char *mountpoint) {
    for (int i = 0; is_dead(mountpoint); i++) {
        bool done =
            i < DEAD_MOUNTS_MAX && (umount2(mountpoint, MNT_DETACH) == 0 ||
                                    run_fusermount(mountpoint));
        if (!done) {
            return false;
        }
        (void)fprintf(stderr,
                      "%s: detached the dead mount of an earlier process\n",
                      mountpoint);
    }
    return true;
}

bool live_mount_at(const char *real) {
    struct mntent entry;
    char text[8192];
    bool found = false;
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    while (mounts != NULL && !found &&
           getmntent_r(mounts, &entry, text, sizeof(text)) != NULL) {
        found = strcmp(entry.mnt_type, "fuse.tstfs") == 0 &&
                strcmp(entry.mnt_dir, real) == 0;
    }
    if (mounts != NULL) {
        (void)endmntent(mounts);
    }
    return found;
}
