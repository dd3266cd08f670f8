/*
 * tst_keys.c - tst get, set, del: single keys.
 *
 * Knows the store's public calls; must never know the command line's syntax.
 */
#include "tst.h"

#include <errno.h>
#include <stdlib.h>

static toon_slice key_of(const tst_args *args, int i) {
    return toon_str(args->words[i]);
}

int tst_get(const tst_args *args) {
    toon_store *store;
    toon_slice key = key_of(args, 0);
    int code =
        tst_open(args, TOON_OPEN_READ_ONLY | TOON_OPEN_NO_CREATE, &store);
    if (code != TST_DONE) {
        return code;
    }
    toon_value value = {0};
    toon_err err = toon_get(store, key, &value);
    if (err != TOON_OK) {
        return tst_close(args, store, tst_key_failed(args, err, key));
    }
    if (args->json) {
        toon_key_stat stat = {.size = value.size, .meta = value.meta};
        tst_put_record(stdout, key, &value, &stat);
    } else {
        (void)fwrite(value.data, 1, value.size, stdout);
        if (args->newline) {
            (void)fputc('\n', stdout);
        }
    }
    toon_value_release(&value);
    return tst_close(args, store, TST_DONE);
}

/* Twice the room, up to one byte over the limit. False: told. */
static bool grow_input(char **data, size_t *capacity) {
    const size_t limit = TOON_VALUE_SIZE_LIMIT + 1;
    size_t wanted = *capacity == 0 ? (size_t)64 * 1024 : *capacity * 2;
    wanted = wanted < limit ? wanted : limit;
    char *more = realloc(*data, wanted);
    if (more == NULL) {
        tst_say("out of memory for the value");
        return false;
    }
    *data = more;
    *capacity = wanted;
    return true;
}

/* All of standard input. False: told. */
static bool read_input(char **data, size_t *size) {
    size_t capacity = 0, got = 1;
    *data = NULL;
    *size = 0;
    while (got != 0 && *size <= TOON_VALUE_SIZE_LIMIT) {
        if (*size == capacity && !grow_input(data, &capacity)) {
            return false;
        }
        got = fread(*data + *size, 1, capacity - *size, stdin);
        *size += got;
    }
    if (ferror(stdin)) {
        tst_say("cannot read the value from standard input: %s",
                strerrordesc_np(errno));
        return false;
    }
    if (*size > TOON_VALUE_SIZE_LIMIT) {
        tst_say("the value is larger than %zu MiB, the most there can be",
                TOON_VALUE_SIZE_LIMIT >> 20);
        return false;
    }
    return true;
}

static int set_value(const tst_args *args, toon_slice value) {
    toon_store *store;
    toon_slice key = key_of(args, 0);
    toon_set_options options = {0};
    options.flags |= args->if_absent ? TOON_SET_IF_ABSENT : 0u;
    options.flags |= args->if_present ? TOON_SET_IF_PRESENT : 0u;
    if (args->expire_s != 0) {
        options.expires_ms = tst_now_ms() + args->expire_s * 1000;
    }
    unsigned flags = args->if_present ? TOON_OPEN_NO_CREATE : 0u;
    int code = tst_open(args, flags, &store);
    if (code != TST_DONE) {
        return code;
    }
    toon_err err = toon_set(store, key, value, &options);
    if (err != TOON_OK) {
        code = tst_key_failed(args, err, key);
    }
    return tst_close(args, store, code);
}

int tst_set(const tst_args *args) {
    if (args->word_count == 2 && strcmp(args->words[1], "-") != 0) {
        return set_value(args, key_of(args, 1));
    }
    char *data;
    size_t size;
    int code = TST_FAILED;
    if (read_input(&data, &size)) {
        code = set_value(args, toon_bytes(data, size));
    }
    free(data);
    return code;
}

/* Inside a batch, so that all of them go or none. */
static toon_err delete_keys(const tst_args *args, toon_store *store,
                            int *deleted) {
    toon_err err = toon_batch_begin(store);
    if (err != TOON_OK) {
        return err;
    }
    *deleted = 0;
    for (int i = 0; i < args->word_count; i++) {
        err = toon_delete(store, key_of(args, i), 0, NULL);
        if (err == TOON_OK) {
            (*deleted)++;
        } else if (err != TOON_NOT_FOUND) {
            toon_batch_cancel(store);
            return err;
        }
    }
    return toon_batch_commit(store);
}

int tst_del(const tst_args *args) {
    toon_store *store;
    int deleted = 0;
    int code = tst_open(args, TOON_OPEN_NO_CREATE, &store);
    if (code != TST_DONE) {
        return code;
    }
    toon_err err = delete_keys(args, store, &deleted);
    if (err != TOON_OK) {
        return tst_close(args, store, tst_failed(args, err));
    }
    code = tst_close(args, store, deleted != 0 ? TST_DONE : TST_NO);
    if (code == TST_DONE || code == TST_NO) {
        (void)printf("%d\n", deleted);
    }
    return code;
}
