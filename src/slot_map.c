/*
 * slot_map.c - sorted linear probing under sequence locks.
 *
 * Knows hashes, payloads and epochs; must never know keys, values, disk.
 *
 * The invariant of a shard's table: its cells, empty ones left out, are
 * sorted by hash; a cell stands at its home or after it, with no empty cell
 * between; past the last home there is room to spill into, and after that
 * come cells that are always empty. So a search needs no bound, a miss ends
 * at the first greater hash, growing is one pass from left to right, and a
 * scan's cursor is the lowest hash that was not returned yet.
 *
 * A reader accepts what it read when the shard's sequence number was even
 * and the same before and after. Writers store cells with release and
 * readers load them with acquire: who saw a cell of a change also sees that
 * the number has moved.
 */
#include "slot_map.h"

#include "epoch.h"

#include <assert.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    CACHE_LINE_BYTES = 64,
    SHARDS_MAX = 1024,
    HOMES_MIN = 16,
    GROW_DOUBLE_BELOW = 128, /* homes; from there on by a half */
    SPILL_ROOM_MAX = 64,     /* unless more is spilled or reserved */
    SHRINK_HOMES_MIN = 256,  /* smaller tables stay */
    SEARCH_STEP = 4,         /* cells looked at together */
    SPINS_MAX = 64,          /* then the reader lets the writer run */
    SCAN_PIECE_SLOTS = 64,   /* read between two looks at the sequence */
    SCAN_PIECE_CELLS = 1024, /* passed over between two such looks */
    SCAN_CAPACITY_MIN = 4096,
};

/* The hash is kept as its complement: so an empty cell, which is all zero,
 * compares as if its hash were the highest, and a search need not ask. */
typedef struct cell {
    _Atomic uint64_t not_hash;
    _Atomic uint64_t payload; /* 0: empty */
} cell;

typedef struct table {
    size_t homes;
    size_t size; /* homes, room to spill, one that stays empty */
    alignas(16) cell cells[];
} table;

static_assert(sizeof(cell) == sizeof(toon_slot), "a cell is a toon_slot");

typedef struct shard {
    alignas(CACHE_LINE_BYTES) _Atomic uint64_t sequence; /* odd: changing */
    _Atomic(table *) table;
    _Atomic uint64_t count;
    _Atomic size_t bytes; /* of the table */
    size_t spilled;       /* cells in use past the last home */
    size_t reserved;      /* adds that must not fail */
} shard;

struct toon_slot_map {
    unsigned shard_bits;
    unsigned shard_count;
    shard shards[];
};

/* ------------------------------------------------------ hashes and places */

unsigned toon_slot_map_shard(const toon_slot_map *map, uint64_t hash) {
    return (unsigned)(hash >> 1 >> (63 - map->shard_bits));
}

static shard *shard_of(toon_slot_map *map, uint64_t hash) {
    return &map->shards[toon_slot_map_shard(map, hash)];
}

static const shard *shard_to_read(const toon_slot_map *map, uint64_t hash) {
    return &map->shards[toon_slot_map_shard(map, hash)];
}

/* The hash, as a fraction of its shard's range, times the number of homes: in
 * the order of hashes for any number. */
static size_t home_of(const toon_slot_map *map, const table *t, uint64_t hash) {
    __extension__ typedef unsigned __int128 wide;
    return (size_t)((wide)(hash << map->shard_bits) * t->homes >> 64);
}

/* The lowest hash of a shard; 0 after the last one. */
static uint64_t first_hash_of_shard(const toon_slot_map *map, unsigned index) {
    return index == map->shard_count
               ? 0
               : (uint64_t)index << 1 << (63 - map->shard_bits);
}

/* The lowest hash of a home. */
static uint64_t first_hash_of_home(const toon_slot_map *map, const table *t,
                                   unsigned index, size_t home) {
    __extension__ typedef unsigned __int128 wide;
    wide range = (wide)1 << (64 - map->shard_bits);
    wide low = (range * home + t->homes - 1) / t->homes;
    return first_hash_of_shard(map, index) + (uint64_t)low;
}

/* ------------------------------------------------------------------- cells */

static uint64_t read_hash(const cell *c) {
    return ~atomic_load_explicit(&c->not_hash, memory_order_acquire);
}

static uint64_t read_payload(const cell *c) {
    return atomic_load_explicit(&c->payload, memory_order_acquire);
}

static toon_slot read_cell(const cell *c) {
    return (toon_slot){.hash = read_hash(c), .payload = read_payload(c)};
}

static void write_cell(cell *c, toon_slot slot) {
    atomic_store_explicit(&c->not_hash, ~slot.hash, memory_order_release);
    atomic_store_explicit(&c->payload, slot.payload, memory_order_release);
}

static void empty_cell(cell *c) {
    atomic_store_explicit(&c->payload, 0, memory_order_release);
    atomic_store_explicit(&c->not_hash, 0, memory_order_release);
}

/* From c on, the first cell that is empty or whose hash is not lower. Counts
 * in steps without a branch, as one cannot be foretold. */
static const cell *skip_lower(const cell *c, uint64_t hash) {
    for (;;) {
        size_t lower = 0;
        for (size_t i = 0; i < SEARCH_STEP; i++) {
            lower += read_hash(c + i) < hash;
        }
        c += lower;
        if (lower < SEARCH_STEP) {
            return c;
        }
    }
}

/* --------------------------------------------------------- sequence, table */

static table *table_of(const shard *s) {
    return atomic_load_explicit(&s->table, memory_order_acquire);
}

static uint64_t count_of(const shard *s) {
    return atomic_load_explicit(&s->count, memory_order_relaxed);
}

static void add_to_count(shard *s, uint64_t difference) {
    atomic_store_explicit(&s->count, count_of(s) + difference,
                          memory_order_relaxed);
}

static void begin_change(shard *s) {
    uint64_t number = atomic_load_explicit(&s->sequence, memory_order_relaxed);
    atomic_store_explicit(&s->sequence, number + 1, memory_order_relaxed);
}

static void end_change(shard *s) {
    uint64_t number = atomic_load_explicit(&s->sequence, memory_order_relaxed);
    atomic_store_explicit(&s->sequence, number + 1, memory_order_release);
}

static void wait_a_little(unsigned *spins) {
    if (++*spins >= SPINS_MAX) {
        *spins = 0;
        sched_yield();
        return;
    }
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* The even number that a read starts from. */
static uint64_t begin_read(const shard *s) {
    unsigned spins = 0;
    for (;;) {
        uint64_t number =
            atomic_load_explicit(&s->sequence, memory_order_acquire);
        if ((number & 1) == 0) {
            return number;
        }
        wait_a_little(&spins);
    }
}

/* Whether nothing changed since; the cells' acquire loads come before it. */
static bool end_read(const shard *s, uint64_t number) {
    return atomic_load_explicit(&s->sequence, memory_order_relaxed) == number;
}

/* ------------------------------------------------------ making, rebuilding */

static size_t spill_room(const table *t) {
    return t->size - 1 - t->homes;
}

static size_t usual_spill_room(size_t homes) {
    size_t room = homes / 4 + SLOT_MAP_SAME_HASH_MAX;
    return room < SPILL_ROOM_MAX ? room : SPILL_ROOM_MAX;
}

static uint64_t fill_limit(size_t homes) {
    return (uint64_t)homes * 17 / 20;
}

static size_t table_bytes(const table *t) {
    return sizeof *t + (t->size + SEARCH_STEP) * sizeof(cell);
}

static table *make_table(size_t homes, size_t room) {
    size_t size = homes + room + 1;
    table *made = calloc(1, sizeof *made + (size + SEARCH_STEP) * sizeof(cell));
    if (made == NULL) {
        return NULL;
    }
    made->homes = homes;
    made->size = size;
    return made;
}

/* Copies all cells; false if they spill over. */
static bool copy_cells(const toon_slot_map *map, const table *from, table *to,
                       size_t *spilled) {
    size_t next = 0;
    for (size_t i = 0; i < from->size; i++) {
        toon_slot slot = read_cell(&from->cells[i]);
        if (slot.payload == 0) {
            continue;
        }
        size_t home = home_of(map, to, slot.hash);
        next = next > home ? next : home;
        if (next >= to->size - 1) {
            return false;
        }
        write_cell(&to->cells[next++], slot);
    }
    *spilled = next > to->homes ? next - to->homes : 0;
    return true;
}

/* Gives the shard another table. Readers go on in the old one meanwhile. */
static bool rebuild(const toon_slot_map *map, shard *s, size_t homes,
                    size_t room) {
    table *old = table_of(s);
    table *made = make_table(homes, room);
    if (made == NULL) {
        return false;
    }
    size_t spilled = 0;
    if (!copy_cells(map, old, made, &spilled) || room - spilled < s->reserved) {
        free(made);
        return false;
    }
    s->spilled = spilled;
    atomic_store_explicit(&s->bytes, table_bytes(made), memory_order_relaxed);
    atomic_store_explicit(&s->table, made, memory_order_release);
    toon_epoch_retire(free, old);
    return true;
}

/* By half: a table that has just grown still is more than half full, so that
 * a slot takes 29 bytes at most, and little is copied again and again. */
static bool grow(const toon_slot_map *map, shard *s) {
    const table *t = table_of(s);
    bool small = t->homes < GROW_DOUBLE_BELOW;
    size_t homes = t->homes + (small ? t->homes : t->homes / 2);
    size_t room = usual_spill_room(homes);
    /* With more homes no more is spilled than before. */
    size_t needed = s->spilled + s->reserved + SLOT_MAP_SAME_HASH_MAX;
    return rebuild(map, s, homes, room > needed ? room : needed);
}

static bool widen_spill_room(const toon_slot_map *map, shard *s) {
    const table *t = table_of(s);
    return rebuild(map, s, t->homes, spill_room(t) * 2 + s->reserved);
}

/* Tried at every sixteenth of the homes, so that failing costs little. */
static void shrink_if_sparse(const toon_slot_map *map, shard *s) {
    const table *t = table_of(s);
    uint64_t count = count_of(s);
    if (t->homes > SHRINK_HOMES_MIN && count <= t->homes / 8 &&
        count % (t->homes / 16) == 0) {
        rebuild(map, s, t->homes / 2,
                usual_spill_room(t->homes / 2) + s->spilled + s->reserved);
    }
}

static size_t homes_for(uint64_t expected) {
    size_t homes = (size_t)(expected + expected / 5);
    return homes < HOMES_MIN ? HOMES_MIN : homes;
}

toon_slot_map *toon_slot_map_new(unsigned shards, uint64_t expected) {
    assert(shards > 0 && shards <= SHARDS_MAX && (shards & (shards - 1)) == 0);
    size_t bytes = sizeof(toon_slot_map) + shards * sizeof(shard);
    toon_slot_map *map = aligned_alloc(alignof(toon_slot_map), bytes);
    if (map == NULL) {
        return NULL;
    }
    memset(map, 0, bytes);
    map->shard_bits = (unsigned)__builtin_ctz(shards);
    map->shard_count = shards;
    /* Hashes do not fall evenly: a little more than the average. */
    uint64_t average = expected / shards + 1;
    size_t homes = homes_for(average + average / 32);
    for (unsigned i = 0; i < shards; i++) {
        table *t = make_table(homes, usual_spill_room(homes));
        if (t == NULL) {
            toon_slot_map_free(map);
            return NULL;
        }
        atomic_init(&map->shards[i].table, t);
        atomic_init(&map->shards[i].bytes, table_bytes(t));
    }
    return map;
}

void toon_slot_map_free(toon_slot_map *map) {
    if (map == NULL) {
        return;
    }
    for (unsigned i = 0; i < map->shard_count; i++) {
        free(table_of(&map->shards[i]));
    }
    free(map);
}

/* ----------------------------------------------------------------- reading */

static size_t collect(const toon_slot_map *map, const table *t, uint64_t hash,
                      uint64_t payloads[SLOT_MAP_SAME_HASH_MAX]) {
    const cell *c = skip_lower(&t->cells[home_of(map, t, hash)], hash);
    size_t count = 0;
    /* Read in the middle of a change, there may seem to be more. */
    while (read_hash(c) == hash && count < SLOT_MAP_SAME_HASH_MAX) {
        uint64_t payload = read_payload(c++);
        if (payload == 0) {
            break;
        }
        payloads[count++] = payload;
    }
    return count;
}

size_t toon_slot_map_get(const toon_slot_map *map, uint64_t hash,
                         uint64_t payloads[SLOT_MAP_SAME_HASH_MAX]) {
    const shard *s = shard_to_read(map, hash);
    for (;;) {
        uint64_t number = begin_read(s);
        size_t count = collect(map, table_of(s), hash, payloads);
        if (end_read(s, number)) {
            return count;
        }
    }
}

void toon_slot_map_prefetch(const toon_slot_map *map, uint64_t hash) {
    const table *t = table_of(shard_to_read(map, hash));
    __builtin_prefetch(&t->cells[home_of(map, t, hash)]);
}

uint64_t toon_slot_map_count(const toon_slot_map *map) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < map->shard_count; i++) {
        sum += count_of(&map->shards[i]);
    }
    return sum;
}

size_t toon_slot_map_bytes(const toon_slot_map *map) {
    size_t sum = sizeof *map + map->shard_count * sizeof(shard);
    for (unsigned i = 0; i < map->shard_count; i++) {
        sum +=
            atomic_load_explicit(&map->shards[i].bytes, memory_order_relaxed);
    }
    return sum;
}

/* ----------------------------------------------------------------- changing */

/* Where a new slot of a hash belongs, and what is in its way. */
typedef struct opening {
    size_t at;    /* its place */
    size_t empty; /* the first empty cell from there on */
    size_t same;  /* slots of this hash */
    bool none;    /* only the last cell is empty */
} opening;

static opening find_gap(const toon_slot_map *map, const table *t,
                        uint64_t hash) {
    const cell *c = skip_lower(&t->cells[home_of(map, t, hash)], hash);
    opening found = {0};
    while (read_payload(c) != 0 && read_hash(c) == hash) {
        found.same++;
        c++;
    }
    found.at = (size_t)(c - t->cells);
    while (read_payload(c) != 0) {
        c++;
    }
    found.empty = (size_t)(c - t->cells);
    found.none = found.empty == t->size - 1;
    return found;
}

bool toon_slot_map_add(toon_slot_map *map, uint64_t hash, uint64_t payload) {
    assert(payload != 0);
    shard *s = shard_of(map, hash);
    opening gap = find_gap(map, table_of(s), hash);
    if (gap.same >= SLOT_MAP_SAME_HASH_MAX) {
        return false;
    }
    /* A table that could not grow goes on as long as it has cells. */
    if (count_of(s) >= fill_limit(table_of(s)->homes) && grow(map, s)) {
        gap = find_gap(map, table_of(s), hash);
    }
    if (gap.none) {
        if (!widen_spill_room(map, s)) {
            return false;
        }
        gap = find_gap(map, table_of(s), hash);
    }
    table *t = table_of(s);
    begin_change(s);
    for (size_t i = gap.empty; i > gap.at; i--) {
        write_cell(&t->cells[i], read_cell(&t->cells[i - 1]));
    }
    write_cell(&t->cells[gap.at], (toon_slot){hash, payload});
    end_change(s);
    s->spilled += gap.empty >= t->homes;
    s->reserved -= s->reserved > 0;
    add_to_count(s, 1);
    return true;
}

bool toon_slot_map_reserve(toon_slot_map *map, uint64_t hash, size_t count) {
    shard *s = shard_of(map, hash);
    if (s->reserved < count) {
        s->reserved = count;
    }
    /* Whatever their hashes are, each add takes one empty cell at most from
     * the room after the last home. */
    return spill_room(table_of(s)) - s->spilled >= count ||
           widen_spill_room(map, s);
}

/* The index of a slot; the table's size if it is not there. */
static size_t find(const toon_slot_map *map, const table *t, uint64_t hash,
                   uint64_t payload) {
    const cell *c = skip_lower(&t->cells[home_of(map, t, hash)], hash);
    while (read_payload(c) != 0 && read_hash(c) == hash) {
        if (read_payload(c) == payload) {
            return (size_t)(c - t->cells);
        }
        c++;
    }
    return t->size;
}

bool toon_slot_map_replace(toon_slot_map *map, uint64_t hash,
                           uint64_t old_payload, uint64_t payload) {
    assert(payload != 0);
    table *t = table_of(shard_of(map, hash));
    size_t at = find(map, t, hash, old_payload);
    if (at == t->size) {
        return false;
    }
    /* One store: readers see the old or the new, so no sequence is needed. */
    atomic_store_explicit(&t->cells[at].payload, payload, memory_order_release);
    return true;
}

bool toon_slot_map_remove(toon_slot_map *map, uint64_t hash, uint64_t payload) {
    shard *s = shard_of(map, hash);
    table *t = table_of(s);
    size_t at = find(map, t, hash, payload);
    if (at == t->size) {
        return false;
    }
    begin_change(s);
    for (;; at++) {
        toon_slot next = read_cell(&t->cells[at + 1]);
        if (next.payload == 0 || home_of(map, t, next.hash) == at + 1) {
            break;
        }
        write_cell(&t->cells[at], next);
    }
    empty_cell(&t->cells[at]);
    end_change(s);
    s->spilled -= at >= t->homes;
    add_to_count(s, (uint64_t)-1);
    shrink_if_sparse(map, s);
    return true;
}

/* ---------------------------------------------------------------- scanning */

/* A part of a shard, small enough to be read between two changes. */
typedef struct piece {
    uint64_t from; /* hashes below it are not wanted */
    uint64_t next; /* where the next piece starts; 0: the end */
    size_t want;
    size_t count;
    toon_slot *out; /* room for `want` and SAME_HASH_MAX more */
} piece;

static void copy_piece(const toon_slot_map *map, const table *t, piece *p) {
    unsigned index = toon_slot_map_shard(map, p->from);
    size_t start = home_of(map, t, p->from);
    p->count = 0;
    for (size_t i = start; i < t->size; i++) {
        toon_slot slot = read_cell(&t->cells[i]);
        bool empty = slot.payload == 0;
        if (empty && i - start >= SCAN_PIECE_CELLS && i + 1 < t->homes) {
            p->next = first_hash_of_home(map, t, index, i + 1);
            return;
        }
        if (empty || slot.hash < p->from) {
            continue;
        }
        if (p->count >= p->want && slot.hash != p->out[p->count - 1].hash) {
            p->next = p->out[p->count - 1].hash + 1;
            return;
        }
        if (p->count == p->want + SLOT_MAP_SAME_HASH_MAX) {
            return; /* read in the middle of a change */
        }
        p->out[p->count++] = slot;
    }
    p->next = first_hash_of_shard(map, index + 1);
}

static void read_piece(const toon_slot_map *map, piece *p) {
    const shard *s = shard_to_read(map, p->from);
    for (;;) {
        uint64_t number = begin_read(s);
        copy_piece(map, table_of(s), p);
        if (end_read(s, number)) {
            return;
        }
    }
}

size_t toon_slot_map_scan(const toon_slot_map *map, uint64_t *cursor,
                          size_t want, toon_slot *out, size_t capacity) {
    assert(capacity >= SCAN_CAPACITY_MIN);
    size_t most = capacity - SLOT_MAP_SAME_HASH_MAX;
    want = want < most ? want : most;
    size_t copied = 0;
    piece p = {.next = *cursor};
    do {
        size_t left = want > copied ? want - copied : 1;
        p.from = p.next;
        p.want = left < SCAN_PIECE_SLOTS ? left : SCAN_PIECE_SLOTS;
        p.out = out + copied;
        read_piece(map, &p);
        copied += p.count;
    } while (p.next != 0 && copied < want);
    *cursor = p.next;
    return copied;
}

/* ---------------------------------------------------------------- checking */

/* What has been seen of a table, from its beginning to the cell before. */
typedef struct walk {
    uint64_t count;
    size_t spilled;
    size_t run;     /* where the cells without a gap start */
    toon_slot last; /* payload 0: none yet */
    unsigned same;  /* slots with last's hash */
} walk;

static bool check_cell(const toon_slot_map *map, const table *t, size_t i,
                       walk *seen) {
    toon_slot slot = read_cell(&t->cells[i]);
    if (slot.payload == 0) {
        seen->run = i + 1;
        return true;
    }
    bool repeats = seen->last.payload != 0 && seen->last.hash == slot.hash;
    seen->same = repeats ? seen->same + 1 : 1;
    size_t home = home_of(map, t, slot.hash);
    bool sorted = seen->last.payload == 0 || seen->last.hash <= slot.hash;
    seen->last = slot;
    seen->count++;
    seen->spilled += i >= t->homes;
    return sorted && home >= seen->run && home <= i &&
           seen->same <= SLOT_MAP_SAME_HASH_MAX;
}

static bool check_shard(const toon_slot_map *map, unsigned index) {
    const shard *s = &map->shards[index];
    const table *t = table_of(s);
    walk seen = {0};
    for (size_t i = 0; i < t->size; i++) {
        if (!check_cell(map, t, i, &seen) ||
            (seen.run != i + 1 &&
             toon_slot_map_shard(map, seen.last.hash) != index)) {
            return false;
        }
    }
    return seen.run == t->size && seen.count == count_of(s) &&
           seen.spilled == s->spilled &&
           atomic_load_explicit(&s->bytes, memory_order_relaxed) ==
               table_bytes(t) &&
           (atomic_load_explicit(&s->sequence, memory_order_relaxed) & 1) == 0;
}

bool toon_slot_map_check(const toon_slot_map *map) {
    for (unsigned i = 0; i < map->shard_count; i++) {
        if (!check_shard(map, i)) {
            return false;
        }
    }
    return true;
}
