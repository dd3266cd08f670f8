/*
 * tst_care.c - tst stat, check: figures, and is all of it sound?
 *
 * Knows the store's public calls; must never know the command line's syntax.
 */
#include "tst.h"

#include <inttypes.h>
#include <time.h>
#include <unistd.h>

/* -------------------------------------------------------------------- stat */

/* One list makes both forms; each figure is a uint64_t of toon_stats. */
#define STORE_FIGURES(X)                                                       \
    X(keys, "keys")                                                            \
    X(keys_expiring, "  with an expiry")                                       \
    X(rows, "rows in the log")                                                 \
    X(row_base, "number of the first row")                                     \
    X(log_bytes, "bytes of the log")                                           \
    X(live_bytes, "  that live keys need, about")                              \
    X(torn_bytes, "  torn off its end")                                        \
    X(table_bytes, "bytes of the key table")

static void put_store_stat(const tst_args *args, const toon_stats *stats) {
    const struct {
        const char *name, *text;
        uint64_t number;
    } figures[] = {

#define FIGURE(name, text) {#name, text, stats->name},
        STORE_FIGURES(FIGURE)
#undef FIGURE
    };
    size_t count = sizeof figures / sizeof figures[0];
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
    bool bar;           /* a progress bar stands on standard error */
    uint64_t findings;  /* so far */
    int64_t started_ms; /* for the estimate */
} checking;

static void clear_bar(const checking *check) {
    if (check->bar) {
        (void)fputs("\r\033[K", stderr);
    }
}

/* Not for what is over in a moment. */
static void show_progress(void *arg, uint64_t done, uint64_t total) {
    enum { CELLS = 30 };

    const checking *check = arg;
    double spent_s = (double)(tst_now_ms() - check->started_ms) / 1000;
    if (!check->bar || done == 0 || spent_s < 0.5) {
        return;
    }
    double part = (double)done / (double)total;
    char cells[CELLS + 1];
    for (int i = 0; i < CELLS; i++) {
        cells[i] = (double)i < part * CELLS ? '#' : '.';
    }
    cells[CELLS] = '\0';
    (void)fprintf(stderr, "\r[%s] %3.0f %% of %.1f MiB, %.0f s left\033[K",
                  cells, part * 100, (double)total / (1024 * 1024),
                  spent_s / part - spent_s);
}

static void put_finding(void *arg, int64_t offset, const char *text) {
    checking *check = arg;
    check->findings++;
    clear_bar(check);
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
    checking check = {
        .args = args,
        .bar = !args->quiet && isatty(STDERR_FILENO) == 1,
        .started_ms = tst_now_ms(),
    };
    toon_check_report report = {0};
    toon_err err =
        toon_check(args->dir, put_finding, show_progress, &check, &report);
    clear_bar(&check);
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
