/*
 * bench_mount.c - what operations on files cost, in several directories in
 * turn: a mount of ours beside other file systems.
 *
 * Knows files and clocks; must never know what is mounted where.
 * bench_mount.sh mounts and calls it.
 *
 *   bench_mount [--quick] [--rounds N] NAME=DIRECTORY...
 *
 * Prints thousand operations a second (MB a second for the long file), the
 * median of the rounds with the lowest and the highest, and their ratio to
 * each of the other directories.
 */
#include "bench_tools.h"

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SIDES_MAX = 8,
    ROUNDS_MAX = 99,
    FILES = 100,
    SIZE = 100, /* of a file, in bytes */
    PIECE = 1 << 17,
    LONG_PIECES = 800, /* 100 MiB */
};

static struct {
    double seconds; /* of one measurement */
    unsigned rounds, names;
} run = {.seconds = 0.4, .rounds = 5, .names = 100000};

struct side {
    const char *name, *dir;
    uint64_t created; /* files so far, for names that are new */
};

static char piece[PIECE];

/* ------------------------------------------------------------------- files */

static void check(bool fine, const char *what) {
    if (!fine)
        bench_fail(what);
}

static void name_file(const struct side *side, const char *kind,
                      uint64_t number, char path[300]) {
    (void)snprintf(path, 300, "%s/%s%llu", side->dir, kind,
                   (unsigned long long)number);
}

static void write_small(const char *path, int flags) {
    int fd = open(path, O_WRONLY | flags, 0644);
    check(fd >= 0 && write(fd, piece, SIZE) == SIZE, path);
    check(close(fd) == 0, path);
}

static void read_small(const char *path) {
    char bytes[SIZE + 1];
    int fd = open(path, O_RDONLY);
    check(fd >= 0 && read(fd, bytes, sizeof bytes) == SIZE, path);
    check(close(fd) == 0, path);
}

/* -------------------------------------------------------- what is measured */

/* One operation on a file of its own number. */
typedef void operation(struct side *side, uint64_t number);

static void do_read(struct side *side, uint64_t number) {
    char path[300];
    name_file(side, "f", number % FILES, path);
    read_small(path);
}

static void do_overwrite(struct side *side, uint64_t number) {
    char path[300];
    name_file(side, "f", number % FILES, path);
    write_small(path, O_TRUNC);
}

static void do_create(struct side *side, uint64_t number) {
    char path[300];
    (void)number;
    name_file(side, "new", side->created++, path);
    write_small(path, O_CREAT | O_EXCL);
}

static void do_stat(struct side *side, uint64_t number) {
    char path[300];
    struct stat st;
    name_file(side, "f", number % FILES, path);
    check(stat(path, &st) == 0 && st.st_size == SIZE, path);
}

/* Thousands a second. */
static double repeat(struct side *side, operation *fn) {
    double start = bench_now_s();
    double spent = 0;
    uint64_t count = 0;
    while (spent < run.seconds) {
        for (int i = 0; i < FILES; i++)
            fn(side, count++);
        spent = bench_now_s() - start;
    }
    return (double)count / spent / 1000;
}

static double measure_read(struct side *side) {
    for (uint64_t i = 0; i < FILES; i++)
        do_read(side, i);
    return repeat(side, do_read);
}

static double measure_overwrite(struct side *side) {
    return repeat(side, do_overwrite);
}

static double measure_create(struct side *side) {
    double rate = repeat(side, do_create);
    while (side->created > 0) {
        char path[300];
        name_file(side, "new", --side->created, path);
        check(unlink(path) == 0, path);
    }
    return rate;
}

static double measure_stat(struct side *side) {
    for (uint64_t i = 0; i < FILES; i++)
        do_stat(side, i);
    return repeat(side, do_stat);
}

static double measure_list(struct side *side) {
    char path[300];
    unsigned found = 0;
    (void)snprintf(path, sizeof path, "%s/many", side->dir);
    double start = bench_now_s();
    DIR *listing = opendir(path);
    const struct dirent *entry;
    check(listing != NULL, path);
    while ((entry = readdir(listing)) != NULL)
        found += entry->d_name[0] != '.';
    (void)closedir(listing);
    check(found == run.names, "not all names were listed");
    return found / (bench_now_s() - start) / 1000;
}

static double measure_long_write(struct side *side) {
    char path[300];
    (void)snprintf(path, sizeof path, "%s/long", side->dir);
    double start = bench_now_s();
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    check(fd >= 0, path);
    for (int i = 0; i < LONG_PIECES; i++)
        check(write(fd, piece, PIECE) == PIECE, path);
    check(close(fd) == 0, path);
    return (double)LONG_PIECES * PIECE / 1e6 / (bench_now_s() - start);
}

static uint64_t read_long(const char *path) {
    uint64_t total = 0;
    ssize_t size = 0;
    int fd = open(path, O_RDONLY);
    check(fd >= 0, path);
    while ((size = read(fd, piece, PIECE)) > 0)
        total += (uint64_t)size;
    check(size == 0 && close(fd) == 0, path);
    return total;
}

static double measure_long_read(struct side *side) {
    char path[300];
    (void)snprintf(path, sizeof path, "%s/long", side->dir);
    (void)read_long(path); /* so that it is warm */
    double start = bench_now_s();
    check(read_long(path) == (uint64_t)LONG_PIECES * PIECE, path);
    return (double)LONG_PIECES * PIECE / 1e6 / (bench_now_s() - start);
}

static const struct column {
    const char *name;
    double (*measure)(struct side *side);
} columns[] = {
    {"open+read+close 100 B", measure_read},
    {"overwrite 100 B", measure_overwrite},
    {"create 100 B", measure_create},
    {"stat", measure_stat},
    {"names listed", measure_list},
    {"write 100 MiB, MB/s", measure_long_write},
    {"read 100 MiB, MB/s", measure_long_read},
};

enum { COLUMNS = sizeof columns / sizeof *columns };

/* ------------------------------------------------------------------- figures */

static double figures[COLUMNS][SIDES_MAX][ROUNDS_MAX];

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *sorted) {
    return (sorted[(run.rounds - 1) / 2] + sorted[run.rounds / 2]) / 2;
}

static void print_column(unsigned column, const struct side *sides,
                         unsigned count) {
    (void)printf("%s\n", columns[column].name);
    for (unsigned i = 0; i < count; i++)
        qsort(figures[column][i], run.rounds, sizeof(double), compare);
    for (unsigned i = 0; i < count; i++) {
        const double *sorted = figures[column][i];
        (void)printf("  %-16s %9.1f (%.1f to %.1f)", sides[i].name,
                     median(sorted), sorted[0], sorted[run.rounds - 1]);
        for (unsigned other = 0; other < count; other++) {
            if (other != i)
                (void)printf("  %.2f x %s",
                             median(sorted) / median(figures[column][other]),
                             sides[other].name);
        }
        (void)printf("\n");
    }
}

/* ------------------------------------------------------------------- running */

static void prepare(struct side *side) {
    char path[300];
    for (uint64_t i = 0; i < FILES; i++) {
        name_file(side, "f", i, path);
        write_small(path, O_CREAT | O_TRUNC);
    }
    (void)snprintf(path, sizeof path, "%s/many", side->dir);
    check(mkdir(path, 0755) == 0, path);
    for (uint64_t i = 0; i < run.names; i++) {
        name_file(side, "many/name", i, path);
        int fd = open(path, O_WRONLY | O_CREAT, 0644);
        check(fd >= 0 && close(fd) == 0, path);
    }
}

static void measure_all(struct side *sides, unsigned count) {
    for (unsigned round = 0; round < run.rounds; round++) {
        for (unsigned column = 0; column < COLUMNS; column++) {
            for (unsigned i = 0; i < count; i++) {
                unsigned at = (i + round) % count;
                figures[column][at][round] =
                    columns[column].measure(&sides[at]);
            }
        }
    }
}

static bool parse_side(char *word, struct side *out) {
    char *equals = strchr(word, '=');
    if (equals == NULL)
        return false;
    *equals = '\0';
    *out = (struct side){.name = word, .dir = equals + 1};
    return true;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"quick", no_argument, NULL, 'q'},
        {"rounds", required_argument, NULL, 'r'},
        {0},
    };
    struct side sides[SIDES_MAX];
    unsigned count = 0;
    int letter;
    while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (letter == 'q') {
            run.seconds = 0.1;
            run.names = 10000;
        } else if (letter == 'r') {
            run.rounds = (unsigned)strtoul(optarg, NULL, 10);
        } else {
            return 2;
        }
    }
    bool fine = argc - optind <= SIDES_MAX && optind < argc && run.rounds > 0 &&
                run.rounds <= ROUNDS_MAX;
    while (fine && optind < argc)
        fine = parse_side(argv[optind++], &sides[count++]);
    if (!fine) {
        (void)fprintf(stderr, "usage: bench_mount [--quick] [--rounds N] "
                              "NAME=DIRECTORY...\n");
        return 2;
    }
    memset(piece, 'x', sizeof piece);
    for (unsigned i = 0; i < count; i++)
        prepare(&sides[i]);
    measure_all(sides, count);
    (void)printf("thousand a second, median (lowest to highest) of %u rounds\n",
                 run.rounds);
    for (unsigned column = 0; column < COLUMNS; column++)
        print_column(column, sides, count);
    return 0;
}
