/*
 * salvage.c - from a damaged log to a new one with all that is valid.
 */
#include "error.h"
#include "recover.h"

toon_err toon_repair(const char *dir, toon_finding_fn *finding,
                     toon_progress_fn *progress, void *arg,
                     toon_repair_report *report) {
    (void)dir;
    (void)finding;
    (void)progress;
    (void)arg;
    (void)report;
    return toon_fail_plain(TOON_INVALID, "repairing is not built yet");
}
