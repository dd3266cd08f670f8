/*
 * tst_bar.c - a progress bar on a terminal's standard error.
 *
 * Knows how much of how much is done; must never know of what.
 */
#include "tst.h"

#include <unistd.h>

enum { CELLS = 30 };

#define MIB ((double)(1024 * 1024))

tst_bar tst_bar_begin(const tst_args *args) {
    return (tst_bar){
        .wanted = !args->quiet && isatty(STDERR_FILENO) == 1,
        .started_ms = tst_now_ms(),
    };
}

/* Not for what is over in a moment. */
void tst_bar_draw(tst_bar *bar, uint64_t done, uint64_t total) {
    double spent_s = (double)(tst_now_ms() - bar->started_ms) / 1000;
    if (!bar->wanted || done == 0 || total == 0 || spent_s < 0.5) {
        return;
    }
    double part = done < total ? (double)done / (double)total : 1.0;
    char cells[CELLS + 1];
    for (int i = 0; i < CELLS; i++) {
        cells[i] = (double)i < part * CELLS ? '#' : '.';
    }
    cells[CELLS] = '\0';
    (void)fprintf(stderr,
                  "\r[%s] %3.0f %% of %.1f MiB, %.0f MiB/s, %.0f s left\033[K",
                  cells, part * 100, (double)total / MIB,
                  (double)done / MIB / spent_s, spent_s / part - spent_s);
    bar->drawn = true;
}

void tst_bar_clear(tst_bar *bar) {
    if (bar->drawn) {
        (void)fputs("\r\033[K", stderr);
    }
    bar->drawn = false;
}
