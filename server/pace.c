/*
 * pace.c - clients that write faster than the store can make room.
 *
 * While a compaction cannot keep up, the store says for how long what a turn
 * has written is enough. Nobody waits for that in the loop: those who wrote
 * are left unread for a while, each for its part, and all others are served.
 * With n of them each has an n-th of the store's speed; who writes far less
 * than the others waits less. Only if that is not enough, because clients
 * come, write once and go, say, the loop itself waits a little.
 *
 * Knows connections and timers; must never know commands, or why there is no
 * room.
 */
#include "loop.h"

#include <time.h>

#define MS_NS          1000000
#define DUE_MAX_NS     ((uint64_t)1000 * MS_NS) /* longer debts are forgotten */
#define LIGHT_MAX_NS   ((uint64_t)2 * MS_NS)
#define LOOP_WAIT_NS   ((uint64_t)16 * MS_NS) /* a turn, at most */
#define TURN_BYTES     ((size_t)1 << 20)      /* of all clients */
#define TURN_BYTES_MIN ((size_t)4 << 10)      /* of one */
#define TURN_BYTES_MAX ((size_t)64 << 10)

/* ------------------------------------------------------------ who is held */

static void on_due(uv_timer_t *timer);

static void set_timer(loop *l, uint64_t now) {
    uint64_t wait = l->held_until_ns > now ? l->held_until_ns - now : 0;

    uv_update_time(&l->uv); /* timers count from the turn's beginning */
    uv_timer_start(&l->pace, on_due, (wait + MS_NS - 1) / MS_NS, 0);
}

static void hold(conn *c) {
    loop *l = c->loop;

    if (LIST_EMPTY(&l->held) || c->pace_due_ns < l->held_until_ns)
        l->held_until_ns = c->pace_due_ns;
    LIST_INSERT_HEAD(&l->held, c, held_link);
    c->is_held = true;
    l->held_count++;
    l->server.counters.held_writers++;
}

void pace_forget(conn *c) {
    if (!c->is_held)
        return;
    LIST_REMOVE(c, held_link);
    c->is_held = false;
    c->loop->held_count--;
}

static void on_due(uv_timer_t *timer) {
    loop *l = timer->data;
    uint64_t now = uv_hrtime();
    conn *next = NULL;

    l->held_until_ns = UINT64_MAX;
    for (conn *c = LIST_FIRST(&l->held); c; c = next) {
        next = LIST_NEXT(c, held_link);
        if (c->pace_due_ns <= now) {
            pace_forget(c);
            conn_touch(c);
        } else if (c->pace_due_ns < l->held_until_ns) {
            l->held_until_ns = c->pace_due_ns;
        }
    }
    if (!LIST_EMPTY(&l->held))
        set_timer(l, now);
}

/* --------------------------------------------------------- what they owe */

static uint64_t later(uint64_t due, uint64_t delay, uint64_t now) {
    uint64_t next = (due > now ? due : now) + delay;

    return next < now + DUE_MAX_NS ? next : now + DUE_MAX_NS;
}

/* Who writes far less than is usual now waits no longer than a writer without
 * a server would. */
static uint64_t bounded(loop *l, uint64_t bytes, uint64_t delay_ns) {
    bool is_light = bytes < l->usual_bytes / 4;
    uint64_t most = is_light ? LIGHT_MAX_NS : DUE_MAX_NS;

    l->usual_bytes = (l->usual_bytes * 15 + bytes) / 16;
    return delay_ns < most ? delay_ns : most;
}

/* Debts of less than a timer can measure add up first. */
static void charge(conn *c, uint64_t delay_ns, uint64_t now) {
    uint64_t delay = bounded(c->loop, c->client.turn_bytes, delay_ns);

    c->pace_due_ns = later(c->pace_due_ns, delay, now);
    if (c->pace_due_ns >= now + MS_NS)
        hold(c);
}

/* Those of one turn are not all due at once: between half and one and a half
 * of the time that is theirs. */
static void charge_writers(loop *l, uint64_t delay_ns, uint64_t now) {
    size_t bytes = 0, count = 0, i = 0;
    size_t others = l->held_count;

    for (client *c = l->server.writers; c; c = c->next_writer) {
        bytes += c->turn_bytes;
        count++;
    }
    l->turn_bytes_max = TURN_BYTES / (others + count + 1);
    for (client *c = l->server.writers; c; c = c->next_writer) {
        double share = (double)c->turn_bytes / (double)bytes;
        double spread = 0.5 + ((double)i++ + 0.5) / (double)count;
        double delay =
            (double)delay_ns * share * spread * (double)(others + count);

        charge(conn_of_client(c), (uint64_t)delay, now);
    }
}

/* What is written is more than all those who are held pay for. */
static void wait_here(loop *l, uint64_t now) {
    uint64_t wait = l->written_until_ns - now;
    struct timespec time = {0};

    wait = wait < LOOP_WAIT_NS ? wait : LOOP_WAIT_NS;
    time.tv_nsec = (long)wait;
    nanosleep(&time, NULL);
}

void pace_writers(loop *l) {
    uint64_t delay_ns = (uint64_t)l->server.delay_ns;
    uint64_t now = 0;

    if (delay_ns == 0 && LIST_EMPTY(&l->held))
        l->turn_bytes_max = SIZE_MAX;
    if (delay_ns == 0)
        return;
    l->server.delay_ns = 0;
    now = uv_hrtime();
    l->written_until_ns = later(l->written_until_ns, delay_ns, now);
    charge_writers(l, delay_ns, now);
    if (!LIST_EMPTY(&l->held))
        set_timer(l, now);
    if (l->written_until_ns >= now + DUE_MAX_NS / 2)
        wait_here(l, now);
}

bool pace_is_enough(const conn *c) {
    size_t most = c->loop->turn_bytes_max;

    if (most == SIZE_MAX)
        return false;
    most = most > TURN_BYTES_MIN ? most : TURN_BYTES_MIN;
    most = most < TURN_BYTES_MAX ? most : TURN_BYTES_MAX;
    return c->client.turn_bytes >= most;
}

void pace_init(loop *l) {
    uv_timer_init(&l->uv, &l->pace);
    l->pace.data = l;
    l->turn_bytes_max = SIZE_MAX;
    LIST_INIT(&l->held);
}
