/*
 * volume.h - one log and the key table that points into it.
 *
 * A store has one volume at a time and swaps it whole (toon_clear), so that a
 * reader who loaded the pointer sees a table and a log that belong together.
 *
 * Knows what keys mean and where their records lie; must never know locks,
 * clients, caching or the order of a commit. "Writer" is whoever holds the
 * store's writer lock; readers are any threads inside toon_epoch_enter().
 */
#ifndef TOON_VOLUME_H
#define TOON_VOLUME_H

#include "expiry.h"
#include "facts.h"
#include "log.h"
#include "slot_map.h"

/*
 * A slot's payload: offset (40 bits), length (22 bits), whether the key
 * expires, and whether the record builds on another one (so that only those
 * are walked when live records are counted). A length that does not fit is
 * stored as 0 and read from the log. Never 0, since no record lies at offset
 * 0.
 */
#define TOON_PAYLOAD_LENGTH_MAX ((uint64_t)0x3fffff)
#define TOON_PAYLOAD_EXPIRES    ((uint64_t)2)
#define TOON_PAYLOAD_BUILDS_ON  ((uint64_t)1)

static inline uint64_t toon_payload(uint64_t offset, uint64_t size,
                                    bool expires, bool builds_on) {
    uint64_t length = size <= TOON_PAYLOAD_LENGTH_MAX ? size : 0;
    return offset << 24 | length << 2 | (expires ? TOON_PAYLOAD_EXPIRES : 0) |
           (builds_on ? TOON_PAYLOAD_BUILDS_ON : 0);
}

/* For a look at a record of which the offset is all that is known. */
static inline uint64_t toon_payload_at(uint64_t offset) {
    return toon_payload(offset, 0, false, false);
}

static inline uint64_t toon_payload_offset(uint64_t payload) {
    return payload >> 24;
}

static inline size_t toon_payload_length(uint64_t payload) {
    return (size_t)(payload >> 2 & TOON_PAYLOAD_LENGTH_MAX);
}

static inline bool toon_payload_expires(uint64_t payload) {
    return (payload & TOON_PAYLOAD_EXPIRES) != 0;
}

static inline bool toon_payload_builds_on(uint64_t payload) {
    return (payload & TOON_PAYLOAD_BUILDS_ON) != 0;
}

/* As the index has it: offset (40 bits), length (23), builds on (1). Which
 * keys expire, it lists apart. */
static inline uint64_t toon_payload_to_index(uint64_t payload) {
    return toon_payload_offset(payload) << 24 |
           (uint64_t)toon_payload_length(payload) << 1 |
           (payload & TOON_PAYLOAD_BUILDS_ON);
}

static inline uint64_t toon_payload_of_index(uint64_t stored, bool expires) {
    return toon_payload(stored >> 24, stored >> 1 & 0x7fffff, expires,
                        (stored & 1) != 0);
}

typedef struct toon_volume {
    toon_log *log;
    toon_slot_map *table;
    toon_facts *facts;           /* of the log's large values */
    uint64_t seed;               /* of the key hash */
    _Atomic uint64_t generation; /* high bits of versions, never 0 */

    /* The writer's; others read them for statistics only. */
    _Atomic uint64_t rows; /* records in the log */
    _Atomic uint64_t live_bytes;
    _Atomic uint64_t expiring; /* keys with an expiry */
    toon_expiry expiry;
    uint64_t last_offset; /* of the newest record; 0: there is none */
} toon_volume;

/* Takes the log. NULL: no memory (the log is the caller's then). */
toon_volume *toon_volume_new(toon_log *log, uint64_t seed, uint64_t generation,
                             uint64_t keys_expected);
void toon_volume_free(toon_volume *volume); /* frees the log too */

/* A key's current record. `record` borrows from the log's mapping or from
 * `own`, which the caller frees (toon_hit_free) while still in the epoch. */
typedef struct toon_hit {
    uint64_t payload; /* 0: the key is absent */
    bool damaged;     /* its record cannot be read; payload names it */
    toon_record record;
    toon_buf own;
} toon_hit;

void toon_hit_free(toon_hit *hit);

/* How far a lookup looks at a record. */
typedef enum toon_look {
    TOON_LOOK_WHOLE, /* its value will be used: check the CRC */
    TOON_LOOK_META,  /* not the value: long records are not read whole, and
                        their mode and time of change are taken unchecked */
} toon_look;

/*
 * Finds the key's record, expired or not: TOON_OK also when it is absent
 * (payload 0) or damaged. TOON_CONFLICT: the record is still in the gather
 * buffer and `gathered` is false; only the writer may look there.
 * TOON_NO_MEMORY, TOON_IO.
 */
toon_err toon_volume_find(const toon_volume *volume, toon_slice key,
                          uint64_t hash, toon_look look, bool gathered,
                          toon_hit *out);

/* The record of a slot, without knowing its key. Else as above. */
toon_err toon_volume_load(const toon_volume *volume, uint64_t payload,
                          toon_look look, bool gathered, toon_hit *out);

/* The whole record of `size` bytes at `offset` of a log that need not be a
 * volume's any more. TOON_CORRUPT, TOON_NO_MEMORY, TOON_IO. */
toon_err toon_line_load(const toon_log *log, uint64_t offset, size_t size,
                        toon_hit *out);

/* What toon_volume_damaged() says, of such a log. */
toon_err toon_line_damaged(const toon_log *log, uint64_t offset);

/*
 * Is it a record that a slot of this hash can point at? If not, other bytes
 * stand where its own stood (a page in the wrong place; or a long record, of
 * which nobody checked the CRC): marks it as damaged.
 */
void toon_volume_check_key(const toon_volume *volume, uint64_t hash,
                           toon_hit *hit);

/* The offset of the record that carries the value: the record's own, or what
 * a t or r refers to. */
uint64_t toon_hit_value_offset(const toon_hit *hit);

static inline uint64_t toon_version_of(uint64_t generation, uint64_t offset) {
    return generation << 40 | offset;
}

static inline uint64_t toon_version_generation(uint64_t version) {
    return version >> 40;
}

static inline uint64_t toon_volume_version(const toon_volume *volume,
                                           uint64_t payload) {
    return toon_version_of(
        atomic_load_explicit(&volume->generation, memory_order_relaxed),
        toon_payload_offset(payload));
}

static inline toon_meta toon_hit_meta(const toon_volume *volume,
                                      const toon_hit *hit) {
    return (toon_meta){hit->record.written_ms, hit->record.expires_ms,
                       toon_volume_version(volume, hit->payload),
                       hit->record.mode};
}

/*
 * What is to be known of the value of a hit that is not damaged: from the
 * facts, else by a walk over its pieces, after which it is known. TOON_CORRUPT
 * if one is damaged (not all damage shows: that is for who reads the value);
 * else as find.
 */
toon_err toon_volume_measure(const toon_volume *volume, const toon_hit *hit,
                             bool gathered, toon_fact *out);

/* For who writes a value whole, as the record at `offset`. Does nothing where
 * finding that out again would cost little. */
void toon_volume_remember(const toon_volume *volume, uint64_t offset,
                          size_t line_size, size_t value_size);

/* That a value of such a record is worth remembering at once. */
#define TOON_REMEMBER_MIN ((size_t)1 << 20)

/*
 * The pieces that make up a value, oldest first. All but the last hundred or
 * so are full, so there are not more of them than this; a chain that is longer
 * is damage.
 */
#define TOON_PIECES_MAX                                                        \
    (TOON_VALUE_SIZE_LIMIT / (TOON_PIECE_SMALL_MAX + 1) + 256)

typedef struct toon_piece {
    toon_record record;
    uint64_t offset;
    size_t size; /* of its bytes of the value */
    toon_buf own;
} toon_piece;

typedef struct toon_pieces {
    toon_piece *items; /* owned */
    size_t count;
    size_t size; /* of all of them */
} toon_pieces;

/* Collects them. TOON_CORRUPT if one is damaged; else as find. */
toon_err toon_volume_pieces(const toon_volume *volume, const toon_hit *hit,
                            bool gathered, toon_pieces *out);

/* The same for the last `count` of them, of which there must be so many. */
toon_err toon_volume_last_pieces(const toon_volume *volume, const toon_hit *hit,
                                 size_t count, bool gathered, toon_pieces *out);

/* The same for those behind the newest one that known(arg, offset) accepts;
 * *floor is that one's offset, or 0 if it accepts none: then for all. */
typedef bool toon_known_fn(void *arg, uint64_t offset);
toon_err toon_volume_pieces_behind(const toon_volume *volume,
                                   const toon_hit *hit, toon_known_fn *known,
                                   void *arg, toon_pieces *out,
                                   uint64_t *floor);
void toon_pieces_free(toon_pieces *pieces);

/* Writes their bytes to `out`. TOON_CORRUPT. */
toon_err toon_pieces_copy(const toon_volume *volume, const toon_piece *pieces,
                          size_t count, char *out);

/*
 * One change of the table. Kept until its record is written, it is also how
 * the change is undone.
 */
typedef struct toon_step {
    uint64_t hash;
    uint64_t offset;        /* of the record */
    uint64_t old_last;      /* volume->last_offset before; apply fills it */
    uint64_t old_payload;   /* 0: the key was absent */
    bool old_damaged;       /* its record could not be read */
    uint64_t payload;       /* 0: the key is deleted */
    int64_t old_expires_ms; /* of the old record; 0: never, or absent */
    int64_t expires_ms;     /* of the new record */
    uint64_t live_bytes;    /* of the new record; 0 for a deletion */
    uint64_t garbage;       /* what of the old is dead now */
} toon_step;

/* Writer. After it, one apply for this hash cannot fail. */
bool toon_volume_reserve(toon_volume *volume, uint64_t hash);
void toon_volume_apply(toon_volume *volume, toon_step *step);

/* Writer. Drops the heap's stale entries. */
void toon_volume_trim_expiry(toon_volume *volume);

/* Undo in the reverse order of apply. */
void toon_volume_undo(toon_volume *volume, const toon_step *step);

/* Records that stay live although nothing points at them by key. */
typedef struct toon_kept {
    uint64_t offsets[3]; /* 0: none */
} toon_kept;

/*
 * What of the old record's chain is dead once its key has another record, in
 * bytes: all down to the first that is kept. Damaged parts count as nothing:
 * the figure is an estimate that steers compaction.
 */
uint64_t toon_volume_garbage(const toon_volume *volume, uint64_t old_payload,
                             const toon_kept *kept, bool gathered);

/* TOON_CORRUPT, naming the offset. TOON_VERSION if what stands there is a
 * whole record of a type that a newer program knows. */
toon_err toon_volume_damaged(const toon_volume *volume, uint64_t offset);

#endif
