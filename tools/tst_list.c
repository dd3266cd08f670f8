/*
 * tst_list.c - tst ls, dump: many keys, in byte order.
 *
 * Knows the store's public calls; must never know the command line's syntax.
 */
#include "tst.h"

#include <inttypes.h>
#include <unistd.h>

typedef struct listing {
    const tst_args *args;
    toon_store *store;
    toon_slice pattern; /* a glob; size 0: every key that the range has */
    bool escape;        /* names go to a terminal */
    bool values;        /* dump: with the value */
    int code;
} listing;

static void put_line(const listing *list, toon_slice key,
                     const toon_key_stat *stat) {
    if (list->args->list_long) {
        char written[TST_TIME_SIZE], left[TST_TIME_SIZE] = "-";
        tst_format_time(written, stat->meta.written_ms);
        if (stat->meta.expires_ms != 0) {
            int64_t ms = stat->meta.expires_ms - tst_now_ms();
            (void)snprintf(left, sizeof left, "%" PRId64 "s",
                           ms > 0 ? (ms + 999) / 1000 : 0);
        }
        (void)printf("%10zu  %s  %8s  ", stat->size, written, left);
    }
    if (list->escape) {
        tst_put_escaped(stdout, key);
    } else {
        (void)fwrite(key.data, 1, key.size, stdout);
    }
    (void)fputc(list->args->zero ? '\0' : '\n', stdout);
}

/* A damaged value is told of and passed over: the others are wanted. */
static void put_value(listing *list, toon_slice key) {
    toon_value value = {0};
    toon_err err = toon_get(list->store, key, &value);
    if (err == TOON_NOT_FOUND) {
        return; /* expired just now */
    }
    if (err != TOON_OK) {
        list->code = tst_key_failed(list->args, err, key);
        return;
    }
    toon_key_stat stat = {.size = value.size, .meta = value.meta};
    tst_put_record(stdout, key, &value, &stat);
    toon_value_release(&value);
}

static bool list_key(void *arg, toon_slice key, const toon_key_stat *stat) {
    listing *list = arg;
    if (list->pattern.size != 0 && !toon_glob_match(list->pattern, key)) {
        return true;
    }
    if (stat != NULL && stat->meta.version == 0) { /* damaged */
        list->code = tst_key_failed(list->args, TOON_CORRUPT, key);
    } else if (list->values) {
        put_value(list, key);
    } else if (list->args->json) {
        tst_put_record(stdout, key, NULL, stat);
    } else {
        put_line(list, key, stat);
    }
    return !ferror(stdout);
}

static int list_keys(const tst_args *args, listing *list) {
    const char *word = args->word_count > 0 ? args->words[0] : "";
    size_t literal = strcspn(word, "*?[\\");
    if (word[literal] != '\0') {
        list->pattern = toon_str(word);
    }
    int code =
        tst_open(args, TOON_OPEN_READ_ONLY | TOON_OPEN_NO_CREATE, &list->store);
    if (code != TST_DONE) {
        return code;
    }
    toon_range_options options = {
        .prefix = toon_bytes(word, literal),
        .with_stat = args->list_long || args->json,
    };
    toon_err err = toon_range(list->store, &options, list_key, list);
    toon_stats stats;
    toon_stat(list->store, &stats);
    if (err != TOON_OK) {
        list->code = tst_failed(args, err);
    } else if (stats.keys_hidden > 0 && list->code == TST_DONE) {
        list->code = TST_NO; /* the store has told of it */
    }
    return tst_close(args, list->store, list->code);
}

int tst_ls(const tst_args *args) {
    listing list = {
        .args = args,
        .escape = !args->zero && isatty(STDOUT_FILENO) == 1,
    };
    return list_keys(args, &list);
}

int tst_dump(const tst_args *args) {
    listing list = {.args = args, .values = true};
    return list_keys(args, &list);
}
