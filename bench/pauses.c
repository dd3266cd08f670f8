/* pauses.c - see pauses.h. */
#include "pauses.h"

#include "bench_tools.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum {
    CPUS_MAX = 64,
    PAUSES_MAX = 16384, /* that are noted, of each */
    SLEEP_NS = 250000,
    LATE_NS = 500000, /* less is no pause */
};

struct pause {
    uint64_t from, to;
};

static struct witness {
    pthread_t thread;
    struct pause pauses[PAUSES_MAX];
    size_t count;
} witnesses[CPUS_MAX];

static int witness_count;
static atomic_bool stop;
static struct pause common[PAUSES_MAX];
static size_t common_count;

static void *watch(void *arg) {
    struct witness *self = arg;
    struct timespec time = {0, SLEEP_NS};
    while (!atomic_load(&stop)) {
        uint64_t due = bench_now_ns() + SLEEP_NS;
        (void)nanosleep(&time, NULL);
        uint64_t now = bench_now_ns();
        if (now > due + LATE_NS && self->count < PAUSES_MAX)
            self->pauses[self->count++] = (struct pause){due, now};
    }
    return NULL;
}

static bool start_on(size_t cpu, struct witness *witness) {
    struct sched_param first = {.sched_priority = 1};
    cpu_set_t set;
    pthread_attr_t attributes;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
    (void)pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
    (void)pthread_attr_setschedpolicy(&attributes, SCHED_FIFO);
    (void)pthread_attr_setschedparam(&attributes, &first);
    witness->count = 0;
    int result = pthread_create(&witness->thread, &attributes, watch, witness);
    (void)pthread_attr_destroy(&attributes);
    return result == 0;
}

bool bench_pauses_start(void) {
    cpu_set_t ours;
    witness_count = 0;
    common_count = 0;
    atomic_store(&stop, false);
    if (sched_getaffinity(0, sizeof ours, &ours) != 0)
        return false;
    for (size_t cpu = 0; cpu < CPU_SETSIZE && witness_count < CPUS_MAX; cpu++) {
        if (!CPU_ISSET(cpu, &ours))
            continue;
        if (!start_on(cpu, &witnesses[witness_count])) {
            bench_pauses_stop();
            common_count = 0;
            return false;
        }
        witness_count++;
    }
    return true;
}

/* Leaves of the pauses in `common` what this witness missed, too. */
static void keep_missed_by(const struct witness *witness) {
    static struct pause kept[PAUSES_MAX];
    size_t count = 0;
    for (size_t i = 0, k = 0; i < common_count && k < witness->count;) {
        const struct pause *a = &common[i];
        const struct pause *b = &witness->pauses[k];
        uint64_t from = a->from > b->from ? a->from : b->from;
        uint64_t to = a->to < b->to ? a->to : b->to;
        if (from + LATE_NS < to && count < PAUSES_MAX)
            kept[count++] = (struct pause){from, to};
        if (a->to < b->to)
            i++;
        else
            k++;
    }
    memcpy(common, kept, count * sizeof *kept);
    common_count = count;
}

void bench_pauses_stop(void) {
    atomic_store(&stop, true);
    for (int i = 0; i < witness_count; i++)
        (void)pthread_join(witnesses[i].thread, NULL);
    if (witness_count < 2)
        return;
    common_count = witnesses[0].count;
    memcpy(common, witnesses[0].pauses, common_count * sizeof *common);
    for (int i = 1; i < witness_count; i++)
        keep_missed_by(&witnesses[i]);
}

uint64_t bench_paused_ns(uint64_t from_ns, uint64_t to_ns) {
    uint64_t sum = 0;
    for (size_t i = 0; i < common_count; i++) {
        uint64_t from = common[i].from > from_ns ? common[i].from : from_ns;
        uint64_t to = common[i].to < to_ns ? common[i].to : to_ns;
        if (from < to)
            sum += to - from;
    }
    return sum;
}

uint64_t bench_pauses_longest_ns(void) {
    uint64_t longest = 0;
    for (size_t i = 0; i < common_count; i++) {
        if (common[i].to - common[i].from > longest)
            longest = common[i].to - common[i].from;
    }
    return longest;
}

uint64_t bench_pauses_count(void) {
    return common_count;
}
