/*
 * tst_care.c - tst stat: figures of a store or of a key.
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
