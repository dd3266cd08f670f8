/*
 * info.c - INFO: a table of sections, each a table of lines. Knows the
 * figures of server and store; no sockets.
 */
#include "numbers.h"
#include "state.h"
#include "words.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

/* What the lines are made of, looked up once. */
typedef struct figures {
    const server *s;
    toon_stats now;  /* of the store */
    toon_stats base; /* at CONFIG RESETSTAT */
    backup_figures saves;
    int64_t up_s;
    struct utsname os;
    uint64_t rss_bytes, own_bytes, memory_bytes;
} figures;

typedef struct text {
    char *data;
    size_t size, capacity;
    bool failed;
} text;

static void __attribute__((format(printf, 2, 3)))
line(text *t, const char *format, ...) {
    va_list args, again;
    int size = 0;

    va_start(args, format);
    va_copy(again, args);
    size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (size >= 0 && t->capacity - t->size < (size_t)size + 3) {
        size_t capacity = t->capacity * 2 + (size_t)size + 1024;
        char *data = realloc(t->data, capacity);

        if (data) {
            t->data = data;
            t->capacity = capacity;
        } else {
            t->failed = true;
        }
    }
    if (size >= 0 && !t->failed) {
        (void)vsnprintf(t->data + t->size, (size_t)size + 1, format, again);
        t->size += (size_t)size;
        memcpy(t->data + t->size, "\r\n", 2);
        t->size += 2;
    }
    va_end(again);
}

static void number(text *t, const char *name, uint64_t value) {
    line(t, "%s:%llu", name, (unsigned long long)value);
}

/* "1.06M", as people read it. */
static void human(text *t, const char *name, uint64_t bytes) {
    static const char units[] = "BKMGTP";
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1024 && unit < 5) {
        value /= 1024;
        unit++;
    }
    if (unit == 0)
        line(t, "%s:%lluB", name, (unsigned long long)bytes);
    else
        line(t, "%s:%.2f%c", name, value, units[unit]);
}

/* The second word of statm: pages in memory. */
/* All that is resident, and of it what is no file's: the log is mapped, and
 * its pages are the kernel's to take back. */
static void read_memory(uint64_t *resident, uint64_t *anonymous) {
    FILE *in = fopen("/proc/self/statm", "re");
    char line_of[256] = "";
    uint64_t pages = 0, shared = 0,
             page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    words w = {0};

    *resident = *anonymous = 0;
    if (!in)
        return;
    if (fgets(line_of, sizeof line_of, in) &&
        words_split(&w, toon_str(line_of)) == WORDS_OK && w.count > 2) {
        number_parse_unsigned(w.at[1], &pages);
        number_parse_unsigned(w.at[2], &shared);
    }
    words_free(&w);
    (void)fclose(in);
    *resident = pages * page_bytes;
    *anonymous = pages > shared ? (pages - shared) * page_bytes : 0;
}

/* --------------------------------------------------------------- sections */

static void section_server(text *t, const figures *f) {
    const server *s = f->s;
    char path[4096];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);

    path[size > 0 ? size : 0] = '\0';
    line(t, "redis_version:%s", REDIS_COMPATIBLE);
    line(t, "toonstore_version:%s", TOONSTORE_VERSION);
    line(t, "redis_git_sha1:00000000");
    line(t, "redis_git_dirty:0");
    line(t, "redis_mode:standalone");
    line(t, "os:%s %s %s", f->os.sysname, f->os.release, f->os.machine);
    line(t, "arch_bits:%zu", sizeof(void *) * 8);
    line(t, "multiplexing_api:libuv");
    line(t, "process_id:%d", (int)getpid());
    line(t, "process_supervised:no");
    line(t, "run_id:%s", s->run_id);
    line(t, "tcp_port:%d", s->tcp_port);
    line(t, "server_time_usec:%lld", (long long)wall_ms() * 1000);
    line(t, "uptime_in_seconds:%lld", (long long)f->up_s);
    line(t, "uptime_in_days:%lld", (long long)f->up_s / 86400);
    line(t, "executable:%s", path);
    line(t, "config_file:%s", s->config.file);
    line(t, "io_threads_active:0");
}

static void section_clients(text *t, const figures *f) {
    const server *s = f->s;
    size_t input = 0, output = 0;

    for (const client *c = s->clients; c; c = c->next) {
        if (c->input_bytes > input)
            input = c->input_bytes;
        if (reply_unsent(&c->out) + c->output_bytes > output)
            output = reply_unsent(&c->out) + c->output_bytes;
    }
    number(t, "connected_clients", s->clients_count);
    number(t, "cluster_connections", 0);
    line(t, "maxclients:%lld", (long long)s->config.maxclients);
    number(t, "client_recent_max_input_buffer", input);
    number(t, "client_recent_max_output_buffer", output);
    number(t, "blocked_clients", 0);
    number(t, "tracking_clients", 0);
    number(t, "clients_in_timeout_table", 0);
}

static void section_memory(text *t, const figures *f) {
    struct rusage usage = {0};
    uint64_t peak = 0, dataset = f->now.table_bytes + f->now.order_bytes +
                                 f->now.cache_bytes;

    getrusage(RUSAGE_SELF, &usage);
    peak = (uint64_t)usage.ru_maxrss * 1024;
    number(t, "used_memory", f->own_bytes);
    human(t, "used_memory_human", f->own_bytes);
    number(t, "used_memory_rss", f->rss_bytes);
    human(t, "used_memory_rss_human", f->rss_bytes);
    number(t, "used_memory_peak", peak);
    human(t, "used_memory_peak_human", peak);
    number(t, "used_memory_dataset", dataset);
    number(t, "key_table_bytes", f->now.table_bytes);
    number(t, "key_order_bytes", f->now.order_bytes);
    number(t, "total_system_memory", f->memory_bytes);
    human(t, "total_system_memory_human", f->memory_bytes);
    line(t, "maxmemory:0");
    line(t, "maxmemory_human:0B");
    line(t, "maxmemory_policy:noeviction");
    line(t, "mem_fragmentation_ratio:1.00");
    line(t, "mem_allocator:libc");
}

static double percent_of(uint64_t part, uint64_t whole) {
    return whole == 0 ? 0.0 : 100.0 * (double)part / (double)whole;
}

static double garbage_percent(const toon_stats *now) {
    uint64_t live =
        now->live_bytes < now->log_bytes ? now->live_bytes : now->log_bytes;

    return percent_of(now->log_bytes - live, now->log_bytes);
}

/* Of the compaction that runs, as fast as it was so far; -1: not known. */
static int64_t compact_left_s(const figures *f) {
    const toon_stats *now = &f->now;
    int64_t spent_ms = monotonic_ms() - f->s->compaction.started_ms;
    double left = (double)now->compact_total - (double)now->compact_done;

    if (!now->compacting || now->compact_done == 0)
        return -1;
    return (int64_t)(left * (double)spent_ms / (double)now->compact_done /
                     1000);
}

/* Compactions, as Redis speaks of rewrites of its append-only file. */
static void persistence_rewrite(text *t, const figures *f) {
    const toon_stats *now = &f->now;
    toon_err result = now->compact_result;
    bool ended = now->compactions > 0 || result != TOON_OK;
    int64_t spent_ms = monotonic_ms() - f->s->compaction.started_ms;

    number(t, "aof_rewrite_in_progress", now->compacting);
    number(t, "aof_rewrite_scheduled", 0);
    line(t, "aof_last_rewrite_time_sec:%lld",
         ended ? (long long)now->compact_ms / 1000 : -1);
    line(t, "aof_current_rewrite_time_sec:%lld",
         now->compacting ? (long long)spent_ms / 1000 : -1);
    /* One that was stopped on purpose has not failed. */
    line(t, "aof_last_bgrewrite_status:%s",
         result == TOON_OK || result == TOON_CONFLICT ? "ok" : "err");
    number(t, "aof_rewrites", now->compactions);
}

static void persistence_backup(text *t, const figures *f) {
    const backup_figures *saves = &f->saves;

    number(t, "rdb_changes_since_last_save", f->now.changes - saves->changes);
    number(t, "rdb_bgsave_in_progress", saves->runs);
    line(t, "rdb_last_save_time:%lld", (long long)saves->saved_s);
    line(t, "rdb_last_bgsave_status:%s", saves->failed ? "err" : "ok");
    line(t, "rdb_last_bgsave_time_sec:%lld", (long long)saves->took_s);
    line(t, "rdb_current_bgsave_time_sec:%lld", (long long)saves->takes_s);
    number(t, "rdb_saves", saves->count);
}

static void section_persistence(text *t, const figures *f) {
    bool sound = f->now.failure == TOON_OK;
    const char *status = sound ? "ok" : "err";

    number(t, "loading", 0);
    number(t, "async_loading", 0);
    persistence_backup(t, f);
    number(t, "aof_enabled", 1);
    persistence_rewrite(t, f);
    line(t, "aof_last_write_status:%s", status);
    number(t, "aof_last_cow_size", 0);
    number(t, "aof_current_size", f->now.log_bytes);
    number(t, "aof_base_size", f->s->compaction.base_bytes);
    number(t, "aof_pending_rewrite", 0);
    number(t, "aof_buffer_length", 0);
    number(t, "aof_pending_bio_fsync", f->now.unsynced_bytes > 0);
}

/* What is this store's own: its log, its index, its compaction. */
static void section_toonstore(text *t, const figures *f) {
    const toon_stats *now = &f->now;

    number(t, "log_bytes", now->log_bytes);
    number(t, "log_rows", now->rows);
    number(t, "log_row_base", now->row_base);
    number(t, "log_live_bytes", now->live_bytes);
    line(t, "log_garbage_percent:%.1f", garbage_percent(now));
    number(t, "log_unsynced_bytes", now->unsynced_bytes);
    number(t, "log_torn_bytes", now->torn_bytes);
    number(t, "log_syncs", now->syncs);
    number(t, "indexed_bytes", now->indexed_bytes);
    number(t, "checkpoints", now->checkpoints);
    line(t, "backup_last:%s", f->saves.path);
    number(t, "backup_done", f->saves.runs ? f->saves.done : 0);
    number(t, "backup_total", f->saves.runs ? f->saves.total : 0);
    number(t, "compacting", now->compacting);
    number(t, "compact_done", now->compact_done);
    number(t, "compact_total", now->compact_total);
    line(t, "compact_percent:%.1f",
         now->compacting ? percent_of(now->compact_done, now->compact_total)
                         : 0.0);
    line(t, "compact_seconds_left:%lld", (long long)compact_left_s(f));
    number(t, "compactions", now->compactions);
    number(t, "compact_held_writers", f->s->counters.held_writers);
    line(t, "compact_last_result:%s", toon_strerror(now->compact_result));
    number(t, "read_only", now->read_only);
    line(t, "read_only_reason:%s",
         now->failure == TOON_OK ? "" : toon_strerror(now->failure));
}

static void section_stats(text *t, const figures *f) {
    const server *s = f->s;
    const server_counters *n = &s->counters;

    number(t, "total_connections_received", n->connections_received);
    number(t, "total_commands_processed", n->commands_processed);
    number(t, "instantaneous_ops_per_sec", rate_per_second(&s->commands_rate));
    number(t, "total_net_input_bytes", n->input_bytes);
    number(t, "total_net_output_bytes", n->output_bytes);
    line(t, "instantaneous_input_kbps:%.2f",
         (double)rate_per_second(&s->input_rate) / 1024);
    line(t, "instantaneous_output_kbps:%.2f",
         (double)rate_per_second(&s->output_rate) / 1024);
    number(t, "rejected_connections", n->connections_rejected);
    number(t, "sync_full", 0);
    number(t, "sync_partial_ok", 0);
    number(t, "sync_partial_err", 0);
    number(t, "expired_keys", f->now.keys_expired - f->base.keys_expired);
    number(t, "evicted_keys", 0);
    number(t, "evicted_clients", 0);
    number(t, "keyspace_hits", f->now.read_hits - f->base.read_hits);
    number(t, "keyspace_misses", f->now.read_misses - f->base.read_misses);
    number(t, "pubsub_channels", 0);
    number(t, "pubsub_patterns", 0);
    number(t, "latest_fork_usec", 0);
    number(t, "total_forks", 0);
    number(t, "total_error_replies", n->error_replies);
    number(t, "client_query_buffer_limit_disconnections", n->query_limit_cuts);
    number(t, "client_output_buffer_limit_disconnections",
           n->output_limit_cuts);
}

static void section_replication(text *t, const figures *f) {
    line(t, "role:master");
    number(t, "connected_slaves", 0);
    line(t, "master_failover_state:no-failover");
    line(t, "master_replid:%s", f->s->run_id);
    line(t, "master_replid2:0000000000000000000000000000000000000000");
    number(t, "master_repl_offset", 0);
    line(t, "second_repl_offset:-1");
    number(t, "repl_backlog_active", 0);
}

static void section_cpu(text *t, const figures *f) {
    struct rusage usage = {0};

    (void)f;
    getrusage(RUSAGE_SELF, &usage);
    line(t, "used_cpu_sys:%lld.%06ld", (long long)usage.ru_stime.tv_sec,
         (long)usage.ru_stime.tv_usec);
    line(t, "used_cpu_user:%lld.%06ld", (long long)usage.ru_utime.tv_sec,
         (long)usage.ru_utime.tv_usec);
}

static void section_cluster(text *t, const figures *f) {
    (void)f;
    number(t, "cluster_enabled", 0);
}

static void section_keyspace(text *t, const figures *f) {
    if (f->now.keys > 0)
        line(t, "db0:keys=%llu,expires=%llu,avg_ttl=0",
             (unsigned long long)f->now.keys,
             (unsigned long long)f->now.keys_expiring);
}

static void section_cache(text *t, const figures *f) {
    uint64_t hits = f->now.cache_hits - f->base.cache_hits;
    uint64_t misses = f->now.cache_misses - f->base.cache_misses;
    double ratio = hits + misses ? (double)hits / (double)(hits + misses) : 0.0;

    number(t, "cache_hits", hits);
    number(t, "cache_misses", misses);
    line(t, "cache_hit_ratio:%.4f", ratio);
    number(t, "cache_insertions",
           f->now.cache_insertions - f->base.cache_insertions);
    number(t, "cache_evictions",
           f->now.cache_evictions - f->base.cache_evictions);
    number(t, "cache_entries", f->now.cache_entries);
    number(t, "cache_bytes", f->now.cache_bytes);
    number(t, "cache_bytes_max", f->now.cache_bytes_max);
    line(t, "cache_capacity:%lld", (long long)f->s->config.capacity);
}

static const struct section {
    const char *name, *title;
    void (*write)(text *t, const figures *f);
} sections[] = {
    {"server", "Server", section_server},
    {"clients", "Clients", section_clients},
    {"memory", "Memory", section_memory},
    {"persistence", "Persistence", section_persistence},
    {"stats", "Stats", section_stats},
    {"replication", "Replication", section_replication},
    {"cpu", "CPU", section_cpu},
    {"cluster", "Cluster", section_cluster},
    {"toonstore", "Toonstore", section_toonstore},
    {"cache", "Cache", section_cache},
    {"keyspace", "Keyspace", section_keyspace},
};

#define SECTIONS (sizeof sections / sizeof sections[0])

/* Is this section asked for? */
static bool is_wanted(const call *c, const char *name) {
    static const char *const whole[] = {"default", "all", "everything"};

    if (c->argc == 1)
        return true;
    for (size_t i = 1; i < c->argc; i++) {
        if (slice_is(c->argv[i], name))
            return true;
        for (size_t j = 0; j < sizeof whole / sizeof whole[0]; j++)
            if (slice_is(c->argv[i], whole[j]))
                return true;
    }
    return false;
}

void info_write(call *c) {
    server *s = c->server;
    figures f = {.s = s, .base = s->stats_base};
    text t = {0};

    toon_stat(s->store, &f.now);
    backup_stat(&s->backup, &f.saves);
    compaction_sample(s, &f.now);
    uname(&f.os);
    f.up_s = (monotonic_ms() - s->started_ms) / 1000;
    read_memory(&f.rss_bytes, &f.own_bytes);
    f.memory_bytes =
        (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < SECTIONS; i++) {
        if (!is_wanted(c, sections[i].name))
            continue;
        line(&t, t.size ? "\r\n# %s" : "# %s", sections[i].title);
        sections[i].write(&t, &f);
    }
    if (t.failed)
        call_fail(c, TOON_NO_MEMORY);
    else
        reply_verbatim(c->out, "txt", toon_bytes(t.data, t.size));
    free(t.data);
}
