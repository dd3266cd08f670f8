/* bench_tools.c - directories, clocks, random numbers, memory. */
#include "bench_tools.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char made_path[300];
static pid_t made_by;

void bench_fail(const char *what) {
    (void)fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
                  strerror(errno));
    exit(1);
}

/* --------------------------------------------------------------- directories */

static void remove_directory(void) {
    if (getpid() != made_by)
        return;
    bench_empty_directory(made_path);
    (void)rmdir(made_path);
}

const char *bench_make_directory(const char *parent) {
    if (parent == NULL)
        parent = getenv("TMPDIR");
    if (parent == NULL)
        parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void)snprintf(made_path, sizeof made_path, "%s/toon-bench-XXXXXX", parent);
    if (mkdtemp(made_path) == NULL)
        bench_fail("cannot make a directory");
    made_by = getpid();
    (void)atexit(remove_directory);
    return made_path;
}

void bench_empty_directory(const char *path) {
    DIR *listing = opendir(path);
    const struct dirent *entry;
    while (listing != NULL && (entry = readdir(listing)) != NULL) {
        if (entry->d_name[0] != '.')
            (void)unlinkat(dirfd(listing), entry->d_name, 0);
    }
    if (listing != NULL)
        (void)closedir(listing);
}

uint64_t bench_directory_bytes(const char *path) {
    enum { BLOCK_BYTES = 512 }; /* of st_blocks */

    uint64_t sum = 0;
    DIR *listing = opendir(path);
    const struct dirent *entry;
    while (listing != NULL && (entry = readdir(listing)) != NULL) {
        struct stat st;
        if (entry->d_name[0] != '.' &&
            fstatat(dirfd(listing), entry->d_name, &st, 0) == 0)
            sum += (uint64_t)st.st_blocks * BLOCK_BYTES;
    }
    if (listing != NULL)
        (void)closedir(listing);
    return sum;
}

/* ------------------------------------------------------------------ the rest */

uint64_t bench_now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

double bench_now_s(void) {
    return (double)bench_now_ns() / 1e9;
}

uint64_t bench_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

uint64_t bench_anonymous_bytes(void) {
    char line[256];
    uint64_t kib = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    if (file == NULL)
        bench_fail("/proc/self/smaps_rollup");
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "Anonymous: %" SCNu64 " kB", &kib) == 1)
            break;
    }
    (void)fclose(file);
    return kib * 1024;
}

void bench_key(char *key, size_t size, uint64_t number) {
    enum { PIECE = 16 };

    char piece[PIECE + 1];
    (void)snprintf(piece, sizeof piece, "key:%012" PRIu64,
                   number % UINT64_C(1000000000000));
    for (size_t at = 0; at < size; at += PIECE)
        memcpy(key + at, piece, size - at < PIECE ? size - at : PIECE);
}
