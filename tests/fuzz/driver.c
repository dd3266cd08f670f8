/*
 * driver.c - runs a fuzz target without libFuzzer: over every seed file, then
 * over random changes of them, a number of times that does not depend on the
 * clock. An input that takes long ends the program by SIGALRM.
 *
 * usage: driver RUNS SEED_DIRECTORY...
 *
 * Knows files and random numbers; must never know what is fuzzed.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    INPUT_MAX = 16 * 1024,
    SEEDS_MAX = 512,
    SECONDS_MAX = 60, /* for one input */
    SMALL = 8,        /* with TOON_SMALL: so many times fewer */
};

struct seed {
    uint8_t bytes[INPUT_MAX];
    size_t size;
};

static struct seed seeds[SEEDS_MAX];
static size_t seed_count;
static uint64_t random_state = 20241122;

static uint64_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void load_seeds(const char *dir) {
    char path[1024];
    DIR *listing = opendir(dir);
    const struct dirent *entry;
    while (listing != NULL && seed_count < SEEDS_MAX &&
           (entry = readdir(listing)) != NULL) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (file == NULL)
            continue;
        struct seed *seed = &seeds[seed_count++];
        seed->size = fread(seed->bytes, 1, INPUT_MAX, file);
        (void)fclose(file);
    }
    if (listing != NULL)
        (void)closedir(listing);
}

/* Names come in any order: the same random numbers have to meet the same
 * seeds. */
static int compare_seeds(const void *a, const void *b) {
    const struct seed *first = a;
    const struct seed *second = b;
    if (first->size != second->size)
        return first->size < second->size ? -1 : 1;
    return memcmp(first->bytes, second->bytes, first->size);
}

static void change(struct seed *input) {
    size_t at = input->size > 0 ? next_random() % input->size : 0;
    switch (next_random() % 5) {
    case 0: /* one bit */
        input->bytes[at] =
            (uint8_t)(input->bytes[at] ^ 1u << next_random() % 8);
        break;
    case 1: /* one byte */
        input->bytes[at] = (uint8_t)next_random();
        break;
    case 2: /* cut */
        input->size = at;
        break;
    case 3: { /* the end of another seed */
        const struct seed *other = &seeds[next_random() % seed_count];
        size_t from = other->size > 0 ? next_random() % other->size : 0;
        size_t count = other->size - from;
        if (count > INPUT_MAX - at)
            count = INPUT_MAX - at;
        memcpy(input->bytes + at, other->bytes + from, count);
        input->size = at + count;
        break;
    }
    default: { /* a piece twice */
        size_t count = input->size - at;
        if (count > INPUT_MAX - input->size)
            count = INPUT_MAX - input->size;
        memmove(input->bytes + input->size, input->bytes + at, count);
        input->size += count;
        break;
    }
    }
}

/* The target gets bytes of its own, so that a sanitizer sees their end. */
static void run(const struct seed *input) {
    uint8_t *copy = malloc(input->size + 1);
    if (copy == NULL)
        exit(1);
    memcpy(copy, input->bytes, input->size);
    uint8_t *exact = realloc(copy, input->size > 0 ? input->size : 1);
    (void)alarm(SECONDS_MAX);
    (void)LLVMFuzzerTestOneInput(exact ? exact : copy, input->size);
    free(exact ? exact : copy);
}

int main(int argc, char **argv) {
    static struct seed input;
    long runs = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    for (int i = 2; i < argc; i++)
        load_seeds(argv[i]);
    if (seed_count == 0) {
        (void)fprintf(stderr, "usage: %s RUNS SEED_DIRECTORY...\n", argv[0]);
        return 2;
    }
    qsort(seeds, seed_count, sizeof seeds[0], compare_seeds);
    if (getenv("TOON_SMALL") != NULL)
        runs /= SMALL;
    for (size_t i = 0; i < seed_count; i++)
        run(&seeds[i]);
    for (long i = 0; i < runs; i++) {
        input = seeds[next_random() % seed_count];
        for (uint64_t n = 1 + next_random() % 4; n > 0; n--)
            change(&input);
        run(&input);
    }
    (void)printf("%zu seeds and %ld inputs made of them: no crash\n",
                 seed_count, runs);
    return 0;
}
