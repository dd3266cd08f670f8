/*
 * tst_import.c - tst import: rows of an ancestor's store become keys.
 *
 * The source is read twice: first to know that it is sound and that no key is
 * in the way, so that a refusal leaves the store as it was, or unmade; then to
 * write its rows, in batches.
 *
 * Knows the store's public calls; must never know the ancestor's format.
 */
#include "tst.h"
#include "tst_v1.h"

#include <inttypes.h>
#include <sys/stat.h>

enum { BATCH_ROWS = 1000, BATCH_BYTES = 1024 * 1024, DIGITS = 24 };

typedef struct importing {
    const tst_args *args;
    const tst_args *to; /* the same for the store that is written */
    v1_store v1;
    toon_store *store;
    tst_bar bar;
    uint64_t deleted;               /* rows */
    uint64_t imported, committed;   /* keys */
    uint64_t left_out;              /* damaged places */
    size_t batch_rows, batch_bytes; /* of the batch that goes on */
} importing;

static bool on_damage(void *arg, const char *text) {
    importing *it = arg;
    tst_bar_clear(&it->bar);
    if (it->args->skip_damaged) {
        tst_say("%s/%s; left out", it->args->dir, text);
        it->left_out++;
        return true;
    }
    tst_say("%s/%s; nothing was imported (--skip-damaged leaves it out)",
            it->args->dir, text);
    return false;
}

static int code_of(v1_result result) {
    static const int codes[] = {
        [V1_OK] = TST_DONE, [V1_DAMAGED] = TST_NO, [V1_FAILED] = TST_FAILED};
    return codes[result];
}

/* ---------------------------------------------------------------------- rows */

/* What is done with each key of a row; an exit code. */
typedef int key_fn(importing *it, toon_slice key, toon_slice value);

static int each_key(importing *it, uint64_t row, toon_slice value, key_fn *fn) {
    char digits[DIGITS];
    size_t count;
    int code = TST_DONE;
    const v1_name *names = v1_names_of(&it->v1, row, &count);
    if (count == 0) {
        (void)snprintf(digits, sizeof digits, "%" PRIu64, row);
        return fn(it, toon_str(digits), value);
    }
    for (size_t i = 0; code == TST_DONE && i < count; i++) {
        code = fn(it, names[i].key, value);
    }
    return code;
}

/* `pass` of two, for the bar. */
static int each_row(importing *it, int pass, key_fn *fn) {
    int code = TST_DONE;
    uint64_t rows = it->v1.rows;
    for (uint64_t row = 0; code == TST_DONE && row < rows; row++) {
        toon_slice value;
        if (v1_is_gone(&it->v1, row)) {
            continue;
        }
        uint64_t at = it->v1.offsets[row];
        code = code_of(v1_read(&it->v1, row, &value));
        if (code == TST_DONE && value.data != NULL) {
            code = each_key(it, row, value, fn);
        }
        if (row % BATCH_ROWS == 0) {
            uint64_t before = pass == 0 ? 0 : it->v1.log_size;
            tst_bar_draw(&it->bar, before + at, 2 * it->v1.log_size);
        }
    }
    return code;
}

/* ------------------------------------------------------- the first pass */

/* Reading the line was all. */
static int pass_over(importing *it, toon_slice key, toon_slice value) {
    (void)it;
    (void)key;
    (void)value;
    return TST_DONE;
}

static int refuse_present(importing *it, toon_slice key, toon_slice value) {
    toon_key_stat stat;
    (void)value;
    toon_err err = toon_stat_key(it->store, key, &stat);
    if (err == TOON_NOT_FOUND) {
        return TST_DONE;
    }
    tst_bar_clear(&it->bar);
    if (err != TOON_OK) {
        return tst_key_failed(it->to, err, key);
    }
    (void)fprintf(stderr, "tst: %s: key ", it->to->dir);
    tst_put_escaped(stderr, key);
    (void)fputs(" is there already; nothing was imported (--replace "
                "overwrites it)\n",
                stderr);
    return TST_NO;
}

/* Before anything is written. */
static int check_store(importing *it) {
    toon_stats stats;
    int code = TST_DONE;
    toon_stat(it->store, &stats);
    bool needed = stats.keys > 0 && !it->args->replace;
    for (uint64_t row = 0; needed && code == TST_DONE && row < it->v1.rows;
         row++) {
        if (!v1_is_gone(&it->v1, row)) {
            code = each_key(it, row, toon_bytes(NULL, 0), refuse_present);
        }
    }
    return code;
}

/* A name may look like the number of another row that has none. */
static int check_names(importing *it) {
    v1_store *v1 = &it->v1;
    for (size_t i = 0; i < v1->name_count; i++) {
        const v1_name *name = &v1->names[i];
        uint64_t other;
        size_t count = 0;
        if (v1_is_gone(v1, name->row) || !v1_parse_row(name->key, &other) ||
            other >= v1->rows || v1_is_gone(v1, other)) {
            continue;
        }
        (void)v1_names_of(v1, other, &count);
        if (count > 0) {
            continue;
        }
        if (!it->args->replace) {
            tst_say("%s: row %" PRIu64 ", which keymap.txt names so, and row "
                    "%" PRIu64 " would both be key %" PRIu64
                    "; nothing was imported (with --replace the name counts)",
                    it->args->dir, name->row, other, other);
            return TST_NO;
        }
        v1_forget(v1, other);
    }
    return TST_DONE;
}

/* ------------------------------------------------------ the second pass */

static int commit(importing *it) {
    it->batch_rows = it->batch_bytes = 0;
    toon_err err = toon_batch_commit(it->store);
    if (err == TOON_OK) {
        err = toon_batch_begin(it->store);
    }
    if (err == TOON_OK) {
        it->committed = it->imported;
        return TST_DONE;
    }
    tst_bar_clear(&it->bar);
    return tst_failed(it->to, err);
}

static int write_key(importing *it, toon_slice key, toon_slice value) {
    toon_err err = toon_set(it->store, key, value, NULL);
    if (err != TOON_OK) {
        tst_bar_clear(&it->bar);
        return tst_key_failed(it->to, err, key);
    }
    it->imported++;
    it->batch_rows++;
    it->batch_bytes += key.size + value.size;
    bool full = it->batch_rows >= BATCH_ROWS || it->batch_bytes >= BATCH_BYTES;
    return full ? commit(it) : TST_DONE;
}

/* Row numbers are never used twice: those that the ancestor gave to rows that
 * are deleted by now are passed over for good. */
static int use_numbers_up(importing *it) {
    for (;;) {
        toon_stats stats;
        uint64_t row;
        char digits[DIGITS];
        toon_stat(it->store, &stats);
        if (stats.row_base + stats.rows >= it->v1.rows) {
            return TST_DONE;
        }
        toon_err err = toon_add(it->store, toon_str(""), &row);
        if (err == TOON_OK) {
            (void)snprintf(digits, sizeof digits, "%" PRIu64, row);
            err = toon_delete(it->store, toon_str(digits), 0, NULL);
        }
        if (err != TOON_OK) {
            return tst_failed(it->to, err);
        }
        it->batch_rows++;
        int code = it->batch_rows >= BATCH_ROWS ? commit(it) : TST_DONE;
        if (code != TST_DONE) {
            return code;
        }
    }
}

static int write_all(importing *it) {
    toon_err err = toon_batch_begin(it->store);
    if (err != TOON_OK) {
        return tst_failed(it->to, err);
    }
    int code = each_row(it, 1, write_key);
    if (code == TST_DONE) {
        code = use_numbers_up(it);
    }
    if (code != TST_DONE) {
        toon_batch_cancel(it->store);
        tst_say("%s: %" PRIu64 " key%s imported before; --replace imports "
                "all again",
                it->to->dir, it->committed,
                it->committed == 1 ? " was" : "s were");
        return code;
    }
    err = toon_batch_commit(it->store);
    return err == TOON_OK ? TST_DONE : tst_failed(it->to, err);
}

/* --------------------------------------------------------------------- whole */

static void put_report(const importing *it, int64_t spent_ms) {
    const char *from = it->args->dir;
    if (it->args->json) {
        (void)fputc('{', stdout);
        tst_put_json(stdout, "source", toon_str(from));
        (void)fputc(',', stdout);
        tst_put_json(stdout, "store", toon_str(it->to->dir));
        (void)printf(",\"rows\":%" PRIu64 ",\"deleted\":%" PRIu64
                     ",\"imported\":%" PRIu64 ",\"left_out\":%" PRIu64
                     ",\"ms\":%" PRId64 "}\n",
                     it->v1.rows, it->deleted, it->imported, it->left_out,
                     spent_ms);
        return;
    }
    (void)printf("%s: imported to %s\n  %" PRIu64 " key%s of %" PRIu64
                 " row%s, %" PRIu64 " of them deleted, %.1f s\n",
                 from, it->to->dir, it->imported, tst_s(it->imported),
                 it->v1.rows, tst_s(it->v1.rows), it->deleted,
                 (double)spent_ms / 1000);
    if (it->left_out > 0) {
        (void)printf("  %" PRIu64 " damaged place%s left out\n", it->left_out,
                     it->left_out == 1 ? " was" : "s were");
    }
}

static int check_source(importing *it) {
    int code = code_of(v1_open(&it->v1, it->args->dir, on_damage, it));
    for (uint64_t row = 0; code == TST_DONE && row < it->v1.rows; row++) {
        it->deleted += v1_is_gone(&it->v1, row);
    }
    if (code == TST_DONE) {
        code = each_row(it, 0, pass_over);
    }
    return code == TST_DONE ? check_names(it) : code;
}

/* Opening it for writing would leave a lock file in the source. */
static bool is_same_dir(const char *a, const char *b) {
    struct stat x;
    struct stat y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

static int import_to(importing *it) {
    if (is_same_dir(it->args->dir, it->to->dir)) {
        tst_say("%s: DEST must be another directory", it->to->dir);
        return TST_USAGE;
    }
    int code = tst_open(it->to, 0, &it->store);
    if (code != TST_DONE) {
        return code;
    }
    code = check_store(it);
    if (code == TST_DONE) {
        code = write_all(it);
    }
    tst_bar_clear(&it->bar);
    return tst_close(it->to, it->store, code);
}

int tst_import(const tst_args *args) {
    tst_args to = *args;
    importing it = {.args = args, .to = &to, .bar = tst_bar_begin(args)};
    to.dir = args->words[0];
    int code = check_source(&it);
    if (code == TST_DONE) {
        code = import_to(&it);
    }
    if (code == TST_DONE && (args->json || !args->quiet)) {
        put_report(&it, tst_now_ms() - it.bar.started_ms);
    }
    v1_close(&it.v1);
    return code;
}
