/*
 * tst_check.c - tst check: is all of it sound, and if not, can it be mended?
 *
 * Knows the store's public calls; must never know the command line's syntax.
 */
#include "tst.h"

#include <inttypes.h>
#include <unistd.h>

/* What both tell of while they read. */
typedef struct checking {
    const tst_args *args;
    tst_bar bar;
    uint64_t findings; /* so far */
    bool silent;       /* they are only counted */
} checking;

static void show_progress(void *arg, uint64_t done, uint64_t total) {
    checking *check = arg;
    tst_bar_draw(&check->bar, done, total);
}

static void put_finding(void *arg, int64_t offset, const char *text) {
    checking *check = arg;
    check->findings++;
    if (check->silent) {
        return;
    }
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

/* The list of findings ends; what follows belongs to the same object. */
static void end_findings(const checking *check) {
    (void)fputs(check->findings == 0 ? "{\"findings\":[]" : "]", stdout);
}

/* It came to no result. What has been written so far is made whole. */
static int fail(const checking *check, toon_err err) {
    if (err == TOON_NOT_FOUND) {
        tst_say("%s: there is no store", check->args->dir);
        return TST_FAILED;
    }
    if (check->args->json && check->findings > 0 && !check->silent) {
        end_findings(check);
        (void)fputs(",\"sound\":false}\n", stdout);
    }
    int code = tst_failed(check->args, err);
    return code == TST_HELD ? code : TST_FAILED;
}

/* ------------------------------------------------------------------- check */

/* One that a repair can begin with. */
static bool has_log(const toon_check_report *report) {
    return report->log_bytes != 0;
}

static void put_report(const tst_args *args, const toon_check_report *report,
                       bool sound) {
    (void)printf("%s: %s\n  ", args->dir, sound ? "sound" : "DAMAGED");
    if (sound) { /* what is live is known only when all can be read */
        (void)printf("%" PRIu64 " live key%s in ", report->live_keys,
                     tst_s(report->live_keys));
    }
    (void)printf("%" PRIu64 " row%s, %" PRIu64 " bytes, %" PRIu64
                 " sync mark%s\n",
                 report->rows, tst_s(report->rows), report->log_bytes,
                 report->marks, tst_s(report->marks));
    if (report->damaged != 0 && !has_log(report)) {
        (void)printf("  no log of a store is left that could be repaired; go "
                     "back to a backup\n");
    } else if (report->damaged != 0) {
        (void)printf("  %" PRIu64 " damaged place%s. `tst check --repair %s` "
                     "saves what is valid and keeps the old log beside it\n",
                     report->damaged, tst_s(report->damaged), args->dir);
    }
    if (report->torn_bytes != 0) {
        (void)printf("  %" PRIu64 " torn byte%s at the end, not known to be "
                     "durable; the next writer cuts them off and keeps a "
                     "copy\n",
                     report->torn_bytes, tst_s(report->torn_bytes));
    }
}

static void put_report_json(const checking *check,
                            const toon_check_report *report, bool sound) {
    end_findings(check);
    (void)printf(",\"sound\":%s,\"live_keys\":%" PRIu64 ",\"rows\":%" PRIu64
                 ",\"marks\":%" PRIu64 ",\"log_bytes\":%" PRIu64
                 ",\"damaged\":%" PRIu64 ",\"torn_bytes\":%" PRIu64
                 ",\"index_usable\":%s}\n",
                 sound ? "true" : "false", report->live_keys, report->rows,
                 report->marks, report->log_bytes, report->damaged,
                 report->torn_bytes, report->index_usable ? "true" : "false");
}

static int check_only(const tst_args *args) {
    checking check = {.args = args, .bar = tst_bar_begin(args)};
    toon_check_report report = {0};
    toon_err err =
        toon_check(args->dir, put_finding, show_progress, &check, &report);
    tst_bar_clear(&check.bar);
    bool sound = err == TOON_OK;
    if (!sound && (err != TOON_CORRUPT || report.damaged == 0)) {
        return fail(&check, err);
    }
    if (args->json) {
        put_report_json(&check, &report, sound);
    } else if (!args->quiet || !sound) {
        put_report(args, &report, sound);
    }
    return sound ? TST_DONE : TST_NO;
}

/* ------------------------------------------------------------------ repair */

static void put_repair(const tst_args *args, const toon_repair_report *report) {
    if (report->before[0] == '\0') {
        if (!args->quiet) {
            (void)printf("%s: the log is sound, %" PRIu64
                         " key%s; it was left as it is\n",
                         args->dir, report->keys, tst_s(report->keys));
        }
        return;
    }
    (void)printf("%s: repaired, %" PRIu64 " key%s there\n", args->dir,
                 report->keys, report->keys == 1 ? " is" : "s are");
    (void)printf(
        "  %" PRIu64 " key%s lost, %" PRIu64 " older than before; %" PRIu64
        " row%s kept, %" PRIu64 " lost\n",
        report->keys_lost, tst_s(report->keys_lost), report->keys_older,
        report->rows_kept, tst_s(report->rows_kept), report->rows_lost);
    if (report->keys_deleted != 0) {
        (void)printf("  %" PRIu64 " key%s had been deleted, as the index "
                     "tells, and %s not there\n",
                     report->keys_deleted, tst_s(report->keys_deleted),
                     report->keys_deleted == 1 ? "is" : "are");
    }
    if (report->keys_unknown != 0) {
        (void)printf("  in %" PRIu64 " place%s nobody knows whose records "
                     "were lost: any key may be concerned\n",
                     report->keys_unknown, tst_s(report->keys_unknown));
    }
    (void)printf("  the old log is %s/%s\n", args->dir, report->before);
    if (report->aside[0] != '\0') {
        (void)printf("  %" PRIu64 " damaged byte%s in %s/%s\n",
                     report->bytes_aside,
                     report->bytes_aside == 1 ? " is" : "s are", args->dir,
                     report->aside);
    }
}

static void put_repair_json(const checking *check,
                            const toon_repair_report *report) {
    end_findings(check);
    (void)printf(",\"sound\":true,\"repaired\":%s,\"keys\":%" PRIu64
                 ",\"keys_lost\":%" PRIu64 ",\"keys_older\":%" PRIu64
                 ",\"keys_unknown\":%" PRIu64 ",\"keys_deleted\":%" PRIu64
                 ",\"rows_kept\":%" PRIu64 ",\"rows_lost\":%" PRIu64
                 ",\"bytes_aside\":%" PRIu64,
                 report->before[0] != '\0' ? "true" : "false", report->keys,
                 report->keys_lost, report->keys_older, report->keys_unknown,
                 report->keys_deleted, report->rows_kept, report->rows_lost,
                 report->bytes_aside);
    if (report->before[0] != '\0') {
        (void)printf(",\"before\":\"%s\"", report->before);
    }
    if (report->aside[0] != '\0') {
        (void)printf(",\"aside\":\"%s\"", report->aside);
    }
    (void)fputs("}\n", stdout);
}

/* A person at a terminal is asked, once it is known that there is something
 * to do. -1: go on. Else the exit code. */
static int ask(const tst_args *args) {
    checking check = {.args = args, .bar = tst_bar_begin(args), .silent = true};
    toon_check_report report = {0};
    if (args->yes || isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1) {
        return -1;
    }
    toon_err err =
        toon_check(args->dir, put_finding, show_progress, &check, &report);
    tst_bar_clear(&check.bar);
    if (err != TOON_CORRUPT || !has_log(&report)) {
        return -1;
    }
    (void)fprintf(stderr,
                  "%s: %" PRIu64 " damaged place%s. Write a new log of what "
                  "is valid? The old one is kept. [y/N] ",
                  args->dir, report.damaged, tst_s(report.damaged));
    int answer = getchar();
    if (answer == 'y' || answer == 'Y') {
        return -1;
    }
    tst_say("nothing was changed");
    return TST_NO;
}

static int repair(const tst_args *args) {
    int code = ask(args);
    if (code >= 0) {
        return code;
    }
    checking check = {.args = args, .bar = tst_bar_begin(args)};
    toon_repair_report report = {0};
    toon_err err =
        toon_repair(args->dir, put_finding, show_progress, &check, &report);
    tst_bar_clear(&check.bar);
    if (err != TOON_OK) {
        return fail(&check, err);
    }
    if (args->json) {
        put_repair_json(&check, &report);
    } else {
        put_repair(args, &report);
    }
    bool all = report.keys_lost == 0 && report.keys_older == 0 &&
               report.keys_unknown == 0;
    return all ? TST_DONE : TST_NO;
}

int tst_check(const tst_args *args) {
    return args->repair ? repair(args) : check_only(args);
}
