/* made_index.c - an honest index from what recovery finds. */
#include "made_index.h"

#include "common.h"
#include "epoch.h"
#include "key_hash.h"
#include "recover.h"

enum { SEED = 7, SLOTS_MAX = 4096 };

struct found {
    toon_slot slots[SLOTS_MAX];
    toon_expiry_entry expiring[SLOTS_MAX];
    size_t slot_count;
    size_t expiring_count;
};

/* Opening chose another seed at random: the hash is made anew. */
static void find_slot(const toon_volume *volume, uint64_t payload,
                      struct found *found) {
    toon_hit hit;
    toon_buf key = {0};
    CHECK(toon_volume_load(volume, payload, TOON_LOOK_META, false, &hit) ==
          TOON_OK);
    CHECK(!hit.damaged && toon_record_key(&hit.record, &key));
    toon_slot slot = {toon_key_hash(toon_buf_slice(&key), SEED),
                      toon_payload_to_index(payload)};
    found->slots[found->slot_count++] = slot;
    if (hit.record.expires_ms != 0)
        found->expiring[found->expiring_count++] =
            (toon_expiry_entry){hit.record.expires_ms, slot.hash, slot.payload};
    toon_buf_free(&key);
    toon_hit_free(&hit);
}

/* By payload, so that the order is not one of a random seed. */
static int compare_slots(const void *a, const void *b) {
    uint64_t first = ((const toon_slot *)a)->payload;
    uint64_t second = ((const toon_slot *)b)->payload;
    return (first > second) - (first < second);
}

static void find_slots(const toon_volume *volume, struct found *found) {
    uint64_t cursor = 0;
    size_t count = toon_slot_map_scan(volume->table, &cursor, SLOTS_MAX / 2,
                                      found->slots, SLOTS_MAX);
    static toon_slot slots[SLOTS_MAX];
    CHECK(cursor == 0);
    memcpy(slots, found->slots, count * sizeof *slots);
    qsort(slots, count, sizeof *slots, compare_slots);
    for (size_t i = 0; i < count; i++)
        find_slot(volume, slots[i].payload, found);
}

static toon_index_head describe(const toon_volume *volume,
                                const struct found *found) {
    toon_index_head head = {
        .salt = volume->log->salt,
        .covered = atomic_load(&volume->log->written),
        .last_offset = volume->last_offset,
        .live_bytes = atomic_load(&volume->live_bytes),
        .seed = SEED,
        .rows = atomic_load(&volume->rows),
        .slots = found->slot_count,
        .expiring = found->expiring_count,
    };
    toon_record record;
    if (head.last_offset == 0)
        return head;
    toon_slice line = toon_log_view(volume->log, head.last_offset, 0);
    CHECK(toon_record_parse(line, head.salt, &record) == RECORD_OK);
    head.last_crc = record.crc;
    return head;
}

static void write_rows(toon_index_writer *writer, const toon_log *log) {
    uint64_t at = log->first;
    while (writer->rows_left > 0) {
        toon_slice rest = toon_log_view(log, at, 0);
        CHECK(rest.data != NULL);
        const char *end = memchr(rest.data, '\n', rest.size);
        CHECK(end != NULL);
        if (rest.data[0] != '#')
            toon_index_add_row(writer, at);
        at += (uint64_t)(end - rest.data) + 1;
    }
}

bool made_index_write(const toon_dir *dir) {
    static struct found found;
    toon_volume *volume;
    toon_recovery recovery;
    toon_index_writer writer;
    CHECK(toon_dir_unlink(dir, TOON_INDEX_NAME) == TOON_OK);
    if (toon_recover(dir, true, &volume, &recovery) != TOON_OK)
        return false;
    CHECK(toon_epoch_enter());
    found.slot_count = 0;
    found.expiring_count = 0;
    find_slots(volume, &found);
    toon_index_head head = describe(volume, &found);
    toon_index_begin(&writer, dir, &head);
    write_rows(&writer, volume->log);
    for (size_t i = 0; i < found.slot_count; i++)
        toon_index_add_slot(&writer, found.slots[i]);
    for (size_t i = 0; i < found.expiring_count; i++)
        toon_index_add_expiry(&writer, found.expiring[i]);
    CHECK(toon_index_end(&writer) == TOON_OK);
    toon_epoch_leave();
    toon_volume_free(volume);
    return true;
}
