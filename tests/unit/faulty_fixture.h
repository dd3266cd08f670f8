/*
 * faulty_fixture.h - a store on a disk that fails on demand.
 */
#ifndef TOON_TEST_FAULTY_FIXTURE_H
#define TOON_TEST_FAULTY_FIXTURE_H

#include "faulty_io.h"
#include "fixture.h"
#include "store_internal.h"

static toon_io io;

static inline int faulty_setup(void **state) {
    struct fixture *self = calloc(1, sizeof *self);
    memset(&faulty, 0, sizeof faulty);
    io = faulty_io();
    (void)snprintf(self->dir, sizeof self->dir, "/tmp/toon-unit-XXXXXX");
    if (mkdtemp(self->dir) == NULL)
        return -1;
    self->options.sync = TOON_SYNC_NO;
    *state = self;
    return toon_open_on(&io, self->dir, &self->options, &self->store) == TOON_OK
               ? 0
               : -1;
}

static inline int faulty_teardown(void **state) {
    memset(&faulty, 0, sizeof faulty);
    return fixture_teardown(state);
}

#endif
