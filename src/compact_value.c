/*
 * compact_value.c - a value in pieces, into the new log: whole, or behind the
 * copy of what it builds on. Knows volumes and log lines; must never know
 * locks, threads, or when what is copied.
 */
#include "compact_value.h"

#include "error.h"

#include <stdlib.h>

enum { COVERED = 1024, CHAIN_MAX = 1024 };

/* NOTED_MIN: shorter lines are soon copied again. */
#ifdef TOON_HOSTILE
#define NOTED_MIN ((size_t)100)

enum { PLACE_BITS = 8 };
#else
#define NOTED_MIN ((size_t)16 << 10)

enum { PLACE_BITS = 12 };
#endif

struct place {
    uint64_t from, into; /* offsets; 0: none */
    uint64_t size;       /* what it would cost to forget it */
};

struct toon_moved {
    /* Of each two, the first keeps what is largest, the other what was noted
     * last. */
    struct place places[1 << PLACE_BITS][2];

    /* Records of the old log with values that build on one of those. */
    struct {
        uint64_t offset, base;
    } covered[COVERED];

    /* The pieces of the value that ends at chain[0], newest first, as far as
     * anybody has asked. */
    uint64_t chain[CHAIN_MAX];
    size_t chain_count;
};

toon_moved *toon_moved_new(void) {
    return calloc(1, sizeof(toon_moved));
}

static struct place *places_of(toon_moved *moved, uint64_t from) {
    uint64_t mixed = from * UINT64_C(0x9e3779b97f4a7c15);
    return moved->places[mixed >> (64 - PLACE_BITS)];
}

/* NULL: it is not known. */
static const struct place *find_place(toon_moved *moved, uint64_t from) {
    const struct place *two = places_of(moved, from);
    if (two[0].from == from)
        return &two[0];
    return two[1].from == from ? &two[1] : NULL;
}

static void note(toon_moved *moved, uint64_t from, uint64_t into,
                 uint64_t size) {
    struct place *two = places_of(moved, from);
    struct place place = {from, into, size};
    if (two[0].from == from || two[1].from == from) {
        two[two[0].from == from ? 0 : 1] = place;
        return;
    }
    if (size < two[0].size) {
        two[1] = place;
        return;
    }
    two[1] = two[0];
    two[0] = place;
}

void toon_moved_note(toon_compaction *self, uint64_t from, uint64_t into,
                     size_t line_size) {
    if (line_size >= NOTED_MIN)
        note(self->moved, from, into, line_size);
}

/* Is the new log's record at `base` a part of what it has of the key now? */
static bool builds_on(const toon_volume *into, uint64_t payload,
                      uint64_t base) {
    uint64_t offset = toon_payload_offset(payload);
    while (offset > base) {
        toon_hit hit;
        toon_err err = toon_volume_load(into, toon_payload_at(offset),
                                        TOON_LOOK_META, true, &hit);
        toon_hit_free(&hit);
        if (err != TOON_OK || hit.damaged)
            return false;
        offset = hit.record.ref;
    }
    return offset == base;
}

/* For a value of which the new log has `payload` so far; 0: nothing. */
struct known {
    const toon_compaction *self;
    uint64_t payload;
    struct place place; /* the one that was found */
};

/* Can what builds on the old log's record at `offset` build on its copy? */
static bool is_known(void *arg, uint64_t offset) {
    struct known *known = arg;
    if (known->payload == 0)
        return false;
    const struct place *place = find_place(known->self->moved, offset);
    if (place == NULL ||
        !builds_on(known->self->into, known->payload, place->into))
        return false;
    known->place = *place;
    return true;
}

/* What of the value goes to the new log, and behind which record there. */
struct addition {
    toon_pieces pieces;
    uint64_t base;      /* 0: none; the pieces are all of it */
    uint64_t base_size; /* what it would cost to copy that again */
};

static toon_err find_addition(const toon_compaction *self, const toon_hit *hit,
                              const toon_step *step, struct addition *out) {
    struct known known = {.self = self, .payload = step->old_payload};
    uint64_t floor = 0;
    *out = (struct addition){.base = 0};
    toon_err err = toon_volume_pieces_behind(self->from, hit, is_known, &known,
                                             &out->pieces, &floor);
    out->base = known.place.into;
    out->base_size = known.place.size;
    return err;
}

/* One record of the new log. */
struct part {
    const toon_piece *pieces; /* the value, or what is behind `base` */
    size_t count;
    uint64_t base;
    uint64_t base_size;
    uint64_t ends_at; /* the old log's record that the value ends with then */
    bool more;
};

static toon_err decode(toon_compaction *self, const struct part *part) {
    size_t size = 0;
    for (size_t i = 0; i < part->count; i++)
        size += part->pieces[i].size;
    self->value.size = 0;
    if (!toon_buf_reserve(&self->value, size + 1)) {
        self->value.failed = false;
        return toon_fail_memory();
    }
    self->value.size = size;
    return toon_pieces_copy(self->from, part->pieces, part->count,
                            self->value.data);
}

static void remember(const toon_compaction *self, const struct part *part,
                     const toon_step *step) {
    toon_fact fact;
    toon_grown grown = {
        .piece_size = self->value.size,
        .line_size = step->live_bytes,
        .appended = self->value.size,
    };
    if (part->base == 0) {
        toon_volume_remember(self->into, step->offset, step->live_bytes,
                             self->value.size);
    } else if (part->count > 0 &&
               toon_facts_find(self->into->facts, part->base, &fact) &&
               fact.chain_size > 0) {
        fact = toon_fact_after(&fact, &grown);
        toon_facts_put(self->into->facts, step->offset, &fact);
    }
}

static toon_err put_part(toon_compaction *self, const toon_record *record,
                         const struct part *part, toon_step *step) {
    toon_log *log = self->into->log;
    if (!toon_volume_reserve(self->into, step->hash))
        return toon_fail_memory();
    toon_err err = decode(self, part);
    if (err != TOON_OK)
        return err;
    toon_record_draft draft = {
        .key = toon_buf_slice(&self->key),
        .value = toon_buf_slice(&self->value),
        .ref = part->base,
        .written_ms = record->written_ms,
        .expires_ms = record->expires_ms,
        .mode = record->mode,
        .type = part->base == 0    ? RECORD_STRING
                : part->count == 0 ? RECORD_META
                                   : RECORD_APPENDED,
        .more = part->more,
    };
    size_t begun = toon_log_begin(log);
    step->offset = toon_log_end(log);
    step->live_bytes = toon_record_encode(&log->gather, &draft, log->salt);
    err = toon_log_admit(log, begun, 0, 0);
    if (err != TOON_OK)
        return err;
    step->expires_ms = record->expires_ms;
    step->payload = toon_payload(step->offset, step->live_bytes,
                                 record->expires_ms != 0, part->base != 0);
    step->garbage = 0;
    if (step->old_payload != 0)
        step->garbage = toon_volume_garbage(self->into, step->old_payload,
                                            &(toon_kept){{part->base}}, true);
    toon_volume_apply(self->into, step);
    remember(self, part, step);
    if (part->count > 0)
        note(self->moved, part->ends_at, step->offset,
             part->base_size + step->live_bytes);
    return TOON_OK;
}

/* How many pieces make up what is never written again: the last full one and
 * all before it. */
static size_t count_lasting(const toon_pieces *pieces) {
    size_t count = pieces->count;
    while (count > 0 && pieces->items[count - 1].size <= TOON_PIECE_SMALL_MAX)
        count--;
    return count;
}

/* What is known of the new log's value that ends with the record there. */
static toon_err measure_copy(const toon_volume *into, uint64_t payload,
                             size_t *size) {
    toon_hit hit;
    toon_fact fact = {0};
    toon_err err = toon_volume_load(into, payload, TOON_LOOK_META, true, &hit);
    if (err == TOON_OK && hit.damaged)
        err = toon_volume_damaged(into, toon_payload_offset(payload));
    if (err == TOON_OK)
        err = toon_volume_measure(into, &hit, true, &fact);
    toon_hit_free(&hit);
    *size = fact.value_size;
    return err;
}

/* Do the first pieces lead on from what the new log has of the key? It may be
 * at a later state of the value already, and nothing of that is taken back. */
static toon_err is_longer(const toon_compaction *self,
                          const struct addition *addition, size_t count,
                          const toon_step *step, bool *longer) {
    size_t before = 0, now = 0;
    toon_err err = TOON_OK;
    *longer = count > 0;
    if (addition->base == 0 || count == 0)
        return TOON_OK;
    err = measure_copy(self->into, toon_payload_at(addition->base), &before);
    if (err == TOON_OK)
        err = measure_copy(self->into, step->old_payload, &now);
    for (size_t i = 0; i < count; i++)
        before += addition->pieces.items[i].size;
    *longer = before > now;
    return err;
}

/*
 * A value that changed while the log is compacted may change again, by a
 * piece that replaces the small ones at its end. What lasts of it gets a
 * record of its own, so that this one can build on it.
 */
static toon_err put_lasting(toon_compaction *self, const toon_record *record,
                            struct addition *addition, size_t count,
                            toon_step *step) {
    const toon_piece *last = &addition->pieces.items[count - 1];
    struct part part = {
        .pieces = addition->pieces.items,
        .count = count,
        .base = addition->base,
        .base_size = addition->base_size,
        .ends_at = last->offset,
        .more = true,
    };
    toon_err err = put_part(self, record, &part, step);
    if (err != TOON_OK)
        return err;
    addition->base = step->offset;
    addition->base_size += step->live_bytes;
    *step = (toon_step){
        .hash = step->hash,
        .old_payload = step->payload,
        .old_expires_ms = step->expires_ms,
    };
    return TOON_OK;
}

toon_err toon_compaction_copy_value(toon_compaction *self,
                                    const toon_record *record, uint64_t offset,
                                    toon_step *step) {
    toon_hit hit = {.payload = toon_payload_at(offset), .record = *record};
    struct addition addition;
    size_t done = 0;
    bool longer = false;
    toon_err err = find_addition(self, &hit, step, &addition);
    if (err != TOON_OK)
        return err;
    size_t all = addition.pieces.count;
    if (offset >= self->start && addition.pieces.size >= NOTED_MIN)
        done = count_lasting(&addition.pieces);
    if (done < all) /* something will follow */
        err = is_longer(self, &addition, done, step, &longer);
    if (err == TOON_OK && longer)
        err = put_lasting(self, record, &addition, done, step);
    if (!longer)
        done = 0;
    struct part part = {
        .pieces = addition.pieces.items + done,
        .count = all - done,
        .base = addition.base,
        .base_size = addition.base_size,
        .ends_at = toon_hit_value_offset(&hit),
        .more = self->exact && record->more,
    };
    if (err == TOON_OK)
        err = put_part(self, record, &part, step);
    toon_pieces_free(&addition.pieces);
    return err;
}

/* ------------------------------------------------------------------- ahead */

/* What the record at `offset` builds on; 0: nothing that can be read. */
static uint64_t ref_of(const toon_volume *volume, uint64_t offset) {
    toon_hit hit;
    toon_err err = toon_volume_load(volume, toon_payload_at(offset),
                                    TOON_LOOK_META, false, &hit);
    uint64_t ref = err == TOON_OK && !hit.damaged ? hit.record.ref : 0;
    toon_hit_free(&hit);
    return ref < offset ? ref : 0;
}

/* Is the value one that builds on what is in the new log, with small pieces
 * between at most? */
static bool is_covered(const toon_compaction *self, const toon_record *record,
                       uint64_t offset, const toon_step *step) {
    enum { STEPS_MAX = 300 };

    toon_moved *moved = self->moved;
    struct known known = {.self = self, .payload = step->old_payload};
    uint64_t ref = record->ref;
    for (int i = 0; i < STEPS_MAX && ref != 0; i++) {
        uint64_t base = ref;
        if (moved->covered[ref % COVERED].offset == ref)
            base = moved->covered[ref % COVERED].base;
        if (is_known(&known, base)) {
            moved->covered[offset % COVERED].offset = offset;
            moved->covered[offset % COVERED].base = base;
            return true;
        }
        ref = ref_of(self->from, ref);
    }
    return false;
}

/* Is the record at `offset` a piece of the value that ends at `now`, and not
 * too far from its end? */
static bool is_piece_of(const toon_compaction *self, uint64_t now,
                        uint64_t offset) {
    toon_moved *moved = self->moved;
    if (moved->chain_count == 0 || moved->chain[0] != now) {
        moved->chain[0] = now;
        moved->chain_count = 1;
    }
    uint64_t last = moved->chain[moved->chain_count - 1];
    while (last > offset && moved->chain_count < CHAIN_MAX) {
        last = ref_of(self->from, last);
        moved->chain[moved->chain_count++] = last;
    }
    for (size_t i = moved->chain_count; i > 0; i--) {
        if (moved->chain[i - 1] == offset)
            return true;
    }
    return false;
}

toon_err toon_compaction_copy_ahead(toon_compaction *self,
                                    const toon_record *record, uint64_t offset,
                                    uint64_t now, toon_step *step) {
    toon_hit hit = {.payload = toon_payload_at(offset), .record = *record};
    struct addition addition;
    size_t own;
    bool longer;
    bool full =
        toon_record_value_size(record, &own) && own > TOON_PIECE_SMALL_MAX;
    if (!full && is_covered(self, record, offset, step))
        return TOON_OK;
    toon_err err = find_addition(self, &hit, step, &addition);
    if (err != TOON_OK)
        return err;
    size_t count = count_lasting(&addition.pieces);
    if (count > 0 &&
        !is_piece_of(self, now, addition.pieces.items[count - 1].offset))
        count = 0;
    err = is_longer(self, &addition, count, step, &longer);
    if (err == TOON_OK && longer) {
        struct part part = {
            .pieces = addition.pieces.items,
            .count = count,
            .base = addition.base,
            .base_size = addition.base_size,
            .ends_at = addition.pieces.items[count - 1].offset,
        };
        err = put_part(self, record, &part, step);
    }
    toon_pieces_free(&addition.pieces);
    return err;
}

/* -------------------------------------------------------------------- cost */

static bool was_seen(const toon_cost *cost, uint64_t offset) {
    return cost->seen[offset % TOON_COST_SEEN] == offset;
}

static void see(toon_cost *cost, uint64_t offset) {
    cost->seen[offset % TOON_COST_SEEN] = offset;
}

/* What a key takes over from another one is copied whole. */
bool toon_cost_add(toon_cost *cost, const toon_compaction *self,
                   const toon_record *record, uint64_t offset,
                   uint64_t payload) {
    struct known known = {.self = self, .payload = payload};
    bool whole = record->type == RECORD_SAME_VALUE;
    uint64_t ref = record->ref;
    while (ref != 0 &&
           (whole || !(was_seen(cost, ref) || is_known(&known, ref)))) {
        toon_hit hit;
        toon_err err = toon_volume_load(self->from, toon_payload_at(ref),
                                        TOON_LOOK_META, true, &hit);
        size_t size = hit.record.size;
        ref = hit.record.ref;
        toon_hit_free(&hit);
        if (err != TOON_OK || hit.damaged || size > cost->left)
            return false;
        cost->left -= size;
    }
    see(cost, offset);
    if (record->type == RECORD_SAME_VALUE || record->type == RECORD_META)
        see(cost, record->ref);
    return true;
}
