/*
 * fault_store.c - fails every allocation and every system call of a store's
 * life, one at a time, in every way in which it can fail, and judges what the
 * store makes of it: no crash, no hang, no leak, a clear error, and the keys
 * as the model has them, also after opening anew.
 *
 * TOON_SMALL=1: the first of each call in each life, in every way, and a
 * sample of all others, in one way each. To see one case again: fault_store CHAPTER KIND AT
 * WAY, as the message says it; fault_store CHAPTER: all of one life.
 *
 * Knows faults and lives; must never know single calls.
 */
#include "chapters.h"
#include "epoch.h"

#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_S = 60, SAMPLE = 16, FIRSTS_MAX = 64, WRONGS_MAX = 20 };

static life the_life;
static unsigned long long faulted, wrongs;
static bool sampled;
static uint64_t chance = 20260101; /* the same sample every time */

/* A hang or a crash says where. */
static void say_and_die(int number) {
    const char *texts[] = {"\n", the_life.chapter, ", ", fault_name(),
                           number == SIGALRM ? ": hangs\n" : ": crashes\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        (void)!write(STDERR_FILENO, texts[i], strlen(texts[i]));
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void report(const char *text) {
    (void)fprintf(stderr, "wrong: %s\n", text);
    wrongs++;
    if (wrongs < WRONGS_MAX)
        return;
    (void)fprintf(stderr, "too much is wrong to go on\n");
    exit(1);
}

static void drain(void) {
    toon_epoch_drain();
}

/* What is held more than before, twice in a row, is lost. */
static bool leaks(const chapter *c, fault_plan plan) {
    for (int i = 0; i < 2; i++) {
        long memory = fault_live_memory();
        long files = fault_live_files();
        fault_arm(plan);
        if (!life_run(&the_life, c->name, c->fn))
            return false;
        drain();
        if (fault_live_memory() <= memory && fault_live_files() <= files)
            return false;
    }
    return true;
}

/* True: the call that was to fail came. */
static bool run(const chapter *c, fault_plan plan) {
    long memory = fault_live_memory();
    long files = fault_live_files();
    (void)alarm(PATIENCE_S);
    fault_arm(plan);
    bool good = life_run(&the_life, c->name, c->fn);
    bool came = fault_has_come();
    drain();
    if (!good)
        report(the_life.wrong);
    else if ((fault_live_memory() > memory || fault_live_files() > files) &&
             leaks(c, plan)) {
        char text[200];
        (void)snprintf(text, sizeof text, "%s, %s: %s is not given back",
                       c->name, fault_name(),
                       fault_live_files() > files ? "a file or mapping"
                                                  : "memory");
        report(text);
    }
    faulted += came;
    return came;
}

static unsigned random_below(unsigned limit) {
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((chance >> 33) % limit);
}

/* False: there is no such call any more. */
static bool fail_all_ways(const chapter *c, fault_kind kind, uint64_t at) {
    unsigned ways = 1;
    for (unsigned way = 0; way < ways; way++) {
        if (!run(c, (fault_plan){kind, at, way}))
            return false;
        ways = fault_ways();
    }
    return true;
}

static void fail_each(const chapter *c, fault_kind kind) {
    uint64_t at = 1;
    while (fail_all_ways(c, kind, at))
        at++;
}

/* `firsts`: the numbers of calls that are the first of their sort. */
static void fail_some(const chapter *c, fault_kind kind, const uint64_t *firsts,
                      size_t count) {
    for (size_t i = 0; i < count; i++)
        (void)fail_all_ways(c, kind, firsts[i]);
    uint64_t at = 1 + random_below(SAMPLE);
    while (run(c, (fault_plan){kind, at, 0})) {
        unsigned way = random_below(fault_ways());
        if (way > 0)
            (void)run(c, (fault_plan){kind, at, way});
        at += 1 + random_below(2 * SAMPLE);
    }
}

static size_t find_firsts(fault_kind kind, uint64_t *firsts) {
    enum { FAR = 100000 };

    size_t count = 0;
    for (uint64_t at = 1; at < FAR && count < FIRSTS_MAX; at++) {
        if (fault_was_first(kind, at))
            firsts[count++] = at;
    }
    return count;
}

static void live(const chapter *c) {
    fault_plan none = {FAULT_NONE, 0, 0};
    /* The first life leaves what later ones use again. */
    fault_arm(none);
    if (!life_run(&the_life, c->name, c->fn))
        report(the_life.wrong);
    (void)run(c, none);
    if (!sampled) {
        fail_each(c, FAULT_MEMORY);
        fail_each(c, FAULT_CALL);
        return;
    }
    uint64_t firsts[2][FIRSTS_MAX];
    size_t memories = find_firsts(FAULT_MEMORY, firsts[0]);
    size_t others = find_firsts(FAULT_CALL, firsts[1]);
    fail_some(c, FAULT_MEMORY, firsts[0], memories);
    fail_some(c, FAULT_CALL, firsts[1], others);
}

/* Thousands of stores are opened: their threads are woken fastest where they
 * are, and the memory of one is that of the next. */
static void make_haste(void) {
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET((size_t)sched_getcpu(), &here);
    (void)sched_setaffinity(0, sizeof here, &here);
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 30);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

static int replay(const chapter *c, char **words) {
    fault_plan plan = {FAULT_CALL, strtoull(words[1], NULL, 10),
                       (unsigned)strtoul(words[2], NULL, 10)};
    if (strcmp(words[0], "memory") == 0)
        plan.kind = FAULT_MEMORY;
    (void)run(c, (fault_plan){FAULT_NONE, 0, 0});
    (void)run(c, plan);
    (void)printf("%s: %s\n", c->name, fault_name());
    return wrongs > 0;
}

int main(int argc, char **argv) {
    static const int deaths[] = {SIGALRM, SIGABRT, SIGSEGV};
    const char *small = getenv("TOON_SMALL");
    if (small != NULL && strcmp(small, "1") == 0)
        sampled = true;
    make_haste();
    for (size_t i = 0; i < sizeof deaths / sizeof deaths[0]; i++)
        (void)signal(deaths[i], say_and_die);
    for (size_t i = 0; i < chapters_count; i++) {
        const chapter *c = &chapters[i];
        if (argc > 1 && strcmp(argv[1], c->name) != 0)
            continue;
        if (argc > 4)
            return replay(c, argv + 2);
        live(c);
    }
    (void)printf("faulted calls: %llu, %llu wrong\n", faulted, wrongs);
    return wrongs > 0 || faulted == 0;
}
