/*
 * salvage.h - toon_repair() for tests: on a disk of theirs.
 */
#ifndef TOON_SALVAGE_H
#define TOON_SALVAGE_H

#include "io.h"

toon_err toon_repair_on(const toon_io *io, const char *path,
                        toon_finding_fn *finding, toon_progress_fn *progress,
                        void *arg, toon_repair_report *report);

#endif
