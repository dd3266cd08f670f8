/*
 * tst_care.c - tst stat, check: figures, and is all of it sound?
 *
 * Knows the store's public calls; must never know the command line's syntax.
 */
#include "tst.h"

#include <inttypes.h>

/* -------------------------------------------------------------------- stat */

/* One list makes both forms. */
typedef struct figure {
    const char *name, *text;
    uint64_t number;
} figure;

static void put_figures(const tst_args *args, const figure *figures,
                        size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (args->json) {
            (void)printf("%s\"%s\":%" PRIu64, i == 0 ? "{" : ",",
                         figures[i].name, figures[i].number);
        } else {
            (void)printf("%-28s %12" PRIu64 "\n", figures[i].text,
                         figures[i].number);
        }
    }
    if (args->json) {
        (void)fputs("}\n", stdout);
    }
}

static void put_store_stat(const tst_args *args, const toon_stats *stats) {
    uint64_t dead = stats->log_bytes > stats->live_bytes
                        ? stats->log_bytes - stats->live_bytes
                        : 0;
    uint64_t percent = dead == 0 ? 0 : dead * 100 / stats->log_bytes;
    const figure figures[] = {
        {"keys", "keys", stats->keys},
        {"keys_expiring", "  with an expiry", stats->keys_expiring},
        {"rows", "rows in the log", stats->rows},
        {"row_base", "number of the first row", stats->row_base},
        {"log_bytes", "bytes of the log", stats->log_bytes},
        {"live_bytes", "  that live keys need, about", stats->live_bytes},
        {"dead_bytes", "  that are dead, about", dead},
        {"garbage_percent", "  dead, in percent", percent},
        {"indexed_bytes", "  that the index covers", stats->indexed_bytes},
        {"torn_bytes", "  torn off its end", stats->torn_bytes},
        {"table_bytes", "bytes of the key table", stats->table_bytes},
    };
    put_figures(args, figures, sizeof figures / sizeof figures[0]);
}

static void put_time(const char *name, int64_t ms) {
    char text[TST_TIME_SIZE] = "never";
    if (ms != 0) {
        tst_format_time(text, ms);
    }
    (void)printf("%-10s %s\n", name, text);
}

static void put_key_stat(const toon_key_stat *stat) {
    (void)printf("%-10s %zu\n", "size", stat->size);
    put_time("written", stat->meta.written_ms);
    put_time("expires", stat->meta.expires_ms);
    if (stat->meta.mode != 0) {
        (void)printf("%-10s %" PRIo32 "\n", "mode", stat->meta.mode);
    } else {
        (void)printf("%-10s default\n", "mode");
    }
}

static int stat_key(const tst_args *args, toon_store *store) {
    toon_slice key = toon_str(args->words[0]);
    toon_key_stat stat;
    toon_err err = toon_stat_key(store, key, &stat);
    if (err != TOON_OK) {
        return tst_key_failed(args, err, key);
    }
    if (args->json) {
        tst_put_record(stdout, key, NULL, &stat);
    } else {
        put_key_stat(&stat);
    }
    return TST_DONE;
}

int tst_stat(const tst_args *args) {
    toon_store *store;
    int code =
        tst_open(args, TOON_OPEN_READ_ONLY | TOON_OPEN_NO_CREATE, &store);
    if (code != TST_DONE) {
        return code;
    }
    if (args->word_count > 0) {
        code = stat_key(args, store);
    } else {
        toon_stats stats;
        toon_stat(store, &stats);
        put_store_stat(args, &stats);
    }
    return tst_close(args, store, code);
}

/* ------------------------------------------------------------------- check */

typedef struct checking {
    const tst_args *args;
    tst_bar bar;
    uint64_t findings; /* so far */
} checking;

static void show_progress(void *arg, uint64_t done, uint64_t total) {
    checking *check = arg;
    tst_bar_draw(&check->bar, done, total);
}

static void put_finding(void *arg, int64_t offset, const char *text) {
    checking *check = arg;
    check->findings++;
    tst_bar_clear(&check->bar);
    if (check->args->json) {
        (void)fputs(check->findings == 1 ? "{\"findings\":[{" : ",{", stdout);
        if (offset >= 0) {
            (void)printf("\"offset\":%" PRId64 ",", offset);
        }
        tst_put_json(stdout, "text", toon_str(text));
        (void)fputc('}', stdout);
    } else if (offset >= 0) {
        (void)printf("offset %" PRId64 ": %s\n", offset, text);
    } else {
        (void)printf("%s\n", text);
    }
}

static void put_report(const tst_args *args, const toon_check_report *report,
                       bool sound) {
    (void)printf("%s: %s\n  ", args->dir, sound ? "sound" : "DAMAGED");
    if (sound) { /* what is live is known only when all can be read */
        (void)printf("%" PRIu64 " live keys in ", report->live_keys);
    }
    (void)printf("%" PRIu64 " rows, %" PRIu64 " bytes, %" PRIu64
                 " sync marks\n",
                 report->rows, report->log_bytes, report->marks);
    if (report->damaged != 0) {
        (void)printf("  %" PRIu64 " damaged places. %s; copy the directory "
                     "before anything else\n",
                     report->damaged,
                     report->index_usable
                         ? "The keys of damaged records answer an error, the "
                           "others are served"
                         : "Without a usable index the store cannot be opened");
    }
    if (report->torn_bytes != 0) {
        (void)printf("  %" PRIu64 " torn bytes at the end, not known to be "
                     "durable; the next writer cuts them off and keeps a "
                     "copy\n",
                     report->torn_bytes);
    }
}

static void put_report_json(const checking *check,
                            const toon_check_report *report, bool sound) {
    (void)printf("%s],\"sound\":%s,\"live_keys\":%" PRIu64 ",\"rows\":%" PRIu64
                 ",\"marks\":%" PRIu64 ",\"log_bytes\":%" PRIu64
                 ",\"damaged\":%" PRIu64 ",\"torn_bytes\":%" PRIu64
                 ",\"index_usable\":%s}\n",
                 check->findings == 0 ? "{\"findings\":[" : "",
                 sound ? "true" : "false", report->live_keys, report->rows,
                 report->marks, report->log_bytes, report->damaged,
                 report->torn_bytes, report->index_usable ? "true" : "false");
}

int tst_check(const tst_args *args) {
    checking check = {.args = args, .bar = tst_bar_begin(args)};
    toon_check_report report = {0};
    toon_err err =
        toon_check(args->dir, put_finding, show_progress, &check, &report);
    tst_bar_clear(&check.bar);
    bool sound = err == TOON_OK;
    if (err == TOON_NOT_FOUND) {
        tst_say("%s: there is no store", args->dir);
        return TST_FAILED;
    }
    if (!sound && (err != TOON_CORRUPT || report.damaged == 0)) {
        return tst_failed(args, err);
    }
    if (args->json) {
        put_report_json(&check, &report, sound);
    } else if (!args->quiet || !sound) {
        put_report(args, &report, sound);
    }
    return sound ? TST_DONE : TST_NO;
}
